package simd

import (
	"fmt"
	"math"
	"testing"
)

var winograds = []*Winograd{Winograd4, Winograd6}

// TestWinogradFilters holds the three transforms together against the filter
// itself: M neighbouring sums of three taps.
func TestWinogradFilters(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, w := range winograds {
			for n := 1; n < 70; n++ {
				a := w.M + 2
				d, g := random(t, a*n), random(t, 3*n)
				td, tg, y := make([]float32, a*n), make([]float32, a*n), make([]float32, w.M*n)
				w.Input(Lines{td, n, 0}, Lines{d, n, 0}, n, 1)
				w.Filter(Lines{tg, n, 0}, Lines{g, n, 0}, n, 1)
				Mul(td, td, tg)
				w.Output(Lines{y, n, 0}, Lines{td, n, 0}, n, 1)
				for k := range w.M {
					for j := range n {
						var want, abs float64
						for i := range 3 {
							p := float64(d[(k+i)*n+j]) * float64(g[i*n+j])
							want, abs = want+p, abs+math.Abs(p)
						}
						near(t, fmt.Sprintf("F(%d, 3), result %d, element %d of %d", w.M, k, j, n), y[k*n+j], want, abs+5, 100*eps)
					}
				}
			}
		}
	})
}

// TestAddLines has lines that lie apart, that follow each other and one for all.
func TestAddLines(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, n := range []int{1, 3, 8, 15, 16, 17, 32, 40} {
			for _, count := range []int{1, 2, 7} {
				lines := func(step int) Lines { return Lines{Data: random(t, (count-1)*step+n), Step: step} }
				dst, x, y := lines(n+5), lines(n), lines(0)
				was := append([]float32(nil), dst.Data...)
				AddLines(dst, x, y, n, count)
				for i, have := range dst.Data {
					want := was[i]
					if r, j := i/dst.Step, i%dst.Step; j < n {
						want = x.Data[r*n+j] + y.Data[j]
					}
					if have != want {
						t.Fatalf("%d lines of %d: element %d is %g, want %g", count, n, i, have, want)
					}
				}
			}
		}
	})
}

// TestWinogradLines compares each transform with the plain loop, where lines
// lie apart and repeat, and end at unreadable memory.
func TestWinogradLines(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, w := range winograds {
			row := 0
			for _, c := range []struct {
				name    string
				in, out int
				run, is func(dst, src Lines, n, count int)
			}{
				{"input", w.M + 2, w.M + 2, w.Input, w.inputGo},
				{"filter", 3, w.M + 2, w.Filter, w.filterGo},
				{"output", w.M + 2, w.M, w.Output, w.outputGo},
				{"row", 3, 1, func(dst, src Lines, n, count int) {
					w.FilterRow(row, dst, src, n, count)
				}, func(dst, src Lines, n, count int) {
					all := Lines{make([]float32, count*(w.M+2)*n), n, (w.M + 2) * n}
					w.filterGo(all, src, n, count)
					for r := range count {
						copy(dst.Data[r*dst.Step:][:n], all.Data[r*all.Step+row*n:])
					}
				}},
			} {
				for _, count := range []int{1, 2, 5} {
					for _, n := range []int{1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 50, 128} {
						row = (row + 1) % (w.M + 2)
						lines := func(k int) Lines {
							l := Lines{Stride: n + 3, Step: k*(n+3) + 5}
							l.Data = random(t, (count-1)*l.Step+(k-1)*l.Stride+n)
							return l
						}
						src, have := lines(c.in), lines(c.out)
						want := have
						want.Data = append([]float32(nil), have.Data...)
						c.run(have, src, n, count)
						c.is(want, src, n, count)
						for i := range want.Data {
							near(t, fmt.Sprintf("%s of F(%d, 3), n %d, %d times, element %d", c.name, w.M, n, count, i),
								have.Data[i], float64(want.Data[i]), 40, 4*eps)
						}
					}
				}
			}
		}
	})
}

func TestWinogradRefuses(t *testing.T) {
	w, long := Winograd4, make([]float32, 6*8)
	for name, f := range map[string]func(){
		"short source":         func() { w.Input(Lines{long, 8, 0}, Lines{long[:47], 8, 0}, 8, 1) },
		"short destination":    func() { w.Output(Lines{long[:31], 8, 0}, Lines{long, 8, 0}, 8, 1) },
		"too many repetitions": func() { w.Filter(Lines{long, 4, 4}, Lines{long, 4, 4}, 4, 8) },
		"back":                 func() { w.Input(Lines{long, 8, 0}, Lines{long, -8, 0}, 8, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}
