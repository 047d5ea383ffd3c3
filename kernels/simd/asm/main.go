// Asm generates the assembly of package simd:
//
//	go run ./asm -out simd_amd64.s -stubs stubs_amd64.go -pkg simd
//
// The loops of vec.go say what each function computes.
package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64,!noasm")
	tailTable()
	for _, v := range []isa{{"AVX2", 8}, {"AVX512", 16}} {
		v.gemm("tile", true)
		v.gemm("tileSet", false)
		v.pack()
		v.vec()
		v.activations()
		v.columns()
		v.scaleColumns()
		if v.wide() {
			v.pairsExp2("pairsExp2BF16x3", true)
			v.pairsExp2("pairsExp2BF16", false)
		}
		v.convert()
		v.combine()
		v.addLines()
		v.winograd(math.Sqrt2/2, math.Sqrt2)
		v.winograd(1./2, 1, 2)
		v.peak()
	}
	Generate()
}

// An isa is a vector instruction set; w is its float32 lanes.
type isa struct {
	name string
	w    int
}

func (v isa) wide() bool { return v.w == 16 }

func (v isa) reg() reg.VecVirtual {
	if v.wide() {
		return ZMM()
	}
	return YMM()
}

// text begins a function. None of them keeps its pointers.
func (v isa) text(name, sig, doc string) {
	TEXT(name+v.name, NOSPLIT, "func"+sig)
	Pragma("noescape")
	Doc(name + v.name + " " + doc)
}

func end() {
	VZEROUPPER()
	RET()
}

func ptr(name string) reg.Register { return Load(Param(name), GP64()) }

func at(base reg.Register, disp int) Mem { return Mem{Base: base, Disp: disp} }

// zero is a register of zeros.
func (v isa) zero() reg.VecVirtual {
	r := v.reg()
	if v.wide() {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
	return r
}

func (v isa) broadcast(name string) reg.VecVirtual {
	m, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	r := v.reg()
	VBROADCASTSS(m.Addr, r)
	return r
}

// Constants lie in memory as wide as a register, operands to any instruction.
var constants = map[any]Mem{}

func word(key any, u U32) Mem {
	if m, ok := constants[key]; ok {
		return m
	}
	m := GLOBL(fmt.Sprintf("const%d", len(constants)), NOPTR|RODATA)
	for i := range 16 {
		DATA(4*i, u)
	}
	constants[key] = m
	return m
}

func float(f float32) Mem  { return word(f, U32(math.Float32bits(f))) }
func integer(u uint32) Mem { return word(u, U32(u)) }

// A mask selects the first lanes of a register; nil selects all.
type mask struct {
	k reg.OpmaskVirtual
	y reg.VecVirtual
}

var tails Mem

// tailTable is eight words of ones before eight of zeros: AVX2's masks.
func tailTable() {
	tails = GLOBL("tails", NOPTR|RODATA)
	for i := range 8 {
		DATA(4*i, U32(0xffffffff))
	}
	for i := range 8 {
		DATA(32+4*i, U32(0))
	}
}

// first is the mask of the first n lanes; n is at most the width.
func (v isa) first(n reg.Register) *mask {
	m := &mask{}
	if v.wide() {
		ones := GP64()
		MOVQ(I32(-1), ones)
		BZHIQ(n, ones, ones)
		m.k = K()
		KMOVW(ones.As32(), m.k)
		return m
	}
	m.y = YMM()
	base, i := GP64(), GP64()
	LEAQ(tails, base)
	MOVQ(n, i)
	NEGQ(i)
	VMOVUPS(Mem{Base: base, Index: i, Scale: 4, Disp: 32}, m.y)
	return m
}

func (v isa) load(m *mask, from Mem, to reg.Register) {
	switch {
	case m == nil:
		VMOVUPS(from, to)
	case v.wide():
		VMOVUPS_Z(from, m.k, to)
	default:
		VMASKMOVPS(from, m.y, to)
	}
}

func (v isa) store(m *mask, from reg.Register, to Mem) {
	switch {
	case m == nil:
		VMOVUPS(from, to)
	case v.wide():
		VMOVUPS(from, m.k, to)
	default:
		VMASKMOVPS(from, m.y, to)
	}
}

// keep zeroes what the mask leaves out.
func (v isa) keep(m *mask, r reg.VecVirtual) {
	switch {
	case m == nil:
	case v.wide():
		VMOVAPS_Z(r, m.k, r)
	default:
		VANDPS(m.y, r, r)
	}
}

// fold reduces the registers of acc to the first lane of the one it returns.
func (v isa) fold(op func(...Op), acc []reg.VecVirtual) reg.Register {
	for n := len(acc); n > 1; n /= 2 {
		for i := range n / 2 {
			op(acc[i+n/2], acc[i], acc[i])
		}
	}
	y, ty := acc[0].AsY(), YMM()
	if v.wide() {
		VEXTRACTF64X4(Imm(1), acc[0], ty)
		op(ty, y, y)
	}
	x, tx := acc[0].AsX(), XMM()
	VEXTRACTF128(Imm(1), y, tx)
	op(tx, x, x)
	VPERMILPS(Imm(0b1110), x, tx)
	op(tx, x, x)
	VPERMILPS(Imm(0b0001), x, tx)
	op(tx, x, x)
	return x
}

// loop runs step over vectors of the slices src, four at a time, then one,
// then the rest under a mask. step's u counts the four, for accumulators; what
// it returns is stored at dst. dst may be nil.
func (v isa) loop(dst reg.Register, src []reg.Register, n reg.Register,
	step func(u int, x []reg.VecVirtual, m *mask) reg.VecVirtual) {
	round := func(count int, m *mask) {
		for u := range count {
			x := make([]reg.VecVirtual, len(src))
			for i, s := range src {
				x[i] = v.reg()
				v.load(m, at(s, 4*v.w*u), x[i])
			}
			if y := step(u, x, m); dst != nil {
				v.store(m, y, at(dst, 4*v.w*u))
			}
		}
		if m != nil {
			return
		}
		for _, s := range src {
			ADDQ(I32(4*v.w*count), s)
		}
		if dst != nil {
			ADDQ(I32(4*v.w*count), dst)
		}
		SUBQ(I32(v.w*count), n)
	}
	Label("four")
	CMPQ(n, I32(4*v.w))
	JLT(LabelRef("one"))
	round(4, nil)
	JMP(LabelRef("four"))
	Label("one")
	CMPQ(n, I32(v.w))
	JLT(LabelRef("tail"))
	round(1, nil)
	JMP(LabelRef("one"))
	Label("tail")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	round(1, v.first(n))
	Label("done")
}
