package unet

import (
	"fmt"

	"parley/engine"
	"parley/kernels/conv"
	"parley/nets/layer"
	"parley/weights"
)

// Encoder is the contracting half of the U: conv_in, the down blocks and the mid
// block, with the timestep's embedding that its blocks share. A ControlNet
// (arXiv 2302.05543) is a copy of it.
type Encoder struct {
	In    int // channels that conv_in takes
	Cross int // width of the context
	Width int // of the first block; the timestep's embedding has 4 Width
	// TimeCond is the width of Embeddings.Cond, 0 where the net takes none. One that
	// does has learned what guidance does, and runs with the prompt alone.
	TimeCond int

	timestep timestep
	convIn   layer.Conv
	down     []block
	mid      block
	skips    []int // channels of each skip connection, in order
}

// Features are what an encoder gives, and what a ControlNet adds to them:
// diffusers' down_block_additional_residuals and mid_block_additional_residual.
type Features struct {
	// Skips are the skip connections [N, h, w, c]: the outputs of conv_in, of each
	// resnet (with its attention, where it has one) and of each downsampler, in this
	// order.
	Skips []*engine.Tensor
	Mid   *engine.Tensor // the mid block's output
}

// Input is what one pass takes beside the conditions.
type Input struct {
	// Latents are [M, H, W, C]. M divides the number of texts N: sample j of the
	// result is latents j mod M with text j, so that guidance, which asks for the
	// same latents with and without a text, gives them once.
	Latents *engine.Tensor
	// Concat, unless it is nil, has conv_in's other channels, [M, H, W, In-C]: an
	// inpainting model's mask and masked picture, InstructPix2Pix's picture.
	Concat *engine.Tensor
	// Hint, unless it is nil, is added to conv_in's output, [M, H, W, Width]: a
	// ControlNet's embedded picture.
	Hint *engine.Tensor
	// Step says which of the conditions' timesteps it is: i32, [1] for all samples
	// or [M] for each latents, of Conditions.Row.
	Step *engine.Tensor
	// Residuals are added to the skip connections and to the mid block's output: a
	// tensor for each, of its shape with M or N samples, or nil. The zero value adds
	// nothing.
	Residuals Features
}

// LoadEncoder builds the contracting half alone from a UNet's or a ControlNet's
// config.json and diffusers' tensor names.
func LoadEncoder(c weights.Config, l *weights.Loader) (*Encoder, error) {
	config, err := ParseConfig(c)
	if err != nil {
		return nil, err
	}
	return newEncoder(&config, l), l.Err()
}

func newEncoder(c *Config, l *weights.Loader) *Encoder {
	first := c.Channels[0]
	e := &Encoder{In: c.In, Cross: c.Cross, Width: first, TimeCond: c.TimeCond, timestep: newTimestep(c, l),
		convIn: layer.LoadConv(l, "conv_in", c.In, first, 3, conv.Options{Pad: conv.Same(3)}),
		skips:  []int{first}}
	shrink := conv.Options{Stride: 2, Pad: conv.Same(3)}
	if c.Padding == 0 { // as diffusers: a row and a column of zeros at the end
		shrink.Pad = conv.Pad{Bottom: 1, Right: 1}
	}
	in, last := first, len(c.Channels)-1
	for i, w := range c.Channels {
		b, p := newBlock(l, "down_blocks", i)
		for j := range c.Layers[i] {
			b.add(p, c, in, w, j)
			if c.Down[i] {
				b.addAttention(p, c, w, i, j)
			}
			in = w
			e.skips = append(e.skips, w)
		}
		if i < last {
			b.resampleBy(p, "downsamplers.0", w, shrink)
			e.skips = append(e.skips, w)
		}
		e.down = append(e.down, b)
	}
	p := l.In("mid_block")
	e.mid = block{name: "mid_block"}
	if c.Middle != MiddleNone {
		e.mid.add(p, c, in, in, 0)
	}
	if c.Middle == MiddleCross {
		e.mid.add(p, c, in, in, 1)
		e.mid.addAttention(p, c, in, last, 0)
	}
	return e
}

// blocks are all that the conditions are for.
func (e *Encoder) blocks() []*block {
	var all []*block
	for i := range e.down {
		all = append(all, &e.down[i])
	}
	return append(all, &e.mid)
}

// Condition computes what depends on the timesteps and on the context alone, as
// Model's.
func (e *Encoder) Condition(s *engine.Stream, timesteps []float64, context *engine.Tensor, with Embeddings) (*Conditions, error) {
	return e.conditions(s, e.blocks(), timesteps, context, with)
}

// Forward runs the contracting half. The features are the caller's to free;
// Residuals are not looked at.
func (e *Encoder) Forward(s *engine.Stream, c *Conditions, in Input) (Features, error) {
	if err := e.check(c, in); err != nil {
		return Features{}, err
	}
	if err := c.at(s, in); err != nil {
		return Features{}, err
	}
	defer c.leave(s)
	return e.encode(s, c, in), s.Err()
}

// encode is the left side of the U, from the top down.
func (e *Encoder) encode(s *engine.Stream, c *Conditions, in Input) Features {
	f := Features{Skips: make([]*engine.Tensor, 0, len(e.skips))}
	// 1. conv_in.
	h := e.convIn.Concat(s, in.Latents, in.Concat, in.Hint)
	f.Skips = append(f.Skips, h)
	// 2. The down blocks. Each map is a skip connection, so that none is freed.
	for i := range e.down {
		b := &e.down[i]
		s.Enter(b.name)
		for j := range b.resnets {
			h = b.forward(s, j, h, nil, c)
			f.Skips = append(f.Skips, h)
		}
		if b.resample != nil {
			h = b.shrink(s, h)
			f.Skips = append(f.Skips, h)
		}
		s.Leave(h)
	}
	// 3. The mid block: resnet, attention, resnet; or less of it.
	f.Mid = e.middle(s, h, c)
	if wide := c.expand(s, f.Mid); wide != f.Mid { // nothing has looked at the context yet
		s.Free(f.Mid)
		f.Mid = wide
	}
	return f
}

// middle maps h, which stays the caller's.
func (e *Encoder) middle(s *engine.Stream, h *engine.Tensor, c *Conditions) *engine.Tensor {
	if len(e.mid.resnets) == 0 {
		y := s.New(h.DType(), h.Shape()...)
		s.Copy(y, h)
		return y
	}
	s.Enter(e.mid.name)
	y := e.mid.forward(s, 0, h, nil, c)
	if len(e.mid.resnets) > 1 {
		z := e.mid.forward(s, 1, y, nil, c)
		s.Free(y)
		y = z
	}
	return s.Leave(y)
}

// check refuses inputs that do not fit the net, the conditions or each other.
func (e *Encoder) check(c *Conditions, in Input) error {
	sh, width := in.Latents.Shape(), e.In
	if in.Concat != nil {
		width -= in.Concat.Dim(-1)
	}
	if len(sh) != 4 || sh[3] != width || sh.Elems() == 0 {
		return &layer.ShapeError{Net: "unet", Input: "sample", Have: sh, Want: fmt.Sprintf("[N H W %d]", width)}
	}
	if c.texts%sh[0] != 0 {
		return fmt.Errorf("unet: %d samples, %d rows of encoder_hidden_states: want a multiple", sh[0], c.texts)
	}
	if x := in.Concat; x != nil && (len(x.Shape()) != 4 || !x.Shape()[:3].Equal(sh[:3])) {
		return &layer.ShapeError{Net: "unet", Input: "channels beside sample", Have: x.Shape(),
			Want: fmt.Sprintf("[%d %d %d %d]", sh[0], sh[1], sh[2], e.In-sh[3])}
	}
	if x := in.Hint; x != nil && !x.Shape().Equal(engine.Shape{sh[0], sh[1], sh[2], e.Width}) {
		return &layer.ShapeError{Net: "unet", Input: "controlnet_cond", Have: x.Shape(),
			Want: fmt.Sprintf("[%d %d %d %d]", sh[0], sh[1], sh[2], e.Width)}
	}
	return nil
}

// Free gives the memory back.
func (f *Features) Free(s *engine.Stream) {
	s.Free(f.Skips...)
	s.Free(f.Mid)
	*f = Features{}
}
