package denoise

import (
	"parley/engine"
	"parley/engine/host"
)

// onHost computes in float64: the latents are few, and the coefficients of a
// multistep solver cancel.
func onHost(h *host.Device, c Coefficients, x, model *engine.Tensor, past []*engine.Tensor, first, noise, next, prediction *engine.Tensor) {
	n, xs, es, ns, ps := x.Elems(), x.F32(), model.F32(), next.F32(), prediction.F32()
	h.Range(n, 4096, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			e := float64(es[i])
			if c.Guidance > 1 {
				e += c.Guidance * (float64(es[n+i]) - e)
			}
			v := float64(xs[i])
			p := c.PredictionLatents*v + c.PredictionModel*e
			if c.Clip > 0 {
				p = min(max(p, -c.Clip), c.Clip)
			}
			ps[i] = float32(p)
			y := c.Latents*v + c.Model*e + c.Prediction*p
			for j, f := range c.Past {
				y += f * float64(past[j].F32()[i])
			}
			if c.First != 0 {
				y += c.First * float64(first.F32()[i])
			}
			if c.Noise != 0 {
				y += c.Noise * float64(noise.F32()[i])
			}
			ns[i] = float32(y)
		}
	})
}
