package denoise

import (
	_ "embed"
	"math"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("denoise", image)

const threads = 256 // of a block

// double is an argument of 8 bytes, where a float64 would be rounded.
func double(v float64) uint64 { return math.Float64bits(v) }

func onCUDA(d *cuda.Device, s *engine.Stream, c Coefficients,
	x, model *engine.Tensor, past []*engine.Tensor, first, noise, next, prediction *engine.Tensor) {
	if x.Elems() == 0 {
		return
	}
	var ps [MaxPast]*engine.Tensor
	var cs [MaxPast]float64
	copy(cs[:], c.Past)
	copy(ps[:], past[:len(c.Past)])
	if c.First == 0 {
		first = nil
	}
	if c.Noise == 0 {
		noise = nil
	}
	d.LaunchDependent(s, module, "step_"+model.DType().String(), cuda.Blocks(x.Elems(), threads), cuda.Dim{X: threads}, 0,
		x, model, ps[0], ps[1], ps[2], first, noise, next, prediction, int64(x.Elems()),
		double(c.PredictionLatents), double(c.PredictionModel), double(c.Clip),
		double(c.Latents), double(c.Model), double(c.Prediction), double(cs[0]), double(cs[1]), double(cs[2]),
		double(c.First), double(c.Noise), double(c.Guidance))
}
