// Parts of feature maps and the blending of tiles. Bytes bound both.
//
// 256 threads a block, any grid. Neighbouring threads take neighbouring vectors
// of 16 bytes, or elements where rows are not whole vectors.
#include "grid.cuh"

namespace {

// fade blends the end of a [n, ah, aw, c] into the beginning of b [n, bh, bw, c]
// over `extent` rows or columns.
template <typename T> inline void fade(const T* a, T* b, int n, int ah, int aw, int bh, int bw, int c, int extent, int down) {
  const int h = down ? extent : min(ah, bh), w = down ? min(aw, bw) : extent;
  grid_stride((long long)n * h * w * c, [&](long long at) {
    const unsigned i = (unsigned)at, ch = i % c, x = i / c % w, y = i / c / w % h, sample = i / c / w / h;
    const int ay = down ? ah - extent + y : y, ax = down ? x : aw - extent + x;
    const float f = (float)(down ? y : x) / (float)extent;
    const T p = a[(((long long)sample * ah + ay) * aw + ax) * c + ch];
    T& q = b[(((long long)sample * bh + y) * bw + x) * c + ch];
    q = from_float<T>(__fadd_rn(__fmul_rn(to_float(p), 1.0f - f), __fmul_rn(to_float(q), f)));
  });
}

}  // namespace

#define ENTRY extern "C" __global__ void __launch_bounds__(256)
#define TILES(type, T)                                                                                                          \
  ENTRY box_##type(const T* from, T* to, int n, int h, int width, long long from_at, long long from_sample, long long from_row, \
                   long long to_at, long long to_sample, long long to_row) {                                                    \
    box(from + from_at, to + to_at, n, h, width, from_sample, from_row, to_sample, to_row);                                     \
  }                                                                                                                             \
  ENTRY fade_##type(const T* a, T* b, int n, int ah, int aw, int bh, int bw, int c, int extent, int down) {                     \
    fade(a, b, n, ah, aw, bh, bw, c, extent, down);                                                                             \
  }

TILES(f16, f16)
TILES(f32, float)
