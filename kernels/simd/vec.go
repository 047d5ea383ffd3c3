package simd

import "math"

func peakGo(n int) int {
	const x = 1e-30
	var a, b, c, d, e, f, g, h float32
	for range n {
		a, b, c, d = a*x+x, b*x+x, c*x+x, d*x+x
		e, f, g, h = e*x+x, f*x+x, g*x+x, h*x+x
	}
	if s := a + b + c + d + e + f + g + h; s < 0 { // never, but the compiler does not know
		return 0
	}
	return 16 * n
}

// The loops in pure Go. A reduction keeps four partial sums: that is what
// lets the processor overlap the additions, and it rounds less than one.

func dotGo(a, b []float32) float32 {
	var s [4]float32
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s[0] += a[i] * b[i]
		s[1] += a[i+1] * b[i+1]
		s[2] += a[i+2] * b[i+2]
		s[3] += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s[0] += a[i] * b[i]
	}
	return s[0] + s[1] + (s[2] + s[3])
}

func axpyGo(alpha float32, x, y []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += alpha * v
	}
}

func addGo(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func mulGo(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

func scaleGo(dst, a []float32, alpha float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = a[i] * alpha
	}
}

func scaleShiftGo(dst, x, scale, shift []float32) {
	x, scale, shift = x[:len(dst)], scale[:len(dst)], shift[:len(dst)]
	for i := range dst {
		dst[i] = x[i]*scale[i] + shift[i]
	}
}

func sumGo(x []float32) float32 {
	var s [4]float32
	for ; len(x) >= 4; x = x[4:] {
		s[0] += x[0]
		s[1] += x[1]
		s[2] += x[2]
		s[3] += x[3]
	}
	for _, v := range x {
		s[0] += v
	}
	return s[0] + s[1] + (s[2] + s[3])
}

func momentsGo(x []float32, at float32) (sum, squares float32) {
	var s, q [4]float32
	for ; len(x) >= 4; x = x[4:] {
		for j, v := range x[:4] {
			s[j] += v - at
			q[j] += (v - at) * (v - at)
		}
	}
	for _, v := range x {
		s[0] += v - at
		q[0] += (v - at) * (v - at)
	}
	return s[0] + s[1] + (s[2] + s[3]), q[0] + q[1] + (q[2] + q[3])
}

func columnMomentsGo(sum, squares, x, at []float32) {
	clear(sum)
	clear(squares)
	for ; len(x) > 0; x = x[len(sum):] {
		for j, v := range x[:len(sum)] {
			d := v - at[j]
			sum[j] += d
			squares[j] += d * d
		}
	}
}

func normaliseGo(dst, x, gamma, beta []float32, mean, low, rstd float32) {
	x, gamma, beta = x[:len(dst)], gamma[:len(dst)], beta[:len(dst)]
	for i, v := range x {
		dst[i] = (v-mean-low)*rstd*gamma[i] + beta[i]
	}
}

func maxValGo(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

// Bounds between which exp neither overflows to Inf nor vanishes to 0.
const (
	expMin = -104
	expMax = 89
)

// exp is the exponential of Cephes' expf: x = n ln 2 + r with |r| < ln 2 / 2,
// exp(x) = 2ⁿ (1 + r + r² p(r)). ln 2 is split in two so that n times its
// first part is exact. 2ⁿ is applied in two halves, since n reaches -150 and
// 128, outside what one float's exponent holds.
func exp(x float32) float32 {
	const (
		log2e  = 1.44269504
		ln2Hi  = 0.693359375
		ln2Lo  = -2.12194440e-4
		magic  = 3 << 22 // adding it rounds to an integer
		p0, p1 = 1.9875691500e-4, 1.3981999507e-3
		p2, p3 = 8.3334519073e-3, 4.1665795894e-2
		p4, p5 = 1.6666665459e-1, 5.0000001201e-1
	)
	if x != x {
		return x
	}
	x = max(min(x, expMax), expMin)
	n := float32(x*log2e+magic) - magic
	r := x - n*ln2Hi - n*ln2Lo
	p := ((((p0*r+p1)*r+p2)*r+p3)*r+p4)*r + p5
	y := r*r*p + r + 1
	e := int32(n)
	h := e >> 1
	return y * pow2(h) * pow2(e-h)
}

// pow2 is 2ⁿ for n in -126..127.
func pow2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

func expSubGo(dst, x []float32, sub float32) float32 {
	var s [4]float32
	x = x[:len(dst)]
	for i, v := range x {
		e := exp(v - sub)
		dst[i] = e
		s[i&3] += e
	}
	return s[0] + s[1] + (s[2] + s[3])
}

func columnMaxGo(top, x []float32) {
	for ; len(x) > 0; x = x[len(top):] {
		for j, v := range x[:len(top)] {
			if v > top[j] {
				top[j] = v
			}
		}
	}
}

// exp2 is 2^x of what is at most 0: x = n + r with |r| <= 1/2, and a polynomial of r
// whose largest relative error is the least there is (1.5 half ulps of its own). Adding
// 3<<22 + 127 rounds x to n and leaves n + 127 in the lowest bits, which 23 bits
// higher are 2ⁿ, and 0 for n = -127.
func exp2(x float32) float32 {
	const (
		magic  = 3<<22 + 127
		p0, p1 = 1.32647239e-3, 9.67151287e-3
		p2, p3 = 5.55073375e-2, 2.40222421e-1
		p4     = 6.93146978e-1
	)
	if x != x {
		return x
	}
	x = max(x, exp2Min)
	n := x + magic
	r := x - float32(n-magic)
	p := (((p0*r+p1)*r+p2)*r+p3)*r + p4
	return (p*r + 1) * math.Float32frombits(math.Float32bits(n)<<23)
}

// exp2Min is where exp2 is 0.
const exp2Min = -127

func columnExp2Go(x, top, sum []float32) {
	for ; len(x) > 0; x = x[len(top):] {
		for j, v := range x[:len(top)] {
			e := exp2(v - top[j])
			x[j] = e
			sum[j] += e
		}
	}
}

func scaleColumnsGo(x, by []float32) {
	for ; len(x) > 0; x = x[len(by):] {
		mulGo(x[:len(by)], x, by)
	}
}

// The gated units are x/(1+exp(-f(x))). Below gateMin the quotient is -0 for
// each of them; stopping there keeps -Inf from becoming NaN.
const gateMin = -104

func siluGo(dst, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		v = max(v, gateMin)
		dst[i] = v / (1 + exp(-v))
	}
}

const quickScale = 1.702

func quickGELUGo(dst, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		v = max(v, gateMin)
		dst[i] = v / (1 + exp(-quickScale*v))
	}
}

// (1 + tanh(u))/2 is sigmoid(2u), here with u = √(2/π) (x + 0.044715 x³).
const (
	geluTanh1 = 2 * 0.7978845608028654
	geluTanh3 = geluTanh1 * 0.044715
)

func geluTanhGo(dst, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		v = max(v, gateMin)
		dst[i] = v / (1 + exp(-v*(geluTanh1+geluTanh3*v*v)))
	}
}

// geluGo takes Φ(-y) = exp(-y²/2) g(y) for y = |x|, where g decays so slowly
// that a polynomial of (y-4)/(y+4) follows it; Φ(y) is 1 - Φ(-y). Neither
// cancels. The polynomial interpolates g, which is erfcx(y/√2)/2, at Chebyshev
// points. What y²/2 loses in rounding goes into a second factor of exp. Above
// geluMax, Φ(-y) is 0.
func geluGo(dst, x []float32) {
	const geluMax = 14.5
	x = x[:len(dst)]
	for i, v := range x {
		v = max(v, gateMin)
		y := min(math.Float32frombits(math.Float32bits(v)&^(1<<31)), geluMax)
		t := (y - 4) / (y + 4)
		g := float32(7.095605e-06)
		for _, c := range [...]float32{-5.6300334e-05, -0.00017395936, 0.00064893084, 0.0005048152, -0.008494939,
			0.030865008, -0.071707115, 0.12437925, -0.17039773, 0.09441064} {
			g = g*t + c
		}
		square := -0.5 * float64(y) * float64(y)
		hi := float32(square)
		lo := float32(square - float64(hi))
		e := exp(hi)
		phi := (e + e*lo) * g
		if v >= 0 {
			phi = 1 - phi
		}
		dst[i] = v * phi
	}
}

// tanhGo is Cephes' tanhf: a polynomial near 0, where 1 - 2/(exp(2x)+1) would
// cancel.
func tanhGo(dst, x []float32) {
	const (
		p0, p1, p2 = -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2
		p3, p4     = 1.33314422036e-1, -3.33332819422e-1
		near       = 0.625
	)
	x = x[:len(dst)]
	for i, v := range x {
		a := math.Float32frombits(math.Float32bits(v) &^ (1 << 31))
		if a < near {
			z := v * v
			dst[i] = ((((p0*z+p1)*z+p2)*z+p3)*z+p4)*z*v + v
			continue
		}
		y := 1 - 2/(exp(2*a)+1)
		dst[i] = math.Float32frombits(math.Float32bits(y) | math.Float32bits(v)&(1<<31))
	}
}
