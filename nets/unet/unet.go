// Package unet is Stable Diffusion's denoiser (arXiv 2112.10752, figure 3;
// diffusers' UNet2DConditionModel).
package unet

import (
	"fmt"

	"parley/engine"
	"parley/kernels/conv"
	"parley/kernels/elementwise"
	"parley/nets/layer"
	"parley/weights"
)

// Model predicts the noise (or the velocity, or the sample) in latents.
type Model struct {
	Encoder     // the left side of the U, and its bottom
	Out     int // channels of the prediction

	up      []block
	normOut layer.Norm
	convOut layer.Conv
}

// Load builds the net from config.json and diffusers' tensor names. Errors name
// the key, or the tensor with both shapes.
func Load(c weights.Config, l *weights.Loader) (*Model, error) {
	config, err := ParseConfig(c)
	if err != nil {
		return nil, err
	}
	return New(config, l)
}

// New builds the net of a configuration.
func New(c Config, l *weights.Loader) (*Model, error) {
	e := newEncoder(&c, l)
	m := &Model{Encoder: *e, Out: c.Out}
	last, skips := len(c.Channels)-1, e.skips
	in := c.Channels[last]
	for i := range c.Channels {
		k := last - i // the level
		b, p := newBlock(l, "up_blocks", i)
		for j := range c.Layers[k] + 1 {
			skip := skips[len(skips)-1]
			skips = skips[:len(skips)-1]
			b.add(p, &c, in+skip, c.Channels[k], j)
			if c.Up[i] {
				b.addAttention(p, &c, c.Channels[k], k, j)
			}
			in = c.Channels[k]
		}
		if i < last {
			b.resampleBy(p, "upsamplers.0", in, conv.Options{Pad: conv.Same(3), Upsample: true})
		}
		m.up = append(m.up, b)
	}
	m.normOut = layer.LoadGroupNorm(l, "conv_norm_out", c.Channels[0], c.Groups, c.Eps)
	m.convOut = layer.LoadConv(l, "conv_out", c.Channels[0], m.Out, 3, conv.Options{Pad: conv.Same(3)})
	l.Unread("a UNet of Stable Diffusion 1 or 2")
	return m, l.Err()
}

func (m *Model) blocks() []*block {
	all := m.Encoder.blocks()
	for i := range m.up {
		all = append(all, &m.up[i])
	}
	return all
}

// Condition computes what depends on the timesteps and on the context
// [N, L, Cross] alone, for all steps at once, and what is embedded beside the
// timesteps.
func (m *Model) Condition(s *engine.Stream, timesteps []float64, context *engine.Tensor, with Embeddings) (*Conditions, error) {
	return m.conditions(s, m.blocks(), timesteps, context, with)
}

// Step predicts for latents at a step: [N, H, W, Out]. All that changes from step
// to step lies in the input's tensors, so that one captured graph serves every
// step.
func (m *Model) Step(s *engine.Stream, c *Conditions, in Input) (*engine.Tensor, error) {
	if err := m.check(c, in); err != nil {
		return nil, err
	}
	if err := c.at(s, in); err != nil {
		return nil, err
	}
	defer c.leave(s)
	return m.run(s, c, in)
}

// Forward takes latents x [M, H, W, In], a timestep for each, the context
// [N, L, Cross] and cond, Embeddings' of each latents [M, TimeCond] or nil, and
// returns [N, H, W, Out], as Step does.
func (m *Model) Forward(s *engine.Stream, x *engine.Tensor, timesteps []float64, context, cond *engine.Tensor) (*engine.Tensor, error) {
	if len(timesteps) != x.Dim(0) {
		return nil, fmt.Errorf("unet: %d timesteps for %d samples", len(timesteps), x.Dim(0))
	}
	var all []float64
	for len(timesteps) > 0 && len(all) < max(context.Dim(0), len(timesteps)) {
		all = append(all, timesteps...)
	}
	c, err := m.project(s, m.blocks(), all, context, Embeddings{Cond: cond})
	if err != nil {
		return nil, err
	}
	defer c.Free(s)
	in := Input{Latents: x}
	if err := m.check(c, in); err != nil {
		return nil, err
	}
	return m.run(s, c, in)
}

// run is the whole U.
func (m *Model) run(s *engine.Stream, c *Conditions, in Input) (*engine.Tensor, error) {
	// 1. to 3. conv_in, the down blocks and the mid block.
	f := m.encode(s, c, in)
	// 4. What a ControlNet adds to them.
	if err := c.add(s, &f, in.Residuals); err != nil {
		return nil, err
	}
	// 5. The up blocks, each resnet with the last skip connection that is left.
	h := f.Mid
	for i := range m.up {
		b := &m.up[i]
		s.Enter(b.name)
		for j := range b.resnets {
			n := len(f.Skips) - 1
			skip := c.expand(s, f.Skips[n])
			if skip != f.Skips[n] {
				s.Free(f.Skips[n])
			}
			f.Skips = f.Skips[:n]
			y := b.forward(s, j, h, skip, c)
			s.Free(h, skip)
			h = y
		}
		if b.resample != nil {
			y := b.grow(s, h, f.Skips[len(f.Skips)-1], c)
			s.Free(h)
			h = y
		}
		s.Leave(h)
	}
	// 6. conv_out.
	a := m.normOut.SiLU(s, h, nil)
	s.Free(h)
	y := m.convOut.Forward(s, a, nil)
	s.Free(a)
	return y, s.Err()
}

// add adds residuals to the features, which it gives back. The down blocks have
// not seen them: diffusers adds them behind the mid block, too.
func (c *Conditions) add(s *engine.Stream, f *Features, r Features) error {
	if n := len(r.Skips); n > 0 && n != len(f.Skips) {
		return fmt.Errorf("unet: %d residuals for %d skip connections", n, len(f.Skips))
	}
	for i, x := range r.Skips {
		var err error
		if f.Skips[i], err = c.plus(s, f.Skips[i], x, "down_block_additional_residuals"); err != nil {
			return err
		}
	}
	var err error
	f.Mid, err = c.plus(s, f.Mid, r.Mid, "mid_block_additional_residual")
	return err
}

// plus is x + r, where each has M or N samples; it frees x. A nil r adds nothing.
func (c *Conditions) plus(s *engine.Stream, x, r *engine.Tensor, name string) (*engine.Tensor, error) {
	if r == nil {
		return x, nil
	}
	a, b := x.Shape(), r.Shape()
	if len(b) != 4 || !a[1:].Equal(b[1:]) || b[0] != a[0] && b[0] != c.texts && (a[0] != c.texts || c.texts%max(b[0], 1) != 0) {
		return nil, &layer.ShapeError{Net: "unet", Input: name, Have: b, Want: a.String()}
	}
	wide := x
	if b[0] != a[0] {
		wide = c.expand(s, x)
	}
	if wide != x {
		s.Free(x)
	}
	other := r
	if b[0] != wide.Dim(0) {
		other = c.expand(s, r)
	}
	y := sum(s, wide, other)
	s.Free(wide)
	if other != r {
		s.Free(other)
	}
	return y, nil
}

// sum is x + y of the type of activations: added in f32, and rounded once.
func sum(s *engine.Stream, x, y *engine.Tensor) *engine.Tensor {
	if s.Float() == engine.F32 {
		return elementwise.Mix(s, 1, x, 1, y)
	}
	a, b, out := s.New(engine.F32, x.Shape()...), s.New(engine.F32, y.Shape()...), s.New(s.Float(), x.Shape()...)
	elementwise.Scale(s, a, x, 1)
	elementwise.Scale(s, b, y, 1)
	z := elementwise.Mix(s, 1, a, 1, b)
	elementwise.Scale(s, out, z, 1)
	s.Free(a, b, z)
	return out
}
