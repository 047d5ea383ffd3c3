// matmul: y[m, n] = act(x[m, k] w[n, k]^T * scale + bias[n] + sample_bias[m / rows_per_sample, n]) + residual[m, n],
// and the gated layer y[m, n] = (x w0^T + b0) * gelu(x w1^T + b1) with w = [w0; w1] of [2n, k].
//
// x and y are row-major without gaps; w's rows are padded with zeros to a
// multiple of eight elements. bias (f32), sample_bias (of x's type) and residual
// (of y's) may be null. act is matmul.Act; out_f32 asks an f16 kernel for f32
// results (logits). Any m, n, k of at least 1.
//
// The tiles (see ../cuda/gemm.cuh for what happens inside), grid.x = tiles of y,
// grid.y = split-K, blocks that divide the K of a tile:
//
//   kernel                 threads  dynamic shared  y tile
//   linear_f16_256x128x32  256      98,304          256 x 128  many rows
//   linear_f16_128x160x32  256      73,728          128 x 160  n = 320, 640 or 1280 leaves no half-empty tile
//   linear_f16_128x128x32  128      65,536          128 x 128
//   linear_f16_256x64x32   256      81,920          256 x 64
//   linear_f16_64x64x32    128      32,768          64 x 64    small y, or with split-K
//   linear_f16_16x16       256      0               16 x 16    a few rows: decoding
//   linear_f32_64x64x16    128      24,576          64 x 64
//   geglu_f16_128x128x32   128      65,536          128 x 64   no split-K
//   geglu_f16_64x64x32     128      32,768          64 x 32    no split-K
//   geglu_f32_64x64x16     128      24,576          64 x 32    no split-K
//
// *_any take the place of the 64 x 64 and 16 x 16 kernels where rows of x do not
// start at multiples of 16 bytes. partials, the split-K workspace, has a whole tile
// of f32 for each block; it is null where grid.y is 1.
//
// Bounds. A K tile of a 128 x 128 tile is 16 KiB from the second-level cache for
// 2^20 FLOPs, 64 a byte; of a 256 x 128 tile 85: the faster the tensor cores against
// the cache, the more the larger tile is worth. The 16 x 16 kernel is bound by the
// bytes of w, which blocks of other rows of x read out of the cache. Registers per
// kernel stand in ../RESOURCES.md: warps of 64 x 64 hold 128 sums a thread.
//
// Considered and left: K tiles of 128 bytes a row (two stages of the largest tile
// would fill the 99 KiB of sm_86, and hide less than four of half the K tile);
// wgmma, which needs sm_90a and would be a second core; stream-K, whose blocks wait
// for each other's sums; f16 accumulation, outside of the error bound.
#include "gemm.cuh"

template <class T, class G, bool Aligned, bool Gated>
inline void linear(T* y, const T* x, const T* w, const float* bias, const T* sample_bias, int rows_per_sample, const void* residual,
                   float* partials, int m, int n, int k, float scale, int act, int out_f32) {
  constexpr int kCols = Gated ? G::kCols / 2 : G::kCols, kGroup = sizeof(T) == 2 ? 8 : 16;
  using Rows = MatrixRows<T, G::kRows, G::kThreads, Aligned>;
  using Weights = MatrixRows<T, G::kCols, G::kThreads, true>;
  int ld = (k + 7) / 8 * 8;
  TileIndex tile = tile_index((m + G::kRows - 1) / G::kRows, (n + kCols - 1) / kCols);
  int m0 = tile.m * G::kRows, n0 = tile.n * kCols;
  KTiles part = k_tiles(k, G::kDepth);
  Rows a(x, m0, m, k, k, part.first);
  Weights b = Gated ? Weights::template gated<kGroup>(w, n0, n, ld, ld, part.first) : Weights(w, n0, n, ld, ld, part.first);
  typename SumsOf<T, G>::type sums;
  sums.multiply(a, b, part.count);
  Epilogue<T> e = {y, bias, sample_bias, residual, m, n, rows_per_sample, act, out_f32, scale};
  sums.template write<Gated>(e, partials, m0, n0);
}

// 16 rows of y and 16 columns a block; its eight warps divide K, 32 elements
// at a time, and their sums meet in shared memory. The sum over K
// takes any order, so each lane reads 16 bytes of a row (lanes 4g to 4g+3: 64 bytes
// of row g) and uses them as its part of two mma's fragments, the same for x and
// w: nothing passes through shared memory before it is multiplied.
template <bool Aligned>
inline void linear_few_rows(f16* y, const f16* x, const f16* w, const float* bias, const f16* sample_bias, int rows_per_sample,
                            const void* residual, float*, int m, int n, int k, float scale, int act, int out_f32) {
  constexpr int kWarps = 8, kAhead = 4;  // kAhead: reads under way, in steps of K
  __shared__ float partials[kWarps][16][16];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, c = lane % 4 * 8;
  // Blocks that follow each other share their rows of w.
  int ld = (k + 7) / 8 * 8, tiles_m = (m + 15) / 16;
  int m0 = blockIdx.x % tiles_m * 16, n0 = blockIdx.x / tiles_m * 16;

  auto row = [&](const f16* p, int row, int rows, int at, int k, int ld, bool aligned) {
    const f16* q = p + static_cast<long long>(row) * ld + at;
    alignas(16) f16 v[8];
    if (aligned) return row < rows && at < k ? *reinterpret_cast<const uint4*>(q) : uint4{0, 0, 0, 0};
#pragma unroll
    for (int e = 0; e < 8; e++) v[e] = row < rows && at + e < k ? q[e] : f16(0.f);
    return *reinterpret_cast<uint4*>(v);
  };

  wait_for_kernel_before();
  float acc[2][4] = {};
  for (int k0 = warp * 32 + c; k0 - c < k; k0 += kWarps * kAhead * 32) {
    uint4 a[kAhead][2], b[kAhead][2];
#pragma unroll
    for (int s = 0; s < kAhead; s++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        int at = k0 + s * kWarps * 32;
        b[s][h] = row(w, n0 + 8 * h + g, n, at, ld, ld, true);
        a[s][h] = row(x, m0 + 8 * h + g, m, at, k, k, Aligned);
      }
#pragma unroll
    for (int s = 0; s < kAhead; s++) {
      if (k0 - c + s * kWarps * 32 >= k) break;  // the same for the whole warp
      unsigned lo[4] = {a[s][0].x, a[s][1].x, a[s][0].y, a[s][1].y};
      unsigned hi[4] = {a[s][0].z, a[s][1].z, a[s][0].w, a[s][1].w};
#pragma unroll
      for (int j = 0; j < 2; j++) {
        mma16816(acc[j], lo, b[s][j].x, b[s][j].y);
        mma16816(acc[j], hi, b[s][j].z, b[s][j].w);
      }
    }
  }
  launch_dependents();
  // Every other pair of rows has its halves exchanged: four rows on 32 banks.
#pragma unroll
  for (int j = 0; j < 2; j++)
#pragma unroll
    for (int h = 0; h < 2; h++)
      *reinterpret_cast<float2*>(&partials[warp][g + 8 * h][(8 * j ^ (g & 2) << 2) + c / 4]) = {acc[j][2 * h], acc[j][2 * h + 1]};
  __syncthreads();
  int r = threadIdx.x / 16, col = threadIdx.x % 16;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kWarps; i++) sum += partials[i][r][col ^ (r & 2) << 2];
  Epilogue<f16> e = {y, bias, sample_bias, residual, m, n, rows_per_sample, act, out_f32, scale};
  if (m0 + r < m && n0 + col < n) write1(e, sum, bias ? bias[n0 + col] : 0.f, m0 + r, n0 + col);
}

// What each entry takes, in this order.
#define PARAMETERS(T)                                                                                                                \
  T *y, const T *x, const T *w, const float *bias, const T *sample_bias, int rows_per_sample, const void *residual, float *partials, \
      int m, int n, int k, float scale, int act, int out_f32
#define ARGUMENTS y, x, w, bias, sample_bias, rows_per_sample, residual, partials, m, n, k, scale, act, out_f32

#define LINEAR(NAME, T, G, BLOCKS, Aligned, Gated) \
  extern "C" __global__ void __launch_bounds__(G::kThreads, BLOCKS) NAME(PARAMETERS(T)) { linear<T, G, Aligned, Gated>(ARGUMENTS); }

using F16_256x128 = Tile<f16, 256, 128, 4, 2, 4>;  // warps of 64 x 64
using F16_128x160 = Tile<f16, 128, 160, 4, 2, 4>;  // warps of 32 x 80
using F16_128x128 = Tile<f16, 128, 128, 2, 2, 4>;
using F16_256x64 = Tile<f16, 256, 64, 4, 2, 4>;     // warps of 64 x 32
using F16_64x64 = Tile<f16, 64, 64, 2, 2, 4>;       // warps of 32 x 32
using F16_64x64_wide = Tile<f16, 64, 64, 4, 1, 4>;  // warps of 16 x 64: both halves of 32 columns
using F32_64x64 = Tile<float, 64, 64, 2, 2, 3>;

LINEAR(linear_f16_256x128x32, f16, F16_256x128, 1, true, false)
LINEAR(linear_f16_128x128x32, f16, F16_128x128, 2, true, false)
LINEAR(linear_f16_128x160x32, f16, F16_128x160, 1, true, false)
LINEAR(linear_f16_256x64x32, f16, F16_256x64, 1, true, false)
LINEAR(linear_f16_64x64x32, f16, F16_64x64, 4, true, false)
LINEAR(linear_f16_any, f16, F16_64x64, 4, false, false)
LINEAR(linear_f32_64x64x16, float, F32_64x64, 4, true, false)
LINEAR(linear_f32_any, float, F32_64x64, 4, false, false)
LINEAR(geglu_f16_128x128x32, f16, F16_128x128, 2, true, true)
LINEAR(geglu_f16_64x64x32, f16, F16_64x64_wide, 4, true, true)
LINEAR(geglu_f16_any, f16, F16_64x64_wide, 4, false, true)
LINEAR(geglu_f32_64x64x16, float, F32_64x64, 4, true, true)
LINEAR(geglu_f32_any, float, F32_64x64, 4, false, true)

extern "C" __global__ void __launch_bounds__(256) linear_f16_16x16(PARAMETERS(f16)) { linear_few_rows<true>(ARGUMENTS); }
extern "C" __global__ void __launch_bounds__(256) linear_f16_16x16_any(PARAMETERS(f16)) { linear_few_rows<false>(ARGUMENTS); }
