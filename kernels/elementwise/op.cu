// The linear combination of two tensors, scaled copies, the ReLU and the watch for
// overflow. Bytes bound them: elements lie in whole sectors one by one or by 16
// bytes (finite); 256 threads, any grid.
#include "depend.cuh"
#include "grid.cuh"

namespace {

// finite sets *flag where an element is infinite or NaN.
template <typename T> inline bool not_finite(T v);
template <> inline bool not_finite<float>(float v) { return (__float_as_uint(v) & 0x7f800000u) == 0x7f800000u; }
template <> inline bool not_finite<f16>(f16 v) { return (__half_as_ushort(v) & 0x7c00) == 0x7c00; }

template <typename T> inline void finite(const T* x, long long n, int* flag) {
  constexpr int V = kVec<T>;
  bool found = false;
  long long done = 0;
  if (aligned16(x)) {
    done = n / V * V;
    grid_stride(n / V, [&](long long i) {
      float v[V];
      load(v, x + i * V);
#pragma unroll
      for (int j = 0; j < V; j++) found |= not_finite(v[j]);
    });
  }
  grid_stride(n - done, [&](long long i) { found |= not_finite(x[done + i]); });
  if (found) *flag = 1;
}

}  // namespace

#define ENTRY extern "C" __global__ void __launch_bounds__(256, 1)

ENTRY mix_f32(const float* x, const float* y, float* out, long long n, double a, double b) {
  start_dependent();
  grid_stride(n, [&](long long i) { out[i] = (float)(a * x[i] + b * y[i]); });
}

#define SCALE(name, I, O)                                                           \
  ENTRY name(const I* x, O* y, long long n, float a) {                              \
    start_dependent();                                                              \
    grid_stride(n, [&](long long i) { y[i] = from_float<O>(a * to_float(x[i])); }); \
  }
SCALE(scale_f16_f16, f16, f16)
SCALE(scale_f16_f32, f16, float)
SCALE(scale_f32_f16, float, f16)
SCALE(scale_f32_f32, float, float)

// v < 0 is false of a NaN, which stays.
#define RELU(type, T)                                      \
  ENTRY relu_##type(T* x, long long n) {                   \
    start_dependent();                                     \
    grid_stride(n, [&](long long i) {                      \
      if (to_float(x[i]) < 0.f) x[i] = from_float<T>(0.f); \
    });                                                    \
  }
RELU(f16, f16)
RELU(f32, float)

ENTRY finite_f16(const f16* x, int* flag, long long n) {
  start_dependent();
  finite(x, n, flag);
}
ENTRY finite_f32(const float* x, int* flag, long long n) {
  start_dependent();
  finite(x, n, flag);
}
