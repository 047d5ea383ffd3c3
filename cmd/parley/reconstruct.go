package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/mini"
)

// loopFlags are the options of both reconstructions.
type loopFlags struct {
	paint   paintFlags
	caption captionFlags
	k       int
	seed    uint64
	dir     string
	pooled  bool
	twins   bool
	each    int
}

func (f *loopFlags) add(c *cobra.Command, k int) {
	f.paint.add(c)
	f.caption.add(c)
	c.Flags().IntVarP(&f.k, "k", "k", k, "candidates")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "of everything that is left to chance")
	c.Flags().StringVarP(&f.dir, "out", "o", "out", "folder of pictures, contact sheet and result.json")
	c.Flags().BoolVar(&f.pooled, "pooled", false, "judge before CLIP's projection, as the paper's authors did")
	c.Flags().IntVar(&f.each, "drawings", 1, "of each caption of a picture; the closest one counts")
	c.Flags().BoolVar(&f.twins, "draw-twins", false, "draw a caption again that comes twice")
}

// check says what no model can do, before one is loaded.
func (f *loopFlags) check(cmd *cobra.Command) error {
	if f.k < 1 || f.k > mostK {
		return usage("-k %d: want 1 to %d", f.k, mostK)
	}
	if err := errors.Join(f.paint.check(cmd), f.caption.check()); err != nil {
		return err
	}
	if f.each < 1 || f.each > mostK {
		return usage("--drawings %d: want 1 to %d", f.each, mostK)
	}
	return nil
}

// entry and candidate are result.json and what --json prints.
type entry struct {
	Source     string      `json:"source"`
	Selected   int         `json:"selected"` // index in candidates; -1: none
	Candidates []candidate `json:"candidates"`
}

type candidate struct {
	Text    string  `json:"text"`
	Image   string  `json:"image"`
	Score   float64 `json:"score"`
	Rank    int     `json:"rank"`
	Seed    uint64  `json:"seed"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// save writes the pictures, the contact sheet and result.json of all results
// so far.
func (a *app) save(dir string, results []*rerank.Result) ([]entry, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var out []entry
	for i, r := range results {
		e := entry{Source: r.Source, Selected: r.Selected, Candidates: []candidate{}}
		for j, c := range r.Candidates {
			o := candidate{Text: c.Text, Score: c.Score, Rank: c.Rank, Seed: c.Seed, Seconds: c.Time.Seconds()}
			switch {
			case c.Err != nil:
				o.Error = c.Err.Error()
			case c.Picture == nil:
				o.Error = "not drawn"
			default:
				o.Image = filepath.Join(dir, fmt.Sprintf("%02d-%02d.png", i, j))
				if err := c.Picture.SavePNG(o.Image); err != nil {
					return nil, err
				}
			}
			e.Candidates = append(e.Candidates, o)
		}
		out = append(out, e)
	}
	m, err := sheet(results)
	if err != nil {
		return nil, err
	}
	if err := m.SavePNG(filepath.Join(dir, "sheet.png")); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, err
	}
	tmp := filepath.Join(dir, ".result.json")
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return nil, err
	}
	return out, os.Rename(tmp, filepath.Join(dir, "result.json"))
}

func (a *app) table(r *rerank.Result) {
	fmt.Fprintf(a.out, "\n%s\n", plain(r.Source))
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "  rank\tscore\tseed\tcaption")
	for _, c := range r.Ranked() {
		switch {
		case c.Err != nil:
			fmt.Fprintf(w, "  failed\t\t%d\t%s: %s\n", c.Seed, plain(c.Text), plain(c.Err.Error()))
		case c.Picture == nil:
			fmt.Fprintf(w, "  not drawn\t\t%d\t%s\n", c.Seed, plain(c.Text))
		default:
			fmt.Fprintf(w, "  %d\t%.3f\t%d\t%s\n", c.Rank, c.Score, c.Seed, plain(c.Text))
		}
	}
	_ = w.Flush()
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
[{"source", "selected", "candidates": [{"text", "image", "score", "rank",
"seed", "seconds", "error"}]}]; selected is an index in candidates, rank 1 the
best, score the cosine of CLIP's embeddings.`
		sub.RunE = func(cmd *cobra.Command, args []string) error {
			if sub == text {
				return a.reconstructAll(cmd, f, nil, nil, args)
			}
			return a.reconstructAll(cmd, f, args, pixels.Read, nil)
		}
		c.AddCommand(sub)
	}
	c.RunE = func(*cobra.Command, []string) error { return usage("reconstruct: say image or text") }
	return c
}

// reconstructAll runs a loop for each source: pictures, which are opened by
// name, then texts. One that fails is told at the end, and the others go on.
func (a *app) reconstructAll(cmd *cobra.Command, f *loopFlags, names []string, open func(name string) (*pixels.Image, error), texts []string) error {
	if err := f.check(cmd); err != nil {
		return err
	}
	c, err := a.captioner()
	if err != nil {
		return err
	}
	defer c.Close()
	p, err := a.painter()
	if err != nil {
		return err
	}
	defer p.Close()
	if err := f.paint.set(cmd, p); err != nil {
		return err
	}
	j, err := a.judge(f.pooled)
	if err != nil {
		return err
	}
	defer j.Close()
	l := &rerank.Loop{Captioner: c, Painter: p, Judge: j, Seed: f.seed, DrawTwins: f.twins, Drawings: f.each}
	var results []*rerank.Result
	var out []entry
	var failed error
	for i := range len(names) + len(texts) {
		var r *rerank.Result
		if i < len(names) {
			p.Progress = a.progress(filepath.Base(names[i]))
			f.caption.set(cmd, c, false)
			var m *pixels.Image
			if m, err = open(names[i]); err == nil {
				r, err = l.Image(cmd.Context(), names[i], m, f.k)
			}
		} else {
			p.Progress = a.progress("drawing")
			f.caption.set(cmd, c, true) // one caption a drawing: the likeliest
			r, err = l.Text(cmd.Context(), texts[i-len(names)], f.k)
		}
		if r != nil {
			results = append(results, r)
			saved, err := a.save(f.dir, results)
			if err != nil {
				return err
			}
			out = saved
			if !a.json {
				a.table(r)
				if r.Selected >= 0 {
					a.show(r.Candidates[r.Selected].Picture)
				}
			}
		}
		failed = errors.Join(failed, err)
		if cmd.Context().Err() != nil {
			break
		}
	}
	if a.json {
		if out == nil {
			out = []entry{}
		}
		if err := a.print(out); err != nil {
			return err
		}
	} else if len(results) > 0 {
		fmt.Fprintf(a.out, "\n%s\n%s\n", filepath.Join(f.dir, "sheet.png"), filepath.Join(f.dir, "result.json"))
	}
	return failed
}

func (a *app) demo() *cobra.Command {
	f := &loopFlags{}
	c := &cobra.Command{Use: "demo", Short: "See both reconstructions on the embedded models", Args: cobra.NoArgs,
		Example: "  parley demo\n  parley demo --seed 7 -k 8",
		Long:    "Takes three held-out pictures and two texts of the miniature world. JSON as reconstruct's."}
	f.add(c, 6)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		var names, texts []string
		test, err := mini.Test()
		if err != nil {
			return err
		}
		scenes := map[string][]byte{}
		for _, i := range []int{4, 17, 31} {
			names = append(names, test[i].File)
			scenes[test[i].File] = test[i].PNG
		}
		for _, i := range []int{8, 50} {
			texts = append(texts, test[i].Captions[0])
		}
		return a.reconstructAll(cmd, f, names, func(name string) (*pixels.Image, error) {
			return pixels.Decode(bytes.NewReader(scenes[name]))
		}, texts)
	}
	return c
}
