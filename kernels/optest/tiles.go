package optest

import (
	"fmt"
	"testing"

	"parley/engine"
	"parley/kernels/tiles"
)

// Tiles is the suite of package tiles.
func Tiles(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	for _, c := range []struct {
		dims            []int
		top, left, h, w int
	}{{[]int{1, 1, 1, 1}, 0, 0, 1, 1}, {[]int{2, 5, 7, 3}, 1, 2, 3, 4}, {[]int{1, 9, 8, 16}, 0, 3, 9, 5}, {[]int{3, 4, 4, 5}, 2, 2, 2, 2}} {
		x, base := u.random(c.dims...), u.random(c.dims...)
		n, ch := c.dims[0], c.dims[3]
		crop, paste := zeros(n, c.h, c.w, ch), zeros(c.dims...)
		for i, v := range base.F32() {
			paste.v[i] = float64(v)
		}
		for b := range n {
			for i := range c.h {
				for j := range c.w {
					for k := range ch {
						in := func(y, x int) int { return ((b*c.dims[1]+y)*c.dims[2]+x)*ch + k }
						crop.v[((b*c.h+i)*c.w+j)*ch+k] = float64(x.F32()[in(c.top+i, c.left+j)])
						paste.v[in(c.top+i, c.left+j)] = float64(x.F32()[in(i, j)])
					}
				}
			}
		}
		name := fmt.Sprintf("%d x %d at %d, %d of %v", c.h, c.w, c.top, c.left, c.dims)
		u.want("crop "+name, crop, u.exact(), func(s *engine.Stream) *engine.Tensor {
			return tiles.Crop(s, s.Put(x), c.top, c.left, c.h, c.w)
		})
		u.want("paste "+name, paste, u.exact(), func(s *engine.Stream) *engine.Tensor {
			y := s.Put(base)
			tiles.Paste(s, y, s.Put(x), c.top, c.left, c.h, c.w)
			return y
		})
	}
	for _, c := range []struct {
		a, b   []int
		extent int
		down   bool
	}{{[]int{1, 4, 3, 3}, []int{1, 5, 3, 3}, 2, true}, {[]int{2, 4, 6, 3}, []int{2, 4, 5, 3}, 4, false}, {[]int{1, 8, 9, 3}, []int{1, 8, 7, 3}, 8, true}, {[]int{1, 6, 4, 3}, []int{1, 5, 4, 3}, 1, false}} {
		a, b := u.random(c.a...), u.random(c.b...)
		y := zeros(c.b...)
		for i, v := range b.F32() {
			k, col, row, n := i%3, i/3%c.b[2], i/3/c.b[2]%c.b[1], i/3/c.b[2]/c.b[1]
			y.v[i] = float64(v)
			t, ay, ax := row, c.a[1]-c.extent+row, col
			if !c.down {
				t, ay, ax = col, row, c.a[2]-c.extent+col
			}
			if t < c.extent && ay < c.a[1] && ax < c.a[2] {
				f := float64(t) / float64(c.extent)
				y.v[i] = float64(a.F32()[((n*c.a[1]+ay)*c.a[2]+ax)*3+k])*(1-f) + float64(v)*f
			}
		}
		u.want(fmt.Sprintf("fade %v into %v over %d, down %t", c.a, c.b, c.extent, c.down), y, 1, func(s *engine.Stream) *engine.Tensor {
			to := s.Put(b)
			tiles.Fade(s, s.Put(a), to, c.extent, c.down)
			return to
		})
	}
	fails := func(f func(*engine.Stream, *engine.Tensor)) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			x := s.New(s.Float(), 1, 4, 4, 3)
			f(s, x)
			return x
		}
	}
	u.refuses([]refusal{
		{"crop", "tiles: net: crop of 3 x 3 at 2, 0 from [1 4 4 3]", fails(func(s *engine.Stream, x *engine.Tensor) {
			tiles.Crop(s, x, 2, 0, 3, 3)
		})},
		{"paste", "tiles: net: 4 x 4 of [1 4 4 3] at 0, 1 of [1 4 4 3]", fails(func(s *engine.Stream, x *engine.Tensor) {
			tiles.Paste(s, x, x, 0, 1, 4, 4)
		})},
		{"fade", "tiles: net: fade of [1 4 4 3] into [1 4 4 3] over 5", fails(func(s *engine.Stream, x *engine.Tensor) {
			tiles.Fade(s, x, x, 5, true)
		})},
	})
}
