// Tensor cores and the way to them: asynchronous copies into shared memory,
// ldmatrix, mma.sync. sm_80 and later.
#pragma once
#include <cuda_fp16.h>

// The address of p in the shared window, as cp.async and ldmatrix take it.
inline unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

// Copies 16 bytes to shared memory, or writes 16 zero bytes where !ok; then src
// is not read. Both ends are aligned to 16 bytes.
inline void copy16(unsigned dst, const void* src, bool ok) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(ok ? 16 : 0) : "memory");
}

// Writes 16 bytes to shared memory.
inline void store_shared16(unsigned dst, uint4 v) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(dst), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}

// Closes a group of copies; wait<N> leaves the N youngest groups under way. The
// other threads' copies are there only after a barrier on top.
inline void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int N> inline void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// Four 8x8 matrices of f16: lanes 8i to 8i+7 give the addresses of the rows of
// matrix i, r[i] is this lane's pair of it: row lane/4, columns 2*(lane%4) and on.
inline void ldmatrix4(unsigned (&r)[4], unsigned row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

// The same, each matrix transposed.
inline void ldmatrix4_trans(unsigned (&r)[4], unsigned row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

// c[16,8] += a[16,16] b[16,8]. With g = lane/4 and t = 2*(lane%4): a holds
// (g, t..), (g+8, t..), (g, t+8..), (g+8, t+8..); b holds (t.., g), (t+8.., g);
// c holds (g, t..) and (g+8, t..).
inline void mma16816(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
