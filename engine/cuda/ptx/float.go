package ptx

import (
	"math"
	"math/bits"
)

// The scalar arithmetic of PTX, on bit patterns.
//
// Results that are not a number are the canonical NaN (0x7fffffff, 0x7fff),
// as the manual says of f32, f16 and bf16. The approximations (ex2.approx,
// rcp.approx, tanh.approx, ...) are computed in float64 and rounded to nearest:
// inside PTX's stated error, but not bit for bit what one GPU gives.

const (
	nan32 = 0x7fffffff
	nan16 = 0x7fff
)

// rounding is a rounding mode of PTX.
type rounding uint8

const (
	rn  rounding = iota // to nearest, ties to even
	rz                  // toward zero
	rm                  // toward minus infinity
	rp                  // toward plus infinity
	rna                 // to nearest, ties away from zero
)

// format is a binary floating-point format up to 32 bits.
type format struct {
	mant uint // explicit bits of the mantissa
	exp  uint // bits of the exponent
	nan  uint32
}

var (
	fmtF32  = format{23, 8, nan32}
	fmtF16  = format{10, 5, nan16}
	fmtBF16 = format{7, 8, nan16}
)

// round gives the bits of x in format f. Where x is not exact its last bit has
// to be odd (see oddAdd), which keeps every rounding below 51 bits right.
func (f format) round(x float64, mode rounding) uint32 {
	b := math.Float64bits(x)
	sign := uint32(b>>63) << (f.mant + f.exp)
	b &= 1<<63 - 1
	inf := uint32(1<<f.exp-1) << f.mant
	switch {
	case b > 0x7ff<<52:
		return f.nan
	case b == 0x7ff<<52:
		return sign | inf
	case b == 0:
		return sign
	}
	e := int(b >> 52)
	m := b & (1<<52 - 1)
	if e == 0 { // a subnormal float64: below anything here, but not zero
		e = 1
	} else {
		m |= 1 << 52
	}
	bias := 1<<(f.exp-1) - 1
	te := e - 1023 + bias // biased exponent in f
	shift := 52 - f.mant
	if te < 1 {
		shift += uint(min(1-te, 64))
		te = 0
	}
	var keep, rest, half uint64
	if shift >= 64 {
		keep, rest, half = 0, 1, 2
	} else {
		keep, rest, half = m>>shift, m&(1<<shift-1), 1<<(shift-1)
	}
	up := false
	switch mode {
	case rn:
		up = rest > half || rest == half && keep&1 == 1
	case rna:
		up = rest >= half
	case rm:
		up = rest != 0 && sign != 0
	case rp:
		up = rest != 0 && sign == 0
	}
	if up {
		keep++
	}
	var r uint32
	if te == 0 {
		r = uint32(keep) // a carry makes it the smallest normal by itself
	} else {
		r = uint32(te-1)<<f.mant + uint32(keep)
	}
	if te >= 1<<f.exp-1 || r >= inf {
		switch {
		case mode == rz, mode == rm && sign == 0, mode == rp && sign != 0:
			return sign | (inf - 1)
		}
		return sign | inf
	}
	return sign | r
}

// value gives the number that bits mean.
func (f format) value(v uint32) float64 {
	switch f.exp {
	case 5:
		return float64(halfToFloat[v&0xffff])
	default:
		return float64(math.Float32frombits(v << (23 - f.mant)))
	}
}

// halfToFloat has the value of every f16.
var halfToFloat = func() *[1 << 16]float32 {
	var t [1 << 16]float32
	for i := range t {
		e, m := i>>10&31, i&1023
		var v float64
		switch e {
		case 0:
			v = float64(m) / (1 << 24)
		case 31:
			v = math.Inf(1)
			if m != 0 {
				v = math.NaN()
			}
		default:
			v = math.Ldexp(1+float64(m)/1024, e-15)
		}
		if i>>15 == 1 {
			v = math.Copysign(v, -1)
		}
		t[i] = float32(v)
	}
	return &t
}()

func f16Float(h uint32) float32  { return halfToFloat[h&0xffff] }
func bf16Float(h uint32) float32 { return math.Float32frombits(h << 16) }

// floatF16 rounds an f32 to nearest f16.
func floatF16(x float32) uint32 {
	b := math.Float32bits(x)
	sign := b >> 16 & 0x8000
	b &= 0x7fffffff
	switch {
	case b >= 0x47800000: // 65536 and above, infinite, NaN
		if b > 0x7f800000 {
			return nan16
		}
		return sign | 0x7c00
	case b >= 0x38800000: // normal; rounding 65520 up carries into infinity
		b += 0xfff + b>>13&1
		return sign | (b-0x38000000)>>13
	case b < 0x33000000: // under half of the least subnormal
		return sign
	}
	s := 126 - b>>23
	m := b&0x7fffff | 0x800000
	h := m >> s
	rest, half := m&(1<<s-1), uint32(1)<<(s-1)
	if rest > half || rest == half && h&1 == 1 {
		h++
	}
	return sign | h
}

// bits32 gives a result's bits, a NaN being the canonical one.
func bits32(x float32) uint32 {
	if x != x {
		return nan32
	}
	return math.Float32bits(x)
}

func flt(v uint32) float32 { return math.Float32frombits(v) }

// ftz32 flushes a subnormal to a zero of its sign.
func ftz32(v uint32) uint32 {
	if v&0x7f800000 == 0 {
		return v & 0x80000000
	}
	return v
}

func sat32(v uint32) uint32 {
	x := flt(v)
	switch {
	case !(x > 0): // NaN too
		return 0
	case x > 1:
		return 0x3f800000
	}
	return v
}

// odd makes an inexact sum s with the error err odd in its last bit, so that
// rounding it again is as rounding the exact value ("round to odd").
func odd(s, err float64) float64 {
	if err == 0 || math.IsInf(s, 0) || s != s {
		return s
	}
	b := math.Float64bits(s)
	if b&1 == 1 {
		return s
	}
	if (err > 0) == (s > 0) {
		return math.Float64frombits(b + 1)
	}
	return math.Float64frombits(b - 1)
}

// oddAdd adds with round to odd. A sum of floats of up to 32 bits cannot
// overflow here, nor be subnormal and inexact.
func oddAdd(a, b float64) float64 {
	s := a + b
	t := s - a
	return odd(s, (a-(s-t))+(b-t))
}

// zeroSum gives an exact zero sum its sign: minus under rm, save for +0 + +0.
func zeroSum(s, a, b float64, mode rounding) float64 {
	if s == 0 && mode == rm && !(a == 0 && b == 0 && !math.Signbit(a) && !math.Signbit(b)) {
		return math.Copysign(0, -1)
	}
	return s
}

// fma32 is a*b+c with one rounding to nearest. The product is exact in float64;
// rounding the sum twice is wrong only where the first lands on a tie or the
// result is subnormal.
func fma32(a, b, c float32) float32 {
	p := float64(a) * float64(b)
	s := p + float64(c)
	if u := math.Float64bits(s); u&0x1fffffff == 0x10000000 || u<<1 < 0x3810000000000000<<1 && s != 0 {
		return flt(fmtF32.round(oddAdd(p, float64(c)), rn))
	}
	return float32(s)
}

// fmaMode is a*b+c in a format and rounding mode, of values in that format.
func fmaMode(f format, a, b, c uint32, mode rounding) uint32 {
	p, z := f.value(a)*f.value(b), f.value(c)
	return f.round(zeroSum(oddAdd(p, z), p, z, mode), mode)
}

func addMode(f format, a, b uint32, mode rounding) uint32 {
	x, y := f.value(a), f.value(b)
	return f.round(zeroSum(oddAdd(x, y), x, y, mode), mode)
}

func mulMode(f format, a, b uint32, mode rounding) uint32 {
	return f.round(f.value(a)*f.value(b), mode)
}

func div32(a, b uint32, mode rounding) uint32 {
	if mode == rn {
		return bits32(flt(a) / flt(b))
	}
	x, y := float64(flt(a)), float64(flt(b))
	q := x / y
	if q != 0 && !math.IsInf(q, 0) && !math.IsInf(y, 0) {
		r := math.FMA(-q, y, x) // exact: the remainder
		if y < 0 {
			r = -r
		}
		q = odd(q, r)
	}
	return fmtF32.round(q, mode)
}

func sqrt32(a uint32, mode rounding) uint32 {
	x := float64(flt(a))
	q := math.Sqrt(x)
	if q > 0 && !math.IsInf(q, 0) {
		q = odd(q, math.FMA(-q, q, x))
	}
	return fmtF32.round(q, mode)
}

// minMax32 follows IEEE 754's minNum: a NaN gives way to the other operand,
// unless nan is set, and -0 is below +0.
func minMax32(a, b uint32, max, nan bool) uint32 {
	x, y := flt(a), flt(b)
	switch {
	case x != x && y != y, nan && (x != x || y != y):
		return nan32
	case x != x:
		return b
	case y != y:
		return a
	case x == y: // only zeros of two signs differ
		if max {
			return a & b
		}
		return a | b
	case x < y == max:
		return b
	}
	return a
}

func minMax16(f format, a, b uint32, max, nan bool) uint32 {
	x, y := f.value(a), f.value(b)
	switch {
	case x != x && y != y, nan && (x != x || y != y):
		return nan16
	case x != x:
		return b
	case y != y:
		return a
	case x == y:
		if max {
			return a & b
		}
		return a | b
	case x < y == max:
		return b
	}
	return a
}

func minMax64(a, b uint64, max bool) uint64 {
	x, y := math.Float64frombits(a), math.Float64frombits(b)
	switch {
	case x != x:
		return b
	case y != y:
		return a
	case x == y:
		if max {
			return a & b
		}
		return a | b
	case x < y == max:
		return b
	}
	return a
}

// The approximations.

func approx32(f func(float64) float64) func(uint32) uint32 {
	return func(a uint32) uint32 { return bits32(float32(f(float64(flt(a))))) }
}

// roundInt rounds to an integral value.
func roundInt(x float64, mode rounding) float64 {
	switch mode {
	case rn:
		return math.RoundToEven(x)
	case rz:
		return math.Trunc(x)
	case rm:
		return math.Floor(x)
	}
	return math.Ceil(x)
}

// floatToInt converts with saturation. A NaN gives 0, but for f64 sources and
// 64-bit results (wide) the value with only the top bit set.
func floatToInt(x float64, mode rounding, nbits uint, signed, wide bool) uint64 {
	if x != x {
		if wide {
			return 1 << (nbits - 1)
		}
		return 0
	}
	x = roundInt(x, mode)
	if signed {
		lo, hi := -math.Ldexp(1, int(nbits)-1), math.Ldexp(1, int(nbits)-1)
		switch {
		case x < lo:
			return uint64(int64(-1) << (nbits - 1))
		case x >= hi:
			return 1<<(nbits-1) - 1
		}
		return uint64(int64(x))
	}
	switch {
	case x < 0:
		return 0
	case x >= math.Ldexp(1, int(nbits)):
		return math.MaxUint64 >> (64 - nbits)
	}
	return uint64(x)
}

// intToFloat gives an integer as a float64, made odd where 53 bits are too few.
func intToFloat(v uint64, signed bool) float64 {
	neg := signed && int64(v) < 0
	if neg {
		v = -v
	}
	drop := max(0, bits.Len64(v)-53)
	if rest := v & (1<<drop - 1); rest != 0 {
		v = v&^(1<<drop-1) | 1<<drop
	}
	x := float64(v)
	if neg {
		x = -x
	}
	return x
}
