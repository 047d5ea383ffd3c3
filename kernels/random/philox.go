package random

import "math/bits"

// Philox gives the four 32-bit words at an offset of a subsequence (Salmon et
// al., "Parallel random numbers: as easy as 1, 2, 3", 2011; Philox4x32-10, with
// seed, subsequence and offset laid out as in cuRAND). It has no state: every
// device gives the same for the same three numbers.
func Philox(seed, subsequence, offset uint64) [4]uint32 {
	c := [4]uint32{uint32(offset), uint32(offset >> 32), uint32(subsequence), uint32(subsequence >> 32)}
	k0, k1 := uint32(seed), uint32(seed>>32)
	for range 10 {
		h0, l0 := bits.Mul32(0xd2511f53, c[0])
		h1, l1 := bits.Mul32(0xcd9e8d57, c[2])
		c = [4]uint32{h1 ^ c[1] ^ k0, l1, h0 ^ c[3] ^ k1, l0}
		k0, k1 = k0+0x9e3779b9, k1+0xbb67ae85
	}
	return c
}

// Uniform is the number in [0, 1), of 53 bits, at an offset of a subsequence.
func Uniform(seed, subsequence, offset uint64) float64 {
	w := Philox(seed, subsequence, offset)
	return float64(uint64(w[0])<<21^uint64(w[1])>>11) * (1.0 / (1 << 53))
}
