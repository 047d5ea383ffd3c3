// y = act(a b^T * scale + bias + sample_bias) + residual, where a's rows come from
// a source (rows of a matrix, patches of a feature map) and b's are weights. The
// core of matmul and conv.
//
// A block computes a tile of y. K passes through shared memory in K tiles of 64
// bytes a row (32 f16, 16 f32), kStages of them at a time, by cp.async. Chunk c of
// 16 bytes of row r lies at chunk c ^ (r/2 mod 4): eight lanes that store two whole
// rows, and eight that read one chunk of eight rows, meet all 32 banks each.
//
// f16 runs on mma.sync m16n8k16 with f32 accumulators. The fragments of the next
// 16 of K are read while the tensor cores work on these; with warp tiles of 64 x 64
// a warp reads 4 KiB of shared memory for 32 mma, half of what its bandwidth
// allows on an A100 and two thirds on an H100; with 32 x 80, 3.5 KiB for 20, 0.7 and
// 0.9 of it. f32 runs on FMA, 8 x 4 results a thread.
//
// Split-K: where there are too few tiles to fill the device, gridDim.y blocks
// divide the K of a tile and leave f32 partial sums, a warp's part of the tile by
// itself. The last warp to come to a part adds the partial sums of all blocks in
// the blocks' order, so that the result does not depend on who is last, and writes
// it. Nobody waits. Slower: a second launch that adds the partial sums, which starts
// when the last tile has ended; atomic additions to y, which have no order.
//
// Weights are read before the kernel before has ended (depend.cuh): the first K tiles
// of b come first.
#pragma once
#include "depend.cuh"
#include "element.cuh"
#include "mma.cuh"

extern __shared__ __align__(128) char dynamic_shared[];

constexpr int kRowBytes = 64;  // bytes of a tile's row in shared memory

inline int swizzle(int row, int chunk) { return row * kRowBytes + ((chunk ^ (row >> 1 & 3)) << 4); }

// The tile of y that a block computes. Eight rows of tiles are walked together,
// so that what runs at one time shares its operands in the second-level cache.
struct TileIndex {
  int m, n;
};
inline TileIndex tile_index(int tiles_m, int tiles_n) {
  constexpr int kGroup = 8;
  int i = blockIdx.x, first = i / (kGroup * tiles_n) * kGroup;
  int rows = min(kGroup, tiles_m - first), in = i - first * tiles_n;
  return {first + in % rows, in / rows};
}

// The K tiles that fall to this block.
struct KTiles {
  int first, count;
};
inline KTiles k_tiles(int k, int k_tile) {
  int all = (k + k_tile - 1) / k_tile, per = (all + gridDim.y - 1) / gridDim.y;
  int first = min(static_cast<int>(blockIdx.y) * per, all);
  return {first, min(per, all - first)};
}

// What happens to a product before it is written. sample_bias is
// [m / rows_per_sample, n], a bias for each sample: all pixels of a feature map get
// the projection of their sample's timestep embedding.
template <class T> struct Epilogue {
  void* y;  // [m, n] of T, or of f32 with out_f32
  const float* bias;
  const T* sample_bias;
  const void* residual;  // of y's type
  int m, n, rows_per_sample, act, out_f32;
  float scale;
};

template <class T> inline float4 load_at(const void* p, int out_f32, long long at) {
  return out_f32 ? load4(static_cast<const float*>(p) + at) : load4(static_cast<const T*>(p) + at);
}

template <class T> inline float load1_at(const void* p, int out_f32, long long at) {
  return out_f32 ? static_cast<const float*>(p)[at] : to_float(static_cast<const T*>(p)[at]);
}

template <class T> inline void store1_at(void* p, int out_f32, long long at, float v) {
  if (out_f32)
    static_cast<float*>(p)[at] = v;
  else
    static_cast<T*>(p)[at] = from_float<T>(v);
}

// Four columns of a vector of n, which may be null; columns past n have 0.
inline float4 vector4(const float* p, int col, int n) {
  float4 b = {0, 0, 0, 0};
  if (!p) return b;
  if (n % 4 == 0) return load4(p + col);
  b.x = p[col];
  if (col + 1 < n) b.y = p[col + 1];
  if (col + 2 < n) b.z = p[col + 2];
  if (col + 3 < n) b.w = p[col + 3];
  return b;
}

// Writes four neighbouring sums of a row that is inside of y. col is a multiple
// of four.
template <class T> inline void write4(const Epilogue<T>& e, float4 sum, float4 bias, int row, int col) {
  long long at = static_cast<long long>(row) * e.n + col;
  bool whole = e.n % 4 == 0;
  float v[4] = {fmaf(sum.x, e.scale, bias.x), fmaf(sum.y, e.scale, bias.y), fmaf(sum.z, e.scale, bias.z), fmaf(sum.w, e.scale, bias.w)};
  if (e.sample_bias) {
    const T* s = e.sample_bias + static_cast<long long>(row / e.rows_per_sample) * e.n + col;
    if (whole) {
      float4 f = load4(s);
      v[0] += f.x, v[1] += f.y, v[2] += f.z, v[3] += f.w;
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (col + i < e.n) v[i] += to_float(s[i]);
    }
  }
  activate(v, e.act);
  if (whole) {
    if (e.residual) {
      float4 r = load_at<T>(e.residual, e.out_f32, at);
      v[0] += r.x, v[1] += r.y, v[2] += r.z, v[3] += r.w;
    }
    if (e.out_f32)
      store4(static_cast<float*>(e.y) + at, {v[0], v[1], v[2], v[3]});
    else
      store4(static_cast<T*>(e.y) + at, {v[0], v[1], v[2], v[3]});
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (col + i < e.n) {
      if (e.residual) v[i] += load1_at<T>(e.residual, e.out_f32, at + i);
      store1_at<T>(e.y, e.out_f32, at + i, v[i]);
    }
}

// One sum.
template <class T> inline void write1(const Epilogue<T>& e, float sum, float bias, int row, int col) {
  long long at = static_cast<long long>(row) * e.n + col;
  float v[1] = {fmaf(sum, e.scale, bias)};
  if (e.sample_bias) v[0] += to_float(e.sample_bias[static_cast<long long>(row / e.rows_per_sample) * e.n + col]);
  activate(v, e.act);
  if (e.residual) v[0] += load1_at<T>(e.residual, e.out_f32, at);
  store1_at<T>(e.y, e.out_f32, at, v[0]);
}

// The gated layer's result, as the sum that write4 finishes: (value * scale + bias)
// times the gelu of (gate * scale + bias).
inline float gated(float value, float vb, float gate, float gb, float scale) {
  return fmaf(value, scale, vb) * gelu(fmaf(gate, scale, gb));
}

// Where a sum lies in shared memory. Columns are exchanged so that the pieces of
// neighbouring rows that a warp writes at once lie on different banks: eight columns
// of four rows from mma, sixteen columns of two rows from FMA. Rows of 80 columns end
// at half of the banks: two of them in turn lie beside each other as they are.
template <int Width, int Piece> inline int sum_at(int row, int col) {
  constexpr int kEven = Width % 32 == 0 ? 1 : 2;  // rows that end where the banks do
  static_assert(Width * kEven % 32 == 0, "one row does, or two");
  return row * Width + (col ^ row / kEven % (32 / Piece / kEven) * Piece);
}

// Writes Rows rows of Width sums that lie in shared memory to rows m0 and columns
// n0 of y and on: Threads threads, this one t. With Gated the second half of each
// row is the gate of the first.
template <bool Gated, int Piece, int Width, int Rows, int Threads, class T>
inline void write_rows(const Epilogue<T>& e, const float* sums, int t, int m0, int n0) {
  constexpr int kCols = Gated ? Width / 2 : Width, kLanes = kCols / 4;
  int at = t % kLanes * 4, col = n0 + at;
  if (col >= e.n || t >= Threads / kLanes * kLanes) return;
  float4 bias = vector4(e.bias, col, e.n), zero = {0, 0, 0, 0}, gb;
  Epilogue<T> plain = e;
  if (Gated) {
    gb = vector4(e.bias ? e.bias + e.n : nullptr, col, e.n);
    plain.scale = 1;
  }
#pragma unroll 1
  for (int r = t / kLanes; r < Rows && m0 + r < e.m; r += Threads / kLanes) {
    float4 v = *reinterpret_cast<const float4*>(sums + sum_at<Width, Piece>(r, at));
    if (Gated) {
      float4 g = *reinterpret_cast<const float4*>(sums + sum_at<Width, Piece>(r, kCols + at));
      v.x = gated(v.x, bias.x, g.x, gb.x, e.scale);
      v.y = gated(v.y, bias.y, g.y, gb.y, e.scale);
      v.z = gated(v.z, bias.z, g.z, gb.z, e.scale);
      v.w = gated(v.w, bias.w, g.w, gb.w, e.scale);
    }
    write4(plain, v, Gated ? zero : bias, m0 + r, col);
  }
}

// Warps that have left their partial sums, by tile and part of it; 0 between launches.
constexpr int kMaxTiles = 1024;  // matmul.maxTiles
__device__ unsigned arrived[kMaxTiles * 8];

// Leaves a warp's partial sums, at(i) for i below Count, four each, to the warps of
// the other blocks with the same part of the tile, one of Parts. The last to come
// gets the sums over all blocks, and true. partials is [gridDim.y, gridDim.x, Parts,
// Count, 32] of float4.
template <int Count, int Parts, class At> inline bool reduce_partials(At at, float4* partials) {
  static_assert(Parts <= 8, "one counter each");
  int lane = threadIdx.x % 32, part = blockIdx.x * Parts + threadIdx.x / 32;
  long long block = static_cast<long long>(gridDim.x) * Parts * Count * 32;
  float4* p = partials + static_cast<long long>(part) * Count * 32 + lane;
#pragma unroll
  for (int i = 0; i < Count; i++) p[blockIdx.y * block + i * 32] = {at(i)[0], at(i)[1], at(i)[2], at(i)[3]};
  __threadfence();
  __syncwarp();
  unsigned before = 0;
  if (lane == 0) before = atomicAdd(arrived + part, 1);
  if (__shfl_sync(~0u, before, 0) != gridDim.y - 1) return false;
  __threadfence();
  if (lane == 0) arrived[part] = 0;
  __syncwarp();  // what lane 0 knows to be written, all may read
  // From the second-level cache: the first may hold a sector of before. Eight reads
  // are under way at a time, which leaves registers.
  constexpr int kAhead = Count % 8 == 0 ? 8 : 10;
  static_assert(Count % kAhead == 0, "whole passes");
#pragma unroll
  for (int i = 0; i < Count; i += kAhead) {
#pragma unroll
    for (int j = i; j < i + kAhead; j++) at(j)[0] = at(j)[1] = at(j)[2] = at(j)[3] = 0;
    const float4* q = p + i * 32;
#pragma unroll 1
    for (int s = 0; s < gridDim.y; s++, q += block)
#pragma unroll
      for (int j = 0; j < kAhead; j++) {
        float4 v = __ldcg(q + j * 32);
        float(&sum)[4] = at(i + j);
        sum[0] += v.x, sum[1] += v.y, sum[2] += v.z, sum[3] += v.w;
      }
  }
  return true;
}

// Rows of a matrix as a tile's source: Rows of them, each thread copying chunk
// tid%4 of rows tid/4, tid/4 + Threads/4 and on. !Aligned takes rows of any length,
// element by element.
template <class T, int Rows, int Threads, bool Aligned> struct MatrixRows {
  static constexpr int kChunk = 16 / sizeof(T), kStep = Threads / 4, kCount = (Rows + kStep - 1) / kStep;
  static_assert(kStep % 8 == 0, "the swizzle the same in each pass");
  static_assert(Rows % kStep % 8 == 0, "whole warps have rows in the last pass");
  const T* p;
  long long step;  // elements from one of this thread's rows to the next
  unsigned at;
  int k, depth, left;  // left: rows from the thread's first to the end

  // Rows row0 to the end of [rows, depth]; rows are ld elements apart.
  inline MatrixRows(const T* m, int row0, int rows, int depth, int ld, int first) : depth(depth) {
    int r = threadIdx.x / 4, c = threadIdx.x % 4;
    k = (first * 4 + c) * kChunk;
    p = m + static_cast<long long>(row0 + r) * ld + k;
    step = static_cast<long long>(kStep) * ld;
    at = swizzle(r, c);
    left = rows - row0 - r;
  }

  // The weights of a gated layer, [2 rows, depth]: in the tile, groups of Group
  // rows come from the first and the second half in turn, from row row0 of each.
  template <int Group> static inline MatrixRows gated(const T* m, int row0, int rows, int depth, int ld, int first) {
    static_assert(kStep % (2 * Group) == 0, "a thread stays in its half");
    MatrixRows s(m, 0, rows, depth, ld, first);
    int r = threadIdx.x / 4, half = r / Group % 2, row = row0 + r / (2 * Group) * Group + r % Group;
    s.p = m + (static_cast<long long>(half) * rows + row) * ld + s.k;
    s.step = static_cast<long long>(kStep / 2) * ld;
    s.left = rows - row;
    s.stride = kStep / 2;
    return s;
  }
  int stride = kStep;  // rows from one of this thread's to the next

  // Copies this K tile to shared memory: zeros where there is none.
  inline void load(unsigned tile, bool is) const {
#pragma unroll
    for (int i = 0; i < kCount; i++) {
      if ((i + 1) * kStep > Rows && threadIdx.x / 4 + i * kStep >= Rows) continue;
      bool ok = is && i * stride < left;
      if (Aligned) {
        copy16(tile + at + i * kStep * kRowBytes, p + i * step, ok && k < depth);
      } else {
        alignas(16) T v[kChunk];
#pragma unroll
        for (int e = 0; e < kChunk; e++) v[e] = ok && k + e < depth ? p[i * step + e] : T(0.f);
        store_shared16(tile + at + i * kStep * kRowBytes, *reinterpret_cast<uint4*>(v));
      }
    }
  }

  // Goes on to the next K tile.
  inline void next() {
    p += 4 * kChunk;
    k += 4 * kChunk;
  }
};

// A block's shape. f16: WarpsM x WarpsN warps, each kWarpRows x kWarpCols of the
// tile. f32: a warp has 16 rows, a thread of it every second row and every
// sixteenth column.
template <class T, int Rows, int Cols, int WarpsM, int WarpsN, int Stages> struct Tile {
  static constexpr int kRows = Rows, kCols = Cols, kStages = Stages, kThreads = 32 * WarpsM * WarpsN;
  static constexpr int kDepth = kRowBytes / sizeof(T), kStageBytes = (kRows + kCols) * kRowBytes, kShared = kStages * kStageBytes;
  static constexpr int kWarpRows = kRows / WarpsM, kWarpCols = kCols / WarpsN, kAcross = WarpsN;
};

// Copies the first K tiles of both operands to all stages but one. b has weights.
template <class G, class A, class B> inline void copy_first(A& a, B& b, unsigned base, int count) {
#pragma unroll
  for (int s = 0; s < G::kStages - 1; s++) {
    b.load(base + s * G::kStageBytes + G::kRows * kRowBytes, s < count);
    b.next();
  }
  wait_for_kernel_before();
#pragma unroll
  for (int s = 0; s < G::kStages - 1; s++) {
    a.load(base + s * G::kStageBytes, s < count);
    a.next();
    copy_commit();
  }
}

// Copies a K tile of both operands to a stage; zeros where there is none.
template <class G, class A, class B> inline void copy_stage(const A& a, const B& b, unsigned stage, bool is) {
  a.load(stage, is);
  b.load(stage + G::kRows * kRowBytes, is);
  copy_commit();
}

// The sums of one warp's part of an f16 tile: acc[i][j] is c of mma16816 for
// rows 16i and columns 8j of the part.
template <class G> struct Sums {
  static constexpr int kI = G::kWarpRows / 16, kJ = G::kWarpCols / 8;
  float acc[kI][kJ][4] = {};
  unsigned a_at[2], b_at[2];
  struct Fragments {
    unsigned a[kI][4], b[kJ / 2][4];
  } next[2];

  inline Sums() {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, q = lane / 8;
    int m = warp / G::kAcross * G::kWarpRows + (q & 1) * 8 + lane % 8;
    int n = warp % G::kAcross * G::kWarpCols + (q >> 1) * 8 + lane % 8;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      a_at[h] = swizzle(m, 2 * h + (q >> 1));
      b_at[h] = G::kRows * kRowBytes + swizzle(n, 2 * h + (q & 1));
    }
  }

  // Reads the fragments of one half of a K tile.
  inline void fetch(unsigned stage, int half) {
#pragma unroll
    for (int i = 0; i < kI; i++) ldmatrix4(next[half].a[i], stage + a_at[half] + i * 16 * kRowBytes);
#pragma unroll
    for (int j = 0; j < kJ / 2; j++) ldmatrix4(next[half].b[j], stage + b_at[half] + j * 16 * kRowBytes);
  }

  inline void add(int half) {
#pragma unroll
    for (int i = 0; i < kI; i++)
#pragma unroll
      for (int j = 0; j < kJ; j++) mma16816(acc[i][j], next[half].a[i], next[half].b[j / 2][j % 2 * 2], next[half].b[j / 2][j % 2 * 2 + 1]);
  }

  // count K tiles of a and b. The loop's copies, fragments and mma are one basic
  // block, in which ptxas spreads the mma among the others (ptx.py checks that it
  // did): nothing in it is conditional, behind the last K tile there are zeros, and
  // what of the step to the next K tile branches comes at the end.
  template <class A, class B> inline void multiply(A& a, B& b, int count) {
    unsigned base = shared_address(dynamic_shared);
    copy_first<G>(a, b, base, count);
    copy_wait<G::kStages - 2>();
    __syncthreads();
    fetch(base, 0);
    int read = 0, write = G::kStages - 1;
#pragma unroll 1
    for (int s = 0; s < count; s++) {
      fetch(base + read * G::kStageBytes, 1);
      // The stage that is filled now was read before the last barrier.
      copy_stage<G>(a, b, base + write * G::kStageBytes, s + G::kStages - 1 < count);
      add(0);
      read = read + 1 == G::kStages ? 0 : read + 1;
      write = write + 1 == G::kStages ? 0 : write + 1;
      copy_wait<G::kStages - 2>();
      __syncthreads();
      fetch(base + read * G::kStageBytes, 0);
      add(1);
      a.next();
      b.next();
    }
    launch_dependents();
    copy_wait<0>();
  }

  // Writes the tile at (m0, n0) of y, or leaves this block's partial sums of it. Sums
  // pass through shared memory, as many of a warp's rows at a time as fit, so that a
  // row's neighbours are written together. With Gated the tile has half as many
  // columns: column 8j of the first half of the weights lies in acc[2j], of the
  // second in acc[2j+1].
  template <bool Gated, class T> inline void write(const Epilogue<T>& e, float* partials, int m0, int n0) {
    __syncthreads();  // the K tiles have been read
    if constexpr (!Gated) {
      auto at = [&](int i) -> float(&)[4] { return acc[i / kJ][i % kJ]; };
      if (gridDim.y > 1 && !reduce_partials<kI * kJ, G::kThreads / 32>(at, reinterpret_cast<float4*>(partials))) return;
    }
    constexpr int kFit = G::kShared / (G::kThreads / 32) / (G::kWarpCols * 4);
    constexpr int kPassRows = kFit >= G::kWarpRows ? G::kWarpRows : G::kWarpRows / 2;
    static_assert(kPassRows <= kFit, "the sums fit where the K tiles were");
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float* sums = reinterpret_cast<float*>(dynamic_shared) + warp * kPassRows * G::kWarpCols;
    m0 += warp / G::kAcross * G::kWarpRows;
    n0 += warp % G::kAcross * (Gated ? G::kWarpCols / 2 : G::kWarpCols);
#pragma unroll
    for (int pass = 0; pass < G::kWarpRows / kPassRows; pass++) {
      __syncwarp();
#pragma unroll
      for (int i = 0; i < kPassRows / 16; i++)
#pragma unroll
        for (int j = 0; j < kJ; j++)
#pragma unroll
          for (int h = 0; h < 2; h++) {
            int col = Gated ? j / 2 * 8 + j % 2 * (G::kWarpCols / 2) : j * 8;
            const float* c = acc[pass * (kPassRows / 16) + i][j] + 2 * h;
            int at = sum_at<G::kWarpCols, 8>(16 * i + 8 * h + lane / 4, col + lane % 4 * 2);
            *reinterpret_cast<float2*>(sums + at) = {c[0], c[1]};
          }
      __syncwarp();
      write_rows<Gated, 8, G::kWarpCols, kPassRows, 32>(e, sums, lane, m0 + pass * kPassRows, n0);
    }
  }
};

// The sums of one thread of an f32 tile of 64 x 64: acc[i][j] is that of row
// row() + 2i and column tid%16 + 16j.
template <class G> struct ScalarSums {
  static_assert(G::kRows == 64 && G::kCols == 64 && G::kThreads == 128, "8 x 16 threads of 8 x 4 sums");
  float acc[8][4] = {};

  static inline int row() { return threadIdx.x / 32 * 16 + threadIdx.x / 16 % 2; }

  template <class A, class B> inline void multiply(A& a, B& b, int count) {
    unsigned base = shared_address(dynamic_shared);
    int ty = row(), tx = threadIdx.x % 16;
    copy_first<G>(a, b, base, count);
    int read = 0, write = G::kStages - 1;
#pragma unroll 1
    for (int s = 0; s < count; s++) {
      copy_wait<G::kStages - 2>();
      __syncthreads();
      copy_stage<G>(a, b, base + write * G::kStageBytes, s + G::kStages - 1 < count);
      a.next();
      b.next();
      const char* stage = dynamic_shared + read * G::kStageBytes;
#pragma unroll
      for (int c = 0; c < 4; c++) {
        float4 x[8], w[4];
#pragma unroll
        for (int i = 0; i < 8; i++) x[i] = *reinterpret_cast<const float4*>(stage + swizzle(ty + 2 * i, c));
#pragma unroll
        for (int j = 0; j < 4; j++) w[j] = *reinterpret_cast<const float4*>(stage + G::kRows * kRowBytes + swizzle(tx + 16 * j, c));
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
          for (int j = 0; j < 4; j++) {
            acc[i][j] = fmaf(x[i].x, w[j].x, acc[i][j]);
            acc[i][j] = fmaf(x[i].y, w[j].y, acc[i][j]);
            acc[i][j] = fmaf(x[i].z, w[j].z, acc[i][j]);
            acc[i][j] = fmaf(x[i].w, w[j].w, acc[i][j]);
          }
      }
      read = read + 1 == G::kStages ? 0 : read + 1;
      write = write + 1 == G::kStages ? 0 : write + 1;
    }
    launch_dependents();
    copy_wait<0>();
  }

  template <bool Gated, class T> inline void write(const Epilogue<T>& e, float* partials, int m0, int n0) {
    static_assert(G::kRows * G::kCols * 4 <= G::kShared, "the sums fit where the K tiles were");
    __syncthreads();  // the K tiles have been read
    if constexpr (!Gated) {
      auto at = [&](int i) -> float(&)[4] { return acc[i]; };
      if (gridDim.y > 1 && !reduce_partials<8, G::kThreads / 32>(at, reinterpret_cast<float4*>(partials))) return;
    }
    int first = threadIdx.x / 32 * 16;
    float* sums = reinterpret_cast<float*>(dynamic_shared) + first * G::kCols;
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        int col = Gated ? j / 2 * 16 + j % 2 * (G::kCols / 2) : j * 16;
        sums[sum_at<G::kCols, 16>(row() - first + 2 * i, col + threadIdx.x % 16)] = acc[i][j];
      }
    __syncwarp();
    write_rows<Gated, 16, G::kCols, 16, 32>(e, sums, threadIdx.x % 32, m0 + first, n0);
  }
};

template <class T, class G> struct SumsOf {
  using type = Sums<G>;
};
template <class G> struct SumsOf<float, G> {
  using type = ScalarSums<G>;
};
