// Max and average pooling of [N, H, W, C]. A thread has one element of the result,
// neighbours have neighbouring channels: reads and writes are whole sectors, and what
// windows share comes from the second-level cache. 256 threads a block, any grid.
#include "depend.cuh"
#include "grid.cuh"

namespace {

template <bool kAverage, typename T>
inline void pool(const T* x, T* y, int n, int ih, int iw, int oh, int ow, int c, int kh, int kw, int stride, int pad) {
  start_dependent();
  grid_stride((long long)n * oh * ow * c, [&](long long at) {
    const unsigned i = (unsigned)at, ch = i % c, ox = i / c % ow, oy = i / c / ow % oh, sample = i / c / ow / oh;
    const int y0 = (int)oy * stride - pad, x0 = (int)ox * stride - pad;
    const int top = max(y0, 0), bottom = min(y0 + kh, ih), left = max(x0, 0), right = min(x0 + kw, iw);
    float v = kAverage ? 0.f : minus_inf();
    bool nan = false;
    for (int r = top; r < bottom; r++) {
      for (int q = left; q < right; q++) {
        const float e = to_float(x[(((long long)sample * ih + r) * iw + q) * c + ch]);
        nan |= e != e;
        v = kAverage ? v + e : fmaxf(v, e);
      }
    }
    if (kAverage) v = v / (float)((bottom - top) * (right - left));
    if (!kAverage && nan) v = __int_as_float(0x7fffffff);
    y[at] = from_float<T>(v);
  });
}

}  // namespace

#define ENTRY extern "C" __global__ void __launch_bounds__(256)
#define POOL(type, T)                                                                                                         \
  ENTRY max_##type(const T* x, T* y, int n, int ih, int iw, int oh, int ow, int c, int kh, int kw, int stride, int pad) {     \
    pool<false>(x, y, n, ih, iw, oh, ow, c, kh, kw, stride, pad);                                                             \
  }                                                                                                                           \
  ENTRY average_##type(const T* x, T* y, int n, int ih, int iw, int oh, int ow, int c, int kh, int kw, int stride, int pad) { \
    pool<true>(x, y, n, ih, iw, oh, ow, c, kh, kw, stride, pad);                                                              \
  }

POOL(f16, f16)
POOL(f32, float)
