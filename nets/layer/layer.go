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
	"parley/kernels/embed"
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

// Activation reads the name of an activation, as transformers has it.
func Activation(r *weights.Reader, key, def string) matmul.Act {
	name := r.String(key, def)
	act, err := matmul.ParseAct(name)
	if err != nil {
		r.Fail(fmt.Errorf("%s: %w%s", key, err, r.In()))
	}
	return act
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
	p.Done("weight")
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
	p.Done("weight")
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

// Attention is multi-head attention with its projections. Those of one input
// are one product: queries, keys and values side by side where all come from x,
// keys and values where they come from a context.
type Attention struct {
	name  string
	in    Linear  // "qkv", or the queries alone
	kv    *Linear // of a context
	out   Linear
	heads int
}

// AttentionNames are a checkpoint's names of the projections.
type AttentionNames struct{ Query, Key, Value, Out string }

// The names that transformers' CLIP and diffusers use.
var (
	CLIPNames      = AttentionNames{"q_proj", "k_proj", "v_proj", "out_proj"}
	DiffusersNames = AttentionNames{"to_q", "to_k", "to_v", "to_out.0"}
)

// LoadSelf reads projections of [inner, width] and the one back to [width,
// inner].
func LoadSelf(l *weights.Loader, name string, names AttentionNames, width, inner, heads int) Attention {
	p, heads := attentionIn(l, name, inner, heads)
	return Attention{name: name, heads: heads, out: LoadLinear(p, names.Out, inner, width),
		in: beside(p, "qkv", width, inner, names.Query, names.Key, names.Value)}
}

// LoadCross reads projections of queries [inner, width], of keys and values
// [inner, context], and the one back to [width, inner].
func LoadCross(l *weights.Loader, name string, names AttentionNames, width, context, inner, heads int) Attention {
	p, heads := attentionIn(l, name, inner, heads)
	kv := beside(p, "kv", context, inner, names.Key, names.Value)
	return Attention{name: name, heads: heads, in: LoadLinear(p, names.Query, width, inner), kv: &kv,
		out: LoadLinear(p, names.Out, inner, width)}
}

// LoadPacked reads name.qkv of [3 width, width] and name.projection, as in
// BLIP's vision tower.
func LoadPacked(l *weights.Loader, name string, width, heads int) Attention {
	p, heads := attentionIn(l, name, width, heads)
	return Attention{name: name, heads: heads, in: LoadLinear(p, "qkv", width, 3*width), out: LoadLinear(p, "projection", width, width)}
}

func attentionIn(l *weights.Loader, name string, inner, heads int) (*weights.Loader, int) {
	if heads < 1 || inner%heads != 0 {
		l.Fail(&HeadsError{Layer: l.Prefix() + name, Width: inner, Heads: heads})
		heads = 1
	}
	if name == "" {
		return l, heads
	}
	return l.In(name), heads
}

// beside is one layer of several of [out, in] each; where one has a bias, those
// that have none add zeros.
func beside(l *weights.Loader, name string, in, out int, names ...string) Linear {
	var w, b []float32
	biased := false
	for i, n := range names {
		p := l.In(n)
		w = append(w, p.F32("weight", out, in)...)
		p.Done("weight")
		b = append(b, make([]float32, (i+1)*out-len(b))...)
		if p.Has("bias") {
			biased = true
			copy(b[i*out:], p.F32("bias", out))
		}
	}
	if !biased {
		b = nil
	}
	return NewLinear(l, name, w, b, in, len(names)*out)
}

// Keys projects a context to keys and values side by side, [M, Lk, 2 inner].
func (a Attention) Keys(s *engine.Stream, context *engine.Tensor) *engine.Tensor {
	return a.kv.Forward(s, context)
}

// Cross attends from x [N, L, width] to what Keys gives, and adds residual.
func (a Attention) Cross(s *engine.Stream, x, kv, residual *engine.Tensor) *engine.Tensor {
	s.Enter(fusedName(a.name, matmul.None, residual))
	q := a.in.Forward(s, x)
	y := attention.PackedKeys(s, q, kv, attention.Options{Heads: a.heads})
	s.Free(q)
	return s.Leave(a.back(s, y, residual))
}

// Self attends within x [N, L, width], and adds residual.
func (a Attention) Self(s *engine.Stream, x, residual *engine.Tensor, causal bool) *engine.Tensor {
	s.Enter(fusedName(a.name, matmul.None, residual))
	qkv := a.in.Forward(s, x)
	y := attention.Packed(s, qkv, attention.Options{Heads: a.heads, Causal: causal})
	s.Free(qkv)
	return s.Leave(a.back(s, y, residual))
}

// Write attends causally within a text of which x [N, L, width] are the words
// from `at` and, where more is not nil, as much further on. cache [N, room, 2
// inner] has the keys and values of those before, and gets theirs.
func (a Attention) Write(s *engine.Stream, x, cache, residual *engine.Tensor, at int, more *engine.Tensor) *engine.Tensor {
	s.Enter(fusedName(a.name, matmul.None, residual))
	qkv := a.in.Forward(s, x)
	embed.Append(s, cache, qkv, at, more)
	y := attention.Cached(s, qkv, cache, attention.Options{Heads: a.heads, Causal: true, Keys: at + x.Dim(1), More: more})
	s.Free(qkv)
	return s.Leave(a.back(s, y, residual))
}

func (a Attention) back(s *engine.Stream, y, residual *engine.Tensor) *engine.Tensor {
	z := a.out.Fused(s, y, matmul.None, residual)
	s.Free(y)
	return z
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
	y := b.Attn.Self(s, h, x, b.Causal)
	s.Free(h)
	h = b.Norm2.Forward(s, y)
	m := b.FC1.Fused(s, h, b.Act, nil)
	s.Free(h)
	z := b.FC2.Fused(s, m, matmul.None, y)
	s.Free(m, y)
	return s.Leave(z)
}
