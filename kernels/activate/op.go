// Package activate is what happens element by element: activations and
// sums.
package activate

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
)

const grain = 16384

// Act applies an activation to a copy of x.
func Act(s *engine.Stream, x *engine.Tensor, a matmul.Act) *engine.Tensor {
	y := s.New(s.Float(), x.Shape()...)
	return s.Do(engine.Work{Op: "act", Out: y, FLOPs: int64(x.Elems()), Bytes: 2 * int64(y.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			actOnCUDA(g, s, x, y, a)
			return
		}
		if h, ok := host.On(d); ok {
			xs, ys := x.F32(), y.F32()
			h.Range(len(xs), grain, func(lo, hi int) { a.Apply(ys[lo:hi], xs[lo:hi]) })
		}
	})
}

// Add returns x + b, where b has x's shape, or is repeated over x's leading
// dimensions.
func Add(s *engine.Stream, x, b *engine.Tensor) *engine.Tensor {
	if b.Elems() == 0 || x.Elems()%b.Elems() != 0 {
		s.Fail(fmt.Errorf("activate: %s: %v + %v", s.Path(), x.Shape(), b.Shape()))
	}
	y := s.New(s.Float(), x.Shape()...)
	return s.Do(engine.Work{Op: "add", Out: y, FLOPs: int64(x.Elems()), Bytes: 3 * int64(y.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			addOnCUDA(g, s, x, b, y)
			return
		}
		if h, ok := host.On(d); ok {
			xs, bs, ys := x.F32(), b.F32(), y.F32()
			n := len(bs)
			h.Range(len(xs)/n, 1+grain/n, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					simd.Add(ys[i*n:(i+1)*n], xs[i*n:(i+1)*n], bs)
				}
			})
		}
	})
}
