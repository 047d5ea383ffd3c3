// The step of a diffusion scheduler with its guidance in one pass.
//
// Bytes bound it. Elements are few (latents) and lie in whole sectors one by one;
// 256 threads, any grid. The step computes in double, since the coefficients of a
// multistep solver cancel; the latents are small.
#include "depend.cuh"
#include "grid.cuh"

namespace {

// denoise.Coefficients.
struct Coefficients {
  double prediction_latents, prediction_model, clip, latents, model, prediction, past[3], first, noise, guidance;
};

// step writes the next latents and the prediction.
template <typename T>
inline void step(const float* x, const T* model, const float* const (&past)[3], const float* first, const float* noise, float* next,
                 float* prediction, long long n, const Coefficients& c) {
  grid_stride(n, [&](long long i) {
    double e = to_float(model[i]);
    if (c.guidance > 1) e += c.guidance * (to_float(model[n + i]) - e);
    const double v = x[i];
    double p = c.prediction_latents * v + c.prediction_model * e;
    if (c.clip > 0) p = fmin(fmax(p, -c.clip), c.clip);
    prediction[i] = (float)p;
    double y = c.latents * v + c.model * e + c.prediction * p;
#pragma unroll
    for (int j = 0; j < 3; j++)
      if (past[j] != nullptr) y += c.past[j] * past[j][i];
    if (first != nullptr) y += c.first * first[i];
    if (noise != nullptr) y += c.noise * noise[i];
    next[i] = (float)y;
  });
}

}  // namespace

#define STEP(name, T)                                                                                                                     \
  extern "C" __global__ void __launch_bounds__(256, 1) name(                                                                              \
      const float* x, const T* model, const float* past0, const float* past1, const float* past2, const float* first, const float* noise, \
      float* next, float* prediction, long long n, double prediction_latents, double prediction_model, double clip, double latents,       \
      double of_model, double of_prediction, double c0, double c1, double c2, double of_first, double of_noise, double guidance) {        \
    start_dependent();                                                                                                                    \
    const float* const past[3] = {past0, past1, past2};                                                                                   \
    const Coefficients c = {prediction_latents, prediction_model, clip,     latents,  of_model,                                           \
                            of_prediction,      {c0, c1, c2},     of_first, of_noise, guidance};                                          \
    step(x, model, past, first, noise, next, prediction, n, c);                                                                           \
  }
STEP(step_f16, f16)
STEP(step_f32, float)
