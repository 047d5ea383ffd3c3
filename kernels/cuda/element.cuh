// Elements: f16 or f32 in memory, f32 in registers. Reductions over a warp,
// activations.
#pragma once
#include <cuda_fp16.h>

using f16 = __half;

__device__ __forceinline__ float to_f32(float v) { return v; }
__device__ __forceinline__ float to_f32(f16 v) { return __half2float(v); }

template <class T>
__device__ __forceinline__ T from_f32(float v);
template <>
__device__ __forceinline__ float from_f32<float>(float v) { return v; }
template <>
__device__ __forceinline__ f16 from_f32<f16>(float v) { return __float2half_rn(v); }

// Four elements; p is aligned to all four.
__device__ __forceinline__ float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ __forceinline__ float4 load4(const f16* p)
{
    uint2 u = *reinterpret_cast<const uint2*>(p);
    float2 lo = __half22float2(*reinterpret_cast<__half2*>(&u.x));
    float2 hi = __half22float2(*reinterpret_cast<__half2*>(&u.y));
    return {lo.x, lo.y, hi.x, hi.y};
}
__device__ __forceinline__ void store4(float* p, float4 v) { *reinterpret_cast<float4*>(p) = v; }
__device__ __forceinline__ void store4(f16* p, float4 v)
{
    __half2 lo = __floats2half2_rn(v.x, v.y), hi = __floats2half2_rn(v.z, v.w);
    *reinterpret_cast<uint2*>(p) = {*reinterpret_cast<unsigned*>(&lo), *reinterpret_cast<unsigned*>(&hi)};
}

// Eight elements of 16 bytes of f16.
__device__ __forceinline__ void load8(float (&v)[8], const f16* p)
{
    uint4 u = *reinterpret_cast<const uint4*>(p);
    const unsigned w[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 f = __half22float2(*reinterpret_cast<const __half2*>(&w[i]));
        v[2 * i] = f.x, v[2 * i + 1] = f.y;
    }
}
__device__ __forceinline__ void store8(f16* p, const float (&v)[8])
{
    unsigned w[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        __half2 h = __floats2half2_rn(v[2 * i], v[2 * i + 1]);
        w[i] = *reinterpret_cast<unsigned*>(&h);
    }
    *reinterpret_cast<uint4*>(p) = {w[0], w[1], w[2], w[3]};
}

// The sum and the largest over WIDTH neighbouring lanes, in every lane.
template <int WIDTH = 32>
__device__ __forceinline__ float warp_sum(float v)
{
#pragma unroll
    for (int d = WIDTH / 2; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
}
template <int WIDTH = 32>
__device__ __forceinline__ float warp_max(float v)
{
#pragma unroll
    for (int d = WIDTH / 2; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
    return v;
}

// The activations of matmul.Act, in its order.
enum Act { NONE, SILU, GELU, QUICK_GELU, GELU_TANH, TANH };

// exp rounds to about one unit and the division to two, far inside of f32's
// bound; for x below -88 the quotient is 1/inf, and -0 is right.
__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.f, 1.f + expf(-x)); }
__device__ __forceinline__ float silu(float x) { return x * sigmoid(x); }
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.f + erff(x * 0.70710678f)); }
__device__ __forceinline__ float quick_gelu(float x) { return x * sigmoid(1.702f * x); }
// (1 + tanh u) / 2 is the sigmoid of 2u.
__device__ __forceinline__ float gelu_tanh(float x)
{
    return x * sigmoid(1.5957691f * (x + 0.044715f * x * x * x));
}

// act over N values; the branch is the same for all threads.
template <int N>
__device__ __forceinline__ void activate(float (&v)[N], int act)
{
    switch (act) {
    case SILU:
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = silu(v[i]);
        break;
    case GELU:
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = gelu(v[i]);
        break;
    case QUICK_GELU:
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = quick_gelu(v[i]);
        break;
    case GELU_TANH:
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = gelu_tanh(v[i]);
        break;
    case TANH:
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = tanhf(v[i]);
        break;
    }
}
