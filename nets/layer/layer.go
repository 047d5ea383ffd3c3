// Package layer is what nets are made of: weights beside the names they have
// in a checkpoint, and the operation that uses them. Scopes carry Hugging
// Face's module names; a scope whose output has more fused into it than that
// module's says so by a suffix: "fc1+act", "conv2+residual".
package layer

import (
	"fmt"

	"parley/engine"
	"parley/kernels/attention"
	"parley/kernels/conv"
	"parley/kernels/matmul"
	"parley/kernels/norm"
	"parley/weights"
)

// Linear is y = xWᵀ + b.
type Linear struct {
	name string
	w    *matmul.Weights
	bias *engine.Tensor
}

// LoadLinear reads name.weight of [out, in] (or a 1x1 convolution's
// [out, in, 1, 1]) and name.bias where there is one.
func LoadLinear(l *weights.Loader, name string, in, out int) Linear {
	p := l.In(name)
	dims := []int{out, in}
	if sh, ok := p.Shape("weight"); ok && len(sh) == 4 {
		dims = []int{out, in, 1, 1}
	}
	lin := NewLinear(l, name, p.F32("weight", dims...), nil, in, out)
	if p.Has("bias") {
		lin.bias = p.Vector("bias", out)
	}
	return lin
}

// NewLinear makes a layer of weights that are in memory, on the loader's
// device; b may be nil.
func NewLinear(l *weights.Loader, name string, w []float32, b []float32, in, out int) Linear {
	lin := Linear{name: name}
	if len(w) == in*out {
		var err error
		if lin.w, err = matmul.Pack(l.Device(), w, out, in); err != nil {
			l.Fail(fmt.Errorf("%s%s.weight: %w", l.Prefix(), name, err))
		}
	}
	if b != nil {
		lin.bias = l.Place(engine.F32, b, out)
	}
	return lin
}

// Forward maps x [..., in] to [..., out].
func (l Linear) Forward(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	return l.Fused(s, x, matmul.None, nil)
}

// Fused is act(Forward(x)) + residual.
func (l Linear) Fused(s *engine.Stream, x *engine.Tensor, act matmul.Act, residual *engine.Tensor) *engine.Tensor {
	s.Enter(fusedName(l.name, act, residual))
	return s.Leave(matmul.Linear(s, x, l.w, matmul.Epilogue{Bias: l.bias, Act: act, Residual: residual}))
}

// Logits is Forward in f32 on every device.
func (l Linear) Logits(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter(l.name)
	return s.Leave(matmul.Linear(s, x, l.w, matmul.Epilogue{Bias: l.bias, Logits: true}))
}

// GEGLU is the first half of Forward(x) times gelu of the second.
func (l Linear) GEGLU(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter(l.name + "+geglu")
	return s.Leave(matmul.Linear(s, x, l.w, matmul.Epilogue{Bias: l.bias, GEGLU: true}))
}

func fusedName(name string, act matmul.Act, residual *engine.Tensor) string {
	if act != matmul.None {
		name += "+act"
	}
	if residual != nil {
		name += "+residual"
	}
	return name
}

// Conv is a convolution of [N, H, W, C].
type Conv struct {
	name string
	w    *conv.Weights
	bias *engine.Tensor
	opt  conv.Options
}

// LoadConv reads name.weight of [out, in, k, k] and name.bias. Options'
// epilogue is not looked at.
func LoadConv(l *weights.Loader, name string, in, out, k int, o conv.Options) Conv {
	p := l.In(name)
	c := Conv{name: name, opt: o}
	if w := p.F32("weight", out, in, k, k); len(w) == out*in*k*k {
		var err error
		if c.w, err = conv.Pack(l.Device(), w, out, in, k, k); err != nil {
			l.Fail(fmt.Errorf("%sweight: %w", p.Prefix(), err))
		}
	}
	if p.Has("bias") {
		c.bias = p.Vector("bias", out)
	}
	return c
}

// Forward convolves x, and adds residual unless it is nil.
func (c Conv) Forward(s *engine.Stream, x, residual *engine.Tensor) *engine.Tensor {
	s.Enter(fusedName(c.name, matmul.None, residual))
	o := c.opt
	o.Epilogue = matmul.Epilogue{Bias: c.bias, Residual: residual}
	return s.Leave(conv.Conv2D(s, x, c.w, o))
}

// Beside convolves x and, unless it is nil, more channels of the same pixels.
func (c Conv) Beside(s *engine.Stream, x, more *engine.Tensor) *engine.Tensor {
	s.Enter(c.name)
	o := c.opt
	o.Beside, o.Epilogue = more, matmul.Epilogue{Bias: c.bias}
	return s.Leave(conv.Conv2D(s, x, c.w, o))
}

// Each convolves x and adds a row of each [P, out] to every pixel of its part
// of the samples; nil adds nothing.
func (c Conv) Each(s *engine.Stream, x, each *engine.Tensor) *engine.Tensor {
	name := c.name
	if each != nil {
		name += "+each"
	}
	s.Enter(name)
	o := c.opt
	o.Epilogue = matmul.Epilogue{Bias: c.bias, Each: each}
	return s.Leave(conv.Conv2D(s, x, c.w, o))
}

// Norm is a layer norm, or a group norm when Groups is set.
type Norm struct {
	name        string
	gamma, beta *engine.Tensor
	eps         float64
	groups      int
}

// LoadLayerNorm reads name.weight and name.bias of [c].
func LoadLayerNorm(l *weights.Loader, name string, c int, eps float64) Norm {
	return LoadGroupNorm(l, name, c, 0, eps)
}

// LoadGroupNorm reads name.weight and name.bias of [c].
func LoadGroupNorm(l *weights.Loader, name string, c, groups int, eps float64) Norm {
	p := l.In(name)
	return Norm{name: name, eps: eps, groups: groups, gamma: p.Vector("weight", c), beta: p.Vector("bias", c)}
}

// Forward normalises x.
func (n Norm) Forward(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter(n.name)
	if n.groups > 0 {
		return s.Leave(norm.Group(s, x, nil, n.groups, n.gamma, n.beta, n.eps, false))
	}
	return s.Leave(norm.Layer(s, x, n.gamma, n.beta, n.eps))
}

// SiLU is silu(Forward(x)) of a group norm, where the channels of beside follow
// those of x, unless it is nil.
func (n Norm) SiLU(s *engine.Stream, x, beside *engine.Tensor) *engine.Tensor {
	s.Enter(n.name + "+act")
	return s.Leave(norm.Group(s, x, beside, n.groups, n.gamma, n.beta, n.eps, true))
}

// Attention is multi-head attention with its four projections.
type Attention struct {
	name       string
	q, k, v, o Linear
	heads      int
}

// AttentionNames are a checkpoint's names of the projections.
type AttentionNames struct{ Query, Key, Value, Out string }

// The names that transformers' CLIP and diffusers use.
var (
	CLIPNames      = AttentionNames{"q_proj", "k_proj", "v_proj", "out_proj"}
	DiffusersNames = AttentionNames{"to_q", "to_k", "to_v", "to_out.0"}
)

// LoadAttention reads projections of queries [inner, width] and of keys and
// values [inner, kvWidth], and the one back to [width, inner].
func LoadAttention(l *weights.Loader, name string, names AttentionNames, width, kvWidth, inner, heads int) Attention {
	if heads < 1 || inner%heads != 0 {
		l.Fail(&HeadsError{Layer: l.Prefix() + name, Width: inner, Heads: heads})
		heads = 1
	}
	p := l
	if name != "" {
		p = l.In(name)
	}
	return Attention{name: name, heads: heads,
		q: LoadLinear(p, names.Query, width, inner), k: LoadLinear(p, names.Key, kvWidth, inner),
		v: LoadLinear(p, names.Value, kvWidth, inner), o: LoadLinear(p, names.Out, inner, width)}
}

// LoadPacked reads name.qkv of [3 width, width] and name.projection, as in
// BLIP's vision tower.
func LoadPacked(l *weights.Loader, name string, width, heads int) Attention {
	if heads < 1 || width%heads != 0 {
		l.Fail(&HeadsError{Layer: l.Prefix() + name, Width: width, Heads: heads})
		heads = 1
	}
	p := l.In(name)
	w := p.F32("qkv.weight", 3*width, width)
	part := func(i int, n string) Linear {
		var b []float32
		if len(w) == 0 {
			return Linear{}
		}
		if p.Has("qkv.bias") {
			if all := p.F32("qkv.bias", 3*width); len(all) > 0 {
				b = all[i*width : (i+1)*width]
			}
		}
		return NewLinear(p, n, w[i*width*width:(i+1)*width*width], b, width, width)
	}
	return Attention{name: name, heads: heads, q: part(0, "query"), k: part(1, "key"), v: part(2, "value"),
		o: LoadLinear(p, "projection", width, width)}
}

// HeadDim is the width of a head.
func (a Attention) HeadDim() int { return a.q.w.Out / a.heads }

// Keys projects the context to keys and values, [M, Lk, inner] each.
func (a Attention) Keys(s *engine.Stream, context *engine.Tensor) (k, v *engine.Tensor) {
	return a.k.Forward(s, context), a.v.Forward(s, context)
}

// Query attends from x [N, L, width] to keys and values and adds residual.
func (a Attention) Query(s *engine.Stream, x, k, v, residual *engine.Tensor, o attention.Options) *engine.Tensor {
	o.Heads = a.heads
	q := a.q.Forward(s, x)
	y := attention.Attend(s, q, k, v, o)
	s.Free(q)
	z := a.o.Fused(s, y, matmul.None, residual)
	s.Free(y)
	return z
}

// Cross is Query in a scope of the attention's own.
func (a Attention) Cross(s *engine.Stream, x, k, v, residual *engine.Tensor) *engine.Tensor {
	s.Enter(fusedName(a.name, matmul.None, residual))
	return s.Leave(a.Query(s, x, k, v, residual, attention.Options{}))
}

// Forward attends from x [N, L, width] to context [M, Lk, kvWidth], x itself
// when context is nil, and adds residual.
func (a Attention) Forward(s *engine.Stream, x, context, residual *engine.Tensor, o attention.Options) *engine.Tensor {
	s.Enter(fusedName(a.name, matmul.None, residual))
	if context == nil {
		context = x
	}
	k, v := a.Keys(s, context)
	y := a.Query(s, x, k, v, residual, o)
	s.Free(k, v)
	return s.Leave(y)
}

// Block is a pre-norm transformer block of CLIP and of BLIP's vision tower:
// x + attention(norm(x)), then x + mlp(norm(x)).
type Block struct {
	Name         string
	Norm1, Norm2 Norm
	Attn         Attention
	FC1, FC2     Linear
	Act          matmul.Act
	Causal       bool
}

// Forward maps [N, L, C] to the same shape. It frees nothing of its caller's.
func (b Block) Forward(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter(b.Name)
	h := b.Norm1.Forward(s, x)
	y := b.Attn.Forward(s, h, nil, x, attention.Options{Causal: b.Causal})
	s.Free(h)
	h = b.Norm2.Forward(s, y)
	m := b.FC1.Fused(s, h, b.Act, nil)
	s.Free(h)
	z := b.FC2.Fused(s, m, matmul.None, y)
	s.Free(m, y)
	return s.Leave(z)
}
