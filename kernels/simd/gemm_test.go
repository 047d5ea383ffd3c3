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
	n := PackedLen(lines, k, r)
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
			t.Fatalf("%d lines, k %d, panels of %d, gap %d: element %d is %g by rows and %g by columns, want %g", lines, k, r, gap, i, a[i], b[i], want)
		}
	}
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

func TestTile(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		g := Gemm()
		for _, op := range []struct {
			name string
			run  func(k int, a []float32, lda int, b, c []float32, ldc, m, n int)
			keep float64 // of what was there
		}{{"added", g.Tile, 1}, {"set", g.Set, 0}} {
			for _, k := range []int{0, 1, 2, 7, 64} {
				lda := k*g.MR + 5
				a, b := random(t, 2*lda+k*g.MR), random(t, k*g.NR)
				for m := 1; m <= 2*g.MR+1; m++ {
					for n := 1; n <= g.NR; n++ {
						ldc := n + 2
						c := random(t, (m-1)*ldc+n)
						was := append([]float32(nil), c...)
						op.run(k, a, lda, b, c, ldc, m, n)
						for i, got := range c {
							want, abs := float64(was[i]), 0.0
							if row, col := i/ldc, i%ldc; col < n {
								want *= op.keep
								for p := range k {
									x := float64(a[row/g.MR*lda+p*g.MR+row%g.MR]) * float64(b[p*g.NR+col])
									want += x
									abs += math.Abs(x)
								}
							}
							near(t, fmt.Sprintf("k %d, tile %dx%d %s, element %d", k, m, n, op.name, i), got, want, abs+math.Abs(want), 16*eps)
						}
					}
				}
			}
		}
	})
}
