package nets_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"parley/nets/bert"
	"parley/nets/blip"
	"parley/nets/clip"
	"parley/nets/pixels"
	"parley/nets/schedule"
	"parley/nets/unet"
	"parley/nets/vae"
	"parley/nets/vit"
	"parley/weights"
	"parley/weights/mini"
)

// class is what Parley does with the keys of one class of transformers or
// diffusers: a key that is obeyed changes what is parsed, one that is refused is
// an error that names it, one without effect on inference changes nothing.
type class struct {
	parse   func(weights.Config) (any, error)
	obeyed  map[string]string // a value that makes a difference, as JSON
	refused map[string]string // a value that is refused; a key may be obeyed and refused
	ignored string            // keys, parted by spaces
}

// bookkeeping are keys that every configuration of transformers can have, and
// that say nothing to inference.
const bookkeeping = `_name_or_path architectures chunk_size_feed_forward dtype torch_dtype id2label label2id is_encoder_decoder
	output_attentions output_hidden_states problem_type return_dict transformers_version use_bfloat16 torchscript pruned_heads
	tie_encoder_decoder add_cross_attention `

// saved are those of diffusers.
const saved = `_diffusers_version _name_or_path `

func parser[T any](parse func(weights.Config) (T, error)) func(weights.Config) (any, error) {
	return func(c weights.Config) (any, error) { return parse(c) }
}

// under parses a part of a configuration.
func under[T any](key string, parse func(weights.Config) (T, error)) func(weights.Config) (any, error) {
	return func(c weights.Config) (any, error) { return parse(weights.Config{key: c}) }
}

func sampler(kind string) func(weights.Config) (any, error) {
	return func(c weights.Config) (any, error) {
		if !c.Has("skip_prk_steps") { // the default of PNDM is refused
			c["skip_prk_steps"] = true
		}
		if !c.Has("_class_name") {
			c["_class_name"] = kind
		}
		return schedule.ParseConfig(c, "")
	}
}

func processor(kind string) func(weights.Config) (any, error) {
	return func(c weights.Config) (any, error) {
		if !c.Has("image_processor_type") && !c.Has("feature_extractor_type") {
			c["image_processor_type"] = kind
		}
		data, err := c.MarshalJSON()
		if err != nil {
			return nil, err
		}
		return pixels.ParseProcessor(fstest.MapFS{"p.json": {Data: data}}, "p.json")
	}
}

// classes is the table: nothing that a class knows is without a row.
func classes() map[string]class {
	training := map[string]string{"num_train_timesteps": "500", "beta_start": "0.0002", "beta_end": "0.03",
		"beta_schedule": `"scaled_linear"`,
		"trained_betas": "[" + strings.Repeat("0.01,", 999) + "0.02]", "prediction_type": `"v_prediction"`,
		"timestep_spacing": `"trailing"`,
		"steps_offset":     "1"}
	with := func(more map[string]string, without ...string) map[string]string {
		all := map[string]string{}
		for k, v := range training {
			all[k] = v
		}
		for k, v := range more {
			all[k] = v
		}
		for _, k := range without {
			delete(all, k)
		}
		return all
	}
	wrong := map[string]string{"num_train_timesteps": "9007199254740992", "beta_start": "-1", "beta_end": "Infinity",
		"beta_schedule": `"sigmoid"`,
		"trained_betas": "[0.1]", "prediction_type": `"flow_prediction"`, "timestep_spacing": `"log"`, "steps_offset": "1000",
		"_class_name": `"HeunDiscreteScheduler"`}
	refuse := func(more map[string]string) map[string]string {
		all := map[string]string{}
		for k, v := range wrong {
			all[k] = v
		}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	pictures := func(more map[string]string) map[string]string {
		all := map[string]string{"size": "100", "resample": "2", "do_rescale": "false", "rescale_factor": "0.5", "do_normalize": "false",
			"image_mean": "0.5", "image_std": "[0.5, 0.5, 0.4]", "crop_size": `{"height": 90, "width": 90}`}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	badPictures := map[string]string{"do_resize": "false", "do_pad": "true", "pad_size": `{"height": 9, "width": 9}`, "resample": "9",
		"image_std": "[0, 1, 1]", "image_mean": "[1, 2]",
		"image_processor_type": `"SiglipImageProcessor"`, "size": `{"min_pixels": 9}`, "crop_size": "0"}
	badCLIP := maps.Clone(badPictures)
	badCLIP["use_square_size"] = "3"
	badSquares := maps.Clone(badPictures) // without a crop its size has no effect
	delete(badSquares, "crop_size")
	const anyPicture = `data_format device disable_grouping do_convert_rgb image_seq_length input_data_format processor_class return_tensors`
	return map[string]class{
		"CLIPConfig": {parser(clip.ParseConfig),
			map[string]string{"projection_dim": "256", "text_config": `{"hidden_size": 256}`, "vision_config": `{"image_size": 336}`,
				"text_config_dict": `{"num_hidden_layers": 3}`, "vision_config_dict": `{"patch_size": 16}`},
			map[string]string{"model_type": `"siglip"`, "quantization_config": `{"load_in_8bit": true}`, "projection_dim": "0"},
			bookkeeping + "initializer_factor logit_scale_init_value"},
		"CLIPTextConfig": {parser(clip.ParseTextConfig),
			map[string]string{"hidden_size": "256", "num_hidden_layers": "3", "num_attention_heads": "4", "intermediate_size": "99",
				"max_position_embeddings": "32", "vocab_size": "999", "eos_token_id": "2", "hidden_act": `"gelu"`,
				"layer_norm_eps": "0.01"},
			map[string]string{"model_type": `"clip"`, "quantization_config": `{"bits": 4}`, "hidden_act": `"relu"`,
				"eos_token_id": "[1, 2]",
				"vocab_size":   "9007199254740992", "layer_norm_eps": "Infinity", "num_hidden_layers": "1.5"},
			bookkeeping + "attention_dropout bos_token_id pad_token_id initializer_factor initializer_range projection_dim"},
		"CLIPVisionConfig": {parser(clip.ParseVisionConfig),
			map[string]string{"hidden_size": "256", "num_hidden_layers": "3", "num_attention_heads": "4", "intermediate_size": "99",
				"image_size": "[336, 336]", "patch_size": "16", "hidden_act": `"gelu"`, "layer_norm_eps": "0.01"},
			map[string]string{"model_type": `"siglip_vision_model"`, "quantization_config": `{"bits": 4}`, "num_channels": "4",
				"image_size": "[336, 224]", "patch_size": "[16, 8]", "hidden_act": `"relu"`},
			bookkeeping + "attention_dropout initializer_factor initializer_range projection_dim"},
		"BlipConfig": {parser(blip.ParseConfig),
			map[string]string{"text_config": `{"hidden_size": 256}`, "vision_config": `{"image_size": 224}`},
			map[string]string{"model_type": `"blip-2"`, "quantization_config": `{"bits": 4}`},
			bookkeeping + `image_text_hidden_size initializer_factor initializer_range label_smoothing logit_scale_init_value projection_dim
				tie_word_embeddings`}, // whether the head is tied is told by the tensors
		"BlipTextConfig": {under("text_config", blip.ParseConfig),
			map[string]string{"hidden_size": "256", "num_hidden_layers": "3", "num_attention_heads": "4", "intermediate_size": "99",
				"max_position_embeddings": "32", "vocab_size": "40000", "bos_token_id": "1", "sep_token_id": "[5]", "pad_token_id": "6",
				"hidden_act": `"gelu_new"`, "layer_norm_eps": "0.01"},
			map[string]string{"model_type": `"bert"`, "quantization_config": `{"bits": 4}`, "is_decoder": "false", "hidden_act": `"relu"`,
				"sep_token_id": "30524", "bos_token_id": "-1", "pad_token_id": "4294967296"},
			bookkeeping + `attention_probs_dropout_prob hidden_dropout_prob encoder_hidden_size eos_token_id initializer_range label_smoothing
				projection_dim tie_word_embeddings use_cache`},
		"BlipVisionConfig": {under("vision_config", blip.ParseConfig),
			map[string]string{"hidden_size": "256", "num_hidden_layers": "3", "num_attention_heads": "4", "intermediate_size": "99",
				"image_size": "[224, 224]", "patch_size": "32", "hidden_act": `"quick_gelu"`, "layer_norm_eps": "0.01"},
			map[string]string{"model_type": `"clip_vision_model"`, "quantization_config": `{"bits": 4}`, "image_size": "[1, 2]"},
			bookkeeping + "attention_dropout initializer_range projection_dim"},
		"BertConfig": {parser(bert.ParseConfig),
			map[string]string{"hidden_size": "256", "num_hidden_layers": "3", "num_attention_heads": "4", "intermediate_size": "99",
				"max_position_embeddings": "32", "vocab_size": "999", "type_vocab_size": "3", "hidden_act": `"gelu_new"`,
				"layer_norm_eps": "0.01"},
			map[string]string{"model_type": `"roberta"`, "quantization_config": `{"bits": 4}`, "is_decoder": "true",
				"add_cross_attention": "true", "position_embedding_type": `"relative_key"`, "hidden_act": `"relu"`},
			bookkeeping + `attention_probs_dropout_prob hidden_dropout_prob bos_token_id classifier_dropout eos_token_id pad_token_id
				initializer_range tie_word_embeddings use_cache`},
		"ViTConfig": {parser(vit.ParseConfig),
			map[string]string{"hidden_size": "256", "num_hidden_layers": "3", "num_attention_heads": "4", "intermediate_size": "99",
				"image_size": "[336, 336]", "patch_size": "8", "hidden_act": `"quick_gelu"`, "layer_norm_eps": "0.01"},
			map[string]string{"model_type": `"dinov2"`, "quantization_config": `{"bits": 4}`, "num_channels": "1",
				"image_size": "[1, 2]", "patch_size": "[16, 8]", "hidden_act": `"relu"`},
			bookkeeping + `attention_probs_dropout_prob hidden_dropout_prob encoder_stride initializer_range pooler_act pooler_output_size
				qkv_bias`}, // whether there is a bias is told by the tensors
		"UNet2DConditionModel": {parser(unet.ParseConfig),
			map[string]string{"in_channels": "9", "out_channels": "8", "sample_size": "[96, 64]", "cross_attention_dim": "[768, 768]",
				"block_out_channels": "[320, 640, 640, 640]", "layers_per_block": "[1, 2, 3, 4]", "attention_head_dim": "[5, 10, 20, 20]",
				"transformer_layers_per_block": "2", "norm_num_groups": "16", "norm_eps": "0.01", "downsample_padding": "0",
				"flip_sin_to_cos": "false", "freq_shift": "1", "mid_block_type": "null", "time_cond_proj_dim": "256",
				"down_block_types": `["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]`,
				"up_block_types":   `["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]`},
			map[string]string{"_class_name": `"UNet3DConditionModel"`, "act_fn": `"gelu"`, "addition_embed_type": `"text_time"`,
				"class_embed_type": `"timestep"`,
				"encoder_hid_dim":  "768", "encoder_hid_dim_type": `"text_proj"`, "num_class_embeds": "10", "time_cond_proj_dim": "3",
				"time_embedding_act_fn": `"silu"`, "time_embedding_dim": "512", "timestep_post_act": `"silu"`,
				"reverse_transformer_layers_per_block": "[[1]]", "num_attention_heads": "8", "cross_attention_norm": `"layer_norm"`,
				"center_input_sample": "true", "only_cross_attention": "[true, false, false, false]",
				"mid_block_only_cross_attention": "true",
				"dual_cross_attention":           "true", "class_embeddings_concat": "true", "resnet_skip_time_act": "true",
				"mid_block_scale_factor":  "2",
				"resnet_out_scale_factor": "1.4", "conv_in_kernel": "1", "conv_out_kernel": "1", "time_embedding_type": `"fourier"`,
				"resnet_time_scale_shift": `"scale_shift"`, "attention_type": `"gated"`,
				"mid_block_type":  `"UNetMidBlock2DSimpleCrossAttn"`,
				"norm_num_groups": "null", "down_block_types": `["DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"]`,
				"up_block_types": `["UpBlock2D"]`, "transformer_layers_per_block": "[[1], 2, 3, 4]",
				"cross_attention_dim": "[768, 1024]", "layers_per_block": "[1, 2]", "sample_size": "[1, 2, 3]",
				"downsample_padding": "2"},
			saved + `addition_embed_type_num_heads addition_time_embed_dim dropout projection_class_embeddings_input_dim upcast_attention
				use_linear_projection`}, // whether a projection is linear is told by the tensors
		"AutoencoderKL": {parser(vae.ParseConfig),
			map[string]string{"latent_channels": "16", "block_out_channels": "[64, 128]", "layers_per_block": "1",
				"norm_num_groups": "16",
				"scaling_factor":  "0.13", "mid_block_add_attention": "false", "use_quant_conv": "false", "use_post_quant_conv": "false"},
			map[string]string{"_class_name": `"AutoencoderTiny"`, "act_fn": `"relu"`, "down_block_types": `["AttnDownEncoderBlock2D"]`,
				"up_block_types": `["AttnUpDecoderBlock2D"]`, "in_channels": "4", "out_channels": "1", "shift_factor": "0.1",
				"latents_mean": "[0, 0, 0, 0]", "latents_std": "[1, 1, 1, 1]", "scaling_factor": "0", "block_out_channels": "[]"},
			saved + "force_upcast sample_size"}, // f32 is what is forced, and tiling is asked for
		"PNDMScheduler": {sampler("PNDMScheduler"), with(map[string]string{"set_alpha_to_one": "true", "_class_name": `"DDIMScheduler"`}),
			refuse(map[string]string{"skip_prk_steps": "false", "prediction_type": `"sample"`}), saved},
		"DDIMScheduler": {sampler("DDIMScheduler"),
			with(map[string]string{"set_alpha_to_one": "false", "clip_sample": "false", "clip_sample_range": "2",
				"rescale_betas_zero_snr": "true", "_class_name": `"LCMScheduler"`}),
			refuse(map[string]string{"thresholding": "true", "clip_sample_range": "0"}),
			saved + "dynamic_thresholding_ratio sample_max_value"},
		"EulerDiscreteScheduler": {sampler("EulerDiscreteScheduler"),
			with(map[string]string{"timestep_spacing": `"leading"`, "use_karras_sigmas": "true", "sigma_min": "0.1", "sigma_max": "10",
				"final_sigmas_type": `"sigma_min"`, "rescale_betas_zero_snr": "true", "_class_name": `"DDIMScheduler"`}),
			refuse(map[string]string{"use_exponential_sigmas": "true", "use_beta_sigmas": "true", "interpolation_type": `"log_linear"`,
				"sigma_min": "0", "sigma_max": "-Infinity", "timestep_type": `"none"`, "final_sigmas_type": `"one"`}),
			saved + "timestep_type"}, // of v prediction alone: see TestContinuous
		"EulerAncestralDiscreteScheduler": {sampler("EulerAncestralDiscreteScheduler"),
			with(map[string]string{"timestep_spacing": `"leading"`, "rescale_betas_zero_snr": "true",
				"_class_name": `"DDIMScheduler"`}), refuse(nil), saved},
		"DPMSolverMultistepScheduler": {sampler("DPMSolverMultistepScheduler"),
			with(map[string]string{"timestep_spacing": `"leading"`, "solver_order": "1", "solver_type": `"heun"`,
				"lower_order_final": "false",
				"euler_at_final":    "true", "use_karras_sigmas": "true", "final_sigmas_type": `"sigma_min"`, "lambda_min_clipped": "-5.1",
				"rescale_betas_zero_snr": "true", "_class_name": `"DDIMScheduler"`}),
			refuse(map[string]string{"thresholding": "true", "algorithm_type": `"sde-dpmsolver++"`, "use_exponential_sigmas": "true",
				"use_beta_sigmas": "true", "use_lu_lambdas": "true", "use_flow_sigmas": "true", "use_dynamic_shifting": "true",
				"variance_type": `"learned"`, "solver_order": "3", "lambda_min_clipped": "NaN", "solver_type": `"none"`}),
			saved + "dynamic_thresholding_ratio sample_max_value flow_shift time_shift_type"},
		"UniPCMultistepScheduler": {sampler("UniPCMultistepScheduler"),
			with(map[string]string{"timestep_spacing": `"leading"`, "solver_order": "3", "solver_type": `"bh1"`, "predict_x0": "false",
				"lower_order_final": "false", "disable_corrector": "[0, 1]", "use_karras_sigmas": "true", "sigma_min": "0.05",
				"sigma_max": "10", "final_sigmas_type": `"sigma_min"`, "rescale_betas_zero_snr": "true",
				"_class_name": `"DDIMScheduler"`}),
			refuse(map[string]string{"thresholding": "true", "use_exponential_sigmas": "true", "use_beta_sigmas": "true",
				"use_flow_sigmas": "true", "use_dynamic_shifting": "true", "solver_p": `["diffusers", "DDIMScheduler"]`,
				"solver_order": "4", "solver_type": `"bh3"`, "shift_terminal": "0.1", "disable_corrector": "[0.5]", "sigma_min": "0"}),
			saved + "dynamic_thresholding_ratio sample_max_value flow_shift time_shift_type"},
		"LCMScheduler": {sampler("LCMScheduler"),
			with(map[string]string{"beta_schedule": `"linear"`, "set_alpha_to_one": "false", "clip_sample": "true",
				"original_inference_steps": "100", "timestep_scaling": "5",
				"rescale_betas_zero_snr": "true", "_class_name": `"DDIMScheduler"`}, "timestep_spacing", "steps_offset"),
			refuse(map[string]string{"thresholding": "true", "original_inference_steps": "1001"}),
			saved + "dynamic_thresholding_ratio sample_max_value clip_sample_range timestep_spacing steps_offset"},
		"CLIPImageProcessor": {processor("CLIPImageProcessor"),
			pictures(map[string]string{"do_center_crop": "false", "default_to_square": "true", "use_square_size": "true",
				"image_processor_type":   `"BlipImageProcessor"`,
				"feature_extractor_type": `"BlipFeatureExtractor"`}), badCLIP, anyPicture},
		"BlipImageProcessor": {processor("BlipImageProcessor"),
			pictures(map[string]string{"do_center_crop": "true", "default_to_square": "false",
				"image_processor_type":   `"CLIPImageProcessorFast"`,
				"feature_extractor_type": `"CLIPFeatureExtractor"`}), badSquares, anyPicture + " use_square_size"},
		"ViTImageProcessor": {processor("ViTImageProcessor"),
			pictures(map[string]string{"do_center_crop": "true", "default_to_square": "false", "resample": "3", "image_mean": "0.4",
				"image_processor_type":   `"CLIPImageProcessorFast"`,
				"feature_extractor_type": `"BlipFeatureExtractor"`}), badSquares, anyPicture + " use_square_size"},
	}
}

// besides are keys that a row needs beside its own to make a difference.
func besides(class, key string) weights.Config {
	switch {
	case key == "default_to_square":
		return weights.Config{"size": json.Number("100")}
	case key == "sigma_min" || key == "sigma_max":
		return weights.Config{"use_karras_sigmas": true}
	case key == "crop_size" && (class == "BlipImageProcessor" || class == "ViTImageProcessor"):
		return weights.Config{"do_center_crop": true}
	case key == "num_train_timesteps" && class == "LCMScheduler":
		return weights.Config{}
	}
	return weights.Config{}
}

// another is a value that differs from a default.
func another(v any) any {
	switch v := v.(type) {
	case bool:
		return !v
	case json.Number:
		f, _ := v.Float64()
		return json.Number(fmt.Sprint(f + 1))
	case string:
		return "something"
	case []any:
		return append([]any{"something"}, v...)
	case map[string]any:
		return map[string]any{"something": true}
	}
	return json.Number("1")
}

// TestKeys: every key of transformers 5.23's, diffusers 0.42.1's classes is
// obeyed, refused by name, or without effect, as the table says.
func TestKeys(t *testing.T) {
	all, err := weights.ReadConfig(os.DirFS("testdata"), "keys.json")
	if err != nil {
		t.Fatal(err)
	}
	table := classes()
	rows := 0
	for name := range table {
		if !all.Has(name) {
			t.Errorf("%s is in the table and not in keys.json", name)
		}
	}
	for name := range all {
		if !all.Has(name) {
			continue // the file's own name
		}
		keys, err := all.Sub(name)
		if err != nil {
			t.Fatal(err)
		}
		c, ok := table[name]
		if !ok {
			t.Errorf("%s: no rows", name)
			continue
		}
		parse := func(key, text string, more weights.Config) (any, error) {
			config, err := weights.ParseConfig("config.json", []byte(`{`+fmt.Sprintf("%q: %s", key, text)+`}`))
			if err != nil {
				t.Fatal(err)
			}
			if key == "" {
				config = weights.Config{}
			}
			for k, v := range more {
				config[k] = v
			}
			return c.parse(config)
		}
		ignored := map[string]bool{}
		for _, key := range strings.Fields(c.ignored) {
			ignored[key] = true
		}
		for key, text := range c.obeyed {
			if ignored[key] {
				t.Errorf("%s: %s is obeyed and without effect", name, key)
			}
			base, err := parse("", "null", besides(name, key))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			have, err := parse(key, text, besides(name, key))
			if err != nil || reflect.DeepEqual(have, base) {
				t.Errorf("%s: %s is not obeyed: %v", name, key, err)
			}
			rows++
		}
		for key, text := range c.refused {
			if _, err := parse(key, text, nil); err == nil || !strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %s of %s is not refused by name: %v", name, key, text, err)
			}
			rows++
		}
		base, err := parse("", "null", nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for key := range keys {
			if _, isFile := keys[key].(string); isFile && strings.HasPrefix(key, "\x00") {
				continue
			}
			_, obeyed := c.obeyed[key]
			_, refused := c.refused[key]
			if !obeyed && !refused && !ignored[key] {
				t.Errorf("%s: %s is in no row", name, key)
			}
		}
		for key := range ignored {
			if _, known := keys[key]; !known {
				t.Errorf("%s: %s is in the table and not a key", name, key)
			}
			if _, refused := c.refused[key]; refused {
				continue // some values
			}
			value, err := json.Marshal(another(keys[key]))
			if err != nil {
				t.Fatal(err)
			}
			if have, err := parse(key, string(value), nil); err != nil || !reflect.DeepEqual(have, base) {
				t.Errorf("%s: %s of %s has an effect: %v", name, key, value, err)
			}
			rows++
		}
	}
	if rows < 350 {
		t.Errorf("only %d rows", rows)
	}
}

// defaultsOf are the keys of each class with the defaults that it has, of keys.json.
func defaultsOf(t *testing.T) map[string]weights.Config {
	t.Helper()
	all, err := weights.ReadConfig(os.DirFS("testdata"), "keys.json")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]weights.Config{}
	for name := range classes() {
		if out[name], err = all.Sub(name); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestDefaultKeys: a key that is not there has the default of its class, each by
// itself.
func TestDefaultKeys(t *testing.T) {
	all := defaultsOf(t)
	// Those of diffusers' autoencoder are a toy's.
	other := map[string]bool{"AutoencoderKL block_out_channels": true, "AutoencoderKL layers_per_block": true}
	rows := 0
	for name, c := range classes() {
		keys := all[name]
		for key := range c.obeyed {
			if !keys.Has(key) {
				continue // no default
			}
			base, err1 := c.parse(besides(name, key))
			config := besides(name, key)
			config[key] = keys[key]
			have, err2 := c.parse(config)
			if err := errors.Join(err1, err2); err != nil || reflect.DeepEqual(have, base) == other[name+" "+key] {
				t.Errorf("%s: without %s: %+v; with its default, %v: %+v, %v", name, key, base, keys[key], have, err)
			}
			rows++
		}
	}
	if rows < 100 {
		t.Errorf("only %d rows", rows)
	}
}

// TestNullIsFalse: a key that is there and null is false where its class has true as
// the default, as Python takes it.
func TestNullIsFalse(t *testing.T) {
	all := defaultsOf(t)
	rows := 0
	for name, c := range classes() {
		keys := all[name]
		for key := range c.obeyed {
			if keys[key] != true {
				continue
			}
			null, no := besides(name, key), besides(name, key)
			null[key], no[key] = nil, false
			have, err1 := c.parse(null)
			want, err2 := c.parse(no)
			if err := errors.Join(err1, err2); err != nil || !reflect.DeepEqual(have, want) {
				t.Errorf("%s: %s of null: %+v, of false: %+v, %v", name, key, have, want, err)
			}
			rows++
		}
	}
	if rows < 10 {
		t.Errorf("only %d rows", rows)
	}
}

// TestContinuous: Euler's timestep_type is of v prediction alone.
func TestContinuous(t *testing.T) {
	for prediction, want := range map[string]bool{"epsilon": false, "v_prediction": true} {
		c, err := schedule.ParseConfig(weights.Config{"timestep_type": "continuous", "prediction_type": prediction}, "euler")
		if err != nil || c.Continuous != want {
			t.Errorf("%s: have %v, %v", prediction, c.Continuous, err)
		}
	}
}

// published are the config.json of the models on the Hub, without what has no
// effect.
const (
	vitB32 = `{"model_type": "clip", "projection_dim": 512, "text_config_dict": null, "vision_config_dict": null,
		"text_config": {"model_type": "clip_text_model", "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8,
			"num_hidden_layers": 12,
			"hidden_act": "quick_gelu", "layer_norm_eps": 1e-05, "max_position_embeddings": 77, "vocab_size": 49408,
				"bos_token_id": 0, "eos_token_id": 2},
		"vision_config": {"model_type": "clip_vision_model", "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
			"num_hidden_layers": 12,
			"hidden_act": "quick_gelu", "layer_norm_eps": 1e-05, "image_size": 224, "patch_size": 32}}`
	vitL14 = `{"model_type": "clip", "projection_dim": 768,
		"text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12,
			"hidden_act": "quick_gelu",
			"vocab_size": 49408, "bos_token_id": 0, "eos_token_id": 2, "projection_dim": 768},
		"vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24,
			"hidden_act": "quick_gelu",
			"image_size": 224, "patch_size": 14, "projection_dim": 768}}`
	vitH14 = `{"model_type": "clip", "projection_dim": 1024, "text_config": {}, "vision_config": {},
		"text_config_dict": {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24,
			"hidden_act": "gelu",
			"eos_token_id": 2, "projection_dim": 1024},
		"vision_config_dict": {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 16, "num_hidden_layers": 32,
			"hidden_act": "gelu",
			"patch_size": 14, "projection_dim": 1024}}`
	text15 = `{"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "hidden_size": 768, "intermediate_size": 3072,
		"num_attention_heads": 12,
		"num_hidden_layers": 12, "hidden_act": "quick_gelu", "max_position_embeddings": 77, "vocab_size": 49408, "bos_token_id": 0,
			"eos_token_id": 2, "pad_token_id": 1}`
	text21 = `{"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "hidden_size": 1024, "intermediate_size": 4096,
		"num_attention_heads": 16,
		"num_hidden_layers": 23, "hidden_act": "gelu", "max_position_embeddings": 77, "vocab_size": 49408, "bos_token_id": 0,
			"eos_token_id": 2, "pad_token_id": 1}`
	blipBase = `{"model_type": "blip", "projection_dim": 512,
		"text_config": {"model_type": "blip_text_model", "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
			"num_hidden_layers": 12,
			"hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "vocab_size": 30524, "bos_token_id": 30522,
				"eos_token_id": 2,
			"sep_token_id": 102, "pad_token_id": 0, "is_decoder": true},
		"vision_config": {"model_type": "blip_vision_model", "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
			"num_hidden_layers": 12,
			"hidden_act": "gelu", "layer_norm_eps": 1e-05, "image_size": 384, "patch_size": 16, "num_channels": 3}}`
	blipLarge = `{"model_type": "blip", "text_config": {"num_attention_heads": 12},
		"vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}}`
	unet15 = `{"_class_name": "UNet2DConditionModel", "act_fn": "silu", "attention_head_dim": 8, "block_out_channels": [320, 640,
		1280, 1280],
		"center_input_sample": false, "cross_attention_dim": 768, "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
			"CrossAttnDownBlock2D", "DownBlock2D"],
		"downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2,
			"mid_block_scale_factor": 1,
		"norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
		"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]}`
	unet21 = `{"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "dual_cross_attention": false,
		"num_class_embeds": null,
		"only_cross_attention": false, "sample_size": 64, "upcast_attention": false, "use_linear_projection": true}`
	unet21v = `{"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "sample_size": 96, "upcast_attention": true,
		"use_linear_projection": true}`
	miniLM = `{"architectures": ["BertModel"], "gradient_checkpointing": false, "hidden_act": "gelu", "hidden_size": 384,
		"intermediate_size": 1536, "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": 12,
		"num_hidden_layers": 6, "pad_token_id": 0, "position_embedding_type": "absolute", "type_vocab_size": 2, "vocab_size": 30522}`
	dinoB8 = `{"architectures": ["ViTModel"], "hidden_act": "gelu", "hidden_size": 768, "image_size": 224, "intermediate_size": 3072,
		"layer_norm_eps": 1e-12, "model_type": "vit", "num_attention_heads": 12, "num_channels": 3, "num_hidden_layers": 12,
		"patch_size": 8, "qkv_bias": true}`
	vaeSD = `{"_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
		"down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
			"in_channels": 3, "latent_channels": 4,
		"layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3, "sample_size": 512,
		"up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]}`
	pndm = `{"_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
		"clip_sample": false,
		"num_train_timesteps": 1000, "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null}`
	ddimV = `{"_class_name": "DDIMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
		"clip_sample": false,
		"num_train_timesteps": 1000, "prediction_type": "v_prediction", "set_alpha_to_one": false, "skip_prk_steps": true,
			"steps_offset": 1, "trained_betas": null}`
)

// TestPresets: a preset is what the published file parses to.
func TestPresets(t *testing.T) {
	file := func(name string) string {
		data, err := fs.ReadFile(mini.FS(), name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, p := range []struct {
		name   string
		text   string
		parse  func(weights.Config) (any, error)
		preset any
	}{
		{"clip-b32", vitB32, parser(clip.ParseConfig), clip.B32()},
		{"clip-l14", vitL14, parser(clip.ParseConfig), clip.L14()},
		{"clip-h14", vitH14, parser(clip.ParseConfig), clip.H14()},
		{"clip of mini", file("clip/config.json"), parser(clip.ParseConfig), clip.Mini()},
		{"text encoder of sd15", text15, parser(clip.ParseTextConfig), clip.SD15()},
		{"text encoder of sd21", text21, parser(clip.ParseTextConfig), clip.SD21()},
		{"text encoder of mini", file("sd/text_encoder/config.json"), parser(clip.ParseTextConfig), clip.MiniText()},
		{"blip-base", blipBase, parser(blip.ParseConfig), blip.Base()},
		{"blip-large", blipLarge, parser(blip.ParseConfig), blip.Large()},
		{"blip of mini", file("blip/config.json"), parser(blip.ParseConfig), blip.Mini()},
		{"all-MiniLM-L6-v2", miniLM, parser(bert.ParseConfig), bert.MiniLM()},
		{"dino-vitb8", dinoB8, parser(vit.ParseConfig), vit.DINOB8()},
		{"unet of sd15", unet15, parser(unet.ParseConfig), unet.SD15()},
		{"unet of sd21", unet21, parser(unet.ParseConfig), unet.SD21()},
		{"unet of sd21v", unet21v, parser(unet.ParseConfig), unet.SD21V()},
		{"unet of mini", file("sd/unet/config.json"), parser(unet.ParseConfig), unet.Mini()},
		{"vae of sd", vaeSD, parser(vae.ParseConfig), vae.SD()},
		{"vae of mini", file("sd/vae/config.json"), parser(vae.ParseConfig), vae.Mini()},
		{"scheduler of sd15", pndm, sampler(""), schedule.SD15()},
		{"scheduler of sd21", pndm, sampler(""), schedule.SD21()},
		{"scheduler of sd21v", ddimV, sampler(""), schedule.SD21V()},
		{"scheduler of mini", file("sd/scheduler/scheduler_config.json"), sampler(""), schedule.Mini()},
	} {
		c, err := weights.ParseConfig(p.name, []byte(p.text))
		if err != nil {
			t.Fatal(err)
		}
		have, err := p.parse(c)
		if err != nil || !reflect.DeepEqual(have, p.preset) {
			t.Errorf("%s: %v\nhave %+v\nwant %+v", p.name, err, have, p.preset)
		}
	}
}
