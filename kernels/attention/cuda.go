package attention

import (
	_ "embed"
	"fmt"
	"strconv"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("attention", image)

// launch is a kernel of op.cu and its geometry.
type launch struct {
	kernel      string
	grid, block cuda.Dim
	shared      int
}

// shape is an attention as the kernels see it: n samples of lq queries, share
// of which attend to one sample of keys.
type shape struct {
	n, lq, keys, heads, dim, share int
	causal, aligned                bool
}

// widest is the largest head dim that a kernel is made for.
const widest = 512

// smallest is the first of the head dims that a kernel is made for.
func smallest(dim int, dims ...int) int {
	for _, d := range dims {
		if dim <= d {
			return d
		}
	}
	return 0
}

// choose finds the kernel. sms is how many multiprocessors are to be filled: one and
// two heads a block, and 16 and 32 queries a warp, give the same bits.
func (a shape) choose(dtype engine.DType, sms int) launch {
	ceil := func(x, y int) int { return (x + y - 1) / y }
	if dtype == engine.F32 {
		d := smallest(a.dim, 32, 64, 96, 160, widest)
		grid := cuda.Dim{X: ceil(a.lq, 4), Y: a.heads, Z: a.n}
		return launch{kernel: "attention_f32_d" + strconv.Itoa(d), grid: grid, block: cuda.Dim{X: 128}}
	}
	if d := smallest(a.dim, 64, 128, 192); d > 0 && a.aligned && a.share*a.lq <= 16 {
		warps, most := 1, 8
		if d > 64 {
			most = 4
		}
		for warps < most && 16*warps < a.keys {
			warps *= 2
		}
		grid := cuda.Dim{X: a.heads, Y: a.n / a.share}
		return launch{kernel: "attention_few_f16_d" + strconv.Itoa(d), grid: grid, block: cuda.Dim{X: 32 * warps}}
	}
	d := smallest(a.dim, 16, 32, 40, 64, 80, 96, 128, 160, widest)
	grid := cuda.Dim{X: ceil(a.lq, 64), Y: a.heads, Z: a.n}
	l := launch{kernel: "attention_f16_d" + strconv.Itoa(d), grid: grid, block: cuda.Dim{X: 128}}
	if d == widest {
		l.grid.X, l.block.X, l.shared = ceil(a.lq, 32), 256, 80<<10
	} else if (d == 40 || d == 64) && 2*ceil(a.lq, 128)*a.heads*a.n >= 3*sms {
		// Most multiprocessors have two blocks, which do not wait for each other.
		l.kernel, l.grid.X = l.kernel+"_m2", ceil(a.lq, 128)
	} else if a.dim%16 == 8 && d <= 96 && a.heads > 1 {
		// Of heads of 8, 24, 40 and so on one alone would read sectors in part.
		l.kernel, l.grid.Y, l.block.X = l.kernel+"_h2", ceil(a.heads, 2), 256
	}
	return l
}

// start is a tensor that begins with the part.
func (p part) start() *engine.Tensor {
	m := p.t.Memory()
	m.Addr += uintptr(p.at * p.t.DType().Size())
	return engine.NewTensor(p.t.DType(), m)
}

func onCUDA(d *cuda.Device, s *engine.Stream, q, k, v part, y *engine.Tensor, o Options, keys int) {
	if y.Elems() == 0 {
		return
	}
	n, m := q.t.Dim(0), k.t.Dim(0)
	dim := y.Dim(2) / o.Heads
	if dim > widest {
		s.Fail(fmt.Errorf("attention: %s: heads of %d: at most %d on %s", s.Path(), dim, widest, d.Name()))
		return
	}
	a := shape{n: n, lq: q.t.Dim(1), keys: keys, heads: o.Heads, dim: dim, share: n / m, causal: o.Causal}
	qs, ks, vs := q.start(), k.start(), v.start()
	a.aligned = a.dim%8 == 0 && q.row()%8 == 0 && k.row()%8 == 0
	for _, t := range []*engine.Tensor{qs, ks, vs, y} {
		a.aligned = a.aligned && t.Memory().Addr%16 == 0
	}
	if !a.causal && a.share > 1 {
		// Samples that attend to the same keys are one with more queries.
		a.n, a.lq, a.share = a.n/a.share, a.lq*a.share, 1
	}
	causal := 0
	if a.causal {
		causal = 1
	}
	l := a.choose(y.DType(), d.SMs())
	d.LaunchDependent(s, module, l.kernel, l.grid, l.block, l.shared, qs, ks, vs, y, a.lq, a.keys, a.heads, a.dim, a.share,
		q.row(), k.row(), int64(a.lq*q.row()), int64(k.t.Dim(1)*k.row()), float32(o.Scale), causal, o.Offset)
}
