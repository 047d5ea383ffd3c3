package ptx

import (
	"math"
	"math/bits"
)

// Integer instructions. Most are a scalar function run over the lanes;
// those that fill the kernels' loops have loops of their own (fast.go).

type decoder func(x *ins)

// decoders has what each opcode does. It is filled by the tables below and in
// the other files.
var decoders = merged(integerOps, floatOps, moveOps, memoryOps, controlOps, syncOps, matrixOps)

func merged(tables ...map[string]decoder) map[string]decoder {
	all := map[string]decoder{}
	for _, t := range tables {
		for k, v := range t {
			all[k] = v
		}
	}
	return all
}

// sx sign-extends the low n bits.
func sx(v uint64, n int) int64 { return int64(v<<(64-n)) >> (64 - n) }

func maskBits(n int) uint64 { return math.MaxUint64 >> (64 - n) }

// un, bin and tern run a scalar function of n-bit values over the lanes. The
// function may leave bits above n.
func un(n int, f func(a uint64) uint64) execFn {
	if n == 64 {
		return func(w *warp, in *inst) {
			d, a := &w.r64[in.d], &w.r64[in.a]
			for i := range d {
				d[i] = f(a[i])
			}
		}
	}
	m := uint32(maskBits(n))
	return func(w *warp, in *inst) {
		d, a := &w.r32[in.d], &w.r32[in.a]
		for i := range d {
			d[i] = uint32(f(uint64(a[i]))) & m
		}
	}
}

func bin(n int, f func(a, b uint64) uint64) execFn {
	if n == 64 {
		return func(w *warp, in *inst) {
			d, a, b := &w.r64[in.d], &w.r64[in.a], &w.r64[in.b]
			for i := range d {
				d[i] = f(a[i], b[i])
			}
		}
	}
	m := uint32(maskBits(n))
	return func(w *warp, in *inst) {
		d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
		for i := range d {
			d[i] = uint32(f(uint64(a[i]), uint64(b[i]))) & m
		}
	}
}

func tern(n int, f func(a, b, c uint64) uint64) execFn {
	if n == 64 {
		return func(w *warp, in *inst) {
			d, a, b, c := &w.r64[in.d], &w.r64[in.a], &w.r64[in.b], &w.r64[in.c]
			for i := range d {
				d[i] = f(a[i], b[i], c[i])
			}
		}
	}
	m := uint32(maskBits(n))
	return func(w *warp, in *inst) {
		d, a, b, c := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b], &w.r32[in.c]
		for i := range d {
			d[i] = uint32(f(uint64(a[i]), uint64(b[i]), uint64(c[i]))) & m
		}
	}
}

func isFloat(t string) bool {
	switch t {
	case "f16", "f16x2", "bf16", "bf16x2", "f32", "f64":
		return true
	}
	return false
}

// check fails unless t is one of the types.
func (x *ins) check(t string, types ...string) {
	for _, v := range types {
		if v == t {
			return
		}
	}
	x.fail("type .%s is not one of %v", t, types)
}

var intTypes = []string{"u16", "s16", "u32", "s32", "u64", "s64"}

func width(t string) int { return 8 * typeSize(t) }

// either sends an opcode that both kinds of types have to its decoder.
func either(integer, float decoder) decoder {
	return func(x *ins) {
		if len(x.types) == 0 {
			x.fail("no type")
		}
		if isFloat(x.types[0]) {
			float(x)
			return
		}
		integer(x)
	}
}

var integerOps = map[string]decoder{
	"add":   either(addInt, addFloat),
	"sub":   either(subInt, subFloat),
	"mul":   either(mulInt, mulFloat),
	"mad":   either(madInt, fmaFloat),
	"div":   either(divInt, divFloat),
	"abs":   either(absInt, absFloat),
	"neg":   either(negInt, negFloat),
	"min":   either(func(x *ins) { minMaxInt(x, false) }, func(x *ins) { minMaxFloat(x, false) }),
	"max":   either(func(x *ins) { minMaxInt(x, true) }, func(x *ins) { minMaxFloat(x, true) }),
	"addc":  func(x *ins) { carry(x, "addc") },
	"subc":  func(x *ins) { carry(x, "subc") },
	"madc":  func(x *ins) { madCarry(x, true) },
	"mul24": func(x *ins) { mul24(x, 2) },
	"mad24": func(x *ins) { mul24(x, 3) },
	"rem":   remInt,
	"sad":   sadInt,
	"popc":  countBits(func(v uint64, n int) uint64 { return uint64(bits.OnesCount64(v)) }),
	"clz":   countBits(func(v uint64, n int) uint64 { return uint64(bits.LeadingZeros64(v) - (64 - n)) }),
	"brev": func(x *ins) {
		t := x.typ()
		x.check(t, "b32", "b64")
		n := width(t)
		x.pure(ClassInt, n, 1, un(n, func(a uint64) uint64 { return bits.Reverse64(a) >> (64 - n) }))
	},
	"bfind": bfind,
	"bfe":   bfe,
	"bfi":   bfi,
	"bmsk":  bmsk,
	"szext": szext,
	"dp4a":  dp4a,
	"dp2a":  dp2a,
	"and":   logic(func(a, b uint64) uint64 { return a & b }, andFast),
	"or":    logic(func(a, b uint64) uint64 { return a | b }, orFast),
	"xor":   logic(func(a, b uint64) uint64 { return a ^ b }, xorFast),
	"not":   notOp,
	"cnot": func(x *ins) {
		t := x.typ()
		x.check(t, "b16", "b32", "b64")
		x.pure(ClassInt, width(t), 1, un(width(t), func(a uint64) uint64 {
			if a == 0 {
				return 1
			}
			return 0
		}))
	},
	"lop3": lop3,
	"shl":  func(x *ins) { shift(x, true) },
	"shr":  func(x *ins) { shift(x, false) },
	"shf":  shf,
	"prmt": prmt,
}

func addInt(x *ins) {
	if x.has("cc") {
		carry(x, "add")
		return
	}
	t := x.typ()
	x.check(t, intTypes...)
	if x.has("sat") {
		x.check(t, "s32")
		x.pure(ClassInt, 32, 2, bin(32, func(a, b uint64) uint64 { return satS32(sx(a, 32) + sx(b, 32)) }))
		return
	}
	n := width(t)
	switch n {
	case 32:
		x.pure(ClassInt, n, 2, addFast32)
	case 64:
		x.pure(ClassInt, n, 2, addFast64)
	default:
		x.pure(ClassInt, n, 2, bin(n, func(a, b uint64) uint64 { return a + b }))
	}
}

func satS32(v int64) uint64 { return uint64(min(max(v, math.MinInt32), math.MaxInt32)) }

func subInt(x *ins) {
	if x.has("cc") {
		carry(x, "sub")
		return
	}
	t := x.typ()
	x.check(t, intTypes...)
	if x.has("sat") {
		x.check(t, "s32")
		x.pure(ClassInt, 32, 2, bin(32, func(a, b uint64) uint64 { return satS32(sx(a, 32) - sx(b, 32)) }))
		return
	}
	n := width(t)
	if n == 32 {
		x.pure(ClassInt, n, 2, subFast32)
		return
	}
	x.pure(ClassInt, n, 2, bin(n, func(a, b uint64) uint64 { return a - b }))
}

// carry decodes add.cc, sub.cc, addc and subc. The flag is a bit for each lane;
// of a subtraction it is the borrow.
func carry(x *ins, op string) {
	takes := op == "addc" || op == "subc"
	sets := !takes || x.has("cc")
	t := x.typ()
	x.check(t, "u32", "s32", "u64", "s64")
	n := width(t)
	x.nargs(3)
	x.out.d, x.out.a, x.out.b = x.dst(0, n), x.src(1, n), x.src(2, n)
	sub := op == "sub" || op == "subc"
	x.put(kMasked, ClassInt, func(w *warp, in *inst) {
		for m := w.mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m)
			var c uint64
			if takes {
				c = uint64(w.cc >> i & 1)
			}
			a, b := w.get(in.a, n, i), w.get(in.b, n, i)
			var v, out uint64
			switch {
			case sub && n == 64:
				v, out = bits.Sub64(a, b, c)
			case sub:
				v = a - b - c
				out = v >> 63
			case n == 64:
				v, out = bits.Add64(a, b, c)
			default:
				v = a + b + c
				out = v >> 32
			}
			w.set(in.d, n, i, v)
			if sets {
				w.cc = w.cc&^(1<<i) | uint32(out&1)<<i
			}
		}
	})
}

// get and set access a register of n bits in one lane.
func (w *warp) get(slot int32, n, lane int) uint64 {
	if n == 64 {
		return w.r64[slot][lane]
	}
	return uint64(w.r32[slot][lane])
}

func (w *warp) set(slot int32, n, lane int, v uint64) {
	if n == 64 {
		w.r64[slot][lane] = v
		return
	}
	w.r32[slot][lane] = uint32(v & maskBits(n))
}

func mulHi(a, b uint64, n int, sign bool) uint64 {
	if n < 64 {
		if sign {
			return uint64(sx(a, n) * sx(b, n) >> n)
		}
		return a * b >> n
	}
	hi, _ := bits.Mul64(a, b)
	if sign {
		if int64(a) < 0 {
			hi -= b
		}
		if int64(b) < 0 {
			hi -= a
		}
	}
	return hi
}

func mulInt(x *ins) {
	t := x.typ()
	x.check(t, intTypes...)
	n, sign := width(t), signed(t)
	switch x.one("lo", "hi", "wide") {
	case "lo":
		if n == 32 {
			x.pure(ClassInt, n, 2, mulFast32)
			return
		}
		x.pure(ClassInt, n, 2, bin(n, func(a, b uint64) uint64 { return a * b }))
	case "hi":
		x.pure(ClassInt, n, 2, bin(n, func(a, b uint64) uint64 { return mulHi(a, b, n, sign) }))
	case "wide":
		x.wide(n, sign, false)
	default:
		x.fail("mul needs .lo, .hi or .wide")
	}
}

// wide decodes mul.wide and mad.wide.
func (x *ins) wide(n int, sign, add bool) {
	if n == 64 {
		x.fail("64 bits have no .wide")
	}
	x.out.d, x.out.a, x.out.b = x.dst(0, 2*n), x.src(1, n), x.src(2, n)
	x.nargs(3 + btoi(add))
	if add {
		x.out.c = x.src(3, 2*n)
	}
	x.out.wide = n == 32
	mul := func(a, b uint32) uint64 {
		if sign {
			return uint64(sx(uint64(a), n) * sx(uint64(b), n))
		}
		return uint64(a) * uint64(b)
	}
	switch {
	case n == 16:
		x.put(kPure, ClassInt, func(w *warp, in *inst) {
			d, a, b, c := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b], &w.r32[in.c]
			for i := range d {
				v := uint32(mul(a[i], b[i]))
				if add {
					v += c[i]
				}
				d[i] = v
			}
		})
	case sign && !add:
		x.put(kPure, ClassInt, mulWideS32)
	default:
		x.put(kPure, ClassInt, func(w *warp, in *inst) {
			d, a, b, c := &w.r64[in.d], &w.r32[in.a], &w.r32[in.b], &w.r64[in.c]
			for i := range d {
				v := mul(a[i], b[i])
				if add {
					v += c[i]
				}
				d[i] = v
			}
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func madInt(x *ins) {
	if x.has("cc") {
		madCarry(x, false)
		return
	}
	t := x.typ()
	x.check(t, intTypes...)
	n, sign := width(t), signed(t)
	sat := x.has("sat")
	mode := x.one("lo", "hi", "wide")
	if sat && (mode != "hi" || t != "s32") {
		x.fail("mad.sat is for .hi.s32")
	}
	switch mode {
	case "lo":
		if n == 32 {
			x.pure(ClassInt, n, 3, madFast32)
			return
		}
		x.pure(ClassInt, n, 3, tern(n, func(a, b, c uint64) uint64 { return a*b + c }))
	case "hi":
		x.pure(ClassInt, n, 3, tern(n, func(a, b, c uint64) uint64 {
			if sat {
				return satS32(sx(mulHi(a, b, n, true), n) + sx(c, n))
			}
			return mulHi(a, b, n, sign) + c
		}))
	case "wide":
		x.wide(n, sign, true)
	default:
		x.fail("mad needs .lo, .hi or .wide")
	}
}

// madCarry decodes mad.{lo,hi}.cc and madc.{lo,hi}{.cc}.
func madCarry(x *ins, takes bool) {
	sets := !takes || x.has("cc")
	t := x.typ()
	x.check(t, "u32", "s32", "u64", "s64")
	n, sign := width(t), signed(t)
	mode := x.one("lo", "hi")
	if mode == "" {
		x.fail("needs .lo or .hi")
	}
	x.nargs(4)
	x.out.d, x.out.a, x.out.b, x.out.c = x.dst(0, n), x.src(1, n), x.src(2, n), x.src(3, n)
	x.put(kMasked, ClassInt, func(w *warp, in *inst) {
		for m := w.mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m)
			a, b := w.get(in.a, n, i), w.get(in.b, n, i)
			p := a * b
			if mode == "hi" {
				p = mulHi(a, b, n, sign)
			}
			p &= maskBits(n)
			var cin uint64
			if takes {
				cin = uint64(w.cc >> i & 1)
			}
			v, out := bits.Add64(p, w.get(in.c, n, i), cin)
			if n == 32 {
				out = v >> 32
			}
			w.set(in.d, n, i, v)
			if sets {
				w.cc = w.cc&^(1<<i) | uint32(out&1)<<i
			}
		}
	})
}

func mul24(x *ins, n int) {
	t := x.typ()
	x.check(t, "u32", "s32")
	mode := x.one("lo", "hi")
	if mode == "" {
		x.fail("needs .lo or .hi")
	}
	sign := signed(t)
	f := func(a, b uint64) uint64 {
		a, b = a&0xffffff, b&0xffffff
		if sign {
			a, b = uint64(sx(a, 24)), uint64(sx(b, 24))
		}
		if mode == "hi" {
			return uint64(int64(a*b) >> 16)
		}
		return a * b
	}
	if n == 2 {
		x.pure(ClassInt, 32, 2, bin(32, f))
		return
	}
	x.pure(ClassInt, 32, 3, tern(32, func(a, b, c uint64) uint64 { return f(a, b) + c }))
}

func divInt(x *ins) {
	t := x.typ()
	x.check(t, intTypes...)
	n, sign := width(t), signed(t)
	// The manual leaves division by zero open; GPUs give all ones.
	x.pure(ClassInt, n, 2, bin(n, func(a, b uint64) uint64 {
		switch {
		case b == 0:
			return math.MaxUint64
		case sign:
			if sx(b, n) == -1 {
				return -a
			}
			return uint64(sx(a, n) / sx(b, n))
		}
		return a / b
	}))
}

func remInt(x *ins) {
	t := x.typ()
	x.check(t, intTypes...)
	n, sign := width(t), signed(t)
	x.pure(ClassInt, n, 2, bin(n, func(a, b uint64) uint64 {
		switch {
		case b == 0:
			return a
		case sign:
			if sx(b, n) == -1 {
				return 0
			}
			return uint64(sx(a, n) % sx(b, n))
		}
		return a % b
	}))
}

func absInt(x *ins) {
	t := x.typ()
	x.check(t, "s16", "s32", "s64")
	n := width(t)
	x.pure(ClassInt, n, 1, un(n, func(a uint64) uint64 {
		if sx(a, n) < 0 {
			return -a
		}
		return a
	}))
}

func negInt(x *ins) {
	t := x.typ()
	x.check(t, "s16", "s32", "s64")
	x.pure(ClassInt, width(t), 1, un(width(t), func(a uint64) uint64 { return -a }))
}

func minMaxInt(x *ins, hi bool) {
	t := x.typ()
	x.check(t, intTypes...)
	n, sign := width(t), signed(t)
	relu := x.has("relu")
	if relu {
		x.check(t, "s32")
	}
	x.pure(ClassInt, n, 2, bin(n, func(a, b uint64) uint64 {
		less := a < b
		if sign {
			less = sx(a, n) < sx(b, n)
		}
		v := a
		if less == hi {
			v = b
		}
		if relu && sx(v, n) < 0 {
			v = 0
		}
		return v
	}))
}

func sadInt(x *ins) {
	t := x.typ()
	x.check(t, intTypes...)
	n, sign := width(t), signed(t)
	x.pure(ClassInt, n, 3, tern(n, func(a, b, c uint64) uint64 {
		less := a < b
		if sign {
			less = sx(a, n) < sx(b, n)
		}
		if less {
			return c + b - a
		}
		return c + a - b
	}))
}

// countBits decodes popc and clz: a 32-bit result of b32 or b64.
func countBits(f func(v uint64, n int) uint64) decoder {
	return func(x *ins) {
		t := x.typ()
		x.check(t, "b32", "b64")
		x.to32(width(t), f)
	}
}

// to32 emits a kPure with a 32-bit result of one source of n bits.
func (x *ins) to32(n int, f func(v uint64, n int) uint64) {
	x.nargs(2)
	x.out.d, x.out.a = x.dst(0, 32), x.src(1, n)
	x.put(kPure, ClassInt, func(w *warp, in *inst) {
		d := &w.r32[in.d]
		for i := range d {
			d[i] = uint32(f(w.get(in.a, n, i), n))
		}
	})
}

func bfind(x *ins) {
	t := x.typ()
	x.check(t, "u32", "s32", "u64", "s64")
	sign, amount := signed(t), x.has("shiftamt")
	x.to32(width(t), func(v uint64, n int) uint64 {
		if sign && sx(v, n) < 0 {
			v = ^v & maskBits(n)
		}
		p := bits.Len64(v) - 1
		if p < 0 {
			return math.MaxUint32
		}
		if amount {
			return uint64(n - 1 - p)
		}
		return uint64(p)
	})
}

func bfe(x *ins) {
	t := x.typ()
	x.check(t, "u32", "s32", "u64", "s64")
	n, sign := width(t), signed(t)
	x.nargs(4)
	x.out.d, x.out.a, x.out.b, x.out.c = x.dst(0, n), x.src(1, n), x.src(2, 32), x.src(3, 32)
	x.out.wide = n == 64
	x.put(kPure, ClassInt, func(w *warp, in *inst) {
		b, c := &w.r32[in.b], &w.r32[in.c]
		for i := range b {
			w.set(in.d, n, i, bitField(w.get(in.a, n, i), int(b[i]&255), int(c[i]&255), n, sign))
		}
	})
}

// bitField takes length bits at pos; beyond the value's end stands its sign.
func bitField(a uint64, pos, length, n int, sign bool) uint64 {
	if length == 0 {
		return 0
	}
	if !sign {
		if pos >= 64 {
			return 0
		}
		r := a >> pos
		if length < 64 {
			r &= 1<<length - 1
		}
		return r
	}
	v := sx(a, n) >> min(pos, n-1)
	if length < 64 {
		v = sx(uint64(v), length)
	}
	return uint64(v)
}

func bfi(x *ins) {
	t := x.typ()
	x.check(t, "b32", "b64")
	n := width(t)
	x.nargs(5)
	x.out.d, x.out.a, x.out.b = x.dst(0, n), x.src(1, n), x.src(2, n)
	x.out.c, x.out.e = x.src(3, 32), x.src(4, 32)
	x.out.wide = n == 64
	x.put(kPure, ClassInt, func(w *warp, in *inst) {
		c, e := &w.r32[in.c], &w.r32[in.e]
		for i := range c {
			pos, length := c[i]&255, e[i]&255
			a, b := w.get(in.a, n, i), w.get(in.b, n, i)
			m := uint64(math.MaxUint64)
			if length < 64 {
				m = 1<<length - 1
			}
			m <<= pos
			w.set(in.d, n, i, b&^m|a<<pos&m)
		}
	})
}

func bmsk(x *ins) {
	t := x.typ()
	x.check(t, "b32")
	wrap := x.one("wrap", "clamp") == "wrap"
	x.pure(ClassInt, 32, 2, bin(32, func(a, b uint64) uint64 {
		if wrap {
			a, b = a&31, b&31
		}
		if a >= 32 {
			return 0
		}
		m := uint64(math.MaxUint32)
		if b < 32 {
			m = 1<<b - 1
		}
		return m << a
	}))
}

func szext(x *ins) {
	t := x.typ()
	x.check(t, "u32", "s32")
	sign, wrap := signed(t), x.one("wrap", "clamp") == "wrap"
	x.pure(ClassInt, 32, 2, bin(32, func(a, b uint64) uint64 {
		if wrap {
			b &= 31
		}
		switch {
		case b == 0:
			return 0
		case b >= 32:
			return a
		case sign:
			return uint64(sx(a, int(b)))
		}
		return a & (1<<b - 1)
	}))
}

func dp4a(x *ins) {
	ta, tb := x.typ(), x.typ()
	x.check(ta, "u32", "s32")
	x.check(tb, "u32", "s32")
	x.pure(ClassInt, 32, 3, tern(32, func(a, b, c uint64) uint64 {
		for k := 0; k < 32; k += 8 {
			c += part(a>>k, 8, signed(ta)) * part(b>>k, 8, signed(tb))
		}
		return c
	}))
}

func dp2a(x *ins) {
	ta, tb := x.typ(), x.typ()
	x.check(ta, "u32", "s32")
	x.check(tb, "u32", "s32")
	mode := x.one("lo", "hi")
	if mode == "" {
		x.fail("needs .lo or .hi")
	}
	x.pure(ClassInt, 32, 3, tern(32, func(a, b, c uint64) uint64 {
		if mode == "hi" {
			b >>= 16
		}
		for k := range 2 {
			c += part(a>>(16*k), 16, signed(ta)) * part(b>>(8*k), 8, signed(tb))
		}
		return c
	}))
}

func part(v uint64, n int, sign bool) uint64 {
	if sign {
		return uint64(sx(v, n))
	}
	return v & maskBits(n)
}
