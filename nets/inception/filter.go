package inception

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/kernels/conv"
	"parley/kernels/elementwise"
	"parley/kernels/matmul"
	"parley/kernels/storage"
	"parley/weights"
)

// filter is a convolution with a batch norm and a ReLU behind it (torchvision's
// BasicConv2d). The norm's statistics are fixed: it is folded into the filters.
type filter struct {
	name string
	w    *conv.Weights
	bias *engine.Tensor
	opt  conv.Options
}

// epsilon of the batch norms.
const epsilon = 1e-3

// load reads name.conv.weight of [out, in, kh, kw] and name.bn.
func load(l *weights.Loader, in int, c shape) filter {
	p := l.In(c.name)
	f := filter{name: c.name, opt: conv.Options{Stride: c.stride, Pad: c.pad}}
	n := p.In("bn")
	gamma, shift := n.F32("weight", c.out), n.F32("bias", c.out)
	mean, variance := n.F32("running_mean", c.out), n.F32("running_var", c.out)
	w := p.In("conv").Source("weight", c.out, in, c.kh, c.kw)
	if w == nil || gamma == nil || shift == nil || mean == nil || variance == nil { // the error is kept
		return f
	}
	scale := make([]float32, c.out)
	if !engine.IsDryRun(l.Device()) {
		for i := range scale {
			k := float64(gamma[i]) / math.Sqrt(float64(variance[i])+epsilon)
			scale[i] = float32(k)
			shift[i] = float32(float64(shift[i]) - k*float64(mean[i]))
		}
	}
	f.bias = l.Place(engine.F32, shift, c.out)
	var err error
	if f.w, err = conv.Pack(l.Device(), scaled{w, scale, in * c.kh * c.kw}, c.out, in, c.kh, c.kw); err != nil {
		l.Fail(fmt.Errorf("%sconv.weight: %w", p.Prefix(), err))
	}
	p.Done("conv.weight")
	return f
}

// scaled are filters of so many elements, each times a number of its own.
type scaled struct {
	storage.Source
	scale []float32
	size  int
}

// F32 implements storage.Source.
func (c scaled) F32(dst []float32, at int) error {
	if err := c.Source.F32(dst, at); err != nil {
		return err
	}
	for i := range dst {
		dst[i] *= c.scale[(at+i)/c.size]
	}
	return nil
}

// forward maps [N, H, W, in] to [N, H', W', out].
func (f *filter) forward(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter(f.name)
	o := f.opt
	o.Epilogue = matmul.Epilogue{Bias: f.bias}
	y := conv.Conv2D(s, x, f.w, o)
	elementwise.ReLU(s, y)
	return s.Leave(y)
}
