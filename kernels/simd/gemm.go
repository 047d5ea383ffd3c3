package simd

import "slices"

// Format is how a product's operands are kept, from the most to the least precise.
// Sums are float32's in each.
type Format uint8

const (
	// F32 multiplies float32 as they are.
	F32 Format = iota
	// BF16x3 keeps of each float32 the nearest bfloat16 and that of what is lost
	// by it, together 16 bits of significand, and adds three of the four products
	// of such parts: a term's relative error is below 2⁻¹⁵. Of an infinite
	// operand it makes NaN.
	BF16x3
	// BF16 rounds operands to bfloat16: a term's relative error is below 2⁻⁷.
	BF16
)

func (f Format) String() string { return [...]string{"f32", "bf16x3", "bf16"}[f] }

// Kernel is a matrix product's innermost tiles: MR rows by NR columns whose
// sums stay in registers while k runs. Its methods pack operands into panels of
// MR rows of the left one, A, and NR columns of the right one, B, of which it
// reads KR of k at a time: a panel's K is filled up to a multiple of KR with
// zeros.
//
// A panel is [k][MR] or [k][NR] of F32. Of the other formats it holds bfloat16,
// two to a float32, in blocks of 32 of k: of A [row][k], of B [half of the columns]
// [pair of k][column][2]; of BF16x3 the nearest ones of a block, then what is
// left of them.
type Kernel struct {
	MR, NR, KR int
	Format     Format
	level      Level
}

// String names the kernel in records: "tiles avx512 f32".
func (g Kernel) String() string {
	return [...][BF16 + 1]string{
		Go:     {"tiles go f32", "tiles go bf16x3", "tiles go bf16"},
		AVX2:   {"tiles avx2 f32", "tiles avx2 bf16x3", "tiles avx2 bf16"},
		AVX512: {"tiles avx512 f32", "tiles avx512 bf16x3", "tiles avx512 bf16"},
		AMX:    {"tiles amx f32", "tiles amx bf16x3", "tiles amx bf16"},
	}[g.level][g.Format]
}

// The pure Go kernel, and the shape of those of bfloat16.
var (
	gemmGo   = Kernel{MR: 4, NR: 8, KR: 1}
	gemmBF16 = Kernel{MR: 32, NR: 32, KR: 32}
)

// Gemm is the active level's kernel of a format.
func Gemm(f Format) Kernel {
	if f == F32 {
		return gemmOf(vector)
	}
	g := gemmBF16
	g.Format, g.level = f, bf16Level(f, active)
	return g
}

// LenA is the length of one panel of A for k of K, or where the k-th begins in
// one, which is a multiple of KR then.
func (g Kernel) LenA(k int) int { return g.length(k, g.MR) }

// LenB is LenA of B.
func (g Kernel) LenB(k int) int { return g.length(k, g.NR) }

func (g Kernel) length(k, r int) int {
	if g.Format == F32 {
		return k * r
	}
	n := (k + g.KR - 1) / g.KR * g.KR * r
	if g.Format == BF16 {
		n /= 2
	}
	return n
}

// SizeA is the length of A's panels of m rows.
func (g Kernel) SizeA(m, k int) int { return (m + g.MR - 1) / g.MR * g.LenA(k) }

// SizeB is the length of B's panels of n columns.
func (g Kernel) SizeB(k, n int) int { return (n + g.NR - 1) / g.NR * g.LenB(k) }

// PackA packs A, row-major [m][k] with stride ld.
func (g Kernel) PackA(dst, a []float32, ld, m, k int) {
	if g.Format == F32 {
		PackRows(dst, a, ld, m, k, g.MR)
		return
	}
	var from [32]int
	for i := range from {
		from[i] = i * ld
	}
	g.panels(dst, m, g.MR, g.LenA(k), func(panel []float32, i, rows int) {
		g.rows(panel, a[i*ld:(i+rows-1)*ld+k], from[:rows], k)
	})
}

// Gather packs one panel of A whose rows begin at from, or are zeros where that is
// negative. Its format is one of bfloat16.
func (g Kernel) Gather(panel, a []float32, from []int, k int) {
	if k <= 0 || len(from) == 0 {
		return
	}
	if last := slices.Max(from); len(from) > g.MR || last >= 0 && last+k > len(a) {
		panic("simd: rows outside of their panel or matrix")
	}
	g.rows(panel[:g.LenA(k)], a, from, k)
}

// PackAT packs A from its transpose, row-major [k][m] with stride ld.
func (g Kernel) PackAT(dst, a []float32, ld, k, m int) {
	if g.Format == F32 {
		PackCols(dst, a, ld, k, m, g.MR)
		return
	}
	var turned [32 * 32]float32
	var from [32]int
	for i := range from {
		from[i] = 32 * i
	}
	g.panels(dst, m, g.MR, g.LenA(k), func(panel []float32, i, rows int) {
		for p := 0; p < k; p += 32 {
			kc := min(32, k-p)
			PackRows(turned[:32*rows], a[p*ld+i:(p+kc-1)*ld+i+rows], ld, kc, rows, 32)
			g.rows(panel[g.LenA(p):], turned[:], from[:rows], kc)
		}
	})
}

// PackB packs B, row-major [k][n] with stride ld.
func (g Kernel) PackB(dst, b []float32, ld, k, n int) {
	if g.Format == F32 {
		PackCols(dst, b, ld, k, n, g.NR)
		return
	}
	g.panels(dst, n, g.NR, g.LenB(k), func(panel []float32, j, cols int) {
		whole := k / 32 * 32
		if whole > 0 {
			g.pairs(panel, b[j:(whole-1)*ld+j+cols], ld, whole, cols)
		}
		if k > whole {
			var rest [32 * 32]float32
			for p := whole; p < k; p++ {
				copy(rest[(p-whole)*32:][:cols], b[p*ld+j:])
			}
			g.pairs(panel[g.LenB(whole):], rest[:], 32, 32, cols)
		}
	})
}

// PackBT packs B from its transpose, row-major [n][k] with stride ld, as weights
// [out, in] lie.
func (g Kernel) PackBT(dst, b []float32, ld, n, k int) {
	if g.Format == F32 {
		PackRows(dst, b, ld, n, k, g.NR)
		return
	}
	var turned [32 * 32]float32
	g.panels(dst, n, g.NR, g.LenB(k), func(panel []float32, j, cols int) {
		for p := 0; p < k; p += 32 {
			kc := min(32, k-p)
			clear(turned[32*kc:])
			PackRows(turned[:32*kc], b[j*ld+p:(j+cols-1)*ld+p+kc], ld, cols, kc, 32)
			g.pairs(panel[g.LenB(p):], turned[:], 32, 32, cols)
		}
	})
}

// PackExp2 packs ColumnExp2's result as a panel of B: x is [k][NR]. It may write
// over x, and for F32 dst is x.
func (g Kernel) PackExp2(dst, x, top, sum []float32, k int) {
	x = x[:k*g.NR]
	whole := k / 32 * 32
	switch {
	case g.Format == F32:
		ColumnExp2(x, top, sum)
	case whole > 0 && g.pairsExp2(dst[:g.LenB(whole)], x, top[:g.NR], sum[:g.NR]):
		if k > whole {
			g.PackExp2(dst[g.LenB(whole):], x[whole*g.NR:], top, sum, k-whole)
		}
	default:
		ColumnExp2(x, top, sum)
		g.PackB(dst, x, g.NR, k, g.NR)
	}
}

// panels calls f for each panel of r lines.
func (g Kernel) panels(dst []float32, lines, r, length int, f func(panel []float32, i, n int)) {
	if length == 0 {
		return
	}
	for i := 0; i < lines; i += r {
		f(dst[i/r*length:][:length], i, min(r, lines-i))
	}
}

// Tile adds the product of packed panels to the m rows and n columns of C.
//
//	a    panels of A, LenA(k) each, one every lda elements
//	b    panels of B, LenB(k) each, one every ldb elements
//	c    row-major with stride ldc; only its m rows and n columns are read or
//	     written
func (g Kernel) Tile(k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc, m, n int) {
	g.product(k, a, lda, b, ldb, c, ldc, m, n, true)
}

// Set is Tile, but writes the product over what was in C.
func (g Kernel) Set(k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc, m, n int) {
	g.product(k, a, lda, b, ldb, c, ldc, m, n, false)
}

func (g Kernel) product(k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc, m, n int, add bool) {
	switch {
	case m <= 0 || n <= 0 || k <= 0 && add:
		return
	case ldc < n || lda < 0 || ldb < 0:
		panic("simd: a tile wider than its matrix")
	case k <= 0:
		for i := range m {
			clear(c[i*ldc:][:n])
		}
		return
	}
	// What is read and written, or a panic.
	a, c = a[:(m-1)/g.MR*lda+g.LenA(k)], c[:(m-1)*ldc+n]
	last := (n - 1) / g.NR * ldb
	b = b[:last+g.LenB(k)]
	for j, at := 0, 0; j < n; j, at = j+g.NR, at+ldb {
		next := b[min(at+ldb, last):]
		g.tile(k, a, lda, b[at:], next, c[j:], ldc, m, min(g.NR, n-j), add)
	}
}

// tileGo multiplies panels of A by one of B.
func (g Kernel) tileGo(k int, a []float32, lda int, b, c []float32, ldc, m, n int, add bool) {
	tile := f32Go
	if g.Format != F32 {
		tile = g.bf16Go
	}
	for i := 0; i < m; i += g.MR {
		rows := min(g.MR, m-i)
		if !add {
			for r := range rows {
				clear(c[(i+r)*ldc:][:n])
			}
		}
		tile(k, a[i/g.MR*lda:], b, c[i*ldc:], ldc, rows, n)
	}
}

// f32Go adds the product of a panel of each. It takes two columns at a time: eight
// sums, as many as the compiler keeps in registers beside the six factors.
func f32Go(k int, a, b, c []float32, ldc, m, n int) {
	const mr, nr = 4, 8
	for j := 0; j < n; j += 2 {
		var s00, s01, s10, s11, s20, s21, s30, s31 float32
		ap, bp := a[:k*mr], b[:k*nr]
		for len(ap) >= mr && len(bp) >= nr {
			b0, b1 := bp[j], bp[j+1]
			a0, a1, a2, a3 := ap[0], ap[1], ap[2], ap[3]
			s00 += a0 * b0
			s01 += a0 * b1
			s10 += a1 * b0
			s11 += a1 * b1
			s20 += a2 * b0
			s21 += a2 * b1
			s30 += a3 * b0
			s31 += a3 * b1
			ap, bp = ap[mr:], bp[nr:]
		}
		s := [mr][2]float32{{s00, s01}, {s10, s11}, {s20, s21}, {s30, s31}}
		for i := range m {
			for x := range min(2, n-j) {
				c[i*ldc+j+x] += s[i][x]
			}
		}
	}
}

// PackRows packs src, row-major [rows][k] with stride ld, into panels
// [ceil(rows/r)][k][r], padded with zeros. It packs A with r = MR, and B with
// r = NR where B lies transposed, as weights [out, in] do.
func PackRows(dst, src []float32, ld, rows, k, r int) {
	if k <= 0 {
		return
	}
	for i := 0; i < rows; i += r {
		panel := dst[:k*r]
		dst = dst[k*r:]
		packRows(panel, src[i*ld:(min(i+r, rows)-1)*ld+k], ld, min(r, rows-i), k, r)
	}
}

// packRows fills one panel, as many rows at a time as a register holds. The
// assembly leaves columns beyond a multiple of four and incomplete registers to Go.
func packRows(dst, src []float32, ld, rows, k, r int) {
	if rows < r {
		clear(dst)
	}
	for i := 0; i < rows; {
		n, done := packTransposed(dst[i:], src[i*ld:], ld, rows-i, k, r)
		packTransposedGo(dst[i:], src[i*ld:], ld, n, done, k, r)
		i += n
	}
}

// packTransposedGo transposes columns from..k of n rows.
func packTransposedGo(dst, src []float32, ld, n, from, k, r int) {
	i := 0
	for ; i+4 <= n; i += 4 {
		s0, s1, s2, s3 := src[i*ld:][:k], src[(i+1)*ld:][:k], src[(i+2)*ld:][:k], src[(i+3)*ld:][:k]
		for j := from; j < k; j++ {
			d := dst[j*r+i:][:4]
			d[0], d[1], d[2], d[3] = s0[j], s1[j], s2[j], s3[j]
		}
	}
	for ; i < n; i++ {
		s := src[i*ld:][:k]
		for j := from; j < k; j++ {
			dst[j*r+i] = s[j]
		}
	}
}

// Transpose writes src, row-major [rows][k] with stride ld, as [k][rows] with stride
// to, and nothing between its rows.
func Transpose(dst []float32, to int, src []float32, ld, rows, k int) {
	if rows <= 0 || k <= 0 {
		return
	}
	if to < rows || ld < k {
		panic("simd: rows that overlap")
	}
	dst, src = dst[:(k-1)*to+rows], src[:(rows-1)*ld+k]
	for i := 0; i < rows; {
		n, done := packTransposed(dst[i:], src[i*ld:], ld, rows-i, k, to)
		packTransposedGo(dst[i:], src[i*ld:], ld, n, done, k, to)
		i += n
	}
}

// PackCols packs src, row-major [k][cols] with stride ld, into panels
// [ceil(cols/r)][k][r], padded with zeros: B as it usually lies, with r = NR.
func PackCols(dst, src []float32, ld, k, cols, r int) {
	if k <= 0 {
		return
	}
	for j := 0; j < cols; j += r {
		panel := dst[:k*r]
		dst = dst[k*r:]
		n := min(r, cols-j)
		from := src[j : (k-1)*ld+j+n]
		if n < r {
			clear(panel)
		} else if packPanel(panel, from, ld, k, r) {
			continue
		}
		for p := range k {
			copy(panel[p*r:p*r+n], from[p*ld:])
		}
	}
}
