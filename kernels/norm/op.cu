// Layer norm, group norm (with SiLU) and the L2 norm of rows, which is f32. All three move
// each byte once or twice and do a dozen operations an element: memory bounds
// them.
//
// layer_<type>_v<V>: a warp a row, 4 rows a block. The row stays in registers,
// V times four channels a lane, so that it is read once and converted three
// times: mean, variance, result. V of 1, 2, 4, 8, 16 covers 128*V channels.
// Four channels are 8 bytes of f16 and 16 of gamma and beta: eight would make
// every request for gamma and beta half-used sectors, which are most of the
// bytes here. layer_<type>_any: a block a row, any width and alignment; the row
// is read three times, out of L1 but for the first.
//
// group_<type>: a block of 512 threads for a sample and a bundle of groups,
// whose channels lie side by side: a group of SD's first level is 10 channels,
// 20 bytes of each position, and alone would waste half of every 32-byte
// sector; eight groups are five whole sectors.
//
// group_slabs_<type>: a large map would keep few multiprocessors busy that way
// (64x64x320 has 4 bundles): there it is cut in slabs of positions. Blocks take
// them in turn, leave each slab's moments in global memory, wait for each other,
// and merge them, all in the same order: how many blocks there are changes no bit.
// One launch, a cooperative one, so that all its blocks run at once; at most one
// for each multiprocessor.
//
// In both what a block has read for the moments it keeps in dynamic shared memory,
// as much as there is room for, and reads the rest again. A thread finds there
// what it put there itself, 16 bytes beside its neighbours'.
//
// Rejected: moments from the epilogue of the convolution before (a tile has a
// part of a group and of a sample's positions, and half of all norms follow a sum
// or stand beside a skip connection), and clusters (sm_90 only).
//
// group_<type>_any: a block for a sample and one group, any width and alignment,
// element by element.
//
// Moments are Welford's for each thread and channel, of x less the group's
// first value, merged by Chan's formula: neither a large mean nor an outlier
// costs digits, as sums of squares would. Shared memory holds the threads'
// moments, 64 bytes each.
#include "depend.cuh"
#include "vec.cuh"

namespace {

// rstd of a sum of squared differences over n values.
inline float inverse_deviation(float squares, float n, float eps) { return 1.0f / sqrtf(fmaxf(squares / n, 0.0f) + eps); }

// Four channels of T: 8 or 16 bytes.
template <typename T> struct Four;
template <> struct Four<f16> {
  uint2 raw;
  void read(const f16* p) { raw = *reinterpret_cast<const uint2*>(p); }
  float4 get() const {
    const __half2* h = reinterpret_cast<const __half2*>(&raw);
    const float2 a = __half22float2(h[0]), b = __half22float2(h[1]);
    return make_float4(a.x, a.y, b.x, b.y);
  }
  static void write(f16* p, float4 v) {
    uint2 raw;
    __half2* h = reinterpret_cast<__half2*>(&raw);
    h[0] = __floats2half2_rn(v.x, v.y);
    h[1] = __floats2half2_rn(v.z, v.w);
    *reinterpret_cast<uint2*>(p) = raw;
  }
};
template <> struct Four<float> {
  float4 raw;
  void read(const float* p) { raw = *reinterpret_cast<const float4*>(p); }
  float4 get() const { return raw; }
  static void write(float* p, float4 v) { *reinterpret_cast<float4*>(p) = v; }
};

template <typename T, int V> inline void layer_warp(const T* x, const float* gamma, const float* beta, T* y, int rows, int c, float eps) {
  const int row = blockIdx.x * 4 + (threadIdx.x >> 5), lane = threadIdx.x & 31;
  if (row >= rows) return;
  const T* in = x + (long long)row * c;
  T* out = y + (long long)row * c;
  Four<T> own[V];
  float sum = 0;
#pragma unroll
  for (int j = 0; j < V; j++)
    if (const int at = (j * 32 + lane) * 4; at < c) own[j].read(in + at);
#pragma unroll
  for (int j = 0; j < V; j++) {
    if ((j * 32 + lane) * 4 < c) {
      const float4 v = own[j].get();
      sum += (v.x + v.y) + (v.z + v.w);
    }
  }
  // The mean's rounding shows where the mean is large: low is the rest.
  const float mean = warp_sum(sum) / c;
  float rest = 0, squares = 0;
#pragma unroll
  for (int j = 0; j < V; j++) {
    if ((j * 32 + lane) * 4 < c) {
      const float4 v = own[j].get();
      const float d[4] = {v.x - mean, v.y - mean, v.z - mean, v.w - mean};
      rest += (d[0] + d[1]) + (d[2] + d[3]);
      squares += (d[0] * d[0] + d[1] * d[1]) + (d[2] * d[2] + d[3] * d[3]);
    }
  }
  const float low = warp_sum(rest) / c;
  const float rstd = inverse_deviation(warp_sum(squares) - low * low * c, c, eps);
#pragma unroll
  for (int j = 0; j < V; j++) {
    if (const int at = (j * 32 + lane) * 4; at < c) {
      const float4 v = own[j].get();
      const float4 g = *reinterpret_cast<const float4*>(gamma + at), b = *reinterpret_cast<const float4*>(beta + at);
      Four<T>::write(out + at, make_float4((v.x - mean - low) * rstd * g.x + b.x, (v.y - mean - low) * rstd * g.y + b.y,
                                           (v.z - mean - low) * rstd * g.z + b.z, (v.w - mean - low) * rstd * g.w + b.w));
    }
  }
}

template <typename T> inline void layer_block(const T* x, const float* gamma, const float* beta, T* y, int c, float eps) {
  __shared__ float buf[32];
  const T* in = x + (long long)blockIdx.x * c;
  T* out = y + (long long)blockIdx.x * c;
  float sum = 0;
  for (int i = threadIdx.x; i < c; i += blockDim.x) sum += to_float(in[i]);
  const float mean = block_sum(sum, buf) / c;
  float rest = 0, squares = 0;
  for (int i = threadIdx.x; i < c; i += blockDim.x) {
    const float d = to_float(in[i]) - mean;
    rest += d;
    squares += d * d;
  }
  const float low = block_sum(rest, buf) / c;
  const float rstd = inverse_deviation(block_sum(squares, buf) - low * low * c, c, eps);
  for (int i = threadIdx.x; i < c; i += blockDim.x) out[i] = from_float<T>((to_float(in[i]) - mean - low) * rstd * gamma[i] + beta[i]);
}

constexpr int kGroupThreads = 512;
constexpr int kBundle = 64;        // groups of a block, at most
constexpr int kGroupWidth = 1024;  // and channels
constexpr int kSlabs = 128;        // slabs of a sample, at most
constexpr int kAhead = 4;          // rows that a thread loads at once

// cut is where part i of n positions in so many parts begins.
inline int cut(int n, int i, int parts) { return n / parts * i + min(i, n % parts); }

// Input is what a group norm reads: channels of `more` behind those of x, as a
// skip connection's, without a concatenated copy.
template <typename T> struct Input {
  const T *x, *more;  // the sample's first positions
  int width, rest;    // channels of x, and of more

  // at is position 0 of a channel; step is from one position to the next.
  inline const T* at(int channel) const { return channel < width ? x + channel : more + (channel - width); }
  inline int step(int channel) const { return channel < width ? width : rest; }
};

template <typename T> inline Input<T> input(const T* x, const T* more, int width, int rest, int sample, int positions) {
  return {x + (long long)sample * positions * width, more == nullptr ? nullptr : more + (long long)sample * positions * rest, width, rest};
}

// A slab of a sample's positions and a bundle of groups.
struct Group {
  int c, per;          // channels, of them in a group
  int sample, bundle;  // numbers of the sample, and of its bundle
  int slab;            // and of the slab
  int first, width;    // the bundle's first channel, and how many it has
  int groups;          // the bundle's groups
  int lo, hi;          // the slab's positions

  Group(int item, int positions, int c, int groups, int size, int slabs) : c(c), per(c / groups) {
    const int bundles = groups / size;
    slab = item % slabs;
    bundle = item / slabs % bundles;
    sample = item / slabs / bundles;
    this->groups = size;
    first = bundle * size * per;
    width = size * per;
    lo = cut(positions, slab, slabs);
    hi = cut(positions, slab + 1, slabs);
  }
};

// ahead starts the loads of kAhead rows before the first is used: one a thread
// would leave the memory idle.
template <typename T> inline void ahead(uint4 (&raw)[kAhead], const T* p, long long step, int left, int rows) {
#pragma unroll
  for (int j = 0; j < kAhead; j++)
    if (j * rows < left) raw[j] = *reinterpret_cast<const uint4*>(p + j * step);
}

// Moments of a set of values: how many, mean and sum of squared differences.
struct Moments {
  float n, mean, squares;
};

// Places are how threads hold V channels each: thread `column` of a row has
// channels V column + i. What is by channel in shared memory lies in the order
// of i, then column, so that neighbouring threads find theirs side by side.
template <int V> struct Places {
  int columns, rows;  // of threads
  int column, row;    // this one's; row is rows where it has none

  inline Places(int width)
      : columns(width / V), rows(kGroupThreads / columns), column(threadIdx.x % columns), row(min((int)threadIdx.x / columns, rows)) {}
  inline int of(int channel) const { return channel % V * columns + channel / V; }
  inline int channel(int place) const { return place % columns * V + place / columns; }
  inline int own(int i) const { return i * columns + column; }
};

// collect leaves the moments of the slab's groups in out[group], of x less
// shift, which is by place, and x itself in kept, unless that is null.
template <typename T, int V>
inline void collect(const Group& g, const Input<T>& x, const Places<V>& places, const float* shift, float2* cell, float* part, Moments* out,
                    uint4* kept) {
  const int rows = places.rows, column = places.column, row = places.row;
  if (row < rows) {
    float mean[V], squares[V], s[V], n = 0;
#pragma unroll
    for (int i = 0; i < V; i++) mean[i] = squares[i] = 0, s[i] = shift[places.own(i)];
    const int from = x.step(g.first + column * V);
    const T* p = x.at(g.first + column * V) + (long long)(g.lo + row) * from;
    const long long step = (long long)rows * from;
    for (int at = g.lo + row; at < g.hi; at += kAhead * rows, p += kAhead * step) {
      uint4 raw[kAhead];
      ahead(raw, p, step, g.hi - at, rows);
#pragma unroll
      for (int j = 0; j < kAhead; j++) {
        if (at + j * rows >= g.hi) break;
        if (kept != nullptr) kept[(at + j * rows - g.lo) * places.columns + column] = raw[j];
        float v[V];
        unpack(raw[j], v);
        n += 1;
        const float weight = __frcp_rn(n);
#pragma unroll
        for (int i = 0; i < V; i++) {
          const float d = v[i] - s[i], e = d - mean[i];
          mean[i] += e * weight;
          squares[i] += e * (d - mean[i]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < V; i++) cell[row * g.width + places.own(i)] = make_float2(mean[i], squares[i]);
  }
  __syncthreads();
  // Cells of a channel, a share of the rows a thread, then those of a group, a
  // warp each: first for the mean, then for the squares about it.
  const int slab = g.hi - g.lo, each = slab / rows, longer = slab % rows;  // positions of a row of threads
  const int shares = max(1, kGroupThreads / g.width), lane = threadIdx.x & 31;
  const auto sum_groups = [&](auto value, auto use) {
    for (int i = threadIdx.x; i < shares * g.width; i += kGroupThreads) {
      const int place = i % g.width, k = places.channel(place) / g.per;
      float sum = 0;
      for (int r = i / g.width; r < rows; r += shares) sum += value(cell[r * g.width + place], (float)(each + (r < longer)), k);
      part[i] = sum;
    }
    __syncthreads();
    for (int k = threadIdx.x >> 5; k < g.groups; k += kGroupThreads / 32) {
      float sum = 0;
#pragma unroll 1
      for (int i = lane; i < shares * g.per; i += 32) sum += part[i / g.per * g.width + places.of(k * g.per + i % g.per)];
      sum = warp_sum(sum);
      if (lane == 0) use(k, sum);
    }
    __syncthreads();
  };
  const float total = (float)slab * g.per;
  sum_groups([](float2 c, float n, int) { return n * c.x; }, [&](int k, float sum) { out[k] = {total, sum / total, 0}; });
  sum_groups(
      [&](float2 c, float n, int k) {
        const float d = c.x - out[k].mean;
        return c.y + n * d * d;
      },
      [&](int k, float sum) { out[k].squares = sum; });
}

inline float silu_of(float v, f16) { return __fdividef(v, 1.0f + __expf(-v)); }
inline float silu_of(float v, float) { return v / (1.0f + expf(-v)); }

// scale writes ((x - shift) - mean) * rstd * gamma + beta of the slab, with x from
// kept unless that is null.
template <typename T, int V>
inline void scale(const Group& g, const Input<T>& x, const Places<V>& places, T* y, const float* gamma, const float* beta,
                  const float* shift, const float2* stat, float4* cell, const uint4* kept, int silu) {
  // By way of shared memory, gamma and beta are read in whole sectors.
  for (int ch = threadIdx.x; ch < g.width; ch += kGroupThreads) {
    const int k = ch / g.per, place = places.of(ch);
    cell[place] = make_float4(shift[place], stat[k].x, stat[k].y * gamma[g.first + ch], beta[g.first + ch]);
  }
  __syncthreads();
  const int rows = places.rows, column = places.column, row = places.row;
  if (row >= rows) return;
  float s[V], mean[V], mul[V], add[V];
#pragma unroll
  for (int i = 0; i < V; i++) {
    const float4 f = cell[places.own(i)];
    s[i] = f.x, mean[i] = f.y, mul[i] = f.z, add[i] = f.w;
  }
  const int from = x.step(g.first + column * V);
  const T* p = x.at(g.first + column * V) + (long long)(g.lo + row) * from;
  T* q = y + (long long)(g.lo + row) * g.c + g.first + column * V;
  const long long step = (long long)rows * g.c;
  for (int at = g.lo + row; at < g.hi; at += kAhead * rows, p += (long long)kAhead * rows * from, q += kAhead * step) {
    uint4 raw[kAhead];
    if (kept == nullptr) ahead(raw, p, (long long)rows * from, g.hi - at, rows);
#pragma unroll
    for (int j = 0; j < kAhead; j++) {
      if (at + j * rows >= g.hi) break;
      float v[V];
      unpack(kept == nullptr ? raw[j] : kept[(at + j * rows - g.lo) * places.columns + column], v);
#pragma unroll
      for (int i = 0; i < V; i++) {
        v[i] = ((v[i] - s[i]) - mean[i]) * mul[i] + add[i];
        if (silu) v[i] = silu_of(v[i], T());
      }
      store(q + j * step, v);
    }
  }
}

// Arrivals of group_slabs' blocks. A launch adds 2^31 in all: the top bit turns
// when the last block has come, and nothing has to be reset.
unsigned arrivals;

// Waits for the other blocks of a cooperative launch with a grid along x.
inline void meet() {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    const unsigned before = atomicAdd(&arrivals, blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1);
    while (((before ^ *static_cast<volatile unsigned*>(&arrivals)) & 0x80000000u) == 0) __nanosleep(32);
    __threadfence();
  }
  __syncthreads();
}

// part is [n, groups, slabs] of (mean less shift, squares). kept is how many slabs
// of a block there is room for.
template <typename T, int V, bool SLABS>
inline void group(const T* x, const T* more, const float* gamma, const float* beta, T* y, float2* part, int n, int positions, int width,
                  int rest, int groups, int bundle, int slabs, int kept, float eps, int silu) {
  extern __shared__ uint4 rows[];
  __shared__ float sums[kGroupWidth];
  __shared__ union {
    float2 moments[kGroupThreads * V];
    float4 factors[kGroupWidth];
  } cell;
  __shared__ float shift[kGroupWidth];
  __shared__ Moments own[kBundle];
  __shared__ float2 stat[kBundle];
  const int items = n * (groups / bundle) * slabs, each = (items - 1 - blockIdx.x) / gridDim.x + 1;  // and this block's
  const int most = cut(positions, 1, slabs) * (bundle * ((width + rest) / groups) / V);              // in one slab
  const auto with = [&](int i, auto use) {
    const Group g(blockIdx.x + i * gridDim.x, positions, width + rest, groups, bundle, slabs);
    use(g, input(x, more, width, rest, g.sample, positions), Places<V>(g.width), i < kept ? rows + i * most : nullptr,
        part + ((long long)g.sample * groups + g.bundle * bundle) * slabs);
  };
  const auto find_shift = [&](const Group& g, const Input<T>& in, const Places<V>& places) {
    for (int ch = threadIdx.x; ch < g.width; ch += kGroupThreads) shift[places.of(ch)] = to_float(*in.at(g.first + ch / g.per * g.per));
    __syncthreads();
  };
#pragma unroll 1
  for (int i = 0; i < each; i++)
    with(i, [&](const Group& g, const Input<T>& in, const Places<V>& places, uint4* kept, float2* cells) {
      find_shift(g, in, places);
      collect<T, V>(g, in, places, shift, cell.moments, sums, own, kept);
      for (int k = threadIdx.x; k < g.groups; k += kGroupThreads) {
        if constexpr (SLABS)
          cells[(long long)k * slabs + g.slab] = make_float2(own[k].mean, own[k].squares);
        else
          stat[k] = make_float2(own[k].mean, inverse_deviation(own[k].squares, own[k].n, eps));
      }
      __syncthreads();
    });
  if constexpr (SLABS) meet();
#pragma unroll 1
  for (int i = each - 1; i >= 0; i--)
    with(i, [&](const Group& g, const Input<T>& in, const Places<V>& places, uint4* kept, float2* cells) {
      if (i < each - 1) find_shift(g, in, places);  // the last one's is still there
      if constexpr (SLABS) {
        // A warp a group: the slabs' moments together. Other multiprocessors wrote them.
        const int lane = threadIdx.x & 31;
        for (int k = threadIdx.x >> 5; k < g.groups; k += kGroupThreads / 32) {
          const float total = (float)positions * g.per;
          float2 part[kSlabs / 32];
          float n[kSlabs / 32], sum = 0, squares = 0;
#pragma unroll
          for (int j = 0; j < kSlabs / 32; j++) {
            const int i = j * 32 + lane;
            n[j] = i < slabs ? (float)((cut(positions, i + 1, slabs) - cut(positions, i, slabs)) * g.per) : 0;
            part[j] = i < slabs ? __ldcg(cells + (long long)k * slabs + i) : make_float2(0, 0);
          }
#pragma unroll
          for (int j = 0; j < kSlabs / 32; j++) sum += n[j] * part[j].x;
          const float m = warp_sum(sum) / total;
#pragma unroll
          for (int j = 0; j < kSlabs / 32; j++) {
            const float d = part[j].x - m;
            squares += part[j].y + n[j] * d * d;
          }
          squares = warp_sum(squares);
          if (lane == 0) stat[k] = make_float2(m, inverse_deviation(squares, total, eps));
        }
        __syncthreads();
      }
      scale<T, V>(g, in, places, y + (long long)g.sample * positions * g.c, gamma, beta, shift, stat, cell.factors, kept, silu);
      __syncthreads();  // what the next one overwrites has been read
    });
}

// group_block is one sample and group, any width and alignment.
template <typename T>
inline void group_block(const T* x, const T* more, const float* gamma, const float* beta, T* y, int positions, int width, int rest,
                        int groups, float eps, int silu) {
  __shared__ float buf[32];
  const int c = width + rest, per = c / groups, first = blockIdx.x % groups * per, n = blockIdx.x / groups;
  const long long count = (long long)positions * per;
  const Input<T> in = input(x, more, width, rest, n, positions);
  const auto value = [&](int p, int ch) { return to_float(in.at(first + ch)[(long long)p * in.step(first + ch)]); };
  const float shift = value(0, 0);
  // A thread's place moves by one stride: no division in the loops.
  const int p0 = threadIdx.x / per, c0 = threadIdx.x % per, dp = blockDim.x / per, dc = blockDim.x % per;
  const auto each = [&](auto f) {
#pragma unroll 1
    for (int p = p0, ch = c0; p < positions;) {
      f(p, ch);
      p += dp;
      if ((ch += dc) >= per) ch -= per, p++;
    }
  };
  float sum = 0;
  each([&](int p, int ch) { sum += value(p, ch) - shift; });
  const float mean = block_sum(sum, buf) / count;
  float over = 0, squares = 0;
  each([&](int p, int ch) {
    const float d = value(p, ch) - shift - mean;
    over += d;
    squares += d * d;
  });
  const float low = block_sum(over, buf) / count;
  const float rstd = inverse_deviation(block_sum(squares, buf) - low * low * count, count, eps);
  T* out = y + (long long)n * positions * c + first;
  each([&](int p, int ch) {
    float v = ((value(p, ch) - shift) - mean - low) * rstd * gamma[first + ch] + beta[first + ch];
    if (silu) v = silu_of(v, T());
    out[(long long)p * c + ch] = from_float<T>(v);
  });
}

template <typename T> inline void l2(const T* x, float* y, int c) {
  __shared__ float buf[32];
  const T* in = x + (long long)blockIdx.x * c;
  float* out = y + (long long)blockIdx.x * c;
  float sum = 0;
  for (int i = threadIdx.x; i < c; i += blockDim.x) {
    const float v = to_float(in[i]);
    sum += v * v;
  }
  const float f = 1.0f / sqrtf(block_sum(sum, buf));
  for (int i = threadIdx.x; i < c; i += blockDim.x) out[i] = to_float(in[i]) * f;
}

}  // namespace

#define LAYER(name, T, V)                                                                         \
  extern "C" __global__ void __launch_bounds__(128)                                               \
      name(const T* x, const float* gamma, const float* beta, T* y, int rows, int c, float eps) { \
    start_dependent();                                                                            \
    layer_warp<T, V>(x, gamma, beta, y, rows, c, eps);                                            \
  }
LAYER(layer_f16_v1, f16, 1)
LAYER(layer_f16_v2, f16, 2)
LAYER(layer_f16_v4, f16, 4)
LAYER(layer_f16_v8, f16, 8)
LAYER(layer_f16_v16, f16, 16)
LAYER(layer_f32_v1, float, 1)
LAYER(layer_f32_v2, float, 2)
LAYER(layer_f32_v4, float, 4)
LAYER(layer_f32_v8, float, 8)
LAYER(layer_f32_v16, float, 16)

#define LAYER_ANY(name, T)                                                                        \
  extern "C" __global__ void __launch_bounds__(256)                                               \
      name(const T* x, const float* gamma, const float* beta, T* y, int rows, int c, float eps) { \
    start_dependent();                                                                            \
    layer_block<T>(x, gamma, beta, y, c, eps);                                                    \
  }
LAYER_ANY(layer_f16_any, f16)
LAYER_ANY(layer_f32_any, float)

#define GROUP(name, T, V, SLABS)                                                                                                  \
  extern "C" __global__ void __launch_bounds__(kGroupThreads, 1)                                                                  \
      name(const T* x, const T* more, const float* gamma, const float* beta, T* y, float2* part, int n, int positions, int width, \
           int rest, int groups, int bundle, int slabs, int kept, float eps, int silu) {                                          \
    start_dependent();                                                                                                            \
    group<T, V, SLABS>(x, more, gamma, beta, y, part, n, positions, width, rest, groups, bundle, slabs, kept, eps, silu);         \
  }
GROUP(group_f16, f16, 8, false)
GROUP(group_slabs_f16, f16, 8, true)
GROUP(group_f32, float, 4, false)
GROUP(group_slabs_f32, float, 4, true)

#define GROUP_ANY(name, T)                                                                                                         \
  extern "C" __global__ void __launch_bounds__(kGroupThreads, 1)                                                                   \
      name(const T* x, const T* more, const float* gamma, const float* beta, T* y, int positions, int width, int rest, int groups, \
           float eps, int silu) {                                                                                                  \
    start_dependent();                                                                                                             \
    group_block<T>(x, more, gamma, beta, y, positions, width, rest, groups, eps, silu);                                            \
  }
GROUP_ANY(group_f16_any, f16)
GROUP_ANY(group_f32_any, float)

#define L2(name, T)                                                                     \
  extern "C" __global__ void __launch_bounds__(256) name(const T* x, float* y, int c) { \
    start_dependent();                                                                  \
    l2<T>(x, y, c);                                                                     \
  }
L2(l2_f16, f16)
L2(l2_f32, float)
