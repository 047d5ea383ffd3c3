package main

import (
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/schedule"
	"parley/weights/convert"
)

// drawFlags are the options of drawing; zero means the model's own.
type drawFlags struct {
	steps, width, height int
	guidance             float64
	scheduler, negative  string
	prediction, tiling   string
}

func (f *drawFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.steps, "steps", 0, "denoising steps (50; the miniature model 12)")
	c.Flags().Float64Var(&f.guidance, "guidance", -1, "guidance scale (7.5; the miniature model 4)")
	c.Flags().StringVar(&f.scheduler, "scheduler", "", strings.Join(schedule.Kinds, ", ")+" (the checkpoint's)")
	c.Flags().IntVar(&f.width, "width", 0, "pixels (the model's)")
	c.Flags().IntVar(&f.height, "height", 0, "pixels (the model's)")
	c.Flags().StringVar(&f.negative, "negative", "", "negative prompt: what to stay away from")
	c.Flags().StringVar(&f.tiling, "vae-tiling", "auto", "decode in tiles, in less memory, to a picture that differs a little: "+strings.Join(diffusion.Tilings(), ", ")+" (auto: where the whole does not fit)")
	addPrediction(c, &f.prediction)
}

func addPrediction(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "prediction", "", "what Stable Diffusion's UNet predicts: "+strings.Join(convert.Predictions, ", ")+" (the checkpoint's)")
}

func checkPrediction(p string) error {
	if p != "" && !slices.Contains(convert.Predictions, p) {
		return usage("--prediction %s: choose one of %s", p, strings.Join(convert.Predictions, ", "))
	}
	return nil
}

// check says what no model can do, before one is loaded.
func (f *drawFlags) check(c *cobra.Command) error {
	changed := c.Flags().Changed
	switch {
	case changed("steps") && f.steps < 1:
		return usage("--steps %d: at least 1 is needed", f.steps)
	case changed("guidance") && !(f.guidance >= 0 && f.guidance <= math.MaxFloat32):
		return usage("--guidance %v: want 0 or more", f.guidance)
	case f.scheduler != "" && !slices.Contains(schedule.Kinds, f.scheduler):
		return usage("--scheduler %s: choose one of %s", f.scheduler, strings.Join(schedule.Kinds, ", "))
	case !slices.Contains(diffusion.Tilings(), f.tiling):
		return usage("--vae-tiling %s: choose one of %s", f.tiling, strings.Join(diffusion.Tilings(), ", "))
	case changed("width") && f.width < 1 || changed("height") && f.height < 1:
		return usage("%d x %d pixels: want 1 or more", f.width, f.height)
	}
	return checkPrediction(f.prediction)
}

// options are the model's own with what the flags say.
func (f *drawFlags) options(c *cobra.Command, o models.DrawOptions) models.DrawOptions {
	changed := c.Flags().Changed
	if changed("steps") {
		o.Steps = f.steps
	}
	if changed("guidance") {
		o.Guidance = f.guidance
	}
	if changed("scheduler") {
		o.Scheduler = f.scheduler
	}
	if changed("width") {
		o.Width = f.width
	}
	if changed("height") {
		o.Height = f.height
	}
	o.Negative, o.Prediction, o.Tiling = f.negative, f.prediction, diffusion.Tiling(f.tiling)
	return o
}

// captionFlags are the options of describing.
type captionFlags struct {
	beam, low, high, topK     int
	topP, temperature, repeat float64
	prompt                    string
}

func (f *captionFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.beam, "beam", 0, "beam search of this width; 1 is greedy (3 for one caption, sampling for more)")
	c.Flags().Float64Var(&f.topP, "top-p", 0.9, "sample from the likeliest tokens with this probability")
	c.Flags().IntVar(&f.topK, "top-k", 0, "sample from so many tokens (all)")
	c.Flags().Float64Var(&f.temperature, "temperature", 1, "of sampling: above 1 is bolder")
	c.Flags().Float64Var(&f.repeat, "repetition-penalty", 1.1, "above 1 discourages tokens that are there (1 with --beam)")
	c.Flags().IntVar(&f.low, "min-length", 5, "tokens at least, the prompt's included")
	c.Flags().IntVar(&f.high, "max-length", 20, "tokens at most, the prompt's included")
	c.Flags().StringVar(&f.prompt, "prompt", "a picture of ", "what captions begin with")
}

// check says what no model can do, before one is loaded.
func (f *captionFlags) check() error {
	switch {
	case f.beam < 0 || f.topK < 0 || f.low < 0 || f.high < 0:
		return usage("--beam %d --top-k %d --min-length %d --max-length %d: none may be negative", f.beam, f.topK, f.low, f.high)
	case !(f.topP > 0 && f.topP <= 1):
		return usage("--top-p %v: want more than 0, at most 1", f.topP)
	case !(f.temperature > 0 && f.temperature <= math.MaxFloat32):
		return usage("--temperature %v: want more than 0", f.temperature)
	case !(f.repeat > 0 && f.repeat <= math.MaxFloat32):
		return usage("--repetition-penalty %v: want more than 0", f.repeat)
	}
	return nil
}

// options choose between beam search and sampling; search says which where no
// flag does.
func (f *captionFlags) options(cmd *cobra.Command, search bool) models.CaptionOptions {
	for _, flag := range []string{"top-p", "top-k", "temperature"} {
		search = search && !cmd.Flags().Changed(flag)
	}
	o := models.Nucleus()
	o.TopP, o.TopK, o.Temperature, o.RepetitionPenalty = f.topP, f.topK, f.temperature, f.repeat
	if f.beam > 0 || search {
		o = models.Beam()
		if f.beam > 0 {
			o.Beams = f.beam
		}
		if cmd.Flags().Changed("repetition-penalty") {
			o.RepetitionPenalty = f.repeat
		}
	}
	o.Prompt, o.MinLength, o.MaxLength = f.prompt, f.low, f.high
	return o
}
