package convert

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"parley/weights"
)

// Pipeline is what a model_index.json says.
type Pipeline struct {
	File      string
	Scheduler string // the class of the scheduler; "" where it is not said
}

// otherPipelines are diffusers' pipelines of Stable Diffusion that ask for more
// than a text, and what they are.
var otherPipelines = map[string]string{
	"StableDiffusionInpaintPipeline":           "an inpainting checkpoint",
	"StableDiffusionInpaintPipelineLegacy":     "an inpainting checkpoint",
	"StableDiffusionInstructPix2PixPipeline":   "an InstructPix2Pix",
	"StableDiffusionDepth2ImgPipeline":         "a Stable Diffusion that draws by depth (depth2img)",
	"StableDiffusionUpscalePipeline":           "an upscaler",
	"StableDiffusionLatentUpscalePipeline":     "an upscaler",
	"StableDiffusionImageVariationPipeline":    "a Stable Diffusion that varies pictures",
	"StableUnCLIPPipeline":                     "a Stable unCLIP",
	"StableUnCLIPImg2ImgPipeline":              "a Stable unCLIP",
	"StableDiffusionControlNetPipeline":        "a Stable Diffusion with a ControlNet",
	"StableDiffusionGLIGENPipeline":            "a GLIGEN",
	"StableDiffusionXLPipeline":                "a Stable Diffusion XL checkpoint",
	"StableDiffusionXLImg2ImgPipeline":         "a Stable Diffusion XL checkpoint",
	"StableDiffusionXLInpaintPipeline":         "a Stable Diffusion XL checkpoint",
	"StableDiffusion3Pipeline":                 "a Stable Diffusion 3",
	"FluxPipeline":                             "a Flux",
	"AnimateDiffPipeline":                      "an AnimateDiff, which draws videos",
	"TextToVideoSDPipeline":                    "a model of videos",
	"WuerstchenDecoderPipeline":                "a Wuerstchen",
	"KandinskyPipeline":                        "a Kandinsky",
	"PixArtAlphaPipeline":                      "a PixArt",
	"LDMTextToImagePipeline":                   "a latent diffusion with a BERT",
	"StableDiffusionPipelineSafe":              "a Safe Stable Diffusion, which steers with a text of its own",
	"OnnxStableDiffusionPipeline":              "a folder for ONNX Runtime",
	"FlaxStableDiffusionPipeline":              "a folder for Flax",
	"StableDiffusionLDM3DPipeline":             "an LDM3D, which draws depth, too",
	"StableDiffusionAdapterPipeline":           "a Stable Diffusion with a T2I adapter",
	"PaintByExamplePipeline":                   "a Paint by Example",
	"AltDiffusionPipeline":                     "an AltDiffusion, whose texts a RoBERTa reads",
	"VersatileDiffusionPipeline":               "a Versatile Diffusion",
	"StableDiffusionControlNetInpaintPipeline": "a Stable Diffusion with a ControlNet",
	"StableDiffusionControlNetImg2ImgPipeline": "a Stable Diffusion with a ControlNet",
	"StableDiffusionXLInstructPix2PixPipeline": "an InstructPix2Pix of Stable Diffusion XL",
	"StableDiffusionXLControlNetPipeline":      "a Stable Diffusion XL checkpoint",
	"StableDiffusionGLIGENTextImagePipeline":   "a GLIGEN",
	"StableVideoDiffusionPipeline":             "a model of videos",
	"StableCascadeDecoderPipeline":             "a Stable Cascade",
}

// classes are those of a pipeline's parts that are read.
var classes = map[string][]string{
	UNet:        {"UNet2DConditionModel"},
	VAE:         {"AutoencoderKL"},
	TextEncoder: {"CLIPTextModel", "CLIPTextModelWithProjection"},
	"tokenizer": {"CLIPTokenizer", "CLIPTokenizerFast"},
}

// ReadPipeline reads the model_index.json of a folder, and refuses by name a
// pipeline, or a part of one, that is none of Stable Diffusion's that draw from
// text alone. Without the file the Pipeline is empty.
func ReadPipeline(fsys fs.FS, dir string) (Pipeline, error) {
	c, err := weights.ReadConfig(fsys, path.Join(dir, "model_index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return Pipeline{}, nil
	}
	if err != nil {
		return Pipeline{}, err
	}
	p := Pipeline{File: c.File()}
	class, err := c.String("_class_name", "StableDiffusionPipeline")
	if err != nil {
		return p, err
	}
	if what := otherPipelines[class]; what != "" {
		return p, &TaskError{p.File, fmt.Sprintf("of %s (%s)", what, class), onlySD}
	}
	for part, known := range classes {
		class, err := partClass(c, part)
		if err != nil {
			return p, err
		}
		if class != "" && !slices.Contains(known, class) {
			return p, &TaskError{p.File, fmt.Sprintf("of a pipeline whose %s is a %s, not a %s", part, class, known[0]), onlySD}
		}
	}
	for _, part := range []string{"controlnet", "image_encoder", "text_encoder_2", "depth_estimator", "motion_adapter"} {
		class, err := partClass(c, part)
		if err != nil {
			return p, err
		}
		if class != "" && (part != "image_encoder" || class != "CLIPVisionModelWithProjection") {
			return p, &TaskError{p.File, fmt.Sprintf("of a pipeline with a %s (%s)", part, class), onlySD}
		}
	}
	p.Scheduler, err = partClass(c, "scheduler")
	return p, err
}

// partClass is the class of a part, from a pair of its library and its class; ""
// where there is none.
func partClass(c weights.Config, part string) (string, error) {
	if !c.Has(part) {
		return "", nil
	}
	if list, ok := c[part].([]any); ok && len(list) == 2 && list[1] == nil {
		return "", nil
	}
	pair, err := c.Strings(part, nil)
	if err != nil {
		return "", err
	}
	return pair[len(pair)-1], nil
}

// Complete puts into a scheduler's configuration what the pipeline says of its
// class, which goes first, and what Stable Diffusion's pipeline in diffusers
// forces whatever the scheduler's file says or leaves out.
func (p Pipeline) Complete(scheduler weights.Config) {
	if p.Scheduler != "" {
		scheduler["_class_name"] = p.Scheduler
	}
	scheduler["steps_offset"], scheduler["clip_sample"] = 1, false
}

// modelIndex is the model_index.json of a Stable Diffusion folder.
func modelIndex(scheduler weights.Config) weights.Config {
	c := weights.Config{"_class_name": "StableDiffusionPipeline", "requires_safety_checker": false}
	for part := range classes {
		library := "diffusers"
		if part == TextEncoder || part == "tokenizer" {
			library = "transformers"
		}
		c[part] = []string{library, classes[part][0]}
	}
	c["scheduler"] = []any{"diffusers", scheduler["_class_name"]}
	for _, part := range []string{"safety_checker", "feature_extractor"} {
		c[part] = []any{nil, nil}
	}
	return c
}
