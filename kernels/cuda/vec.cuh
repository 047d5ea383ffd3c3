// 16-byte vectors of f16 or f32 with f32 arithmetic, and sums over warps and
// blocks. What several rooms' op.cu use.
#pragma once

#include <cuda_fp16.h>

using f16 = __half;

// to_float and from_float are what a storage type is to arithmetic in f32.
inline float to_float(float v) { return v; }
inline float to_float(f16 v) { return __half2float(v); }
template <typename T> inline T from_float(float v);
template <> inline float from_float<float>(float v) { return v; }
template <> inline f16 from_float<f16>(float v) { return __float2half_rn(v); }

inline float minus_inf() { return __int_as_float(0xff800000); }

// Elements of T in 16 bytes.
template <typename T> constexpr int kVec = 16 / sizeof(T);

// A vector is taken apart by value: by reference, the compiler would load and
// store them one by one.
inline void unpack(uint4 raw, float (&v)[8]) {
  const unsigned w[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    v[2 * i] = __half2float(__ushort_as_half((unsigned short)w[i]));
    v[2 * i + 1] = __half2float(__ushort_as_half((unsigned short)(w[i] >> 16)));
  }
}

inline void unpack(uint4 raw, float (&v)[4]) {
  v[0] = __uint_as_float(raw.x);
  v[1] = __uint_as_float(raw.y);
  v[2] = __uint_as_float(raw.z);
  v[3] = __uint_as_float(raw.w);
}

inline unsigned half2_bits(float lo, float hi) {
  const __half2 h = __floats2half2_rn(lo, hi);
  return *reinterpret_cast<const unsigned*>(&h);
}

inline uint4 pack(const float (&v)[8]) {
  return make_uint4(half2_bits(v[0], v[1]), half2_bits(v[2], v[3]), half2_bits(v[4], v[5]), half2_bits(v[6], v[7]));
}

inline uint4 pack(const float (&v)[4]) {
  return make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]), __float_as_uint(v[3]));
}

// load and store move V consecutive elements: 16 bytes where V fills them, and
// else one by one.
template <int V, typename T> inline void load(float (&v)[V], const T* p) {
  if constexpr (V == kVec<T>) {
    const uint4 raw = *reinterpret_cast<const uint4*>(p);
    unpack(raw, v);
  } else {
#pragma unroll
    for (int i = 0; i < V; i++) v[i] = to_float(p[i]);
  }
}

template <int V, typename T> inline void store(T* p, const float (&v)[V]) {
  if constexpr (V == kVec<T>) {
    *reinterpret_cast<uint4*>(p) = pack(v);
  } else {
#pragma unroll
    for (int i = 0; i < V; i++) p[i] = from_float<T>(v[i]);
  }
}

// load_f32 moves V consecutive floats, whose address is a multiple of 16 bytes
// where V is 4 or 8.
template <int V> inline void load_f32(float (&v)[V], const float* p) {
  if constexpr (V % 4 == 0) {
#pragma unroll
    for (int i = 0; i < V; i += 4) {
      const float4 f = *reinterpret_cast<const float4*>(p + i);
      v[i] = f.x;
      v[i + 1] = f.y;
      v[i + 2] = f.z;
      v[i + 3] = f.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < V; i++) v[i] = p[i];
  }
}

inline bool aligned16(const void* p) { return (reinterpret_cast<unsigned long long>(p) & 15) == 0; }

template <typename... P> inline bool aligned16(const void* p, P... more) { return aligned16(p) && aligned16(more...); }

template <typename T> inline T warp_sum(T v) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

inline float warp_max(float v) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
  return v;
}

// block_sum is the sum over a block of whole warps, the same in every thread.
// buf holds 32 values and may be used again at once.
template <typename T> inline T block_sum(T v, T* buf) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  v = warp_sum(v);
  __syncthreads();
  if (lane == 0) buf[warp] = v;
  __syncthreads();
  return warp_sum(lane < warps ? buf[lane] : T(0));
}

inline float block_max(float v, float* buf) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  v = warp_max(v);
  __syncthreads();
  if (lane == 0) buf[warp] = v;
  __syncthreads();
  return warp_max(lane < warps ? buf[lane] : minus_inf());
}
