package conv

import (
	"parley/engine"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
	"parley/kernels/storage"
)

// geometry finds the patch under each output pixel.
type geometry struct {
	x, concat             []float32 // of c channels, and of c2
	h, w, c, c2, oh, ow   int
	kh, kw, stride, shift int
	pad                   Pad
}

// channelsLast are filters of [out, in, taps] as [out, taps, in]. It is read by whole
// filters.
type channelsLast struct {
	storage.Source
	in, taps int
}

// F32 implements storage.Source.
func (c channelsLast) F32(dst []float32, at int) error {
	filters := make([]float32, len(dst))
	if err := c.Source.F32(filters, at); err != nil {
		return err
	}
	in, taps := c.in, c.taps
	for ; len(dst) > 0; dst, filters = dst[in*taps:], filters[in*taps:] {
		// Four channels at a time: a line of the cache is written to by more
		// than one of its elements before the next tap's.
		ch := 0
		for ; ch+4 <= in; ch += 4 {
			f := filters[ch*taps : (ch+4)*taps]
			for t := range taps {
				q := dst[t*in+ch : t*in+ch+4]
				q[0], q[1], q[2], q[3] = f[t], f[taps+t], f[2*taps+t], f[3*taps+t]
			}
		}
		for ; ch < in; ch++ {
			for t := range taps {
				dst[t*in+ch] = filters[ch*taps+t]
			}
		}
	}
	return nil
}

// chooser finds the minimal filtering that a convolution is done by, nil for none.
// It is chosen; a test's device owns another one.
type chooser func(g *geometry, in, out int) *simd.Winograd

// lowered is a convolution as a product, whose left operand has a row of patches for
// each output pixel.
type lowered struct {
	geometry
	h *host.Device
	k simd.Kernel
}

// onHost convolves n samples.
func (g *geometry) onHost(h *host.Device, s *engine.Stream, n int, w *Weights, y []float32, e matmul.Epilogue) {
	l := host.Scratch[lowered](h)
	*l = lowered{*g, h, w.mat.Gemm()}
	l.run(s, n, w, y, e)
	*l = lowered{}
	host.Recycle(h, l)
}

func (l *lowered) run(s *engine.Stream, n int, w *Weights, y []float32, e matmul.Epilogue) {
	m := n * l.oh * l.ow
	if l.h.Precision() != host.Exact && l.k.Format == simd.F32 {
		choose := host.Owned(l.h, func() chooser { return chosen(l.h) })
		if t := choose(&l.geometry, w.In, w.Out); t != nil {
			c := host.Scratch[winograd](l.h)
			*c = winograd{d: l.h, g: &l.geometry, mat: w.mat, in: w.In, out: w.Out, e: e, y: y, pixels: m, t: t}
			s.Took(winogradName(c.t))
			s.Uses(c.run(n))
			*c = winograd{}
			host.Recycle(l.h, c)
			return
		}
	}
	switch {
	case l.pointwise():
	case l.aligned():
		s.Took("implicit im2col")
	default:
		s.Took("im2col")
	}
	s.Took(l.k.String())
	s.Uses(matmul.Run(l.h, m, w.mat, y, e, l))
}

// aligned reports whether the channels of a patch are whole blocks of a panel.
func (l *lowered) aligned() bool {
	return l.k.Format != simd.F32 && l.c%l.k.KR == 0 && l.c2%l.k.KR == 0
}

// Pack implements matmul.Operand.
func (l *lowered) Pack(dst []float32, row, rows, at, kc int) {
	switch k := l.k; {
	case l.pointwise():
		k.PackA(dst, l.x[row*l.c+at:], l.c, rows, kc)
	case l.aligned():
		l.direct(l.h, k, dst, row, rows, at, kc)
	default:
		l.gather(l.h, k, dst, row, rows, at, kc)
	}
}

// pointwise reports whether a patch is a pixel of x alone.
func (g *geometry) pointwise() bool {
	return g.kh == 1 && g.kw == 1 && g.stride == 1 && g.shift == 0 && g.c2 == 0 && g.pad == Pad{}
}

// gather packs columns at to at+kc of the patches of output pixels row to
// row+rows: im2col for one block of the product, in the cache.
func (g *geometry) gather(h *host.Device, k simd.Kernel, dst []float32, row, rows, at, kc int) {
	mem, _ := h.Alloc(4 * k.MR * kc)
	defer h.Free(mem)
	few := mem.F32()
	for i := 0; i < rows; i += k.MR {
		n := min(k.MR, rows-i)
		for p := g.patches(row+i, n, at, kc); p.next(); {
			src := g.x
			if p.concat {
				src = g.concat
			}
			for r, f := range p.from[:n] {
				to := few[r*kc+p.q:][:p.run]
				if f < 0 {
					clear(to)
				} else {
					copy(to, src[f:])
				}
			}
		}
		k.PackA(dst[i/k.MR*k.LenA(kc):], few, kc, n, kc)
	}
}

// direct is gather without a copy of the patches, for channels in whole blocks of
// a panel.
func (g *geometry) direct(h *host.Device, k simd.Kernel, dst []float32, row, rows, at, kc int) {
	from := host.Scratch[[most]int](h)
	for i := 0; i < rows; i += k.MR {
		panel := dst[i/k.MR*k.LenA(kc):]
		n := min(k.MR, rows-i)
		for p := g.patches(row+i, n, at, kc); p.next(); {
			src := g.x
			if p.concat {
				src = g.concat
			}
			*from = p.from
			k.Gather(panel[k.LenA(p.q):], src, from[:n], p.run)
		}
	}
	host.Recycle(h, from)
}

// most is as many patches as are found at a time: the rows of the highest panel
// that simd has.
const most = 32

// patches are columns of the patches of some output pixels, in runs that lie side by
// side in x or in concat.
type patches struct {
	g             *geometry
	n, at, length int
	base, ys, xs  [most]int
	q, run        int // of this run, from the first of the columns
	concat        bool
	from          [most]int // the element where each pixel's run begins; zeros where it is negative
}

// patches finds columns at to at+length of the patches of output pixels first to
// first+n.
func (g *geometry) patches(first, n, at, length int) patches {
	p := patches{g: g, n: n, at: at, length: length}
	for r := range n {
		i := first + r
		p.base[r] = i / (g.ow * g.oh) * g.h * g.w
		p.ys[r] = i/g.ow%g.oh*g.stride - g.pad.Top
		p.xs[r] = i%g.ow*g.stride - g.pad.Left
	}
	return p
}

// next finds the next run of columns, if there is one.
func (p *patches) next() bool {
	g := p.g
	p.q += p.run
	if p.q >= p.length {
		return false
	}
	tap, c := (p.at+p.q)/(g.c+g.c2), (p.at+p.q)%(g.c+g.c2)
	p.concat = c >= g.c
	width := g.c
	if p.concat {
		width, c = g.c2, c-g.c
	}
	p.run = min(width-c, p.length-p.q)
	for r := range p.n {
		y, x := p.ys[r]+tap/g.kw, p.xs[r]+tap%g.kw
		p.from[r] = -1
		if y >= 0 && x >= 0 && y>>g.shift < g.h && x>>g.shift < g.w {
			p.from[r] = (p.base[r]+(y>>g.shift)*g.w+(x>>g.shift))*width + c
		}
	}
	return true
}
