package vit

import (
	"parley/kernels/matmul"
	"parley/nets/layer"
	"parley/weights"
)

// Config is the configuration of a vision transformer (transformers' ViTConfig).
type Config struct {
	Width, Layers, Heads, Inner int
	Image, Patch                int // sides in pixels
	Act                         matmul.Act
	Eps                         float64 // of layer norms
}

// DINOB8 is DINO's ViT-B/8, as transformers has it.
func DINOB8() Config {
	return Config{Width: 768, Layers: 12, Heads: 12, Inner: 3072, Image: 224, Patch: 8, Act: matmul.GELU, Eps: 1e-12}
}

// ParseConfig reads a config.json of ViTModel.
func ParseConfig(c weights.Config) (Config, error) {
	r := c.Reader()
	r.Unquantised()
	out := Config{Width: r.Size("hidden_size", 768), Layers: r.Layers("num_hidden_layers", 12), Heads: r.Size("num_attention_heads", 12),
		Inner: r.Size("intermediate_size", 3072), Image: r.Square("image_size", 224), Patch: r.Square("patch_size", 16),
		Act: layer.Activation(r, "hidden_act", "gelu"), Eps: r.Epsilon("layer_norm_eps", 1e-12)}
	r.Only("model_type", "vit", "only plain vision transformers are read here")
	r.Only("num_channels", 3, "pictures have three channels")
	return out, r.Err()
}
