// The cosine of embeddings, and the first of the largest. One block: rows are few.
#include "block.cuh"

namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32;
constexpr int kNowhere = 0x7fffffff;

// cosine: scores[i] is the product of row i of a [k, d] and b [d], embeddings of
// length 1; *best the first of the largest.
inline void cosine(const float* a, const float* b, double* scores, int* best, int k, int d) {
  __shared__ double buf[32];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const double none = __longlong_as_double(0xfff0000000000000ll);
  double top = none;
  int at = kNowhere;
  for (int i = warp; i < k; i += kWarps) {
    double sum = 0;
    for (int j = lane; j < d; j += 32) sum += (double)a[(long long)i * d + j] * (double)b[j];
    const double score = warp_sum(sum);
    if (lane == 0) scores[i] = score;
    if (score > top) top = score, at = i;
  }
  const double most = block_reduce<kWarps>(top, buf, [](double x, double y) { return fmax(x, y); });
  at = block_reduce<kWarps>(top == most ? at : kNowhere, reinterpret_cast<int*>(buf), [](int x, int y) { return min(x, y); });
  if (threadIdx.x == 0) *best = at == kNowhere ? 0 : at;
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    cosine_f32(const float* a, const float* b, double* scores, int* best, int k, int d) {
  cosine(a, b, scores, best, k, d);
}
