package layer

import (
	"fmt"

	"parley/engine"
	"parley/kernels/conv"
	"parley/kernels/matmul"
	"parley/weights"
)

// Conv is a convolution of [N, H, W, C].
type Conv struct {
	scopes
	temb string // its scope where a timestep's embedding is added
	w    *conv.Weights
	bias *engine.Tensor
	opt  conv.Options
}

// LoadConv reads name.weight of [out, in, k, k] and name.bias. Options'
// epilogue is not looked at.
func LoadConv(l *weights.Loader, name string, in, out, k int, o conv.Options) Conv {
	p := l.In(name)
	c := Conv{scopes: scopesOf(name), temb: name + "+temb", opt: o}
	if w := p.Source("weight", out, in, k, k); w != nil {
		var err error
		if c.w, err = conv.Pack(l.Device(), w, out, in, k, k); err != nil {
			l.Fail(fmt.Errorf("%sweight: %w", p.Prefix(), err))
		}
	}
	p.Done("weight")
	if p.Has("bias") {
		c.bias = p.Vector("bias", out)
	}
	return c
}

// Enlarged is the convolution of what was enlarged before it.
func (c Conv) Enlarged() Conv {
	c.opt.Upsample = false
	return c
}

// Forward convolves x [N, H, W, in], and adds residual, of the result's shape,
// unless it is nil.
func (c Conv) Forward(s *engine.Stream, x, residual *engine.Tensor) *engine.Tensor {
	return c.Concat(s, x, nil, residual)
}

// Concat is Forward of x's channels and, behind them, skip's, for the same pixels;
// skip may be nil.
func (c Conv) Concat(s *engine.Stream, x, skip, residual *engine.Tensor) *engine.Tensor {
	s.Enter(c.fused(matmul.None, residual))
	o := c.opt
	o.Concat, o.Epilogue = skip, matmul.Epilogue{Bias: c.bias, Residual: residual}
	return s.Leave(conv.Conv2D(s, x, c.w, o))
}

// Timed convolves x and adds a projected timestep embedding temb [P, out]: its row
// p to every pixel of the p-th of P even parts of the samples. nil adds nothing.
func (c Conv) Timed(s *engine.Stream, x, temb *engine.Tensor) *engine.Tensor {
	if temb == nil {
		return c.Forward(s, x, nil)
	}
	s.Enter(c.temb)
	o := c.opt
	o.Epilogue = matmul.Epilogue{Bias: c.bias, SampleBias: temb}
	return s.Leave(conv.Conv2D(s, x, c.w, o))
}
