// Four elements at a time, and the activations.
#pragma once
#include "vec.cuh"

// Four elements; p is aligned to all four.
inline float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }
inline float4 load4(const f16* p) {
  uint2 u = *reinterpret_cast<const uint2*>(p);
  float2 lo = __half22float2(*reinterpret_cast<__half2*>(&u.x));
  float2 hi = __half22float2(*reinterpret_cast<__half2*>(&u.y));
  return {lo.x, lo.y, hi.x, hi.y};
}
inline void store4(float* p, float4 v) { *reinterpret_cast<float4*>(p) = v; }
inline void store4(f16* p, float4 v) {
  __half2 lo = __floats2half2_rn(v.x, v.y), hi = __floats2half2_rn(v.z, v.w);
  *reinterpret_cast<uint2*>(p) = {*reinterpret_cast<unsigned*>(&lo), *reinterpret_cast<unsigned*>(&hi)};
}

// The activations of matmul.Act, in its order.
enum Act { kNone, kSiLU, kGELU, kQuickGELU, kGELUTanh, kTanh };

// exp rounds to about one unit and the division to two, far inside of f32's
// bound; for x below -88 the quotient is 1/inf, and -0 is right.
inline float sigmoid(float x) { return __fdividef(1.f, 1.f + expf(-x)); }
inline float silu(float x) { return x * sigmoid(x); }
inline float gelu(float x) { return 0.5f * x * (1.f + erff(x * 0.70710678f)); }
inline float quick_gelu(float x) { return x * sigmoid(1.702f * x); }
// (1 + tanh u) / 2 is the sigmoid of 2u.
inline float gelu_tanh(float x) { return x * sigmoid(1.5957691f * (x + 0.044715f * x * x * x)); }

// act over N values; the branch is the same for all threads.
template <int N> inline void activate(float (&v)[N], int act) {
  switch (act) {
    case kSiLU:
#pragma unroll
      for (int i = 0; i < N; i++) v[i] = silu(v[i]);
      break;
    case kGELU:
#pragma unroll
      for (int i = 0; i < N; i++) v[i] = gelu(v[i]);
      break;
    case kQuickGELU:
#pragma unroll
      for (int i = 0; i < N; i++) v[i] = quick_gelu(v[i]);
      break;
    case kGELUTanh:
#pragma unroll
      for (int i = 0; i < N; i++) v[i] = gelu_tanh(v[i]);
      break;
    case kTanh:
#pragma unroll
      for (int i = 0; i < N; i++) v[i] = tanhf(v[i]);
      break;
  }
}
