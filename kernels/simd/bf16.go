package simd

import "math"

// The packing and the tiles of bfloat16 in pure Go.

// split rounds to bfloat16, and returns what that loses, rounded too.
func split(x float32) (near, rest uint32) {
	near = bf16(x)
	return near, bf16(x - math.Float32frombits(near<<16))
}

// put writes a pair of consecutive k to word i of a block of 32.
func (g Kernel) put(block []float32, i int, even, odd float32) {
	e, er := split(even)
	o, or := split(odd)
	block[i] = math.Float32frombits(e | o<<16)
	if g.Format == BF16x3 {
		block[512+i] = math.Float32frombits(er | or<<16)
	}
}

// rowsGo fills one panel of A from rows of k.
func (g Kernel) rowsGo(dst, src []float32, from []int, k int) {
	for p := 0; p < k || p%32 != 0; p += 2 {
		block := dst[g.LenA(p/32*32):]
		for i, at := range from {
			var even, odd float32
			if at >= 0 && p < k {
				even = src[at+p]
			}
			if at >= 0 && p+1 < k {
				odd = src[at+p+1]
			}
			g.put(block, i*16+p%32/2, even, odd)
		}
	}
}

// pairsGo fills one panel of B from k lines of n columns; k is a multiple of 32.
func (g Kernel) pairsGo(dst, src []float32, ld, k, n int) {
	for p := 0; p < k; p += 2 {
		block := dst[g.LenB(p/32*32):]
		for j := range n {
			g.put(block, j/16*256+p%32/2*16+j%16, src[p*ld+j], src[(p+1)*ld+j])
		}
	}
}

// bf16Go is f32Go of bfloat16.
func (g Kernel) bf16Go(k int, a, b, c []float32, ldc, m, n int) {
	wide := func(w float32) (even, odd float32) {
		u := math.Float32bits(w)
		return math.Float32frombits(u << 16), math.Float32frombits(u &^ 0xffff)
	}
	for i := range m {
		for j := range n {
			sum := float32(0)
			for p := 0; p < k; p += 32 {
				ab, bb := a[g.LenA(p):], b[g.LenB(p):]
				for q := range 16 {
					x, y := i*16+q, j/16*256+q*16+j%16
					xe, xo := wide(ab[x])
					ye, yo := wide(bb[y])
					if g.Format == BF16x3 {
						re, ro := wide(ab[512+x])
						se, so := wide(bb[512+y])
						sum += re*ye + ro*yo + xe*se + xo*so
					}
					sum += xe*ye + xo*yo
				}
			}
			c[i*ldc+j] += sum
		}
	}
}
