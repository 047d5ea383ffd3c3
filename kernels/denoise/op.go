// Package denoise is what a diffusion scheduler does with a net's output:
// guidance and the step to the next latents, in one pass.
package denoise

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Coefficients are one step of a scheduler. All the samplers that the field uses
// are of one form: a prediction, linear in the latents x and the model's output
// e, and the next latents, linear in x, e, the prediction, earlier predictions
// and noise:
//
//	prediction = PredictionLatents·x + PredictionModel·e, clamped to ±Clip where Clip is above 0
//	next = Latents·x + Model·e + Prediction·prediction + Σ Past[j]·past[j] + First·first + Noise·noise
//
// Guidance above 1 takes e from a batch whose first half is unconditional
// (classifier-free guidance, arXiv 2207.12598): e = u + Guidance·(c−u).
type Coefficients struct {
	PredictionLatents float64
	PredictionModel   float64
	Clip              float64

	Latents    float64
	Model      float64
	Prediction float64
	Past       []float64 // of earlier predictions, the latest first; at most MaxPast
	First      float64   // of the latents that the first step got
	Noise      float64

	Guidance float64
}

// MaxPast is the most earlier predictions of a step: op.cu has as many
// parameters.
const MaxPast = 3

// Step takes one step in one pass: model is the output of the net, [N, ...], or
// [2N, ...] with guidance, in the type of activations; all else is f32. It
// returns the next latents and the prediction. first and noise may be nil where
// their coefficients are 0.
func Step(s *engine.Stream, c Coefficients, x, model *engine.Tensor, past []*engine.Tensor, first, noise *engine.Tensor) (
	next, prediction *engine.Tensor) {
	next, prediction = s.New(engine.F32, x.Shape()...), s.New(engine.F32, x.Shape()...)
	n, want := x.Elems(), x.Elems()
	if c.Guidance > 1 {
		want *= 2
	}
	fits := func(t *engine.Tensor, used bool) bool { return !used || t != nil && t.Elems() == n }
	ok := model.Elems() == want && len(past) >= len(c.Past) && fits(first, c.First != 0) && fits(noise, c.Noise != 0)
	for j := range min(len(past), len(c.Past)) {
		ok = ok && fits(past[j], true)
	}
	if !ok {
		s.Fail(fmt.Errorf("denoise: %s: latents %v, model %v, %d of %d earlier predictions",
			s.Path(), x.Shape(), model.Shape(), len(past), len(c.Past)))
		return next, prediction
	}
	if len(c.Past) > MaxPast {
		s.Fail(fmt.Errorf("denoise: %s: %d earlier predictions: at most %d", s.Path(), len(c.Past), MaxPast))
		return next, prediction
	}
	in := engine.Inputs{x, model}
	copy(in[2:], past[:len(c.Past)])
	bytes := next.Bytes() + prediction.Bytes()
	if c.First != 0 {
		in[2+MaxPast] = first
	}
	if c.Noise != 0 {
		in[3+MaxPast] = noise
	}
	for _, t := range in {
		if t != nil {
			bytes += t.Bytes()
		}
	}
	work := engine.Work{Op: "step", Out: next, In: in, Dims: engine.Dims{{Name: "elements", Size: n}, {Name: "past", Size: len(c.Past)}},
		FLOPs: int64(n) * int64(8+2*len(c.Past)), Bytes: int64(bytes)}
	s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			onCUDA(g, s, c, x, model, past, first, noise, next, prediction)
			return
		}
		if h, ok := host.On(d); ok {
			s.Took("loop")
			onHost(h, c, x, model, past, first, noise, next, prediction)
		}
	})
	return next, prediction
}
