package simd

// Kernel is a matrix product's innermost tiles: MR rows by NR columns whose
// sums stay in registers while k runs.
type Kernel struct {
	MR, NR int
	level  Level
}

// The pure Go kernel.
var gemmGo = Kernel{MR: 4, NR: 8, level: Go}

// Gemm is the kernel of the active level.
func Gemm() Kernel { return gemmOf(active) }

// Tile adds the product of packed panels to the first m rows and n columns of
// C. The tile has as many columns as one panel of B, and any number of rows.
//
//	a    panels of PackRows, [k][MR] each, one every lda elements
//	b    [k][NR], a panel of PackRows or PackCols
//	c    row-major with stride ldc; only rows below m and columns below n <= NR
//	     are read or written
func (g Kernel) Tile(k int, a []float32, lda int, b, c []float32, ldc, m, n int) {
	if k > 0 && m > 0 && n > 0 {
		a, b, c = g.fit(k, a, lda, b, c, ldc, m, n)
		g.tile(k, a, lda, b, c, ldc, m, n)
	}
}

// Set is Tile, but writes the product over what was in C.
func (g Kernel) Set(k int, a []float32, lda int, b, c []float32, ldc, m, n int) {
	if k > 0 && m > 0 && n > 0 {
		a, b, c = g.fit(k, a, lda, b, c, ldc, m, n)
		g.tileSet(k, a, lda, b, c, ldc, m, n)
		return
	}
	clearTile(c, ldc, m, n)
}

// fit cuts the operands to what is read and written, or panics.
func (g Kernel) fit(k int, a []float32, lda int, b, c []float32, ldc, m, n int) (_, _, _ []float32) {
	if n > g.NR || ldc < n || lda < 0 {
		panic("simd: a tile wider than the kernel's or its matrix")
	}
	return a[:(m-1)/g.MR*lda+k*g.MR], b[:k*g.NR], c[:(m-1)*ldc+n]
}

func clearTile(c []float32, ldc, m, n int) {
	for i := range max(m, 0) {
		clear(c[i*ldc:][:max(n, 0)])
	}
}

func (g Kernel) tilesGo(k int, a []float32, lda int, b, c []float32, ldc, m, n int) {
	for i := 0; i < m; i += g.MR {
		tileGo(k, a[i/g.MR*lda:], b, c[i*ldc:], ldc, min(g.MR, m-i), n)
	}
}

func (g Kernel) setGo(k int, a []float32, lda int, b, c []float32, ldc, m, n int) {
	clearTile(c, ldc, m, n)
	g.tilesGo(k, a, lda, b, c, ldc, m, n)
}

// tileGo takes two columns at a time: eight sums, as many as the compiler
// keeps in registers beside the six factors.
func tileGo(k int, a, b, c []float32, ldc, m, n int) {
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

// PackedLen is the length of PackRows' or PackCols' result for panels of r.
func PackedLen(lines, k, r int) int { return (lines + r - 1) / r * r * k }

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

// packRows fills one panel, strip by strip of as many rows as a register
// holds. The assembly leaves the last columns and incomplete strips to Go.
func packRows(dst, src []float32, ld, rows, k, r int) {
	if rows < r {
		clear(dst)
	}
	for i := 0; i < rows; {
		n, done := packStrip(dst[i:], src[i*ld:], ld, rows-i, k, r)
		packStripGo(dst[i:], src[i*ld:], ld, n, done, k, r)
		i += n
	}
}

// packStripGo transposes columns from..k of n rows.
func packStripGo(dst, src []float32, ld, n, from, k, r int) {
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
