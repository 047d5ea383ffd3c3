// Package vit is the plain vision transformer (arXiv 2010.11929; transformers'
// ViTModel), as DINO trains it (arXiv 2104.14294).
package vit

import (
	"fmt"
	"strconv"

	"parley/engine"
	"parley/kernels/conv"
	"parley/kernels/embed"
	"parley/kernels/layout"
	"parley/nets/layer"
	"parley/weights"
)

// Model is the transformer.
type Model struct {
	Width int // of the hidden states
	Image int // side of the pictures that it was trained with, in pixels
	Patch int // side of a patch

	patches  layer.Conv
	class    *engine.Tensor
	position *engine.Tensor // [1+patches, Width], for pictures of Image
	learned  []float32      // the same, to be interpolated for others
	blocks   []layer.Block
	final    layer.Norm
}

// Load builds the transformer from config.json and transformers' tensor names.
func Load(c weights.Config, l *weights.Loader) (*Model, error) {
	config, err := ParseConfig(c)
	if err != nil {
		return nil, err
	}
	return New(config, l)
}

// New builds the transformer of a configuration. The pooler and the head of a
// classification are left out.
func New(c Config, l *weights.Loader) (*Model, error) {
	e := l.In("embeddings")
	if c.Image < c.Patch {
		return nil, fmt.Errorf("vit: pictures of %d pixels in patches of %d", c.Image, c.Patch)
	}
	rows := (c.Image/c.Patch)*(c.Image/c.Patch) + 1
	m := &Model{Width: c.Width, Image: c.Image, Patch: c.Patch,
		patches: layer.LoadConv(e, "patch_embeddings.projection", 3, c.Width, c.Patch, conv.Options{Stride: c.Patch}),
		class:   e.Place(l.Device().Float(), e.F32("cls_token", 1, 1, c.Width), c.Width),
		learned: e.F32("position_embeddings", 1, rows, c.Width),
		final:   layer.LoadLayerNorm(l, "layernorm", c.Width, c.Eps)}
	m.position = e.Place(l.Device().Float(), m.learned, rows, c.Width)
	names := layer.AttentionNames{Query: "attention.query", Key: "attention.key", Value: "attention.value", Out: "output.dense"}
	for i := range c.Layers {
		p := l.In("encoder.layer." + strconv.Itoa(i))
		m.blocks = append(m.blocks, layer.Block{Name: strconv.Itoa(i), Act: c.Act,
			Norm1: layer.LoadLayerNorm(p, "layernorm_before", c.Width, c.Eps),
			Attn:  layer.LoadSelf(p, "attention", names, c.Width, c.Width, c.Heads),
			Norm2: layer.LoadLayerNorm(p, "layernorm_after", c.Width, c.Eps),
			FC1:   layer.LoadLinear(p, "intermediate.dense", c.Width, c.Inner),
			FC2:   layer.LoadLinear(p, "output.dense", c.Inner, c.Width)})
	}
	l.Without("pooler")
	l.Unread("a vision transformer")
	return m, l.Err()
}

// Forward encodes pictures [N, H, W, 3], normalised, whose sides are multiples of
// Patch, to [N, 1+patches, Width], the class token first. For other sizes than Image
// the positions are interpolated (transformers' interpolate_pos_encoding).
func (m *Model) Forward(s *engine.Stream, x *engine.Tensor) (*engine.Tensor, error) {
	if sh := x.Shape(); len(sh) != 4 || sh[3] != 3 || sh[1] < 1 || sh[2] < 1 || sh[1]%m.Patch != 0 || sh[2]%m.Patch != 0 {
		return nil, &layer.ShapeError{Net: "vit", Input: "pixels", Have: sh, Want: fmt.Sprintf("[N H W 3] of multiples of %d", m.Patch)}
	}
	// 1. Patches, the class token and positions.
	s.Enter("embeddings")
	grid := m.patches.Forward(s, x, nil)
	position := m.position
	if h, w := grid.Dim(1), grid.Dim(2); h != m.Image/m.Patch || w != m.Image/m.Patch {
		position = s.PutAs(s.Float(), engine.FromF32(interpolate(m.learned, m.Image/m.Patch, h, w, m.Width), 1+h*w, m.Width))
		defer s.Free(position)
	}
	h := embed.Patches(s, grid, m.class, position)
	s.Free(grid)
	s.Leave(h)
	// 2. The layers.
	s.Enter("encoder.layer")
	for i := range m.blocks {
		y := m.blocks[i].Forward(s, h)
		s.Free(h)
		h = y
	}
	s.Leave(nil)
	// 3. The last norm.
	y := m.final.Forward(s, h)
	s.Free(h)
	return y, s.Err()
}

// Class gives the class token's hidden state of each picture, [N, Width]: DINO's
// features.
func (m *Model) Class(s *engine.Stream, x *engine.Tensor) (*engine.Tensor, error) {
	h, err := m.Forward(s, x)
	if err != nil {
		return nil, err
	}
	y := layout.Token(s, h, 0)
	s.Free(h)
	return y, s.Err()
}
