package optest

import (
	"fmt"
	"math"
	"testing"

	"parley/engine"
	"parley/kernels/resize"
	"parley/kernels/rgb"
)

// RGB is the suite of package rgb.
func RGB(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	for _, c := range []struct {
		n, ih, iw int
		part      resize.Window
	}{
		{1, 1, 1, resize.Window{H: 1, W: 1}},
		{2, 7, 9, resize.Window{H: 5, W: 4}},
		{1, 1, 40, resize.Window{H: 3, W: 17}},
		{1, 40, 1, resize.Window{H: 17, W: 3}},
		{1, 5, 6, resize.Window{H: 31, W: 40}},
		{3, 20, 33, resize.Window{H: 20, W: 70}},
		{2, 33, 20, resize.Window{Top: 20, Left: 3, H: 9, W: 11}},
		{1, 12, 15, resize.Window{Top: 2, Left: 5, H: 7, W: 10}},
		{2, 64, 48, resize.Window{Top: 3, Left: 0, H: 16, W: 16}},
		{1, 300, 200, resize.Window{Top: 7, Left: 4, H: 1, W: 1}},
		{1, 3, 2, resize.Window{Top: 500, Left: 590, H: 4, W: 6}},
		{1, 9, 14, resize.Window{Top: 1, Left: 0, H: 3, W: 7}},
		{1, 9, 7, resize.Window{Top: 1, Left: 5, H: 9, W: 7}},
	} {
		x := u.pictures(c.n, c.ih, c.iw, 3)
		levels := &rgb.Levels{}
		for i := range 768 {
			levels[i/256][i%256] = float32(u.rng.NormFloat64())
		}
		for _, part := range []resize.Window{c.part, {Top: -1, Left: 2, H: c.ih + 3, W: 4}, {Top: c.ih / 2, Left: -3, H: 2, W: c.iw + 5}} {
			y := zeros(c.n, part.H, part.W, 3)
			for i := range y.v {
				k, sx, sy, b := i%3, i/3%part.W+part.Left, i/3/part.W%part.H+part.Top, i/3/part.W/part.H
				level := uint8(0)
				if sx >= 0 && sx < c.iw && sy >= 0 && sy < c.ih {
					level = x.U8()[((b*c.ih+sy)*c.iw+sx)*3+k]
				}
				y.v[i] = float64(u.round(engine.FromF32([]float32{levels[k][level]}, 1)).F32()[0])
			}
			u.want(fmt.Sprintf("normalise %v, %+v", x.Shape(), part), y, u.exact(), func(s *engine.Stream) *engine.Tensor {
				to := s.New(s.Float(), c.n, part.H, part.W, 3)
				rgb.Normalise(s, to, s.Put(x), part, levels)
				return to
			})
		}
	}
	// Each byte and what lies half-way between two, beyond both ends, and chance.
	var v []float32
	for i := range 256 {
		v = append(v, float32(i)/127.5-1, float32(i)/128-1, (float32(i)+0.5)/127.5-1, 3*float32(u.rng.NormFloat64()))
	}
	x := u.round(engine.FromF32(append(v, -1, 1, -60000, 60000), 1, 2, 257, 2))
	y := zeros(x.Shape()...)
	for i, v := range x.F32() {
		y.v[i] = math.RoundToEven(float64(min(max(v/2+0.5, 0), 1) * 255))
	}
	u.want("bytes", y, u.exact(), func(s *engine.Stream) *engine.Tensor { return rgb.Bytes(s, s.Put(x)) })

	u.refuses([]refusal{
		{"normalise", "rgb: net: {Top:0 Left:0 H:2 W:2} of pictures [1 4 4 3] u8 in [1 2 3 3]", func(s *engine.Stream) *engine.Tensor {
			to := s.New(s.Float(), 1, 2, 3, 3)
			rgb.Normalise(s, to, s.New(engine.U8, 1, 4, 4, 3), resize.Window{H: 2, W: 2}, &rgb.Levels{})
			return to
		}},
	})
}
