package convert

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"parley/weights"
)

// Assume settles what a checkpoint does not say. What is guessed for want of it
// is in the set's Notes.
type Assume struct {
	// Prediction is what Stable Diffusion's UNet predicts, one of Predictions; ""
	// is what the source says, or a guess.
	Prediction string
	// Act is the activation of a CLIP without a configuration, "gelu" or
	// "quick_gelu"; "" is a guess.
	Act string
	// HeadWidth is how many channels an attention head of such a CLIP's vision
	// tower has; 0 is a guess.
	HeadWidth int
}

func (a Assume) check() error {
	if a.Prediction != "" && !slices.Contains(Predictions, a.Prediction) {
		return fmt.Errorf("prediction %q: want one of %s", a.Prediction, strings.Join(Predictions, ", "))
	}
	if a.Act != "" && a.Act != "gelu" && a.Act != "quick_gelu" {
		return fmt.Errorf("activation %q: want gelu or quick_gelu", a.Act)
	}
	if a.HeadWidth < 0 {
		return fmt.Errorf("heads of %d channels: want 1 or more", a.HeadWidth)
	}
	return nil
}

// InferConfig is Assume.Config with nothing assumed.
func InferConfig(part string, set *weights.Set) (weights.Config, error) {
	return Assume{}.Config(part, set)
}

// Config writes the configuration of a part from the shapes of its canonical
// tensors, for checkpoints that come without one. What shapes do not say is
// taken from the published models: the heads of open_clip's by their width, heads
// of 64 channels elsewhere (Stable Diffusion 1's UNet: 8 heads), 32 groups,
// quick_gelu in OpenAI's CLIP, gelu in open_clip's and in Stable Diffusion 2's
// text encoder. What an open_clip_config.json beside the checkpoint says goes
// first.
func (a Assume) Config(part string, set *weights.Set) (weights.Config, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	s := shapes{set: set, assume: a}
	var c weights.Config
	switch part {
	case CLIP:
		c = s.clip()
	case BLIP:
		c = s.blip()
	case UNet:
		c = s.unet()
	case VAE:
		c = s.vae()
	case TextEncoder:
		c = s.text("")
		c["architectures"] = []string{"CLIPTextModel"}
	case ViT:
		c = s.vit()
	case Inception: // there is one
		c = weights.Config{}
	case BERT:
		s.fail(fmt.Errorf("%s: its heads are not told by its tensors: its config.json is needed", set.Origin()))
	default:
		return nil, fmt.Errorf("configuration of %q: no such part", part)
	}
	if s.err != nil {
		return nil, fmt.Errorf("configuration of the %s: %w", part, s.err)
	}
	return c, nil
}

// shapes reads dimensions and keeps the first error.
type shapes struct {
	set    *weights.Set
	assume Assume
	err    error
}

// dim is a dimension of a tensor of a rank; 1 after an error.
func (s *shapes) dim(name string, rank, i int) int {
	e, ok := s.set.Entry(name)
	switch {
	case !ok:
		s.fail(fmt.Errorf("%s: missing", name))
		return 1
	case len(e.Shape) != rank || e.Shape.Elems() == 0:
		s.fail(fmt.Errorf("%s: have %v, want %d dimensions", name, e.Shape, rank))
		return 1
	}
	return e.Shape[i]
}

func (s *shapes) fail(err error) {
	if s.err == nil && err != nil {
		s.err = err
	}
}

func (s *shapes) has(name string) bool { _, ok := s.set.Entry(name); return ok }

// count is how many parts "prefix0.", "prefix1.", ... there are.
func (s *shapes) count(prefix string) int { return lastBlock(s.set, prefix) + 1 }

func heads(width int) int { return max(1, width/64) }

// grid is the side of a square of patches plus a class token.
func (s *shapes) grid(positions int) int {
	n := int(math.Sqrt(float64(positions-1)) + 0.5)
	if n*n != positions-1 {
		s.fail(fmt.Errorf("%d positions are no square of patches and a class token", positions))
	}
	return n
}

func (s *shapes) text(prefix string) weights.Config {
	width := s.dim(prefix+"embeddings.token_embedding.weight", 2, 1)
	vocab := s.dim(prefix+"embeddings.token_embedding.weight", 2, 0)
	c := weights.Config{
		"model_type":              "clip_text_model",
		"hidden_size":             width,
		"vocab_size":              vocab,
		"max_position_embeddings": s.dim(prefix+"embeddings.position_embedding.weight", 2, 0),
		"num_hidden_layers":       s.count(prefix + "encoder.layers."),
		"num_attention_heads":     heads(width),
		"intermediate_size":       s.dim(prefix+"encoder.layers.0.mlp.fc1.weight", 2, 0),
		"hidden_act":              "quick_gelu",
		"layer_norm_eps":          1e-5,
		"bos_token_id":            vocab - 2,
		"eos_token_id":            vocab - 1,
		"pad_token_id":            1,
	}
	if width == 1024 { // open_clip's ViT-H, in Stable Diffusion 2
		c["hidden_act"] = "gelu"
	}
	if s.has("text_projection.weight") {
		c["projection_dim"] = s.dim("text_projection.weight", 2, 0)
	} else {
		c["projection_dim"] = width
	}
	return c
}

func (s *shapes) clip() weights.Config {
	c := weights.Config{"model_type": "clip", "architectures": []string{"CLIPModel"}, "logit_scale_init_value": 2.6592}
	text := weights.Config{}
	if s.has("text_model.embeddings.token_embedding.weight") {
		text = s.text("text_model.")
	}
	const v = "vision_model."
	width := s.dim(v+"embeddings.patch_embedding.weight", 4, 0)
	patch := s.dim(v+"embeddings.patch_embedding.weight", 4, 2)
	proj := s.dim("visual_projection.weight", 2, 0)
	vision := weights.Config{
		"model_type":        "clip_vision_model",
		"hidden_size":       width,
		"num_channels":      s.dim(v+"embeddings.patch_embedding.weight", 4, 1),
		"patch_size":        patch,
		"image_size":        patch * s.grid(s.dim(v+"embeddings.position_embedding.weight", 2, 0)),
		"num_hidden_layers": s.count(v + "encoder.layers."),
		"intermediate_size": s.dim(v+"encoder.layers.0.mlp.fc1.weight", 2, 0),
		"hidden_act":        "quick_gelu",
		"layer_norm_eps":    1e-5,
		"projection_dim":    proj,
	}
	c["projection_dim"], c["text_config"], c["vision_config"] = proj, text, vision
	vision["num_attention_heads"] = s.visionHeads(width)
	model, isOpen := s.set.About[openCLIPConfig].(weights.Config)
	switch {
	case isOpen && len(model) > 0:
		s.openCLIP(model, text, vision)
	case isOpen || !s.set.About.Has(openAI):
		s.guess(text, vision, isOpen)
	}
	return c
}

// publishedHeads are the channels of a head of open_clip's vision towers, where
// they are not 64, by the tower's width: ViT-H, g, bigG and e.
var publishedHeads = map[int]int{1280: 80, 1408: 88, 1664: 104, 1792: 112}

// visionHeads is the number of heads of a vision tower without a configuration.
func (s *shapes) visionHeads(width int) int {
	head := s.assume.HeadWidth
	if head == 0 {
		head = publishedHeads[width]
	}
	if head == 0 {
		return heads(width)
	}
	if width%head != 0 {
		s.fail(fmt.Errorf("heads of %d channels do not divide %d channels", head, width))
		return 1
	}
	return width / head
}

// guess sets the activation of a CLIP without a configuration, and says so.
func (s *shapes) guess(text, vision weights.Config, open bool) {
	act, why := s.assume.Act, ""
	if act == "" {
		width, _ := vision.Int("hidden_size", 0)
		name := strings.ToLower(s.set.Origin())
		switch {
		case strings.Contains(name, "quickgelu") || strings.Contains(name, "quick_gelu"):
			act, why = "quick_gelu", "QuickGELU, by its name,"
		case open || publishedHeads[width] != 0:
			act, why = "gelu", "GELU, as in most of open_clip's models,"
		default:
			act, why = "quick_gelu", "QuickGELU, as in OpenAI's models,"
		}
	}
	text["hidden_act"], vision["hidden_act"] = act, act
	head := ""
	if s.assume.HeadWidth == 0 {
		width, _ := vision.Int("hidden_size", 0)
		n, _ := vision.Int("num_attention_heads", 1)
		if _, known := publishedHeads[width]; !known && !slices.Contains([]int{384, 512, 768, 896, 1024}, width) {
			head = fmt.Sprintf("heads of %d channels (--clip-head-width)", width/max(n, 1))
		}
	}
	switch {
	case why != "" && head != "":
		s.set.Note("%s has no configuration: %s is assumed (--clip-act), and %s", s.set.Origin(), why, head)
	case why != "":
		s.set.Note("%s has no configuration: %s is assumed (--clip-act)", s.set.Origin(), why)
	case head != "":
		s.set.Note("%s has no configuration: assumed are %s", s.set.Origin(), head)
	}
}

func (s *shapes) blip() weights.Config {
	const v, t = "vision_model.", "text_decoder.bert."
	width := s.dim(v+"embeddings.patch_embedding.weight", 4, 0)
	patch := s.dim(v+"embeddings.patch_embedding.weight", 4, 2)
	hidden := s.dim(t+"embeddings.word_embeddings.weight", 2, 1)
	vocab := s.dim(t+"embeddings.word_embeddings.weight", 2, 0)
	return weights.Config{
		"model_type": "blip", "architectures": []string{"BlipForConditionalGeneration"}, "tie_word_embeddings": true,
		"vision_config": weights.Config{
			"model_type":          "blip_vision_model",
			"hidden_size":         width,
			"patch_size":          patch,
			"image_size":          patch * s.grid(s.dim(v+"embeddings.position_embedding", 3, 1)),
			"num_hidden_layers":   s.count(v + "encoder.layers."),
			"num_attention_heads": heads(width),
			"intermediate_size":   s.dim(v+"encoder.layers.0.mlp.fc1.weight", 2, 0),
			"hidden_act":          "gelu",
			"layer_norm_eps":      1e-5, // transformers' value, not Salesforce's 1e-6
		},
		"text_config": weights.Config{
			"model_type":              "blip_text_model",
			"hidden_size":             hidden,
			"encoder_hidden_size":     s.dim(t+"encoder.layer.0.crossattention.self.key.weight", 2, 1),
			"vocab_size":              vocab,
			"max_position_embeddings": s.dim(t+"embeddings.position_embeddings.weight", 2, 0),
			"num_hidden_layers":       s.count(t + "encoder.layer."),
			"num_attention_heads":     heads(hidden),
			"intermediate_size":       s.dim(t+"encoder.layer.0.intermediate.dense.weight", 2, 0),
			"hidden_act":              "gelu",
			"layer_norm_eps":          1e-12,
			"is_decoder":              true,
			"tie_word_embeddings":     true,
			"bos_token_id":            vocab - 2, // [DEC], after which comes [ENC]
			"sep_token_id":            102,
			"eos_token_id":            2,
			"pad_token_id":            0,
		},
	}
}

func (s *shapes) unet() weights.Config {
	levels := s.count("down_blocks.")
	var channels, dims []int
	var down, up []string
	cross, linear := 0, false
	for i := range levels {
		p := fmt.Sprintf("down_blocks.%d.", i)
		ch := s.dim(p+"resnets.0.conv1.weight", 4, 0)
		channels = append(channels, ch)
		dims = append(dims, heads(ch))
		kind := "DownBlock2D"
		if q := p + "attentions.0."; s.has(q + "proj_in.weight") {
			kind = "CrossAttnDownBlock2D"
			cross = s.dim(q+"transformer_blocks.0.attn2.to_k.weight", 2, 1)
			e, _ := s.set.Entry(q + "proj_in.weight")
			linear = len(e.Shape) == 2
		}
		down = append(down, kind)
		kind = "UpBlock2D"
		if s.has(fmt.Sprintf("up_blocks.%d.attentions.0.proj_in.weight", i)) {
			kind = "CrossAttnUpBlock2D"
		}
		up = append(up, kind)
	}
	if levels == 0 {
		s.fail(fmt.Errorf("no down_blocks"))
	}
	c := weights.Config{
		"_class_name":           "UNet2DConditionModel",
		"in_channels":           s.dim("conv_in.weight", 4, 1),
		"out_channels":          s.dim("conv_out.weight", 4, 0),
		"block_out_channels":    channels,
		"layers_per_block":      s.count("down_blocks.0.resnets."),
		"down_block_types":      down,
		"up_block_types":        up,
		"mid_block_type":        s.middle(),
		"cross_attention_dim":   cross,
		"use_linear_projection": linear,
		"attention_head_dim":    any(8),
		"norm_num_groups":       groups(channels),
		"norm_eps":              1e-5,
		"act_fn":                "silu",
		"flip_sin_to_cos":       true,
		"freq_shift":            0,
		"downsample_padding":    1,
		"sample_size":           64,
	}
	if s.assume.prediction(s.set, cross) == "v_prediction" {
		c["sample_size"] = 96 // the 768 pixels that these were trained on
	}
	if linear {
		c["attention_head_dim"] = dims
	}
	if name := "time_embedding.cond_proj.weight"; s.has(name) {
		c["time_cond_proj_dim"] = s.dim(name, 2, 1)
	}
	return c
}

// middle is the type of the UNet's middle block; distilled ones have none.
func (s *shapes) middle() any {
	switch {
	case s.has("mid_block.attentions.0.proj_in.weight"):
		return "UNetMidBlock2DCrossAttn"
	case s.has("mid_block.resnets.0.conv1.weight"):
		return "UNetMidBlock2D"
	}
	return nil
}

// groups is 32, or for a toy the most of 16, 8, 4, 2, 1 that divides all.
func groups(channels []int) int {
	for g := 32; g > 1; g /= 2 {
		fits := true
		for _, c := range channels {
			fits = fits && c%g == 0
		}
		if fits {
			return g
		}
	}
	return 1
}

func (s *shapes) vae() weights.Config {
	levels := s.count("encoder.down_blocks.")
	var channels []int
	var down, up []string
	for i := range levels {
		channels = append(channels, s.dim(fmt.Sprintf("encoder.down_blocks.%d.resnets.0.conv1.weight", i), 4, 0))
		down = append(down, "DownEncoderBlock2D")
		up = append(up, "UpDecoderBlock2D")
	}
	if levels == 0 {
		s.fail(fmt.Errorf("no encoder.down_blocks"))
	}
	return weights.Config{
		"_class_name":             "AutoencoderKL",
		"in_channels":             s.dim("encoder.conv_in.weight", 4, 1),
		"out_channels":            s.dim("decoder.conv_out.weight", 4, 0),
		"latent_channels":         s.dim("decoder.conv_in.weight", 4, 1),
		"block_out_channels":      channels,
		"layers_per_block":        s.count("encoder.down_blocks.0.resnets."),
		"down_block_types":        down,
		"up_block_types":          up,
		"norm_num_groups":         groups(channels),
		"act_fn":                  "silu",
		"sample_size":             512,
		"scaling_factor":          0.18215,
		"use_quant_conv":          s.has("quant_conv.weight"),
		"use_post_quant_conv":     s.has("post_quant_conv.weight"),
		"mid_block_add_attention": s.has("decoder.mid_block.attentions.0.to_q.weight"),
	}
}

// predictionType is the key of what a UNet predicts, where it is told, in what
// is known about a set.
const predictionType = "prediction_type"

// Steps of the trainings of Stable Diffusion 2's base models, 2.0 and 2.1.
const base20, base21 = 875000, 220000

// prediction is what a UNet predicts: noise in Stable Diffusion 1, v in 2 but
// for its base models. Tensors do not say which of the two they are: diffusers
// takes v, too, where the step of the training does not say that it was the
// base model of 2.0. Files in safetensors have no step; some have marks.
func (a Assume) prediction(unet *weights.Set, cross int) string {
	if a.Prediction != "" {
		return a.Prediction
	}
	if p, err := unet.About.String(predictionType, ""); err == nil && p != "" {
		return p
	}
	step, _ := unet.About.Int("global_step", 0)
	if cross != 1024 || step == base20 || step == base21 {
		return "epsilon"
	}
	unet.Note("%s does not say what its UNet predicts: "+
		"v_prediction is assumed, as in all of Stable Diffusion 2 but its base models (--prediction)", unet.Origin())
	return "v_prediction"
}

// InferScheduler is Assume.Scheduler with nothing assumed.
func InferScheduler(unet *weights.Set) weights.Config { return Assume{}.Scheduler(unet) }

// Scheduler is the noise schedule of Stable Diffusion 1 and 2, for a UNet that
// comes without one. One that was trained to the end of the schedule gets DDIM,
// since PNDM knows no such thing.
func (a Assume) Scheduler(unet *weights.Set) weights.Config {
	cross := 0
	for _, e := range unet.Entries() {
		if strings.HasSuffix(e.Name, ".attn2.to_k.weight") && len(e.Shape) == 2 {
			cross = e.Shape[1]
		}
	}
	c := weights.Config{
		"_class_name": "PNDMScheduler", "num_train_timesteps": 1000,
		"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
		"skip_prk_steps": true, "set_alpha_to_one": false, "steps_offset": 1, "clip_sample": false,
		predictionType: a.prediction(unet, cross),
	}
	if zero, _ := unet.About.Bool(zeroSNR, false); zero {
		c["_class_name"], c[zeroSNR], c["timestep_spacing"] = "DDIMScheduler", true, "trailing"
		delete(c, "skip_prk_steps")
	}
	return c
}
