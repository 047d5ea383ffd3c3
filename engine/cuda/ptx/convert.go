package ptx

import "math"

// cvt, in all its forms up to sm_80.
func cvt(x *ins) {
	if x.has("pack") {
		cvtPack(x)
		return
	}
	dt, st := x.typ(), x.typ()
	ftz, sat, relu := x.has("ftz"), x.has("sat"), x.has("relu")
	integral := false
	var m rounding
	switch x.one("rni", "rzi", "rmi", "rpi", "rna", "rn", "rz", "rm", "rp") {
	case "rni":
		integral = true
	case "rzi":
		integral, m = true, rz
	case "rmi":
		integral, m = true, rm
	case "rpi":
		integral, m = true, rp
	case "rz":
		m = rz
	case "rm":
		m = rm
	case "rp":
		m = rp
	case "rna":
		m = rna
	}
	if dt == "f16x2" || dt == "bf16x2" {
		x.check(st, "f32")
		x.nargs(3)
		x.out.d, x.out.a, x.out.b = x.dst(0, 32), x.src(1, 32), x.src(2, 32)
		f := fmtF16
		if dt == "bf16x2" {
			f = fmtBF16
		}
		one := func(v uint32) uint32 {
			r := roundTo(f, v, m)
			if relu && (r&0x8000 != 0 && r != nan16) {
				r = 0
			}
			return r
		}
		x.put(kPure, ClassConvert, func(w *warp, in *inst) {
			d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
			for i := range d {
				d[i] = one(a[i])<<16 | one(b[i])
			}
		})
		return
	}
	x.nargs(2)
	dn, sn := width(dt), width(st)
	// A register may be wider than the type.
	dreg := x.regBits(0, dn)
	sreg := sn
	if x.args[1].kind == opName {
		sreg = x.regBits(1, sn)
	}
	x.out.d, x.out.a = x.dst(0, dreg), x.src(1, sreg)
	x.out.wide = dreg == 64
	if dreg == dn && sreg == sn && !ftz && !sat && !relu && !integral && m == rn {
		fast := map[string]execFn{"f32.f16": cvtF32F16, "f16.f32": cvtF16F32,
			"u64.u32": cvtU64U32, "s64.u32": cvtU64U32, "s64.s32": cvtS64S32, "u64.s32": cvtS64S32,
			"u32.u64": cvtU32U64, "s32.s64": cvtU32U64, "u32.s64": cvtU32U64, "s32.u64": cvtU32U64}[dt+"."+st]
		if fast != nil {
			x.put(kPure, ClassConvert, fast)
			return
		}
	}
	f := x.conversion(dt, st, m, integral, ftz, sat, relu)
	ext := func(v uint64) uint64 {
		if signed(dt) {
			return uint64(sx(v, dn))
		}
		return v & maskBits(dn)
	}
	smask := maskBits(sn)
	x.put(kPure, ClassConvert, func(w *warp, in *inst) {
		if sreg == 64 {
			a := w.r64[in.a]
			for i := range a {
				w.set(in.d, dreg, i, ext(f(a[i]&smask)))
			}
			return
		}
		a := w.r32[in.a]
		for i := range a {
			w.set(in.d, dreg, i, ext(f(uint64(a[i])&smask)))
		}
	})
}

// regBits gives the width of the register in operand i, which has to be at
// least n.
func (x *ins) regBits(i, n int) int {
	o := x.args[i]
	if o.kind != opName {
		return n
	}
	if o.name == "_" {
		return max(n, 16)
	}
	r, ok := x.lookup(o.name)
	if !ok {
		r, ok = x.specialReg(o.name)
	}
	if !ok {
		return n
	}
	if r.bits < n {
		x.fail("%s has %d bits, want %d", o.name, r.bits, n)
	}
	return r.bits
}

func roundTo(f format, v uint32, m rounding) uint32 {
	if f == fmtF16 && m == rn {
		return floatF16(flt(v))
	}
	return f.round(float64(flt(v)), m)
}

func formatOf(t string) (format, bool) {
	switch t {
	case "f16":
		return fmtF16, true
	case "bf16":
		return fmtBF16, true
	case "f32":
		return fmtF32, true
	}
	return format{}, false
}

// conversion gives the function from the low bits of one type to those of another.
func (x *ins) conversion(dt, st string, m rounding, integral, ftz, sat, relu bool) func(uint64) uint64 {
	dn, sn := width(dt), width(st)
	if dt == "tf32" {
		if st != "f32" {
			x.fail("tf32 comes from f32")
		}
		return func(v uint64) uint64 {
			r := uint64(tf32(uint32(v), m))
			if relu && r>>31 == 1 {
				r = 0
			}
			return r
		}
	}
	sf, df := isFloat(st), isFloat(dt)
	if relu && (dt != "f16" && dt != "bf16" || st != "f32") {
		x.fail(".relu is for f16 and bf16 of f32")
	}
	var load func(uint64) float64
	if sf {
		f, ok := formatOf(st)
		switch {
		case st == "f64":
			load = math.Float64frombits
		case ok && st == "f32":
			load = func(v uint64) float64 {
				if ftz {
					v = uint64(ftz32(uint32(v)))
				}
				return float64(flt(uint32(v)))
			}
		case ok:
			load = func(v uint64) float64 { return f.value(uint32(v)) }
		default:
			x.fail("type .%s", st)
		}
	}
	switch {
	case !sf && !df:
		sign := signed(st)
		return func(v uint64) uint64 {
			if sign {
				v = uint64(sx(v, sn))
			}
			if !sat {
				return v
			}
			return saturate(v, sign, dn, signed(dt))
		}
	case sf && !df:
		return func(v uint64) uint64 { return floatToInt(load(v), m, uint(dn), signed(dt), dn == 64 || st == "f64") }
	case !sf && df:
		sign := signed(st)
		if dt == "f64" {
			if m != rn && sn == 64 {
				x.fail("64 bits to f64 other than to nearest")
			}
			return func(v uint64) uint64 {
				if sign {
					return math.Float64bits(float64(sx(v, sn)))
				}
				return math.Float64bits(float64(v))
			}
		}
		f, ok := formatOf(dt)
		if !ok {
			x.fail("type .%s", dt)
		}
		return func(v uint64) uint64 {
			if sign {
				v = uint64(sx(v, sn))
			}
			r := f.round(intToFloat(v, sign), m)
			if sat {
				r = satFormat(f, r)
			}
			return uint64(r)
		}
	}
	if dt == "f64" {
		return func(v uint64) uint64 {
			r := load(v)
			if integral {
				r = roundInt(r, m)
			}
			if sat {
				r = min(max(r, 0), 1)
				if r != r {
					r = 0
				}
			}
			return math.Float64bits(r)
		}
	}
	f, ok := formatOf(dt)
	if !ok {
		x.fail("type .%s", dt)
	}
	return func(v uint64) uint64 {
		r := load(v)
		if integral {
			r = roundInt(r, m)
		}
		b := f.round(r, m)
		if ftz && dt == "f32" {
			b = ftz32(b)
		}
		if sat {
			b = satFormat(f, b)
		}
		if relu && b&0x8000 != 0 {
			b = 0
		}
		return uint64(b)
	}
}

func satFormat(f format, v uint32) uint32 {
	x := f.value(v)
	switch {
	case !(x > 0):
		return 0
	case x > 1:
		return f.round(1, rn)
	}
	return v
}

// tf32 rounds to 10 bits of mantissa; the low bits of the register are zero.
func tf32(v uint32, m rounding) uint32 {
	if v&0x7fffffff >= 0x7f800000 {
		if v&0x7fffff != 0 {
			return nan32
		}
		return v
	}
	if m == rna {
		return (v + 0x1000) &^ 0x1fff
	}
	return (v + 0xfff + v>>13&1) &^ 0x1fff
}

// saturate clamps an integer to another type's range.
func saturate(v uint64, sign bool, n int, to bool) uint64 {
	if sign {
		s := int64(v)
		if to {
			return uint64(min(max(s, math.MinInt64>>(64-n)), math.MaxInt64>>(64-n)))
		}
		if s < 0 {
			return 0
		}
		return min(v, maskBits(n))
	}
	if to {
		return min(v, maskBits(n-1))
	}
	return min(v, maskBits(n))
}

// cvtPack decodes cvt.pack.sat.{u16,s16}.s32 and .{u8,s8,...}.s32.b32.
func cvtPack(x *ins) {
	if !x.has("sat") {
		x.fail("needs .sat")
	}
	dt, st := x.typ(), x.typ()
	x.check(st, "s32")
	x.check(dt, "u16", "s16", "u8", "s8")
	n := width(dt)
	one := func(v uint32) uint32 {
		return uint32(saturate(uint64(int64(int32(v))), true, n, signed(dt)) & maskBits(n))
	}
	has := len(x.types) > 0
	if has {
		x.check(x.typ(), "b32")
	}
	if has != (n == 8) {
		x.fail("8-bit types take .b32, 16-bit ones do not")
	}
	x.nargs(3 + btoi(has))
	x.out.d, x.out.a, x.out.b = x.dst(0, 32), x.src(1, 32), x.src(2, 32)
	if has {
		x.out.c = x.src(3, 32)
	}
	x.put(kPure, ClassConvert, func(w *warp, in *inst) {
		d, a, b, c := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b], &w.r32[in.c]
		for i := range d {
			v := one(a[i])<<n | one(b[i])
			if has {
				v |= c[i] << (2 * n)
			}
			d[i] = v
		}
	})
}
