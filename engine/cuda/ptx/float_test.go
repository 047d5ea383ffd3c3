package ptx

import (
	"math"
	"math/big"
	"testing"
)

// roundBig rounds an exact number to a format, by the definition: the
// representable numbers around it are at multiples of one unit in the last
// place, and the mode says which is taken. zero is the sign of an exact zero.
func roundBig(x *big.Float, typ, mode string, zero bool) uint64 {
	var e, m int
	switch typ {
	case "f16":
		e, m = 5, 10
	case "bf16":
		e, m = 8, 7
	case "f32":
		e, m = 8, 23
	case "f64":
		e, m = 11, 52
	}
	bias := 1<<(e-1) - 1
	inf := uint64(1<<e-1) << m
	sign := uint64(0)
	if x.Signbit() || x.Sign() == 0 && zero {
		sign = 1 << (e + m)
	}
	if x.Sign() == 0 {
		return sign
	}
	if x.IsInf() {
		return sign | inf
	}
	a := new(big.Float).Abs(x)
	exp := max(a.MantExp(nil)-1, 1-bias) // of the value, not below the subnormals'
	unit := exp - m
	q := new(big.Float).SetPrec(4000).SetMantExp(a, -unit)
	n, _ := q.Int(nil)
	rest := new(big.Float).SetPrec(4000).Sub(q, new(big.Float).SetPrec(4000).SetInt(n))
	half := rest.Cmp(big.NewFloat(0.5))
	up := false
	switch mode {
	case "rn":
		up = half > 0 || half == 0 && n.Bit(0) == 1
	case "rna":
		up = half >= 0
	case "rm":
		up = rest.Sign() > 0 && sign != 0
	case "rp":
		up = rest.Sign() > 0 && sign == 0
	}
	k := n.Uint64()
	if up {
		k++
	}
	bits := uint64(0)
	if k < 1<<m {
		bits = k
	} else {
		if k == 1<<(m+1) {
			k >>= 1
			exp++
		}
		if exp > bias { // overflow: infinity, or the largest number where the mode leads there
			if mode == "rz" || mode == "rm" && sign == 0 || mode == "rp" && sign != 0 {
				return sign | inf - 1
			}
			return sign | inf
		}
		bits = uint64(exp+bias)<<m + k - 1<<m
	}
	return sign | bits
}

func nanBits(typ string) uint64 {
	switch typ {
	case "f16", "bf16":
		return 0x7fff
	case "f32":
		return 0x7fffffff
	}
	return 0
}

func signOf(v uint64, typ string) bool { return v>>(width(typ)-1)&1 == 1 }

func exact() *big.Float { return new(big.Float).SetPrec(4000) }

// sumBig adds exactly and rounds; ok is false for a NaN.
func sumBig(a, b *big.Float, typ, mode string) (uint64, bool) {
	if a.IsInf() && b.IsInf() && a.Signbit() != b.Signbit() {
		return 0, false
	}
	s := exact().Add(a, b)
	neg := mode == "rm"
	if a.Sign() == 0 && b.Sign() == 0 && a.Signbit() == b.Signbit() {
		neg = a.Signbit()
	}
	if s.Sign() == 0 {
		s = exact()
	}
	return roundBig(s, typ, mode, neg), true
}

func mulBig(a, b *big.Float) *big.Float {
	if a.IsInf() && b.Sign() == 0 || b.IsInf() && a.Sign() == 0 {
		return nil
	}
	return exact().Mul(a, b)
}

func TestFloatArithmetic(t *testing.T) {
	for _, typ := range []string{"f32", "f16", "bf16"} {
		modes := []string{"rn"}
		if typ == "f32" {
			modes = []string{"rn", "rz", "rm", "rp"}
		}
		two, three := []string{typ, typ}, []string{typ, typ, typ}
		for _, mode := range modes {
			result := func(r uint64, ok bool) uint64 {
				if !ok {
					return nanBits(typ)
				}
				return r
			}
			add := func(v []uint64) uint64 {
				a, b := floatOf(v[0], typ), floatOf(v[1], typ)
				if a == nil || b == nil {
					return nanBits(typ)
				}
				return result(sumBig(a, b, typ, mode))
			}
			dot := "." + mode + "."
			if typ != "bf16" { // sm_80 has no add and mul of bf16; NVRTC writes an fma
				instrCase{"add" + dot + typ + " %d, %a, %b;", typ, two, add}.run(t)
				instrCase{"sub" + dot + typ + " %d, %a, %b;", typ, two, func(v []uint64) uint64 {
					return add([]uint64{v[0], v[1] ^ 1<<(width(typ)-1)})
				}}.run(t)
				instrCase{"mul" + dot + typ + " %d, %a, %b;", typ, two, func(v []uint64) uint64 {
					a, b := floatOf(v[0], typ), floatOf(v[1], typ)
					if a == nil || b == nil {
						return nanBits(typ)
					}
					p := mulBig(a, b)
					if p == nil {
						return nanBits(typ)
					}
					return roundBig(p, typ, mode, signOf(v[0], typ) != signOf(v[1], typ))
				}}.run(t)
			}
			fma := func(v []uint64) uint64 {
				a, b, c := floatOf(v[0], typ), floatOf(v[1], typ), floatOf(v[2], typ)
				if a == nil || b == nil || c == nil {
					return nanBits(typ)
				}
				p := mulBig(a, b)
				if p == nil {
					return nanBits(typ)
				}
				return result(sumBig(p, c, typ, mode))
			}
			instrCase{"fma" + dot + typ + " %d, %a, %b, %c;", typ, three, fma}.run(t)
			if typ == "f16" && mode == "rn" {
				instrCase{"fma.rn.f16x2 %d, %a, %b, %c;", "f16x2", []string{"f16x2", "f16x2", "f16x2"}, func(v []uint64) uint64 {
					var r uint64
					for i := 0; i < 32; i += 16 {
						r |= fma([]uint64{v[0] >> i & 0xffff, v[1] >> i & 0xffff, v[2] >> i & 0xffff}) << i
					}
					return r
				}}.run(t)
			}
			if typ == "f32" {
				quotient := func(x, y uint64) uint64 {
					a, b := floatOf(x, typ), floatOf(y, typ)
					neg := signOf(x, typ) != signOf(y, typ)
					switch {
					case a == nil || b == nil || a.IsInf() && b.IsInf() || a.Sign() == 0 && b.Sign() == 0:
						return nanBits(typ)
					case a.IsInf() || b.Sign() == 0:
						return roundBig(exact().SetInf(neg), typ, mode, neg)
					case b.IsInf() || a.Sign() == 0:
						return roundBig(exact(), typ, mode, neg)
					}
					return roundBig(exact().Quo(a, b), typ, mode, neg)
				}
				instrCase{"div" + dot + "f32 %d, %a, %b;", typ, two, func(v []uint64) uint64 { return quotient(v[0], v[1]) }}.run(t)
				instrCase{"rcp" + dot + "f32 %d, %a;", typ, []string{typ}, func(v []uint64) uint64 { return quotient(0x3f800000, v[0]) }}.run(t)
				instrCase{"sqrt" + dot + "f32 %d, %a;", typ, []string{typ}, func(v []uint64) uint64 {
					a := floatOf(v[0], typ)
					switch {
					case a == nil || a.Sign() < 0:
						return nanBits(typ)
					case a.Sign() == 0 || a.IsInf():
						return v[0]
					}
					return roundBig(exact().Sqrt(a), typ, mode, false)
				}}.run(t)
			}
		}
	}
	// Flushing and saturation of f32.
	flush := func(v uint64) uint64 {
		if v>>23&255 == 0 {
			return v & (1 << 31)
		}
		return v
	}
	add := func(a, b uint64) uint64 {
		x, y := floatOf(a, "f32"), floatOf(b, "f32")
		if x == nil || y == nil {
			return nanBits("f32")
		}
		r, ok := sumBig(x, y, "f32", "rn")
		if !ok {
			return nanBits("f32")
		}
		return r
	}
	ff := []string{"f32", "f32"}
	instrCase{"add.ftz.f32 %d, %a, %b;", "f32", ff, func(v []uint64) uint64 { return flush(add(flush(v[0]), flush(v[1]))) }}.run(t)
	sat := func(v uint64) uint64 {
		f := floatOf(v, "f32")
		switch {
		case f == nil || f.Sign() <= 0:
			return 0
		case f.Cmp(big.NewFloat(1)) > 0:
			return 0x3f800000
		}
		return v
	}
	instrCase{"add.sat.f32 %d, %a, %b;", "f32", ff, func(v []uint64) uint64 { return sat(add(v[0], v[1])) }}.run(t)
	instrCase{"fma.rn.relu.f16 %d, %a, %b, %c;", "f16", []string{"f16", "f16", "f16"}, func(v []uint64) uint64 {
		a, b, c := floatOf(v[0], "f16"), floatOf(v[1], "f16"), floatOf(v[2], "f16")
		if a == nil || b == nil || c == nil {
			return 0x7fff
		}
		p := mulBig(a, b)
		if p == nil {
			return 0x7fff
		}
		r, ok := sumBig(p, c, "f16", "rn")
		if !ok {
			return 0x7fff
		}
		if signOf(r, "f16") {
			return 0
		}
		return r
	}}.run(t)
}

// TestFMATies: sums so near to the middle of two floats that a float64 cannot
// tell them from it: (1+2^-23)(1-2^-23) = 1-2^-46 times half a unit of c.
func TestFMATies(t *testing.T) {
	var in [][]uint64
	for e := -60; e <= 60; e++ {
		for _, c := range []float32{1 + 0x1p-23, 1, 1 + 0x1p-22, 2 - 0x1p-23} {
			for _, s := range []float32{1, -1} {
				scale := float32(math.Ldexp(1, e))
				in = append(in, []uint64{
					uint64(math.Float32bits(s * (1 + 0x1p-23) * scale)),
					uint64(math.Float32bits((1 - 0x1p-23) * 0x1p-24)),
					uint64(math.Float32bits(c * scale)),
				})
			}
		}
	}
	for k := uint64(1<<20 - 8); k < 1<<20+8; k++ { // and of subnormals
		for _, s := range []float32{1, -1} {
			in = append(in, []uint64{
				uint64(math.Float32bits(s * (1 + 0x1p-23) * 0x1p-75)),
				uint64(math.Float32bits((1 - 0x1p-23) * 0x1p-75)), k})
		}
	}
	for i, got := range lanes(t, "fma.rn.f32 %d, %a, %b, %c;", "f32", []string{"f32", "f32", "f32"}, in) {
		v := in[i]
		want, _ := sumBig(mulBig(floatOf(v[0], "f32"), floatOf(v[1], "f32")), floatOf(v[2], "f32"), "f32", "rn")
		if got != want {
			t.Errorf("of %#x: %#x, want %#x", v, got, want)
		}
	}
}

func TestFloatDouble(t *testing.T) {
	same := func(got, want float64) bool {
		return got != got && want != want || math.Float64bits(got) == math.Float64bits(want)
	}
	for _, c := range []struct {
		code string
		f    func(a, b, c *big.Float) *big.Float
	}{
		{"add.rn.f64 %d, %a, %b;", func(a, b, _ *big.Float) *big.Float { return exact().Add(a, b) }},
		{"mul.rn.f64 %d, %a, %b;", func(a, b, _ *big.Float) *big.Float { return exact().Mul(a, b) }},
		{"fma.rn.f64 %d, %a, %b, %c;", func(a, b, c *big.Float) *big.Float { return exact().Add(exact().Mul(a, b), c) }},
		{"div.rn.f64 %d, %a, %b;", func(a, b, _ *big.Float) *big.Float { return exact().Quo(a, b) }},
	} {
		in := [][]uint64{}
		for _, a := range []float64{1, 3, -2.5, 1e300, 7e-310, 0.1} {
			for _, b := range []float64{1, -3, 0.7, 1e-300, 1e10} {
				in = append(in, []uint64{math.Float64bits(a), math.Float64bits(b), math.Float64bits(-a)})
			}
		}
		types := []string{"f64", "f64", "f64"}
		for i, got := range lanes(t, c.code, "f64", types, in) {
			v := [3]*big.Float{}
			for k := range v {
				v[k] = floatOf(in[i][k], "f64")
			}
			want := math.Float64frombits(roundBig(c.f(v[0], v[1], v[2]), "f64", "rn", false))
			if !same(math.Float64frombits(got), want) {
				t.Errorf("%s of %x: %x, want %x", c.code, in[i], got, math.Float64bits(want))
			}
		}
	}
}

func TestMinMax(t *testing.T) {
	for _, typ := range []string{"f32", "f16", "bf16"} {
		for _, op := range []string{"min", "max"} {
			for _, nan := range []string{"", ".NaN"} {
				pick := func(v []uint64) uint64 {
					a, b := floatOf(v[0], typ), floatOf(v[1], typ)
					switch {
					case a == nil && b == nil, nan != "" && (a == nil || b == nil):
						return nanBits(typ)
					case a == nil:
						return v[1]
					case b == nil:
						return v[0]
					}
					c := a.Cmp(b)
					if c == 0 && signOf(v[0], typ) != signOf(v[1], typ) { // -0 is below +0
						c = 1
						if signOf(v[0], typ) {
							c = -1
						}
					}
					if (op == "min") == (c < 0) {
						return v[0]
					}
					return v[1]
				}
				instrCase{op + nan + "." + typ + " %d, %a, %b;", typ, []string{typ, typ}, pick}.run(t)
			}
		}
	}
	for _, op := range []string{"min", "max"} { // the sign is that of the product
		instrCase{op + ".xorsign.abs.f16 %d, %a, %b;", "f16", []string{"f16", "f16"}, func(v []uint64) uint64 {
			a, b := floatOf(v[0], "f16"), floatOf(v[1], "f16")
			r := (v[0] ^ v[1]) & 0x8000
			switch {
			case a == nil && b == nil:
				return 0x7fff
			case a == nil:
				return r | v[1]&0x7fff
			case b == nil:
				return r | v[0]&0x7fff
			case (exact().Abs(a).Cmp(exact().Abs(b)) < 0) == (op == "min"):
				return r | v[0]&0x7fff
			}
			return r | v[1]&0x7fff
		}}.run(t)
	}
	for _, typ := range []string{"f32", "f64"} {
		instrCase{"copysign." + typ + " %d, %a, %b;", typ, []string{typ, typ}, func(v []uint64) uint64 {
			s := uint64(1) << (width(typ) - 1)
			return v[1]&^s | v[0]&s
		}}.run(t)
		for prop, f := range map[string]func(v float64, sub bool) bool{
			"finite": func(v float64, _ bool) bool { return !math.IsInf(v, 0) && v == v }, "infinite": func(v float64,
				_ bool) bool {
				return math.IsInf(v, 0)
			},
			"number": func(v float64, _ bool) bool { return v == v }, "notanumber": func(v float64, _ bool) bool { return v != v },
			"normal":    func(v float64, sub bool) bool { return v == v && !math.IsInf(v, 0) && !sub }, /* zeros too */
			"subnormal": func(v float64, sub bool) bool { return sub },
		} {
			instrCase{"testp." + prop + "." + typ + " %d, %a;", "pred", []string{typ}, func(v []uint64) uint64 {
				x := math.Float64frombits(v[0])
				least := 0x1p-1022
				if typ == "f32" {
					x, least = float64(math.Float32frombits(uint32(v[0]))), 0x1p-126
				}
				return uint64(btoi(f(x, x != 0 && math.Abs(x) < least)))
			}}.run(t)
		}
	}
}

// intOf rounds to an integer by the mode and saturates, by the definition.
func intOf(v uint64, st, dt, mode string) uint64 {
	n, sign := width(dt), dt[0] == 's'
	f := floatOf(v, st)
	if f == nil {
		// The manual: zero if the source is not .f64 and the destination not .s64
		// or .u64, else 1 << (BitWidth(dst) - 1).
		if n == 64 || st == "f64" {
			return 1 << (n - 1)
		}
		return 0
	}
	lo, hi := big.NewInt(0), new(big.Int).Lsh(big.NewInt(1), uint(n))
	if sign {
		hi.Rsh(hi, 1)
		lo.Neg(hi)
	}
	hi.Sub(hi, big.NewInt(1))
	if f.IsInf() {
		if f.Signbit() {
			return low(lo)
		}
		return low(hi)
	}
	i, _ := f.Int(nil) // toward zero
	rest := exact().Sub(f, exact().SetInt(i))
	c := exact().Abs(rest).Cmp(big.NewFloat(0.5))
	away := int64(1)
	if f.Signbit() {
		away = -1
	}
	switch mode {
	case "rni":
		if c > 0 || c == 0 && i.Bit(0) == 1 {
			i.Add(i, big.NewInt(away))
		}
	case "rmi":
		if rest.Sign() < 0 {
			i.Add(i, big.NewInt(-1))
		}
	case "rpi":
		if rest.Sign() > 0 {
			i.Add(i, big.NewInt(1))
		}
	}
	return low(clampBig(i, n, sign))
}

func TestConversions(t *testing.T) {
	ints := []string{"u16", "s16", "u32", "s32", "u64", "s64"}
	small := []string{"u8", "s8"}
	for _, dt := range append(small, ints...) {
		for _, st := range append(small, ints...) {
			_, rn := classReg(dt)
			if width(dt) == 8 {
				rn = 16
			}
			rtyp := map[int]string{16: "b16", 32: "b32", 64: "b64"}[rn]
			styp := st
			if width(st) == 8 {
				styp = "b16"
			}
			dn, sn := width(dt), width(st)
			value := func(v uint64) *big.Int { return bigOf(v&maskBits(sn), sn, st[0] == 's') }
			ext := func(v uint64) uint64 { // to the register, by the destination's sign
				return low(bigOf(v&maskBits(dn), dn, dt[0] == 's'))
			}
			instrCase{"cvt." + dt + "." + st + " %d, %a;", rtyp, []string{styp}, func(v []uint64) uint64 { return ext(low(value(v[0]))) }}.run(t)
			instrCase{"cvt.sat." + dt + "." + st + " %d, %a;", rtyp, []string{styp}, func(v []uint64) uint64 {
				return ext(low(clampBig(value(v[0]), dn, dt[0] == 's')))
			}}.run(t)
		}
	}
	for _, ft := range []string{"f16", "f32", "f64"} {
		for _, it := range ints {
			for _, mode := range []string{"rni", "rzi", "rmi", "rpi"} {
				instrCase{"cvt." + mode + "." + it + "." + ft + " %d, %a;", it, []string{ft},
					func(v []uint64) uint64 { return intOf(v[0], ft, it, mode) }}.run(t)
			}
			modes := []string{"rn", "rz", "rm", "rp"}
			if ft == "f64" {
				modes = modes[:1]
			}
			for _, mode := range modes {
				instrCase{"cvt." + mode + "." + ft + "." + it + " %d, %a;", ft, []string{it}, func(v []uint64) uint64 {
					return roundBig(exact().SetInt(bigOf(v[0], width(it), it[0] == 's')), ft, mode, false)
				}}.run(t)
			}
		}
		// Rounding to integral values.
		if ft == "f64" {
			continue
		}
		for _, mode := range []string{"rni", "rzi", "rmi", "rpi"} {
			instrCase{"cvt." + mode + "." + ft + "." + ft + " %d, %a;", ft, []string{ft}, func(v []uint64) uint64 {
				f := floatOf(v[0], ft)
				switch {
				case f == nil:
					return nanBits(ft)
				case f.IsInf() || exact().Abs(f).Cmp(big.NewFloat(1<<30)) > 0:
					return v[0]
				}
				i := int64(intOf(v[0], ft, "s64", mode))
				return roundBig(exact().SetInt64(i), ft, "rn", signOf(v[0], ft))
			}}.run(t)
		}
	}
	narrow := func(st, dt, mode string) func(v []uint64) uint64 {
		return func(v []uint64) uint64 {
			f := floatOf(v[0], st)
			if f == nil {
				return nanBits(dt)
			}
			return roundBig(f, dt, mode, signOf(v[0], st))
		}
	}
	for _, mode := range []string{"rn", "rz", "rm", "rp"} {
		instrCase{"cvt." + mode + ".f16.f32 %d, %a;", "f16", []string{"f32"}, narrow("f32", "f16", mode)}.run(t)
		instrCase{"cvt." + mode + ".f16.f64 %d, %a;", "f16", []string{"f64"}, narrow("f64", "f16", mode)}.run(t)
		instrCase{"cvt." + mode + ".f32.f64 %d, %a;", "f32", []string{"f64"}, narrow("f64", "f32", mode)}.run(t)
	}
	for _, mode := range []string{"rn", "rz"} {
		instrCase{"cvt." + mode + ".bf16.f32 %d, %a;", "bf16", []string{"f32"}, narrow("f32", "bf16", mode)}.run(t)
		for _, ht := range []string{"f16", "bf16"} {
			instrCase{"cvt." + mode + "." + ht + "x2.f32 %d, %a, %b;", "b32", []string{"f32", "f32"}, func(v []uint64) uint64 {
				return narrow("f32", ht, mode)(v[:1])<<16 | narrow("f32", ht, mode)(v[1:])
			}}.run(t)
		}
	}
	instrCase{"cvt.f32.f16 %d, %a;", "f32", []string{"f16"}, narrow("f16", "f32", "rn")}.run(t)
	instrCase{"cvt.f32.bf16 %d, %a;", "f32", []string{"bf16"}, narrow("bf16", "f32", "rn")}.run(t)
	instrCase{"cvt.rna.tf32.f32 %d, %a;", "f32", []string{"f32"}, func(v []uint64) uint64 {
		f := floatOf(v[0], "f32")
		if f == nil || f.IsInf() {
			return narrow("f32", "f32", "rn")(v)
		}
		// 10 bits of mantissa: to a multiple of 2^13 units of the last place.
		u := v[0] & 0x7fffffff
		r := (u + 0x1000) / 0x2000 * 0x2000
		return r | v[0]&(1<<31)
	}}.run(t)
	instrCase{"cvt.sat.f32.f32 %d, %a;", "f32", []string{"f32"}, func(v []uint64) uint64 {
		x := math.Float32frombits(uint32(v[0]))
		switch {
		case !(x > 0):
			return 0
		case x > 1:
			return 0x3f800000
		}
		return v[0]
	}}.run(t)
	// Registers wider than the types.
	instrCase{"cvt.u32.u8 %d, %a;", "b32", []string{"b32"}, func(v []uint64) uint64 { return v[0] & 255 }}.run(t)
	instrCase{"cvt.s64.s16 %d, %a;", "b64", []string{"b32"}, func(v []uint64) uint64 { return uint64(int64(int16(v[0]))) }}.run(t)
	instrCase{"cvt.pack.sat.s8.s32.b32 %d, %a, %b, %c;", "b32", []string{"s32", "s32", "b32"}, func(v []uint64) uint64 {
		c := func(x uint64) uint64 { return uint64(uint8(min(max(int32(x), -128), 127))) }
		return v[2]<<16 | c(v[0])<<8 | c(v[1])
	}}.run(t)
}

// TestApproximations holds the functions that PTX has only roughly to the errors
// that its manual states.
func TestApproximations(t *testing.T) {
	var in [][]uint64
	for e := -20.0; e <= 20; e += 0.037 {
		for _, s := range []float64{1, -1} {
			in = append(in, []uint64{uint64(math.Float32bits(float32(s * math.Exp2(e))))})
		}
	}
	for _, c := range []struct {
		op     string
		f      func(float64) float64
		rel    float64
		abs    float64
		lo, hi float64
	}{
		{"ex2.approx.f32", math.Exp2, 0x1p-22, 0, -100, 100},
		{"ex2.approx.ftz.f32", math.Exp2, 0x1p-22, 0, -100, 100},
		{"lg2.approx.f32", math.Log2, 0, 0x1p-22, 0.5, 2},
		{"rcp.approx.f32", func(x float64) float64 { return 1 / x }, 0x1p-23, 0, -1e7, 1e7},
		{"rsqrt.approx.f32", func(x float64) float64 { return 1 / math.Sqrt(x) }, 1.277e-7, 0, 1e-7, 1e7},
		{"sqrt.approx.f32", math.Sqrt, 0x1p-23, 0, 0, 1e7},
		{"sin.approx.f32", math.Sin, 0, 6.74e-7, -math.Pi, math.Pi},
		{"cos.approx.f32", math.Cos, 0, 6.74e-7, -math.Pi, math.Pi},
		{"tanh.approx.f32", math.Tanh, 0x1p-11, 0, -100, 100},
	} {
		for i, got := range lanes(t, c.op+" %d, %a;", "f32", []string{"f32"}, in) {
			x := float64(math.Float32frombits(uint32(in[i][0])))
			if x < c.lo || x > c.hi {
				continue
			}
			want, g := c.f(x), float64(math.Float32frombits(uint32(got)))
			if d := math.Abs(g - want); d > c.abs+c.rel*math.Abs(want) {
				t.Errorf("%s(%v) = %v, want %v", c.op, x, g, want)
			}
		}
	}
	// The special values of the manual's tables.
	inf, ninf, nan := uint64(0x7f800000), uint64(0xff800000), uint64(0x7fffffff)
	for _, c := range []struct {
		op       string
		in, want uint64
	}{
		{"ex2.approx.f32", ninf, 0}, {"ex2.approx.f32", inf, inf}, {"ex2.approx.f32", 0, 0x3f800000}, {"ex2.approx.f32", 0x7fc00000, nan},
		{"lg2.approx.f32", 0, ninf}, {"lg2.approx.f32", 0x80000000, ninf}, {"lg2.approx.f32", 0xbf800000, nan}, {"lg2.approx.f32", inf, inf},
		{"rcp.approx.f32", 0, inf}, {"rcp.approx.f32", 0x80000000, ninf}, {"rcp.approx.f32", ninf, 0x80000000},
		{"rsqrt.approx.f32", 0, inf}, {"rsqrt.approx.f32", 0x80000000, ninf}, {"rsqrt.approx.f32", 0xbf800000, nan}, {"rsqrt.approx.f32", inf, 0},
		{"sqrt.approx.f32", 0x80000000, 0x80000000}, {"sqrt.approx.f32", 0xbf800000, nan},
		{"sin.approx.f32", 0x80000000, 0x80000000}, {"sin.approx.f32", inf, nan}, {"cos.approx.f32", 0, 0x3f800000},
		{"tanh.approx.f32", ninf, 0xbf800000}, {"tanh.approx.f32", 0x80000000, 0x80000000},
		{"rcp.approx.ftz.f32", 1, inf}, {"ex2.approx.ftz.f32", 0xc3000000, 0}, // 2^-128
	} {
		if got := lanes(t, c.op+" %d, %a;", "f32", []string{"f32"}, [][]uint64{{c.in}})[0]; got != c.want {
			t.Errorf("%s of %#x: %#x, want %#x", c.op, c.in, got, c.want)
		}
	}
	// f16: from every value, the nearest f16 or its neighbour.
	var all [][]uint64
	for v := range uint64(1 << 16) {
		all = append(all, []uint64{v})
	}
	for op, f := range map[string]func(float64) float64{"ex2.approx.f16": math.Exp2, "tanh.approx.f16": math.Tanh} {
		for i, got := range lanes(t, op+" %d, %a;", "f16", []string{"f16"}, all) {
			x := floatOf(uint64(i), "f16")
			if x == nil {
				if got != 0x7fff {
					t.Fatalf("%s of a NaN: %#x", op, got)
				}
				continue
			}
			v, _ := x.Float64()
			want := f(v)
			g := floatOf(got, "f16")
			if g.IsInf() {
				if want < 65520 {
					t.Fatalf("%s(%v) overflows", op, v)
				}
				continue
			}
			gv, _ := g.Float64()
			if math.Abs(gv-want) > math.Abs(want)*0x1p-10+0x1p-24 {
				t.Fatalf("%s(%v) = %v, want %v", op, v, gv, want)
			}
		}
	}
}

// TestHalfExhaustive: every f16 through f32 and back, against the definition.
func TestHalfExhaustive(t *testing.T) {
	for v := range uint64(1 << 16) {
		f := floatOf(v, "f16")
		got := halfToFloat[v]
		if f == nil {
			if got == got {
				t.Fatalf("%#x is no NaN", v)
			}
			continue
		}
		if want, _ := f.Float64(); float64(got) != want || math.Signbit(float64(got)) != signOf(v, "f16") {
			t.Fatalf("%#x: %v, want %v", v, got, want)
		}
		if back := floatF16(got); uint64(back) != v {
			t.Fatalf("%#x comes back as %#x", v, back)
		}
		// The middle to the next value is rounded to the even one of the two.
		if g := floatOf(v+1, "f16"); v&0x7fff < 0x7bff && g != nil {
			mid, _ := exact().Quo(exact().Add(f, g), big.NewFloat(2)).Float32()
			if h := floatF16(mid); h&1 != 0 || uint64(h) != v && uint64(h) != v+1 {
				t.Fatalf("the middle above %#x goes to %#x", v, h)
			}
		}
	}
}
