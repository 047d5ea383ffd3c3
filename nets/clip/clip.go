// Package clip is CLIP, which embeds pictures and texts in one space
// (arXiv 2103.00020; transformers' CLIPModel), and the text encoder of Stable
// Diffusion.
package clip

import (
	"strconv"

	"parley/engine"
	"parley/kernels/matmul"
	"parley/kernels/norm"
	"parley/nets/layer"
	"parley/weights"
)

// Model is both towers with their projections.
type Model struct {
	Text       *Text // nil where there is the picture tower alone
	Vision     *Vision
	Projection int // width of the common space
}

// Load builds a model from config.json and tensors named as transformers'.
func Load(c weights.Config, l *weights.Loader) (*Model, error) {
	config, err := ParseConfig(c)
	if err != nil {
		return nil, err
	}
	return New(config, l)
}

// New builds a model of a configuration. A checkpoint of the picture tower alone
// has no Text.
func New(c Config, l *weights.Loader) (*Model, error) {
	m := &Model{Projection: c.Projection}
	var err error
	if l.HasIn("text_model") || !l.HasIn("vision_model") {
		if m.Text, err = newProjected(c.Text, c.Projection, l); err != nil {
			return nil, err
		}
	}
	if m.Vision, err = NewVision(c.Vision, c.Projection, l); err != nil {
		return nil, err
	}
	l.Without("logit_scale") // scores are cosines
	l.Unread("a CLIP")
	return m, l.Err()
}

// loadBlocks reads the transformer of either tower.
func loadBlocks(
	l *weights.Loader, layers, heads, width, inner int, eps float64, act matmul.Act, causal bool,
) []layer.Block {
	var blocks []layer.Block
	names := layer.CLIPNames()
	for i := range layers {
		p := l.In("encoder.layers").In(strconv.Itoa(i))
		blocks = append(blocks, layer.Block{Name: strconv.Itoa(i), Act: act, Causal: causal,
			Norm1: layer.LoadLayerNorm(p, "layer_norm1", width, eps),
			Attn:  layer.LoadSelf(p, "self_attn", names, width, width, heads),
			Norm2: layer.LoadLayerNorm(p, "layer_norm2", width, eps),
			FC1:   layer.LoadLinear(p, "mlp.fc1", width, inner),
			FC2:   layer.LoadLinear(p, "mlp.fc2", inner, width)})
	}
	return blocks
}

// runBlocks runs blocks on x [N, L, width], and frees x.
func runBlocks(s *engine.Stream, blocks []layer.Block, x *engine.Tensor) *engine.Tensor {
	for i := range blocks {
		y := blocks[i].Forward(s, x)
		s.Free(x)
		x = y
	}
	return x
}

// project brings what a tower has pooled to the common space: [N, Projection], of
// length 1.
func project(s *engine.Stream, projection *layer.Linear, pooled *engine.Tensor) *engine.Tensor {
	if projection == nil {
		return nil
	}
	p := projection.Forward(s, pooled)
	y := norm.L2(s, p)
	s.Free(p)
	return y
}
