package denoise

import (
	"math"
	"math/rand/v2"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/optest/kernel"
)

func TestStepKernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(1, 1))
	s := engine.NewStream(t.Context(), host.New(1))
	for _, c := range []struct {
		name string
		n    int
		c    Coefficients
	}{
		{"one", 1, Coefficients{PredictionModel: 1, Latents: 0.5, Prediction: -0.3}},
		{"guided", 333, Coefficients{PredictionModel: 1, Latents: 1.01, Prediction: -0.1, Guidance: 7.5}},
		{"clipped", 256, Coefficients{PredictionLatents: 1.3, PredictionModel: -0.8, Clip: 1, Latents: 0.2, Model: 0.1, Prediction: 0.7,
			Guidance: 3}},
		{"multistep", 1000, Coefficients{PredictionModel: 1, Latents: 1.004, Prediction: 2.29, Past: []float64{-2.46, 1.54, -0.375},
			Guidance: 7.5}},
		{"first", 40, Coefficients{PredictionModel: 1, Prediction: 0.4, Past: []float64{0.4}, First: 0.99}},
		{"noise", 40, Coefficients{PredictionLatents: 1, PredictionModel: -14.6, Latents: 0.9, Prediction: 0.1, Noise: 0.44}},
	} {
		for _, f16 := range []bool{true, false} {
			x := kernel.Normals(rng, c.n, 1)
			count := c.n
			if c.c.Guidance > 1 {
				count *= 2
			}
			model := kernel.Normals(rng, count, 1)
			ms := r.Float(f16, model)
			var past []*engine.Tensor
			args := []any{r.Put(x), ms, nil, nil, nil, nil, nil}
			for j := range c.c.Past {
				v := kernel.Normals(rng, c.n, 1)
				past = append(past, engine.FromF32(v, c.n))
				args[2+j] = r.Put(v)
			}
			var first, noise *engine.Tensor
			if c.c.First != 0 {
				first = engine.FromF32(kernel.Normals(rng, c.n, 1), c.n)
				args[5] = r.Put(first.F32())
			}
			if c.c.Noise != 0 {
				noise = engine.FromF32(kernel.Normals(rng, c.n, 1), c.n)
				args[6] = r.Put(noise.F32())
			}
			want, wantP := Step(s, c.c, engine.FromF32(x, c.n), engine.FromF32(model, count), past, first, noise)
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			next, p, q := r.New(c.n, 4), r.New(c.n, 4), c.c
			coefs := [MaxPast]float64{}
			copy(coefs[:], q.Past)
			args = append(args, next, p, int64(c.n), q.PredictionLatents, q.PredictionModel, q.Clip,
				q.Latents, q.Model, q.Prediction, coefs[0], coefs[1], coefs[2], q.First, q.Noise, q.Guidance)
			r.Run("step_"+kernel.Type(f16), kernel.Dim{2}, kernel.Dim{256}, 0, args...)
			for i, v := range r.Floats(next) {
				// A fused product may round the double otherwise, hardly ever the float.
				if w := want.F32()[i]; math.Abs(float64(v-w)) > 2e-7*math.Abs(float64(w))+1e-12 {
					t.Errorf("%s, f16 %t: latent %d is %g, want %g", c.name, f16, i, v, w)
				}
				if got, w := r.Floats(p)[i], wantP.F32()[i]; math.Abs(float64(got-w)) > 2e-7*math.Abs(float64(w))+1e-12 {
					t.Errorf("%s, f16 %t: prediction %d is %g, want %g", c.name, f16, i, got, w)
				}
			}
		}
	}
}
