// conv: y[n, oh, ow, out] = act(conv(x, w) + bias[out] + sample_bias[n, out]) + residual, feature maps NHWC.
//
// An implicit GEMM on the core of ../cuda/gemm.cuh: the rows of the left operand are
// the patches under the output pixels, K runs over (row, column, channel) of
// the filters, and the patches exist only as K tiles in shared memory. w is
// [out, kh*kw*(c1+c2)], its rows padded with zeros to a multiple of eight elements.
//
// x2 has the channels that follow x1's, c2 of them (0: null), so that a skip
// connection is not concatenated first. shift 1 reads x as if each pixel stood there
// 2 x 2 times: nearest-neighbour upsampling without the larger map. pad_top and
// pad_left are zeros before x; how many follow is what oh and ow leave. Strides are
// given by axis, because a patch embedding, with a stride of kw, is the same as a
// convolution of [h, w/kw, kw*c] with filters of width 1 and stride 1 along w, whose
// channels are a multiple of eight where three are not.
//
// The tiles, grid.x = tiles of y, grid.y = split-K, blocks that divide the K of a tile:
//
//   kernel               threads  dynamic shared  y tile (pixels x channels)
//   conv_f16_256x128x32  256      98,304          256 x 128  many pixels
//   conv_f16_128x160x32  256      73,728          128 x 160  320, 640 and 1280 channels leave no half-empty tile
//   conv_f16_128x128x32  128      65,536          128 x 128
//   conv_f16_256x64x32   256      81,920          256 x 64
//   conv_f16_64x64x32    128      32,768          64 x 64    few pixels or channels
//   conv_f16_any         128      32,768          64 x 64    c1 % 8 != 0 or c2 % 8 != 0
//   conv_f32_64x64x16    128      24,576          64 x 64
//   conv_f32_any         128      24,576          64 x 64    c1 % 4 != 0 or c2 % 4 != 0
//
// partials is as linear's.
//
// Bounds. The FLOPs of the tensor cores, as matmul; a patch's pixels are read from
// DRAM once and from the second-level cache kh*kw times. Addresses cost a compare, a
// select and a multiply-add for each 16 bytes, among the mma; and some ten instructions
// for each row of the tile where a K tile enters another tap, behind them: under a
// tenth of the issue slots beside 64 mma a K tile.
//
// Considered and left: Winograd (f16 loses digits, and 3x3 at these sizes is not bound
// by FLOPs alone); an im2col pass (nine times the bytes); bulk tensor copies in im2col
// mode, which need sm_90.
#include "gemm.cuh"

template <class T> struct Maps {
  const T *x1, *x2;
  int h, w, c1, c2, oh, ow, kh, kw, stride_y, stride_x, pad_top, pad_left, shift;
};

// Patches as a tile's source: as MatrixRows, row r of the tile being output pixel
// m0 + r. Sizes are at most 32,767 and x has less than 2^31 pixels.
template <class T, int Rows, int Threads, bool Aligned> struct PatchRows {
  static constexpr int kChunk = 16 / sizeof(T), kStep = Threads / 4, kCount = Rows / kStep;
  static_assert(Rows % kStep == 0 && kStep % 8 == 0, "whole passes, and the swizzle the same in each");
  const Maps<T>& g;
  unsigned at;
  int corner[kCount];  // y << 16 | x of the patch's first pixel
  int sample[kCount];  // the first pixel of the picture
  int pixel[kCount];   // the one under the tap, -1 outside of the picture
  int channel, ky, kx;

  inline PatchRows(const Maps<T>& g, int m0, int m, int first) : g(g) {
    int r = threadIdx.x / 4, c = threadIdx.x % 4, k = (first * 4 + c) * kChunk;
    at = swizzle(r, c);
    channel = k % (g.c1 + g.c2);
    kx = k / (g.c1 + g.c2) % g.kw;
    ky = k / (g.c1 + g.c2) / g.kw;
#pragma unroll
    for (int i = 0; i < kCount; i++) {
      int p = m0 + r + i * kStep, ox = p % g.ow, oy = p / g.ow % g.oh;
      // A row past the end lies above any picture.
      int top = p < m ? oy * g.stride_y - g.pad_top : -32768;
      corner[i] = top << 16 | (ox * g.stride_x - g.pad_left & 0xffff);
      sample[i] = p / g.ow / g.oh * g.h * g.w;
    }
    if (Aligned) step_on();
  }

  inline int under(int i, int ky, int kx) const {
    int y = (corner[i] >> 16) + ky, x = static_cast<short>(corner[i]) + kx;
    bool in = ky < g.kh && y >= 0 && x >= 0 && y >> g.shift < g.h && x >> g.shift < g.w;
    return in ? sample[i] + (y >> g.shift) * g.w + (x >> g.shift) : -1;
  }

  // Finds the pixels under the tap.
  inline void step_on() {
#pragma unroll
    for (int i = 0; i < kCount; i++) pixel[i] = under(i, ky, kx);
  }

  // As MatrixRows' load and next.
  inline void load(unsigned tile, bool is) const {
    if (Aligned) {
      bool first = channel < g.c1;
      const T* x = first ? g.x1 + channel : g.x2 + (channel - g.c1);
      int wide = first ? g.c1 : g.c2;
#pragma unroll
      for (int i = 0; i < kCount; i++)
        copy16(tile + at + i * kStep * kRowBytes, x + static_cast<long long>(pixel[i]) * wide, is && pixel[i] >= 0);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; i++) {
        alignas(16) T v[kChunk];
        int ch = channel, tx = kx, ty = ky;
        long long p = is ? under(i, ty, tx) : -1;
#pragma unroll
        for (int e = 0; e < kChunk; e++) {
          const T* x = ch < g.c1 ? g.x1 + p * g.c1 + ch : g.x2 + p * g.c2 + (ch - g.c1);
          v[e] = p >= 0 ? *x : T(0.f);
          if (++ch == g.c1 + g.c2) {
            ch = 0;
            if (++tx == g.kw) tx = 0, ++ty;
            p = is ? under(i, ty, tx) : -1;
          }
        }
        store_shared16(tile + at + i * kStep * kRowBytes, *reinterpret_cast<uint4*>(v));
      }
    }
  }

  inline void next() {
    int c = g.c1 + g.c2;
    channel += 4 * kChunk;
    if (channel < c) return;
    do {
      channel -= c;
      if (++kx == g.kw) kx = 0, ++ky;
    } while (channel >= c);
    if (Aligned) step_on();
  }
};

template <class T, class G, bool Aligned> inline void conv(const Maps<T>& g, const T* w, float* partials, const Epilogue<T>& e) {
  using Weights = MatrixRows<T, G::kCols, G::kThreads, true>;
  int k = (g.kh * g.kw * (g.c1 + g.c2) + 7) / 8 * 8;
  TileIndex tile = tile_index((e.m + G::kRows - 1) / G::kRows, (e.n + G::kCols - 1) / G::kCols);
  int m0 = tile.m * G::kRows, n0 = tile.n * G::kCols;
  KTiles part = k_tiles(k, G::kDepth);
  typename SumsOf<T, G>::type sums;  // first: ptxas computes addresses in the loop otherwise
  PatchRows<T, G::kRows, G::kThreads, Aligned> a(g, m0, e.m, part.first);
  Weights b(w, n0, e.n, k, k, part.first);
  sums.multiply(a, b, part.count);
  sums.template write<false>(e, partials, m0, n0);
}

// m is the output pixels of all pictures, n the output channels.
#define CONV(NAME, T, G, BLOCKS, Aligned)                                                                                               \
  extern "C" __global__ void __launch_bounds__(G::kThreads, BLOCKS)                                                                     \
      NAME(T* y, const T* x1, const T* x2, const T* w, const float* bias, const T* sample_bias, int rows_per_sample, const T* residual, \
           float* partials, int m, int n, int height, int width, int c1, int c2, int oh, int ow, int kh, int kw, int stride_y,          \
           int stride_x, int pad_top, int pad_left, int shift, int act) {                                                               \
    conv<T, G, Aligned>({x1, x2, height, width, c1, c2, oh, ow, kh, kw, stride_y, stride_x, pad_top, pad_left, shift}, w, partials,     \
                        {y, bias, sample_bias, residual, m, n, rows_per_sample, act, 0, 1.f});                                          \
  }

using F16_256x128 = Tile<f16, 256, 128, 4, 2, 4>;  // warps of 64 x 64
using F16_128x160 = Tile<f16, 128, 160, 4, 2, 4>;  // warps of 32 x 80
using F16_128x128 = Tile<f16, 128, 128, 2, 2, 4>;
using F16_256x64 = Tile<f16, 256, 64, 4, 2, 4>;  // warps of 64 x 32
using F16_64x64 = Tile<f16, 64, 64, 2, 2, 4>;    // warps of 32 x 32
using F32_64x64 = Tile<float, 64, 64, 2, 2, 3>;

CONV(conv_f16_256x128x32, f16, F16_256x128, 1, true)
CONV(conv_f16_128x128x32, f16, F16_128x128, 2, true)
CONV(conv_f16_128x160x32, f16, F16_128x160, 1, true)
CONV(conv_f16_256x64x32, f16, F16_256x64, 1, true)
CONV(conv_f16_64x64x32, f16, F16_64x64, 4, true)
CONV(conv_f16_any, f16, F16_64x64, 4, false)
CONV(conv_f32_64x64x16, float, F32_64x64, 4, true)
CONV(conv_f32_any, float, F32_64x64, 3, false)
