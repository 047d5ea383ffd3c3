package layer

import (
	"parley/engine"
	"parley/kernels/norm"
	"parley/weights"
)

// Norm is a layer norm or a group norm.
type Norm struct {
	scopes
	gamma, beta *engine.Tensor
	eps         float64
	groups      int // 0: a layer norm
}

// LoadLayerNorm reads name.weight and name.bias of [c].
func LoadLayerNorm(l *weights.Loader, name string, c int, eps float64) Norm {
	return LoadGroupNorm(l, name, c, 0, eps)
}

// LoadGroupNorm reads name.weight and name.bias of [c].
func LoadGroupNorm(l *weights.Loader, name string, c, groups int, eps float64) Norm {
	p := l.In(name)
	return Norm{scopes: scopesOf(name), eps: eps, groups: groups, gamma: p.Vector("weight", c), beta: p.Vector("bias", c)}
}

// Forward normalises x [..., c].
func (n Norm) Forward(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter(n.plain)
	if n.groups > 0 {
		return s.Leave(norm.Group(s, x, nil, n.groups, n.gamma, n.beta, n.eps, false))
	}
	return s.Leave(norm.Layer(s, x, n.gamma, n.beta, n.eps))
}

// SiLU is silu(Forward(x)) of a group norm. The channels of skip, unless it is nil,
// follow those of x, and c is the sum of both widths.
func (n Norm) SiLU(s *engine.Stream, x, skip *engine.Tensor) *engine.Tensor {
	s.Enter(n.act)
	return s.Leave(norm.Group(s, x, skip, n.groups, n.gamma, n.beta, n.eps, true))
}
