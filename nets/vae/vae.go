// Package vae is Stable Diffusion's autoencoder between pictures and latents
// (diffusers' AutoencoderKL).
package vae

import (
	"fmt"
	"strconv"

	"parley/engine"
	"parley/kernels/conv"
	"parley/kernels/layout"
	"parley/nets/layer"
	"parley/weights"
)

// Model is the encoder and the decoder.
type Model struct {
	Latents int     // channels of the latents
	Scale   float64 // what diffusion multiplies latents with
	Factor  int     // pixels to a latent, along each side

	encoder, decoder tower
	quant, postQuant *layer.Linear
}

// tower is one half: a convolution in, levels, and a convolution out.
type tower struct {
	name       string
	convIn     layer.Conv
	blocks     []block
	res1, res2 layer.Resnet
	attnNorm   layer.Norm
	attn       *layer.Attention
	normOut    layer.Norm
	convOut    layer.Conv
}

type block struct {
	name     string
	resnets  []layer.Resnet
	resample *layer.Conv
	sampler  string
}

// Load builds the autoencoder from config.json and diffusers' tensor names.
func Load(c weights.Config, l *weights.Loader) (*Model, error) {
	r := c.Reader()
	widths := r.Ints("block_out_channels", []int{128, 256, 512, 512})
	layers, groups, channels := r.Layers("layers_per_block", 2), r.Size("norm_num_groups", 32), r.Size("in_channels", 3)
	m := &Model{Latents: r.Size("latent_channels", 4), Scale: r.Float("scaling_factor", 0.18215)}
	midAttn := r.Bool("mid_block_add_attention", true)
	if act := r.String("act_fn", "silu"); act != "silu" {
		r.Fail(fmt.Errorf("%s: act_fn is %q, only silu is supported", c.File(), act))
	}
	r.Only("down_block_types", "DownEncoderBlock2D", "Stable Diffusion's autoencoder has no other")
	r.Only("up_block_types", "UpDecoderBlock2D", "Stable Diffusion's autoencoder has no other")
	r.Only("in_channels", 3, "pictures have three channels")
	r.Only("out_channels", 3, "pictures have three channels")
	if len(widths) == 0 {
		r.Fail(fmt.Errorf("%s: block_out_channels is empty", c.File()))
	}
	for _, w := range widths {
		if w < 1 || w > 1<<20 || len(widths) > 16 {
			r.Fail(fmt.Errorf("%s: block_out_channels is %v", c.File(), widths))
			break
		}
		if w%groups != 0 {
			r.Fail(fmt.Errorf("%s: %d channels do not divide in %d groups", c.File(), w, groups))
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	n := len(widths)
	m.Factor = 1 << (n - 1)
	const eps = 1e-6
	same := conv.Options{Pad: conv.Same(3)}

	half := func(name string, first, last, in, out int) tower {
		p := l.In(name)
		t := tower{name: name, convIn: layer.LoadConv(p, "conv_in", in, first, 3, same),
			normOut: layer.LoadGroupNorm(p, "conv_norm_out", last, groups, eps),
			convOut: layer.LoadConv(p, "conv_out", last, out, 3, same)}
		top := widths[n-1]
		mid := p.In("mid_block")
		t.res1 = layer.LoadResnet(mid, "resnets.0", top, top, groups, eps)
		t.res2 = layer.LoadResnet(mid, "resnets.1", top, top, groups, eps)
		if midAttn {
			a := mid.In("attentions.0")
			t.attnNorm = layer.LoadGroupNorm(a, "group_norm", top, groups, eps)
			at := layer.LoadSelf(mid, "attentions.0", layer.DiffusersNames(), top, top, 1)
			t.attn = &at
		}
		return t
	}
	m.encoder = half("encoder", widths[0], widths[n-1], channels, 2*m.Latents)
	m.decoder = half("decoder", widths[n-1], widths[0], m.Latents, channels)
	in := widths[0]
	for i, w := range widths {
		name := "down_blocks." + strconv.Itoa(i)
		p := l.In("encoder").In(name)
		b := block{name: name}
		for j := range layers {
			b.resnets = append(b.resnets, layer.LoadResnet(p, "resnets."+strconv.Itoa(j), in, w, groups, eps))
			in = w
		}
		if i < n-1 {
			cv := layer.LoadConv(p.In("downsamplers.0"), "conv", w, w, 3, conv.Options{Stride: 2, Pad: conv.Pad{Bottom: 1, Right: 1}})
			b.resample, b.sampler = &cv, "downsamplers.0"
		}
		m.encoder.blocks = append(m.encoder.blocks, b)
	}
	in = widths[n-1]
	for i := range n {
		w := widths[n-1-i]
		name := "up_blocks." + strconv.Itoa(i)
		p := l.In("decoder").In(name)
		b := block{name: name}
		for j := range layers + 1 {
			b.resnets = append(b.resnets, layer.LoadResnet(p, "resnets."+strconv.Itoa(j), in, w, groups, eps))
			in = w
		}
		if i < n-1 {
			cv := layer.LoadConv(p.In("upsamplers.0"), "conv", w, w, 3, conv.Options{Pad: conv.Same(3), Upsample: true})
			b.resample, b.sampler = &cv, "upsamplers.0"
		}
		m.decoder.blocks = append(m.decoder.blocks, b)
	}
	if l.HasIn("quant_conv") {
		q := layer.LoadLinear(l, "quant_conv", 2*m.Latents, 2*m.Latents)
		m.quant = &q
	}
	if l.HasIn("post_quant_conv") {
		q := layer.LoadLinear(l, "post_quant_conv", m.Latents, m.Latents)
		m.postQuant = &q
	}
	l.Unread("Stable Diffusion's autoencoder")
	return m, l.Err()
}

// Decode maps latents z [N, H, W, Latents], divided by Scale, to pictures
// [N, H*Factor, W*Factor, 3] in -1..1.
func (m *Model) Decode(s *engine.Stream, z *engine.Tensor) (*engine.Tensor, error) {
	if sh := z.Shape(); len(sh) != 4 || sh[3] != m.Latents || sh.Elems() == 0 {
		return nil, &layer.ShapeError{Net: "vae decoder", Input: "latents", Have: sh, Want: fmt.Sprintf("[N H W %d]", m.Latents)}
	}
	h := z
	if m.postQuant != nil {
		h = m.postQuant.Forward(s, z)
	}
	s.Enter("decoder")
	y := m.decoder.convIn.Forward(s, h, nil)
	if h != z {
		s.Free(h)
	}
	y = m.decoder.mid(s, y)
	y = m.decoder.levels(s, y)
	y = m.decoder.finish(s, y)
	s.Leave(y)
	return y, s.Err()
}

// Encode maps pictures x [N, H, W, 3] in -1..1 to the mean of their latents,
// [N, H/Factor, W/Factor, Latents], not multiplied by Scale.
func (m *Model) Encode(s *engine.Stream, x *engine.Tensor) (*engine.Tensor, error) {
	h, err := m.Moments(s, x)
	if err != nil {
		return nil, err
	}
	y := layout.Channels(s, h, 0, m.Latents)
	s.Free(h)
	return y, s.Err()
}

// Moments maps pictures x [N, H, W, 3] in -1..1 to the mean of their latents and
// the logarithm of their variance, [N, H/Factor, W/Factor, 2 Latents].
func (m *Model) Moments(s *engine.Stream, x *engine.Tensor) (*engine.Tensor, error) {
	if sh := x.Shape(); len(sh) != 4 || sh[3] != 3 || sh[1]%m.Factor != 0 || sh[2]%m.Factor != 0 || sh.Elems() == 0 {
		return nil, &layer.ShapeError{Net: "vae encoder", Input: "sample", Have: sh, Want: fmt.Sprintf("[N H W 3] with H and W multiples of %d", m.Factor)}
	}
	s.Enter("encoder")
	h := m.encoder.convIn.Forward(s, x, nil)
	h = m.encoder.levels(s, h)
	h = m.encoder.mid(s, h)
	h = m.encoder.finish(s, h)
	s.Leave(h)
	if m.quant != nil {
		q := m.quant.Forward(s, h)
		s.Free(h)
		h = q
	}
	return h, s.Err()
}

// mid, levels and finish each free their input.
func (t *tower) mid(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter("mid_block")
	h := t.res1.Forward(s, x, nil, nil)
	s.Free(x)
	if t.attn != nil {
		n, c := h.Dim(0), h.Dim(3)
		pixels := h.Dim(1) * h.Dim(2)
		a := t.attnNorm.Forward(s, h)
		y := t.attn.Self(s, s.View(a, n, pixels, c), s.View(h, n, pixels, c), false)
		y = s.View(y, h.Shape()...)
		s.Free(a, h)
		h = y
	}
	y := t.res2.Forward(s, h, nil, nil)
	s.Free(h)
	return s.Leave(y)
}

func (t *tower) levels(s *engine.Stream, h *engine.Tensor) *engine.Tensor {
	for i := range t.blocks {
		b := &t.blocks[i]
		s.Enter(b.name)
		for j := range b.resnets {
			y := b.resnets[j].Forward(s, h, nil, nil)
			s.Free(h)
			h = y
		}
		if b.resample != nil {
			s.Enter(b.sampler)
			y := s.Leave(b.resample.Forward(s, h, nil))
			s.Free(h)
			h = y
		}
		s.Leave(h)
	}
	return h
}

func (t *tower) finish(s *engine.Stream, h *engine.Tensor) *engine.Tensor {
	a := t.normOut.SiLU(s, h, nil)
	s.Free(h)
	y := t.convOut.Forward(s, a, nil)
	s.Free(a)
	return y
}
