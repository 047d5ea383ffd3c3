package ptx

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Matrices: ldmatrix, stmatrix and mma.
//
// PTX leaves open how mma sums. On the hardware products are exact; a group of
// products and the accumulator (8 of f16 and bf16 and 4 of tf32 on sm_80) are
// aligned to the largest exponent, cut off a few bits below an f32's last, and
// summed; the result is truncated (Fasi, Higham, Mikaitis, Pranesh: Numerical
// behavior of NVIDIA tensor cores, 2021). Here the groups and their order are the
// same, low k first, but a group is summed in float64 and rounded to nearest: the
// difference is in the last bits of each group's sum, and no result here is less
// exact than the hardware's. Integer sums are exact, as there.

var matrixOps = map[string]decoder{
	"ldmatrix": func(x *ins) { moveMatrix(x, true) },
	"stmatrix": func(x *ins) { moveMatrix(x, false) },
	"mma":      mma,
	"wmma":     func(x *ins) { x.fail("use mma.sync") },
	"wgmma":    func(x *ins) { x.fail("needs sm_90a") },
}

// moveMatrix decodes ldmatrix and stmatrix: lanes 8i to 8i+7 hold the addresses
// of the rows (8 values of 16 bits) of matrix i, and lane l has in register i its
// row l/4, columns 2(l%4) and 2(l%4)+1; with .trans rows and columns swap.
func moveMatrix(x *ins, load bool) {
	x.sync()
	if !x.has("aligned") || !x.has("m8n8") {
		x.fail("needs .aligned.m8n8")
	}
	n := map[string]int{"x1": 1, "x2": 2, "x4": 4}[x.one("x1", "x2", "x4")]
	if n == 0 {
		x.fail("needs .x1, .x2 or .x4")
	}
	trans := x.has("trans")
	m := &memOp{read: load, write: !load, size: 16, total: 16, reg: 32}
	m.space = x.stateSpace()
	if m.space != spaceShared && m.space != spaceGeneric {
		x.fail("matrices lie in shared memory")
	}
	x.check(x.typ(), "b16")
	x.nargs(2)
	addr, regs := 1, 0
	if !load {
		addr, regs = 0, 1
	}
	x.addressOperand(x.args[addr], m)
	x.out.regs = x.vector(x.args[regs], n, 32, load)
	x.used(m, 4)
	x.out.aligned = true
	lanes := uint32(1<<(8*n) - 1)
	m.access = func(w *warp, in *inst, buf []byte, base uint64, _ uint32) {
		for k, r := range in.regs {
			rows := w.addr[8*k : 8*k+8]
			d := &w.r32[r]
			switch {
			case load && !trans:
				for i, a := range rows {
					b := buf[a-base:][:16]
					d[4*i] = binary.LittleEndian.Uint32(b)
					d[4*i+1] = binary.LittleEndian.Uint32(b[4:])
					d[4*i+2] = binary.LittleEndian.Uint32(b[8:])
					d[4*i+3] = binary.LittleEndian.Uint32(b[12:])
				}
			case load:
				for i := 0; i < 8; i += 2 {
					b, c := buf[rows[i]-base:][:16], buf[rows[i+1]-base:][:16]
					for j := range 8 {
						d[4*j+i/2] = uint32(binary.LittleEndian.Uint16(b[2*j:])) | uint32(binary.LittleEndian.Uint16(c[2*j:]))<<16
					}
				}
			case !trans:
				for i, a := range rows {
					for j := range 4 {
						binary.LittleEndian.PutUint32(buf[a-base+uint64(4*j):], d[4*i+j])
					}
				}
			default:
				for i, a := range rows {
					for j := range 8 {
						binary.LittleEndian.PutUint16(buf[a-base+uint64(2*j):], uint16(d[4*j+i/2]>>(16*(i&1))))
					}
				}
			}
		}
	}
	x.out.m = m
	class := ClassLoadMatrix
	if !load {
		class = ClassStoreShared
	}
	x.put(kSync, class, func(w *warp, in *inst) {
		if w.mask != math.MaxUint32 {
			w.fault(in, bits.TrailingZeros32(w.mask), 0, "only lanes %#08x of a warp run it", w.mask)
		}
		w.mask = lanes
		memory(w, in)
		w.mask = math.MaxUint32
	})
}

// fragments are the matrices of an mma, gathered from the lanes' registers: a by
// rows, b by columns.
type fragments struct {
	a [16][16]float64
	b [8][16]float64
	c [16][8]float32
}

// mmaKind is a shape and its types.
type mmaKind struct {
	k     int
	per   int // elements in a register of a and b
	group int // products that are summed before rounding
	value func(reg uint32, i int) float64
	na    int // registers of a
	nb    int
}

func mma(x *ins) {
	x.sync()
	if !x.has("aligned") {
		x.fail("needs .aligned")
	}
	shape := x.one("m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32", "m8n8k4", "m8n8k16", "m8n8k32", "m16n8k64")
	if !x.has("row") || !x.has("col") {
		x.fail("only a by rows and b by columns")
	}
	td, ta, tb, tc := x.typ(), x.typ(), x.typ(), x.typ()
	if ta == "s8" || ta == "u8" {
		mmaInt(x, shape, td, ta, tb, tc)
		return
	}
	var kd mmaKind
	switch ta + " " + shape {
	case "f16 m16n8k8", "bf16 m16n8k8":
		kd = mmaKind{k: 8, per: 2, group: 8, na: 2, nb: 1}
	case "f16 m16n8k16", "bf16 m16n8k16":
		kd = mmaKind{k: 16, per: 2, group: 8, na: 4, nb: 2}
	case "tf32 m16n8k4":
		kd = mmaKind{k: 4, per: 1, group: 4, na: 2, nb: 1}
	case "tf32 m16n8k8":
		kd = mmaKind{k: 8, per: 1, group: 4, na: 4, nb: 2}
	default:
		x.fail("shape .%s of .%s is not supported", shape, ta)
	}
	switch ta {
	case "f16":
		kd.value = func(r uint32, i int) float64 { return float64(halfToFloat[r>>(16*i)&0xffff]) }
	case "bf16":
		kd.value = func(r uint32, i int) float64 { return float64(flt(r >> (16 * i) << 16)) }
	case "tf32": // the low 13 bits are not looked at
		kd.value = func(r uint32, _ int) float64 { return float64(flt(r &^ 0x1fff)) }
	}
	half := td == "f16"
	if tb != ta || tc != td || td != "f32" && !(half && ta == "f16") {
		x.fail("types .%s.%s.%s.%s", td, ta, tb, tc)
	}
	nc := 4
	if half {
		nc = 2
	}
	x.nargs(4)
	x.out.regs = x.vector(x.args[0], nc, 32, true)
	x.out.regs2 = x.vector(x.args[1], kd.na, 32, false)
	x.out.regs3 = x.vector(x.args[2], kd.nb, 32, false)
	x.out.regs4 = x.vector(x.args[3], nc, 32, false)
	x.out.aligned = true
	flops := uint64(2 * 16 * 8 * kd.k)
	x.put(kSync, ClassMMA, func(w *warp, in *inst) {
		f := w.fragments(in)
		w.wk.stats.mmaFLOPs += flops
		if ta == "f16" && kd.k == 16 {
			gatherHalf16(f, w, in)
		} else {
			gather(f, w, in, &kd)
		}
		for r, s := range in.regs4 {
			c := &w.r32[s]
			for l := range warpSize {
				if half {
					row, col := l/4+8*r, l%4*2
					f.c[row][col], f.c[row][col+1] = halfToFloat[c[l]&0xffff], halfToFloat[c[l]>>16]
				} else {
					f.c[(l>>2+8*(r>>1))&15][(l&3)*2+r&1] = flt(c[l])
				}
			}
		}
		switch {
		case half: // rounded to f16 after each group
			f.multiply(kd.k, kd.group, func(s float64) float32 { return halfToFloat[fmtF16.round(s, rn)] })
		case kd.group == 8:
			f.multiply8(kd.k)
		default:
			f.multiply(kd.k, kd.group, func(s float64) float32 { return float32(s) })
		}
		for r, s := range in.regs {
			d := &w.r32[s]
			for l := range warpSize {
				if half {
					row, col := l/4+8*r, l%4*2
					d[l] = floatF16(f.c[row][col]) | floatF16(f.c[row][col+1])<<16
				} else {
					d[l] = bits32(f.c[(l>>2+8*(r>>1))&15][(l&3)*2+r&1])
				}
			}
		}
	})
}

// fragments checks that the warp is whole and gives its matrices.
func (w *warp) fragments(in *inst) *fragments {
	if w.mask != math.MaxUint32 {
		w.fault(in, bits.TrailingZeros32(w.mask), 0, "only lanes %#08x of a warp run it", w.mask)
	}
	if w.wk.frag == nil {
		w.wk.frag = &fragments{}
	}
	return w.wk.frag
}

// gather fills a and b. With per elements in a register, lane l holds of a in
// register r the row l/4 + 8(r%2) and the columns per(l%4) + 4per(r/2) and on, of
// b the column l/4 and the rows per(l%4) + 4per·r and on.
func gather(f *fragments, w *warp, in *inst, kd *mmaKind) {
	for r, s := range in.regs2 {
		for l, v := range w.r32[s] {
			for i := range kd.per {
				f.a[l/4+8*(r&1)][kd.per*(l%4)+4*kd.per*(r>>1)+i] = kd.value(v, i)
			}
		}
	}
	for r, s := range in.regs3 {
		for l, v := range w.r32[s] {
			for i := range kd.per {
				f.b[l/4][kd.per*(l%4)+4*kd.per*r+i] = kd.value(v, i)
			}
		}
	}
}

// gatherHalf16 is gather for m16n8k16 of f16.
func gatherHalf16(f *fragments, w *warp, in *inst) {
	t := halfToFloat
	a0, a1, a2, a3 := &w.r32[in.regs2[0]], &w.r32[in.regs2[1]], &w.r32[in.regs2[2]], &w.r32[in.regs2[3]]
	b0, b1 := &w.r32[in.regs3[0]], &w.r32[in.regs3[1]]
	for l := range warpSize {
		g, c := l>>2&7, l&3*2
		lo, hi, b := &f.a[g], &f.a[g+8], &f.b[g]
		lo[c], lo[c+1] = float64(t[a0[l]&0xffff]), float64(t[a0[l]>>16])
		hi[c], hi[c+1] = float64(t[a1[l]&0xffff]), float64(t[a1[l]>>16])
		lo[c+8], lo[c+9] = float64(t[a2[l]&0xffff]), float64(t[a2[l]>>16])
		hi[c+8], hi[c+9] = float64(t[a3[l]&0xffff]), float64(t[a3[l]>>16])
		b[c], b[c+1] = float64(t[b0[l]&0xffff]), float64(t[b0[l]>>16])
		b[c+8], b[c+9] = float64(t[b1[l]&0xffff]), float64(t[b1[l]>>16])
	}
}

func (f *fragments) multiply(k, group int, round func(float64) float32) {
	for i := range f.c {
		for j := range f.c[i] {
			for g := 0; g < k; g += group {
				s := 0.0
				for e := g; e < g+group; e++ {
					s += f.a[i][e] * f.b[j][e]
				}
				f.c[i][j] = round(s + float64(f.c[i][j]))
			}
		}
	}
}

// multiply8 is multiply in groups of 8, rounding to f32.
func (f *fragments) multiply8(k int) {
	for i := range f.c {
		a, c := &f.a[i], &f.c[i]
		for j := range c {
			b := &f.b[j]
			s := (a[0]*b[0] + a[1]*b[1]) + (a[2]*b[2] + a[3]*b[3])
			t := (a[4]*b[4] + a[5]*b[5]) + (a[6]*b[6] + a[7]*b[7])
			v := float32(float64(c[j]) + (s + t))
			if k == 16 {
				s = (a[8]*b[8] + a[9]*b[9]) + (a[10]*b[10] + a[11]*b[11])
				t = (a[12]*b[12] + a[13]*b[13]) + (a[14]*b[14] + a[15]*b[15])
				v = float32(float64(v) + (s + t))
			}
			c[j] = v
		}
	}
}

// mmaInt decodes m16n8k16 and m16n8k32 of 8-bit integers.
func mmaInt(x *ins, shape, td, ta, tb, tc string) {
	na, nb, k := 4, 2, 32
	switch shape {
	case "m16n8k32":
	case "m16n8k16":
		na, nb, k = 2, 1, 16
	default:
		x.fail("shape .%s of .%s is not supported", shape, ta)
	}
	x.check(tb, "s8", "u8")
	if td != "s32" || tc != "s32" {
		x.fail("the accumulator of integers is .s32")
	}
	sat := x.has("satfinite")
	x.nargs(4)
	x.out.regs = x.vector(x.args[0], 4, 32, true)
	x.out.regs2 = x.vector(x.args[1], na, 32, false)
	x.out.regs3 = x.vector(x.args[2], nb, 32, false)
	x.out.regs4 = x.vector(x.args[3], 4, 32, false)
	x.out.aligned = true
	sa, sb := signed(ta), signed(tb)
	x.put(kSync, ClassMMA, func(w *warp, in *inst) {
		w.fragments(in)
		w.wk.stats.mmaFLOPs += uint64(2 * 16 * 8 * k)
		var a [16][32]int64
		var b [8][32]int64
		for r, s := range in.regs2 {
			for l, v := range w.r32[s] {
				for i := range 4 {
					a[l/4+8*(r&1)][4*(l%4)+16*(r>>1)+i] = int64(part(uint64(v>>(8*i)), 8, sa))
				}
			}
		}
		for r, s := range in.regs3 {
			for l, v := range w.r32[s] {
				for i := range 4 {
					b[l/4][4*(l%4)+16*r+i] = int64(part(uint64(v>>(8*i)), 8, sb))
				}
			}
		}
		var out [4][warpSize]uint32
		for r, s := range in.regs4 {
			for l, c := range w.r32[s] {
				v := int64(int32(c))
				for e := range k {
					v += a[l/4+8*(r>>1)][e] * b[l%4*2+r&1][e]
				}
				if sat {
					v = int64(satS32(v))
				}
				out[r][l] = uint32(v)
			}
		}
		for r, s := range in.regs {
			w.r32[s] = out[r]
		}
	})
}
