package unet

import (
	"errors"
	"fmt"
	"slices"

	"parley/weights"
)

// Config is the configuration of a UNet (diffusers' UNet2DConditionModel). The
// lists have a value for each level, the widest maps first; the levels of the
// way up are those of the way down.
type Config struct {
	In, Out       int // channels of the latents
	Height, Width int // of the latents that a model was trained on
	Cross         int // width of the context
	Channels      []int
	Layers        []int  // residual blocks of a level, on the way up one more
	Heads         []int  // of attention
	Depth         []int  // transformer blocks of an attention
	Down, Up      []bool // whether a level looks at the context; Up from the smallest maps on
	Middle        Middle
	Groups        int // of group norms
	Eps           float64
	SineFirst     bool    // of the timestep's sinusoids
	Shift         float64 // of their frequencies
	Padding       int     // of downsampling: 1, or 0 with zeros at the right and at the bottom
	TimeCond      int     // width of the guidance scale's embedding (arXiv 2310.04378); 0: the net takes none
}

// Middle is what stands between the way down and the way up.
type Middle int

// The middle blocks: two residual blocks with an attention between them, one
// residual block, and none, as in the distilled UNets of BK-SDM.
const (
	MiddleCross Middle = iota
	MiddlePlain
	MiddleNone
)

// middles are diffusers' names.
var middles = map[string]Middle{"UNetMidBlock2DCrossAttn": MiddleCross, "UNetMidBlock2D": MiddlePlain}

// SD15 is Stable Diffusion 1's.
func SD15() Config {
	return Config{In: 4, Out: 4, Height: 64, Width: 64, Cross: 768, Channels: []int{320, 640, 1280, 1280}, Layers: []int{2, 2, 2, 2},
		Heads: []int{8, 8, 8, 8}, Depth: []int{1, 1, 1, 1}, Down: []bool{true, true, true, false}, Up: []bool{false, true, true, true},
		Groups: 32, Eps: 1e-5, Padding: 1}
}

// SD21 is that of Stable Diffusion 2's base models, for 512 pixels.
func SD21() Config {
	c := SD15()
	c.Cross, c.Heads = 1024, []int{5, 10, 20, 20}
	return c
}

// SD21V is Stable Diffusion 2's for 768 pixels, which predicts v.
func SD21V() Config {
	c := SD21()
	c.Height, c.Width = 96, 96
	return c
}

// Mini is that of the embedded Stable Diffusion.
func Mini() Config {
	return Config{In: 4, Out: 4, Height: 16, Width: 16, Cross: 128, Channels: []int{64, 128, 160}, Layers: []int{1, 1, 1},
		Heads: []int{4, 4, 4}, Depth: []int{1, 1, 1}, Down: []bool{true, true, true}, Up: []bool{true, true, true},
		Groups: 32, Eps: 1e-5, Padding: 1}
}

// ParseConfig reads a config.json of UNet2DConditionModel.
func ParseConfig(c weights.Config) (Config, error) {
	r := c.Reader()
	out := Config{Channels: r.Ints("block_out_channels", []int{320, 640, 1280, 1280})}
	n := len(out.Channels)
	if n == 0 || n > 16 {
		return out, errors.Join(r.Err(), fmt.Errorf("%s: block_out_channels has %d values, want 1 to 16", c.File(), n))
	}
	r.Unquantised()
	r.Only("_class_name", "UNet2DConditionModel", "only Stable Diffusion's UNet is read here")
	out.In, out.Out = r.Size("in_channels", 4), r.Size("out_channels", 4)
	out.Height, out.Width = r.Sides("sample_size", 64)
	out.Cross = same(r, c, "cross_attention_dim", 1280)
	out.Layers, out.Heads, out.Depth = r.Repeats("layers_per_block", n, 2), r.Sizes("attention_head_dim", n, 8),
		r.Repeats("transformer_layers_per_block", n, 1)
	out.Groups, out.Eps, out.Padding = r.Size("norm_num_groups", 32), r.Epsilon("norm_eps", 1e-5), r.Within("downsample_padding", 1, 0, 1)
	if r.Null("norm_num_groups") {
		r.Fail(fmt.Errorf("%s: norm_num_groups is null: a UNet without its last norm is not supported", c.File()))
	}
	if r.Has("time_cond_proj_dim") {
		out.TimeCond = r.Within("time_cond_proj_dim", 0, 4, 1<<20) // of fewer, get_guidance_scale_embedding has no frequencies
	}
	out.SineFirst, out.Shift = !r.Bool("flip_sin_to_cos", true), r.Float("freq_shift", 0)
	for _, w := range out.Channels {
		if w < 1 || w > 1<<20 {
			r.Fail(fmt.Errorf("%s: block_out_channels is %v", c.File(), out.Channels))
			break
		}
		if w%out.Groups != 0 {
			r.Fail(fmt.Errorf("%s: %d channels do not divide in %d groups", c.File(), w, out.Groups))
		}
	}
	down := r.Strings("down_block_types", []string{"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"})
	up := r.Strings("up_block_types", []string{"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"})
	if len(down) != n || len(up) != n {
		r.Fail(fmt.Errorf("%s: %d block_out_channels, %d down_block_types, %d up_block_types", c.File(), n, len(down), len(up)))
	}
	out.Down = crosses(r, c, "down_block_types", down, "CrossAttnDownBlock2D", "DownBlock2D")
	out.Up = crosses(r, c, "up_block_types", up, "CrossAttnUpBlock2D", "UpBlock2D")
	if r.Null("mid_block_type") {
		out.Middle = MiddleNone
	} else {
		out.Middle = middles[r.OneOf("mid_block_type", "UNetMidBlock2DCrossAttn", "UNetMidBlock2DCrossAttn", "UNetMidBlock2D")]
	}
	r.OneOf("act_fn", "silu", "silu", "swish")
	for key, value := range defaults {
		r.Only(key, value, "Stable Diffusion 1 and 2 have no such thing")
	}
	return out, r.Err()
}

// defaults are the values of what would change the result and Stable Diffusion 1
// and 2 do not have.
var defaults = map[string]any{
	"addition_embed_type": nil, "class_embed_type": nil, "encoder_hid_dim": nil, "encoder_hid_dim_type": nil, "num_class_embeds": nil,
	"time_embedding_act_fn": nil, "time_embedding_dim": nil, "timestep_post_act": nil,
	"reverse_transformer_layers_per_block": nil, "num_attention_heads": nil, "cross_attention_norm": nil,
	"center_input_sample": false, "only_cross_attention": false, "mid_block_only_cross_attention": false, "dual_cross_attention": false,
	"class_embeddings_concat": false, "resnet_skip_time_act": false,
	"mid_block_scale_factor": 1, "resnet_out_scale_factor": 1, "conv_in_kernel": 3, "conv_out_kernel": 3,
	"time_embedding_type": "positional", "resnet_time_scale_shift": "default", "attention_type": "default",
}

// same is a number that may be a list of equal ones.
func same(r *weights.Reader, c weights.Config, key string, def int) int {
	if _, isList := c[key].([]any); !isList {
		return r.Size(key, def)
	}
	list := r.Ints(key, []int{def})
	if len(list) == 0 || list[0] < 1 || list[0] > 1<<20 || slices.Max(list) != slices.Min(list) {
		r.Fail(fmt.Errorf("%s: %s is %v: only one width, 1 to %d, is supported", c.File(), key, list, 1<<20))
		return def
	}
	return list[0]
}

// crosses tells which blocks look at the context.
func crosses(r *weights.Reader, c weights.Config, key string, types []string, cross, plain string) []bool {
	var out []bool
	for _, t := range types {
		if t != cross && t != plain {
			r.Fail(fmt.Errorf("%s: %s has %q, want %s or %s", c.File(), key, t, cross, plain))
		}
		out = append(out, t == cross)
	}
	return out
}
