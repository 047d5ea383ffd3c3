package simd

import "math"

func fromF16Go(dst []float32, src []uint16) {
	src = src[:len(dst)]
	for i, h := range src {
		dst[i] = f16to32(h)
	}
}

func fromBF16Go(dst []float32, src []uint16) {
	src = src[:len(dst)]
	for i, h := range src {
		dst[i] = math.Float32frombits(uint32(h) << 16)
	}
}

func toF16Go(dst []uint16, src []float32) {
	src = src[:len(dst)]
	for i, v := range src {
		dst[i] = f32to16(v)
	}
}

func toBF16Go(dst []uint16, src []float32) {
	src = src[:len(dst)]
	for i, v := range src {
		dst[i] = uint16(bf16(v))
	}
}

// bf16 rounds to bfloat16.
func bf16(x float32) uint32 {
	u := math.Float32bits(x)
	if x != x {
		return u>>16 | 0x40 // quiet, and never rounded to Inf
	}
	return (u + 0x7fff + u>>16&1) >> 16
}

func f16to32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	mag := uint32(h & 0x7fff)
	switch {
	case mag > 0x7c00: // NaN, made quiet as the hardware does
		return math.Float32frombits(sign | 0x7fc00000 | mag<<13)
	case mag == 0x7c00:
		return math.Float32frombits(sign | 0x7f800000)
	case mag < 0x400: // denormal: mag units of 2⁻²⁴
		return math.Float32frombits(sign | math.Float32bits(float32(mag)*(1.0/(1<<24))))
	}
	return math.Float32frombits(sign | (mag<<13 + (127-15)<<23))
}

func f32to16(v float32) uint16 {
	u := math.Float32bits(v)
	sign := uint16(u >> 16 & 0x8000)
	u &= 0x7fffffff
	switch {
	case u > 0x7f800000:
		return sign | 0x7e00 | uint16(u>>13&0x3ff)
	case u >= 0x47800000: // 2¹⁶ and above
		return sign | 0x7c00
	case u < 0x38800000: // below 2⁻¹⁴: adding 1/2 leaves units of 2⁻²⁴, rounded
		return sign | uint16(math.Float32bits(math.Float32frombits(u)+0.5)-math.Float32bits(0.5))
	}
	u -= (127 - 15) << 23
	return sign | uint16((u+0xfff+u>>13&1)>>13)
}
