// Philox4x32-10 (kernels/random).
#pragma once

// uniform is random.Uniform: a number in [0, 1) at an offset of a subsequence.
inline double uniform(unsigned long long seed, unsigned long long subsequence, unsigned long long offset) {
  unsigned c0 = (unsigned)offset, c1 = (unsigned)(offset >> 32), c2 = (unsigned)subsequence, c3 = (unsigned)(subsequence >> 32);
  unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
#pragma unroll 1
  for (int i = 0; i < 10; i++) {
    const unsigned h0 = __umulhi(0xd2511f53u, c0), l0 = 0xd2511f53u * c0, h1 = __umulhi(0xcd9e8d57u, c2), l1 = 0xcd9e8d57u * c2;
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return (double)(((unsigned long long)c0 << 21) ^ (c1 >> 11)) * (1.0 / 9007199254740992.0);
}
