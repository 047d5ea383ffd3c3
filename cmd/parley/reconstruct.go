package main

import (
	"errors"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/nets/rerank/results"
)

// loopFlags are the options of both reconstructions.
type loopFlags struct {
	draw     drawFlags
	caption  captionFlags
	k        int
	seed     uint64
	dir      string
	pooled   bool
	redraw   bool
	drawings int
}

func (f *loopFlags) add(c *cobra.Command, k int) {
	f.draw.add(c)
	f.caption.add(c)
	c.Flags().IntVarP(&f.k, "k", "k", k, "candidates")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "of all randomness; that of the next source is a million higher")
	c.Flags().StringVarP(&f.dir, "out", "o", "out", "folder of pictures, contact sheet and result.json")
	c.Flags().BoolVar(&f.pooled, "pooled", false, "judge before CLIP's projection, as the paper's authors did")
	c.Flags().IntVar(&f.drawings, "drawings", 1, "of each caption of a picture; the closest one counts")
	c.Flags().BoolVar(&f.redraw, "redraw-duplicates", false, "draw a caption again that comes twice")
}

// check says what no model can do, before one is loaded.
func (f *loopFlags) check(cmd *cobra.Command) error {
	if f.k < 1 || f.k > mostK {
		return usage("-k %d: want 1 to %d", f.k, mostK)
	}
	if err := errors.Join(f.draw.check(cmd), f.caption.check()); err != nil {
		return err
	}
	if f.drawings < 1 || f.drawings > mostK {
		return usage("--drawings %d: want 1 to %d", f.drawings, mostK)
	}
	return nil
}

func (a *app) reconstruct() *cobra.Command {
	c := &cobra.Command{Use: "reconstruct", Short: "Choose the best of K captions of a picture, or of K drawings of a text"}
	image := &cobra.Command{Use: "image FILE…", Short: "K captions of a picture, a drawing of each; the closest drawing chooses the caption", Args: cobra.MinimumNArgs(1),
		Example: "  parley reconstruct image cat.jpg -k 8\n  parley reconstruct image *.jpg --models /models --json"}
	text := &cobra.Command{Use: "text TEXT…", Short: "K drawings of a text, a caption of each; the closest caption chooses the drawing", Args: cobra.MinimumNArgs(1),
		Example: "  parley reconstruct text \"two red apples on the grass\" -k 8"}
	for _, sub := range []*cobra.Command{image, text} {
		f := &loopFlags{}
		f.add(sub, 10)
		sub.Long = sub.Short + `.

Writes the pictures, a contact sheet (sheet.png) and result.json to --out. JSON:
[{"source", "seed", "selected", "candidates": [{"text", "image", "score", "rank",
"seed", "seconds", "timing", "error"}], "error"}]; selected is an index in candidates, rank 1 the
best, score the cosine of CLIP's embeddings.`
		sub.RunE = func(cmd *cobra.Command, args []string) error {
			return a.reconstructAll(cmd, f, func(yield func(rerank.Source, error) bool) {
				for i, arg := range args {
					src, err := rerank.Source{Name: arg, Seed: rerank.SourceSeed(f.seed, i)}, error(nil)
					if sub == image {
						src.Picture, err = pixels.Read(arg)
					}
					if !yield(src, err) {
						return
					}
				}
			})
		}
		c.AddCommand(sub)
	}
	c.RunE = func(*cobra.Command, []string) error { return usage("reconstruct: say image or text") }
	return c
}

// reconstructAll runs a loop for each source. One that fails is told at the end,
// and the others go on.
func (a *app) reconstructAll(cmd *cobra.Command, f *loopFlags, sources iter.Seq2[rerank.Source, error]) (err error) {
	if err := f.check(cmd); err != nil {
		return err
	}
	folder, err := results.NewFolder(f.dir)
	if err != nil {
		return err
	}
	blip, err := a.openBLIP()
	if err != nil {
		return err
	}
	defer blip.Close()
	sd, err := a.openSD()
	if err != nil {
		return err
	}
	defer sd.Close()
	clip, err := a.openCLIP()
	if err != nil {
		return err
	}
	defer clip.Close()
	draw := f.draw.options(cmd, sd.Defaults)
	draw.Note = func(text string) { a.note(text + "; --vae-tiling decides") }
	draw.Progress = terminal.Progress(a.errs, "drawing")
	l := &rerank.Loop{
		Captioner: blip.Captioner(f.caption.options(cmd, false)),
		Describer: blip.Captioner(f.caption.options(cmd, true)), // one caption a drawing: the likeliest
		Painter:   sd.Painter(draw),
		Judge:     clip.Judge(models.EmbedOptions{Pooled: f.pooled}),
		K:         f.k, RedrawDuplicates: f.redraw, Drawings: f.drawings,
	}
	var failed error
	err = l.Run(a.run(cmd), sources, func(r *rerank.Result, err error) error {
		failed = errors.Join(failed, err)
		if _, err := folder.Append(r, err); err != nil || a.json || r.Candidates == nil {
			return err
		}
		if err := results.Table(a.out, r, terminal.Plain); err != nil {
			return err
		}
		if r.Selected >= 0 {
			terminal.Show(a.out, r.Candidates[r.Selected].Picture)
		}
		return nil
	})
	if cmd.Context().Err() != nil {
		err = nil // failed has it
	}
	if err := errors.Join(err, folder.Close()); err != nil {
		return err
	}
	if a.json {
		return errors.Join(folder.WriteJSON(a.out), failed)
	}
	fmt.Fprintln(a.out)
	for n := range folder.Sheets() {
		fmt.Fprintln(a.out, folder.Sheet(n+1))
	}
	fmt.Fprintln(a.out, folder.Result())
	return failed
}
