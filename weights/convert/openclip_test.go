package convert

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"parley/weights"
)

// TestOpenCLIPKeys: every key of open_clip 3.3's configuration (testdata/keys.py)
// is obeyed, refused by name, or without effect on embeddings.
func TestOpenCLIPKeys(t *testing.T) {
	var known map[string]map[string]any
	data, err := os.ReadFile("testdata/keys.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &known); err != nil {
		t.Fatal(err)
	}
	tower := map[string]string{"layers": "9", "width": "16", "mlp_ratio": "3", "ls_init_value": "0.1", "block_type": `"custom"`,
		"qk_norm": "true", "scaled_cosine_attn": "true", "scale_heads": "true", "scale_attn_inner": "true", "scale_attn": "true",
		"scale_fc":    "true",
		"norm_kwargs": `{"elementwise_affine": false}`, "act_kwargs": `{"approximate": "exact"}`}
	with := func(more map[string]string) map[string]string {
		for k, v := range tower {
			more[k] = v
		}
		return more
	}
	// preprocess_cfg is read where pictures are prepared: nets/pixels.
	for section, row := range map[string]struct {
		obeyed, refused map[string]string
		ignored         string
	}{
		"model_cfg": {map[string]string{"quick_gelu": "true", "vision_cfg": `{"head_width": 4}`, "text_cfg": `{"heads": 4}`},
			map[string]string{"embed_dim": "7", "multimodal_cfg": `{"width": 9}`, "quick_gelu": "1"},
			"cast_dtype custom_text init_logit_bias init_logit_scale nonscalar_logit_scale output_dict"},
		"vision_cfg": {map[string]string{"head_width": "4", "norm_kwargs": `{"eps": 0.01}`, "act_kwargs": `{"approximate": "tanh"}`},
			with(map[string]string{"image_size": "[64, 32]", "patch_size": "64", "pool_type": `"avg"`, "attentional_pool": "true",
				"no_ln_pre":      "true",
				"pos_embed_type": `"sin_cos_2d"`, "timm_model_name": `"vit"`, "head_width": "3"}),
			`attn_pooler_heads attn_pooler_queries final_ln_after_pool output_tokens patch_dropout timm_drop timm_drop_path timm_model_pretrained
				timm_pool timm_proj timm_proj_bias`},
		"text_cfg": {map[string]string{"heads": "4", "no_causal_mask": "true", "norm_kwargs": `{"eps": 0.01}`,
			"act_kwargs": `{"approximate": "tanh"}`},
			with(map[string]string{"context_length": "99", "vocab_size": "99", "pool_type": `"last"`, "embed_cls": "true",
				"proj_bias": "true",
				"proj_type": `"none"`, "hf_model_name": `"bert"`, "hf_tokenizer_name": `"bert"`, "tokenizer_mode": `"mask"`,
				"tokenizer_kwargs": `{"clean": "lower"}`}),
			"eos_id final_ln_after_pool hf_model_pretrained hf_pooler_type hf_proj_type output_tokens pad_id"},
	} {
		dir := filepath.Dir(edited(t, "openai_clip.pt", "open_clip_model.safetensors", func(name string) string { return name }))
		infer := func(key, text string) (weights.Config, error) {
			t.Helper()
			value := json.RawMessage(text)
			vision := map[string]any{"head_width": 8} // the toy's
			model := map[string]any{"vision_cfg": vision}
			switch section {
			case "model_cfg":
				model[key] = value
			case "vision_cfg":
				vision[key] = value
			case "text_cfg":
				texts := map[string]any{"heads": 1}
				texts[key], model["text_cfg"] = value, texts
			}
			data, err := json.Marshal(map[string]any{"model_cfg": model})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "open_clip_config.json"), data, 0o600); err != nil {
				t.Fatal(err)
			}
			return inferred(t, dir, CLIP)
		}
		base, err := infer("x", "null")
		if err != nil {
			t.Fatal(err)
		}
		rows := map[string]bool{}
		for key, text := range row.obeyed {
			rows[key] = true
			if have, err := infer(key, text); err != nil || reflect.DeepEqual(have, base) {
				t.Errorf("%s: %s is not obeyed: %v", section, key, err)
			}
		}
		for key, text := range row.refused {
			rows[key] = true
			if _, err := infer(key, text); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("%s: %s of %s is not refused by name: %v", section, key, text, err)
			}
		}
		for _, key := range strings.Fields(row.ignored) {
			rows[key] = true
			if have, err := infer(key, "7"); err != nil || !reflect.DeepEqual(have, base) {
				t.Errorf("%s: %s has an effect: %v", section, key, err)
			}
		}
		for key := range known[section] {
			if !rows[key] {
				t.Errorf("%s: %s is in no row", section, key)
			}
		}
		for key := range rows {
			if _, ok := known[section][key]; !ok {
				t.Errorf("%s: %s is no key of open_clip", section, key)
			}
		}
	}
}

// TestGuesses: what no configuration says is taken from the published models,
// is said, and can be told.
func TestGuesses(t *testing.T) {
	keep := func(name string) string { return name }
	config := func(path string, a Assume) (vision weights.Config, notes []string) {
		t.Helper()
		set, err := weights.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		parts, err := Canonical(set)
		if err != nil {
			t.Fatal(err)
		}
		c, err := a.Config(CLIP, parts[CLIP])
		if err != nil {
			t.Fatal(err)
		}
		if vision, err = c.Sub("vision_config"); err != nil {
			t.Fatal(err)
		}
		return vision, set.Notes()
	}
	alone := edited(t, "openai_clip.pt", "ViT-toy.safetensors", keep)
	named := edited(t, "openai_clip.pt", "vit_b_32-quickgelu-laion.safetensors", keep)
	archive := edited(t, "openai_clip.pt", "ViT.safetensors", keep, entry("input_resolution"))
	for _, c := range []struct {
		path   string
		assume Assume
		act    string
		heads  int
		note   string // "" for none
	}{
		{alone, Assume{}, "gelu", 1, "GELU, as in most of open_clip's models, is assumed (--clip-act), and heads of 8 channels " +
			"(--clip-head-width)"},
		{named, Assume{}, "quick_gelu", 1, "QuickGELU, by its name, is assumed"},
		{alone, Assume{Act: "quick_gelu", HeadWidth: 4}, "quick_gelu", 2, ""},
		{alone, Assume{Act: "gelu"}, "gelu", 1, "assumed are heads of 8 channels"},
		{archive, Assume{}, "quick_gelu", 1, ""},
	} {
		vision, notes := config(c.path, c.assume)
		have := strings.Join(notes, "\n")
		if vision["hidden_act"] != c.act || vision["num_attention_heads"] != c.heads || c.note == "" && have != "" ||
			!strings.Contains(have, c.note) {
			t.Errorf("%s %+v: have %v, %v heads, notes %q", filepath.Base(c.path), c.assume, vision["hidden_act"],
				vision["num_attention_heads"], have)
		}
	}
	for width, heads := range map[int]int{1280: 16, 1408: 16, 1664: 16, 1792: 16, 1024: 16, 768: 12} {
		if have := (&shapes{}).visionHeads(width); have != heads {
			t.Errorf("a width of %d: %d heads, want %d", width, have, heads)
		}
	}
	for _, a := range []Assume{{Act: "relu"}, {HeadWidth: -1}, {Prediction: "noise"}} {
		if _, err := a.Config(VAE, weights.NewSet(nil)); err == nil {
			t.Errorf("%+v passes", a)
		}
	}
}
