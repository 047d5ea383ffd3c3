package optest

import (
	"fmt"
	"testing"

	"parley/engine"
	"parley/kernels/layout"
)

// Layout is the suite of package layout's operations on a device.
func Layout(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	for _, c := range []struct {
		dims   []int
		lo, hi int
	}{{[]int{7}, 2, 5}, {[]int{1, 1}, 0, 1}, {[]int{2, 3, 5, 8}, 0, 4}, {[]int{301, 64}, 8, 64}, {[]int{3, 6}, 2, 2}} {
		x := u.random(c.dims...)
		n, w := x.Dim(-1), c.hi-c.lo
		y := zeros(append(append([]int(nil), c.dims[:len(c.dims)-1]...), w)...)
		for i := range y.v {
			y.v[i] = float64(x.F32()[i/w*n+c.lo+i%w])
		}
		u.want(fmt.Sprintf("channels %d to %d of %v", c.lo, c.hi, c.dims), y, u.exact(), func(s *engine.Stream) *engine.Tensor {
			return layout.Channels(s, s.Put(x), c.lo, c.hi)
		})
	}
	for _, c := range []struct {
		dims []int
		i    int
	}{{[]int{1, 1, 1}, 0}, {[]int{3, 5, 7}, 0}, {[]int{2, 5, 8}, 4}, {[]int{4, 50, 96}, 0}, {[]int{0, 3, 8}, 1}} {
		x := u.random(c.dims...)
		n, length, width := c.dims[0], c.dims[1], c.dims[2]
		y := zeros(n, width)
		for i := range y.v {
			y.v[i] = float64(x.F32()[(i/width*length+c.i)*width+i%width])
		}
		u.want(fmt.Sprintf("token %d of %v", c.i, c.dims), y, u.exact(), func(s *engine.Stream) *engine.Tensor {
			return layout.Token(s, s.Put(x), c.i)
		})
	}
	u.refuses([]refusal{
		{"channels", "layout: net: channels 2 to 4 of [1 4 4 3]", func(s *engine.Stream) *engine.Tensor {
			return layout.Channels(s, s.New(s.Float(), 1, 4, 4, 3), 2, 4)
		}},
		{"token", "layout: net: token 4 of [2 4 3]", func(s *engine.Stream) *engine.Tensor {
			return layout.Token(s, s.New(s.Float(), 2, 4, 3), 4)
		}},
		{"token of a map", "layout: net: token 0 of [1 4 4 3]", func(s *engine.Stream) *engine.Tensor {
			return layout.Token(s, s.New(s.Float(), 1, 4, 4, 3), 0)
		}},
	})
}
