// Reductions over a block that a room chooses the operation of.
#pragma once

#include "vec.cuh"

// block_reduce is f over a block of kWarps whole warps, the same in every thread.
// What it is given twice must not count twice: maxima and minima.
template <int kWarps, typename T, typename F> inline T block_reduce(T v, T* buf, F f) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v = f(v, __shfl_xor_sync(0xffffffffu, v, d));
  __syncthreads();
  if (lane == 0) buf[warp] = v;
  __syncthreads();
  v = buf[lane % kWarps];
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v = f(v, __shfl_xor_sync(0xffffffffu, v, d));
  return v;
}
