package conv

import (
	"parley/engine"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
)

// geometry finds the patch under each output pixel.
type geometry struct {
	x, concat             []float32 // of c channels, and of more channels
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

// chooser finds the minimal filtering that a convolution is done by, nil for none.
// It is plan; a test's device owns another one.
type chooser func(n int, g *geometry, in, out int) *simd.Winograd

// onHost convolves n samples.
func (g *geometry) onHost(h *host.Device, n int, w *Weights, y []float32, e matmul.Epilogue) {
	m, k := n*g.oh*g.ow, w.mat.Gemm()
	if h.Precision() != host.Exact && k.Format == simd.F32 {
		choose := host.Owned(h, func() chooser { return plan })
		if t := choose(n, g, w.In, w.Out); t != nil {
			c := winograd{d: h, g: g, mat: w.mat, in: w.In, out: w.Out, e: e, y: y, pixels: m, t: t}
			c.run(n)
			return
		}
	}
	gather := func(dst []float32, row, rows, at, kc int) { g.gather(h, k, dst, row, rows, at, kc) }
	switch {
	case g.pointwise():
		gather = func(dst []float32, row, rows, at, kc int) { k.PackA(dst, g.x[row*g.c+at:], g.c, rows, kc) }
	case k.Format != simd.F32 && g.c%k.KR == 0 && g.more%k.KR == 0:
		gather = func(dst []float32, row, rows, at, kc int) { g.direct(k, dst, row, rows, at, kc) }
	}
	matmul.Run(h, m, w.mat, y, e, gather)
}

// pointwise reports whether a patch is a pixel of x alone.
func (g *geometry) pointwise() bool {
	return g.kh == 1 && g.kw == 1 && g.stride == 1 && g.shift == 0 && g.more == 0 && g.pad == Pad{}
}

// gather packs columns at to at+kc of the patches of output pixels row to
// row+rows: im2col for one block of the product, in the cache.
func (g *geometry) gather(h *host.Device, k simd.Kernel, dst []float32, row, rows, at, kc int) {
	mem, _ := h.Alloc(4 * k.MR * kc)
	defer h.Free(mem)
	few := mem.F32()
	for i := 0; i < rows; i += k.MR {
		n := min(k.MR, rows-i)
		g.patches(row+i, n, at, kc, func(q, run int, concat bool, from []int) {
			src := g.x
			if concat {
				src = g.concat
			}
			for r, f := range from {
				to := few[r*kc+q:][:run]
				if f < 0 {
					clear(to)
				} else {
					copy(to, src[f:])
				}
			}
		})
		k.PackA(dst[i/k.MR*k.LenA(kc):], few, kc, n, kc)
	}
}

// direct is gather without a copy of the patches, for channels in whole blocks of
// a panel.
func (g *geometry) direct(k simd.Kernel, dst []float32, row, rows, at, kc int) {
	for i := 0; i < rows; i += k.MR {
		panel := dst[i/k.MR*k.LenA(kc):]
		g.patches(row+i, min(k.MR, rows-i), at, kc, func(q, run int, concat bool, from []int) {
			src := g.x
			if concat {
				src = g.concat
			}
			k.Gather(panel[k.LenA(q):], src, from, run)
		})
	}
}

// most is as many patches as are found at a time: the rows of the highest panel
// that simd has.
const most = 32

// patches finds columns at to at+length of the patches of output pixels first to
// first+n. It calls f for runs of columns: run of them, from q on, are of x, or of
// concat, from the elements that from has for each pixel; zeros where that is
// negative.
func (g *geometry) patches(first, n, at, length int, f func(q, run int, concat bool, from []int)) {
	var base, ys, xs, from [most]int
	for r := range n {
		p := first + r
		base[r] = p / (g.ow * g.oh) * g.h * g.w
		ys[r] = p/g.ow%g.oh*g.stride - g.pad.Top
		xs[r] = p%g.ow*g.stride - g.pad.Left
	}
	for q := 0; q < length; {
		tap, c := (at+q)/(g.c+g.more), (at+q)%(g.c+g.more)
		concat, width := c >= g.c, g.c
		if concat {
			width, c = g.more, c-g.c
		}
		run := min(width-c, length-q)
		for r := range n {
			y, x := ys[r]+tap/g.kw, xs[r]+tap%g.kw
			from[r] = -1
			if y >= 0 && x >= 0 && y>>g.shift < g.h && x>>g.shift < g.w {
				from[r] = (base[r]+(y>>g.shift)*g.w+(x>>g.shift))*width + c
			}
		}
		f(q, run, concat, from[:n])
		q += run
	}
}
