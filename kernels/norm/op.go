// Package norm is layer norm, group norm and the L2 norm of rows. Statistics
// are kept in float64 on the host, in f32 elsewhere; gamma and beta are f32.
package norm

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/simd"
)

// Layer normalises each row of x [..., C], then scales by gamma and adds beta,
// both [C] (arXiv 1607.06450).
func Layer(s *engine.Stream, x, gamma, beta *engine.Tensor, eps float64) *engine.Tensor {
	c := x.Dim(-1)
	if gamma.Elems() != c || beta.Elems() != c {
		s.Fail(fmt.Errorf("norm: %s: x %v, gamma %v, beta %v", s.Path(), x.Shape(), gamma.Shape(), beta.Shape()))
	}
	y := s.New(s.Float(), x.Shape()...)
	work := engine.Work{Op: "layernorm", Out: y, In: engine.Inputs{x},
		Dims:  engine.Dims{{Name: "rows", Size: x.Elems() / max(c, 1)}, {Name: "channels", Size: c}},
		FLOPs: 8 * int64(x.Elems()), Bytes: int64(x.Bytes() + y.Bytes() + gamma.Bytes() + beta.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			layerOnCUDA(g, s, x, gamma, beta, y, eps)
			return
		}
		h, ok := host.On(d)
		if !ok {
			return
		}
		s.Took(simd.Vector())
		layerOnHost(h, c, x.F32(), y.F32(), gamma.F32(), beta.F32(), eps)
	})
}

// Group normalises groups of channels of x [N, ..., C] over all positions of a
// sample (arXiv 1803.08494), and applies SiLU when silu is set. The channels of
// concat [N, ..., D], unless it is nil, follow those of x, as if both were
// concatenated: the result is [N, ..., C+D].
func Group(s *engine.Stream, x, concat *engine.Tensor, groups int, gamma, beta *engine.Tensor, eps float64, silu bool) *engine.Tensor {
	c := x.Dim(-1)
	if concat != nil {
		c += concat.Dim(-1)
	}
	lead := len(x.Shape()) - 1
	if gamma.Elems() != c || beta.Elems() != c || groups < 1 || c%groups != 0 ||
		concat != nil && !concat.Shape()[:len(concat.Shape())-1].Equal(x.Shape()[:lead]) {
		shape := x.Shape().String()
		if concat != nil {
			shape += " with " + concat.Shape().String()
		}
		s.Fail(fmt.Errorf("norm: %s: x %s in %d groups, gamma %v, beta %v", s.Path(), shape, groups, gamma.Shape(), beta.Shape()))
	}
	var room [8]int
	dims := append(room[:0], x.Shape()...)
	dims[lead] = c
	y := s.New(s.Float(), dims...)
	var l layout
	var part *engine.Tensor // sums of a GPU's slabs of positions
	if n := x.Dim(0); !s.Device().Local() && y.Elems() > 0 {
		l = cut(y.Elems()/n/c, x.Dim(-1), c-x.Dim(-1), groups, s.Float().Size())
		if l.slabs > 1 {
			part = s.New(engine.F32, n, groups, l.slabs, 2)
		}
	}
	work := engine.Work{Op: "groupnorm", Out: y, In: engine.Inputs{x, concat},
		Dims: engine.Dims{{Name: "n", Size: x.Dim(0)}, {Name: "positions", Size: y.Elems() / max(x.Dim(0)*c, 1)}, {Name: "channels", Size: c},
			{Name: "groups", Size: groups}},
		FLOPs: 8 * int64(y.Elems()), Bytes: 2*int64(y.Bytes()) + int64(gamma.Bytes()+beta.Bytes())}
	if silu {
		work.FLOPs += 4 * int64(y.Elems())
	}
	s.Do(work, func(d engine.Device) {
		if part != nil {
			s.Uses(part.Bytes())
		}
		if g, ok := cuda.On(d); ok {
			groupOnCUDA(g, s, l, x, concat, groups, gamma, beta, y, part, eps, silu)
			return
		}
		h, ok := host.On(d)
		if !ok {
			return
		}
		s.Took(simd.Vector())
		n := x.Dim(0)
		g := host.Scratch[grouped](h)
		*g = grouped{
			d: h, positions: y.Elems() / n / c, widths: [2]int{x.Dim(-1), c - x.Dim(-1)}, groups: groups,
			gamma: gamma.F32(), beta: beta.F32(), eps: eps, silu: silu,
		}
		for i := range n {
			g.in[0], g.in[1] = sample(x, i), nil
			if concat != nil {
				g.in[1] = sample(concat, i)
			}
			g.run(sample(y, i))
		}
		s.Uses(g.workspace())
		*g = grouped{}
		host.Recycle(h, g)
	})
	s.Free(part)
	return y
}

// sample is the data of the i-th sample.
func sample(x *engine.Tensor, i int) []float32 {
	size := x.Elems() / x.Dim(0)
	return x.F32()[i*size : (i+1)*size]
}

// L2 divides each row of x [..., C] by its Euclidean length. The result is f32
// on every device: embeddings are what scores are computed from.
func L2(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	y := s.New(engine.F32, x.Shape()...)
	work := engine.Work{Op: "l2", Out: y, In: engine.Inputs{x},
		Dims:  engine.Dims{{Name: "rows", Size: x.Elems() / max(x.Dim(-1), 1)}, {Name: "channels", Size: x.Dim(-1)}},
		FLOPs: 3 * int64(x.Elems()), Bytes: int64(x.Bytes() + y.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			l2OnCUDA(g, s, x, y)
			return
		}
		if _, ok := host.On(d); !ok {
			return
		}
		s.Took(simd.Vector())
		c := x.Dim(-1)
		xs, ys := x.F32(), y.F32()
		for i := 0; i < len(xs); i += c {
			var sum float64
			for _, v := range xs[i : i+c] {
				sum += float64(v) * float64(v)
			}
			simd.Scale(ys[i:i+c], xs[i:i+c], float32(1/math.Sqrt(sum)))
		}
	})
}
