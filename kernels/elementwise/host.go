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
	j := host.Scratch[scaled](h)
	*j = scaled{dst.F32(), x.F32(), float32(a)}
	h.RunRange(x.Elems(), grain, j)
	*j = scaled{}
	host.Recycle(h, j)
}

// scaled is y = a·x.
type scaled struct {
	y, x []float32
	a    float32
}

// DoRange implements host.RangeJob.
func (s *scaled) DoRange(lo, hi int) {
	for i := lo; i < hi; i++ {
		s.y[i] = s.a * s.x[i]
	}
}

// reluOnHost leaves a NaN what it is.
func reluOnHost(h *host.Device, x *engine.Tensor) {
	h.Range(x.Elems(), grain, func(lo, hi int) {
		xs := x.F32()[lo:hi]
		for i, v := range xs {
			xs[i] = max(v, 0)
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
