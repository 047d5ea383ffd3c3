package rgb

import (
	"math"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/resize"
)

func normaliseOnHost(d *host.Device, y, x *engine.Tensor, part resize.Window, levels *Levels) {
	h, w := x.Dim(1), x.Dim(2)
	d.Range(x.Dim(0)*part.H, 16, func(from, to int) {
		for i := from; i < to; i++ {
			out := y.F32()[3*i*part.W:][:3*part.W]
			sy := part.Top + i%part.H
			for c := range part.W {
				r, g, b := uint8(0), uint8(0), uint8(0)
				if sx := part.Left + c; sx >= 0 && sx < w && sy >= 0 && sy < h {
					p := x.U8()[3*((i/part.H*h+sy)*w+sx):][:3]
					r, g, b = p[0], p[1], p[2]
				}
				o := out[3*c : 3*c+3]
				o[0], o[1], o[2] = levels[0][r], levels[1][g], levels[2][b]
			}
		}
	})
}

func bytesOnHost(d *host.Device, x, y *engine.Tensor) {
	xs, ys := x.F32(), y.U8()
	d.Range(len(xs), 16384, func(lo, hi int) {
		for i, v := range xs[lo:hi] {
			ys[lo+i] = uint8(math.RoundToEven(float64(min(max(v/2+0.5, 0), 1) * 255)))
		}
	})
}
