// Package layer is what nets are made of: weights beside the names they have
// in a checkpoint, and the operation that uses them. Scopes carry Hugging
// Face's module names; a scope whose output has more fused into it than that
// module's says so by a suffix: "fc1+act", "conv2+residual", "conv1+temb".
package layer

import (
	"fmt"

	"parley/engine"
	"parley/kernels/matmul"
	"parley/kernels/storage"
	"parley/weights"
)

// scopes are what a layer is called in paths, by what is fused into it; they
// are joined once, when the layer is loaded.
type scopes struct{ plain, act, residual, actResidual string }

func scopesOf(name string) scopes {
	return scopes{plain: name, act: name + "+act", residual: name + "+residual", actResidual: name + "+act+residual"}
}

func (n *scopes) fused(act matmul.Act, residual *engine.Tensor) string {
	switch {
	case act != matmul.None && residual != nil:
		return n.actResidual
	case act != matmul.None:
		return n.act
	case residual != nil:
		return n.residual
	}
	return n.plain
}

// Linear is y = xWᵀ + b.
type Linear struct {
	scopes
	geglu string // its scope with GEGLU
	w     *matmul.Weights
	bias  *engine.Tensor
}

// LoadLinear reads name.weight of [out, in] (or a 1x1 convolution's
// [out, in, 1, 1]) and name.bias where there is one.
func LoadLinear(l *weights.Loader, name string, in, out int) Linear {
	p := l.In(name)
	dims := []int{out, in}
	if sh, ok := p.Shape("weight"); ok && len(sh) == 4 {
		dims = []int{out, in, 1, 1}
	}
	lin := NewLinear(l, name, p.Source("weight", dims...), nil, in, out)
	p.Done("weight")
	if p.Has("bias") {
		lin.bias = p.Vector("bias", out)
	}
	return lin
}

// NewLinear makes a layer of weights [out, in] on the loader's device; w is nil where
// they could not be read, and b may be nil.
func NewLinear(l *weights.Loader, name string, w storage.Source, b []float32, in, out int) Linear {
	lin := Linear{scopes: scopesOf(name), geglu: name + "+geglu"}
	if w != nil {
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

// concatLinear is one layer of several of [out, in] each, whose results lie side
// by side; where one has a bias, those that have none add zeros.
func concatLinear(l *weights.Loader, name string, in, out int, names ...string) Linear {
	var w storage.Concat
	var b []float32
	biased := false
	for i, n := range names {
		p := l.In(n)
		if s := p.Source("weight", out, in); s != nil {
			w = append(w, s)
		}
		b = append(b, make([]float32, (i+1)*out-len(b))...)
		if p.Has("bias") {
			biased = true
			copy(b[i*out:], p.F32("bias", out))
		}
	}
	if !biased {
		b = nil
	}
	if len(w) < len(names) { // the error is kept
		return Linear{scopes: scopesOf(name)}
	}
	lin := NewLinear(l, name, w, b, in, len(names)*out)
	for _, n := range names {
		l.In(n).Done("weight")
	}
	return lin
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

// Forward maps x [..., in] to [..., out].
func (l Linear) Forward(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	return l.Fused(s, x, matmul.None, nil)
}

// Fused is act(Forward(x)) + residual; residual [..., out] may be nil.
func (l Linear) Fused(s *engine.Stream, x *engine.Tensor, act matmul.Act, residual *engine.Tensor) *engine.Tensor {
	s.Enter(l.fused(act, residual))
	return s.Leave(matmul.Linear(s, x, l.w, matmul.Epilogue{Bias: l.bias, Act: act, Residual: residual}))
}

// Added is act(Forward(x) + added), where row p of added [P, out] belongs to the
// p-th of P even parts of x's rows; nil adds nothing.
func (l Linear) Added(s *engine.Stream, x, added *engine.Tensor, act matmul.Act) *engine.Tensor {
	s.Enter(l.fused(act, nil))
	return s.Leave(matmul.Linear(s, x, l.w, matmul.Epilogue{Bias: l.bias, Act: act, SampleBias: added}))
}

// Logits is Forward in f32 on every device.
func (l Linear) Logits(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter(l.plain)
	return s.Leave(matmul.Linear(s, x, l.w, matmul.Epilogue{Bias: l.bias, Logits: true}))
}

// GEGLU is the first half of Forward(x) times gelu of the second, [..., out/2]
// (arXiv 2002.05202).
func (l Linear) GEGLU(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter(l.geglu)
	return s.Leave(matmul.Linear(s, x, l.w, matmul.Epilogue{Bias: l.bias, GEGLU: true}))
}
