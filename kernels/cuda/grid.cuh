// What kernels over flat arrays share.
#pragma once

#include "vec.cuh"

// grid_stride calls f(i) for every i below n, in strides of the whole grid: any
// grid gives the same result.
template <typename F> inline void grid_stride(long long n, F f) {
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

// box copies n x h rows of `width` elements from one array to another, in which
// samples and rows have strides. Indices are below 2^32, offsets may be beyond.
template <typename T>
inline void box(const T* from, T* to, unsigned n, unsigned h, unsigned width, long long from_sample, long long from_row,
                long long to_sample, long long to_row) {
  constexpr int V = kVec<T>;
  const bool vectors =
      aligned16(from, to) && width % V == 0 && from_sample % V == 0 && from_row % V == 0 && to_sample % V == 0 && to_row % V == 0;
  const unsigned w = vectors ? width / V : width;
  grid_stride((long long)n * h * w, [&](long long at) {
    const unsigned i = (unsigned)at, row = i / w, column = i % w, sample = row / h, y = row % h;
    const T* p = from + sample * from_sample + y * from_row;
    T* q = to + sample * to_sample + y * to_row;
    if (vectors) {
      reinterpret_cast<uint4*>(q)[column] = reinterpret_cast<const uint4*>(p)[column];
    } else {
      q[column] = p[column];
    }
  });
}
