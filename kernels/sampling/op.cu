// The next token of a sequence and the continuations of beams.
//
// tokens_f32: a block of 512 threads a row. The row is read from L2 three to
// five times, 200 KB at 49,408 tokens: once for the maximum, once for the sum
// and a histogram, and once for each place that is looked for. Tokens are never
// sorted: the histogram has 2048 ranges of falling score, each with its number
// of tokens and their mass; the range in which the sought place lies (the k-th
// token, the end of the nucleus, the draw) is gathered and its tokens ranked by
// counting, up to 512 of them. A fuller range (many equal scores) is divided
// again by the next 11 bits of (range, score, id), which is at most four times.
// Masses are 64-bit integers, 2^46 for the likeliest token: their sums do not
// depend on the order in which atomics arrive, so that the same seed gives the
// same token, and are those of the host's doubles to 1e-10. Rejected: a sort of
// the row (ten passes or more), repeated maxima (a nucleus of a flat
// distribution has thousands of tokens), f32 masses (order-dependent).
// Static shared memory 31 KiB, dynamic: a bit for each token, 4 (V+31)/32 bytes.
//
// continuations_f32: a block of 512 threads a prompt. Three passes over the
// beams' rows for the log-sum-exps and each thread's best, then 2*beams rounds of
// a block's maximum, in each of which one thread searches its own tokens again.
// Dynamic shared memory: 4 beams (V+31)/32 bytes.
//
// exp and log are those of double throughout, some 20 operations an element: on
// a device with few units for double that, not bytes, is the bound.
#include "block.cuh"
#include "philox.cuh"

// Named: an unnamed one gets a name of the moment where its constants are emitted,
// and the PTX would differ from run to run.
namespace sampling {

using u64 = unsigned long long;

constexpr int kThreads = 512, kWarps = kThreads / 32;
constexpr int kRanges = 2048, kRangeBits = 11, kPerThread = kRanges / kThreads;
constexpr int kList = 512;

// How tokens are chosen (sampling.Options); 48 bytes.
struct Options {
  double temperature, top_p;  // top_p 1: all
  u64 seed, offset;
  int top_k;       // 0: all
  int sample;      // 0: the likeliest
  int suppressed;  // a token that cannot come; -1: none
  float penalty;   // 1: none
};

struct Token {
  int id, unused;
  double log_prob;
};

struct Continuation {
  int beam, id;
  double score;
};

// order grows with v; -0 is 0.
inline unsigned order(float v) {
  const unsigned u = __float_as_uint(v + 0.0f);
  return u ^ (u >> 31 ? 0xffffffffu : 0x80000000u);
}

// mark sets the bits of the ids that a sequence has.
inline void mark(unsigned* bits, const int* ids, int count, int vocab) {
  for (int i = threadIdx.x; i < (vocab + 31) / 32; i += kThreads) bits[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += kThreads)
    if ((unsigned)ids[i] < (unsigned)vocab) atomicOr(&bits[ids[i] >> 5], 1u << (ids[i] & 31));
  __syncthreads();
}

// adjust applies the penalty of a token that is there already, then suppresses.
inline float adjust(float v, int id, const unsigned* bits, const Options& c) {
  if (bits[id >> 5] >> (id & 31) & 1) v = v < 0 ? v * c.penalty : v / c.penalty;
  return id == c.suppressed ? minus_inf() : v;
}

// Ranges is a histogram of tokens and what finds a place in it.
struct Ranges {
  u64 mass[kRanges];
  unsigned count[kRanges];
  double p[kList];
  int id[kList];
  u64 sums[kWarps];
  unsigned counts[kWarps];
  u64 base_mass, total;
  unsigned base_count, inside, listed, all;
  int range, token;
};

struct Row {
  const float* logits;
  const unsigned* bits;
  const Options& c;
  int vocab;
  float top;       // the largest adjusted score
  double divisor;  // the temperature

  inline float score(int i) const { return adjust(logits[i], i, bits, c); }
  // probability is relative to the likeliest token's.
  inline double probability(float v) const { return exp((double)v / divisor - (double)top / divisor); }
  // code falls as the score grows, then grows with the id: range, score, id.
  inline u64 code(int i, float v) const {
    const int range = (int)fminf((top - v) * (64.0f / (float)divisor), kRanges - 1);
    return (u64)range << 53 | (u64)~order(v) << 21 | (unsigned)i;
  }
};

inline u64 mass_of(double p) { return __double2ull_rn(p * 70368744177664.0); }

// fill makes the histogram, by the bits below shift+11, of the tokens whose code
// agrees with prefix above them.
inline void fill(Ranges& r, const Row& row, u64 prefix, int shift) {
  __syncthreads();
  for (int i = threadIdx.x; i < kRanges; i += kThreads) r.mass[i] = 0, r.count[i] = 0;
  __syncthreads();
#pragma unroll 1
  for (int i = threadIdx.x; i < row.vocab; i += kThreads) {
    const float v = row.score(i);
    const u64 code = row.code(i, v);
    if (shift < 53 && code >> (shift + kRangeBits) != prefix) continue;
    const double p = row.probability(v);
    if (p > 0) {
      const unsigned k = (unsigned)(code >> shift) & (kRanges - 1);
      atomicAdd(&r.mass[k], mass_of(p));
      atomicAdd(&r.count[k], 1u);
    }
  }
  __syncthreads();
}

// scan adds up what lies in ranges below this thread's own, and all.
inline void scan(Ranges& r, u64& mass, unsigned& count) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  u64 m = 0;
  unsigned c = 0;
#pragma unroll
  for (int j = 0; j < kPerThread; j++) m += r.mass[kPerThread * threadIdx.x + j], c += r.count[kPerThread * threadIdx.x + j];
  const u64 own_m = m;
  const unsigned own_c = c;
#pragma unroll
  for (int d = 1; d < 32; d <<= 1) {
    const u64 um = __shfl_up_sync(0xffffffffu, m, d);
    const unsigned uc = __shfl_up_sync(0xffffffffu, c, d);
    if (lane >= d) m += um, c += uc;
  }
  __syncthreads();
  if (lane == 31) r.sums[warp] = m, r.counts[warp] = c;
  __syncthreads();
  u64 below_m = 0, all_m = 0;
  unsigned below_c = 0, all_c = 0;
  for (int w = 0; w < kWarps; w++) {
    if (w == warp) below_m = all_m, below_c = all_c;
    all_m += r.sums[w];
    all_c += r.counts[w];
  }
  mass = below_m + m - own_m;
  count = below_c + c - own_c;
  if (threadIdx.x == 0) r.total = all_m, r.all = all_c;
  __syncthreads();
}

// locate finds the first token, from the likeliest down, with which the mass (or
// the number, by_count) exceeds `beyond`: r.token, and in r.base_mass the mass
// with it. fresh says that the histogram is of all tokens and will be after.
inline void locate(Ranges& r, const Row& row, bool by_count, u64 beyond, bool& fresh) {
  if (!fresh) fill(r, row, 0, 53);
  fresh = true;
  u64 prefix = 0;
  int shift = 53;
  if (threadIdx.x == 0) r.base_mass = 0, r.base_count = 0, r.token = -1, r.listed = 0;
  while (true) {
    u64 mass;
    unsigned count;
    scan(r, mass, count);
    const u64 base_mass = r.base_mass;
    const unsigned base_count = r.base_count;
    if (threadIdx.x == 0) r.range = -1;
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kPerThread; j++) {
      const u64 m = r.mass[kPerThread * threadIdx.x + j];
      const unsigned c = r.count[kPerThread * threadIdx.x + j];
      const u64 before = by_count ? base_count + count : base_mass + mass, with = before + (by_count ? c : m);
      if (before <= beyond && with > beyond) {
        r.range = kPerThread * threadIdx.x + j;
        r.inside = c;
        r.base_mass = base_mass + mass;
        r.base_count = base_count + count;
      }
      mass += m;
      count += c;
    }
    __syncthreads();
    if (r.range < 0) return;
    prefix = prefix << kRangeBits | (unsigned)r.range;
    if (r.inside <= kList) break;
    shift -= kRangeBits;
    fresh = false;
    fill(r, row, prefix, shift);
  }
#pragma unroll 1
  for (int i = threadIdx.x; i < row.vocab; i += kThreads) {
    const float v = row.score(i);
    if (row.code(i, v) >> shift != prefix) continue;
    const double p = row.probability(v);
    if (p > 0) {
      const unsigned at = atomicAdd(&r.listed, 1u);
      r.p[at] = p;
      r.id[at] = i;
    }
  }
  __syncthreads();
  const int n = r.listed;
  const u64 base_mass = r.base_mass;
  const unsigned base_count = r.base_count;
  __syncthreads();
  if (threadIdx.x < n) {
    const double p = r.p[threadIdx.x];
    const int id = r.id[threadIdx.x];
    u64 mass = base_mass;
    unsigned count = base_count;
#pragma unroll 1
    for (int j = 0; j < n; j++) {
      const double q = r.p[j];
      if (q > p || q == p && r.id[j] < id) mass += mass_of(q), count++;
    }
    const u64 own = mass_of(p), before = by_count ? count : mass;
    if (before <= beyond && before + (by_count ? 1 : own) > beyond) {
      r.token = id;
      r.base_mass = mass + own;
    }
  }
  __syncthreads();
}

// draw is sampling.Options.pick.
inline int draw(Ranges& r, const Row& row, double u) {
  bool fresh = false;
  fill(r, row, 0, 53);
  fresh = true;
  u64 mass;
  unsigned count;
  scan(r, mass, count);
  u64 sum = r.total;
  if (sum == 0) return 0;
  const Options& c = row.c;
  if (c.top_k > 0 && (unsigned)c.top_k < r.all) {
    locate(r, row, true, c.top_k - 1, fresh);
    sum = r.base_mass;
    __syncthreads();
  }
  if (c.top_p > 0 && c.top_p < 1) {
    // A token stays while those before it have less than top_p.
    const u64 beyond = (u64)ceil(fmax(c.top_p * (double)sum, 1.0)) - 1;
    locate(r, row, false, min(beyond, sum - 1), fresh);
    sum = r.base_mass;
    __syncthreads();
  }
  locate(r, row, false, min((u64)(u * (double)sum), sum - 1), fresh);
  return max(r.token, 0);
}

// log_sum_exp is log(sum(exp(x))) of a row.
inline double log_sum_exp(const float* x, int n, float top, double* buf) {
  double sum = 0;
#pragma unroll 1
  for (int i = threadIdx.x; i < n; i += kThreads) sum += exp((double)x[i] - (double)top);
  return (double)top + log(block_sum(sum, buf));
}

inline void tokens(const float* logits, const int* ids, const int* counts, const Options* options, const u64* subsequences, Token* out,
                   int vocab, int row_ids) {
  extern __shared__ unsigned bits[];
  __shared__ Ranges ranges;
  __shared__ double buf[32];
  u64* ubuf = reinterpret_cast<u64*>(buf);
  const int n = counts[blockIdx.x];
  if (n < 0) {  // passed over
    if (threadIdx.x == 0) out[blockIdx.x] = {-1, 0, 0};
    return;
  }
  const Options c = *options;
  const float* x = logits + (long long)blockIdx.x * vocab;
  mark(bits, ids + (long long)blockIdx.x * row_ids, c.penalty == 1.0f ? 0 : n, vocab);
  float top = minus_inf();
  u64 best = 0;
#pragma unroll 1
  for (int i = threadIdx.x; i < vocab; i += kThreads) {
    top = fmaxf(top, x[i]);
    best = max(best, (u64)order(adjust(x[i], i, bits, c)) << 32 | ~(unsigned)i);
  }
  top = block_max(top, reinterpret_cast<float*>(buf));
  best = block_reduce<kWarps>(best, ubuf, [](u64 a, u64 b) { return max(a, b); });
  int id = (int)~(unsigned)best;
  const double norm = log_sum_exp(x, vocab, top, buf);
  if (c.sample) {
    const Row row = {x, bits, c, vocab, adjust(x[id], id, bits, c), c.temperature};
    id = draw(ranges, row, uniform(c.seed, subsequences[blockIdx.x], c.offset));
  }
  if (threadIdx.x == 0) {
    out[blockIdx.x] = {id, 0, (double)x[id] - norm};
  }
}

constexpr int kMaxBeams = 64;

// Candidate is a score and its place in [beams, vocab]; better is the order in
// which they are returned.
struct Candidate {
  double score;
  int at;
  inline bool better(const Candidate& o) const { return score > o.score || score == o.score && at < o.at; }
};

constexpr int kNowhere = 0x7fffffff;

inline void continuations(const float* logits, const int* ids, const int* counts, const double* scores, const Options* options,
                          Continuation* out, int vocab, int row_ids, int beams) {
  extern __shared__ unsigned bits[];
  __shared__ double buf[32], norm[kMaxBeams];
  __shared__ Candidate best[32];
  const Options c = *options;
  const int mask_words = (vocab + 31) / 32, row0 = blockIdx.x * beams, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const float* x = logits + (long long)row0 * vocab;
  for (int b = 0; b < beams; b++) {
    mark(bits + b * mask_words, ids + (long long)(row0 + b) * row_ids, c.penalty == 1.0f ? 0 : counts[row0 + b], vocab);
    const float* row = x + (long long)b * vocab;
    float top = minus_inf();
    for (int i = threadIdx.x; i < vocab; i += kThreads) top = fmaxf(top, row[i]);
    top = block_max(top, reinterpret_cast<float*>(buf));
    const double l = log_sum_exp(row, vocab, top, buf);
    if (threadIdx.x == 0) norm[b] = l;
  }
  __syncthreads();
  // search is this thread's best behind `last`.
  const auto search = [&](const Candidate& last) {
    const double none = __longlong_as_double(0xfff0000000000000ll);
    Candidate own = {none, kNowhere};
#pragma unroll 1
    for (int b = 0; b < beams; b++) {
#pragma unroll 1
      for (int i = threadIdx.x; i < vocab; i += kThreads) {
        const float v = adjust((float)((double)x[(long long)b * vocab + i] - norm[b]), i, bits + b * mask_words, c);
        const Candidate e = {(double)v + scores[row0 + b], b * vocab + i};
        if (last.better(e) && e.better(own)) own = e;
      }
    }
    return own;
  };
  Candidate own = search({__longlong_as_double(0x7ff0000000000000ll), -1});
#pragma unroll 1
  for (int r = 0; r < 2 * beams; r++) {
    Candidate top = own;
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) {
      const Candidate o = {__shfl_xor_sync(0xffffffffu, top.score, d), __shfl_xor_sync(0xffffffffu, top.at, d)};
      if (o.better(top)) top = o;
    }
    __syncthreads();
    if (lane == 0) best[warp] = top;
    __syncthreads();
    top = best[lane % kWarps];
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) {
      const Candidate o = {__shfl_xor_sync(0xffffffffu, top.score, d), __shfl_xor_sync(0xffffffffu, top.at, d)};
      if (o.better(top)) top = o;
    }
    if (threadIdx.x == 0) {
      const bool any = top.at != kNowhere;
      out[blockIdx.x * 2 * beams + r] = {any ? top.at / vocab : -1, any ? top.at % vocab : -1, top.score};
    }
    if (top.at != kNowhere && own.at == top.at) own = search(top);
  }
}

}  // namespace sampling

using namespace sampling;

#define ENTRY extern "C" __global__ void __launch_bounds__(kThreads, 1)

ENTRY tokens_f32(const float* logits, const int* ids, const int* counts, const Options* options, const u64* subsequences, Token* out,
                 int vocab, int row_ids) {
  tokens(logits, ids, counts, options, subsequences, out, vocab, row_ids);
}

ENTRY continuations_f32(const float* logits, const int* ids, const int* counts, const double* scores, const Options* options,
                        Continuation* out, int vocab, int row_ids, int beams) {
  continuations(logits, ids, counts, scores, options, out, vocab, row_ids, beams);
}
