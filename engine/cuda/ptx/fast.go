package ptx

import "math"

// Loops of the instructions that the kernels spend their time in.

func addFast32(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = a[i] + b[i]
	}
}

func addFast64(w *warp, in *inst) {
	d, a, b := &w.r64[in.d], &w.r64[in.a], &w.r64[in.b]
	for i := range d {
		d[i] = a[i] + b[i]
	}
}

func subFast32(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = a[i] - b[i]
	}
}

func mulFast32(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = a[i] * b[i]
	}
}

func madFast32(w *warp, in *inst) {
	d, a, b, c := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b], &w.r32[in.c]
	for i := range d {
		d[i] = a[i]*b[i] + c[i]
	}
}

func mulWideS32(w *warp, in *inst) {
	d, a, b := &w.r64[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = uint64(int64(int32(a[i])) * int64(int32(b[i])))
	}
}

func andFast(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = a[i] & b[i]
	}
}

func orFast(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = a[i] | b[i]
	}
}

func xorFast(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = a[i] ^ b[i]
	}
}

func shlFast32(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = a[i] << b[i]
	}
}

func shrFast32(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = a[i] >> b[i]
	}
}

func sarFast32(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = uint32(int32(a[i]) >> b[i])
	}
}

func movFast32(w *warp, in *inst) { w.r32[in.d] = w.r32[in.a] }
func movFast64(w *warp, in *inst) { w.r64[in.d] = w.r64[in.a] }

func addFastF32(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = bits32(math.Float32frombits(a[i]) + math.Float32frombits(b[i]))
	}
}

func subFastF32(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = bits32(math.Float32frombits(a[i]) - math.Float32frombits(b[i]))
	}
}

func mulFastF32(w *warp, in *inst) {
	d, a, b := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b]
	for i := range d {
		d[i] = bits32(math.Float32frombits(a[i]) * math.Float32frombits(b[i]))
	}
}

func fmaFastF32(w *warp, in *inst) {
	d, a, b, c := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b], &w.r32[in.c]
	for i := range d {
		d[i] = bits32(fma32(math.Float32frombits(a[i]), math.Float32frombits(b[i]), math.Float32frombits(c[i])))
	}
}

func cvtF32F16(w *warp, in *inst) {
	d, a := &w.r32[in.d], &w.r32[in.a]
	for i := range d {
		d[i] = bits32(halfToFloat[a[i]&0xffff])
	}
}

func cvtF16F32(w *warp, in *inst) {
	d, a := &w.r32[in.d], &w.r32[in.a]
	for i := range d {
		d[i] = floatF16(math.Float32frombits(a[i]))
	}
}

func cvtU64U32(w *warp, in *inst) {
	d, a := &w.r64[in.d], &w.r32[in.a]
	for i := range d {
		d[i] = uint64(a[i])
	}
}

func cvtS64S32(w *warp, in *inst) {
	d, a := &w.r64[in.d], &w.r32[in.a]
	for i := range d {
		d[i] = uint64(int64(int32(a[i])))
	}
}

func cvtU32U64(w *warp, in *inst) {
	d, a := &w.r32[in.d], &w.r64[in.a]
	for i := range d {
		d[i] = uint32(a[i])
	}
}
