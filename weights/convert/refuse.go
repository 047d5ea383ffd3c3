package convert

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"parley/weights"
)

// TaskError says that a checkpoint is known, and not for what Parley does.
type TaskError struct {
	File string
	What string // "a BLIP for visual question answering"
	Want string // what is read of its kind
}

func (e *TaskError) Error() string {
	return fmt.Sprintf("%s is %s; %s", e.File, e.What, e.Want)
}

// What is read, by kind.
const (
	onlyCaptioners = "of BLIP only captioners are read (BlipForConditionalGeneration, model_base_caption)"
	onlyCLIP       = "of CLIP only OpenAI's and open_clip's with plain vision transformers are read"
	onlySD         = "only Stable Diffusion 1 and 2 that draw from text alone are read"
)

// names asks for the names of a set.
type names struct{ *weights.Set }

func (n names) has(name string) bool { _, ok := n.Entry(name); return ok }

func (n names) under(prefix string) bool {
	i := sort.SearchStrings(n.Names(), prefix)
	return i < n.Len() && strings.HasPrefix(n.Names()[i], prefix)
}

func (n names) ends(suffixes ...string) bool {
	for _, name := range n.Names() {
		for _, s := range suffixes {
			if strings.HasSuffix(name, s) {
				return true
			}
		}
	}
	return false
}

// channels are the inputs of a convolution, 0 without it.
func (n names) channels(name string) int {
	e, ok := n.Entry(name)
	if !ok || len(e.Shape) != 4 {
		return 0
	}
	return e.Shape[1]
}

// loraName is what the tensors of changes of low rank are called, by kohya's
// scripts, peft, diffusers and LyCORIS.
var loraName = regexp.MustCompile(`^lora_(unet|te\d*)_|\.lora_(up|down|A|B)\b|\.lora\.(up|down)\.|` +
	`\.(hada_w[12]_[ab]|lokr_w[12])|_lora\.(up|down)\.`)

// refuse names checkpoints of other kinds and tasks by what tells them apart.
func refuse(set *weights.Set) error {
	in := names{set}
	err := func(what, want string) error { return &TaskError{set.Origin(), what, want} }
	for _, name := range set.Names() {
		if loraName.MatchString(name) {
			return err("a LoRA, low-rank changes to a model and no model", "merge it into its model first")
		}
	}
	if a := set.Metadata["modelspec.architecture"]; strings.Contains(a, "/lora") || strings.Contains(a, "/textual-inversion") {
		return err("made as "+a+", no model of its own", "merge it into its model first")
	}
	blipVision := in.under("visual_encoder.blocks.") || in.under("vision_model.encoder.layers.0.self_attn.qkv.")
	switch {
	case in.under("qformer.") || in.under("Qformer."):
		return err("a BLIP-2 or InstructBLIP", onlyCaptioners)
	case blipVision && in.ends("crossattention.self0.query.weight"):
		return err("a BLIP for natural language visual reasoning (NLVR2)", onlyCaptioners)
	case blipVision && in.under("text_decoder.") && in.under("text_encoder.") && !in.under("itm_head.") && !in.under("vision_proj."):
		return err("a BLIP for visual question answering, whose decoder looks at a question and not at the picture", onlyCaptioners)
	case blipVision && in.under("text_decoder."):
		return nil // a captioner, perhaps with what its pretraining had beside it
	case blipVision && in.under("text_encoder."):
		return err("a BLIP for retrieval, which matches texts and pictures", onlyCaptioners)
	case blipVision:
		return err("a BLIP for feature extraction (BlipModel) or its vision tower alone", onlyCaptioners)

	case in.under("visual.layer1."):
		return err("a CLIP with a ResNet", onlyCLIP)
	case in.under("visual.trunk."), in.under("image_encoder.trunk."):
		return err("a CLIP whose vision tower is of timm (SigLIP, EVA, ConvNeXt, MobileCLIP)", onlyCLIP)
	case in.under("vision_model.head."):
		return err("a SigLIP", onlyCLIP)
	case in.under("visual.attn_pool."), in.under("visual.conv1.") && in.under("text_decoder."):
		return err("a CoCa", onlyCLIP)
	case in.has("visual.conv1.weight") && in.under("text.transformer.") && !in.under("text.transformer.resblocks."),
		in.under("vision_model.") && (in.under("text_model.encoder.layer.") || in.under("roberta.")):
		return err("a CLIP whose text tower is a BERT, RoBERTa or T5", onlyCLIP)
	case in.under("visual.blocks."):
		return err("an EVA-CLIP", onlyCLIP)

	case in.under("conditioner.embedders."), in.under(ldm + "label_emb."), in.under("add_embedding."):
		return err("a Stable Diffusion XL checkpoint", onlySD)
	case in.under(ldm + "joint_blocks."), in.under("joint_blocks."), in.under("transformer_blocks.0.attn.add_k_proj."):
		return err("a Stable Diffusion 3", onlySD)
	case in.under(ldm + "double_blocks."), in.under("double_blocks."), in.under("single_transformer_blocks."):
		return err("a Flux", onlySD)
	case in.under("control_model."), in.under("controlnet_cond_embedding."), in.has("input_hint_block.0.weight"):
		return err("a ControlNet, which steers a model and is none", onlySD)
	case in.has("emb_params"), in.under("string_to_param"), set.Len() == 1 && strings.HasPrefix(set.Names()[0], "<"):
		return err("a textual inversion, an embedding of a word and no model", onlySD)
	case in.has("edm_vpred.sigma_max"), in.has("edm_mean"):
		return err("a UNet trained with EDM's preconditioning", onlySD)
	case in.under("depth_model."):
		return err("a Stable Diffusion that draws by depth (depth2img)", onlySD)
	case in.under("low_scale_model."):
		return err("an upscaler", onlySD)
	}
	for _, name := range []string{ldm + "input_blocks.0.0.weight", "input_blocks.0.0.weight", "conv_in.weight"} {
		if name == "conv_in.weight" && !in.under("time_embedding.") {
			continue // an autoencoder's
		}
		switch in.channels(name) {
		case 9:
			return err("an inpainting checkpoint: its UNet takes a mask and a picture beside the latents (9 channels)", onlySD)
		case 8:
			return err("an InstructPix2Pix: its UNet takes a picture beside the latents (8 channels)", onlySD)
		case 7:
			return err("an upscaler: its UNet takes a picture beside the latents (7 channels)", onlySD)
		case 5:
			return err("a Stable Diffusion that draws by depth (depth2img): its UNet takes a map beside the latents (5 channels)", onlySD)
		}
	}
	return nil
}

// marks keeps what a checkpoint says of itself beside its weights: the empty
// tensors v_pred and ztsnr, and what Stability's ModelSpec says in the header of
// a safetensors file.
func (c *converter) marks() {
	in := names{c.set}
	meta := c.set.Metadata
	switch p := strings.ToLower(meta["modelspec.prediction_type"]); p {
	case "v", "v_prediction":
		c.about[predictionType] = "v_prediction"
	case "epsilon", "eps":
		c.about[predictionType] = "epsilon"
	case "":
		switch meta["modelspec.architecture"] {
		case "stable-diffusion-v2-768-v":
			c.about[predictionType] = "v_prediction"
		case "stable-diffusion-v1", "stable-diffusion-v2-512":
			c.about[predictionType] = "epsilon"
		}
	}
	if in.has("v_pred") {
		c.about[predictionType] = "v_prediction"
	}
	if in.has("ztsnr") {
		c.about[zeroSNR] = true
	}
}

// zeroSNR is the key of whether a UNet was trained to the end of the noise
// schedule (arXiv 2305.08891), in what is known about a set.
const zeroSNR = "rescale_betas_zero_snr"
