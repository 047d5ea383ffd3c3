package sample

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Recipe is one step of a scheduler. All the samplers that the field uses are
// of one form: a prediction p, linear in the latents x and the model's output
// e, and the next latents, linear in x, p, earlier predictions and noise:
//
//	p    = PX·x + PE·e, clamped to ±Clip where Clip is above 0
//	next = X·x + E·e + P·p + Σ Past[j]·past[j] + First·first + Noise·noise
//
// Guidance above 1 takes e from a batch whose first half has no prompt:
// e = u + Guidance·(c−u).
type Recipe struct {
	PX, PE, Clip    float64
	X, E, P         float64
	Past            []float64 // the latest first
	First           float64   // of the latents that the first step got
	Noise, Guidance float64
}

// Step applies a recipe in one pass: model is the output of the net, [N, ...],
// or [2N, ...] with guidance, in the type of activations; all else is f32. It returns the next latents and p. first and
// noise may be nil where the recipe does not use them.
func Step(s *engine.Stream, r Recipe, x, model *engine.Tensor, past []*engine.Tensor, first, noise *engine.Tensor) (next, p *engine.Tensor) {
	next, p = s.New(engine.F32, x.Shape()...), s.New(engine.F32, x.Shape()...)
	n, want := x.Elems(), x.Elems()
	if r.Guidance > 1 {
		want *= 2
	}
	fits := func(t *engine.Tensor, used bool) bool { return !used || t != nil && t.Elems() == n }
	ok := model.Elems() == want && len(past) >= len(r.Past) && fits(first, r.First != 0) && fits(noise, r.Noise != 0)
	for j := range r.Past {
		ok = ok && fits(past[j], true)
	}
	if !ok {
		s.Fail(fmt.Errorf("sample: %s: latents %v, model %v, %d of %d earlier predictions", s.Path(), x.Shape(), model.Shape(), len(past), len(r.Past)))
		return next, p
	}
	s.Do(engine.Work{Op: "step", Out: next, FLOPs: int64(n) * int64(8+2*len(r.Past)), Bytes: 4 * int64(n) * int64(5+len(r.Past))}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			stepOnCUDA(g, s, r, x, model, past, first, noise, next, p)
			return
		}
		h, isHost := host.On(d)
		if !isHost {
			return
		}
		// In float64: the latents are small, and the coefficients of a
		// multistep solver cancel.
		xs, es, ns, ps := x.F32(), model.F32(), next.F32(), p.F32()
		h.Range(n, 4096, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				e := float64(es[i])
				if r.Guidance > 1 {
					e += r.Guidance * (float64(es[n+i]) - e)
				}
				v := float64(xs[i])
				q := r.PX*v + r.PE*e
				if r.Clip > 0 {
					q = min(max(q, -r.Clip), r.Clip)
				}
				ps[i] = float32(q)
				y := r.X*v + r.E*e + r.P*q
				for j, c := range r.Past {
					y += c * float64(past[j].F32()[i])
				}
				if r.First != 0 {
					y += r.First * float64(first.F32()[i])
				}
				if r.Noise != 0 {
					y += r.Noise * float64(noise.F32()[i])
				}
				ns[i] = float32(y)
			}
		})
	})
	return next, p
}

// Finite reports whether x holds neither an infinity nor what is not a number.
// It waits for the device.
func Finite(s *engine.Stream, x *engine.Tensor) bool {
	finite := true
	s.Do(engine.Work{Op: "finite", Out: x, Bytes: int64(x.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			finite = finiteOnCUDA(g, s, x)
			return
		}
		if _, ok := host.On(d); ok {
			for _, v := range x.F32() {
				if v-v != 0 {
					finite = false
					return
				}
			}
		}
	})
	return finite
}

// Mix returns a·x + b·y in f32, which puts noise on a picture's latents.
func Mix(s *engine.Stream, a float64, x *engine.Tensor, b float64, y *engine.Tensor) *engine.Tensor {
	out := s.New(engine.F32, x.Shape()...)
	if !x.Shape().Equal(y.Shape()) {
		s.Fail(fmt.Errorf("sample: %s: mix of %v and %v", s.Path(), x.Shape(), y.Shape()))
		return out
	}
	return s.Do(engine.Work{Op: "mix", Out: out, FLOPs: 3 * int64(x.Elems()), Bytes: 12 * int64(x.Elems())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			mixOnCUDA(g, s, a, x, b, y, out)
			return
		}
		if h, ok := host.On(d); ok {
			xs, ys, os := x.F32(), y.F32(), out.F32()
			h.Range(len(xs), 16384, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					os[i] = float32(a*float64(xs[i]) + b*float64(ys[i]))
				}
			})
		}
	})
}

// Scale writes a·x to dst, which has x's number of elements; each may be of f32
// or of the type of activations.
func Scale(s *engine.Stream, dst, x *engine.Tensor, a float64) {
	if dst.Elems() != x.Elems() {
		s.Fail(fmt.Errorf("sample: %s: %v times a number in %v", s.Path(), x.Shape(), dst.Shape()))
		return
	}
	s.Do(engine.Work{Op: "scale", Out: dst, FLOPs: int64(x.Elems()), Bytes: int64(x.Bytes() + dst.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			scaleOnCUDA(g, s, dst, x, a)
			return
		}
		if h, ok := host.On(d); ok {
			j := host.Scratch[scaled](h)
			*j = scaled{dst.F32(), x.F32(), float32(a)}
			h.RunRange(x.Elems(), 16384, j)
			*j = scaled{}
			host.Recycle(h, j)
		}
	})
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
