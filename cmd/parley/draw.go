package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/pixels/parameters"
	"parley/nets/rerank"
)

func (a *app) draw() *cobra.Command {
	var f drawFlags
	var words promptFlags
	var pictures reading
	var first seed
	var k int
	var to, from, masked, list, like string
	var strength float64
	var force bool
	c := &cobra.Command{Use: "draw TEXT…", Short: "Draw texts",
		Example: "  parley draw \"two red apples on the grass\"\n  parley draw -k 4 --steps 20 --out pictures \"a cat\"\n" +
			"  parley draw --from sketch.png --strength 0.6 \"a dog at night\"\n" +
			"  parley draw --from street.png --mask sky.png \"a sky at night\"\n" +
			"  parley draw --from-file prompts.txt --out pictures\n" +
			"  parley draw --like pictures/00-00.png --steps 50",
		Long: `Draws each text k times, with the seeds seed, seed+1, …

Pictures are called 00-00.png: the text, the drawing of it. Those of earlier runs
stay: the texts are numbered behind them. --out cat.png is one file (cat-1.png,
cat-2.png, … for several), which is not written over without --force; "-" is the
standard output.

A PNG tells how it was drawn, in the text chunks "parameters" (as AUTOMATIC1111's
web UI writes it) and "parley" (JSON); --like draws it again: with its text, seed
and options, where the command line says nothing else; of which model it does not
tell.

On the CPU a drawing's bytes do not depend on k, nor on what is drawn beside it; on
a GPU the matrix kernels follow the size of the batch, so that pixels may differ by
rounding.

JSON: [{"text", "seed", "image", "lost", "error"}], lost where the end of a prompt
was cut. A name that is not UTF-8 has its bytes
in "image_bytes", in base64.`}
	f.add(c)
	f.addNegative(c)
	a.addPrediction(c)
	words.add(a, c)
	pictures.add(c)
	addSeed(c.Flags(), &first, "of the first drawing; the same as torch's CPU generator")
	c.Flags().IntVarP(&k, "k", "k", 1, "drawings of each text")
	c.Flags().StringVarP(&to, "out", "o", "out", "folder of the pictures, or a .png file")
	c.Flags().BoolVar(&force, "force", false, "write over the file of --out")
	c.Flags().StringVar(&from, "from", "", "picture to start from")
	c.Flags().Float64Var(&strength, "strength", 0.8, "with --from: how much is drawn anew")
	c.Flags().StringVar(&masked, "mask", "", "with --from: picture that is white where it is drawn anew, and black where it stays")
	c.Flags().StringVar(&list, "from-file", "", "file of texts, one a line; - is the standard input")
	c.Flags().StringVar(&like, "like", "", "PNG file that is to be drawn again")
	c.RunE = func(cmd *cobra.Command, texts []string) error {
		if list != "" {
			lines, err := readLines(list, cmd.InOrStdin())
			if err != nil {
				return fmt.Errorf("--from-file: %w", err)
			}
			texts = append(texts, lines...)
		}
		var again parameters.Drawing
		named, maskNamed := cmd.Flags().Changed("from"), cmd.Flags().Changed("mask")
		if like != "" {
			d, err := parameters.ReadFile(like)
			if err != nil {
				return fmt.Errorf("--like: %w", err)
			}
			if len(d.Unread) > 0 {
				a.note(fmt.Sprintf("--like %s: not followed: %s", like, strings.Join(d.Unread, ", ")))
			}
			if again = d; len(texts) == 0 {
				texts = []string{d.Prompt}
			}
			if err := setLike(cmd, d); err != nil {
				return fmt.Errorf("--like %s: %w", like, err)
			}
		}
		if len(texts) == 0 {
			return usage("draw: name a text, or a file of texts with --from-file")
		}
		jobs := jobsOf(texts, first.value, k)
		files, err := newDrawings(to, len(jobs), force, a.out)
		if err != nil {
			return err
		}
		if a.json && files.stdout != nil {
			return usage("--out -: the picture goes to the standard output, where --json would")
		}
		var init, mask initImage
		if from != "" {
			if init, err = readInit("from", from, pictures.Options, again.InitSHA256, named); err != nil {
				return err
			}
		}
		if masked != "" {
			if from == "" {
				return usage("--mask is for a drawing that starts --from a picture")
			}
			if mask, err = readInit("mask", masked, pixels.Options{MaxPixels: pictures.MaxPixels}, again.MaskSHA256, maskNamed); err != nil {
				return err
			}
		}
		x, err := words.extras()
		if err != nil {
			return err
		}
		p, err := a.openSD(x)
		if err != nil {
			return err
		}
		defer p.Close()
		o := f.options(a, cmd, p.Defaults)
		o.Init, o.Mask, o.Strength = init.picture, mask.picture, strength
		if o.Init != nil {
			if f.width == 0 || f.height == 0 {
				o.Width, o.Height = p.SizeOf(o.Init, f.width, f.height)
				a.note(fmt.Sprintf("--from %s, %d x %d pixels: drawn as %d x %d; --width and --height choose another size",
					from, o.Init.W, o.Init.H, o.Width, o.Height))
			}
		}
		o.Note = func(text string) { a.note(text + "; --vae-tiling decides") }
		o.Chunks = words.long == "chunks"
		lost := map[string]string{} // by text
		if !o.Chunks {
			if _, err := a.lost(cmd, p.Lost, "--negative", o.Negative, inChunks); err != nil {
				return errors.Join((&entries{a: a}).end(), err) // stopped
			}
			for _, t := range texts {
				if lost[t], err = a.lost(cmd, p.Lost, fmt.Sprintf("the prompt %.40q", t), t, inChunks); err != nil {
					return errors.Join((&entries{a: a}).end(), err)
				}
			}
		}
		o.Progress = terminal.Progress(a.errs, "drawing")
		how, err := p.Parameters(o)
		if err != nil {
			return err
		}
		how.Precision = a.precision
		how.Init, how.InitSHA256, how.InitICC = init.path, init.sum, init.picture != nil && pictures.ICC
		how.Mask, how.MaskSHA256 = mask.path, mask.sum
		return a.drawAll(cmd, p, o, how, jobs, lost, files)
	}
	return c
}

// job is one drawing of a text.
type job struct {
	text    string
	seed    uint64
	i, j, n int // which text, which drawing of it, which of all
}

// jobsOf are k drawings of each text, with the seeds seed, seed+1, ….
func jobsOf(texts []string, seed uint64, k int) []job {
	var out []job
	for i, t := range texts {
		for j := range k {
			out = append(out, job{t, seed + uint64(j), i, j, len(out)})
		}
	}
	return out
}

// drawAll draws and writes pictures, and tells of each as it is there.
func (a *app) drawAll(cmd *cobra.Command, p *models.StableDiffusion, o models.DrawOptions, how parameters.Drawing, jobs []job,
	lost map[string]string, files *drawings) error {
	type entry struct {
		Text       string `json:"text"`
		Seed       uint64 `json:"seed"`
		Image      string `json:"image"`
		ImageBytes []byte `json:"image_bytes,omitempty"`
		Lost       string `json:"lost,omitempty"`
		Error      string `json:"error,omitempty"`
	}
	out := entries{a: a}
	failed := failures{a: a, what: "drawings", seen: len(jobs)}
	texts, seeds := make([]string, len(jobs)), make([]uint64, len(jobs))
	for n, j := range jobs {
		texts[n], seeds[n] = j.text, j.seed
	}
	err := p.Draw(a.run(cmd), texts, seeds, o, func(n int, d rerank.Drawing) {
		j := jobs[n]
		e := entry{Text: j.text, Seed: j.seed, Lost: lost[j.text]}
		var m *pixels.Image
		err := d.Err
		if err == nil {
			m, err = d.Picture.Host()
		}
		if err == nil {
			how := how
			how.Prompt, how.Seed = j.text, j.seed
			e.Image, err = files.write(j, m, how)
		}
		if err != nil {
			failed.tell(fmt.Errorf("%q, seed %d: %w", j.text, j.seed, err))
			e.Image, e.Error = "", err.Error()
		} else if !a.json && files.stdout == nil {
			fmt.Fprintln(a.out, terminal.Plain(e.Image))
			terminal.Show(a.out, m)
		}
		e.ImageBytes = raw(e.Image)
		_ = out.add(e) // a.out remembers its error
	})
	return errors.Join(out.end(), err, failed.err())
}
