package layer

import (
	"parley/engine"
	"parley/kernels/matmul"
)

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

// Forward maps x [N, L, width] to the same shape. It frees nothing of its
// caller's.
func (b *Block) Forward(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
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
