package main

import (
	"strings"

	"github.com/spf13/cobra"

	"parley/nets/models"
	"parley/nets/schedule"
	"parley/weights/convert"
)

// drawFlags are the options of drawing; zero means the model's own. Their ranges
// are in limits.
type drawFlags struct {
	steps, width, height int
	guidance             float64
	scheduler, negative  string
}

func (f *drawFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.steps, "steps", 0, "denoising steps (50; the miniature model 12)")
	c.Flags().Float64Var(&f.guidance, "guidance", -1, "guidance scale (7.5; the miniature model 4)")
	c.Flags().StringVar(&f.scheduler, "scheduler", "", strings.Join(schedule.Kinds, ", ")+" (the checkpoint's)")
	c.Flags().IntVar(&f.width, "width", 0, "pixels (the model's)")
	c.Flags().IntVar(&f.height, "height", 0, "pixels (the model's)")
}

func (f *drawFlags) addNegative(c *cobra.Command) {
	c.Flags().StringVar(&f.negative, "negative", "", "negative prompt: what to stay away from")
}

// addPrediction is what goes to both the checkpoint and the sampler.
func (a *app) addPrediction(c *cobra.Command) {
	c.Flags().StringVar(&a.assume.Prediction, "prediction", "", "what Stable Diffusion's UNet predicts: "+strings.Join(convert.Predictions, ", ")+" (the checkpoint's)")
}

// options are the model's own with what the flags say.
func (f *drawFlags) options(a *app, c *cobra.Command, o models.DrawOptions) models.DrawOptions {
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
	o.Negative, o.Prediction = f.negative, a.assume.Prediction
	return o
}

// captionFlags are the options of describing.
type captionFlags struct {
	beam, low, high, topK     int
	topP, temperature, repeat float64
	prompt                    string
	keep                      bool
}

func (f *captionFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.beam, "beam", 0, "beam search of this width; 1 is greedy (3 for one caption, sampling for more)")
	c.Flags().Float64Var(&f.topP, "top-p", 0.9, "sample from the likeliest tokens with this probability")
	c.Flags().IntVar(&f.topK, "top-k", 0, "sample from so many tokens (all)")
	c.Flags().Float64Var(&f.temperature, "temperature", 1, "of sampling: above 1 is bolder")
	c.Flags().Float64Var(&f.repeat, "repetition-penalty", 1.1, "above 1 discourages tokens that are there (1 with --beam)")
	c.Flags().IntVar(&f.low, "min-length", 5, "tokens at least, the prompt's included")
	c.Flags().IntVar(&f.high, "max-length", 20, "tokens at most, the prompt's included")
	c.Flags().StringVar(&f.prompt, "prompt", "a picture of ", "what captions begin with; it is left out of them unless --keep-prompt is set")
	c.Flags().BoolVar(&f.keep, "keep-prompt", false, "captions keep the prompt that they begin with")
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
	o.Prompt, o.KeepPrompt, o.MinLength, o.MaxLength = f.prompt, f.keep, f.low, f.high
	return o
}
