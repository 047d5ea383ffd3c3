package optest

import (
	"fmt"
	"math"
	"testing"

	"parley/engine"
	"parley/kernels/pool"
)

// Pool is the suite of package pool's operations on a device.
func Pool(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	for _, c := range []struct {
		n, h, w, c int
		win        pool.Window
	}{
		{1, 1, 1, 1, pool.Window{H: 1, W: 1}}, {2, 5, 7, 3, pool.Window{H: 3, W: 3, Stride: 2}}, {1, 8, 8, 32, pool.Window{H: 8, W: 8}},
		{2, 6, 5, 8, pool.Window{H: 3, W: 3, Pad: 1}}, {1, 9, 4, 5, pool.Window{H: 2, W: 3, Stride: 3, Pad: 1}},
		{3, 11, 1, 40, pool.Window{H: 11, W: 1}}, {0, 3, 3, 4, pool.Window{H: 3, W: 3}},
	} {
		x := u.random(c.n, c.h, c.w, c.c)
		for i := range x.F32() { // all below 0: what is beyond the edge would be the largest
			x.F32()[i] = -x.F32()[i]*x.F32()[i] - 1
		}
		x = u.round(x)
		stride := max(c.win.Stride, 1)
		oh, ow := (c.h+2*c.win.Pad-c.win.H)/stride+1, (c.w+2*c.win.Pad-c.win.W)/stride+1
		most, means := zeros(c.n, oh, ow, c.c), zeros(c.n, oh, ow, c.c)
		for i := range most.v {
			ch, ox, oy, n := i%c.c, i/c.c%ow, i/c.c/ow%oh, i/c.c/ow/oh
			best, sum, count := math.Inf(-1), 0.0, 0.0
			for r := range c.win.H {
				for q := range c.win.W {
					py, px := oy*stride-c.win.Pad+r, ox*stride-c.win.Pad+q
					if py < 0 || px < 0 || py >= c.h || px >= c.w {
						continue
					}
					v := float64(x.F32()[((n*c.h+py)*c.w+px)*c.c+ch])
					best, sum, count = max(best, v), sum+v, count+1
				}
			}
			most.v[i], means.v[i] = best, sum/count
		}
		name := fmt.Sprintf("%+v of %v", c.win, x.Shape())
		u.want("max "+name, most, u.exact(), func(s *engine.Stream) *engine.Tensor { return pool.Max(s, s.Put(x), c.win) })
		u.want("average "+name, means, 1, func(s *engine.Stream) *engine.Tensor { return pool.Average(s, s.Put(x), c.win) })
	}
	u.refuses([]refusal{
		{"a map that is smaller", "pool: net: windows of 3 x 3, 0 beyond the edge, of [1 2 4 3]", func(s *engine.Stream) *engine.Tensor {
			return pool.Max(s, s.New(s.Float(), 1, 2, 4, 3), pool.Window{H: 3, W: 3})
		}},
		{"windows of nothing", "pool: net: windows of 2 x 2, 2 beyond the edge", func(s *engine.Stream) *engine.Tensor {
			return pool.Average(s, s.New(s.Float(), 1, 4, 4, 3), pool.Window{H: 2, W: 2, Pad: 2})
		}},
		{"a sequence", "pool: net: windows of 1 x 1, 0 beyond the edge, of [2 4 3]", func(s *engine.Stream) *engine.Tensor {
			return pool.Max(s, s.New(s.Float(), 2, 4, 3), pool.Window{H: 1, W: 1})
		}},
	})
}
