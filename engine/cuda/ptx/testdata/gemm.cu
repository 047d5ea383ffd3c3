// C = A·B^T of f16 with f32 sums, [M, K]·[N, K] -> [M, N]: 64x64 tiles, 4 warps,
// K in steps of 32 through two stages of cp.async, rows swizzled by 16 bytes.
// Sizes that are not multiples of the tile are zero-filled. A test kernel, not a
// fast one.
#include <cuda_fp16.h>

__device__ __forceinline__ unsigned smem(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }

// Offset of 16-byte piece c (0 to 3) of row r.
__device__ __forceinline__ int piece(int r, int c) { return r * 32 + ((c ^ (r >> 1)) & 3) * 8; }

extern "C" __global__ void __launch_bounds__(128) gemm(float *C, const __half *A, const __half *B, int M, int N, int K) {
  __shared__ __align__(16) __half a[2][64 * 32], b[2][64 * 32];
  int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
  int m0 = blockIdx.y * 64, n0 = blockIdx.x * 64;
  int wm = warp / 2 * 32, wn = warp % 2 * 32;
  float acc[2][4][4] = {};
  auto stage = [&](int s, int k0) {
    for (int i = tid; i < 256; i += 128) {
      int r = i / 4, c = i % 4, k = k0 + c * 8;
      int na = m0 + r < M && k < K ? 16 : 0, nb = n0 + r < N && k < K ? 16 : 0;
      const __half *pa = na ? A + (size_t)(m0 + r) * K + k : A, *pb = nb ? B + (size_t)(n0 + r) * K + k : B;
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(smem(&a[s][piece(r, c)])), "l"(pa), "r"(na));
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(smem(&b[s][piece(r, c)])), "l"(pb), "r"(nb));
    }
    asm volatile("cp.async.commit_group;");
  };
  stage(0, 0);
  for (int k0 = 0, s = 0; k0 < K; k0 += 32, s ^= 1) {
    if (k0 + 32 < K) stage(s ^ 1, k0 + 32);
    else asm volatile("cp.async.commit_group;");
    asm volatile("cp.async.wait_group 1;");
    __syncthreads();
#pragma unroll
    for (int kk = 0; kk < 2; kk++) {
      unsigned fa[2][4], fb[4][2];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        int r = wm + i * 16 + lane % 16, c = kk * 2 + lane / 16;
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(fa[i][0]), "=r"(fa[i][1]), "=r"(fa[i][2]), "=r"(fa[i][3]) : "r"(smem(&a[s][piece(r, c)])));
      }
#pragma unroll
      for (int j = 0; j < 4; j++) {
        int r = wn + j * 8 + lane % 8, c = kk * 2 + lane / 8 % 2;
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                     : "=r"(fb[j][0]), "=r"(fb[j][1]) : "r"(smem(&b[s][piece(r, c)])));
      }
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
          asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                       : "+f"(acc[i][j][0]), "+f"(acc[i][j][1]), "+f"(acc[i][j][2]), "+f"(acc[i][j][3])
                       : "r"(fa[i][0]), "r"(fa[i][1]), "r"(fa[i][2]), "r"(fa[i][3]), "r"(fb[j][0]), "r"(fb[j][1]));
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int r = m0 + wm + i * 16 + lane / 4 + e / 2 * 8, c = n0 + wn + j * 8 + lane % 4 * 2 + e % 2;
        if (r < M && c < N) C[(size_t)r * N + c] = acc[i][j][e];
      }
}
