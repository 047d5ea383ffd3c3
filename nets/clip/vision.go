package clip

import (
	"fmt"

	"parley/engine"
	"parley/kernels/layout"
	"parley/kernels/matmul"
	"parley/nets/layer"
	"parley/weights"
)

// Vision is the picture tower.
type Vision struct {
	patches    layer.Patches
	pre, post  layer.Norm
	blocks     []layer.Block
	projection *layer.Linear
}

// VisionOutput is what the picture tower gives for N pictures.
type VisionOutput struct {
	Hidden *engine.Tensor // [N, 1+patches, Width], before the last norm
	Pooled *engine.Tensor // [N, Width], the class token after it
	Embeds *engine.Tensor // [N, Projection], of length 1
}

func loadVision(c weights.Config, l *weights.Loader) (*Vision, error) {
	r := c.Reader()
	width, image, patch := r.Size("hidden_size", 768), r.Size("image_size", 224), r.Size("patch_size", 32)
	layers, heads := r.Layers("num_hidden_layers", 12), r.Size("num_attention_heads", 12)
	inner := r.Size("intermediate_size", 3072)
	eps, channels := r.Epsilon("layer_norm_eps", 1e-5), r.Size("num_channels", 3)
	act, err := matmul.ParseAct(r.String("hidden_act", "quick_gelu"))
	if err != nil {
		r.Fail(fmt.Errorf("%s: hidden_act: %w", c.File(), err))
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	l = l.In("vision_model")
	v := &Vision{
		patches: layer.LoadPatches(l.In("embeddings"), "position_embedding.weight", channels, image, patch, width),
		pre:     layer.LoadLayerNorm(l, "pre_layrnorm", width, eps),
		blocks:  loadBlocks(l, layers, heads, width, inner, eps, act, false),
		post:    layer.LoadLayerNorm(l, "post_layernorm", width, eps),
	}
	return v, l.Err()
}

// Size is the side of the pictures in pixels.
func (v *Vision) Size() int { return v.patches.Image }

// Forward encodes pictures [N, Size, Size, 3], normalised.
func (v *Vision) Forward(s *engine.Stream, x *engine.Tensor) (VisionOutput, error) {
	size := v.Size()
	if sh := x.Shape(); len(sh) != 4 || sh[1] != size || sh[2] != size || sh[3] != 3 {
		return VisionOutput{}, &layer.ShapeError{Net: "clip image", Input: "pixels", Have: sh,
			Want: fmt.Sprintf("[N %d %d 3]", size, size)}
	}
	s.Enter("vision_model")
	// 1. Patches, the class token and positions; normalised.
	e := v.patches.Forward(s, x)
	h := v.pre.Forward(s, e)
	s.Free(e)
	// 2. The layers.
	s.Enter("encoder.layers")
	h = runBlocks(s, v.blocks, h)
	s.Leave(nil)
	out := VisionOutput{Hidden: h}
	// 3. The class token, which is the first of a picture's rows; normalised, and
	// projected.
	n, rows, width := h.Dim(0), h.Dim(1), h.Dim(2)
	c := layout.Channels(s, s.View(h, n, rows*width), 0, width)
	out.Pooled = v.post.Forward(s, c)
	s.Free(c)
	s.Leave(nil)
	out.Embeds = project(s, v.projection, out.Pooled)
	return out, s.Err()
}
