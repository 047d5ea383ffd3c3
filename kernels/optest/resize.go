package optest

import (
	"fmt"
	"math"
	"testing"

	"parley/engine"
	"parley/kernels/resize"
)

// pillow is what each of in source pixels weighs in target pixel i of out, in
// Pillow's fixed point; it weighs those that the filter reaches.
func pillow(f resize.Filter, in, out, i int) []int {
	w, scale := make([]int, in), float64(in)/float64(out)
	if f == resize.Nearest {
		at := scale / 2
		for range i { // whose roundings add up
			at += scale
		}
		w[min(int(at), in-1)] = 1 << 22
		return w
	}
	if in == out {
		w[i] = 1 << 22
		return w
	}
	cubic := func(x, a float64) float64 {
		switch x = math.Abs(x); {
		case x < 1:
			return ((a+2)*x-(a+3))*x*x + 1
		case x < 2:
			return (((x-5)*x+8)*x - 4) * a
		}
		return 0
	}
	sinc := func(x float64) float64 {
		if x == 0 {
			return 1
		}
		return math.Sin(x*math.Pi) / (x * math.Pi)
	}
	reach, kernel := 0.5, func(x float64) float64 {
		if x > -0.5 && x <= 0.5 {
			return 1
		}
		return 0
	}
	switch f {
	case resize.Bilinear:
		reach, kernel = 1, func(x float64) float64 { return max(0, 1-math.Abs(x)) }
	case resize.Bicubic:
		reach, kernel = 2, func(x float64) float64 { return cubic(x, -0.5) }
	case resize.Lanczos:
		reach, kernel = 3, func(x float64) float64 {
			if x <= -3 || x >= 3 {
				return 0
			}
			return sinc(x) * sinc(x/3)
		}
	}
	wide := max(scale, 1)
	center := (float64(i) + 0.5) * scale
	lo, hi := max(int(center-reach*wide+0.5), 0), min(int(center+reach*wide+0.5), in)
	v, sum := make([]float64, in), 0.0
	for j := lo; j < hi; j++ {
		v[j] = kernel((float64(j) - center + 0.5) * (1 / wide))
		sum += v[j]
	}
	for j := lo; j < hi; j++ {
		w[j] = int(math.Round(v[j] / sum * (1 << 22)))
	}
	return w
}

// pictures is a host tensor of bytes, dark ones and 0, too.
func (u *suite) pictures(dims ...int) *engine.Tensor {
	x := make([]uint8, engine.Shape(dims).Elems())
	for i := range x {
		x[i] = uint8(u.rng.Uint32() >> (u.rng.Uint32() % 9))
		if i%3 == 0 {
			x[i] = -x[i]
		}
	}
	return engine.FromU8(x, dims...)
}

// Resize is the suite of resize.Resize. It is exact: where a weight lies half-way
// between two, it is rounded as Pillow rounds it.
func Resize(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	whole := func(h, w int) resize.Window { return resize.Window{H: h, W: w} }
	for _, c := range []struct {
		n, ih, iw, h, w int
		part            resize.Window
	}{
		{1, 1, 1, 1, 1, whole(1, 1)},
		{2, 7, 9, 5, 4, whole(5, 4)},
		{1, 1, 40, 3, 17, whole(3, 17)},
		{1, 40, 1, 17, 3, whole(17, 3)},
		{1, 5, 6, 31, 40, whole(31, 40)},
		{3, 20, 33, 20, 70, whole(20, 70)},
		{2, 33, 20, 70, 20, resize.Window{Top: 20, Left: 3, H: 9, W: 11}},
		{1, 12, 15, 12, 15, resize.Window{Top: 2, Left: 5, H: 7, W: 10}},
		{2, 64, 48, 21, 16, resize.Window{Top: 3, Left: 0, H: 16, W: 16}},
		{1, 300, 200, 8, 5, resize.Window{Top: 7, Left: 4, H: 1, W: 1}},
		{1, 3, 2, 900, 600, resize.Window{Top: 500, Left: 590, H: 4, W: 6}},
		{1, 9, 14, 18, 7, resize.Window{Top: 1, Left: 0, H: 3, W: 7}}, // as wide as half of the source
		{1, 9, 7, 18, 14, resize.Window{Top: 1, Left: 5, H: 9, W: 7}}, // as wide as the source
	} {
		x := u.pictures(c.n, c.ih, c.iw, 3)
		for f := resize.Nearest; f <= resize.Box; f++ {
			clip := func(v int) int { return min(max((v+1<<21)>>22, 0), 255) }
			y := zeros(c.n, c.part.H, c.part.W, 3)
			across := make([][]int, c.part.W)
			for j := range across {
				across[j] = pillow(f, c.iw, c.w, c.part.Left+j)
			}
			for b := range c.n {
				for i := range c.part.H {
					down := pillow(f, c.ih, c.h, c.part.Top+i)
					for j := range c.part.W {
						for k := range 3 {
							sum := 0
							for r, q := range down {
								if q == 0 {
									continue
								}
								row := 0
								for s, p := range across[j] {
									row += p * int(x.U8()[((b*c.ih+r)*c.iw+s)*3+k])
								}
								sum += q * clip(row)
							}
							y.v[((b*c.part.H+i)*c.part.W+j)*3+k] = float64(clip(sum))
						}
					}
				}
			}
			u.want(fmt.Sprintf("resize %d of %v to %d x %d, %+v", f, x.Shape(), c.h, c.w, c.part), y, u.exact(), func(s *engine.Stream) *engine.Tensor {
				return resize.Resize(s, s.Put(x), c.h, c.w, f, c.part)
			})
		}
	}

	scaled := func(x []int, h, w int, part resize.Window) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			return resize.Resize(s, s.New(engine.U8, x...), h, w, resize.Bicubic, part)
		}
	}
	u.refuses([]refusal{
		{"channels", "pictures [1 4 4 1] u8 at 2 x 2", scaled([]int{1, 4, 4, 1}, 2, 2, whole(2, 2))},
		{"an empty picture", "pictures [1 0 4 3] u8 at 2 x 2", scaled([]int{1, 0, 4, 3}, 2, 2, whole(2, 2))},
		{"no pixels", "{Top:0 Left:0 H:0 W:2} of pictures [1 4 4 3] u8 at 0 x 2", scaled([]int{1, 4, 4, 3}, 0, 2, whole(0, 2))},
		{"a window outside", "{Top:1 Left:0 H:2 W:2} of pictures [1 4 4 3] u8 at 2 x 2", scaled([]int{1, 4, 4, 3}, 2, 2, resize.Window{Top: 1, H: 2, W: 2})},
		{"too many pixels", "pictures [1 4 4 3] u8 at 40000 x 40000", scaled([]int{1, 4, 4, 3}, 40000, 40000, whole(40000, 40000))},
		{"too many pixels on the way", "pictures [1 90000 4 3] at 8 x 40000: 90000 rows of 40000 pixels", scaled([]int{1, 90000, 4, 3}, 8, 40000, whole(8, 40000))},
		{"floats", "pictures [1 2 2 3] f32", func(s *engine.Stream) *engine.Tensor {
			return resize.Resize(s, s.New(engine.F32, 1, 2, 2, 3), 1, 1, resize.Box, whole(1, 1))
		}},
	})
}
