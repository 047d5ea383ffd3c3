package convert

import (
	"errors"
	"fmt"
	"strings"

	"parley/weights"
)

// bert takes BertModel's names, and those of TensorFlow's checkpoints for norms.
func bert(name string) ([]rename, error) {
	for tf, torch := range map[string]string{".gamma": ".weight", ".beta": ".bias"} {
		if rest, ok := strings.CutSuffix(name, tf); ok {
			name = rest + torch
		}
	}
	return same(name)
}

// dinoLayout says, in what is known about a set, that its names were those of DINO's
// own checkpoints.
const dinoLayout = "dino"

// dino takes the vision transformer of facebookresearch/dino, whose names are timm's.
func dino(name string) ([]rename, error) {
	if to, ok := map[string]string{"cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings",
		"patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
		"patch_embed.proj.bias":   "embeddings.patch_embeddings.projection.bias",
		"norm.weight":             "layernorm.weight", "norm.bias": "layernorm.bias"}[name]; ok {
		return same(to)
	}
	if strings.HasPrefix(name, "head.") {
		return nil, nil // of a classification
	}
	i, rest, ok := numbered(name, "blocks.")
	if !ok {
		return nil, errName
	}
	block := fmt.Sprintf("encoder.layer.%d.", i)
	if kind, ok := strings.CutPrefix(rest, "attn.qkv."); ok {
		var list []rename
		for k, part := range []string{"query", "key", "value"} {
			list = append(list, rename{to: block + "attention.attention." + part + "." + kind, third: k + 1})
		}
		return list, nil
	}
	rest, ok = swap(rest, "norm1.", "layernorm_before.", "norm2.", "layernorm_after.", "attn.proj.", "attention.output.dense.",
		"mlp.fc1.", "intermediate.dense.", "mlp.fc2.", "output.dense.")
	if !ok {
		return nil, errName
	}
	return to(block + rest)
}

// vit is the configuration of DINO's own checkpoints.
func (s *shapes) vit() weights.Config {
	if !s.set.About.Has(dinoLayout) {
		s.fail(errors.New("a vision transformer's heads are not told by its tensors: its config.json is needed"))
	}
	width, patch := s.dim("embeddings.patch_embeddings.projection.weight", 4, 0), s.dim("embeddings.patch_embeddings.projection.weight", 4, 2)
	return weights.Config{
		"model_type":          "vit",
		"architectures":       []string{"ViTModel"},
		"hidden_size":         width,
		"num_hidden_layers":   s.count("encoder.layer."),
		"num_attention_heads": heads(width),
		"intermediate_size":   s.dim("encoder.layer.0.intermediate.dense.weight", 2, 0),
		"image_size":          patch * s.grid(s.dim("embeddings.position_embeddings", 3, 1)),
		"patch_size":          patch,
		"num_channels":        s.dim("embeddings.patch_embeddings.projection.weight", 4, 1),
		"hidden_act":          "gelu",
		"layer_norm_eps":      1e-6,
		"qkv_bias":            s.has("encoder.layer.0.attention.attention.query.bias"),
	}
}
