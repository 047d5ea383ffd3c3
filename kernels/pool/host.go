package pool

import (
	"parley/engine"
	"parley/engine/host"
	"parley/kernels/simd"
)

// onHost pools row by row of the result.
func onHost(h *host.Device, x, y *engine.Tensor, w Window, average bool) {
	ih, iw, oh, ow, c := x.Dim(1), x.Dim(2), y.Dim(1), y.Dim(2), y.Dim(3)
	h.Range(y.Dim(0)*oh, 1, func(from, to int) {
		for i := from; i < to; i++ {
			top, bottom := i%oh*w.Stride-w.Pad, i%oh*w.Stride-w.Pad+w.H
			top, bottom = max(top, 0), min(bottom, ih)
			for ox := range ow {
				left, right := max(ox*w.Stride-w.Pad, 0), min(ox*w.Stride-w.Pad+w.W, iw)
				out := y.F32()[(i*ow+ox)*c:][:c]
				for r := top; r < bottom; r++ {
					for q := left; q < right; q++ {
						in := x.F32()[((i/oh*ih+r)*iw+q)*c:][:c]
						switch {
						case r == top && q == left:
							copy(out, in)
						case average:
							simd.Add(out, out, in)
						default:
							for k, v := range in {
								if v > out[k] || v != v { // a NaN stays one
									out[k] = v
								}
							}
						}
					}
				}
				if average {
					simd.Scale(out, out, 1/float32((bottom-top)*(right-left)))
				}
			}
		}
	})
}
