// Package activate is what happens element by element: activations, gates,
// sums.
package activate

import (
	"fmt"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
)

const grain = 16384

// Act applies an activation to a copy of x.
func Act(s *engine.Stream, x *engine.Tensor, a matmul.Act) *engine.Tensor {
	y := s.New(engine.F32, x.Shape()...)
	return s.Do(engine.Work{Op: "act", Out: y, FLOPs: int64(x.Elems()), Bytes: 8 * int64(x.Elems())}, func(d engine.Device) {
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
	y := s.New(engine.F32, x.Shape()...)
	return s.Do(engine.Work{Op: "add", Out: y, FLOPs: int64(x.Elems()), Bytes: 12 * int64(x.Elems())}, func(d engine.Device) {
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

// AddPerSample adds row n of b [N, C] to every position of sample n of x
// [N, ..., C], in place.
func AddPerSample(s *engine.Stream, x, b *engine.Tensor) *engine.Tensor {
	c := x.Dim(-1)
	if b.Dim(-1) != c || b.Elems() != x.Dim(0)*c {
		s.Fail(fmt.Errorf("activate: %s: %v + %v for each sample", s.Path(), x.Shape(), b.Shape()))
	}
	return s.Do(engine.Work{Op: "add", Out: x, FLOPs: int64(x.Elems()), Bytes: 8 * int64(x.Elems())}, func(d engine.Device) {
		if h, ok := host.On(d); ok {
			xs, bs := x.F32(), b.F32()
			per := x.Elems() / x.Dim(0) / c
			h.Range(len(xs)/c, 1+grain/c, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					row := xs[i*c : (i+1)*c]
					simd.Add(row, row, bs[i/per*c:][:c])
				}
			})
		}
	})
}

// GEGLU splits the last dimension of x [..., 2C] and returns the first half
// times gelu of the second (arXiv 2002.05202).
func GEGLU(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	c := x.Dim(-1) / 2
	if c == 0 || x.Dim(-1)%2 != 0 {
		s.Fail(fmt.Errorf("activate: %s: %v has no halves", s.Path(), x.Shape()))
	}
	dims := append([]int(nil), x.Shape()...)
	dims[len(dims)-1] = c
	y := s.New(engine.F32, dims...)
	return s.Do(engine.Work{Op: "geglu", Out: y, FLOPs: int64(x.Elems()), Bytes: 6 * int64(x.Elems())}, func(d engine.Device) {
		if h, ok := host.On(d); ok {
			xs, ys := x.F32(), y.F32()
			h.Range(len(ys)/c, 1+grain/c, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					row := ys[i*c : (i+1)*c]
					simd.GELU(row, xs[(2*i+1)*c:(2*i+2)*c])
					simd.Mul(row, row, xs[2*i*c:(2*i+1)*c])
				}
			})
		}
	})
}
