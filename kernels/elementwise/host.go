package elementwise

import (
	"parley/engine"
	"parley/engine/host"
)

const grain = 16384 // elements that are worth a worker

func mixOnHost(h *host.Device, a float64, x *engine.Tensor, b float64, y, out *engine.Tensor) {
	xs, ys, os := x.F32(), y.F32(), out.F32()
	h.Range(len(xs), grain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			os[i] = float32(a*float64(xs[i]) + b*float64(ys[i]))
		}
	})
}

func scaleOnHost(h *host.Device, dst, x *engine.Tensor, a float64) {
	xs, ys, f := x.F32(), dst.F32(), float32(a)
	h.Range(len(xs), grain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			ys[i] = f * xs[i]
		}
	})
}

// finiteOnHost: what is not finite less itself is NaN.
func finiteOnHost(x *engine.Tensor) bool {
	for _, v := range x.F32() {
		if v-v != 0 {
			return false
		}
	}
	return true
}
