// Package elementwise is what is done to each number by itself: the linear
// combination of two tensors, scaled copies from one type to another, the ReLU, and
// the watch for overflow.
package elementwise

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Mix returns a·x + b·y in f32, which puts noise on a picture's latents.
func Mix(s *engine.Stream, a float64, x *engine.Tensor, b float64, y *engine.Tensor) *engine.Tensor {
	out := s.New(engine.F32, x.Shape()...)
	if !x.Shape().Equal(y.Shape()) {
		s.Fail(fmt.Errorf("elementwise: %s: mix of %v and %v", s.Path(), x.Shape(), y.Shape()))
		return out
	}
	work := engine.Work{Op: "mix", Out: out, In: engine.Inputs{x, y}, Dims: engine.Dims{{Name: "elements", Size: x.Elems()}},
		FLOPs: 3 * int64(x.Elems()), Bytes: int64(x.Bytes() + y.Bytes() + out.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			mixOnCUDA(g, s, a, x, b, y, out)
			return
		}
		if h, ok := host.On(d); ok {
			s.Took("loop")
			mixOnHost(h, a, x, b, y, out)
		}
	})
}

// Scale writes a·x to dst, which has x's number of elements; each may be of f32
// or of the type of activations, so that a copy from one to the other is a scale
// of 1.
func Scale(s *engine.Stream, dst, x *engine.Tensor, a float64) {
	if dst.Elems() != x.Elems() {
		s.Fail(fmt.Errorf("elementwise: %s: %v times a number in %v", s.Path(), x.Shape(), dst.Shape()))
		return
	}
	work := engine.Work{Op: "scale", Out: dst, In: engine.Inputs{x}, Dims: engine.Dims{{Name: "elements", Size: x.Elems()}},
		FLOPs: int64(x.Elems()), Bytes: int64(x.Bytes() + dst.Bytes())}
	s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			scaleOnCUDA(g, s, dst, x, a)
			return
		}
		if h, ok := host.On(d); ok {
			s.Took("loop")
			scaleOnHost(h, dst, x, a)
		}
	})
}

// ReLU sets what is below zero of x to zero, in place.
func ReLU(s *engine.Stream, x *engine.Tensor) {
	work := engine.Work{Op: "relu", Out: x, In: engine.Inputs{x}, Dims: engine.Dims{{Name: "elements", Size: x.Elems()}},
		FLOPs: int64(x.Elems()), Bytes: 2 * int64(x.Bytes())}
	s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			reluOnCUDA(g, s, x)
			return
		}
		if h, ok := host.On(d); ok {
			s.Took("loop")
			reluOnHost(h, x)
		}
	})
}

// Finite reports whether x holds neither an infinity nor a NaN. It waits for the
// device.
func Finite(s *engine.Stream, x *engine.Tensor) bool {
	finite := true
	work := engine.Work{Op: "finite", Out: x, In: engine.Inputs{x}, Dims: engine.Dims{{Name: "elements", Size: x.Elems()}},
		Bytes: int64(x.Bytes())}
	s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			finite = finiteOnCUDA(g, s, x)
			return
		}
		if _, ok := host.On(d); ok {
			s.Took("loop")
			finite = finiteOnHost(x)
		}
	})
	return finite
}
