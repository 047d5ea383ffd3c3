package optest

import (
	"cmp"
	"fmt"
	"math"
	"testing"

	"parley/engine"
	"parley/kernels/matmul"
	"parley/kernels/norm"
)

// Norm is the suite of norm.Layer, norm.Group and norm.L2.
func Norm(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	normal := func(mean, spread float64, dims ...int) *engine.Tensor {
		x := u.random(dims...)
		for i, v := range x.F32() {
			x.F32()[i] = float32(mean + spread*float64(v))
		}
		return u.round(x)
	}

	for _, c := range []struct {
		dims   []int
		eps    float64
		offset float64
		spread float64 // 0 means 1
	}{
		{dims: []int{1, 1}, eps: 1e-5}, {dims: []int{3, 2}, eps: 1e-5}, {dims: []int{5, 7}, eps: 1e-12},
		{dims: []int{2, 3, 15}, eps: 1e-5}, {dims: []int{2, 3, 16}, eps: 1e-5}, {dims: []int{2, 3, 17}, eps: 1e-3},
		{dims: []int{7, 64}, eps: 1e-5}, {dims: []int{2, 5, 3, 97}, eps: 1e-6}, {dims: []int{33, 768}, eps: 1e-12},
		{dims: []int{1000, 40}, eps: 1e-5}, {dims: []int{4, 5000}, eps: 1e-5}, {dims: []int{65}, eps: 1e-5},
		{dims: []int{9, 320}, eps: 1e-12, offset: 6e4, spread: 1e-30}, // all the same
		{dims: []int{50, 320}, eps: 1e-12, offset: 1000, spread: 1e-4}, {dims: []int{50, 320}, eps: 1e-5, offset: 1000},
		{dims: []int{50, 320}, eps: 1e-5, offset: 3}, {dims: []int{50, 320}, eps: 1e-5, offset: -100},
	} {
		x := normal(c.offset, cmp.Or(c.spread, 1), c.dims...)
		n := x.Dim(-1)
		g, b := u.random(n), u.random(n)
		y := zeros(c.dims...)
		for i := 0; i < len(y.v); i += n {
			mean, rstd := moments(x.F32()[i:i+n], c.eps)
			for j := range n {
				y.v[i+j] = (float64(x.F32()[i+j])-mean)*rstd*float64(g.F32()[j]) + float64(b.F32()[j])
			}
		}
		name := fmt.Sprintf("layer %v, mean %g, spread %g", c.dims, c.offset, cmp.Or(c.spread, 1))
		u.want(name, y, 1, func(s *engine.Stream) *engine.Tensor {
			return norm.Layer(s, s.Put(x), vector(s, g), vector(s, b), c.eps)
		})
	}

	for _, c := range []struct {
		dims   []int
		groups int
		eps    float64
		offset float64
		more   float64
		concat int // channels in a second input
	}{
		{dims: []int{2, 3, 5, 24}, groups: 8, eps: 1e-6, concat: 9}, {dims: []int{1, 9, 31, 96}, groups: 32, eps: 1e-5, concat: 32},
		{dims: []int{2, 40, 48, 48}, groups: 16, eps: 1e-5, concat: 47},
		{dims: []int{1, 1, 1, 4}, groups: 1, eps: 1e-5}, {dims: []int{2, 3, 5, 4}, groups: 4, eps: 1e-5},
		{dims: []int{2, 3, 5, 24}, groups: 8, eps: 1e-6},
		{dims: []int{1, 7, 3, 40}, groups: 8, eps: 1e-5}, {dims: []int{3, 2, 2, 72}, groups: 8, eps: 1e-5},
		{dims: []int{1, 8, 24, 64}, groups: 32, eps: 1e-3},
		{dims: []int{2, 9, 96}, groups: 32, eps: 1e-5}, {dims: []int{1, 1, 3, 27}, groups: 9, eps: 1e-5},
		{dims: []int{2, 5}, groups: 1, eps: 1e-5},
		{dims: []int{2, 40, 48, 48}, groups: 16, eps: 1e-5}, {dims: []int{1, 33, 31, 120}, groups: 8, eps: 1e-5},
		{dims: []int{1, 3, 1, 9000}, groups: 30, eps: 1e-5},
		{dims: []int{1, 20, 20, 64}, groups: 32, eps: 1e-5, offset: 3},
		// x scale + shift cancels: what the shift loses is the mean's part.
		{dims: []int{1, 20, 20, 64}, groups: 32, eps: 1e-5, offset: -100, more: 2},
	} {
		x := normal(c.offset, 1, c.dims...)
		ch := x.Dim(-1)
		g, b := u.random(ch), u.random(ch)
		plain, gated := zeros(c.dims...), zeros(c.dims...)
		per, sample := ch/c.groups, x.Elems()/c.dims[0]
		for n := range c.dims[0] {
			for gr := range c.groups {
				var values []float32
				for i := n * sample; i < (n+1)*sample; i++ {
					if i%ch/per == gr {
						values = append(values, x.F32()[i])
					}
				}
				mean, rstd := moments(values, c.eps)
				for i := n * sample; i < (n+1)*sample; i++ {
					if i%ch/per == gr {
						plain.v[i] = (float64(x.F32()[i])-mean)*rstd*float64(g.F32()[i%ch]) + float64(b.F32()[i%ch])
						gated.v[i] = activation(matmul.SiLU, plain.v[i])
					}
				}
			}
		}
		for _, silu := range []bool{false, true} {
			y := plain
			if silu {
				y = gated
			}
			u.want(fmt.Sprintf("group %v by %d, mean %g, silu %t", c.dims, c.groups, c.offset, silu), y, max(c.more, 1),
				func(s *engine.Stream) *engine.Tensor {
					left, right := split(x, c.concat)
					return norm.Group(s, s.Put(left), put(s, right), c.groups, vector(s, g), vector(s, b), c.eps, silu)
				})
		}
	}

	for _, dims := range [][]int{{1, 1}, {3, 7}, {2, 512}, {5, 3, 33}, {1, 20000}} {
		x := u.random(dims...)
		y := zeros(dims...)
		n := x.Dim(-1)
		for i := 0; i < len(y.v); i += n {
			var sum float64
			for _, v := range x.F32()[i : i+n] {
				sum += float64(v) * float64(v)
			}
			for j := range n {
				y.v[i+j] = float64(x.F32()[i+j]) / math.Sqrt(sum)
			}
		}
		u.want(fmt.Sprintf("l2 %v", dims), y, 1, func(s *engine.Stream) *engine.Tensor { return norm.L2(s, s.Put(x)) })
	}

	layer := func(g, b int) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			return norm.Layer(s, s.New(engine.F32, 2, 8), s.New(engine.F32, g), s.New(engine.F32, b), 1e-5)
		}
	}
	group := func(groups, g, b int) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			return norm.Group(s, s.New(engine.F32, 2, 3, 8), nil, groups, s.New(engine.F32, g), s.New(engine.F32, b), 1e-5, true)
		}
	}
	u.refuses([]refusal{
		{"layer's gamma", "norm: net: x [2 8], gamma [7], beta [8]", layer(7, 8)},
		{"layer's beta", "norm: net: x [2 8], gamma [8], beta [9]", layer(8, 9)},
		{"group's gamma", "norm: net: x [2 3 8] in 4 groups, gamma [3], beta [8]", group(4, 3, 8)},
		{"concat", "norm: net: x [2 3 5] with [2 2 3] in 4 groups, gamma [8], beta [8]", func(s *engine.Stream) *engine.Tensor {
			v := s.New(engine.F32, 8)
			return norm.Group(s, s.New(engine.F32, 2, 3, 5), s.New(engine.F32, 2, 2, 3), 4, v, v, 1e-5, false)
		}},
		{"groups", "norm: net: x [2 3 8] in 3 groups, gamma [8], beta [8]", group(3, 8, 8)},
		{"no groups", "norm: net: x [2 3 8] in 0 groups, gamma [8], beta [8]", group(0, 8, 8)},
	})
}

// moments are the mean and 1/sqrt(variance + eps).
func moments(x []float32, eps float64) (mean, rstd float64) {
	for _, v := range x {
		mean += float64(v)
	}
	mean /= float64(len(x))
	var sq float64
	for _, v := range x {
		sq += (float64(v) - mean) * (float64(v) - mean)
	}
	return mean, 1 / math.Sqrt(sq/float64(len(x))+eps)
}
