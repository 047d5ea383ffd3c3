// softmax(q kT scale) v in one pass (FlashAttention-2, arXiv 2307.08691): the
// scores of a tile live in registers, with a running maximum and sum for each
// query; nothing of [queries, keys] is ever written. Tensor cores bound the
// long self-attentions, bytes the decoding ones.
//
// attention_f16_d<D>: 4 warps, 64 queries (16 a warp) against tiles of 64 keys,
// head dims up to D, with zeros behind the dim. Shared memory, static: one tile
// of keys and one of values, 256 D bytes (40 KiB at 160), in which q is staged
// first and the result last. Values are copied (cp.async) while the scores are
// computed, the next keys while the values are used: two barriers a tile.
// _h2: 8 warps and two neighbouring heads, side by side in the tiles; a warp has
// its queries of one of them. For dims that are no whole number of sectors: a head
// of 40 is 80 bytes of each row, two and a half, and two heads are five.
// _m2: 32 queries a warp, so that each ldmatrix of keys or values feeds two
// mma; for long sequences of small heads, where shared memory's 128 bytes a
// cycle are the bound. By registers two blocks of 4 warps fit a multiprocessor, or
// one of a pair of heads. Two blocks do not wait for each other, so that one's
// softmax runs beside the other's mma, for a fifth more sectors: three for a head of
// 40's two and a half.
// attention_f16_d40: head dims up to 40 in tiles of 48, whose 41st column of values is
// 1: the sum of the probabilities is one more column of the result, by an mma that
// is there in any case, and not an addition for each.
// attention_f16_d512 (the autoencoder's one head): 8 warps as 2 rows of 16
// queries by 4 quarters of the dim, whose partial scores are summed by way of
// shared memory; tiles of 32 keys; 80 KiB, dynamic.
//
// Tiles are rows of D/8 chunks of 16 bytes. Chunk c of row r lies at
// c ^ ((r / (8/p)) % p), p the largest power of 2 up to 8 that divides D/8:
// eight rows of one chunk, what ldmatrix reads, and eight chunks of one row,
// what a copy writes, both cover all banks. Padding the rows instead would
// leave the copies in conflict where D/8 is no power of 2.
//
// attention_few_f16_d<D>: up to 16 queries of a head on the same keys and
// values: a decoding step's, or those of K sequences that share a picture. The
// block's warps share the keys out, 16 at a time, straight from global memory
// to the fragments of mma: the dims of a dot product may come in any order, so
// that a lane's 16 bytes of a row of keys are two steps' fragments; the values'
// columns may too, so that a lane's 16 bytes of two rows are eight. The warps'
// results are merged through shared memory, in a fixed order.
//
// attention_f32_d<D>: a warp a query, lanes over the dim, four keys at a time.
// For verification and for the autoencoder's f32, no tensor cores.
//
// Rejected: tf32 for the f32 variants (10 bits of mantissa are no
// verification); keys split over blocks (the lengths here fill the device by
// heads and samples).
#include "depend.cuh"
#include "mma.cuh"
#include "vec.cuh"

namespace {

constexpr float kNever = -1e30f;  // the maximum before the first key
constexpr float kLog2e = 1.4426950408889634f;

struct Shape {
  int lq, keys, heads, dim, share;  // share: samples of q to a sample of k and v
  int q_row, kv_row;                // elements from one row to the next
  long long q_sample, kv_sample;    // elements from one sample to the next
  float scale;
  int causal;

  // sees is the number of keys that query i attends to.
  inline int sees(int i) const { return causal ? min(keys, keys - lq + i + 1) : keys; }
};

inline float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A tile in shared memory: rows of D/8 chunks, swizzled.
template <int D> struct Tile {
  static constexpr int kChunks = D / 8;
  static constexpr int kPower = kChunks % 8 == 0 ? 8 : kChunks % 4 == 0 ? 4 : 2;
  // turn is what a row's chunks are permuted with.
  static inline int turn(int row) { return (row / (8 / kPower)) % kPower; }
  static inline unsigned at(int row, int chunk) { return (row * kChunks + (chunk ^ turn(row))) * 16; }
};

// Lanes are the addresses of a lane's row for ldmatrix, so that none is
// computed in a loop: pair d of chunks, from pair `first` on, in a tile's rows
// row0 on is one of few registers and a constant.
template <int D> struct Lanes {
  static constexpr int kPower = Tile<D>::kPower, kHalf = kPower / 2;
  unsigned address[kHalf];

  // row is below 16, odd says which chunk of each pair.
  inline Lanes(unsigned tile, int row, int odd, int first = 0) {
#pragma unroll
    for (int j = 0; j < kHalf; j++) address[j] = tile + Tile<D>::at(row, 2 * (first + j) + odd);
  }
  inline unsigned at(int row0, int d) const { return address[d % kHalf] + (row0 * Tile<D>::kChunks + d / kHalf * kPower) * 16; }
};

// Copier brings Rows rows of H neighbouring heads into a tile, D dims each, whole
// chunks at a time, zeros for what is beyond `valid` rows, a head's dim or the last
// head. With Ones each head's last chunk, which is behind its dim, is left as it is.
// Every kPeriod-th chunk of a thread has the same place in its row and a row
// with the same turn.
template <int D, int H, int Rows, int Threads, bool Ones = false> struct Copier {
  static constexpr int C = Tile<H * D>::kChunks, kRounds = Rows * C / Threads;
  static constexpr int period(int p) { return p * Threads % C == 0 && p * Threads / C % 8 == 0 ? p : period(p + 1); }
  static constexpr int kPeriod = period(1), kKept = kPeriod < kRounds ? kPeriod : kRounds, kStep = kPeriod * Threads / C;
  static_assert(Rows * C % Threads == 0, "a thread has a whole number of chunks");
  static constexpr int kNone = 1 << 30, kLeft = kNone + 1;  // both behind every limit
  unsigned to[kKept];
  int from[kKept];

  inline Copier(int stride, int dim, int heads) {
#pragma unroll
    for (int j = 0; j < kKept; j++) {
      const int i = j * Threads + threadIdx.x, r = i / C, h = i % C / (D / 8), d = i % (D / 8) * 8;
      to[j] = Tile<H * D>::at(r, i % C);
      from[j] = d < dim && h < heads ? r * stride + h * dim + d : kNone;
      if (Ones && d == D - 8) from[j] = kLeft;
    }
  }
  inline void copy(unsigned tile, const f16* p, int stride, int valid) const {
    const int limit = min(valid, Rows) * stride;
#pragma unroll
    for (int j = 0; j < kRounds; j++) {
      if (Ones && from[j % kPeriod] == kLeft) continue;
      const int rows = j / kPeriod * kStep, at = from[j % kPeriod] + rows * stride;
      copy16(tile + to[j % kPeriod] + rows * C * 16, p + at, at < limit);
    }
  }
};

// copy_elements does the same where rows are not whole chunks.
template <int D, int H, int Rows, int Threads, bool Ones>
inline void copy_elements(unsigned tile, const f16* p, int stride, int valid, int dim, int heads) {
  constexpr int W = H * D;
#pragma unroll 1
  for (int i = threadIdx.x; i < Rows * W; i += Threads) {
    const int r = i / W, c = i % W, h = c / D, d = c % D;
    if (Ones && d >= D - 8) continue;
    const unsigned short v = r < valid && d < dim && h < heads ? __half_as_ushort(p[(long long)r * stride + h * dim + d]) : 0;
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(tile + Tile<W>::at(r, c / 8) + c % 8 * 2), "h"(v) : "memory");
  }
}

template <int D, int H, int Rows, int Threads, bool Ones>
inline void copy_rows(const Copier<D, H, Rows, Threads, Ones>& copier, unsigned tile, const f16* p, int stride, int valid, int dim,
                      int heads, bool vectors) {
  if (vectors) {
    copier.copy(tile, p, stride, valid);
  } else {
    copy_elements<D, H, Rows, Threads, Ones>(tile, p, stride, valid, dim, heads);
  }
}

// Running maximum and sum of two rows (lane/4 and 8 more) of 16 queries.
struct Softmax {
  float top[2], sum[2];

  inline void begin() {
    top[0] = top[1] = kNever;
    sum[0] = sum[1] = 0;
  }

  // next turns a tile of scores into exp2((s - top) c) with the new top, and
  // gives what earlier results are to be multiplied with. c is scale log2(e). Without
  // Sum who calls it adds them up.
  template <bool Sum = true, int N> inline void next(float (&s)[N][4], float c, float (&again)[2]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float m = s[0][2 * h];
#pragma unroll
      for (int n = 0; n < N; n++) m = fmaxf(m, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
      m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 1));
      m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 2));
      m = fmaxf(m * c, top[h]);
      again[h] = exp2_of(top[h] - m);
      top[h] = m;
      float part = 0;
#pragma unroll
      for (int n = 0; n < N; n++) {
        s[n][2 * h] = exp2_of(fmaf(s[n][2 * h], c, -m));
        s[n][2 * h + 1] = exp2_of(fmaf(s[n][2 * h + 1], c, -m));
        if (Sum) part += s[n][2 * h] + s[n][2 * h + 1];
      }
      if (Sum) sum[h] = sum[h] * again[h] + part;
    }
  }

  // total is the sum over the four lanes of a row.
  inline float total(int h) const {
    float v = sum[h];
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
  }
};

// mask hides the keys that queries row0 (and 8 more) do not see. `key` is that
// of s[0][0].
template <int N> inline void mask(float (&s)[N][4], const Shape& a, int query, int key) {
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int sees = a.sees(query + 8 * h);
#pragma unroll
    for (int n = 0; n < N; n++) {
      if (key + 8 * n >= sees) s[n][2 * h] = minus_inf();
      if (key + 8 * n + 1 >= sees) s[n][2 * h + 1] = minus_inf();
    }
  }
}

// store_rows writes Rows rows of a tile of H heads, of which `rows` and `heads`
// are there: whole chunks where it can. Threads of them do, this one is `me`.
template <int D, int H, int Rows, int Threads>
inline void store_rows(const unsigned char* tile, f16* to, int me, int rows, int stride, int dim, int heads, bool vectors) {
  constexpr int W = H * D, C = W / 8;
  if (vectors) {
    for (int i = me; i < Rows * C; i += Threads) {
      const int r = i / C, h = i % C / (D / 8), d = i % (D / 8) * 8;
      if (r < rows && d < dim && h < heads)
        *reinterpret_cast<uint4*>(to + (long long)r * stride + h * dim + d) = *reinterpret_cast<const uint4*>(tile + Tile<W>::at(r, i % C));
    }
    return;
  }
#pragma unroll 1
  for (int i = me; i < Rows * W; i += Threads) {
    const int r = i / W, c = i % W, h = c / D, d = c % D;
    if (r < rows && d < dim && h < heads)
      to[(long long)r * stride + h * dim + d] = *reinterpret_cast<const f16*>(tile + Tile<W>::at(r, c / 8) + c % 8 * 2);
  }
}

constexpr int kKeys = 64;  // a tile's

// put_ones makes the last eight columns of each head of a tile of values 1 and seven
// times 0.
template <int D, int H, int Threads> inline void put_ones(unsigned tile) {
#pragma unroll 1
  for (int i = threadIdx.x; i < kKeys * H; i += Threads)
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %2, %2};" ::"r"(tile + Tile<H * D>::at(i / H, i % H * (D / 8) + D / 8 - 1)), "r"(0x3c00),
                 "r"(0)
                 : "memory");
}

// With Ones heads have D - 8 dims at most, and the column behind them adds up the
// probabilities.
template <int D, int M, int H, bool Ones> inline void attend(const f16* q, const f16* k, const f16* v, f16* y, const Shape& a) {
  constexpr int C = D / 8, W = H * D, kQueries = 64 * M, kThreads = 128 * H;
  __shared__ __align__(128) unsigned char smem[2 * kKeys * W * 2];
  const unsigned keys_tile = shared_address(smem), values_tile = keys_tile + kKeys * W * 2;
  // A warp has its queries of one of the block's heads.
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5 & 3, mine = threadIdx.x >> 7, group = lane >> 3;
  const int head = blockIdx.y * H, heads = H == 1 ? 1 : a.heads - head, sample = blockIdx.z, query0 = blockIdx.x * kQueries;
  q += sample * a.q_sample + (long long)query0 * a.q_row + head * a.dim;
  k += sample / a.share * a.kv_sample + head * a.dim;
  v += sample / a.share * a.kv_sample + head * a.dim;
  const bool even = a.dim % 8 == 0,
             vectors = even && a.q_row % 8 == 0 && a.kv_row % 8 == 0 && a.q_sample % 8 == 0 && a.kv_sample % 8 == 0 && aligned16(q, k, v);

  // The queries' fragments stay in registers.
  copy_rows(Copier<D, H, kQueries, kThreads>(a.q_row, a.dim, heads), keys_tile, q, a.q_row, a.lq - query0, a.dim, heads, vectors);
  copy_commit();
  copy_wait<0>();
  __syncthreads();
  unsigned qf[M][D / 16][4];
  const Lanes<W> qs(keys_tile, (group & 1) * 8 + (lane & 7), group >> 1, mine * C / 2);
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int s = 0; s < D / 16; s++) ldmatrix4(qf[m][s], qs.at((warp * M + m) * 16, s));
  __syncthreads();
  if (Ones) put_ones<D, H, kThreads>(values_tile);

  const Lanes<W> ks(keys_tile, (group >> 1) * 8 + (lane & 7), group & 1, mine * C / 2);
  const Lanes<W> vs(values_tile, (group & 1) * 8 + (lane & 7), group >> 1, mine * C / 2);
  float out[M][D / 8][4];
  Softmax soft[M];
#pragma unroll
  for (int m = 0; m < M; m++) {
    soft[m].begin();
#pragma unroll
    for (int n = 0; n < D / 8; n++) out[m][n][0] = out[m][n][1] = out[m][n][2] = out[m][n][3] = 0;
  }
  const float c = a.scale * kLog2e;
  const int end = a.sees(min(query0 + kQueries, a.lq) - 1);
  const int own = query0 + warp * M * 16 + (lane >> 2);  // this lane's first query

  const Copier<D, H, kKeys, kThreads> copier(a.kv_row, a.dim, heads);
  const Copier<D, H, kKeys, kThreads, Ones> value_copier(a.kv_row, a.dim, heads);
  copy_rows(copier, keys_tile, k, a.kv_row, a.keys, a.dim, heads, vectors);
  copy_commit();
#pragma unroll 1
  for (int key0 = 0; key0 < end; key0 += kKeys) {
    copy_wait<0>();
    __syncthreads();
    copy_rows(value_copier, values_tile, v + (long long)key0 * a.kv_row, a.kv_row, a.keys - key0, a.dim, heads, vectors);
    copy_commit();

    float s[M][kKeys / 8][4];
#pragma unroll
    for (int n = 0; n < kKeys / 8; n += 2) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 4; i++) s[m][n][i] = s[m][n + 1][i] = 0;
#pragma unroll
      for (int d = 0; d < D / 16; d++) {
        unsigned f[4];
        ldmatrix4(f, ks.at(n * 8, d));
#pragma unroll
        for (int m = 0; m < M; m++) {
          mma16816(s[m][n], qf[m][d], f[0], f[1]);
          mma16816(s[m][n + 1], qf[m][d], f[2], f[3]);
        }
      }
    }
    const bool hides = key0 + kKeys > (a.causal ? a.sees(query0) : a.keys);
#pragma unroll
    for (int m = 0; m < M; m++) {
      if (hides) mask(s[m], a, own + m * 16, key0 + (lane & 3) * 2);
      float again[2];
      soft[m].template next<!Ones>(s[m], c, again);
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        out[m][n][0] *= again[0];
        out[m][n][1] *= again[0];
        out[m][n][2] *= again[1];
        out[m][n][3] *= again[1];
      }
    }

    copy_wait<0>();
    __syncthreads();
    if (key0 + kKeys < end)
      copy_rows(copier, keys_tile, k + (long long)(key0 + kKeys) * a.kv_row, a.kv_row, a.keys - key0 - kKeys, a.dim, heads, vectors);
    copy_commit();
#pragma unroll
    for (int t = 0; t < kKeys / 16; t++) {
      unsigned p[M][4];
#pragma unroll
      for (int m = 0; m < M; m++) {
        p[m][0] = half2_bits(s[m][2 * t][0], s[m][2 * t][1]);
        p[m][1] = half2_bits(s[m][2 * t][2], s[m][2 * t][3]);
        p[m][2] = half2_bits(s[m][2 * t + 1][0], s[m][2 * t + 1][1]);
        p[m][3] = half2_bits(s[m][2 * t + 1][2], s[m][2 * t + 1][3]);
      }
#pragma unroll
      for (int n = 0; n < D / 8; n += 2) {
        unsigned f[4];
        ldmatrix4_trans(f, vs.at(t * 16, n / 2));
#pragma unroll
        for (int m = 0; m < M; m++) {
          mma16816(out[m][n], p[m], f[0], f[1]);
          mma16816(out[m][n + 1], p[m], f[2], f[3]);
        }
      }
    }
  }

  launch_dependents();
  // Back through shared memory to whole chunks.
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M; m++) {
    float sum[2];
#pragma unroll
    for (int h = 0; h < 2; h++) sum[h] = Ones ? __shfl_sync(0xffffffffu, out[m][C - 1][2 * h], lane & ~3) : soft[m].total(h);
    const float f0 = 1.0f / sum[0], f1 = 1.0f / sum[1];
    const int r = (warp * M + m) * 16 + (lane >> 2), b = (lane & 3) * 4;
#pragma unroll
    for (int n = 0; n < C; n++) {
      *reinterpret_cast<unsigned*>(smem + Tile<W>::at(r, mine * C + n) + b) = half2_bits(out[m][n][0] * f0, out[m][n][1] * f0);
      *reinterpret_cast<unsigned*>(smem + Tile<W>::at(r + 8, mine * C + n) + b) = half2_bits(out[m][n][2] * f1, out[m][n][3] * f1);
    }
  }
  __syncthreads();
  const int y_row = a.heads * a.dim;
  y += ((long long)sample * a.lq + query0) * y_row + head * a.dim;
  store_rows<D, H, kQueries, kThreads>(smem, y, threadIdx.x, a.lq - query0, y_row, a.dim, heads, even && aligned16(y) && y_row % 8 == 0);
}

// attend_wide is for one head of 512: warp w has queries w%2*16 on and the
// quarter w/2 of the dim.
inline void attend_wide(const f16* q, const f16* k, const f16* v, f16* y, const Shape& a) {
  constexpr int D = 512, kThreads = 256, kQueries = 32, kTile = 32, kQuarter = 128;
  extern __shared__ __align__(128) unsigned char smem[];
  const unsigned keys_tile = shared_address(smem), values_tile = keys_tile + kTile * D * 2;
  float* partial = reinterpret_cast<float*>(smem + 2 * kTile * D * 2);  // [warp][value][lane]
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, group = lane >> 3;
  const int row = warp & 1, quarter = warp >> 1;
  const int head = blockIdx.y, sample = blockIdx.z, query0 = blockIdx.x * kQueries;
  q += sample * a.q_sample + (long long)query0 * a.q_row + head * a.dim;
  k += sample / a.share * a.kv_sample + head * a.dim;
  v += sample / a.share * a.kv_sample + head * a.dim;
  const int y_row = a.heads * a.dim;
  y += (long long)sample * a.lq * y_row + head * a.dim;
  const bool even = a.dim % 8 == 0,
             vectors = even && a.q_row % 8 == 0 && a.kv_row % 8 == 0 && a.q_sample % 8 == 0 && a.kv_sample % 8 == 0 && aligned16(q, k, v);

  copy_rows(Copier<D, 1, kQueries, kThreads>(a.q_row, a.dim, 1), keys_tile, q, a.q_row, a.lq - query0, a.dim, 1, vectors);
  copy_commit();
  copy_wait<0>();
  __syncthreads();
  unsigned qf[kQuarter / 16][4];
  // A quarter is a whole number of turned chunks.
  const Lanes<D> qs(keys_tile + quarter * kQuarter * 2, (group & 1) * 8 + (lane & 7), group >> 1);
#pragma unroll
  for (int s = 0; s < kQuarter / 16; s++) ldmatrix4(qf[s], qs.at(row * 16, s));
  __syncthreads();

  const Lanes<D> ks(keys_tile + quarter * kQuarter * 2, (group >> 1) * 8 + (lane & 7), group & 1);
  const Lanes<D> vs(values_tile + quarter * kQuarter * 2, (group & 1) * 8 + (lane & 7), group >> 1);
  float out[kQuarter / 8][4];
#pragma unroll
  for (int n = 0; n < kQuarter / 8; n++) out[n][0] = out[n][1] = out[n][2] = out[n][3] = 0;
  Softmax soft;
  soft.begin();
  const float c = a.scale * kLog2e;
  const int end = a.sees(min(query0 + kQueries, a.lq) - 1);
  const int own = query0 + row * 16 + (lane >> 2);

  const Copier<D, 1, kTile, kThreads> copier(a.kv_row, a.dim, 1);
  copy_rows(copier, keys_tile, k, a.kv_row, a.keys, a.dim, 1, vectors);
  copy_commit();
#pragma unroll 1
  for (int key0 = 0; key0 < end; key0 += kTile) {
    copy_wait<0>();
    __syncthreads();
    copy_rows(copier, values_tile, v + (long long)key0 * a.kv_row, a.kv_row, a.keys - key0, a.dim, 1, vectors);
    copy_commit();
    float s[kTile / 8][4];
#pragma unroll
    for (int n = 0; n < kTile / 8; n += 2) {
#pragma unroll
      for (int i = 0; i < 4; i++) s[n][i] = s[n + 1][i] = 0;
#pragma unroll
      for (int d = 0; d < kQuarter / 16; d++) {
        unsigned f[4];
        ldmatrix4(f, ks.at(n * 8, d));
        mma16816(s[n], qf[d], f[0], f[1]);
        mma16816(s[n + 1], qf[d], f[2], f[3]);
      }
    }
    // The quarters' sums, added in one order by all four warps of a row.
#pragma unroll
    for (int i = 0; i < kTile / 8 * 4; i++) partial[(warp * 16 + i) * 32 + lane] = s[i / 4][i % 4];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kTile / 8 * 4; i++) {
      float sum = 0;
#pragma unroll
      for (int w = 0; w < 4; w++) sum += partial[((row + 2 * w) * 16 + i) * 32 + lane];
      s[i / 4][i % 4] = sum;
    }
    if (key0 + kTile > (a.causal ? a.sees(query0) : a.keys)) mask(s, a, own, key0 + (lane & 3) * 2);
    float again[2];
    soft.next(s, c, again);
#pragma unroll
    for (int n = 0; n < kQuarter / 8; n++) {
      out[n][0] *= again[0];
      out[n][1] *= again[0];
      out[n][2] *= again[1];
      out[n][3] *= again[1];
    }
    copy_wait<0>();
    __syncthreads();
    if (key0 + kTile < end)
      copy_rows(copier, keys_tile, k + (long long)(key0 + kTile) * a.kv_row, a.kv_row, a.keys - key0 - kTile, a.dim, 1, vectors);
    copy_commit();
#pragma unroll
    for (int t = 0; t < kTile / 16; t++) {
      const unsigned p[4] = {half2_bits(s[2 * t][0], s[2 * t][1]), half2_bits(s[2 * t][2], s[2 * t][3]),
                             half2_bits(s[2 * t + 1][0], s[2 * t + 1][1]), half2_bits(s[2 * t + 1][2], s[2 * t + 1][3])};
#pragma unroll
      for (int n = 0; n < kQuarter / 8; n += 2) {
        unsigned f[4];
        ldmatrix4_trans(f, vs.at(t * 16, n / 2));
        mma16816(out[n], p, f[0], f[1]);
        mma16816(out[n + 1], p, f[2], f[3]);
      }
    }
  }

  launch_dependents();
  __syncthreads();
  unsigned char* rows = smem + warp * 16 * kQuarter * 2;
  const float f0 = 1.0f / soft.total(0), f1 = 1.0f / soft.total(1);
  const int r = lane >> 2, b = (lane & 3) * 4;
#pragma unroll
  for (int n = 0; n < kQuarter / 8; n++) {
    *reinterpret_cast<unsigned*>(rows + Tile<kQuarter>::at(r, n) + b) = half2_bits(out[n][0] * f0, out[n][1] * f0);
    *reinterpret_cast<unsigned*>(rows + Tile<kQuarter>::at(r + 8, n) + b) = half2_bits(out[n][2] * f1, out[n][3] * f1);
  }
  __syncwarp();
  store_rows<kQuarter, 1, 16, 32>(rows, y + (long long)(query0 + row * 16) * y_row + quarter * kQuarter, lane, a.lq - query0 - row * 16,
                                  y_row, a.dim - quarter * kQuarter, 1, even && aligned16(y) && y_row % 8 == 0);
}

// attend_few: all queries of a head on one sample of k and v, share * lq of them
// and 16 at most, in heads of up to 64 G dims. Block (head, sample of k and v).
template <int G> inline void attend_few(const f16* q, const f16* k, const f16* v, f16* y, const Shape& a) {
  constexpr int kMost = G == 1 ? 8 : 4;  // warps
  __shared__ float merge[kMost / 2][G * 32][32];
  __shared__ float2 stats[kMost][16];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  const int g = lane >> 2, t = lane & 3, head = blockIdx.x, sample = blockIdx.y;
  const int rows = a.share * a.lq, width = a.heads * a.dim;
  k += sample * a.kv_sample + head * a.dim;
  v += sample * a.kv_sample + head * a.dim;
  const uint4 zero = make_uint4(0, 0, 0, 0);

  // Row r of the tile is query r % lq of sequence r / lq.
  const auto query = [&](int r) { return q + (sample * a.share + r / a.lq) * a.q_sample + (long long)(r % a.lq) * a.q_row + head * a.dim; };
  uint4 q0[2 * G], q1[2 * G];
#pragma unroll
  for (int i = 0; i < 2 * G; i++) {
    const int d = (t + 4 * i) * 8;
    q0[i] = g < rows && d < a.dim ? *reinterpret_cast<const uint4*>(query(g) + d) : zero;
    q1[i] = g + 8 < rows && d < a.dim ? *reinterpret_cast<const uint4*>(query(g + 8) + d) : zero;
  }
  float out[G * 8][4];
#pragma unroll
  for (int n = 0; n < G * 8; n++) out[n][0] = out[n][1] = out[n][2] = out[n][3] = 0;
  Softmax soft;
  soft.begin();
  const float c = a.scale * kLog2e;
  const int sees[2] = {a.sees(g % a.lq), a.sees((g + 8) % a.lq)};

#pragma unroll 1
  for (int key0 = warp * 16; key0 < a.keys; key0 += warps * 16) {
    uint4 kf[2][2 * G], vf[4][G];
#pragma unroll
    for (int n = 0; n < 2; n++) {
      const int key = key0 + n * 8 + g;
#pragma unroll
      for (int i = 0; i < 2 * G; i++) {
        const int d = (t + 4 * i) * 8;
        kf[n][i] = key < a.keys && d < a.dim ? *reinterpret_cast<const uint4*>(k + (long long)key * a.kv_row + d) : zero;
      }
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int key = key0 + (j >> 1) * 8 + 2 * t + (j & 1);
#pragma unroll
      for (int i = 0; i < G; i++) {
        const int d = (g + 8 * i) * 8;
        vf[j][i] = key < a.keys && d < a.dim ? *reinterpret_cast<const uint4*>(v + (long long)key * a.kv_row + d) : zero;
      }
    }
    float s[2][4];
#pragma unroll
    for (int n = 0; n < 2; n++) {
      s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
      for (int i = 0; i < 2 * G; i++) {
        const unsigned lo[4] = {q0[i].x, q1[i].x, q0[i].y, q1[i].y}, hi[4] = {q0[i].z, q1[i].z, q0[i].w, q1[i].w};
        mma16816(s[n], lo, kf[n][i].x, kf[n][i].y);
        mma16816(s[n], hi, kf[n][i].z, kf[n][i].w);
      }
    }
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (key0 + n * 8 + 2 * t + (i & 1) >= sees[i >> 1]) s[n][i] = minus_inf();
    float again[2];
    soft.next(s, c, again);
    const unsigned p[4] = {half2_bits(s[0][0], s[0][1]), half2_bits(s[0][2], s[0][3]), half2_bits(s[1][0], s[1][1]),
                           half2_bits(s[1][2], s[1][3])};
#pragma unroll
    for (int i = 0; i < G; i++) {
      const unsigned* r0 = reinterpret_cast<const unsigned*>(&vf[0][i]);
      const unsigned* r1 = reinterpret_cast<const unsigned*>(&vf[1][i]);
      const unsigned* r2 = reinterpret_cast<const unsigned*>(&vf[2][i]);
      const unsigned* r3 = reinterpret_cast<const unsigned*>(&vf[3][i]);
#pragma unroll
      for (int n = 0; n < 8; n++) {
        float(&o)[4] = out[i * 8 + n];
        o[0] *= again[0];
        o[1] *= again[0];
        o[2] *= again[1];
        o[3] *= again[1];
        // Column n of the chunk, of two rows of values each.
        const unsigned pick = n & 1 ? 0x7632 : 0x5410;
        mma16816(o, p, __byte_perm(r0[n / 2], r1[n / 2], pick), __byte_perm(r2[n / 2], r3[n / 2], pick));
      }
    }
  }

  launch_dependents();
  // The warps' maxima, then their results halved again and again.
  const float sum0 = soft.total(0), sum1 = soft.total(1);
  if (t == 0) {
    stats[warp][g] = make_float2(soft.top[0], sum0);
    stats[warp][g + 8] = make_float2(soft.top[1], sum1);
  }
  __syncthreads();
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float top = kNever, sum = 0;
    for (int w = 0; w < warps; w++) top = fmaxf(top, stats[w][g + 8 * h].x);
    for (int w = 0; w < warps; w++) sum += stats[w][g + 8 * h].y * exp2_of(stats[w][g + 8 * h].x - top);
    const float f = exp2_of(soft.top[h] - top) / sum;
#pragma unroll
    for (int n = 0; n < G * 8; n++) {
      out[n][2 * h] *= f;
      out[n][2 * h + 1] *= f;
    }
  }
  for (int live = warps; live > 1;) {
    const int keep = (live + 1) / 2;
    if (warp >= keep && warp < live) {
#pragma unroll
      for (int i = 0; i < G * 32; i++) merge[warp - keep][i][lane] = out[i / 4][i % 4];
    }
    __syncthreads();
    if (warp + keep < live) {
#pragma unroll
      for (int i = 0; i < G * 32; i++) out[i / 4][i % 4] += merge[warp][i][lane];
    }
    __syncthreads();
    live = keep;
  }
  if (warp != 0) return;
  // Lane t has dims 16 t + (0..7) of column pair 0 and 8 more of pair 1.
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int r = g + 8 * h;
    if (r >= rows) continue;
    f16* to = y + ((long long)sample * rows + r) * width + head * a.dim;
#pragma unroll
    for (int i = 0; i < G; i++)
#pragma unroll
      for (int b = 0; b < 2; b++) {
        float w[8];
#pragma unroll
        for (int n = 0; n < 8; n++) w[n] = out[i * 8 + n][2 * h + b];
        const int d = i * 64 + 16 * t + 8 * b;
        if (d < a.dim) store(to + d, w);
      }
  }
}

// attend_f32: lanes over the dim, E elements each.
template <int E> inline void attend_f32(const float* q, const float* k, const float* v, float* y, const Shape& a) {
  const int lane = threadIdx.x & 31, query = blockIdx.x * 4 + (threadIdx.x >> 5), head = blockIdx.y, sample = blockIdx.z;
  if (query >= a.lq) return;
  q += sample * a.q_sample + (long long)query * a.q_row + head * a.dim;
  k += sample / a.share * a.kv_sample + head * a.dim;
  v += sample / a.share * a.kv_sample + head * a.dim;
  y += ((long long)sample * a.lq + query) * a.heads * a.dim + head * a.dim;
  float qs[E], out[E];
#pragma unroll
  for (int e = 0; e < E; e++) {
    qs[e] = lane + 32 * e < a.dim ? q[lane + 32 * e] * a.scale : 0;
    out[e] = 0;
  }
  float top = kNever, sum = 0;
  const int sees = a.sees(query);
#pragma unroll 1
  for (int key0 = 0; key0 < sees; key0 += 4) {
    float s[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float* row = k + (long long)min(key0 + j, sees - 1) * a.kv_row;
      s[j] = 0;
#pragma unroll
      for (int e = 0; e < E; e++)
        if (lane + 32 * e < a.dim) s[j] = fmaf(qs[e], row[lane + 32 * e], s[j]);
    }
    // Four sums over 32 lanes: lane l ends with that of key l % 4.
    const float a0 = (lane & 1 ? s[1] : s[0]) + __shfl_xor_sync(0xffffffffu, lane & 1 ? s[0] : s[1], 1);
    const float a1 = (lane & 1 ? s[3] : s[2]) + __shfl_xor_sync(0xffffffffu, lane & 1 ? s[2] : s[3], 1);
    float one = (lane & 2 ? a1 : a0) + __shfl_xor_sync(0xffffffffu, lane & 2 ? a0 : a1, 2);
#pragma unroll
    for (int d = 4; d < 32; d <<= 1) one += __shfl_xor_sync(0xffffffffu, one, d);
    if (key0 + (lane & 3) >= sees) one = minus_inf();
    float m = fmaxf(one, __shfl_xor_sync(0xffffffffu, one, 1));
    m = fmaxf(fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 2)), top);
    const float again = expf(top - m), p = expf(one - m);
    top = m;
    sum = sum * again + p;
#pragma unroll
    for (int e = 0; e < E; e++) out[e] *= again;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float* row = v + (long long)min(key0 + j, sees - 1) * a.kv_row;
      const float w = __shfl_sync(0xffffffffu, p, j);
#pragma unroll
      for (int e = 0; e < E; e++)
        if (lane + 32 * e < a.dim) out[e] = fmaf(w, row[lane + 32 * e], out[e]);
    }
  }
  launch_dependents();
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  sum += __shfl_xor_sync(0xffffffffu, sum, 2);
#pragma unroll
  for (int e = 0; e < E; e++)
    if (lane + 32 * e < a.dim) y[lane + 32 * e] = out[e] / sum;
}

}  // namespace

// What grows from one decoding step to the next may lie in device memory, so
// that a captured graph serves all steps: *more, unless it is null, is added to
// keys.
#define SHAPE                                                                                                                   \
  int lq, int keys, int heads, int dim, int share, int q_row, int kv_row, long long q_sample, long long kv_sample, float scale, \
      int causal, const int *more
#define SHAPE_OF {lq, more == nullptr ? keys : keys + *more, heads, dim, share, q_row, kv_row, q_sample, kv_sample, scale, causal}

#define ATTENTION(name, D, M, H)                                                   \
  extern "C" __global__ void __launch_bounds__(128 * H, (M * D <= 64 ? 4 : 2) / H) \
      name(const f16* q, const f16* k, const f16* v, f16* y, SHAPE) {              \
    wait_for_kernel_before();                                                      \
    const Shape a = SHAPE_OF;                                                      \
    attend<D, M, H, D == 48>(q, k, v, y, a);                                       \
  }
ATTENTION(attention_f16_d16, 16, 1, 1)
ATTENTION(attention_f16_d16_h2, 16, 1, 2)
ATTENTION(attention_f16_d32, 32, 1, 1)
ATTENTION(attention_f16_d32_h2, 32, 1, 2)
ATTENTION(attention_f16_d40, 48, 1, 1)
ATTENTION(attention_f16_d40_h2, 48, 1, 2)
ATTENTION(attention_f16_d64, 64, 1, 1)
ATTENTION(attention_f16_d64_h2, 64, 1, 2)
ATTENTION(attention_f16_d80, 80, 1, 1)
ATTENTION(attention_f16_d80_h2, 80, 1, 2)
ATTENTION(attention_f16_d96, 96, 1, 1)
ATTENTION(attention_f16_d96_h2, 96, 1, 2)
ATTENTION(attention_f16_d128, 128, 1, 1)
ATTENTION(attention_f16_d160, 160, 1, 1)
ATTENTION(attention_f16_d40_m2, 48, 2, 1)
ATTENTION(attention_f16_d40_m2_h2, 48, 2, 2)
ATTENTION(attention_f16_d64_m2, 64, 2, 1)
ATTENTION(attention_f16_d64_m2_h2, 64, 2, 2)

extern "C" __global__ void __launch_bounds__(256) attention_f16_d512(const f16* q, const f16* k, const f16* v, f16* y, SHAPE) {
  wait_for_kernel_before();
  const Shape a = SHAPE_OF;
  attend_wide(q, k, v, y, a);
}

#define FEW(name, G)                                                                                                               \
  extern "C" __global__ void __launch_bounds__(G == 1 ? 256 : 128) name(const f16* q, const f16* k, const f16* v, f16* y, SHAPE) { \
    wait_for_kernel_before();                                                                                                      \
    const Shape a = SHAPE_OF;                                                                                                      \
    attend_few<G>(q, k, v, y, a);                                                                                                  \
  }
FEW(attention_few_f16_d64, 1)
FEW(attention_few_f16_d128, 2)
FEW(attention_few_f16_d192, 3)

#define ATTENTION_F32(name, E)                                                                                              \
  extern "C" __global__ void __launch_bounds__(128) name(const float* q, const float* k, const float* v, float* y, SHAPE) { \
    wait_for_kernel_before();                                                                                               \
    const Shape a = SHAPE_OF;                                                                                               \
    attend_f32<E>(q, k, v, y, a);                                                                                           \
  }
ATTENTION_F32(attention_f32_d32, 1)
ATTENTION_F32(attention_f32_d64, 2)
ATTENTION_F32(attention_f32_d96, 3)
ATTENTION_F32(attention_f32_d160, 5)
ATTENTION_F32(attention_f32_d512, 16)
