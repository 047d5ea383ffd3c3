package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/schedule"
	"parley/weights/convert"
)

// app is what all commands share: the global flags, and the device.
type app struct {
	noted                          []string // see note
	out, errs                      io.Writer
	json                           bool
	models, blip, sd, clip, device string
	precision                      string
	threads                        int
	dev                            engine.Device
}

// mostK is how many captions or drawings of one source can be asked for.
const mostK = 10000

func (a *app) open() (engine.Device, error) { return a.openWith(models.DeviceOptions{}) }

func (a *app) openWith(o models.DeviceOptions) (engine.Device, error) {
	if a.dev != nil {
		return a.dev, nil
	}
	if a.precision != "" {
		if _, err := host.ParsePrecision(a.precision); err != nil {
			return nil, usage("--precision: %w", err)
		}
	}
	o.Threads, o.Precision = a.threads, a.precision
	d, err := models.OpenDevice(a.device, o)
	var unknown *models.UnknownDeviceError
	if errors.As(err, &unknown) || a.threads < 0 {
		return nil, usageError{err}
	}
	a.dev = d
	return d, err
}

// source is where one of the models lies.
func (a *app) source(name, own string) (models.Source, error) {
	flag := "--" + name
	if own == "" {
		if a.models == "" {
			return models.Embedded(name), nil
		}
		own, flag = filepath.Join(a.models, name), "--models"
	}
	src, err := models.At(own)
	if err != nil {
		return src, fmt.Errorf("%s: %w", flag, err)
	}
	src.Note = a.note
	return src, nil
}

// note tells once what was guessed about a checkpoint.
func (a *app) note(text string) {
	if !slices.Contains(a.noted, text) {
		a.noted = append(a.noted, text)
		fmt.Fprintf(a.errs, "parley: %s\n", text)
	}
}

func (a *app) captioner() (*models.Captioner, error) {
	dev, err := a.open()
	if err != nil {
		return nil, err
	}
	src, err := a.source("blip", a.blip)
	if err != nil {
		return nil, err
	}
	return models.OpenCaptioner(src, dev)
}

func (a *app) painter() (*models.Painter, error) {
	dev, err := a.open()
	if err != nil {
		return nil, err
	}
	src, err := a.source("sd", a.sd)
	if err != nil {
		return nil, err
	}
	return models.OpenPainter(src, dev)
}

func (a *app) judge(pooled bool) (*models.Judge, error) {
	dev, err := a.open()
	if err != nil {
		return nil, err
	}
	src, err := a.source("clip", a.clip)
	if err != nil {
		return nil, err
	}
	j, err := models.OpenJudge(src, dev)
	if err == nil {
		j.Pooled = pooled
	}
	return j, err
}

func (a *app) print(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// plain is a text as a terminal may show it: quoted where it has characters
// that would move the cursor, break a table or turn the direction of a line.
func plain(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
	}) {
		return strconv.Quote(s)
	}
	return s
}

// terminal reports whether people look at what is written to w.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progress shows a bar on a terminal, nothing elsewhere.
func (a *app) progress(what string) func(done, total int) {
	if !terminal(a.errs) {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(done, total int) {
		if bar == nil {
			bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(a.errs), progressbar.OptionSetDescription(what),
				progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true))
		}
		_ = bar.Set(done)
		if done == total {
			bar = nil
		}
	}
}

// paintFlags are the options of drawing; zero means the model's own.
type paintFlags struct {
	steps, width, height int
	guidance             float64
	scheduler, negative  string
	prediction           string
}

func (f *paintFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.steps, "steps", 0, "denoising steps (50; the miniature model 12)")
	c.Flags().Float64Var(&f.guidance, "guidance", -1, "guidance scale (7.5; the miniature model 4)")
	c.Flags().StringVar(&f.scheduler, "scheduler", "", strings.Join(schedule.Kinds, ", ")+" (the checkpoint's)")
	c.Flags().IntVar(&f.width, "width", 0, "pixels (the model's)")
	c.Flags().IntVar(&f.height, "height", 0, "pixels (the model's)")
	c.Flags().StringVar(&f.negative, "negative", "", "text to stay away from")
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
func (f *paintFlags) check(c *cobra.Command) error {
	changed := c.Flags().Changed
	switch {
	case changed("steps") && f.steps < 1:
		return usage("--steps %d: at least 1 is needed", f.steps)
	case changed("guidance") && !(f.guidance >= 0 && f.guidance <= math.MaxFloat32):
		return usage("--guidance %v: want 0 or more", f.guidance)
	case f.scheduler != "" && !slices.Contains(schedule.Kinds, f.scheduler):
		return usage("--scheduler %s: choose one of %s", f.scheduler, strings.Join(schedule.Kinds, ", "))
	case changed("width") && f.width < 1 || changed("height") && f.height < 1:
		return usage("%d x %d pixels: want 1 or more", f.width, f.height)
	}
	return checkPrediction(f.prediction)
}

func (f *paintFlags) set(c *cobra.Command, p *models.Painter) error {
	if err := f.check(c); err != nil {
		return err
	}
	changed := c.Flags().Changed
	if changed("steps") {
		p.Steps = f.steps
	}
	if changed("guidance") {
		p.Guidance = f.guidance
	}
	if changed("scheduler") {
		p.Scheduler = f.scheduler
	}
	if changed("width") {
		p.Width = f.width
	}
	if changed("height") {
		p.Height = f.height
	}
	p.Negative, p.Prediction = f.negative, f.prediction
	return nil
}

// captionFlags are the options of describing.
type captionFlags struct {
	beam, low, high, topK     int
	topP, temperature, repeat float64
	prompt                    string
}

func (f *captionFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.beam, "beam", 0, "beam search of this width; 1 is greedy (3 for one caption, sampling for more)")
	c.Flags().Float64Var(&f.topP, "top-p", 0.9, "sample from the likeliest words with this probability")
	c.Flags().IntVar(&f.topK, "top-k", 0, "sample from so many words (all)")
	c.Flags().Float64Var(&f.temperature, "temperature", 1, "of sampling: above 1 is bolder")
	c.Flags().Float64Var(&f.repeat, "repetition-penalty", 1.1, "above 1 discourages words that are there (1 with --beam)")
	c.Flags().IntVar(&f.low, "min-length", 5, "words at least, the prompt's included")
	c.Flags().IntVar(&f.high, "max-length", 20, "words at most, the prompt's included")
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

// set chooses between beam search and sampling; search says which where no flag
// does.
func (f *captionFlags) set(cmd *cobra.Command, c *models.Captioner, search bool) {
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
	c.CaptionOptions = o
}
