//go:build amd64 && !noasm

package simd

//go:noescape
func tileAMX(config *byte, shape, k int, a *float32, lda int, b, next, c *float32, ldc, panels int, add bool)

//go:noescape
func tileDP(k int, a, b, c *float32, ldc, m, n int, add bool)

//go:noescape
func rowsBF16x3(dst, src *float32, from *int, rows, k int)

//go:noescape
func rowsBF16(dst, src *float32, from *int, rows, k int)

//go:noescape
func pairsBF16x3(dst, src *float32, ld, blocks, n int)

//go:noescape
func pairsBF16(dst, src *float32, ld, blocks, n int)

// rows fills one panel of A from rows of k.
func (g Kernel) rows(dst, src []float32, from []int, k int) {
	switch {
	case g.level < AVX512:
		g.rowsGo(dst, src, from, k)
	case g.Format == BF16x3:
		rowsBF16x3(p(dst), p(src), p(from), len(from), k)
	default:
		rowsBF16(p(dst), p(src), p(from), len(from), k)
	}
}

// pairs fills one panel of B from k lines of n columns; k is a multiple of 32.
func (g Kernel) pairs(dst, src []float32, ld, k, n int) {
	switch {
	case g.level < AVX512:
		g.pairsGo(dst, src, ld, k, n)
	case g.Format == BF16x3:
		pairsBF16x3(p(dst), p(src), ld, k/32, n)
	default:
		pairsBF16(p(dst), p(src), ld, k/32, n)
	}
}

// pairsExp2 packs blocks of 32 rows of x, if there is assembly for it.
func (g Kernel) pairsExp2(dst, x, top, sum []float32) bool {
	switch {
	case g.level < AVX512:
		return false
	case g.Format == BF16x3:
		pairsExp2BF16x3AVX512(p(dst), p(x), p(top), p(sum), len(dst)/1024)
	default:
		pairsExp2BF16AVX512(p(dst), p(x), p(top), p(sum), len(dst)/512)
	}
	return true
}

// dp multiplies by VDPBF16PS: some rows of each panel of A at a time.
func (g Kernel) dp(k int, a []float32, lda int, b, c []float32, ldc, m, n int, add bool) {
	const most = 11
	for i := 0; i < m; {
		rows := min(most, g.MR-i%g.MR, m-i)
		tileDP((k+31)/32, p(a[i/g.MR*lda+i%g.MR*16:]), p(b), p(c[i*ldc:]), ldc, rows, n, add)
		i += rows
	}
}

// A config is what LDTILECFG reads: the palette, and of each tile the bytes of a
// row and the rows.
type config [64]byte

func newConfig(m, n int) config {
	c := config{1}
	tile := func(t, rows, cols int) {
		if rows > 0 && cols > 0 {
			c[16+2*t], c[48+t] = byte(4*min(cols, 16)), byte(min(rows, 16))
		}
	}
	for i := range 2 {
		tile(4+i, m-16*i, 16)
		tile(6+i, 16, n-16*i)
		for j := range 2 {
			tile(2*i+j, m-16*i, n-16*j)
		}
	}
	return c
}

var fullConfig = newConfig(32, 32)

// amx multiplies whole panels of A, then the rest of one, by one panel of B. It
// fetches that at next meanwhile.
func (g Kernel) amx(k int, a []float32, lda int, b, next, c []float32, ldc, m, n int, add bool) {
	shape := 0
	if g.Format == BF16 {
		shape = 4
	}
	if n > 16 {
		shape++
	}
	blocks := (k + 31) / 32
	if whole := m / g.MR; whole > 0 {
		t := fullConfig
		if n < g.NR {
			t = newConfig(g.MR, n)
		}
		tileAMX(&t[0], shape+2, blocks, p(a), lda, p(b), p(next), p(c), ldc, whole, add)
		if m -= whole * g.MR; m == 0 {
			return
		}
		a, c = a[whole*lda:], c[whole*g.MR*ldc:]
	}
	if m > 16 {
		shape += 2
	}
	t := newConfig(m, n)
	tileAMX(&t[0], shape, blocks, p(a), lda, p(b), p(next), p(c), ldc, 1, add)
}
