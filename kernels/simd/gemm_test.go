package simd

import (
	"fmt"
	"math"
	"testing"
)

func TestPack(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, r := range []int{4, 6, 8, 14, 16, 20, 32} {
			for _, k := range []int{0, 1, 2, 3, 4, 5, 8, 9, 17, 31} {
				for lines := range 70 {
					for _, gap := range []int{0, 3} {
						testPack(t, lines, k, r, gap)
					}
				}
			}
		}
	})
}

func testPack(t *testing.T, lines, k, r, gap int) {
	rows := make([]float32, max(0, (lines-1)*(k+gap)+k))
	cols := make([]float32, max(0, (k-1)*(lines+gap)+lines))
	if lines == 0 || k == 0 {
		rows, cols = nil, nil
	}
	value := func(line, p int) float32 { return float32(line*100 + p + 1) }
	for i := range lines {
		for p := range k {
			rows[i*(k+gap)+p] = value(i, p)
			cols[p*(lines+gap)+i] = value(i, p)
		}
	}
	n := (lines + r - 1) / r * r * k
	a, b := make([]float32, n+16), make([]float32, n+16)
	for i := range a {
		a[i], b[i] = -1, -1
	}
	PackRows(a[:n], rows, k+gap, lines, k, r)
	PackCols(b[:n], cols, lines+gap, k, lines, r)
	for i := range a {
		want := float32(-1)
		if i < n {
			want = 0
			if line := i/(k*r)*r + i%r; line < lines {
				want = value(line, i/r%k)
			}
		}
		if a[i] != want || b[i] != want {
			t.Fatalf("%d lines, k %d, panels of %d, gap %d: element %d is %g by rows and %g by columns, want %g", lines, k, r, gap, i, a[i],
				b[i], want)
		}
	}
}

// TestTranspose has other columns beside those that it writes.
func TestTranspose(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, rows := range []int{0, 1, 6, 7, 8, 14, 16, 33, 40} {
			for _, k := range []int{0, 1, 3, 4, 9, 16} {
				for _, more := range []int{0, 3} {
					ld, to := k+more, rows+more
					src, dst := random(t, max(0, (rows-1)*ld+k)), fence[float32](t, max(0, (k-1)*to+rows))
					for i := range dst {
						dst[i] = -1
					}
					Transpose(dst, to, src, ld, rows, k)
					for i, have := range dst {
						want := float32(-1)
						if row := i % to; row < rows {
							want = src[row*ld+i/to]
						}
						if have != want {
							t.Fatalf("%d rows of %d, %d more: element %d is %g, want %g", rows, k, more, i, have, want)
						}
					}
				}
			}
		}
	})
}

func TestPackStaysInside(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, r := range []int{6, 14, 16, 32} {
			for k := 1; k < 20; k++ {
				dst, src := fence[float32](t, 2*r*k), fence[float32](t, 2*r*k)
				PackRows(dst, src, k, 2*r, k, r)
				PackCols(dst, src, 2*r, k, 2*r, r)
			}
		}
	})
}

// eachKernel runs f with every format's kernel at every level.
func eachKernel(t *testing.T, f func(t *testing.T, g Kernel)) {
	eachLevel(t, func(t *testing.T) {
		for _, format := range []Format{F32, BF16x3, BF16} {
			t.Run(format.String(), func(t *testing.T) { f(t, Gemm(format)) })
		}
	})
}

// TestPackExp2 multiplies what it packs with one, to see it.
func TestPackExp2(t *testing.T) {
	eachKernel(t, func(t *testing.T, g Kernel) {
		loss := map[Format]float64{F32: 0, BF16x3: 1. / (1 << 17), BF16: 1. / (1 << 8)}[g.Format]
		for _, k := range []int{1, 2, 31, 32, 33, 64, 95} {
			x, top, sum := random(t, k*g.NR), random(t, g.NR), random(t, g.NR)
			for i := range x {
				x[i] = 9*x[i] - 30
			}
			x[0] = float32(math.Inf(-1))
			exact, sums := make([]float64, len(x)), make([]float64, g.NR)
			for i, v := range x {
				exact[i] = math.Exp2(float64(v - top[i%g.NR])) // the difference is rounded
			}
			for j := range sums {
				sums[j] = float64(sum[j])
				for i := j; i < len(x); i += g.NR {
					sums[j] += exact[i]
				}
			}
			one := make([]float32, k*k)
			for i := range k {
				one[i*k+i] = 1
			}
			a, b, c := make([]float32, g.SizeA(k, k)), x, make([]float32, k*g.NR)
			if g.Format != F32 {
				b = fence[float32](t, g.LenB(k))
			}
			g.PackA(a, one, k, k, k)
			g.PackExp2(b, x, top, sum, k)
			g.Set(k, a, g.LenA(k), b, 0, c, g.NR, k, g.NR)
			for i, v := range c {
				near(t, fmt.Sprintf("k %d, element %d", k, i), v, exact[i], exact[i], 16*eps+loss)
			}
			for j, v := range sum {
				near(t, fmt.Sprintf("k %d, sum %d", k, j), v, sums[j], math.Abs(sums[j])+1, 16*eps)
			}
		}
	})
}

// TestGather packs rows from where they lie.
func TestGather(t *testing.T) {
	eachKernel(t, func(t *testing.T, g Kernel) {
		if g.Format == F32 {
			return
		}
		for _, k := range []int{1, 31, 32, 96, 100} {
			x, rows := random(t, g.MR*k), make([]float32, g.MR*k)
			from := make([]int, g.MR)
			for i := range from {
				if from[i] = (i * 7 % g.MR) * k; i == 3 {
					from[i] = -1
					continue
				}
				copy(rows[i*k:(i+1)*k], x[from[i]:])
			}
			want, have := make([]float32, g.LenA(k)), fence[float32](t, g.LenA(k))
			g.PackA(want, rows, k, g.MR, k)
			g.Gather(have, x, from, k)
			for i := range want {
				if math.Float32bits(want[i]) != math.Float32bits(have[i]) {
					t.Fatalf("k %d: word %d is %#x, want %#x", k, i, math.Float32bits(have[i]), math.Float32bits(want[i]))
				}
			}
		}
	})
}

// around has the counts at which panels, and halves of them, begin and end.
func around(r int) []int { return []int{1, r/2 - 1, r / 2, r/2 + 1, r - 1, r, r + 1, 2*r + 3} }

// term is what a kernel makes of one product of factors.
func (g Kernel) term(x, y float32) float64 {
	if g.Format == F32 {
		return float64(x) * float64(y)
	}
	wide := func(u uint32) float64 { return float64(math.Float32frombits(u << 16)) }
	x0, x1 := split(x)
	y0, y1 := split(y)
	if g.Format == BF16 {
		return wide(x0) * wide(y0)
	}
	return wide(x0)*wide(y0) + wide(x0)*wide(y1) + wide(x1)*wide(y0)
}

// TestTile multiplies panels of every size, packed from matrices and from their
// transposes.
func TestTile(t *testing.T) {
	eachKernel(t, func(t *testing.T, g Kernel) {
		loss := map[Format]float64{F32: 0, BF16x3: 1. / (1 << 15), BF16: 1. / (1 << 7)}[g.Format]
		for _, op := range []struct {
			name string
			run  func(k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc, m, n int)
			keep float64 // of what was there
		}{{"added", g.Tile, 1}, {"set", g.Set, 0}} {
			for _, k := range []int{0, 1, 2, 7, 31, 32, 64, 97} {
				for _, m := range around(g.MR) {
					for _, n := range around(g.NR) {
						x, y := random(t, m*k), random(t, k*n)
						xt, yt := make([]float32, m*k), make([]float32, k*n)
						for p := range k {
							for i := range m {
								xt[p*m+i] = x[i*k+p]
							}
							for j := range n {
								yt[j*k+p] = y[p*n+j]
							}
						}
						lda := g.LenA(k) + 5
						a, b := fence[float32](t, (m-1)/g.MR*lda+g.LenA(k)), fence[float32](t, g.SizeB(k, n))
						for i := 0; i < m; i += g.MR {
							rows := min(g.MR, m-i)
							if (m+n)%2 == 0 {
								g.PackA(a[i/g.MR*lda:], x[i*k:], k, rows, k)
							} else if k > 0 {
								g.PackAT(a[i/g.MR*lda:], xt[i:], m, k, rows)
							}
						}
						if m%2 == 0 {
							g.PackB(b, y, n, k, n)
						} else {
							g.PackBT(b, yt, k, n, k)
						}
						ldc := n + 2
						c := random(t, (m-1)*ldc+n)
						was := append([]float32(nil), c...)
						op.run(k, a, lda, b, g.LenB(k), c, ldc, m, n)
						for i, got := range c {
							want, plain, abs := float64(was[i]), float64(was[i]), 0.0
							if row, col := i/ldc, i%ldc; col < n {
								want, plain = want*op.keep, plain*op.keep
								for p := range k {
									want += g.term(x[row*k+p], y[p*n+col])
									plain += float64(x[row*k+p]) * float64(y[p*n+col])
									abs += math.Abs(float64(x[row*k+p]) * float64(y[p*n+col]))
								}
							}
							what := fmt.Sprintf("k %d, tile %dx%d %s, element %d", k, m, n, op.name, i)
							near(t, what, got, want, abs+math.Abs(want), 16*eps)
							near(t, what+" beside the product of float32", got, plain, abs+math.Abs(want), 16*eps+loss)
						}
					}
				}
			}
		}
	})
}
