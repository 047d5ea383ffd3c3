package blip

import (
	"errors"
	"fmt"

	"parley/kernels/matmul"
	"parley/nets/layer"
	"parley/weights"
)

// Config is the configuration of a captioner (transformers' BlipConfig).
type Config struct {
	Vision VisionConfig
	Text   TextConfig
}

// VisionConfig is the configuration of the picture tower (BlipVisionConfig).
type VisionConfig struct {
	Width, Layers, Heads, Inner int
	Image, Patch                int // sides in pixels
	Act                         matmul.Act
	Eps                         float64 // of layer norms
}

// TextConfig is the configuration of the decoder (BlipTextConfig).
type TextConfig struct {
	Width, Layers, Heads, Inner int
	Length, Vocab               int // tokens of a text, and that there are
	BOS, Sep, Pad               int // tokens: the first, the end, and behind it
	Act                         matmul.Act
	Eps                         float64
	Untied                      bool // the head has a matrix of its own, which has to be there
}

// Base is Salesforce's base model.
func Base() Config {
	return Config{
		Vision: VisionConfig{Width: 768, Layers: 12, Heads: 12, Inner: 3072, Image: 384, Patch: 16, Act: matmul.GELU, Eps: 1e-5},
		Text: TextConfig{Width: 768, Layers: 12, Heads: 12, Inner: 3072, Length: 512, Vocab: 30524, BOS: 30522, Sep: 102,
			Act: matmul.GELU, Eps: 1e-12}}
}

// Large is Salesforce's large model, whose picture tower is a ViT-L.
func Large() Config {
	c := Base()
	c.Vision.Width, c.Vision.Layers, c.Vision.Heads, c.Vision.Inner = 1024, 24, 16, 4096
	return c
}

// Mini is the embedded BLIP.
func Mini() Config {
	return Config{
		Vision: VisionConfig{Width: 192, Layers: 4, Heads: 6, Inner: 576, Image: 64, Patch: 8, Act: matmul.GELU, Eps: 1e-5},
		Text: TextConfig{Width: 160, Layers: 3, Heads: 5, Inner: 512, Length: 64, Vocab: 222, BOS: 220, Sep: 3,
			Act: matmul.GELU, Eps: 1e-12}}
}

// ParseConfig reads a config.json of BlipForConditionalGeneration.
func ParseConfig(c weights.Config) (Config, error) {
	var out Config
	r := c.Reader()
	r.Unquantised()
	r.Only("model_type", "blip", "only BLIP is read here")
	if err := r.Err(); err != nil {
		return out, err
	}
	vc, err := c.Sub("vision_config")
	if err != nil {
		return out, err
	}
	tc, err := c.Sub("text_config")
	if err != nil {
		return out, err
	}
	if out.Vision, err = parseVision(vc); err != nil {
		return out, err
	}
	if out.Text, err = parseText(tc); err != nil {
		return out, err
	}
	// transformers ties the head where either says so, and has random numbers for a
	// head that neither ties and no file has.
	whole, text := r.Bool("tie_word_embeddings", true), tc.Reader()
	out.Text.Untied = !whole && !text.Bool("tie_word_embeddings", true)
	return out, errors.Join(r.Err(), text.Err())
}

func parseVision(c weights.Config) (VisionConfig, error) {
	r := c.Reader()
	r.Unquantised()
	v := VisionConfig{Width: r.Size("hidden_size", 768), Layers: r.Layers("num_hidden_layers", 12),
		Heads: r.Size("num_attention_heads", 12),
		Inner: r.Size("intermediate_size", 3072), Image: r.Square("image_size", 384), Patch: r.Square("patch_size", 16),
		Act: layer.Activation(r, "hidden_act", "gelu"), Eps: r.Epsilon("layer_norm_eps", 1e-5)}
	r.Only("model_type", "blip_vision_model", "only BLIP's vision tower is read here")
	r.Only("num_channels", 3, "pictures have three channels")
	return v, r.Err()
}

func parseText(c weights.Config) (TextConfig, error) {
	r := c.Reader()
	r.Unquantised()
	t := TextConfig{Width: r.Size("hidden_size", 768), Layers: r.Layers("num_hidden_layers", 12), Heads: r.Size("num_attention_heads", 8),
		Inner: r.Size("intermediate_size", 3072), Length: r.Size("max_position_embeddings", 512), Vocab: r.Size("vocab_size", 30524),
		Act: layer.Activation(r, "hidden_act", "gelu"), Eps: r.Epsilon("layer_norm_eps", 1e-12)}
	for _, id := range []struct {
		key string
		to  *int
		def int
	}{{"bos_token_id", &t.BOS, 30522}, {"sep_token_id", &t.Sep, 102}, {"pad_token_id", &t.Pad, 0}} {
		*id.to = r.Token(id.key, id.def)
		if *id.to >= t.Vocab {
			r.Fail(fmt.Errorf("%s: %s is %d, vocab_size is %d", c.File(), id.key, *id.to, t.Vocab))
		}
	}
	if r.Null("sep_token_id") {
		r.Fail(fmt.Errorf("%s: sep_token_id is null: captions would not end", c.File()))
	}
	if r.Null("pad_token_id") { // as transformers' generate
		t.Pad = t.Sep
	}
	r.Only("is_decoder", true, "a decoder that does not look at the picture writes no captions")
	r.Only("model_type", "blip_text_model", "only BLIP's decoder is read here")
	return t, r.Err()
}
