package matmul_test

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"slices"
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
	multiple        int // what a depth is a multiple of
	gated, few      bool
}

var entries = []entry{
	{name: "linear_f16_256x128x32", f16: true, rows: 256, cols: 128, threads: 256, shared: 98304, multiple: 8},
	{name: "linear_f16_128x160x32", f16: true, rows: 128, cols: 160, threads: 256, shared: 73728, multiple: 8},
	{name: "linear_f16_256x64x32", f16: true, rows: 256, cols: 64, threads: 256, shared: 81920, multiple: 8},
	{name: "linear_f16_128x128x32", f16: true, rows: 128, cols: 128, threads: 128, shared: 65536, multiple: 8},
	{name: "linear_f16_64x64x32", f16: true, rows: 64, cols: 64, threads: 128, shared: 32768, multiple: 8},
	{name: "linear_f16_any", f16: true, rows: 64, cols: 64, threads: 128, shared: 32768, multiple: 1},
	{name: "linear_f16_16x16", f16: true, rows: 16, cols: 16, threads: 256, multiple: 8, few: true},
	{name: "linear_f16_16x16_any", f16: true, rows: 16, cols: 16, threads: 256, multiple: 1, few: true},
	{name: "linear_f32_64x64x16", rows: 64, cols: 64, threads: 128, shared: 24576, multiple: 4},
	{name: "linear_f32_any", rows: 64, cols: 64, threads: 128, shared: 24576, multiple: 1},
	{name: "geglu_f16_128x128x32", f16: true, rows: 128, cols: 64, threads: 128, shared: 65536, multiple: 8, gated: true},
	{name: "geglu_f16_64x64x32", f16: true, rows: 64, cols: 32, threads: 128, shared: 32768, multiple: 8, gated: true},
	{name: "geglu_f16_any", f16: true, rows: 64, cols: 32, threads: 128, shared: 32768, multiple: 1, gated: true},
	{name: "geglu_f32_64x64x16", rows: 64, cols: 32, threads: 128, shared: 24576, multiple: 4, gated: true},
	{name: "geglu_f32_any", rows: 64, cols: 32, threads: 128, shared: 24576, multiple: 1, gated: true},
}

// product is a call of a kernel.
type product struct {
	m, n, k, splits      int
	bias, residual, wide bool // wide: results in f32
	sampleBias           int  // rows of a sample, 0: no sample bias
	act                  matmul.Act
	scale                float64
}

var products = []product{
	{m: 1, n: 1, k: 1},
	{m: 2, n: 3, k: 4, bias: true, act: matmul.SiLU},
	{m: 1, n: 8, k: 8, residual: true},
	{m: 5, n: 7, k: 13, bias: true, residual: true, act: matmul.GELU},
	{m: 16, n: 16, k: 32, bias: true, wide: true},
	{m: 17, n: 33, k: 40, act: matmul.QuickGELU, residual: true},
	{m: 20, n: 66, k: 72, bias: true, sampleBias: 5, act: matmul.Tanh},
	{m: 6, n: 5, k: 24, bias: true, sampleBias: 2, residual: true, act: matmul.GELUTanh},
	{m: 64, n: 64, k: 96, scale: 0.25, bias: true},
	{m: 65, n: 68, k: 104, residual: true, wide: true, bias: true},
	{m: 130, n: 129, k: 64, residual: true, bias: true, act: matmul.SiLU},
	{m: 70, n: 40, k: 200, splits: 3, bias: true, residual: true, act: matmul.GELU},
	{m: 3, n: 5, k: 333, splits: 4, sampleBias: 3, wide: true},
	{m: 9, n: 12, k: 20, splits: 5, bias: true}, // more splits than K tiles
	{m: 260, n: 132, k: 136, bias: true, residual: true},
	{m: 130, n: 324, k: 104, splits: 2, bias: true, residual: true}, // two whole tiles of 160 columns and a bit
	{m: 4, n: 100, k: 1100, act: matmul.QuickGELU},
}

// random is values on the device and what they are there.
func random(r *kernel.Room, rng *rand.Rand, f16 bool, n int) (kernel.Array, []float32) {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return r.Float(f16, v), v
}

// run computes a product and compares it with loops in float64.
func (e entry) run(r *kernel.Room, rng *rand.Rand, p product) (ptx.Counts, []float32) {
	if e.gated {
		p.act, p.residual, p.sampleBias, p.splits = matmul.None, false, 0, 0
	}
	if e.few {
		p.splits = 0
	}
	if p.scale == 0 {
		p.scale = 1
	}
	width := p.n
	if e.gated {
		width *= 2
	}
	wide, f16Result := 0, e.f16
	if p.wide {
		wide, f16Result = 1, false
	}
	ld := (p.k + 7) / 8 * 8
	filled := make([]float32, width*ld)
	for i := range width {
		for j := range p.k {
			filled[i*ld+j] = float32(rng.NormFloat64())
		}
	}
	x, xv := random(r, rng, e.f16, p.m*p.k)
	w := r.Float(e.f16, filled)
	var bias, sampleBias, residual, partials any
	var bv, ev, rv []float32
	if p.bias {
		bias, bv = random(r, rng, false, width)
	}
	rowsPerSample := 1
	if p.sampleBias > 0 {
		rowsPerSample = p.sampleBias
		sampleBias, ev = random(r, rng, e.f16, p.m/p.sampleBias*p.n)
	}
	if p.residual {
		residual, rv = random(r, rng, f16Result, p.m*p.n)
	}
	sum := func(i, j int) float64 {
		var v float64
		for l := range p.k {
			v += float64(xv[i*p.k+l]) * float64(filled[j*ld+l])
		}
		v *= p.scale
		if bv != nil {
			v += float64(bv[j])
		}
		return v
	}
	want := make([]float64, p.m*p.n)
	for i := range p.m {
		for j := range p.n {
			v := sum(i, j)
			if e.gated {
				v *= optest.Activation(matmul.GELU, sum(i, j+p.n))
			}
			if ev != nil {
				v += float64(ev[i/p.sampleBias*p.n+j])
			}
			v = optest.Activation(p.act, v)
			if rv != nil {
				v += float64(rv[i*p.n+j])
			}
			want[i*p.n+j] = v
		}
	}
	y := r.New(p.m*p.n, kernel.Size(f16Result))
	blocks := (p.m + e.rows - 1) / e.rows * ((p.n + e.cols - 1) / e.cols)
	if p.splits > 1 {
		partials = r.New(p.splits*blocks*e.rows*e.cols, 4)
	}
	n := r.Run(e.name, kernel.Dim{blocks, max(p.splits, 1)}, kernel.Dim{e.threads}, e.shared,
		y, x, w, bias, sampleBias, rowsPerSample, residual, partials, p.m, p.n, p.k, float32(p.scale), int(p.act), wide)
	have := r.Floats(y)
	r.Close(fmt.Sprintf("%s: %+v", e.name, p), have, want, e.f16, 1)
	return n, have
}

func TestKernels(t *testing.T) {
	for _, e := range entries {
		t.Run(e.name, func(t *testing.T) {
			r, rng := kernel.Open(t, image), rand.New(rand.NewPCG(5, 6))
			for _, p := range products {
				p.k = (p.k + e.multiple - 1) / e.multiple * e.multiple
				e.run(r, rng, p)
			}
		})
	}
}

// A split product has the same bits whoever is last, and a launch leaves its
// counters as it found them.
func TestSplits(t *testing.T) {
	for _, e := range entries {
		if e.gated || e.few {
			continue
		}
		r := kernel.Open(t, image)
		for _, p := range []product{
			{m: 2 * e.rows, n: 2 * e.cols, k: 512, splits: 5, bias: true, act: matmul.SiLU},
			{m: e.rows + 3, n: 5, k: 200, splits: 3, residual: true, wide: true},
		} {
			var first []float32
			for range 4 {
				_, have := e.run(r, rand.New(rand.NewPCG(9, 10)), p)
				if first == nil {
					first = have
				}
				if !slices.Equal(have, first) {
					t.Errorf("%s: %+v: other bits the second time", e.name, p)
				}
			}
		}
	}
}

// Where everything is aligned, no bank of shared memory is asked twice at a time,
// sectors are used whole (but by what reads element by element), and no more is
// read or multiplied than the tiles say.
func TestCounts(t *testing.T) {
	for _, e := range entries {
		t.Run(e.name, func(t *testing.T) {
			r, rng := kernel.Open(t, image), rand.New(rand.NewPCG(7, 8))
			for _, p := range []product{
				{m: 2 * e.rows, n: 2 * e.cols, k: 256},
				{m: e.rows, n: 3 * e.cols, k: 512, bias: true, residual: true, act: matmul.SiLU},
				{m: e.rows, n: e.cols, k: 512, splits: 4, bias: true, residual: true},
				{m: e.rows, n: e.cols, k: 256, wide: true},
			} {
				if e.few || e.gated {
					p.splits = 0
				}
				c, _ := e.run(r, rng, p)
				name := fmt.Sprintf("%+v", p)
				if e.gated {
					p.n *= 2
				}
				for _, b := range []ptx.Banks{c.SharedLoad, c.SharedStore} {
					if b.Conflicts() != 0 {
						t.Errorf("%s: %d wavefronts of shared memory where %d would do", name, b.Wavefronts, b.Ideal)
					}
				}
				for _, g := range []ptx.Traffic{c.Load, c.Store} {
					if g.Efficiency() < 0.9 && e.multiple > 1 {
						t.Errorf("%s: %.2f of the bytes of the sectors are used", name, g.Efficiency())
					}
				}
				flops := float64(2 * p.m * p.n * p.k)
				have := float64(c.MMAFLOPs)
				if !e.f16 {
					have = float64(c.FMAs)
				}
				if have < flops || have > 1.05*flops {
					t.Errorf("%s: %.0f FLOPs, the product has %.0f", name, have, flops)
				}
				// Operands: rows of x for each column of tiles, rows of w for each row of them.
				cols := e.cols
				if e.gated {
					cols *= 2
				}
				bytes := kernel.Size(e.f16) * p.k * (p.m*p.n/cols + p.n*p.m/e.rows)
				if p.residual && !e.gated {
					bytes += kernel.Size(e.f16) * p.m * p.n
				}
				bytes += 4 * p.splits * p.m * p.n
				if c.Load.Bytes < uint64(bytes) || float64(c.Load.Bytes) > 1.05*float64(bytes) {
					t.Errorf("%s: %d bytes read, the tiles have %d", name, c.Load.Bytes, bytes)
				}
			}
		})
	}
}
