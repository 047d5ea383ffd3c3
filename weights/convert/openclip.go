package convert

import (
	"errors"
	"fmt"
	"math"

	"parley/weights"
	"parley/weights/vocab"
)

// openAI is the key of what is known of a set that is one of OpenAI's archives,
// which say their sizes in tensors.
const openAI = "openai"

// cleaning is the key of what the tokenizer beside a set does to texts.
const cleaning = "cleaning"

// Cleaning is what a CLIP's own tokenizer does to texts, by whose names its tensors
// have: OpenAI's and open_clip's clean them, "" is transformers'.
func Cleaning(set *weights.Set) vocab.Cleaning {
	how, _ := set.About[cleaning].(string)
	return vocab.Cleaning(how)
}

// openCLIP puts what open_clip's model_cfg says into the configurations of both
// towers. Defaults are open_clip's; what is read of the tensors has to agree, and
// what changes the result and is not known is refused by name.
func (s *shapes) openCLIP(model, text, vision weights.Config) {
	act := "gelu"
	r := model.Reader()
	if r.Bool("quick_gelu", false) {
		act = "quick_gelu"
	}
	proj, _ := vision.Int("projection_dim", 0)
	agrees(r, "embed_dim", proj)
	r.Only("multimodal_cfg", nil, "a CoCa, which writes captions, is not read")
	s.fail(r.Err())
	for _, t := range []struct {
		key    string
		config weights.Config
		read   func(*weights.Reader, weights.Config)
	}{{"vision_cfg", vision, visionConfig}, {"text_cfg", text, textConfig}} {
		sub, err := model.Sub(t.key)
		s.fail(err)
		r := sub.Reader()
		t.config["hidden_act"] = act
		towerConfig(r, sub, t.config)
		t.read(r, t.config)
		s.fail(r.Err())
	}
	if s.assume.HeadWidth > 0 {
		s.fail(errors.New("a configuration says how wide its heads are: a head width is of no use"))
	}
}

// agrees fails where a number is said that is another than the tensors'.
func agrees(r *weights.Reader, key string, have int) {
	if n := r.Int(key, have); n != have {
		r.Fail(fmt.Errorf("open_clip_config.json: %s is %d, the tensors have %d", key, n, have))
	}
}

// towerConfig reads what both towers have.
func towerConfig(r *weights.Reader, c, to weights.Config) {
	get := func(key string) int { n, _ := to.Int(key, 0); return n }
	width := get("hidden_size")
	agrees(r, "layers", get("num_hidden_layers"))
	agrees(r, "width", width)
	inner := get("intermediate_size")
	if ratio := r.Float("mlp_ratio", float64(inner)/float64(max(width, 1))); math.Abs(float64(width)*ratio-float64(inner)) > 1 {
		r.Fail(fmt.Errorf("open_clip_config.json: mlp_ratio is %v, the tensors have %d of %d", ratio, inner, width))
	}
	r.Only("ls_init_value", nil, "layer scale is not supported")
	r.Only("block_type", "default", "only open_clip's default block is supported")
	for _, key := range []string{"qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"} {
		r.Only(key, false, "only open_clip's default block is supported")
	}
	norm, err := c.Sub("norm_kwargs")
	r.Fail(err)
	act, err := c.Sub("act_kwargs")
	r.Fail(err)
	to["layer_norm_eps"] = 1e-5
	for key := range norm {
		if !norm.Has(key) {
			continue
		}
		if key != "eps" {
			r.Fail(fmt.Errorf("%s: %s is not supported", norm.File(), key))
			continue
		}
		q := norm.Reader()
		to["layer_norm_eps"] = q.Epsilon("eps", 1e-5)
		r.Fail(q.Err())
	}
	for key := range act {
		if !act.Has(key) {
			continue
		}
		how, _ := act.String(key, "")
		switch {
		case key != "approximate" || to["hidden_act"] != "gelu" || how != "none" && how != "tanh":
			r.Fail(fmt.Errorf("%s: %s is not supported", act.File(), key))
		case how == "tanh":
			to["hidden_act"] = "gelu_pytorch_tanh"
		}
	}
}

func visionConfig(r *weights.Reader, to weights.Config) {
	width, _ := to.Int("hidden_size", 1)
	head := r.Size("head_width", 64)
	if width%head != 0 {
		r.Fail(fmt.Errorf("open_clip_config.json: head_width %d does not divide %d channels", head, width))
	} else {
		to["num_attention_heads"] = width / head
	}
	for key, name := range map[string]string{"image_size": "image_size", "patch_size": "patch_size"} {
		have, _ := to.Int(name, 0)
		if n := r.Square(key, have); n != have {
			r.Fail(fmt.Errorf("open_clip_config.json: %s is %d, the tensors have %d", key, n, have))
		}
	}
	r.Only("pool_type", "tok", "only the class token is taken")
	r.Only("attentional_pool", false, "only the class token is taken")
	r.Only("no_ln_pre", false, "a vision tower without its first norm is not supported")
	r.Only("pos_embed_type", "learnable", "only learnt positions are supported")
	r.Only("timm_model_name", nil, "only open_clip's own vision transformers are read")
}

func textConfig(r *weights.Reader, to weights.Config) {
	get := func(key string) int { n, _ := to.Int(key, 0); return n }
	to["num_attention_heads"] = r.Size("heads", 8)
	if get("vocab_size") > 0 { // there is a text tower
		agrees(r, "context_length", get("max_position_embeddings"))
		agrees(r, "vocab_size", get("vocab_size"))
	}
	r.Only("pool_type", "argmax", "only the end of the text is taken")
	r.Only("embed_cls", false, "a class token in texts is not supported")
	r.Only("proj_bias", false, "a projection with a bias is not supported")
	r.Only("proj_type", "linear", "only a linear projection is supported")
	r.Only("hf_model_name", nil, "only open_clip's own text tower is read")
	r.Only("hf_tokenizer_name", nil, "only CLIP's own tokenizer is read")
	r.Only("tokenizer_mode", nil, "only CLIP's own tokenizer is read")
	r.Empty("tokenizer_kwargs", "only CLIP's own cleaning of texts is known")
	if r.Bool("no_causal_mask", false) {
		to[NoCausalMask] = true
	}
}

// NoCausalMask is the key of a text_config whose tokens see those behind them
// (open_clip's no_causal_mask, of CLIPA). transformers has no such key.
const NoCausalMask = "no_causal_mask"
