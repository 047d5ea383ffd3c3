package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/nets/models"
	"parley/nets/pixels/batch"
	"parley/nets/pixels/parameters"
	"parley/nets/rerank"
	"parley/nets/rerank/results"
)

// loopFlags are the options of both reconstructions.
type loopFlags struct {
	draw     drawFlags
	caption  captionFlags
	k        int
	seed     seed
	dir      string
	pooled   bool
	redraw   bool
	drawings int
	force    bool
	words    promptFlags
	own      []string // sources whose earlier results may be replaced
}

func (f *loopFlags) add(a *app, c *cobra.Command, k int) {
	f.draw.add(c)
	f.draw.addNegative(c)
	a.addPrediction(c)
	f.words.add(a, c)
	f.caption.add(c)
	c.Flags().IntVarP(&f.k, "k", "k", k, "candidates")
	addSeed(c.Flags(), &f.seed, "of all randomness; that of the next source is a million higher")
	c.Flags().BoolVar(&f.pooled, "pooled", false, "judge before CLIP's projection, as the paper's authors did")
}

// addFolder are the options of where results go.
func (f *loopFlags) addFolder(c *cobra.Command) {
	c.Flags().StringVarP(&f.dir, "out", "o", "out", "folder of pictures, contact sheet and result.json")
	c.Flags().BoolVar(&f.force, "force", false, "write over an earlier run's results in --out")
}

// addDrawings are the options of what draws captions.
func (f *loopFlags) addDrawings(c *cobra.Command) {
	c.Flags().IntVar(&f.drawings, "drawings", 1, "of each caption of a picture; the closest one counts")
	c.Flags().BoolVar(&f.redraw, "redraw-duplicates", false, "draw a caption again that comes twice")
}

func (a *app) reconstruct() *cobra.Command {
	c := &cobra.Command{Use: "reconstruct", Short: "Choose the best of K captions of a picture, or of K drawings of a text"}
	image := &cobra.Command{Use: "image FILE…", Short: "K captions of a picture, a drawing of each; the closest drawing chooses the caption",
		Args:    cobra.MinimumNArgs(1),
		Example: "  parley reconstruct image cat.jpg -k 8\n  parley reconstruct image *.jpg --models /models --json"}
	text := &cobra.Command{Use: "text TEXT…", Short: "K drawings of a text, a caption of each; the closest caption chooses the drawing",
		Args:    cobra.MinimumNArgs(1),
		Example: "  parley reconstruct text \"two red apples on the grass\" -k 8"}
	var where find
	var lines string
	where.add(image)
	text.Args = nil
	text.Flags().StringVar(&lines, "from-file", "", "file of texts, one a line; - is the standard input")
	for _, sub := range []*cobra.Command{image, text} {
		f := &loopFlags{}
		f.add(a, sub, 10)
		f.addFolder(sub)
		f.drawings = 1
		if sub == image {
			f.addDrawings(sub)
		}
		sub.Long = sub.Short + `.

Writes the pictures, a contact sheet (sheet.png) and result.json to --out. JSON:
[{"source", "seed", "selected", "candidates": [{"text", "image", "score", "rank",
"seed", "seconds", "timing", "error"}], "error"}]; selected is an index in candidates, rank 1 the
best, score the cosine of CLIP's embeddings. Names that are not UTF-8 have their
bytes in "source_bytes" and "image_bytes", in base64. A folder that has an earlier
run's results or pictures is refused unless --force is set.`
		if sub == image {
			sub.Long += finding
		}
		sub.RunE = func(cmd *cobra.Command, args []string) error {
			if sub == image {
				return a.reconstructAll(cmd, f, true, f.pictures(cmd.Context(), where.sources(cmd, args)))
			}
			if lines != "" {
				more, err := readLines(lines, cmd.InOrStdin())
				if err != nil {
					return fmt.Errorf("--from-file: %w", err)
				}
				args = append(args, more...)
			}
			if len(args) == 0 {
				return usage("reconstruct text: name a text, or a file of texts with --from-file")
			}
			return a.reconstructAll(cmd, f, false, func(yield func(rerank.Source, error) bool) {
				for i, arg := range args {
					if !yield(rerank.Source{Name: arg, Seed: rerank.SourceSeed(f.seed.value, i)}, nil) {
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

// pictures are sources, of which the next one is decoded meanwhile.
func (f *loopFlags) pictures(ctx context.Context, sources iter.Seq[batch.Source]) iter.Seq2[rerank.Source, error] {
	return func(yield func(rerank.Source, error) bool) {
		i := 0
		for items := range batch.Groups(ctx, sources, 1) {
			for _, item := range items {
				src := rerank.Source{Name: item.Name, Seed: rerank.SourceSeed(f.seed.value, i), Picture: item.Picture}
				if i++; !yield(src, limited(item.Err)) {
					return
				}
			}
		}
	}
}

// reconstructAll runs a loop for each source. One that fails is told, and the
// others go on.
func (a *app) reconstructAll(cmd *cobra.Command, f *loopFlags, pictures bool, sources iter.Seq2[rerank.Source, error]) (err error) {
	x, err := f.words.extras()
	if err != nil {
		return err
	}
	var how parameters.Drawing
	folder, err := results.NewFolder(f.dir, results.Options{Force: f.force, Own: f.own,
		Parameters: func(r *rerank.Result, i int) parameters.Drawing {
			d := how
			d.Seed, d.Prompt = r.Candidates[i].Seed, r.Source.Name
			if r.Source.Picture != nil {
				d.Prompt = r.Candidates[i].Text
			}
			return d
		}})
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer func() { err = errors.Join(err, folder.Discard()) }()
	blip, err := a.openBLIP()
	if err != nil {
		return err
	}
	defer blip.Close()
	sd, err := a.openSD(x)
	if err != nil {
		return err
	}
	defer sd.Close()
	clip, err := a.openCLIP()
	if err != nil {
		return err
	}
	defer clip.Close()
	if err := clip.Ready(pictures, !pictures); err != nil {
		return err
	}
	draw := f.draw.options(a, cmd, sd.Defaults)
	if how, err = sd.Parameters(draw); err != nil {
		return err
	}
	how.Precision = a.precision
	draw.Chunks = f.words.long == "chunks"
	if !draw.Chunks {
		if _, err := a.lost(cmd, sd.Lost, "--negative", draw.Negative, inChunks); err != nil {
			return err
		}
	}
	draw.Note = func(text string) { a.note(text + "; --vae-tiling decides") }
	draw.Progress = terminal.Progress(a.errs, "drawing")
	l := &rerank.Loop{
		Captioner: blip.Captioner(f.caption.options(cmd, false)),
		Describer: blip.Captioner(f.caption.options(cmd, true)), // one caption a drawing: the likeliest
		Painter:   sd.Painter(draw),
		Judge:     clip.Judge(models.EmbedOptions{Pooled: f.pooled}),
		K:         f.k, RedrawDuplicates: f.redraw, Drawings: f.drawings,
	}
	failed := failures{a: a, what: "sources"}
	out := entries{a: a}
	err = l.Run(a.run(cmd), sources, func(r *rerank.Result, err error) error {
		failed.seen++
		if !pictures && !draw.Chunks {
			if _, err := a.lost(cmd, sd.Lost, fmt.Sprintf("the prompt %.40q", r.Source.Name), r.Source.Name, inChunks); err != nil {
				return err
			}
		}
		if err != nil && cmd.Context().Err() == nil {
			failed.tell(err)
		}
		e, err := folder.Append(r, err)
		if err != nil {
			return err
		}
		if a.json || r.Candidates == nil {
			return out.add(e)
		}
		if err := results.Table(a.out, r, terminal.Plain); err != nil {
			return err
		}
		if r.Selected >= 0 {
			terminal.Show(a.out, r.Candidates[r.Selected].Picture)
		}
		return nil
	})
	err = errors.Join(err, folder.Close(), out.end())
	if err == nil {
		err = cmp.Or(failed.err(), cmd.Context().Err())
	}
	if a.json {
		return err
	}
	fmt.Fprintln(a.out)
	for n := range folder.Sheets() {
		fmt.Fprintln(a.out, folder.Sheet(n+1))
	}
	fmt.Fprintln(a.out, folder.Result())
	return err
}
