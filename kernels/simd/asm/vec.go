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
	v.text("moments", "(x *float32, at float32, n int) (sum, squares float32)", "returns the sums of x-at and of (x-at)².")
	from := v.broadcast("at")
	sums, squares := v.accumulators(nil), v.accumulators(nil)
	v.loop(nil, []reg.Register{ptr("x")}, ptr("n"), func(u int, x []vec, m *mask) vec {
		VSUBPS(from, x[0], x[0])
		v.keep(m, x[0])
		VADDPS(x[0], sums[u], sums[u])
		VFMADD231PS(x[0], x[0], squares[u])
		return nil
	})
	Store(v.fold(VADDPS, sums), ReturnIndex(0))
	Store(v.fold(VADDPS, squares), ReturnIndex(1))
	end()

	v.text("normalise", "(dst, x, gamma, beta *float32, mean, low, rstd float32, n int)", "sets dst to (x-mean-low) rstd gamma + beta.")
	mean, low, rstd := v.broadcast("mean"), v.broadcast("low"), v.broadcast("rstd")
	v.loop(ptr("dst"), []reg.Register{ptr("x"), ptr("gamma"), ptr("beta")}, ptr("n"), func(_ int, x []vec, _ *mask) vec {
		VSUBPS(mean, x[0], x[0])
		VSUBPS(low, x[0], x[0])
		VMULPS(rstd, x[0], x[0])
		VFMADD213PS(x[2], x[1], x[0])
		return x[0]
	})
	end()

	v.columnMoments()
	v.text("maxVal", "(x *float32, n int) float32", "returns the largest element.")
	least := float(float32(math.Inf(-1)))
	v.reduce(VMAXPS, func(acc vec) { VMOVUPS(least, acc) }, []string{"x"}, func(acc vec, x []vec, m *mask) {
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

// columnMoments makes sums down columns, of three registers' columns at a time,
// then of one's, then of the last under a mask.
func (v isa) columnMoments() {
	v.text("columnMoments", "(sum, squares, x, at *float32, rows, n int)",
		"sets sum and squares to the columns' sums of x-at and of (x-at)².")
	sum, squares, x, from, n := ptr("sum"), ptr("squares"), ptr("x"), ptr("at"), ptr("n")
	rows, err := Param("rows").Resolve()
	if err != nil {
		panic(err)
	}
	left, line, stride := GP64(), GP64(), GP64()
	MOVQ(n, stride)
	SHLQ(operand.Imm(2), stride)
	columns := func(label string, count int, m *mask) {
		var s, q, c []vec
		for j := range count {
			s, q, c = append(s, v.zero()), append(q, v.zero()), append(c, v.reg())
			v.load(m, at(from, 4*v.w*j), c[j])
		}
		MOVQ(rows.Addr, left)
		MOVQ(x, line)
		Label(label)
		for j := range count {
			t := v.reg()
			v.load(m, at(line, 4*v.w*j), t)
			VSUBPS(c[j], t, t)
			VADDPS(t, s[j], s[j])
			VFMADD231PS(t, t, q[j])
		}
		ADDQ(stride, line)
		DECQ(left)
		JNZ(operand.LabelRef(label))
		for j := range count {
			v.store(m, s[j], at(sum, 4*v.w*j))
			v.store(m, q[j], at(squares, 4*v.w*j))
		}
		if m == nil {
			for _, r := range []reg.Register{sum, squares, x, from} {
				ADDQ(operand.I32(4*v.w*count), r)
			}
			SUBQ(operand.I32(v.w*count), n)
		}
	}
	const wide = 3 // registers: AVX2 has 16
	Label("wide")
	CMPQ(n, operand.I32(wide*v.w))
	JLT(operand.LabelRef("one"))
	columns("wideRow", wide, nil)
	JMP(operand.LabelRef("wide"))
	Label("one")
	CMPQ(n, operand.I32(v.w))
	JLT(operand.LabelRef("tail"))
	columns("oneRow", 1, nil)
	JMP(operand.LabelRef("one"))
	Label("tail")
	TESTQ(n, n)
	JZ(operand.LabelRef("done"))
	columns("tailRow", 1, v.first(n))
	Label("done")
	end()
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
