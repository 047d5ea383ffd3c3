package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/nets/pixels"
	"parley/nets/rerank"
)

func (a *app) draw() *cobra.Command {
	var f drawFlags
	var seed uint64
	var k int
	var dir, from string
	var strength float64
	c := &cobra.Command{Use: "draw TEXT…", Short: "Draw texts", Args: cobra.MinimumNArgs(1),
		Example: "  parley draw \"two red apples on the grass\"\n  parley draw -k 4 --steps 20 --out pictures \"a cat\"\n  parley draw --from sketch.png --strength 0.6 \"a dog at night\"",
		Long:    "Draws each text k times, with the seeds seed, seed+1, … On the CPU a drawing's bytes do not depend on k, nor on what is drawn beside it; on a GPU the matrix kernels follow the size of the batch, so that pixels may differ by rounding. JSON: [{\"text\", \"seed\", \"image\"}]."}
	f.add(c)
	c.Flags().Uint64Var(&seed, "seed", 0, "of the first drawing; the same as torch's CPU generator")
	c.Flags().IntVarP(&k, "k", "k", 1, "drawings of each text")
	c.Flags().StringVarP(&dir, "out", "o", "out", "folder of the pictures")
	c.Flags().StringVar(&from, "from", "", "picture to start from")
	c.Flags().Float64Var(&strength, "strength", 0.8, "with --from: how much is drawn anew")
	c.RunE = func(cmd *cobra.Command, lines []string) error {
		if k < 1 || k > mostK {
			return usage("-k %d: want 1 to %d", k, mostK)
		}
		if err := f.check(cmd); err != nil {
			return err
		}
		if !(strength > 0 && strength <= 1) {
			return usage("--strength %v: want more than 0, at most 1", strength)
		}
		p, err := a.openSD()
		if err != nil {
			return err
		}
		defer p.Close()
		o := f.options(cmd, p.Defaults)
		if from != "" {
			if o.Init, err = pixels.Read(from); err != nil {
				return err
			}
			o.Strength = strength
			if w, h := p.SizeOf(o.Init, f.width, f.height); w != o.Width || h != o.Height || f.width == 0 && f.height == 0 {
				o.Width, o.Height = w, h
				a.note(fmt.Sprintf("--from %s, %d x %d pixels: drawn as %d x %d; --width and --height choose another size", from, o.Init.W, o.Init.H, w, h))
			}
		}
		o.Note = func(text string) { a.note(text + "; --vae-tiling decides") }
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		type entry struct {
			Text  string `json:"text"`
			Seed  uint64 `json:"seed"`
			Image string `json:"image"`
			Error string `json:"error,omitempty"`
		}
		out := []entry{}
		var texts []string
		var seeds []uint64
		for i, t := range lines {
			for j := range k {
				texts, seeds = append(texts, t), append(seeds, seed+uint64(j))
				out = append(out, entry{t, seed + uint64(j), filepath.Join(dir, fmt.Sprintf("%02d-%02d.png", i, j)), ""})
			}
		}
		o.Progress = terminal.Progress(a.errs, "drawing")
		var failed error
		done := make([]bool, len(out))
		err = p.Draw(a.run(cmd), texts, seeds, o, func(i int, d rerank.Drawing) {
			var m *pixels.Image
			err := d.Err
			if err == nil {
				m, err = d.Picture.Host()
			}
			if err == nil {
				err = m.SavePNG(out[i].Image)
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%q, seed %d: %w", texts[i], seeds[i], err))
				out[i].Error, out[i].Image = err.Error(), ""
			} else {
				done[i] = true
				if !a.json {
					fmt.Fprintln(a.out, out[i].Image)
					terminal.Show(a.out, m)
				}
			}
		})
		if a.json {
			finished := []entry{}
			for i, e := range out {
				if done[i] || e.Error != "" {
					finished = append(finished, e)
				}
			}
			if err := a.print(finished); err != nil {
				return err
			}
		}
		return errors.Join(err, failed)
	}
	return c
}
