package ptx

import "math"

// Floating-point instructions.

var floatOps = map[string]decoder{
	"fma":  fmaFloat,
	"rcp":  func(x *ins) { unaryFloat(x, "rcp") },
	"sqrt": func(x *ins) { unaryFloat(x, "sqrt") },
	"rsqrt": func(x *ins) {
		unaryFloat(x, "rsqrt")
	},
	"sin":      func(x *ins) { approxFloat(x, math.Sin) },
	"cos":      func(x *ins) { approxFloat(x, math.Cos) },
	"lg2":      func(x *ins) { approxFloat(x, math.Log2) },
	"ex2":      func(x *ins) { approxFloat(x, exp2) },
	"tanh":     func(x *ins) { approxFloat(x, math.Tanh) },
	"testp":    testp,
	"copysign": copysign,
}

// exp2 is 2^x. math.Exp2 is exact for integers only to its last bits.
func exp2(x float64) float64 {
	if x == math.Trunc(x) && math.Abs(x) < 1000 {
		return math.Ldexp(1, int(x))
	}
	return math.Exp2(x)
}

// mode takes a rounding modifier; none means to nearest.
func (x *ins) mode() rounding {
	switch x.one("rn", "rz", "rm", "rp") {
	case "rz":
		return rz
	case "rm":
		return rm
	case "rp":
		return rp
	}
	return rn
}

// arith emits a float instruction of n sources. f32, f16 and f64 give its value
// in each format; a nil one means that PTX has no such type. Packed types run
// f16 on both halves.
func (x *ins) arith(class Class, t string, n int, f32 func(a, b, c uint32) uint32, f16 func(f format, a, b, c uint32) uint32,
	f64 func(a, b, c float64) float64) {
	ftz, sat, relu := x.has("ftz"), x.has("sat"), x.has("relu")
	f := fmtF16
	if t == "bf16" || t == "bf16x2" {
		f = fmtBF16
	}
	x.nargs(n + 1)
	switch t {
	case "f32":
		if f32 == nil || relu {
			break
		}
		x.pure(class, 32, n, func(w *warp, in *inst) {
			d, a, b, c := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b], &w.r32[in.c]
			for i := range d {
				va, vb, vc := a[i], b[i], c[i]
				if ftz {
					va, vb, vc = ftz32(va), ftz32(vb), ftz32(vc)
				}
				v := f32(va, vb, vc)
				if ftz {
					v = ftz32(v)
				}
				if sat {
					v = sat32(v)
				}
				d[i] = v
			}
		})
		return
	case "f16", "bf16", "f16x2", "bf16x2":
		if f16 == nil || f == fmtBF16 && (ftz && x.op != "ex2" || sat) {
			break
		}
		one := func(a, b, c uint32) uint32 {
			if ftz {
				a, b, c = f.flush(a), f.flush(b), f.flush(c)
			}
			v := f16(f, a, b, c)
			if ftz {
				v = f.flush(v)
			}
			if sat {
				v = sat16(v)
			}
			if relu && v&0x8000 != 0 {
				v = 0
			}
			return v
		}
		if t == "f16" || t == "bf16" {
			x.pure(class, 16, n, func(w *warp, in *inst) {
				d, a, b, c := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b], &w.r32[in.c]
				for i := range d {
					d[i] = one(a[i], b[i], c[i])
				}
			})
			return
		}
		x.pure(class, 32, n, func(w *warp, in *inst) {
			d, a, b, c := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b], &w.r32[in.c]
			for i := range d {
				d[i] = one(a[i]&0xffff, b[i]&0xffff, c[i]&0xffff) | one(a[i]>>16, b[i]>>16, c[i]>>16)<<16
			}
		})
		return
	case "f64":
		if f64 == nil || ftz || sat || relu {
			break
		}
		x.pure(class, 64, n, func(w *warp, in *inst) {
			d, a, b, c := &w.r64[in.d], &w.r64[in.a], &w.r64[in.b], &w.r64[in.c]
			for i := range d {
				d[i] = math.Float64bits(f64(math.Float64frombits(a[i]), math.Float64frombits(b[i]), math.Float64frombits(c[i])))
			}
		})
		return
	}
	x.fail("not supported for .%s with these modifiers", t)
}

// flush makes a subnormal of 16 bits a zero of its sign.
func (f format) flush(v uint32) uint32 {
	if v>>f.mant&(1<<f.exp-1) == 0 {
		return v & 0x8000
	}
	return v
}

func ftz16(v uint32) uint32 {
	if v&0x7c00 == 0 {
		return v & 0x8000
	}
	return v
}

func sat16(v uint32) uint32 {
	f := f16Float(v)
	switch {
	case !(f > 0):
		return 0
	case f > 1:
		return 0x3c00
	}
	return v
}

// plain reports whether no modifier is left that the fast loops leave out.
func (x *ins) plain(m rounding) bool {
	for _, v := range x.mods {
		if v == "ftz" || v == "sat" || v == "relu" {
			return false
		}
	}
	return m == rn
}

// only64 gives a float64 operation, nil under another rounding than to nearest.
func only64(m rounding, f func(a, b, c float64) float64) func(a, b, c float64) float64 {
	if m != rn {
		return nil
	}
	return f
}

func addFloat(x *ins) { sumFloat(x, 0) }
func subFloat(x *ins) { sumFloat(x, 1) }

func sumFloat(x *ins, neg uint32) {
	t, m := x.typ(), x.mode()
	if t == "f32" && x.plain(m) {
		f := addFastF32
		if neg == 1 {
			f = subFastF32
		}
		x.pure(ClassFloat, 32, 2, f)
		return
	}
	x.arith(classOf(t), t, 2,
		func(a, b, _ uint32) uint32 {
			if m == rn {
				return bits32(flt(a) + flt(b^neg<<31))
			}
			return addMode(fmtF32, a, b^neg<<31, m)
		},
		func(f format, a, b, _ uint32) uint32 {
			if f == fmtF16 && m == rn { // 24 bits are enough for rounding twice (Figueroa)
				return floatF16(f16Float(a) + f16Float(b^neg<<15))
			}
			return addMode(f, a, b^neg<<15, m)
		},
		only64(m, func(a, b, _ float64) float64 {
			if neg == 1 {
				return a - b
			}
			return a + b
		}))
}

func classOf(t string) Class {
	switch t {
	case "f16", "f16x2", "bf16", "bf16x2":
		return ClassHalf
	case "f64":
		return ClassDouble
	}
	return ClassFloat
}

func mulFloat(x *ins) {
	t, m := x.typ(), x.mode()
	if t == "f32" && x.plain(m) {
		x.pure(ClassFloat, 32, 2, mulFastF32)
		return
	}
	x.arith(classOf(t), t, 2,
		func(a, b, _ uint32) uint32 {
			if m == rn {
				return bits32(flt(a) * flt(b))
			}
			return mulMode(fmtF32, a, b, m)
		},
		func(f format, a, b, _ uint32) uint32 {
			if f == fmtF16 && m == rn { // the product is exact
				return floatF16(f16Float(a) * f16Float(b))
			}
			return mulMode(f, a, b, m)
		},
		only64(m, func(a, b, _ float64) float64 { return a * b }))
}

func fmaFloat(x *ins) {
	t, m := x.typ(), x.mode()
	if t == "f32" && x.plain(m) {
		x.pure(ClassFMA, 32, 3, fmaFastF32)
		return
	}
	class := classOf(t)
	if t == "f32" {
		class = ClassFMA
	}
	x.arith(class, t, 3,
		func(a, b, c uint32) uint32 {
			if m == rn {
				return bits32(fma32(flt(a), flt(b), flt(c)))
			}
			return fmaMode(fmtF32, a, b, c, m)
		},
		func(f format, a, b, c uint32) uint32 { return fmaMode(f, a, b, c, m) },
		only64(m, math.FMA))
}

func divFloat(x *ins) {
	t := x.typ()
	x.one("approx", "full")
	m := x.mode()
	x.arith(ClassSpecial, t, 2,
		func(a, b, _ uint32) uint32 { return div32(a, b, m) }, nil,
		only64(m, func(a, b, _ float64) float64 { return a / b }))
}

func absFloat(x *ins) {
	t := x.typ()
	x.arith(classOf(t), t, 1,
		func(a, _, _ uint32) uint32 { return nanOr(a, a&0x7fffffff) },
		func(_ format, a, _, _ uint32) uint32 { return a & 0x7fff },
		func(a, _, _ float64) float64 { return math.Abs(a) })
}

func nanOr(a, v uint32) uint32 {
	if a&0x7fffffff > 0x7f800000 {
		return nan32
	}
	return v
}

func negFloat(x *ins) {
	t := x.typ()
	x.arith(classOf(t), t, 1,
		func(a, _, _ uint32) uint32 { return nanOr(a, a^1<<31) },
		func(_ format, a, _, _ uint32) uint32 { return a ^ 1<<15 },
		func(a, _, _ float64) float64 { return -a })
}

func minMaxFloat(x *ins, hi bool) {
	t := x.typ()
	nan := x.has("NaN")
	var xor bool
	if x.has("xorsign") {
		xor = true
		if !x.has("abs") {
			x.fail(".xorsign needs .abs")
		}
	}
	x.arith(classOf(t), t, 2,
		func(a, b, _ uint32) uint32 {
			if xor {
				return nanOr(minMax32(a&^(1<<31), b&^(1<<31), hi, nan), minMax32(a&^(1<<31), b&^(1<<31), hi, nan)|(a^b)&(1<<31))
			}
			return minMax32(a, b, hi, nan)
		},
		func(f format, a, b, _ uint32) uint32 {
			if xor {
				v := minMax16(f, a&0x7fff, b&0x7fff, hi, nan)
				if v == nan16 {
					return v
				}
				return v | (a^b)&0x8000
			}
			return minMax16(f, a, b, hi, nan)
		},
		func(a, b, _ float64) float64 {
			return math.Float64frombits(minMax64(math.Float64bits(a), math.Float64bits(b), hi))
		})
}

// unaryFloat decodes rcp, sqrt and rsqrt.
func unaryFloat(x *ins, op string) {
	t := x.typ()
	approx := x.has("approx")
	if t == "f64" && approx && op != "sqrt" && x.has("ftz") {
		// The upper half of an approximation, with which NVRTC begins a division.
		x.pure(ClassDouble, 64, 1, un(64, func(a uint64) uint64 {
			a &^= 1<<32 - 1
			if a&(0x7ff<<52) == 0 {
				a &= 1 << 63
			}
			v := math.Float64frombits(a)
			if op == "rsqrt" {
				v = math.Sqrt(v)
			}
			r := math.Float64bits(1/v) &^ (1<<32 - 1)
			switch {
			case r&(0x7ff<<52) == 0:
				r &= 1 << 63
			case v != v:
				r = 0x7fffffff << 32
			}
			return r
		}))
		return
	}
	m := x.mode()
	if op == "rsqrt" && !approx {
		x.fail("needs .approx")
	}
	f32 := func(a, _, _ uint32) uint32 { return div32(0x3f800000, a, m) }
	f64 := func(a, _, _ float64) float64 { return 1 / a }
	switch op {
	case "sqrt":
		f32 = func(a, _, _ uint32) uint32 { return sqrt32(a, m) }
		f64 = func(a, _, _ float64) float64 { return math.Sqrt(a) }
	case "rsqrt":
		g := approx32(func(v float64) float64 { return 1 / math.Sqrt(v) })
		f32 = func(a, _, _ uint32) uint32 { return g(a) }
		f64 = func(a, _, _ float64) float64 { return 1 / math.Sqrt(a) }
	}
	x.arith(ClassSpecial, t, 1, f32, nil, only64(m, f64))
}

// approxFloat decodes the functions that PTX has only as approximations.
func approxFloat(x *ins, f func(float64) float64) {
	t := x.typ()
	if !x.has("approx") {
		x.fail("needs .approx")
	}
	g := approx32(f)
	x.arith(ClassSpecial, t, 1,
		func(a, _, _ uint32) uint32 { return g(a) },
		func(p format, a, _, _ uint32) uint32 { return p.round(f(p.value(a)), rn) }, nil)
}

func testp(x *ins) {
	t := x.typ()
	x.check(t, "f32", "f64")
	op := x.one("finite", "infinite", "number", "notanumber", "normal", "subnormal")
	if op == "" {
		x.fail("needs a property")
	}
	x.nargs(2)
	x.out.d, x.out.a = x.dst(0, 1), x.src(1, width(t))
	n, mant := width(t), 23
	if n == 64 {
		mant = 52
	}
	x.put(kMasked, ClassFloat, func(w *warp, in *inst) {
		var r uint32
		for i := range warpSize {
			v := w.get(in.a, n, i) & maskBits(n-1)
			e, m := v>>mant, v&maskBits(mant)
			top := uint64(1)<<(n-1-mant) - 1
			var ok bool
			switch op {
			case "finite":
				ok = e != top
			case "infinite":
				ok = e == top && m == 0
			case "number":
				ok = e != top || m == 0
			case "notanumber":
				ok = e == top && m != 0
			case "normal":
				ok = e != top && (e != 0 || m == 0) // zeros count as normal
			case "subnormal":
				ok = e == 0 && m != 0
			}
			if ok {
				r |= 1 << i
			}
		}
		w.setPred(in.d, r)
	})
}

func copysign(x *ins) {
	t := x.typ()
	x.check(t, "f32", "f64")
	n := width(t)
	s := uint64(1) << (n - 1)
	x.pure(ClassFloat, n, 2, bin(n, func(a, b uint64) uint64 { return b&^s | a&s }))
}
