// 8-bit pictures to activations and back. Bytes bound both.
//
// 256 threads a block, any grid; neighbouring threads take neighbouring elements.
#include "grid.cuh"

namespace {

using u8 = unsigned char;

// normalise cuts [n, oh, ow, 3] at (top, left) out of pictures [n, h, w, 3],
// black where there is none, and looks each byte up in table [3, 256].
template <typename T> inline void normalise(const u8* x, const float* table, T* y, int n, int h, int w, int top, int left, int oh, int ow) {
  grid_stride((long long)n * oh * ow * 3, [&](long long at) {
    const unsigned i = (unsigned)at, ch = i % 3, column = i / 3 % ow, row = i / 3 / ow % oh, picture = i / 3 / ow / oh;
    const int sx = (int)column + left, sy = (int)row + top;
    int v = 0;
    if (sx >= 0 && sx < w && sy >= 0 && sy < h) v = x[(((long long)picture * h + sy) * w + sx) * 3 + ch];
    y[at] = from_float<T>(table[ch * 256 + v]);
  });
}

// bytes: 0 to 255 of -1 to 1, rounded half to even.
template <typename T> inline void bytes(const T* x, u8* y, long long n) {
  grid_stride(n, [&](long long i) { y[i] = (u8)__float2int_rn(fminf(fmaxf(to_float(x[i]) * 0.5f + 0.5f, 0.0f), 1.0f) * 255.0f); });
}

}  // namespace

#define ENTRY extern "C" __global__ void __launch_bounds__(256)
#define RGB(type, T)                                                                                                      \
  ENTRY normalise_##type(const u8* x, const float* table, T* y, int n, int h, int w, int top, int left, int oh, int ow) { \
    normalise(x, table, y, n, h, w, top, left, oh, ow);                                                                   \
  }                                                                                                                       \
  ENTRY bytes_##type(const T* x, u8* y, long long n) { bytes(x, y, n); }

RGB(f16, f16)
RGB(f32, float)
