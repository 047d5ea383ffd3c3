package blip

import (
	"fmt"
	"strconv"

	"parley/engine"
	"parley/kernels/matmul"
	"parley/nets/layer"
	"parley/weights"
)

// Vision is the picture tower.
type Vision struct {
	patches layer.Patches
	blocks  []layer.Block
	post    layer.Norm
}

func loadVision(c weights.Config, l *weights.Loader) (*Vision, error) {
	r := c.Reader()
	width, image, patch := r.Size("hidden_size", 768), r.Size("image_size", 384), r.Size("patch_size", 16)
	layers, heads := r.Layers("num_hidden_layers", 12), r.Size("num_attention_heads", 12)
	inner := r.Size("intermediate_size", 3072)
	eps := r.Epsilon("layer_norm_eps", 1e-5)
	act, err := matmul.ParseAct(r.String("hidden_act", "gelu"))
	if err != nil {
		r.Fail(fmt.Errorf("%s: hidden_act: %w", c.File(), err))
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	l = l.In("vision_model")
	v := &Vision{patches: layer.LoadPatches(l.In("embeddings"), "position_embedding", 3, image, patch, width),
		post: layer.LoadLayerNorm(l, "post_layernorm", width, eps)}
	for i := range layers {
		p := l.In("encoder.layers." + strconv.Itoa(i))
		v.blocks = append(v.blocks, layer.Block{Name: strconv.Itoa(i), Act: act,
			Norm1: layer.LoadLayerNorm(p, "layer_norm1", width, eps),
			Attn:  layer.LoadPacked(p, "self_attn", width, heads),
			Norm2: layer.LoadLayerNorm(p, "layer_norm2", width, eps),
			FC1:   layer.LoadLinear(p, "mlp.fc1", width, inner),
			FC2:   layer.LoadLinear(p, "mlp.fc2", inner, width)})
	}
	return v, l.Err()
}

// Size is the side of the pictures in pixels.
func (v *Vision) Size() int { return v.patches.Image }

// Forward encodes pictures [N, Size, Size, 3], normalised, to [N, 1+patches,
// width].
func (v *Vision) Forward(s *engine.Stream, x *engine.Tensor) (*engine.Tensor, error) {
	size := v.Size()
	if sh := x.Shape(); len(sh) != 4 || sh[1] != size || sh[2] != size || sh[3] != 3 {
		return nil, &layer.ShapeError{Net: "blip vision", Input: "pixels", Have: sh,
			Want: fmt.Sprintf("[N %d %d 3]", size, size)}
	}
	s.Enter("vision_model")
	// 1. Patches, the class token and positions.
	h := v.patches.Forward(s, x)
	// 2. The layers.
	s.Enter("encoder.layers")
	for i := range v.blocks {
		y := v.blocks[i].Forward(s, h)
		s.Free(h)
		h = y
	}
	s.Leave(nil)
	// 3. The last norm.
	y := v.post.Forward(s, h)
	s.Free(h)
	return s.Leave(y), s.Err()
}
