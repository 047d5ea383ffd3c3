package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// gemm makes the tile of mr rows by two registers: its sums, the two
// registers of B and two broadcasts of A are all the registers there are. A
// tile of fewer rows, or of one register's columns, runs a loop without the
// rest.
//
// add says whether the product is added to c or written over it.
func (v isa) gemm(name string, add bool) {
	mr := 6
	if v.wide() {
		mr = 14
	}
	const nv = 2
	doc := "writes the product of packed panels to m rows and n columns of c."
	if add {
		doc = "adds the product of packed panels to m rows and n columns of c."
	}
	v.text(name, "(k int, a *float32, lda int, b, c *float32, ldc, m, n int)", doc)
	again := func(name string, r reg.Register) { // a parameter that the last panel has used up
		m, err := Param(name).Resolve()
		if err != nil {
			panic(err)
		}
		MOVQ(m.Addr, r)
	}
	panel, lda, c, ldc, m := ptr("a"), ptr("lda"), ptr("c"), ptr("ldc"), ptr("m")
	SHLQ(Imm(2), lda)
	SHLQ(Imm(2), ldc)
	k, a, b, n := GP64(), GP64(), GP64(), GP64()
	acc := make([][nv]vec, mr)
	Label("panel")
	again("k", k)
	again("b", b)
	again("n", n)
	MOVQ(panel, a)
	for i := range acc {
		for j := range nv {
			acc[i][j] = v.zero()
		}
	}
	row := GP64() // the tile of C comes while k runs
	MOVQ(c, row)
	for range mr {
		PREFETCHT0(at(row, 0))
		PREFETCHT0(at(row, 4*nv*v.w-4))
		ADDQ(ldc, row)
	}

	loop := func(label string, rows, cols int) {
		Label(fmt.Sprint(label, rows))
		var y [nv]vec
		for j := range cols {
			y[j] = v.reg()
			VMOVUPS(at(b, 4*v.w*j), y[j])
			if rows < mr && (v.wide() || j%2 == 0) {
				// Few rows wait for B, which comes from memory.
				PREFETCHT0(at(b, 4*v.w*j+2048))
			}
		}
		for i := range rows {
			x := v.reg()
			VBROADCASTSS(at(a, 4*i), x)
			for j := range cols {
				VFMADD231PS(y[j], x, acc[i][j])
			}
		}
		ADDQ(Imm(uint64(4*mr)), a)
		ADDQ(I32(4*nv*v.w), b)
		DECQ(k)
		JNZ(LabelRef(fmt.Sprint(label, rows)))
	}
	// loops has one for each number of rows, and goes on behind them.
	loops := func(label string, cols int) {
		CMPQ(m, Imm(uint64(mr)))
		JGE(LabelRef(fmt.Sprint(label, mr)))
		for rows := 1; rows < mr-1; rows++ {
			CMPQ(m, Imm(uint64(rows)))
			JEQ(LabelRef(fmt.Sprint(label, rows)))
		}
		for rows := mr - 1; rows > 0; rows-- {
			loop(label, rows, cols)
			JMP(LabelRef(label + "summed"))
		}
		loop(label, mr, cols)
		Label(label + "summed")
	}
	// Rows are stored until m of them are, or the panel has no more.
	store := func(masks ...*mask) {
		for i := range mr {
			for j, mask := range masks {
				to := at(c, 4*v.w*j)
				if add {
					t := v.reg()
					v.load(mask, to, t)
					VADDPS(t, acc[i][j], acc[i][j])
				}
				v.store(mask, acc[i][j], to)
			}
			DECQ(m)
			JZ(LabelRef("done"))
			ADDQ(ldc, c)
		}
		ADDQ(lda, panel)
		JMP(LabelRef("panel"))
	}

	CMPQ(n, Imm(uint64(v.w)))
	JLE(LabelRef("column"))
	loops("wide", nv)
	SUBQ(Imm(uint64(v.w)), n)
	CMPQ(n, Imm(uint64(v.w)))
	JLT(LabelRef("edge"))
	store(nil, nil)
	Label("edge")
	store(nil, v.first(n))

	Label("column")
	loops("narrow", 1)
	store(v.first(n))
	Label("done")
	end()
}

// pack makes the transposes of packRows and the copies of packCols.
func (v isa) pack() {
	rows := []int{6, 8}
	if v.wide() {
		rows = []int{14, 16}
	}
	for _, n := range rows {
		v.transpose(n)
	}

	for _, n := range []int{rows[0], 2 * v.w} {
		v.copyCols(n)
	}
}

// copyCols copies a panel's columns, no element more: six by four and two, 14 under a
// mask.
func (v isa) copyCols(n int) {
	v.text(fmt.Sprintf("copyCols%d", n), "(dst, src *float32, ld, k int)", fmt.Sprintf("packs one panel of %d columns.", n))
	dst, src, ld, k := ptr("dst"), ptr("src"), ptr("ld"), ptr("k")
	SHLQ(Imm(2), ld)
	var few *mask
	if v.wide() && n < v.w {
		lanes := GP64()
		MOVQ(U32(n), lanes)
		few = v.first(lanes)
	}
	Label("k")
	if n == 6 {
		four, two := XMM(), XMM()
		VMOVUPS(at(src, 0), four)
		VMOVSD(at(src, 16), two)
		VMOVUPS(four, at(dst, 0))
		VMOVSD(two, at(dst, 16))
	} else {
		for j := 0; j < n; j += v.w {
			t := v.reg()
			v.load(few, at(src, 4*j), t)
			v.store(few, t, at(dst, 4*j))
		}
	}
	ADDQ(ld, src)
	ADDQ(I32(4*n), dst)
	DECQ(k)
	JNZ(LabelRef("k"))
	end()
}

// transpose turns rows by four columns at a time. Register j takes rows j,
// j+4, j+8 and j+12 into its lanes of four, so that one 4x4 transpose within
// the lanes leaves each column whole. Where rows is less than the register's
// width, what a store writes behind its column the next one overwrites, and the last
// four columns are stored without.
func (v isa) transpose(rows int) {
	v.text(fmt.Sprintf("transpose%d", rows), "(dst, src *float32, ld, r, groups int)",
		fmt.Sprintf("transposes %d rows of 4 groups columns to stride r.", rows))
	dst, src, ld, r, groups := ptr("dst"), ptr("src"), ptr("ld"), ptr("r"), ptr("groups")
	SHLQ(Imm(2), ld)
	SHLQ(Imm(2), r)
	ld3, r3 := GP64(), GP64()
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	LEAQ(Mem{Base: r, Index: r, Scale: 2}, r3)
	quads := make([]reg.Register, v.w/4) // the rows 0, 4, 8 and 12
	quads[0] = src
	for i := 1; i < len(quads); i++ {
		q := GP64()
		LEAQ(Mem{Base: quads[i-1], Index: ld, Scale: 4}, q)
		quads[i] = q
	}
	var lane [4]reg.OpmaskVirtual
	var few reg.OpmaskVirtual
	if v.wide() {
		for i := 1; i < 4; i++ {
			t := GP32()
			MOVL(U32(0xf<<(4*i)), t)
			lane[i] = K()
			KMOVW(t, lane[i])
		}
	}
	times := func(base reg.Register, n int, s, s3 reg.Register) Mem {
		return [4]Mem{{Base: base}, {Base: base, Index: s, Scale: 1}, {Base: base, Index: s, Scale: 2},
			{Base: base, Index: s3, Scale: 1}}[n]
	}
	four := func(exact bool) {
		var x [4]vec
		for j := range x {
			x[j] = v.reg()
			VMOVUPS(times(quads[0], j, ld, ld3), x[j].AsX())
			for q := 1; q < len(quads) && 4*q+j < rows; q++ {
				from := times(quads[q], j, ld, ld3)
				if v.wide() {
					VBROADCASTF32X4(from, lane[q], x[j])
				} else {
					VINSERTF128(Imm(1), from, x[j], x[j])
				}
			}
		}
		var t, y [4]vec
		for i := range t {
			t[i], y[i] = v.reg(), v.reg()
		}
		VUNPCKLPS(x[1], x[0], t[0])
		VUNPCKHPS(x[1], x[0], t[1])
		VUNPCKLPS(x[3], x[2], t[2])
		VUNPCKHPS(x[3], x[2], t[3])
		VUNPCKLPD(t[2], t[0], y[0])
		VUNPCKHPD(t[2], t[0], y[1])
		VUNPCKLPD(t[3], t[1], y[2])
		VUNPCKHPD(t[3], t[1], y[3])
		for i := range y {
			to := times(dst, i, r, r3)
			switch {
			case !exact:
				VMOVUPS(y[i], to)
			case v.wide():
				VMOVUPS(y[i], few, to)
			default:
				VMOVUPS(y[i].AsX(), to)
				VEXTRACTF128(Imm(1), y[i], y[i].AsX())
				to.Disp = 16
				VMOVSD(y[i].AsX(), to)
			}
		}
	}
	if rows < v.w {
		if v.wide() {
			t := GP32()
			MOVL(U32(1<<rows-1), t)
			few = K()
			KMOVW(t, few)
		}
		DECQ(groups)
		JZ(LabelRef("last"))
	}
	Label("group")
	four(false)
	for _, q := range quads {
		ADDQ(Imm(16), q)
	}
	LEAQ(Mem{Base: dst, Index: r, Scale: 4}, dst)
	DECQ(groups)
	JNZ(LabelRef("group"))
	if rows < v.w {
		Label("last")
		four(true)
	}
	end()
}

// convert makes the conversions. They take whole registers; n is a multiple of
// the width and not 0.
func (v isa) convert() {
	convert := func(name, sig, doc string, dstSize, srcSize int, f func(src, dst Mem)) {
		v.text(name, sig, doc)
		dst, src, n := ptr("dst"), ptr("src"), ptr("n")
		Label("next")
		f(at(src, 0), at(dst, 0))
		ADDQ(Imm(uint64(srcSize*v.w)), src)
		ADDQ(Imm(uint64(dstSize*v.w)), dst)
		SUBQ(Imm(uint64(v.w)), n)
		JNZ(LabelRef("next"))
		end()
	}
	const widen, narrow = "(dst *float32, src *uint16, n int)", "(dst *uint16, src *float32, n int)"
	convert("fromF16", widen, "widens float16.", 4, 2, func(src, dst Mem) {
		x := v.reg()
		VCVTPH2PS(src, x)
		VMOVUPS(x, dst)
	})
	convert("fromBF16", widen, "widens bfloat16.", 4, 2, func(src, dst Mem) {
		x := v.reg()
		VPMOVZXWD(src, x)
		VPSLLD(Imm(16), x, x)
		VMOVUPS(x, dst)
	})
	convert("toF16", narrow, "rounds to float16.", 2, 4, func(src, dst Mem) {
		x := v.reg()
		VMOVUPS(src, x)
		const nearestEven = 0
		VCVTPS2PH(Imm(nearestEven), x, dst)
	})
	convert("toBF16", narrow, "rounds to bfloat16.", 2, 4, func(src, dst Mem) {
		x, y, q := v.reg(), v.reg(), v.reg()
		VMOVUPS(src, x)
		VPSRLD(Imm(16), x, y)
		const unordered = 3
		if v.wide() {
			VPORD(integer(0x40), y, q)
			VPANDD(integer(1), y, y)
			VPADDD(integer(0x7fff), y, y)
			VPADDD(x, y, y)
			VPSRLD(Imm(16), y, y)
			k := K()
			VCMPPS(Imm(unordered), x, x, k)
			VMOVDQA32(q, k, y)
			VPMOVDW(y, dst)
			return
		}
		VPOR(integer(0x40), y, q)
		VPAND(integer(1), y, y)
		VPADDD(integer(0x7fff), y, y)
		VPADDD(x, y, y)
		VPSRLD(Imm(16), y, y)
		VCMPPS(Imm(unordered), x, x, x)
		VBLENDVPS(x, q, y, y)
		VPACKUSDW(y, y, y)
		VPERMQ(Imm(0b1000), y, y)
		VMOVUPS(y.AsX(), dst)
	})
}

// peak makes the loop that measures what the FMA units can do: twelve
// independent sums, more than their latency needs.
func (v isa) peak() {
	const sums = 12
	v.text("peak", "(n int)", fmt.Sprintf("runs n times %d multiply-adds of registers.", sums))
	n := ptr("n")
	x := v.zero()
	var acc [sums]vec
	for i := range acc {
		acc[i] = v.zero()
	}
	Label("next")
	for i := range acc {
		VFMADD231PS(x, x, acc[i])
	}
	DECQ(n)
	JNZ(LabelRef("next"))
	end()
}
