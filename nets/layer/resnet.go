package layer

import (
	"fmt"

	"parley/engine"
	"parley/kernels/conv"
	"parley/weights"
)

// Resnet is the residual block of Stable Diffusion's UNet and, without a timestep,
// of its autoencoder (diffusers' ResnetBlock2D).
type Resnet struct {
	name         string
	norm1, norm2 Norm
	conv1, conv2 Conv
	shortcut     *Conv // nil where the width stays
}

// LoadResnet reads name.norm1, conv1, norm2, conv2 and, where the width changes,
// conv_shortcut. The projection of the timestep is its user's.
func LoadResnet(l *weights.Loader, name string, in, out, groups int, eps float64) Resnet {
	p := l.In(name)
	if in%groups != 0 {
		l.Fail(fmt.Errorf("%snorm1: %d channels do not divide in %d groups", p.Prefix(), in, groups))
		groups = 1
	}
	r := Resnet{name: name,
		norm1: LoadGroupNorm(p, "norm1", in, groups, eps),
		conv1: LoadConv(p, "conv1", in, out, 3, conv.Options{Pad: conv.Same(3)}),
		norm2: LoadGroupNorm(p, "norm2", out, groups, eps),
		conv2: LoadConv(p, "conv2", out, out, 3, conv.Options{Pad: conv.Same(3)}),
	}
	if in != out {
		sc := LoadConv(p, "conv_shortcut", in, out, 1, conv.Options{})
		r.shortcut = &sc
	}
	return r
}

// Forward maps x [N, H, W, in], or the channels of x and then of skip, to
// [N, H, W, out]. temb [P, out] is added to the pixels of each of P even parts of
// the samples for its timestep; nil adds nothing.
func (r *Resnet) Forward(s *engine.Stream, x, skip, temb *engine.Tensor) *engine.Tensor {
	s.Enter(r.name)
	a := r.norm1.SiLU(s, x, skip)
	h := r.conv1.Timed(s, a, temb)
	s.Free(a)
	a = r.norm2.SiLU(s, h, nil)
	s.Free(h)
	residual := x
	if r.shortcut != nil {
		residual = r.shortcut.Concat(s, x, skip, nil)
	}
	y := r.conv2.Forward(s, a, residual)
	s.Free(a)
	if residual != x {
		s.Free(residual)
	}
	return s.Leave(y)
}
