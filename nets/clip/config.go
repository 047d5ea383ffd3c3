package clip

import (
	"errors"
	"maps"

	"parley/kernels/matmul"
	"parley/nets/layer"
	"parley/weights"
	"parley/weights/convert"
)

// Config is the configuration of both towers (transformers' CLIPConfig).
type Config struct {
	Projection int // width of the common space
	Text       TextConfig
	Vision     VisionConfig
}

// TextConfig is the configuration of the text tower (CLIPTextConfig).
type TextConfig struct {
	Width, Layers, Heads, Inner int
	Length, Vocab               int // tokens of a text, and that there are
	EOS                         int // where a text is pooled: its first, or with 2 the highest id's place
	Act                         matmul.Act
	Eps                         float64 // of layer norms
	Bidirectional               bool    // tokens see those behind them, too (open_clip's no_causal_mask)
}

// VisionConfig is the configuration of the picture tower (CLIPVisionConfig).
type VisionConfig struct {
	Width, Layers, Heads, Inner int
	Image, Patch, Channels      int // sides in pixels, and channels of a pixel
	Act                         matmul.Act
	Eps                         float64
}

// B32 is OpenAI's ViT-B/32.
func B32() Config {
	return Config{Projection: 512,
		Text: TextConfig{Width: 512, Layers: 12, Heads: 8, Inner: 2048, Length: 77, Vocab: 49408, EOS: 2, Act: matmul.QuickGELU,
			Eps: 1e-5},
		Vision: VisionConfig{Width: 768, Layers: 12, Heads: 12, Inner: 3072, Image: 224, Patch: 32, Channels: 3,
			Act: matmul.QuickGELU, Eps: 1e-5}}
}

// L14 is OpenAI's ViT-L/14, whose text tower is Stable Diffusion 1's.
func L14() Config {
	return Config{Projection: 768, Text: SD15(),
		Vision: VisionConfig{Width: 1024, Layers: 24, Heads: 16, Inner: 4096, Image: 224, Patch: 14, Channels: 3,
			Act: matmul.QuickGELU, Eps: 1e-5}}
}

// H14 is LAION's ViT-H/14.
func H14() Config {
	text := SD21()
	text.Layers = 24
	return Config{Projection: 1024, Text: text,
		Vision: VisionConfig{Width: 1280, Layers: 32, Heads: 16, Inner: 5120, Image: 224, Patch: 14, Channels: 3, Act: matmul.GELU,
			Eps: 1e-5}}
}

// SD15 is Stable Diffusion 1's text encoder.
func SD15() TextConfig {
	return TextConfig{Width: 768, Layers: 12, Heads: 12, Inner: 3072, Length: 77, Vocab: 49408, EOS: 2, Act: matmul.QuickGELU, Eps: 1e-5}
}

// SD21 is Stable Diffusion 2's text encoder: ViT-H/14's without its last block.
func SD21() TextConfig {
	return TextConfig{Width: 1024, Layers: 23, Heads: 16, Inner: 4096, Length: 77, Vocab: 49408, EOS: 2, Act: matmul.GELU, Eps: 1e-5}
}

// Mini is the embedded CLIP.
func Mini() Config {
	return Config{Projection: 128,
		Text: MiniText(),
		Vision: VisionConfig{Width: 192, Layers: 4, Heads: 6, Inner: 576, Image: 64, Patch: 8, Channels: 3,
			Act: matmul.QuickGELU, Eps: 1e-5}}
}

// MiniText is the text tower of the embedded CLIP, and the embedded Stable
// Diffusion's text encoder.
func MiniText() TextConfig {
	return TextConfig{Width: 128, Layers: 3, Heads: 4, Inner: 512, Length: 32, Vocab: 785, EOS: 784, Act: matmul.QuickGELU, Eps: 1e-5}
}

// ParseConfig reads a config.json of CLIPModel.
func ParseConfig(c weights.Config) (Config, error) {
	r := c.Reader()
	r.Unquantised()
	if r.String("model_type", "clip") == "clip_vision_model" { // the picture tower alone
		v, err := ParseVisionConfig(c)
		return Config{Projection: r.Size("projection_dim", 512), Vision: v}, errors.Join(err, r.Err())
	}
	r.Only("model_type", "clip", "only CLIP is read here")
	out := Config{Projection: r.Size("projection_dim", 512)}
	if err := r.Err(); err != nil {
		return out, err
	}
	tc, err := tower(c, "text_config")
	if err != nil {
		return out, err
	}
	vc, err := tower(c, "vision_config")
	if err != nil {
		return out, err
	}
	if out.Text, err = ParseTextConfig(tc); err != nil {
		return out, err
	}
	out.Vision, err = ParseVisionConfig(vc)
	return out, err
}

// tower is a tower's configuration. Where there is one under the key with _dict,
// as transformers of 2022 saved it, that one goes first, with the defaults of
// what it does not say.
func tower(c weights.Config, key string) (weights.Config, error) {
	own, err := c.Sub(key)
	if err != nil || !c.Has(key+"_dict") {
		return own, err
	}
	first, err := c.Sub(key + "_dict")
	if err != nil {
		return nil, err
	}
	// Keys that transformers' class does not know stay as they are.
	if own.Has(convert.NoCausalMask) && !first.Has(convert.NoCausalMask) {
		first = maps.Clone(first)
		first[convert.NoCausalMask] = own[convert.NoCausalMask]
	}
	return first, nil
}

// ParseTextConfig reads a config.json of CLIPTextModel, or a text_config.
func ParseTextConfig(c weights.Config) (TextConfig, error) {
	r := c.Reader()
	r.Unquantised()
	t := TextConfig{Width: r.Size("hidden_size", 512), Layers: r.Layers("num_hidden_layers", 12), Heads: r.Size("num_attention_heads", 8),
		Inner: r.Size("intermediate_size", 2048), Length: r.Size("max_position_embeddings", 77), Vocab: r.Size("vocab_size", 49408),
		EOS: r.Token("eos_token_id", 49407), Act: layer.Activation(r, "hidden_act", "quick_gelu"), Eps: r.Epsilon("layer_norm_eps", 1e-5),
		Bidirectional: r.Bool(convert.NoCausalMask, false)}
	r.Only("model_type", "clip_text_model", "only CLIP's text tower is read here")
	return t, r.Err()
}

// ParseVisionConfig reads a vision_config.
func ParseVisionConfig(c weights.Config) (VisionConfig, error) {
	r := c.Reader()
	r.Unquantised()
	v := VisionConfig{Width: r.Size("hidden_size", 768), Layers: r.Layers("num_hidden_layers", 12),
		Heads: r.Size("num_attention_heads", 12),
		Inner: r.Size("intermediate_size", 3072), Image: r.Square("image_size", 224), Patch: r.Square("patch_size", 32),
		Channels: r.Size("num_channels", 3), Act: layer.Activation(r, "hidden_act", "quick_gelu"), Eps: r.Epsilon("layer_norm_eps", 1e-5)}
	r.Only("model_type", "clip_vision_model", "only CLIP's vision tower is read here")
	r.Only("num_channels", 3, "pictures have three channels")
	return v, r.Err()
}
