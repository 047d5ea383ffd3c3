package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// lines addresses up to eight lines through two pointers: line k is k strides
// behind the first.
type lines struct {
	base, fifth, stride, triple, next reg.Register
	step                              Mem
}

// newLines reads the parameters name, name+"Stride" and name+"Step", bytes all.
func newLines(name string, count int) *lines {
	l := &lines{base: ptr(name), stride: ptr(name + "Stride"), next: GP64()}
	step, err := Param(name + "Step").Resolve()
	if err != nil {
		panic(err)
	}
	l.step = step.Addr
	MOVQ(l.base, l.next)
	if count > 3 {
		l.triple = GP64()
		LEAQ(Mem{Base: l.stride, Index: l.stride, Scale: 2}, l.triple)
	}
	if count > 5 {
		l.fifth = GP64()
	}
	return l
}

// begin goes to the lines of the next repetition.
func (l *lines) begin() {
	MOVQ(l.next, l.base)
	ADDQ(l.step, l.next)
	if l.fifth != nil {
		LEAQ(Mem{Base: l.base, Index: l.stride, Scale: 4}, l.fifth)
		ADDQ(l.stride, l.fifth)
	}
}

func (l *lines) at(k int) Mem {
	switch k {
	case 0:
		return Mem{Base: l.base}
	case 1, 2, 4:
		return Mem{Base: l.base, Index: l.stride, Scale: uint8(k)}
	case 3, 6:
		return Mem{Base: l.base, Index: l.triple, Scale: uint8(k / 3)}
	case 5:
		return Mem{Base: l.fifth}
	}
	return Mem{Base: l.fifth, Index: l.stride, Scale: 2}
}

func (l *lines) advance(bytes int) {
	ADDQ(I32(bytes), l.base)
	if l.fifth != nil {
		ADDQ(I32(bytes), l.fifth)
	}
}

// transform makes a function from in lines to out lines, count times.
func (v isa) transform(name, doc, params string, in, out int, start func(), f func(x []vec) []vec) {
	v.text(name, "(dst, src *float32, dstStride, dstStep, srcStride, srcStep, n, count int"+params+")", doc)
	if start != nil {
		start()
	}
	dst, src := newLines("dst", out), newLines("src", in)
	count, left := ptr("count"), GP64()
	n, err := Param("n").Resolve()
	if err != nil {
		panic(err)
	}
	one := func(m *mask) {
		x := make([]vec, in)
		for k := range x {
			x[k] = v.reg()
			v.load(m, src.at(k), x[k])
		}
		for k, y := range f(x) {
			v.store(m, y, dst.at(k))
		}
	}
	Label("repetition")
	dst.begin()
	src.begin()
	MOVQ(n.Addr, left)
	Label("next")
	CMPQ(left, Imm(uint64(v.w)))
	JLT(LabelRef("tail"))
	one(nil)
	dst.advance(4 * v.w)
	src.advance(4 * v.w)
	SUBQ(Imm(uint64(v.w)), left)
	JMP(LabelRef("next"))
	Label("tail")
	TESTQ(left, left)
	JZ(LabelRef("done"))
	one(v.first(left))
	Label("done")
	DECQ(count)
	JNZ(LabelRef("repetition"))
	end()
}

// winograd makes simd's transforms of F(m, 3) for the points 0, ±p, infinity.
func (v isa) winograd(points ...float64) {
	np := len(points)
	m := 2 * np
	product := func(skip int) []float64 {
		c := []float64{1}
		for j, p := range points {
			if j == skip {
				continue
			}
			next := make([]float64, len(c)+1)
			for k, x := range c {
				next[k+1] += x
				next[k] -= p * p * x
			}
			c = next
		}
		return c
	}
	copyOf := func(x vec) vec {
		y := v.reg()
		VMOVAPS(x, y)
		return y
	}
	// plus is x + Σ c[k] y[k]; factors of 1 are only added.
	plus := func(x vec, c []float64, y ...vec) vec {
		x = copyOf(x)
		for k := range c {
			switch c[k] {
			case 1:
				VADDPS(y[k], x, x)
			case -1:
				VSUBPS(y[k], x, x)
			default:
				VFMADD231PS(float(float32(c[k])), y[k], x)
			}
		}
		return x
	}
	times := func(c float64, x vec) vec {
		y := v.reg()
		VMULPS(float(float32(c)), x, y)
		return y
	}

	all := product(-1)
	v.transform(fmt.Sprintf("winogradInput%d", m), "transforms pixels.", "", m+2, m+2, nil, func(d []vec) []vec {
		y := make([]vec, m+2)
		var even, odd []vec
		for k := range np {
			even, odd = append(even, d[2*k]), append(odd, d[2*k+1])
		}
		y[0], y[m+1] = plus(d[m], all[:np], even...), plus(d[m+1], all[:np], odd...)
		for i, p := range points {
			c := product(i)[:np-1]
			e, o := plus(d[m], c, even[1:]...), plus(d[m-1], c, odd[:np-1]...)
			y[2*i+1], y[2*i+2] = plus(e, []float64{p}, o), e
			if p == 1 {
				VSUBPS(o, e, e)
			} else {
				VFNMADD231PS(float(float32(p)), o, e)
			}
		}
		return y
	})
	v.transform(fmt.Sprintf("winogradFilter%d", m), "transforms taps.", "", 3, m+2, nil, func(g []vec) []vec {
		y := make([]vec, m+2)
		y[0], y[m+1] = times(1/all[0], g[0]), g[2]
		for i, p := range points {
			s := 2 * p * p
			for k, o := range points {
				if k != i {
					s *= p*p - o*o
				}
			}
			e, o := times(1/s, g[0]), times(p/s, g[1])
			VFMADD231PS(float(float32(p*p/s)), g[2], e)
			y[2*i+1], y[2*i+2] = v.reg(), e
			VADDPS(o, e, y[2*i+1])
			VSUBPS(o, e, e)
		}
		return y
	})
	v.transform(fmt.Sprintf("winogradOutput%d", m), "transforms products to results.", "", m+2, m, nil, func(x []vec) []vec {
		sum, diff := make([]vec, np), make([]vec, np)
		for i := range points {
			a, b := x[2*i+1], x[2*i+2]
			sum[i] = v.reg()
			VADDPS(b, a, sum[i])
			VSUBPS(b, a, a)
			diff[i] = a
		}
		y := make([]vec, m)
		for k := range m {
			from := sum
			if k%2 == 1 {
				from = diff
			}
			var c []float64
			for _, p := range points {
				c = append(c, math.Pow(p, float64(k)))
			}
			switch {
			case k == 0:
				y[k] = plus(x[0], c, from...)
			case k == m-1:
				y[k] = plus(x[m+1], c, from...)
			default:
				y[k] = plus(times(c[0], from[0]), c[1:], from[1:]...)
			}
		}
		return y
	})
}

// combine makes the sum of three lines times a factor each.
func (v isa) combine() {
	var c [3]vec
	v.transform("combine", "sums three lines, times a factor each.", ", c0, c1, c2 float32", 3, 1, func() {
		for k := range c {
			c[k] = v.broadcast(fmt.Sprintf("c%d", k))
		}
	}, func(x []vec) []vec {
		VMULPS(c[0], x[0], x[0])
		VFMADD231PS(c[1], x[1], x[0])
		VFMADD231PS(c[2], x[2], x[0])
		return x[:1]
	})
}

// addLines makes the sum of two lines, count times.
func (v isa) addLines() {
	v.text("addLines", "(dst, x, y *float32, dstStep, xStep, yStep, n, count int)", "adds lines, count times.")
	names := []string{"dst", "x", "y"}
	var line, from [3]reg.Register
	for i, name := range names {
		line[i], from[i] = ptr(name), GP64()
	}
	n, count, left := ptr("n"), ptr("count"), GP64()
	one := func(m *mask) {
		x, y := v.reg(), v.reg()
		v.load(m, at(from[1], 0), x)
		v.load(m, at(from[2], 0), y)
		VADDPS(y, x, x)
		v.store(m, x, at(from[0], 0))
	}
	Label("line")
	for i := range names {
		MOVQ(line[i], from[i])
	}
	MOVQ(n, left)
	Label("next")
	SUBQ(Imm(uint64(v.w)), left)
	JL(LabelRef("tail"))
	one(nil)
	for i := range names {
		ADDQ(Imm(uint64(4*v.w)), from[i])
	}
	JMP(LabelRef("next"))
	Label("tail")
	ADDQ(Imm(uint64(v.w)), left)
	JZ(LabelRef("done"))
	one(v.first(left))
	Label("done")
	for i, name := range names {
		step, err := Param(name + "Step").Resolve()
		if err != nil {
			panic(err)
		}
		ADDQ(step.Addr, line[i])
	}
	DECQ(count)
	JNZ(LabelRef("line"))
	end()
}
