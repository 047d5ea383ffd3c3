//go:build cuda

package denoise_test

import (
	"fmt"
	"testing"

	"parley/engine"
	"parley/kernels/denoise"
	"parley/kernels/optest"
)

// TestEmulated holds the step on the GPU's device against the CPU's.
func TestEmulated(t *testing.T) {
	optest.Beside(t, func(p *optest.Pair) {
		for _, c := range []denoise.Coefficients{
			{PredictionModel: 1, Latents: 1.01, Prediction: -0.1},
			{PredictionModel: 1, Latents: 1.004, Prediction: 2.29, Past: []float64{-2.46, 1.54, -0.375}, Guidance: 7.5},
			{PredictionLatents: 1.3, PredictionModel: -0.8, Clip: 1, Latents: 0.2, Model: 0.1, Prediction: 0.7, First: 0.5, Noise: 0.44, Guidance: 3},
		} {
			for _, dims := range [][]int{{1, 1, 1, 1}, {2, 5, 7, 4}, {0, 8, 8, 4}} {
				model := append([]int(nil), dims...)
				if c.Guidance > 1 {
					model[0] *= 2
				}
				x, e, first, noise := p.Normals(dims...), p.Rounded(p.Normals(model...)), p.Normals(dims...), p.Normals(dims...)
				var past, onGPU []*engine.Tensor
				for range c.Past {
					v := p.Normals(dims...)
					past, onGPU = append(past, v), append(onGPU, p.GPU.PutAs(engine.F32, v))
				}
				next, prediction := denoise.Step(p.CPU, c, x, e, past, first, noise)
				gotNext, gotPrediction := denoise.Step(p.GPU, c, p.GPU.PutAs(engine.F32, x), p.GPU.Put(e), onGPU,
					p.GPU.PutAs(engine.F32, first), p.GPU.PutAs(engine.F32, noise))
				p.Near(fmt.Sprintf("next of %+v %v", c, dims), gotNext, next, 2e-7)
				p.Near(fmt.Sprintf("prediction of %+v %v", c, dims), gotPrediction, prediction, 2e-7)
			}
		}
	})
}
