package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

type (
	vec  = reg.VecVirtual
	step = func(u int, x []vec, m *mask) vec
)

// vec makes the elementwise functions and the reductions.
func (v isa) vec() {
	v.text("axpy", "(alpha float32, x, y *float32, n int)", "adds alpha x to y.")
	alpha, x, y := v.broadcast("alpha"), ptr("x"), ptr("y")
	dst := GP64()
	MOVQ(y, dst)
	v.loop(dst, []reg.Register{x, y}, ptr("n"), func(_ int, x []vec, _ *mask) vec {
		VFMADD231PS(alpha, x[0], x[1])
		return x[1]
	})
	end()

	v.elementwise("add", "a", "b", "sets dst to a + b.", func(_ int, x []vec, _ *mask) vec {
		VADDPS(x[1], x[0], x[0])
		return x[0]
	})
	v.elementwise("mul", "a", "b", "sets dst to a times b.", func(_ int, x []vec, _ *mask) vec {
		VMULPS(x[1], x[0], x[0])
		return x[0]
	})

	v.text("scale", "(dst, a *float32, alpha float32, n int)", "sets dst to alpha a.")
	alpha = v.broadcast("alpha")
	v.loop(ptr("dst"), []reg.Register{ptr("a")}, ptr("n"), func(_ int, x []vec, _ *mask) vec {
		VMULPS(alpha, x[0], x[0])
		return x[0]
	})
	end()

	v.text("scaleShift", "(dst, x, scale, shift *float32, n int)", "sets dst to x scale + shift.")
	v.loop(ptr("dst"), []reg.Register{ptr("x"), ptr("scale"), ptr("shift")}, ptr("n"), func(_ int, x []vec, _ *mask) vec {
		VFMADD213PS(x[2], x[1], x[0])
		return x[0]
	})
	end()

	v.text("dot", "(a, b *float32, n int) float32", "returns the inner product.")
	v.reduce(VADDPS, nil, []string{"a", "b"}, func(acc vec, x []vec, _ *mask) {
		VFMADD231PS(x[0], x[1], acc)
	})
	v.text("sum", "(x *float32, n int) float32", "returns the sum of x.")
	v.reduce(VADDPS, nil, []string{"x"}, func(acc vec, x []vec, _ *mask) {
		VADDPS(x[0], acc, acc)
	})
	v.text("sumSquares", "(x *float32, mean float32, n int) float32", "returns the sum of (x-mean)².")
	mean := v.broadcast("mean")
	v.reduce(VADDPS, nil, []string{"x"}, func(acc vec, x []vec, m *mask) {
		VSUBPS(mean, x[0], x[0])
		v.keep(m, x[0])
		VFMADD231PS(x[0], x[0], acc)
	})
	v.text("maxVal", "(x *float32, n int) float32", "returns the largest element.")
	low := float(float32(math.Inf(-1)))
	v.reduce(VMAXPS, func(acc vec) { VMOVUPS(low, acc) }, []string{"x"}, func(acc vec, x []vec, m *mask) {
		switch {
		case m == nil:
			VMAXPS(x[0], acc, acc)
		case v.wide():
			VMAXPS(x[0], acc, m.k, acc)
		default:
			t := YMM()
			VMAXPS(x[0], acc, t)
			VBLENDVPS(m.y, t, acc, acc)
		}
	})
}

func (v isa) elementwise(name, a, b, doc string, f step) {
	v.text(name, "(dst, "+a+", "+b+" *float32, n int)", doc)
	v.loop(ptr("dst"), []reg.Register{ptr(a), ptr(b)}, ptr("n"), f)
	end()
}

// reduce folds four accumulators that begin as zeros, or as start makes them.
func (v isa) reduce(op func(...operand.Op), start func(vec), src []string, f func(acc vec, x []vec, m *mask)) {
	acc := v.accumulators(start)
	var ptrs []reg.Register
	for _, s := range src {
		ptrs = append(ptrs, ptr(s))
	}
	v.loop(nil, ptrs, ptr("n"), func(u int, x []vec, m *mask) vec {
		f(acc[u], x, m)
		return nil
	})
	Store(v.fold(op, acc), ReturnIndex(0))
	end()
}

func (v isa) accumulators(start func(vec)) []vec {
	acc := make([]vec, 4)
	for i := range acc {
		if start == nil {
			acc[i] = v.zero()
			continue
		}
		acc[i] = v.reg()
		start(acc[i])
	}
	return acc
}
