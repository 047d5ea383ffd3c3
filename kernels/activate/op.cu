// Activations and sums. A few operations an element: bytes bound all of them, so
// that a net's hot paths have them in the epilogue of a product (kernels/matmul)
// and these serve the rest.
//
// 256 threads a block, a 16-byte vector a thread and turn, strides of the whole
// grid: any grid gives the same result. Where a tensor does not begin at a
// multiple of 16 bytes, or a row is not a whole number of vectors, the same
// kernel goes element by element. No shared memory.
//
// f16 takes ex2.approx and div.approx, but not tanh.approx: its error of 2^-11
// is as large as the rounding of the result. f32 takes expf, erfcf and tanhf, a
// few units in the last place.
#include "vec.cuh"

namespace {

enum Act { kNone, kSiLU, kGELU, kQuickGELU, kGELUTanh, kTanh };  // matmul.Act

inline float exp_of(float v, __half) { return __expf(v); }
inline float exp_of(float v, float) { return expf(v); }
inline float divide(float a, float b, __half) { return __fdividef(a, b); }
inline float divide(float a, float b, float) { return a / b; }

// gate is x sigmoid(v). Where exp(-v) is beyond 2^126, __fdividef gives 0, which
// is right.
template <typename T> inline float gate(float x, float v, T t) { return divide(x, 1.0f + exp_of(-v, t), t); }

// erfc keeps the digits of GELU's left tail, where 1 + erf would lose them.
inline float gelu(float x) { return 0.5f * x * erfcf(x * -0.70710678118654752f); }

inline float tanh_of(float x, float) { return tanhf(x); }
inline float tanh_of(float x, __half t) {
  const float e = exp_of(-2.0f * fabsf(x), t);
  const float y = fabsf(x) < 0.0625f ? fabsf(x) * (1.0f - x * x * (1.0f / 3.0f)) : __fdividef(1.0f - e, 1.0f + e);
  return copysignf(y, x);
}

template <typename T> inline float act_of(float x, int act, T t) {
  switch (act) {
    case kSiLU: return gate(x, x, t);
    case kGELU: return gelu(x);
    case kQuickGELU: return gate(x, 1.702f * x, t);
    // x/2 (1 + tanh u) is x sigmoid(2u).
    case kGELUTanh: return gate(x, 1.5957691216057308f * (x + 0.044715f * x * x * x), t);
    case kTanh: return tanh_of(x, t);
  }
  return x;
}

// each calls f(i) for every i below n, over the whole grid.
template <typename F> inline void each(long long n, F f) {
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

template <typename T> inline void act(const T* x, T* y, long long n, int kind) {
  constexpr int V = kVec<T>;
  long long done = 0;
  if (aligned16(x, y)) {
    done = n / V * V;
    each(n / V, [&](long long i) {
      float v[V];
      load(v, x + i * V);
#pragma unroll
      for (int j = 0; j < V; j++) v[j] = act_of(v[j], kind, T());
      store(y + i * V, v);
    });
  }
  each(n - done, [&](long long i) { y[done + i] = from_float<T>(act_of(to_float(x[done + i]), kind, T())); });
}

// add: y[i] = x[i] + b[i % period].
template <typename T> inline void add(const T* x, const T* b, T* y, long long n, long long period) {
  constexpr int V = kVec<T>;
  const bool whole = period == n;  // no repetition: the tail is no row's
  long long done = 0;
  if (aligned16(x, b, y) && (whole || period % V == 0)) {
    done = n / V * V;
    const unsigned turn = period / V;
    each(n / V, [&](long long i) {
      // A period is below 2^32 vectors, 64 GiB; the vectors' number may not be.
      const long long at = whole ? i : i >> 32 == 0 ? (unsigned)i % turn : i % turn;
      float v[V], w[V];
      load(v, x + i * V);
      load(w, b + at * V);
#pragma unroll
      for (int j = 0; j < V; j++) v[j] += w[j];
      store(y + i * V, v);
    });
  }
  each(n - done, [&](long long i) { y[done + i] = from_float<T>(to_float(x[done + i]) + to_float(b[(done + i) % period])); });
}

}  // namespace

#define ENTRY extern "C" __global__ void __launch_bounds__(256)

ENTRY act_f16(const __half* x, __half* y, long long n, int kind) { act(x, y, n, kind); }
ENTRY act_f32(const float* x, float* y, long long n, int kind) { act(x, y, n, kind); }
ENTRY add_f16(const __half* x, const __half* b, __half* y, long long n, long long period) { add(x, b, y, n, period); }
ENTRY add_f32(const float* x, const float* b, float* y, long long n, long long period) { add(x, b, y, n, period); }
