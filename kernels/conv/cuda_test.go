package conv_test

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"testing"

	"parley/engine/cuda/ptx"
	"parley/kernels/matmul"
	"parley/kernels/optest"
	"parley/kernels/optest/kernel"
)

//go:embed op.tar.zst
var image string

// entry is a kernel of op.cu and what it may be given.
type entry struct {
	name            string
	f16             bool
	rows, cols      int // of a block's tile
	threads, shared int
	multiple        int // what counts of channels are multiples of
}

var entries = []entry{
	{"conv_f16_256x128x32", true, 256, 128, 256, 98304, 8},
	{"conv_f16_128x160x32", true, 128, 160, 256, 73728, 8},
	{"conv_f16_256x64x32", true, 256, 64, 256, 81920, 8},
	{"conv_f16_128x128x32", true, 128, 128, 128, 65536, 8},
	{"conv_f16_64x64x32", true, 64, 64, 128, 32768, 8},
	{"conv_f16_any", true, 64, 64, 128, 32768, 1},
	{"conv_f32_64x64x16", false, 64, 64, 128, 24576, 4},
	{"conv_f32_any", false, 64, 64, 128, 24576, 1},
}

// convolution is a call of a kernel.
type convolution struct {
	n, h, w, c1, c2, out       int
	kh, kw, strideY, strideX   int
	top, left, bottom, right   int
	shift, splits              int
	bias, sampleBias, residual bool
	act                        matmul.Act
}

// same is an odd square kernel of stride 1 that keeps the size.
func same(n, h, w, c, out, k int) convolution {
	p := k / 2
	return convolution{n: n, h: h, w: w, c1: c, out: out, kh: k, kw: k, strideY: 1, strideX: 1, top: p, left: p, bottom: p, right: p}
}

func (c convolution) with(f func(*convolution)) convolution {
	f(&c)
	return c
}

var convolutions = []convolution{
	same(1, 1, 1, 1, 1, 1),
	same(1, 1, 1, 8, 8, 3),
	same(2, 3, 5, 8, 16, 3).with(func(c *convolution) { c.bias = true }),
	same(1, 5, 4, 3, 7, 3).with(func(c *convolution) { c.bias, c.act = true, matmul.SiLU }),
	same(2, 6, 5, 24, 20, 3).with(func(c *convolution) { c.c2, c.bias, c.sampleBias, c.residual = 16, true, true, true }),
	same(1, 4, 4, 5, 9, 3).with(func(c *convolution) { c.c2, c.residual = 6, true }),
	same(2, 4, 6, 40, 12, 1).with(func(c *convolution) { c.c2, c.bias = 8, true }),
	same(2, 3, 4, 16, 8, 3).with(func(c *convolution) { c.shift, c.bias = 1, true }),
	same(1, 1, 1, 8, 4, 3).with(func(c *convolution) { c.shift = 1 }),
	same(1, 3, 5, 4, 6, 1).with(func(c *convolution) { c.shift = 1 }),
	same(2, 8, 8, 8, 24, 3).with(func(c *convolution) { c.strideY, c.strideX, c.sampleBias = 2, 2, true }),
	// The encoder's stride: a row and a column of zeros behind, none before.
	same(1, 7, 6, 16, 8, 3).with(func(c *convolution) { c.strideY, c.strideX, c.top, c.left = 2, 2, 0, 0 }),
	// A patch embedding, and the same by runs of a row.
	{n: 2, h: 8, w: 12, c1: 3, out: 10, kh: 4, kw: 4, strideY: 4, strideX: 4, bias: true},
	{n: 2, h: 8, w: 3, c1: 16, out: 10, kh: 4, kw: 1, strideY: 4, strideX: 1, bias: true},
	{n: 1, h: 9, w: 7, c1: 8, out: 8, kh: 5, kw: 2, strideY: 1, strideX: 3, top: 1, left: 2, bottom: 3},
	same(3, 9, 10, 32, 70, 3).with(func(c *convolution) { c.residual, c.bias, c.act = true, true, matmul.SiLU }),
	same(2, 9, 15, 64, 132, 3).with(func(c *convolution) { c.splits, c.bias, c.sampleBias, c.residual = 4, true, true, true }),
	same(1, 3, 3, 7, 5, 3).with(func(c *convolution) { c.splits, c.bias = 2, true }),
	same(1, 17, 16, 48, 164, 1).with(func(c *convolution) { c.bias = true }),
}

// random is values on the device and what they are there.
func random(r *kernel.Room, rng *rand.Rand, f16 bool, n int) (kernel.Array, []float32) {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return r.Float(f16, v), v
}

// run computes a convolution and compares it with loops in float64.
func (e entry) run(r *kernel.Room, rng *rand.Rand, c convolution) (ptx.Counts, []float32) {
	oh := (c.h<<c.shift+c.top+c.bottom-c.kh)/c.strideY + 1
	ow := (c.w<<c.shift+c.left+c.right-c.kw)/c.strideX + 1
	m, in := c.n*oh*ow, c.c1+c.c2
	depth := c.kh * c.kw * in
	ld := (depth + 7) / 8 * 8
	filled := make([]float32, c.out*ld)
	for i := range c.out {
		for j := range depth {
			filled[i*ld+j] = float32(rng.NormFloat64())
		}
	}
	w := r.Float(e.f16, filled)
	x1, xv := random(r, rng, e.f16, c.n*c.h*c.w*c.c1)
	var x2, bias, sampleBias, residual, partials any
	var x2v, bv, ev, rv []float32
	if c.c2 > 0 {
		x2, x2v = random(r, rng, e.f16, c.n*c.h*c.w*c.c2)
	}
	if c.bias {
		bias, bv = random(r, rng, false, c.out)
	}
	if c.sampleBias {
		sampleBias, ev = random(r, rng, e.f16, c.n*c.out)
	}
	if c.residual {
		residual, rv = random(r, rng, e.f16, m*c.out)
	}
	want := make([]float64, m*c.out)
	for at := range want {
		o, p := at%c.out, at/c.out
		ox, oy, s := p%ow, p/ow%oh, p/ow/oh
		var v float64
		for a := range c.kh {
			for b := range c.kw {
				y, x := oy*c.strideY+a-c.top, ox*c.strideX+b-c.left
				if y < 0 || x < 0 || y >= c.h<<c.shift || x >= c.w<<c.shift {
					continue
				}
				pixel := (s*c.h+y>>c.shift)*c.w + x>>c.shift
				for ch := range in {
					var e float32
					if ch < c.c1 {
						e = xv[pixel*c.c1+ch]
					} else {
						e = x2v[pixel*c.c2+ch-c.c1]
					}
					v += float64(e) * float64(filled[o*ld+(a*c.kw+b)*in+ch])
				}
			}
		}
		if bv != nil {
			v += float64(bv[o])
		}
		if ev != nil {
			v += float64(ev[s*c.out+o])
		}
		v = optest.Activation(c.act, v)
		if rv != nil {
			v += float64(rv[at])
		}
		want[at] = v
	}
	y := r.New(m*c.out, kernel.Size(e.f16))
	blocks := (m + e.rows - 1) / e.rows * ((c.out + e.cols - 1) / e.cols)
	if c.splits > 1 {
		partials = r.New(c.splits*blocks*e.rows*e.cols, 4)
	}
	n := r.Run(e.name, kernel.Dim{blocks, max(c.splits, 1)}, kernel.Dim{e.threads}, e.shared,
		y, x1, x2, w, bias, sampleBias, oh*ow, residual, partials, m, c.out, c.h, c.w, c.c1, c.c2, oh, ow,
		c.kh, c.kw, c.strideY, c.strideX, c.top, c.left, c.shift, int(c.act))
	have := r.Floats(y)
	r.Close(fmt.Sprintf("%s: %+v", e.name, c), have, want, e.f16, 1)
	return n, have
}

func TestKernels(t *testing.T) {
	for _, e := range entries {
		t.Run(e.name, func(t *testing.T) {
			r, rng := kernel.Open(t, image), rand.New(rand.NewPCG(5, 6))
			for _, c := range convolutions {
				c.c1 = (c.c1 + e.multiple - 1) / e.multiple * e.multiple
				c.c2 = (c.c2 + e.multiple - 1) / e.multiple * e.multiple
				e.run(r, rng, c)
			}
		})
	}
}

// As matmul's: no bank conflicts, whole sectors, and each pixel read once for each
// tap that it is under and each column of tiles.
func TestCounts(t *testing.T) {
	for _, e := range entries {
		t.Run(e.name, func(t *testing.T) {
			r, rng := kernel.Open(t, image), rand.New(rand.NewPCG(7, 8))
			side := 16
			if e.rows == 64 {
				side = 8
			}
			for _, c := range []convolution{
				same(1, side, side, 64, e.cols, 3).with(func(c *convolution) { c.bias = true }),
				same(1, side, side, 32, 2*e.cols, 3).with(func(c *convolution) {
					c.c2, c.residual, c.sampleBias, c.act = 64, true, true, matmul.SiLU
				}),
				same(1, side/2, side/2, 64, e.cols, 3).with(func(c *convolution) { c.shift, c.splits = 1, 3 }),
				same(1, 2*side, 2*side, 32, e.cols, 3).with(func(c *convolution) { c.strideY, c.strideX = 2, 2 }),
				same(1, side, side, 128, e.cols, 1),
			} {
				n, _ := e.run(r, rng, c)
				name := fmt.Sprintf("%+v", c)
				for _, b := range []ptx.Banks{n.SharedLoad, n.SharedStore} {
					if b.Conflicts() != 0 {
						t.Errorf("%s: %d wavefronts of shared memory where %d would do", name, b.Wavefronts, b.Ideal)
					}
				}
				for _, g := range []ptx.Traffic{n.Load, n.Store} {
					if g.Efficiency() < 0.9 && e.multiple > 1 {
						t.Errorf("%s: %.2f of the bytes of the sectors are used", name, g.Efficiency())
					}
				}
				m, depth := side*side, c.kh*c.kw*(c.c1+c.c2)
				flops, have := float64(2*m*c.out*depth), float64(n.MMAFLOPs)
				if !e.f16 {
					have = float64(n.FMAs)
				}
				if have < flops || have > 1.05*flops {
					t.Errorf("%s: %.0f FLOPs, the convolution has %.0f", name, have, flops)
				}
				under := 0
				for y := range side {
					for x := range side {
						for a := range c.kh {
							for b := range c.kw {
								py, px := y*c.strideY+a-c.top, x*c.strideX+b-c.left
								if py >= 0 && px >= 0 && py < c.h<<c.shift && px < c.w<<c.shift {
									under++
								}
							}
						}
					}
				}
				bytes := kernel.Size(e.f16) * (under*(c.c1+c.c2)*c.out/e.cols + c.out*depth*m/e.rows)
				if c.residual {
					bytes += kernel.Size(e.f16) * 2 * m * c.out // and the sample bias, again for each row
				}
				bytes += 4 * c.splits * m * c.out
				if n.Load.Bytes < uint64(bytes) || float64(n.Load.Bytes) > 1.05*float64(bytes) {
					t.Errorf("%s: %d bytes read, the tiles have %d", name, n.Load.Bytes, bytes)
				}
			}
		})
	}
}
