package vae

import (
	"fmt"

	"parley/weights"
)

// Config is the configuration of an autoencoder (diffusers' AutoencoderKL).
type Config struct {
	Latents          int // channels of the latents
	Channels         []int
	Layers           int // residual blocks of a level, in the decoder one more
	Groups           int // of group norms
	Scale            float64
	Attention        bool // between the middle's residual blocks
	Quant, PostQuant bool // 1x1 convolutions of the moments, and of the latents
}

// SD is Stable Diffusion 1's and 2's.
func SD() Config {
	return Config{Latents: 4, Channels: []int{128, 256, 512, 512}, Layers: 2, Groups: 32, Scale: 0.18215, Attention: true,
		Quant: true, PostQuant: true}
}

// Mini is that of the embedded Stable Diffusion.
func Mini() Config {
	return Config{Latents: 4, Channels: []int{16, 32, 64}, Layers: 1, Groups: 4, Scale: 1.3545061349868774, Attention: true,
		Quant: true, PostQuant: true}
}

// ParseConfig reads a config.json of AutoencoderKL. What diffusers has as the
// default of block_out_channels and layers_per_block is a toy; a file that says
// neither is Stable Diffusion's.
func ParseConfig(c weights.Config) (Config, error) {
	r := c.Reader()
	r.Unquantised()
	out := Config{Latents: r.Size("latent_channels", 4), Channels: r.Ints("block_out_channels", []int{128, 256, 512, 512}),
		Layers: r.Layers("layers_per_block", 2), Groups: r.Size("norm_num_groups", 32), Scale: r.Float("scaling_factor", 0.18215),
		Attention: r.Bool("mid_block_add_attention", true), Quant: r.Bool("use_quant_conv", true),
		PostQuant: r.Bool("use_post_quant_conv", true)}
	r.Only("_class_name", "AutoencoderKL", "only Stable Diffusion's autoencoder is read here")
	r.OneOf("act_fn", "silu", "silu", "swish")
	r.Only("down_block_types", "DownEncoderBlock2D", "Stable Diffusion's autoencoder has no other")
	r.Only("up_block_types", "UpDecoderBlock2D", "Stable Diffusion's autoencoder has no other")
	r.Only("in_channels", 3, "pictures have three channels")
	r.Only("out_channels", 3, "pictures have three channels")
	r.Only("shift_factor", 0, "Stable Diffusion's latents are not shifted")
	r.Only("latents_mean", nil, "Stable Diffusion's latents are not normalised by channel")
	r.Only("latents_std", nil, "Stable Diffusion's latents are not normalised by channel")
	if out.Scale <= 0 {
		r.Fail(fmt.Errorf("%s: scaling_factor is %v, want more than 0", c.File(), out.Scale))
	}
	if n := len(out.Channels); n == 0 || n > 16 {
		r.Fail(fmt.Errorf("%s: block_out_channels has %d values, want 1 to 16", c.File(), n))
	}
	for _, w := range out.Channels {
		if w < 1 || w > 1<<20 {
			r.Fail(fmt.Errorf("%s: block_out_channels is %v", c.File(), out.Channels))
			break
		}
		if w%out.Groups != 0 {
			r.Fail(fmt.Errorf("%s: %d channels do not divide in %d groups", c.File(), w, out.Groups))
		}
	}
	return out, r.Err()
}
