package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	expMin     = -104
	expMax     = 89
	exp2Min    = -127
	exp2Magic  = 3<<22 + 127
	gateMin    = -104
	quickScale = 1.702
	geluTanh1  = 2 * 0.7978845608028654
	geluTanh3  = geluTanh1 * 0.044715
	signBit    = 1 << 31
)

var exp2Coef = [5]float32{1.32647239e-3, 9.67151287e-3, 5.55073375e-2, 2.40222421e-1, 6.93146978e-1}

// clampMin and clampMax bound x and keep a NaN, which the instructions take
// from the operand that is written first here.
func (v isa) clampMin(x vec, low float32) vec {
	y := v.reg()
	VMOVUPS(float(low), y)
	VMAXPS(x, y, y)
	return y
}

func (v isa) clampMax(x vec, high float32) vec {
	y := v.reg()
	VMOVUPS(float(high), y)
	VMINPS(x, y, y)
	return y
}

// horner evaluates the polynomial whose first coefficient is the highest.
func (v isa) horner(x vec, coef ...float32) vec {
	p := v.reg()
	VMOVUPS(float(coef[0]), p)
	for _, c := range coef[1:] {
		VFMADD213PS(float(c), x, p)
	}
	return p
}

// exp is vec.go's exp.
func (v isa) exp(x vec) vec { return v.expBelow(v.clampMax(x, expMax)) }

// expBelow is exp of what is at most expMax.
func (v isa) expBelow(x vec) vec {
	const magic = 3 << 22
	r := v.clampMin(x, expMin)
	n := v.reg()
	VMOVUPS(float(magic), n)
	VFMADD231PS(float(1.44269504), r, n)
	VSUBPS(float(magic), n, n)
	VFNMADD231PS(float(0.693359375), n, r)
	VFNMADD231PS(float(-2.12194440e-4), n, r)
	p := v.horner(r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
	r2 := v.reg()
	VMULPS(r, r, r2)
	VFMADD213PS(r, r2, p)
	VADDPS(float(1), p, p)
	return v.times2(p, n)
}

// exp2 is vec.go's, with constants in registers: all of them as operands in memory
// would be more loads than the other instructions take time.
type exp2 struct {
	v               isa
	low, magic, one vec
	coef            [5]vec
}

func (v isa) newExp2() exp2 {
	in := func(c float32) vec {
		r := v.reg()
		VMOVUPS(float(c), r)
		return r
	}
	e := exp2{v: v, low: in(exp2Min), magic: in(exp2Magic), one: in(1)}
	for i, c := range exp2Coef {
		e.coef[i] = in(c)
	}
	return e
}

// of sets x to 2^x.
func (e exp2) of(x vec) {
	n, p := e.v.reg(), e.v.reg()
	VMAXPS(x, e.low, x)
	VADDPS(e.magic, x, n)
	VSUBPS(e.magic, n, p)
	VSUBPS(p, x, x)
	VMOVAPS(e.coef[1], p)
	VFMADD231PS(e.coef[0], x, p)
	for _, c := range e.coef[2:] {
		VFMADD213PS(c, x, p)
	}
	VFMADD213PS(e.one, x, p)
	VPSLLD(Imm(23), n, n)
	VMULPS(n, p, x)
}

// times2 is p times 2^n.
func (v isa) times2(p, n vec) vec {
	if v.wide() {
		VSCALEFPS(n, p, p)
		return p
	}
	h := v.reg()
	VCVTPS2DQ(n, n)
	VPSRAD(Imm(1), n, h)
	VPSUBD(h, n, n)
	for _, e := range []vec{h, n} {
		VPADDD(integer(127), e, e)
		VPSLLD(Imm(23), e, e)
		VMULPS(e, p, p)
	}
	return p
}

// gate is x/(1+exp(u)).
func (v isa) gate(x, u vec) vec {
	e := v.exp(u)
	VADDPS(float(1), e, e)
	VDIVPS(e, x, e)
	return e
}

func (v isa) negate(x vec) vec {
	y := v.reg()
	VXORPS(integer(signBit), x, y)
	return y
}

func (v isa) abs(x vec) vec {
	y := v.reg()
	VANDPS(integer(signBit-1), x, y)
	return y
}

func (v isa) activations() {
	v.text("expSub", "(dst, x *float32, sub float32, n int) float32", "sets dst to exp(x-sub) and returns the sum.")
	sub := v.broadcast("sub")
	acc := v.accumulators(nil)
	v.loop(ptr("dst"), []reg.Register{ptr("x")}, ptr("n"), func(u int, x []vec, m *mask) vec {
		VSUBPS(sub, x[0], x[0])
		e := v.exp(x[0])
		v.keep(m, e)
		VADDPS(e, acc[u], acc[u])
		return e
	})
	Store(v.fold(VADDPS, acc), ReturnIndex(0))
	end()

	v.activation("silu", "sets dst to x/(1+exp(-x)).", func(x vec) vec {
		x = v.clampMin(x, gateMin)
		return v.gate(x, v.negate(x))
	})
	v.activation("quickGELU", "sets dst to x/(1+exp(-1.702x)).", func(x vec) vec {
		x = v.clampMin(x, gateMin)
		u := v.reg()
		VMULPS(float(-quickScale), x, u)
		return v.gate(x, u)
	})
	v.activation("geluTanh", "sets dst to the tanh form of GELU.", func(x vec) vec {
		x = v.clampMin(x, gateMin)
		x2 := v.reg()
		VMULPS(x, x, x2)
		u := v.horner(x2, -geluTanh3, -geluTanh1)
		VMULPS(x, u, u)
		return v.gate(x, u)
	})
	v.activation("gelu", "sets dst to x Φ(x).", v.gelu)
	v.activation("tanh", "sets dst to tanh(x).", v.tanh)
}

// columns makes the steps of a softmax over the columns of rows of two
// registers, two rows at a time.
func (v isa) columns() {
	const nv = 2
	pairs := func(x, rows reg.Register, body func(u int)) {
		Label("two")
		CMPQ(rows, Imm(2))
		JLT(LabelRef("last"))
		for u := range 2 {
			body(u)
		}
		ADDQ(I32(2*4*nv*v.w), x)
		SUBQ(Imm(2), rows)
		JMP(LabelRef("two"))
		Label("last")
		TESTQ(rows, rows)
		JZ(LabelRef("done"))
		body(0)
		Label("done")
	}
	v.text("columnMax", "(top, x *float32, rows int)", "raises top to the columns' maxima.")
	top, x, rows := ptr("top"), ptr("x"), ptr("rows")
	var acc [2][nv]vec
	for u := range acc {
		for j := range nv {
			acc[u][j] = v.reg()
			VMOVUPS(at(top, 4*v.w*j), acc[u][j])
		}
	}
	pairs(x, rows, func(u int) {
		for j := range nv {
			VMAXPS(at(x, 4*v.w*(nv*u+j)), acc[u][j], acc[u][j])
		}
	})
	for j := range nv {
		VMAXPS(acc[1][j], acc[0][j], acc[0][j])
		VMOVUPS(acc[0][j], at(top, 4*v.w*j))
	}
	end()

	v.text("columnExp2", "(x, top, sum *float32, rows int)", "sets x to 2^(x-top) and adds up its columns.")
	x, top, rows = ptr("x"), ptr("top"), ptr("rows")
	sum := ptr("sum")
	var total [2]vec
	var below [2]vec
	for j := range nv {
		below[j], total[j] = v.reg(), v.reg()
		VMOVUPS(at(top, 4*v.w*j), below[j])
		VMOVUPS(at(sum, 4*v.w*j), total[j])
	}
	exp2 := v.newExp2()
	pairs(x, rows, func(u int) {
		for j := range nv {
			e, m := v.reg(), at(x, 4*v.w*(nv*u+j))
			VMOVUPS(m, e)
			VSUBPS(below[j], e, e)
			exp2.of(e)
			VMOVUPS(e, m)
			VADDPS(e, total[j], total[j])
		}
	})
	for j := range nv {
		VMOVUPS(total[j], at(sum, 4*v.w*j))
	}
	end()
}

// scaleColumns makes the product of each row of two registers with the same two.
func (v isa) scaleColumns() {
	const nv = 2
	v.text("scaleColumns", "(x, by *float32, rows int)", "multiplies columns by a number each.")
	x, by, rows := ptr("x"), ptr("by"), ptr("rows")
	var factor [nv]vec
	for j := range nv {
		factor[j] = v.reg()
		VMOVUPS(at(by, 4*v.w*j), factor[j])
	}
	Label("row")
	for j := range nv {
		y := v.reg()
		VMULPS(at(x, 4*v.w*j), factor[j], y)
		VMOVUPS(y, at(x, 4*v.w*j))
	}
	ADDQ(I32(4*nv*v.w), x)
	DECQ(rows)
	JNZ(LabelRef("row"))
	end()
}

// pairsExp2 is columnExp2 into a panel of B of bfloat16: pairs of rows, the
// nearest ones and, of split ones, the rest of each.
func (v isa) pairsExp2(name string, split bool) {
	v.text(name, "(dst, x, top, sum *float32, blocks int)", "packs 2^(x-top), 32 rows of 32 columns a block, and adds up the columns.")
	dst, x, top, sum, blocks := ptr("dst"), ptr("x"), ptr("top"), ptr("sum"), ptr("blocks")
	var total, below [2]vec
	for j := range total {
		below[j], total[j] = v.reg(), v.reg()
		VMOVUPS(at(top, 64*j), below[j])
		VMOVUPS(at(sum, 64*j), total[j])
	}
	exp2 := v.newExp2()
	high, half := v.reg(), v.reg()
	VMOVUPS(integer(0xffff0000), high)
	VMOVUPS(integer(0x8000), half)
	// pair rounds two registers, and puts their halves into one.
	pair := func(e [2]vec) (upper [2]vec, both vec) {
		both = v.reg()
		for i := range e {
			upper[i] = v.reg()
			VPADDD(half, e[i], upper[i])
			VPANDD(high, upper[i], upper[i])
		}
		VPSRLD(Imm(16), upper[0], both)
		VPORD(upper[1], both, both)
		return upper, both
	}
	pairs := GP64()
	Label("block")
	MOVQ(I32(16), pairs)
	Label("pair")
	for j := range total {
		var e [2]vec
		for i := range e {
			e[i] = v.reg()
			VMOVUPS(at(x, 128*i+64*j), e[i])
			VSUBPS(below[j], e[i], e[i])
			exp2.of(e[i])
			VADDPS(e[i], total[j], total[j])
		}
		upper, both := pair(e)
		VMOVUPS(both, at(dst, 1024*j))
		if split {
			for i := range e {
				VSUBPS(upper[i], e[i], e[i])
			}
			_, rest := pair(e)
			VMOVUPS(rest, at(dst, 2048+1024*j))
		}
	}
	ADDQ(I32(256), x)
	ADDQ(I32(64), dst)
	DECQ(pairs)
	JNZ(LabelRef("pair"))
	if split {
		ADDQ(I32(2048), dst)
	}
	ADDQ(I32(1024), dst)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	for j := range total {
		VMOVUPS(total[j], at(sum, 64*j))
	}
	end()
}

func (v isa) activation(name, doc string, f func(x vec) vec) {
	v.text(name, "(dst, x *float32, n int)", doc)
	v.loop(ptr("dst"), []reg.Register{ptr("x")}, ptr("n"), func(_ int, x []vec, _ *mask) vec { return f(x[0]) })
	end()
}

// gelu is vec.go's.
func (v isa) gelu(x vec) vec {
	x = v.clampMin(x, gateMin)
	y := v.clampMax(v.abs(x), 14.5)
	t, d := v.reg(), v.reg()
	VSUBPS(float(4), y, t)
	VADDPS(float(4), y, d)
	VDIVPS(d, t, t)
	g := v.horner(t, 7.095605e-06, -5.6300334e-05, -0.00017395936, 0.00064893084, 0.0005048152, -0.008494939,
		0.030865008, -0.071707115, 0.12437925, -0.17039773, 0.09441064)
	lo, hi := v.reg(), v.reg()
	VMULPS(float(-0.5), y, lo)
	VMULPS(lo, y, hi)
	VFMSUB213PS(hi, y, lo)
	e := v.exp(hi)
	VFMADD213PS(e, e, lo) // e + e lo
	VMULPS(lo, g, g)
	far := v.reg()
	VMOVUPS(float(1), far)
	VSUBPS(g, far, far)
	if v.wide() {
		k := K()
		VPMOVD2M(x, k)
		VMOVAPS(g, k, far)
	} else {
		VBLENDVPS(x, g, far, far)
	}
	VMULPS(x, far, far)
	return far
}

// tanh is vec.go's.
func (v isa) tanh(x vec) vec {
	a, z := v.abs(x), v.reg()
	VMULPS(x, x, z)
	near := v.horner(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
	VMULPS(z, near, near)
	VFMADD213PS(x, x, near)
	a2 := v.reg()
	VADDPS(a, a, a2)
	e := v.exp(a2)
	VADDPS(float(1), e, e)
	far := v.reg()
	VMOVUPS(float(-2), far)
	VDIVPS(e, far, far)
	VADDPS(float(1), far, far)
	VANDPS(integer(signBit), x, a2)
	VORPS(a2, far, far)
	const less = 1
	if v.wide() {
		k := K()
		VCMPPS(Imm(less), float(0.625), a, k)
		VMOVAPS(near, k, far)
	} else {
		VCMPPS(Imm(less), float(0.625), a, a)
		VBLENDVPS(a, near, far, far)
	}
	return far
}
