package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/schedule"
	"parley/weights/convert"
	"parley/weights/inversion"
	"parley/weights/vocab"
)

// drawFlags are the options of drawing; zero means the model's own. Their ranges
// are in limits.
type drawFlags struct {
	steps, width, height int
	guidance             float64
	scheduler, negative  string
	tiling               string
	skip                 int
}

func (f *drawFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.steps, "steps", 0, "denoising steps (50; 4 of an LCM's UNet; the miniature model 12)")
	c.Flags().Float64Var(&f.guidance, "guidance", -1, "guidance scale (7.5; 8.5 of an LCM's UNet; the miniature model 4)")
	c.Flags().StringVar(&f.scheduler, "scheduler", "", strings.Join(schedule.Kinds, ", ")+" (the checkpoint's)")
	c.Flags().IntVar(&f.width, "width", 0, "pixels (the model's)")
	c.Flags().IntVar(&f.height, "height", 0, "pixels (the model's)")
	c.Flags().StringVar(&f.tiling, "vae-tiling", "auto",
		"decode in tiles, in less memory, to a picture that differs a little: "+strings.Join(diffusion.Tilings(),
			", ")+" (auto: where the whole does not fit)")
	c.Flags().IntVar(&f.skip, "clip-skip", 0, "last layers of the text encoder to leave out, as diffusers counts: 1 is what the webui calls 2")
}

// addNegative is for who draws from texts.
func (f *drawFlags) addNegative(c *cobra.Command) {
	c.Flags().StringVar(&f.negative, "negative", "", "negative prompt: what to stay away from")
}

// addPrediction is what goes to both the checkpoint and the sampler.
func (a *app) addPrediction(c *cobra.Command) {
	c.Flags().StringVar(&a.assume.Prediction, "prediction", "", "what Stable Diffusion's UNet predicts: "+strings.Join(convert.Predictions,
		", ")+" (the checkpoint's)")
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
	o.Negative, o.Prediction, o.Tiling = f.negative, a.assume.Prediction, diffusion.Tiling(f.tiling)
	o.ClipSkip = f.skip
	return o
}

// promptFlags are what texts and nets of drawing can be changed by.
type promptFlags struct {
	long, vae  string
	embeddings []string
}

func (f *promptFlags) add(a *app, c *cobra.Command) {
	c.Flags().StringVar(&f.long, "long-prompt", "cut", "what a prompt beyond the text encoder's tokens becomes: cut, with a word about it; "+
		"or chunks, with weights as (word:1.3), [word] and BREAK, as AUTOMATIC1111's webui reads them")
	c.Flags().StringVar(&f.vae, "vae", "", "another autoencoder: a folder or file of one, or a whole checkpoint")
	c.Flags().StringArrayVar(&f.embeddings, "embedding", nil, "[NAME=]FILE of textual inversion; may be repeated")
	addClean(a, c)
}

// addClean is the flag of what happens to texts before CLIP's words are looked for.
func addClean(a *app, c *cobra.Command) {
	c.Flags().StringVar((*string)(&a.clean), "clean", "", "what is done to texts before CLIP's words are looked for: "+cleanings()+" (the "+
		"checkpoint's: transformers, openai of OpenAI's files, lower of open_clip's)")
}

func cleanings() string {
	var names []string
	for _, c := range vocab.Cleanings() {
		names = append(names, string(c))
	}
	return strings.Join(names, ", ")
}

// extras reads the files that the flags name.
func (f *promptFlags) extras() (x models.Extras, err error) {
	if f.vae != "" {
		path, err := found(f.vae)
		if err != nil {
			return x, fmt.Errorf("--vae: %w", err)
		}
		src, err := models.At(path)
		if err != nil {
			return x, fmt.Errorf("--vae: %w", err)
		}
		x.VAE = &src
	}
	for _, e := range f.embeddings {
		name, file, named := strings.Cut(e, "=")
		if !named {
			name, file = "", e
		} else if name == "" {
			return x, usage("--embedding %s: want a name before =", e)
		}
		v, err := inversion.Open(file, name)
		if err != nil {
			return x, fmt.Errorf("--embedding: %w", err)
		}
		x.Embeddings = append(x.Embeddings, v)
	}
	return x, nil
}

// lost tells of a text of which a text encoder sees a part alone, and returns the
// rest. more is how all of it is taken, where there is a way.
func (a *app) lost(cmd *cobra.Command, lost func(context.Context, string) (string, error), what, text, more string) (string, error) {
	rest, err := lost(cmd.Context(), text)
	if cmd.Context().Err() != nil {
		return "", nil // the work itself says that it was stopped
	}
	if err == nil && strings.TrimSpace(rest) != "" {
		a.note(fmt.Sprintf("%s is longer than the text encoder takes, and is cut before %q%s", what, rest, more))
		return rest, nil
	}
	return "", err
}

// inChunks is what takes all of a prompt.
const inChunks = "; --long-prompt chunks takes all of it"

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
