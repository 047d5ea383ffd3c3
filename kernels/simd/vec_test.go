package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// eachLevel runs f as a subtest at every level this machine has.
func eachLevel(t *testing.T, f func(t *testing.T)) {
	for l := Go; l <= detect(); l++ {
		t.Run(l.String(), func(t *testing.T) {
			defer use(active)
			use(l)
			f(t)
		})
	}
}

// eachLength runs f for lengths around every loop's boundaries. Slices of
// fence end at a page, so the length also decides how they are aligned.
func eachLength(t *testing.T, f func(t *testing.T, n int)) {
	eachLevel(t, func(t *testing.T) {
		for n := range 131 {
			f(t, n)
		}
	})
}

func random(t testing.TB, n int) []float32 {
	x := fence[float32](t, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// near fails unless |got-want| <= tol times scale, which covers NaN too.
func near(t *testing.T, what string, got float32, want, scale, tol float64) {
	t.Helper()
	if math.IsNaN(want) != (got != got) || math.IsInf(want, 0) && float64(got) != want ||
		!math.IsInf(want, 0) && math.Abs(float64(got)-want) > tol*scale {
		t.Errorf("%s: %g, want %g", what, got, want)
	}
}

const eps = 1.0 / (1 << 24) // half an ulp of 1

func TestElementwise(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(dst, a, b, c []float32)
		want func(dst, a, b, c float64) float64
	}{
		{"Axpy", func(dst, a, b, c []float32) { Axpy(1.5, a, dst) }, func(d, a, b, c float64) float64 { return d + 1.5*a }},
		{"Add", func(dst, a, b, c []float32) { Add(dst, a, b) }, func(d, a, b, c float64) float64 { return a + b }},
		{"Mul", func(dst, a, b, c []float32) { Mul(dst, a, b) }, func(d, a, b, c float64) float64 { return a * b }},
		{"Scale", func(dst, a, b, c []float32) { Scale(dst, a, -3) }, func(d, a, b, c float64) float64 { return -3 * a }},
		{"ScaleShift", func(dst, a, b, c []float32) { ScaleShift(dst, a, b, c) }, func(d, a, b, c float64) float64 { return a*b + c }},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachLength(t, func(t *testing.T, n int) {
				dst, a := random(t, n), random(t, n)
				b, d := random(t, n+1)[1:], random(t, n+2)[2:]
				was := append([]float32(nil), dst...)
				c.run(dst, a, b, d)
				for i := range dst {
					want := c.want(float64(was[i]), float64(a[i]), float64(b[i]), float64(d[i]))
					near(t, fmt.Sprintf("n %d, element %d", n, i), dst[i], want, 10, 2*eps)
				}
			})
		})
	}
}

func TestReductions(t *testing.T) {
	eachLength(t, func(t *testing.T, n int) {
		a, b := random(t, n), random(t, n+1)[1:]
		var dot, sum, squares, abs float64
		top := math.Inf(-1)
		for i := range a {
			x, y := float64(a[i]), float64(b[i])
			dot += x * y
			sum += x
			squares += (x - 0.25) * (x - 0.25)
			abs += math.Abs(x*y) + math.Abs(x)
			top = max(top, x)
		}
		at := func(s string) string { return fmt.Sprintf("%s of %d", s, n) }
		near(t, at("Dot"), Dot(a, b), dot, abs, 16*eps)
		near(t, at("Sum"), Sum(a), sum, abs, 16*eps)
		s1, s2 := Moments(a, 0.25)
		near(t, at("Moments' sum"), s1, sum-float64(n)/4, abs+float64(n)/4, 16*eps)
		near(t, at("Moments' squares"), s2, squares, squares, 16*eps)
		near(t, at("MaxVal"), MaxVal(a), top, 0, 0)
		Scale(a, a, 1e-3)
		for i := range a {
			a[i] -= 5 // a tail's missing lanes are not zeros
		}
		top = math.Inf(-1)
		for _, v := range a {
			top = max(top, float64(v))
		}
		near(t, at("MaxVal"), MaxVal(a), top, 0, 0)
	})
}

func TestExpSub(t *testing.T) {
	eachLength(t, func(t *testing.T, n int) {
		x, dst := random(t, n), fence[float32](t, n)
		if n > 1 {
			x[1] = float32(math.Inf(-1))
		}
		var want float64
		got := ExpSub(dst, x, 2)
		for i, v := range x {
			e := math.Exp(float64(v) - 2)
			want += e
			near(t, fmt.Sprintf("n %d, element %d", n, i), dst[i], e, e, 8*eps)
		}
		near(t, fmt.Sprintf("sum of %d", n), got, want, want, 16*eps)
	})
	eachLevel(t, func(t *testing.T) {
		inf := float32(math.Inf(-1))
		x := []float32{inf, inf, inf}
		if s := ExpSub(x, x, inf); s != 0 || x[0] != 0 || x[2] != 0 {
			t.Errorf("a masked row: %v, sum %v", x, s)
		}
	})
}

func TestColumnMoments(t *testing.T) {
	eachLength(t, func(t *testing.T, n int) {
		for _, rows := range []int{0, 1, 2, 7} {
			x, from := random(t, rows*n), random(t, n)
			sum, squares := fence[float32](t, n), fence[float32](t, n)
			ColumnMoments(sum, squares, x, from)
			for j := range n {
				var s, q, abs float64
				for i := range rows {
					d := float64(x[i*n+j]) - float64(from[j])
					s, q, abs = s+d, q+d*d, abs+math.Abs(d)
				}
				at := fmt.Sprintf("%d rows of %d, column %d", rows, n, j)
				near(t, "sum, "+at, sum[j], s, abs, 8*eps)
				near(t, "squares, "+at, squares[j], q, q, 8*eps)
			}
		}
	})
}

func TestNormalise(t *testing.T) {
	eachLength(t, func(t *testing.T, n int) {
		dst, x := fence[float32](t, n), random(t, n)
		gamma, beta := random(t, n+1)[1:], random(t, n+2)[2:]
		Normalise(dst, x, gamma, beta, 0.5, 1e-3, 3)
		for i, v := range dst {
			want := (float64(x[i])-0.5-float64(float32(1e-3)))*3*float64(gamma[i]) + float64(beta[i])
			near(t, fmt.Sprintf("n %d, element %d", n, i), v, want, 60, 2*eps)
		}
	})
}

func TestColumns(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, width := range []int{1, 5, 8, 16, 32, 33} {
			for rows := range 8 {
				x, top, sum := random(t, rows*width), fence[float32](t, width), random(t, width)
				want, most := make([]float64, width), make([]float64, width)
				for j := range width {
					top[j], most[j], want[j] = -0.5, -0.5, float64(sum[j])
					for i := range rows {
						most[j] = max(most[j], float64(x[i*width+j]))
					}
				}
				ColumnMax(top, x)
				if rows > 1 {
					x[width] = float32(math.Inf(-1))
				}
				was := append([]float32(nil), x...)
				ColumnExp2(x, top, sum)
				for j := range width {
					at := fmt.Sprintf("%d rows of %d, column %d", rows, width, j)
					near(t, "maximum, "+at, top[j], most[j], 0, 0)
					for i := range rows {
						e := math.Exp2(float64(was[i*width+j]) - most[j])
						want[j] += e
						near(t, "exp2, "+at, x[i*width+j], e, e, 8*eps)
					}
					near(t, "sum, "+at, sum[j], want[j], math.Abs(want[j])+10, 8*eps)
				}
			}
		}
	})
}

func TestScaleColumns(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, width := range []int{1, 5, 16, 32} {
			for rows := range 5 {
				x, by := random(t, rows*width), random(t, width)
				was := append([]float32(nil), x...)
				ScaleColumns(x, by)
				for i := range x {
					if want := was[i] * by[i%width]; x[i] != want {
						t.Fatalf("%d rows of %d: element %d is %g, want %g", rows, width, i, x[i], want)
					}
				}
			}
		}
	})
}

// TestExp2 has differences from the maximum of all sizes, of a few below which 2^x is
// flushed to zero.
func TestExp2(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, width := range []int{5, 16, 32} {
			var x []float32
			for v := -200.0; v < 16; v += 0.0093 {
				x = append(x, float32(v))
			}
			x = append(x, 0, -127, -126.5, -math.MaxFloat32, float32(math.Inf(-1)), float32(math.NaN()))
			for len(x)%width != 0 {
				x = append(x, -1)
			}
			y := append([]float32(nil), x...)
			ColumnExp2(y, make([]float32, width), make([]float32, width))
			worst, where := 0.0, float32(0)
			for i, v := range x {
				want := math.Exp2(float64(v))
				near(t, fmt.Sprintf("width %d: 2^%g", width, v), y[i], want, 4*want*eps+0x1p-126, 1)
				if e := math.Abs(float64(y[i])-want) / (want * eps); want > 0x1p-125 && e > worst {
					worst, where = e, v
				}
				if v == 0 && y[i] != 1 || v < -127 && y[i] != 0 {
					t.Errorf("width %d: 2^%g is %g", width, v, y[i])
				}
			}
			t.Logf("worst of width %d: %.2f half ulps at %g", width, worst, where)
		}
	})
}

// TestFunctions compares with float64 over the whole range. The tolerance is
// in half ulps of the result and grows with |x| where the function multiplies
// its argument's rounding error; below tiny, results may be flushed to zero.
func TestFunctions(t *testing.T) {
	const tiny = 1e-36
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	for _, c := range []struct {
		name       string
		run        func(dst, x []float32)
		want       func(x float64) float64
		ulps, grow float64
		left       float64 // the limits at -Inf and Inf
		right      float64
	}{
		{"exp", func(dst, x []float32) { ExpSub(dst, x, 0) }, math.Exp, 3, 0, 0, math.Inf(1)},
		{"SiLU", SiLU, func(x float64) float64 { return x * sigmoid(x) }, 6, 0, 0, math.Inf(1)},
		{"QuickGELU", QuickGELU, func(x float64) float64 { return x * sigmoid(1.702*x) }, 6, 4, 0, math.Inf(1)},
		{"GELU", GELU, func(x float64) float64 { return x / 2 * math.Erfc(-x/math.Sqrt2) }, 8, 1, 0, math.Inf(1)},
		{"GELUTanh", GELUTanh, func(x float64) float64 {
			return x * sigmoid(2*math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))
		}, 6, 24, 0, math.Inf(1)},
		{"Tanh", Tanh, math.Tanh, 6, 0, -1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachLevel(t, func(t *testing.T) {
				var x []float32
				for v := -110.0; v < 110; v += 0.0137 {
					x = append(x, float32(v), float32(v/100), float32(v/1e5))
				}
				for e := -126; e < 128; e++ {
					x = append(x, float32(math.Ldexp(1.25, e)), float32(-math.Ldexp(1.25, e)))
				}
				x = append(x, 0, float32(math.Copysign(0, -1)), math.MaxFloat32, -math.MaxFloat32)
				y := make([]float32, len(x))
				c.run(y, x)
				worst, where := 0.0, float32(0)
				for i, v := range x {
					want := c.want(float64(v))
					if math.Abs(want) > math.MaxFloat32 {
						want = math.Inf(1)
					}
					near(t, fmt.Sprintf("%g", v), y[i], want, math.Abs(want)*eps*(c.ulps+c.grow*math.Abs(float64(v)))+tiny, 1)
					e := math.Abs(float64(y[i])-want) / (math.Abs(want) * eps)
					if math.Abs(float64(v)) < 4 && math.Abs(want) > tiny && e > worst {
						worst, where = e, v
					}
				}
				t.Logf("worst below |x| = 4: %.2f half ulps at %g", worst, where)
				inf := float32(math.Inf(1))
				edge := []float32{-inf, inf, float32(math.NaN())}
				c.run(edge, edge)
				if float64(edge[0]) != c.left || float64(edge[1]) != c.right || edge[2] == edge[2] {
					t.Errorf("at -Inf, Inf and NaN: %v", edge)
				}
				for n := range 131 { // tails, and a destination that is the source
					x, y := random(t, n), fence[float32](t, n)
					c.run(y, x)
					c.run(x, x)
					for i := range x {
						if x[i] != y[i] {
							t.Fatalf("n %d, element %d: in place %g, apart %g", n, i, x[i], y[i])
						}
					}
				}
			})
		})
	}
}

func TestConversions(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		all := make([]uint16, 1<<16)
		for i := range all {
			all[i] = uint16(i)
		}
		wide, back := make([]float32, len(all)), make([]uint16, len(all))
		for _, c := range []struct {
			name  string
			from  func([]float32, []uint16)
			to    func([]uint16, []float32)
			value func(h uint16) float64
			quiet uint16
		}{
			{"F16", FromF16, ToF16, func(h uint16) float64 { return ieee(h, 5, 10) }, 0x200},
			{"BF16", FromBF16, ToBF16, func(h uint16) float64 { return ieee(h, 8, 7) }, 0x40},
		} {
			c.from(wide, all)
			c.to(back, wide)
			for i, h := range all {
				want, w := c.value(h), float64(wide[i])
				if w != want && !(w != w && want != want) || math.Signbit(w) != math.Signbit(want) && want == want {
					t.Fatalf("%s: %#04x widens to %g, want %g", c.name, h, w, want)
				}
				if back[i] != h && (want == want || back[i] != h|c.quiet) {
					t.Fatalf("%s: %#04x comes back as %#04x", c.name, h, back[i])
				}
			}
			// Halfway between neighbours goes to the even one, a little off
			// it to the nearer one.
			for i := 0; i+1 < 1<<15; i++ {
				lo, hi := c.value(uint16(i)), c.value(uint16(i+1))
				if hi != hi {
					break
				}
				if math.IsInf(hi, 1) {
					hi = lo + lo - c.value(uint16(i-1))
				}
				mid := float32((lo + hi) / 2)
				if float64(mid) != (lo+hi)/2 {
					continue
				}
				x := make([]float32, 16)
				y := make([]uint16, 16)
				for j, v := range []float32{mid, math.Nextafter32(mid, 0), math.Nextafter32(mid, float32(math.Inf(1))), -mid} {
					x[j], x[12+j] = v, v
				}
				c.to(y, x)
				even := uint16(i + i&1)
				want := [4]uint16{even, uint16(i), uint16(i + 1), even | 1<<15}
				if [4]uint16(y[:4]) != want || [4]uint16(y[12:]) != want {
					t.Fatalf("%s: around %g: %#04x, want %#04x", c.name, mid, y, want)
				}
			}
		}
		for n := range 70 {
			f, h := fence[float32](t, n), fence[uint16](t, n)
			for i := range f {
				f[i] = float32(i)
			}
			for _, there := range []bool{true, false} {
				if there {
					ToF16(h, f)
					FromF16(f, h)
				} else {
					ToBF16(h, f)
					FromBF16(f, h)
				}
				for i := range f {
					if f[i] != float32(i) {
						t.Fatalf("n %d, element %d: %g", n, i, f[i])
					}
				}
			}
		}
	})
}

// ieee is the value of a float of 16 bits.
func ieee(h uint16, exponent, mantissa int) float64 {
	sign := 1.0
	if h>>15 == 1 {
		sign = -1
	}
	e, m := int(h>>mantissa)&(1<<exponent-1), int(h)&(1<<mantissa-1)
	bias := 1<<(exponent-1) - 1
	switch {
	case e == 1<<exponent-1 && m != 0:
		return math.NaN()
	case e == 1<<exponent-1:
		return sign * math.Inf(1)
	case e == 0:
		return math.Copysign(math.Ldexp(float64(m), 1-bias-mantissa), sign)
	}
	return sign * math.Ldexp(float64(m+1<<mantissa), e-bias-mantissa)
}
