// z = a·x + y, and a block's sum by shared memory and shuffles.
#include <cuda_fp16.h>

extern "C" __global__ void axpy(float *z, const float *x, const float *y, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) z[i] = a * x[i] + y[i];
}

extern "C" __global__ void __launch_bounds__(256) sum(float *out, const __half *x, int n) {
  __shared__ float part[8];
  float s = 0;
  for (int i = threadIdx.x; i < n; i += 256) s += __half2float(x[i]);
  for (int d = 16; d; d >>= 1) s += __shfl_xor_sync(0xffffffff, s, d);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = s;
  __syncthreads();
  if (threadIdx.x < 32) {
    s = threadIdx.x < 8 ? part[threadIdx.x] : 0;
    for (int d = 4; d; d >>= 1) s += __shfl_xor_sync(0xffffffff, s, d);
    if (threadIdx.x == 0) *out = s;
  }
}

// Every lane runs the Collatz sequence of its number: divergent loops.
extern "C" __global__ void collatz(int *steps, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  unsigned v = i + 1;
  int k = 0;
  while (v != 1) {
    v = v & 1 ? 3 * v + 1 : v / 2;
    k++;
  }
  steps[i] = k;
}
