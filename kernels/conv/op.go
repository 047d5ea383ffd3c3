// Package conv is the two-dimensional convolution on [N, H, W, C].
package conv

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
	"parley/kernels/storage"
)

// Weights is a bank of filters on a device: a matrix whose K is ordered as (row,
// column, channel).
type Weights struct {
	KH, KW, In, Out int
	mat             *matmul.Weights
}

// Pack brings filters w of [out, in, kh, kw], as torch stores them, to a
// device, some at a time.
func Pack(d engine.Device, w storage.Source, out, in, kh, kw int) (*Weights, error) {
	g := matmul.Gemm(d)
	// Minimal filtering, which is float32's, saves more than a format that is
	// not several times as fast.
	if h, ok := host.On(d); ok && kh == 3 && kw == 3 && g.Format != simd.F32 {
		if s := matmul.Speeds(h); s.Of(g.Format) < 3*s.Of(simd.F32) {
			g = simd.Gemm(simd.F32)
		}
	}
	if kh*kw > 1 {
		w = channelsLast{w, in, kh * kw}
	}
	mat, err := matmul.PackFor(d, g, w, out, kh*kw*in)
	return &Weights{KH: kh, KW: kw, In: in, Out: out, mat: mat}, err
}

// Options says how the filters move and what happens to the sum.
type Options struct {
	Stride   int // 0 means 1
	Pad      Pad
	Upsample bool // read x as if every pixel stood there 2 x 2 times
	// Concat has more channels for the same pixels, as a skip connection has: the
	// filters see x's first, then these, as if both were concatenated.
	Concat   *engine.Tensor
	Epilogue matmul.Epilogue // its GEGLU, Logits and Scale are not for convolutions
}

// Pad is the count of zero rows and columns around x.
type Pad struct{ Top, Left, Bottom, Right int }

// Same is the padding that keeps the size under an odd kernel.
func Same(k int) Pad { return Pad{k / 2, k / 2, k / 2, k / 2} }

// Conv2D convolves x [N, H, W, In] and returns [N, H', W', Out]. Its record has
// h and w of the result, and the FLOPs of the plain sum whatever the method.
func Conv2D(s *engine.Stream, x *engine.Tensor, w *Weights, o Options) *engine.Tensor {
	channels := x.Dim(-1)
	if o.Concat != nil {
		channels += o.Concat.Dim(-1)
	}
	if len(x.Shape()) != 4 || channels != w.In || o.Concat != nil && !o.Concat.Shape()[:3].Equal(x.Shape()[:3]) {
		shape := x.Shape().String()
		if o.Concat != nil {
			shape += " with " + o.Concat.Shape().String()
		}
		s.Fail(fmt.Errorf("conv: %s: x %s, filters [%d %d %d %d]", s.Path(), shape, w.Out, w.In, w.KH, w.KW))
		return s.New(s.Float(), x.Dim(0), 1, 1, w.Out)
	}
	o.Stride = max(o.Stride, 1)
	g := geometry{
		h: x.Dim(1), w: x.Dim(2), c: x.Dim(3), c2: w.In - x.Dim(3),
		kh: w.KH, kw: w.KW, stride: o.Stride, pad: o.Pad,
	}
	if o.Upsample {
		g.shift = 1
	}
	moreH, moreW := g.h<<g.shift+o.Pad.Top+o.Pad.Bottom-w.KH, g.w<<g.shift+o.Pad.Left+o.Pad.Right-w.KW
	if moreH < 0 || moreW < 0 {
		s.Fail(fmt.Errorf("conv: %s: x %v is smaller than the filters [%d %d]", s.Path(), x.Shape(), w.KH, w.KW))
	}
	g.oh, g.ow = max(moreH, 0)/o.Stride+1, max(moreW, 0)/o.Stride+1
	dims := []int{x.Dim(0), g.oh, g.ow, w.Out}
	if err := o.Epilogue.Fits(dims); err != nil {
		s.Fail(fmt.Errorf("conv: %s: %w", s.Path(), err))
	}
	v := g.strided()
	if _, ok := cuda.On(s.Device()); ok {
		if err := v.fits(x.Dim(0)); err != nil {
			s.Fail(fmt.Errorf("conv: %s: x %v: %w on %s", s.Path(), x.Shape(), err, s.Device().Name()))
		}
	}
	y := s.New(s.Float(), dims...)
	m := x.Dim(0) * g.oh * g.ow
	work := engine.Work{Op: "conv", Out: y, In: engine.Inputs{x, o.Concat, o.Epilogue.SampleBias, o.Epilogue.Residual},
		Dims: engine.Dims{{Name: "n", Size: x.Dim(0)}, {Name: "h", Size: g.oh}, {Name: "w", Size: g.ow}, {Name: "in", Size: w.In},
			{Name: "out", Size: w.Out}, {Name: "kh", Size: w.KH}, {Name: "kw", Size: w.KW}, {Name: "stride", Size: o.Stride}},
		FLOPs: 2 * int64(m) * int64(w.mat.In) * int64(w.Out),
		Bytes: int64(x.Elems()/x.Dim(3)*w.In*x.DType().Size()+w.mat.Bytes()+y.Bytes()) + o.Epilogue.Bytes()}
	var p matmul.Plan
	var partials *engine.Tensor
	if !s.Device().Local() && m > 0 {
		p = v.plan(m, w.Out, s.Float())
		if p.Splits > 1 {
			partials = s.New(engine.F32, p.Partials)
		}
	}
	s.Do(work, func(d engine.Device) {
		if partials != nil {
			s.Uses(partials.Bytes())
		}
		if h, ok := host.On(d); ok {
			g.x = x.F32()
			if o.Concat != nil {
				g.concat = o.Concat.F32()
			}
			g.onHost(h, s, x.Dim(0), w, y.F32(), o.Epilogue)
		}
		if c, ok := cuda.On(d); ok && m > 0 {
			v.onCUDA(c, s, p, m, x, o.Concat, w.mat.Rows(), y, o.Epilogue, partials)
		}
	})
	s.Free(partials)
	return y
}
