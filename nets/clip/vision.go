package clip

import (
	"fmt"

	"parley/engine"
	"parley/kernels/layout"
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

// LoadVision builds the picture tower of a config.json of a whole CLIP or of the
// tower alone, and reads nothing of the text tower, not its configuration.
func LoadVision(c weights.Config, l *weights.Loader) (*Vision, error) {
	r := c.Reader()
	r.Unquantised()
	projection, sub := r.Size("projection_dim", 512), c
	if err := r.Err(); err != nil {
		return nil, err
	}
	if c.Has("vision_config") || c.Has("vision_config_dict") {
		var err error
		if sub, err = tower(c, "vision_config"); err != nil {
			return nil, err
		}
	}
	config, err := ParseVisionConfig(sub)
	if err != nil {
		return nil, err
	}
	v, err := NewVision(config, projection, l)
	if err != nil {
		return nil, err
	}
	for _, other := range []string{"text_projection", "text_model", "logit_scale"} {
		l.Without(other)
	}
	l.Unread("CLIP's picture tower")
	return v, l.Err()
}

// NewVision builds the picture tower of a configuration, with its projection.
func NewVision(c VisionConfig, projection int, l *weights.Loader) (*Vision, error) {
	p := layer.LoadLinear(l, "visual_projection", c.Width, projection)
	l = l.In("vision_model")
	v := &Vision{
		patches:    layer.LoadPatches(l.In("embeddings"), "position_embedding.weight", c.Channels, c.Image, c.Patch, c.Width),
		pre:        layer.LoadLayerNorm(l, "pre_layrnorm", c.Width, c.Eps),
		blocks:     loadBlocks(l, c.Layers, c.Heads, c.Width, c.Inner, c.Eps, c.Act, false),
		post:       layer.LoadLayerNorm(l, "post_layernorm", c.Width, c.Eps),
		projection: &p,
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
