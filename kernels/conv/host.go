package conv

import (
	"parley/engine"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
)

// geometry finds the patch under each output pixel.
type geometry struct {
	x, beside             []float32 // of c channels, and of more channels
	h, w, c, more, oh, ow int
	kh, kw, stride, shift int
	pad                   Pad
}

// channelsLast brings filters of [out, in, taps] to [out, taps, in].
func channelsLast(d engine.Device, w []float32, out, in, taps int) []float32 {
	to := make([]float32, out*in*taps)
	filters := func(lo, hi int) {
		for o := lo; o < hi; o++ {
			from, to := w[o*in*taps:(o+1)*in*taps], to[o*in*taps:(o+1)*in*taps]
			if taps == 1 {
				copy(to, from)
				continue
			}
			// Four channels at a time: a line of the cache is written to by more
			// than one of its elements before the next tap's.
			c := 0
			for ; c+4 <= in; c += 4 {
				f := from[c*taps : (c+4)*taps]
				for t := range taps {
					q := to[t*in+c : t*in+c+4]
					q[0], q[1], q[2], q[3] = f[t], f[taps+t], f[2*taps+t], f[3*taps+t]
				}
			}
			for ; c < in; c++ {
				for t := range taps {
					to[t*in+c] = from[c*taps+t]
				}
			}
		}
	}
	if h, ok := host.On(d); ok {
		h.Range(out, 1+1<<16/max(in*taps, 1), filters)
	} else {
		filters(0, out)
	}
	return to
}

// choose is plan, unless a test asks for more than would be fastest.
var choose = plan

// onHost convolves n samples.
func (g *geometry) onHost(h *host.Device, n int, w *Weights, y []float32, e matmul.Epilogue) {
	m := n * g.oh * g.ow
	if h.Precision() != host.Exact && matmul.Gemm(h).Format == simd.F32 {
		if t := choose(n, g, w.In, w.Out); t != nil {
			c := winograd{d: h, g: g, mat: w.mat, in: w.In, out: w.Out, e: e, y: y, pixels: m, t: t}
			c.run(n)
			return
		}
	}
	k := matmul.Gemm(h)
	matmul.Run(h, m, w.mat, y, e, func(dst []float32, row, rows, at, kc int) { g.gather(h, k, dst, row, rows, at, kc) })
}

// gather packs columns at to at+kc of the patches of output pixels row to
// row+rows: im2col for one block of the product, in the cache.
func (g *geometry) gather(h *host.Device, k simd.Kernel, dst []float32, row, rows, at, kc int) {
	mem, _ := h.Alloc(4 * k.MR * kc)
	defer h.Free(mem)
	few := mem.F32()
	for i := 0; i < rows; i += k.MR {
		n := min(k.MR, rows-i)
		for r := range n {
			g.patch(few[r*kc:(r+1)*kc], row+i+r, at)
		}
		k.PackA(dst[i/k.MR*k.LenA(kc):], few, kc, n, kc)
	}
}

// patch copies dst's length of the patch of output pixel p, from column k.
func (g *geometry) patch(dst []float32, p, k int) {
	ox := p % g.ow
	oy := p / g.ow % g.oh
	base := p / (g.ow * g.oh) * g.h * g.w
	for len(dst) > 0 {
		tap, c := k/(g.c+g.more), k%(g.c+g.more)
		src, width := g.x, g.c
		if c >= g.c {
			src, width, c = g.beside, g.more, c-g.c
		}
		n := min(width-c, len(dst))
		y := oy*g.stride + tap/g.kw - g.pad.Top
		x := ox*g.stride + tap%g.kw - g.pad.Left
		if y >= 0 && x >= 0 && y>>g.shift < g.h && x>>g.shift < g.w {
			copy(dst[:n], src[(base+(y>>g.shift)*g.w+(x>>g.shift))*width+c:])
		} else {
			clear(dst[:n])
		}
		dst, k = dst[n:], k+n
	}
}
