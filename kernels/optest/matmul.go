package optest

import (
	"fmt"
	"testing"

	"parley/engine"
	"parley/kernels/conv"
	"parley/kernels/matmul"
)

// Linear is the suite of matmul.Linear.
func Linear(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	var next int
	check := func(name string, m, k, n int, e linearCase) {
		x, w := u.random(m, k), u.random(n, k)
		var bias, residual *engine.Tensor
		if e.bias {
			bias = u.random(n)
		}
		if e.residual {
			residual = u.random(m, n)
		}
		y := zeros(m, n)
		for i := range m {
			for j := range n {
				row, col := x.F32()[i*k:(i+1)*k], w.F32()[j*k:(j+1)*k]
				for p, v := range row {
					y.v[i*n+j] += float64(v) * float64(col[p])
				}
			}
		}
		epilogue(y.v, bias, acts[e.act].act, residual)
		u.want(fmt.Sprintf("%s [%d %d] [%d %d] act %s bias %t residual %t", name, m, k, n, k, acts[e.act].name, e.bias, e.residual), y, 1,
			func(s *engine.Stream) *engine.Tensor {
				return matmul.Linear(s, put(s, x), matmul.Pack(w.F32(), n, k), matmul.Epilogue{Bias: put(s, bias), Act: acts[e.act].act, Residual: put(s, residual)})
			})
	}
	cycle := func() linearCase {
		next++
		return linearCase{act: next % len(acts), bias: next/len(acts)%2 == 1, residual: next/len(acts)/2%2 == 1}
	}

	for range 4 * len(acts) {
		check("epilogue", 17, 29, 35, cycle())
	}
	for _, m := range []int{1, 2, 3, 5, 7, 13, 15, 29, 97} {
		for _, k := range []int{1, 3, 31, 97} {
			for _, n := range []int{1, 7, 33, 97} {
				check("odd", m, k, n, cycle())
			}
		}
	}
	for _, k := range []int{255, 256, 257, 511, 513, 1030} {
		check("depth", 19, k, 37, cycle())
	}
	for _, m := range []int{31, 32, 33, 47, 49, 111, 112, 113, 225} {
		check("rows", m, 20, 50, cycle())
	}
	for _, n := range []int{8, 16, 31, 32, 63, 64, 65, 300} {
		check("columns", 30, 20, n, cycle())
	}
	check("big", 500, 300, 200, linearCase{bias: true})
	check("big", 113, 600, 130, linearCase{bias: true, residual: true})
	check("deep", 3, 3000, 70, linearCase{})

	// Leading dimensions stay; one row may have none.
	x, w := u.random(2, 3, 5), u.random(4, 5)
	y := zeros(2, 3, 4)
	for i := range y.v {
		for p := range 5 {
			y.v[i] += float64(x.F32()[i/4*5+p]) * float64(w.F32()[i%4*5+p])
		}
	}
	u.want("three dimensions", y, 1, func(s *engine.Stream) *engine.Tensor {
		return matmul.Linear(s, s.Put(x), matmul.Pack(w.F32(), 4, 5), matmul.Epilogue{})
	})
	u.want("one dimension", result{engine.Shape{4}, y.v[:4]}, 1, func(s *engine.Stream) *engine.Tensor {
		return matmul.Linear(s, s.Put(x.Reshape(6, 5).Rows(0, 1).Reshape(5)), matmul.Pack(w.F32(), 4, 5), matmul.Epilogue{})
	})
	u.want("no rows", zeros(0, 4), 1, func(s *engine.Stream) *engine.Tensor {
		return matmul.Linear(s, s.New(engine.F32, 0, 5), matmul.Pack(w.F32(), 4, 5), matmul.Epilogue{})
	})

	linear := func(e matmul.Epilogue, dims ...int) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			return matmul.Linear(s, s.New(engine.F32, dims...), matmul.Pack(w.F32(), 4, 5), e)
		}
	}
	u.refuses([]refusal{
		{"width", "matmul: net: x [2 6], weights [4 5]", linear(matmul.Epilogue{}, 2, 6)},
		{"bias", "matmul: net: a bias of [5] for a result of [2 4]", linear(matmul.Epilogue{Bias: u.random(5)}, 2, 5)},
		{"residual", "matmul: net: a residual of [4 4] for a result of [2 4]", linear(matmul.Epilogue{Residual: u.random(4, 4)}, 2, 5)},
	})
}

type linearCase struct {
	act            int
	bias, residual bool
}

// Conv2D is the suite of conv.Conv2D.
func Conv2D(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	same1, same3 := conv.Same(1), conv.Same(3)
	for _, c := range []struct {
		name                string
		n, h, w, in, out, k int
		o                   conv.Options
		act                 int
		bias, residual      bool
	}{
		{name: "1x1", n: 2, h: 5, w: 7, in: 9, out: 11, k: 1, o: conv.Options{Pad: same1}},
		{name: "3x3", n: 2, h: 5, w: 7, in: 9, out: 11, k: 3, o: conv.Options{Pad: same3}, bias: true},
		{name: "one channel", n: 1, h: 6, w: 4, in: 1, out: 1, k: 3, o: conv.Options{Pad: same3}},
		{name: "one pixel", n: 3, h: 1, w: 1, in: 5, out: 3, k: 3, o: conv.Options{Pad: same3}, bias: true},
		{name: "one row", n: 1, h: 1, w: 19, in: 4, out: 6, k: 3, o: conv.Options{Pad: same3}},
		{name: "valid", n: 1, h: 9, w: 5, in: 3, out: 8, k: 3},
		{name: "even kernel", n: 1, h: 9, w: 8, in: 3, out: 8, k: 2, o: conv.Options{Pad: conv.Pad{Bottom: 1, Right: 1}}},
		{name: "patches", n: 2, h: 15, w: 14, in: 3, out: 10, k: 4, o: conv.Options{Stride: 4}},
		{name: "stride 2 1x1", n: 1, h: 7, w: 6, in: 5, out: 4, k: 1, o: conv.Options{Stride: 2}, bias: true},
		{name: "stride 2 symmetric", n: 2, h: 8, w: 6, in: 5, out: 7, k: 3, o: conv.Options{Stride: 2, Pad: same3}, bias: true},
		{name: "stride 2 symmetric odd", n: 1, h: 7, w: 9, in: 5, out: 7, k: 3, o: conv.Options{Stride: 2, Pad: same3}},
		{name: "stride 2 bottom right", n: 2, h: 8, w: 6, in: 5, out: 7, k: 3, o: conv.Options{Stride: 2, Pad: conv.Pad{Bottom: 1, Right: 1}}, bias: true},
		{name: "stride 2 bottom right odd", n: 1, h: 7, w: 9, in: 5, out: 7, k: 3, o: conv.Options{Stride: 2, Pad: conv.Pad{Bottom: 1, Right: 1}}},
		{name: "stride 2 top left", n: 1, h: 7, w: 8, in: 2, out: 3, k: 3, o: conv.Options{Stride: 2, Pad: conv.Pad{Top: 1, Left: 1}}},
		{name: "wide padding", n: 1, h: 3, w: 4, in: 2, out: 3, k: 3, o: conv.Options{Pad: conv.Pad{Top: 3, Left: 2, Bottom: 4, Right: 5}}},
		{name: "upsample", n: 2, h: 3, w: 5, in: 7, out: 9, k: 3, o: conv.Options{Pad: same3, Upsample: true}, bias: true},
		{name: "upsample one pixel", n: 1, h: 1, w: 1, in: 7, out: 9, k: 3, o: conv.Options{Pad: same3, Upsample: true}},
		{name: "upsample 1x1", n: 1, h: 3, w: 2, in: 3, out: 2, k: 1, o: conv.Options{Upsample: true}},
		{name: "residual", n: 2, h: 4, w: 6, in: 8, out: 24, k: 3, o: conv.Options{Pad: same3}, bias: true, residual: true},
		{name: "residual, stride 2", n: 1, h: 4, w: 6, in: 8, out: 24, k: 3, o: conv.Options{Pad: same3, Stride: 2}, residual: true},
		{name: "silu, residual", n: 1, h: 4, w: 6, in: 8, out: 24, k: 3, o: conv.Options{Pad: same3}, act: 1, bias: true, residual: true},
		{name: "depth of a block", n: 1, h: 5, w: 6, in: 32, out: 40, k: 3, o: conv.Options{Pad: same3}, bias: true},
		{name: "taps across blocks", n: 1, h: 5, w: 6, in: 57, out: 33, k: 3, o: conv.Options{Pad: same3}, bias: true},
		{name: "channels above a block", n: 1, h: 3, w: 5, in: 300, out: 17, k: 3, o: conv.Options{Pad: same3}},
		{name: "1x1 above a block", n: 1, h: 9, w: 5, in: 513, out: 17, k: 1},
		{name: "rows above a block", n: 2, h: 24, w: 11, in: 6, out: 5, k: 3, o: conv.Options{Pad: same3}, bias: true},
		{name: "level of a unet", n: 2, h: 8, w: 24, in: 72, out: 40, k: 3, o: conv.Options{Pad: same3}, bias: true, residual: true},
	} {
		stride := max(c.o.Stride, 1)
		x, w := u.random(c.n, c.h, c.w, c.in), u.random(c.out, c.in, c.k, c.k)
		up := 1
		if c.o.Upsample {
			up = 2
		}
		y := zeros(c.n, (c.h*up+c.o.Pad.Top+c.o.Pad.Bottom-c.k)/stride+1, (c.w*up+c.o.Pad.Left+c.o.Pad.Right-c.k)/stride+1, c.out)
		at := 0
		for n := range y.dims[0] {
			for i := range y.dims[1] {
				for j := range y.dims[2] {
					for o := range c.out {
						for a := range c.k {
							for b := range c.k {
								py, px := i*stride+a-c.o.Pad.Top, j*stride+b-c.o.Pad.Left
								if py < 0 || px < 0 || py >= c.h*up || px >= c.w*up {
									continue
								}
								for ch := range c.in {
									y.v[at] += float64(x.F32()[((n*c.h+py/up)*c.w+px/up)*c.in+ch]) * float64(w.F32()[((o*c.in+ch)*c.k+a)*c.k+b])
								}
							}
						}
						at++
					}
				}
			}
		}
		var bias, residual *engine.Tensor
		if c.bias {
			bias = u.random(c.out)
		}
		if c.residual {
			residual = u.random(y.dims...)
		}
		epilogue(y.v, bias, acts[c.act].act, residual)
		u.want(c.name, y, 1, func(s *engine.Stream) *engine.Tensor {
			o := c.o
			o.Epilogue = matmul.Epilogue{Bias: put(s, bias), Act: acts[c.act].act, Residual: put(s, residual)}
			return conv.Conv2D(s, s.Put(x), conv.Pack(w.F32(), c.out, c.in, c.k, c.k), o)
		})
	}

	run := func(o conv.Options, dims ...int) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			return conv.Conv2D(s, s.New(engine.F32, dims...), conv.Pack(make([]float32, 5*4*9), 5, 4, 3, 3), o)
		}
	}
	u.refuses([]refusal{
		{"channels", "conv: net: x [1 8 8 3], filters [5 4 3 3]", run(conv.Options{}, 1, 8, 8, 3)},
		{"three dimensions", "conv: net: x [8 8 4], filters [5 4 3 3]", run(conv.Options{}, 8, 8, 4)},
		{"small", "conv: net: x [1 2 8 4] is smaller than the filters [3 3]", run(conv.Options{}, 1, 2, 8, 4)},
		{"small, stride 2", "conv: net: x [1 8 2 4] is smaller than the filters [3 3]", run(conv.Options{Stride: 2}, 1, 8, 2, 4)},
		{"bias", "conv: net: a bias of [4] for a result of [1 6 6 5]", run(conv.Options{Epilogue: matmul.Epilogue{Bias: u.random(4)}}, 1, 8, 8, 4)},
		{"residual", "conv: net: a residual of [1 8 8 5] for a result of [1 6 6 5]", run(conv.Options{Epilogue: matmul.Epilogue{Residual: u.random(1, 8, 8, 5)}}, 1, 8, 8, 4)},
	})
}
