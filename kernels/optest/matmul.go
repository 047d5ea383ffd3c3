package optest

import (
	"fmt"
	"math"
	"testing"

	"parley/engine"
	"parley/kernels/conv"
	"parley/kernels/matmul"
	"parley/kernels/storage"
)

// Linear is the suite of matmul.Linear.
func Linear(t *testing.T, dev engine.Device) {
	u := products(t, dev)
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
		y, squares := zeros(m, n), 0.0
		for i := range m {
			for j := range n {
				row, col := x.F32()[i*k:(i+1)*k], w.F32()[j*k:(j+1)*k]
				for p, v := range row {
					term := float64(v) * float64(col[p])
					y.v[i*n+j] += term
					squares += term * term
				}
			}
		}
		epilogue(y.v, bias, acts[e.act].act, residual)
		more := 1.0
		if !exact(dev) { // rounded factors lose of each term, whatever is left of the sum
			more = max(1, math.Sqrt(squares)/norm2(y.v))
		}
		u.want(fmt.Sprintf("%s [%d %d] [%d %d] act %s bias %t residual %t", name, m, k, n, k, acts[e.act].name, e.bias, e.residual), y, more,
			func(s *engine.Stream) *engine.Tensor {
				return matmul.Linear(s, put(s, x), must(matmul.Pack(u.dev, storage.Values(w.F32()), n, k)),
					matmul.Epilogue{Bias: vector(s, bias), Act: acts[e.act].act, Residual: put(s, residual)})
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
		return matmul.Linear(s, s.Put(x), must(matmul.Pack(u.dev, storage.Values(w.F32()), 4, 5)), matmul.Epilogue{})
	})
	u.want("one dimension", result{engine.Shape{4}, y.v[:4]}, 1, func(s *engine.Stream) *engine.Tensor {
		return matmul.Linear(s, s.Put(x.Reshape(6, 5).Rows(0, 1).Reshape(5)), must(matmul.Pack(u.dev, storage.Values(w.F32()), 4, 5)), matmul.Epilogue{})
	})
	u.want("no rows", zeros(0, 4), 1, func(s *engine.Stream) *engine.Tensor {
		return matmul.Linear(s, s.New(engine.F32, 0, 5), must(matmul.Pack(u.dev, storage.Values(w.F32()), 4, 5)), matmul.Epilogue{})
	})

	// A sample's bias is added to all of its rows; logits are f32.
	for _, c := range []struct {
		m, n, parts int
		act         int
	}{{6, 5, 1, 0}, {6, 9, 3, 1}, {90, 40, 2, 2}, {64, 33, 64, 0}} {
		x, w, bias, sampleBias := u.random(c.m, 11), u.random(c.n, 11), u.random(c.n), u.random(c.parts, c.n)
		y := zeros(c.m, c.n)
		for i := range y.v {
			for p := range 11 {
				y.v[i] += float64(x.F32()[i/c.n*11+p]) * float64(w.F32()[i%c.n*11+p])
			}
			y.v[i] += float64(sampleBias.F32()[i/c.n/(c.m/c.parts)*c.n+i%c.n])
		}
		epilogue(y.v, bias, acts[c.act].act, nil)
		u.want(fmt.Sprintf("sample bias of %d samples of %d rows", c.parts, c.m), y, 1, func(s *engine.Stream) *engine.Tensor {
			return matmul.Linear(s, s.Put(x), must(matmul.Pack(u.dev, storage.Values(w.F32()), c.n, 11)),
				matmul.Epilogue{Bias: vector(s, bias), SampleBias: s.Put(sampleBias), Act: acts[c.act].act})
		})
	}
	for _, c := range []struct{ m, k, n int }{{1, 1, 1}, {5, 7, 3}, {33, 20, 97}, {130, 64, 160}} {
		x, w, bias := u.random(c.m, c.k), u.random(2*c.n, c.k), u.random(2*c.n)
		wide, y := zeros(c.m, 2*c.n), zeros(c.m, c.n)
		for i := range wide.v {
			for p := range c.k {
				wide.v[i] += float64(x.F32()[i/(2*c.n)*c.k+p]) * float64(w.F32()[i%(2*c.n)*c.k+p])
			}
		}
		epilogue(wide.v, bias, matmul.None, nil)
		for i := range y.v {
			row := wide.v[i/c.n*2*c.n:]
			y.v[i] = row[i%c.n] * activation(matmul.GELU, row[c.n+i%c.n])
		}
		u.want(fmt.Sprintf("geglu [%d %d] [%d %d]", c.m, c.k, 2*c.n, c.k), y, 1, func(s *engine.Stream) *engine.Tensor {
			return matmul.Linear(s, s.Put(x), must(matmul.Pack(u.dev, storage.Values(w.F32()), 2*c.n, c.k)), matmul.Epilogue{Bias: vector(s, bias), GEGLU: true})
		})
	}
	u.want("logits", zeros(3, 4), 1, func(s *engine.Stream) *engine.Tensor {
		y := matmul.Linear(s, s.Put(engine.FromF32(make([]float32, 15), 3, 5)), must(matmul.Pack(u.dev, storage.Values(w.F32()), 4, 5)),
			matmul.Epilogue{Logits: true})
		if y.DType() != engine.F32 {
			u.Errorf("logits are %v", y.DType())
		}
		return y
	})

	// A product is scaled before anything joins it, each half of a gated one too.
	for _, gated := range []bool{false, true} {
		const m, k, n, scale = 7, 40, 18, 0.125
		x, w, bias := u.random(m, k), u.random(n, k), u.random(n)
		wide := zeros(m, n)
		for i := range wide.v {
			for p := range k {
				wide.v[i] += scale * float64(x.F32()[i/n*k+p]) * float64(w.F32()[i%n*k+p])
			}
		}
		epilogue(wide.v, bias, matmul.None, nil)
		y, e := wide, matmul.Epilogue{Scale: scale, GEGLU: gated}
		if gated {
			y = zeros(m, n/2)
			for i := range y.v {
				row := wide.v[i/(n/2)*n:]
				y.v[i] = row[i%(n/2)] * activation(matmul.GELU, row[n/2+i%(n/2)])
			}
		}
		u.want(fmt.Sprintf("scale, geglu %t", gated), y, 1, func(s *engine.Stream) *engine.Tensor {
			e.Bias = vector(s, bias)
			return matmul.Linear(s, s.Put(x), must(matmul.Pack(u.dev, storage.Values(w.F32()), n, k)), e)
		})
	}

	linear := func(e matmul.Epilogue, dims ...int) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			return matmul.Linear(s, s.New(engine.F32, dims...), must(matmul.Pack(u.dev, storage.Values(w.F32()), 4, 5)), e)
		}
	}
	u.refuses([]refusal{
		{"width", "matmul: net: x [2 6], weights [4 5]", linear(matmul.Epilogue{}, 2, 6)},
		{"bias", "matmul: net: a bias of [5] for a result of [2 4]", linear(matmul.Epilogue{Bias: u.random(5)}, 2, 5)},
		{"sample bias", "matmul: net: a sample bias of [3 4] for a result of [2 4]", linear(matmul.Epilogue{SampleBias: u.random(3, 4)}, 2, 5)},
		{"geglu", "matmul: net: geglu with another activation or a sum", linear(matmul.Epilogue{GEGLU: true, Act: matmul.SiLU}, 2, 5)},
		{"residual", "matmul: net: a residual of [4 4] for a result of [2 4]", linear(matmul.Epilogue{Residual: u.random(4, 4)}, 2, 5)},
	})
}

type linearCase struct {
	act            int
	bias, residual bool
}

// Conv2D is the suite of conv.Conv2D.
func Conv2D(t *testing.T, dev engine.Device) {
	u := products(t, dev)
	same1, same3 := conv.Same(1), conv.Same(3)
	for _, c := range []struct {
		name                string
		n, h, w, in, out, k int
		o                   conv.Options
		act                 int
		bias, residual      bool
		concat, parts       int // channels in a second input; rows that are added to the samples
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
		{name: "stride 2 bottom right", n: 2, h: 8, w: 6, in: 5, out: 7, k: 3, o: conv.Options{Stride: 2, Pad: conv.Pad{Bottom: 1, Right: 1}},
			bias: true},
		{name: "stride 2 bottom right odd", n: 1, h: 7, w: 9, in: 5, out: 7, k: 3,
			o: conv.Options{Stride: 2, Pad: conv.Pad{Bottom: 1, Right: 1}}},
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
		{name: "concat", n: 2, h: 5, w: 6, in: 7, out: 9, k: 3, o: conv.Options{Pad: same3}, concat: 3, bias: true},
		{name: "concat, 1x1", n: 1, h: 4, w: 7, in: 48, out: 24, k: 1, concat: 16, bias: true},
		{name: "concat, above a block", n: 1, h: 4, w: 5, in: 300, out: 8, k: 3, o: conv.Options{Pad: same3}, concat: 41},
		{name: "each sample", n: 3, h: 4, w: 5, in: 8, out: 6, k: 3, o: conv.Options{Pad: same3}, parts: 3, bias: true},
		{name: "all samples", n: 3, h: 4, w: 5, in: 8, out: 16, k: 3, o: conv.Options{Pad: same3}, parts: 1, bias: true},
		{name: "level of a unet", n: 2, h: 8, w: 24, in: 72, out: 40, k: 3, o: conv.Options{Pad: same3}, bias: true, residual: true},
		{name: "levels of a unet", n: 2, h: 13, w: 18, in: 40, out: 48, k: 3, o: conv.Options{Pad: same3}, bias: true, parts: 2, act: 1,
			residual: true},
		{name: "upsampler of a unet", n: 1, h: 7, w: 6, in: 136, out: 40, k: 3, o: conv.Options{Pad: same3, Upsample: true}, bias: true},
		{name: "upsample, one row, padding of two", n: 2, h: 1, w: 9, in: 20, out: 34, k: 3,
			o: conv.Options{Pad: conv.Pad{Top: 2, Left: 1, Bottom: 2}, Upsample: true}},
		{name: "concat, three chunks", n: 1, h: 5, w: 9, in: 150, out: 65, k: 3, o: conv.Options{Pad: same3}, concat: 60, bias: true,
			residual: true},
		{name: "concat, a chunk's border", n: 1, h: 8, w: 8, in: 128, out: 32, k: 3, o: conv.Options{Pad: same3}, concat: 64, bias: true},
		{name: "valid, many channels", n: 1, h: 12, w: 15, in: 32, out: 64, k: 3, act: 2, bias: true},
		{name: "depth above a block", n: 1, h: 8, w: 9, in: 400, out: 33, k: 3, o: conv.Options{Pad: same3}, bias: true},
		{name: "level of a vae", n: 1, h: 30, w: 41, in: 16, out: 16, k: 3, o: conv.Options{Pad: same3}, bias: true, residual: true},
	} {
		stride := max(c.o.Stride, 1)
		x, w := u.random(c.n, c.h, c.w, c.in), u.random(c.out, c.in, c.k, c.k)
		left, right := split(x, c.concat)
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
		var sampleBias *engine.Tensor
		if c.parts > 0 {
			sampleBias = u.random(c.parts, c.out)
			for i := range y.v {
				y.v[i] += float64(sampleBias.F32()[i/(len(y.v)/c.parts)*c.out+i%c.out])
			}
		}
		epilogue(y.v, bias, acts[c.act].act, residual)
		u.want(c.name, y, 1, func(s *engine.Stream) *engine.Tensor {
			o := c.o
			o.Concat = put(s, right)
			o.Epilogue = matmul.Epilogue{Bias: vector(s, bias), SampleBias: put(s, sampleBias), Act: acts[c.act].act, Residual: put(s, residual)}
			return conv.Conv2D(s, s.Put(left), must(conv.Pack(u.dev, storage.Values(w.F32()), c.out, c.in, c.k, c.k)), o)
		})
	}

	run := func(o conv.Options, dims ...int) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			return conv.Conv2D(s, s.New(engine.F32, dims...), must(conv.Pack(u.dev, storage.Values(make([]float32, 5*4*9)), 5, 4, 3, 3)), o)
		}
	}
	u.refuses([]refusal{
		{"channels", "conv: net: x [1 8 8 3], filters [5 4 3 3]", run(conv.Options{}, 1, 8, 8, 3)},
		{"concat", "conv: net: x [1 8 8 3] with [1 8 4 1], filters [5 4 3 3]", run(conv.Options{Concat: u.random(1, 8, 4, 1)}, 1, 8, 8, 3)},
		{"three dimensions", "conv: net: x [8 8 4], filters [5 4 3 3]", run(conv.Options{}, 8, 8, 4)},
		{"small", "conv: net: x [1 2 8 4] is smaller than the filters [3 3]", run(conv.Options{}, 1, 2, 8, 4)},
		{"small, stride 2", "conv: net: x [1 8 2 4] is smaller than the filters [3 3]", run(conv.Options{Stride: 2}, 1, 8, 2, 4)},
		{"bias", "conv: net: a bias of [4] for a result of [1 6 6 5]",
			run(conv.Options{Epilogue: matmul.Epilogue{Bias: u.random(4)}}, 1, 8, 8, 4)},
		{"residual", "conv: net: a residual of [1 8 8 5] for a result of [1 6 6 5]",
			run(conv.Options{Epilogue: matmul.Epilogue{Residual: u.random(1, 8, 8, 5)}}, 1, 8, 8, 4)},
	})
}

// split parts the last channels of x from the others; nil when they are none.
func split(x *engine.Tensor, last int) (left, right *engine.Tensor) {
	if last == 0 {
		return x, nil
	}
	c := x.Dim(-1)
	dims := append([]int(nil), x.Shape()...)
	var a, b []float32
	for i, v := range x.F32() {
		if i%c < c-last {
			a = append(a, v)
		} else {
			b = append(b, v)
		}
	}
	dims[len(dims)-1] = c - last
	left = engine.FromF32(a, dims...)
	dims[len(dims)-1] = last
	return left, engine.FromF32(b, dims...)
}
