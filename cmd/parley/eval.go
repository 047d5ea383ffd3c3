package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/bench/coco"
	"parley/bench/eval"
	"parley/bench/eval/report"
	"parley/cmd/parley/terminal"
	"parley/engine"
	"parley/nets/models"
	"parley/nets/rerank"
)

func (a *app) eval() *cobra.Command {
	c := &cobra.Command{Use: "eval", Short: "Run the paper's experiment over a data set, and report it"}
	c.AddCommand(a.evalTask(eval.Image, "Choose the best of K captions of each picture"),
		a.evalTask(eval.Text, "Choose the best of K drawings of each picture's first text"), a.evalMerge(), a.evalReport(), a.evalSweep())
	c.RunE = func(*cobra.Command, []string) error { return usage("eval: say image, text, merge, report or sweep") }
	return c
}

// evalFlags are the options of a run.
type evalFlags struct {
	loopFlags
	data         string
	set          coco.Options
	shard, prune string
	shards, each int
	keep         string
	retry        bool
}

func (a *app) evalTask(task, short string) *cobra.Command {
	f := &evalFlags{}
	c := &cobra.Command{Use: task + " --data mini|FILE|DIR --out DIR", Short: short, Args: cobra.NoArgs,
		Example: fmt.Sprintf("  parley eval %s --data mini -k 8 --out runs/mini\n", task) +
			fmt.Sprintf("  parley eval %s --data nocaps_val.json --images val/ --models models --steps 50 --out runs/nocaps", task),
		Long: short + `, by drawing and describing.

--data: mini, the embedded miniature world; a .json of COCO's annotations, of
NoCaps or Karpathy's dataset_coco.json; a .jsonl of {"image", "text"}, or "texts", and
"id" if it is to be another than the picture's name; a .tsv of a picture
and its texts with tabs between; a folder of pictures, not of those below it, whose
texts are the lines of a .txt of the same name. --out has settings.json, items.jsonl with a line for each item ({"index", "id",
"image", "references", "seed", "selected", "candidates": [{"text", "score", "rank",
"seed", "steps", "pruned", "undrawn", "scores", "embedding_sha256", "picture", "error"}], "beam",
"error"}) and timings.jsonl. Whatever ends a run, the same command goes on with it; other
settings in the same folder are refused. Pictures that are missing or broken have a
line with an error and stop nothing; --retry does such items again. Exit codes: 0, each
item has a line, with a result or an error; 1, the same command goes on; 2, wrongly called;
3, each item has a line and none a result.

Over several machines each does a shard, --shard i/n, and parley eval merge puts them
together. In a job array of Slurm or an Indexed Job of Kubernetes each task finds its
own shard in the environment, and its folder is --out/shard-…-of-…`}
	f.addRun(a, c)
	c.Flags().StringVar(&f.shard, "shard", "", "i/n: each n-th item from the i-th (all; a job array's own)")
	c.Flags().IntVar(&f.shards, "shards", 0, "how many shards there are, where the environment says which is this one")
	if task == eval.Image {
		f.addDrawings(c)
		redraw := c.Flags().Lookup("redraw-duplicates")
		redraw.Usage = "draw a caption again that comes twice, as the paper does"
		redraw.DefValue, f.redraw = "true", true
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error { return a.runShard(cmd, f, task) }
	return c
}

// addRun are the options of one run and of several.
func (f *evalFlags) addRun(a *app, c *cobra.Command) {
	f.add(a, c, 10)
	fl := c.Flags()
	fl.Lookup("seed").Usage = "of all randomness; that of the next item is a million higher [-1 to 18446744073709551615]"
	fl.StringVar(&f.data, "data", "", "mini, a file or a folder")
	fl.StringVar(&f.set.Images, "images", "", "folder of the pictures (where --data lies)")
	fl.StringVar(&f.set.Split, "split", "", "of Karpathy's file: train, restval, val or test (test)")
	fl.StringVar(&f.set.Domain, "domain", "", "of NoCaps: in, near or out (all)")
	fl.IntVar(&f.set.Limit, "limit", 0, "the first so many items; 0: all")
	fl.StringVarP(&f.dir, "out", "o", "", "folder of the run")
	fl.IntVar(&f.each, "at-once", 8, "items that are worked on at once; it changes no result")
	fl.StringVar(&f.prune, "prune", "",
		"AFTER:KEEP,… such as 0:0.5,0.6:0.5: after a part of the steps a part of the candidates goes on, those "+
			"whose predicted clean pictures come closest; after 0, before any is drawn, those whose captions do")
	fl.StringVar(&f.keep, "keep", "", "keep drawings as png or webp, both without loss (they are not kept)")
	fl.BoolVar(&f.retry, "retry", false, "do items of earlier runs again that failed, or of which a candidate did")
	f.drawings, f.redraw = 1, true
}

// check refuses what is missing.
func (f *evalFlags) check() error {
	switch {
	case f.data == "":
		return usage("--data is needed: mini, a file or a folder")
	case f.dir == "":
		return usage("--out DIR is needed: the run's folder")
	}
	return nil
}

// runShard runs the shard that the flags or the environment name.
func (a *app) runShard(cmd *cobra.Command, f *evalFlags, task string) error {
	if err := f.check(); err != nil {
		return err
	}
	shard, found, err := eval.ShardOf(f.shard, f.shards, os.Getenv)
	if err != nil {
		return usageError{err}
	}
	dir := f.dir
	if found != "" && found != "--shard" {
		dir = filepath.Join(dir, eval.ShardFolder(shard))
		a.note(fmt.Sprintf("shard %v, as %s says, in %s", shard, found, dir))
	}
	sum, err := a.runEval(cmd, f, task, shard, dir)
	if sum != nil && sum.Done > 0 {
		err = errors.Join(err, a.told(sum, dir))
	}
	return err
}

// runEval does what is left of a run in a folder.
func (a *app) runEval(cmd *cobra.Command, f *evalFlags, task string, shard coco.Shard, dir string) (*eval.Summary, error) {
	rounds, err := rerank.ParseRounds(f.prune)
	if err != nil {
		return nil, usage("--prune %w", err)
	}
	if rounds != nil && f.drawings > 1 {
		return nil, usage("--prune and --drawings %d: pruning draws each caption once", f.drawings)
	}
	set, err := coco.Open(f.data, f.set)
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	if set.Note != "" {
		a.note("--data " + set.Note)
	}
	e, done, err := a.experiment(cmd, f, task, rounds)
	if err != nil {
		return nil, err
	}
	defer done()
	e.Set, e.Together, e.Retry = set, f.each, f.retry
	e.Settings.Shard, e.Settings.Data = shard.String(), eval.Data{Images: f.set.Images, Split: f.set.Split, Domain: f.set.Domain}
	e.Progress = a.evalProgress()
	e.Failed = func(r *eval.Record) { fmt.Fprintf(a.errs, "parley: item %s: %s\n", r.Name(), r.Error) }
	sum, err := eval.Run(a.run(cmd), dir, e)
	var other *eval.DifferentError
	var batch *eval.BatchError
	switch {
	case errors.As(err, &batch):
		err = fmt.Errorf("%w; --at-once 1 goes past such items", err)
	case errors.As(err, &other):
		err = usage("%w: name another folder, or repeat the command that began it", err)
	case err == nil && sum.Total > 0 && sum.Failed == sum.Total:
		err = noResult{fmt.Errorf("%s: none of the %d items has a result; --retry does them again", dir, sum.Total)}
	}
	return sum, err
}

// told says what a run came to.
func (a *app) told(s *eval.Summary, dir string) error {
	if a.json {
		return a.print(struct {
			Out     string  `json:"out"`
			Items   int     `json:"items"`
			Done    int     `json:"done"`
			Now     int     `json:"done_now"`
			Again   int     `json:"done_again"`
			Failed  int     `json:"failed"`
			Missing int     `json:"missing_now"`
			Broken  int     `json:"broken_now"`
			Seconds float64 `json:"seconds"`
			Rate    float64 `json:"items_per_second"`
			Idle    float64 `json:"idle_share"`
		}{dir, s.Total, s.Done, s.Now, s.Again, s.Failed, s.Missing, s.Broken, s.Time.Seconds(), s.Rate(), s.IdleShare()})
	}
	fmt.Fprintf(a.out, "%d of %d items, %d of them now in %v (%.3g items/s, nets idle %.1f %%), %d without a result\n", s.Done, s.Total, s.Now,
		s.Time.Round(100*time.Millisecond), s.Rate(), 100*s.IdleShare(), s.Failed)
	if s.Again > 0 {
		fmt.Fprintf(a.out, "failed before and tried again: %d\n", s.Again)
	}
	if s.Missing+s.Broken > 0 {
		fmt.Fprintf(a.out, "pictures now: %d missing, %d broken\n", s.Missing, s.Broken)
	}
	_, err := fmt.Fprintf(a.out, "%s\n", dir)
	return err
}

// evalProgress is a bar on a terminal, and elsewhere a line each half minute.
func (a *app) evalProgress() func(eval.Progress) {
	line := func(p eval.Progress) string {
		return fmt.Sprintf("%.3g items/s, %v left, nets idle %.1f %%", p.Rate(), p.Left().Round(time.Second), 100*p.IdleShare())
	}
	if bar := terminal.Bar(a.errs); bar != nil {
		return func(p eval.Progress) { bar(p.Done, p.Total, line(p)) }
	}
	last := time.Now()
	return func(p eval.Progress) {
		if time.Since(last) > 30*time.Second {
			last = time.Now()
			fmt.Fprintf(a.errs, "parley: %d of %d items, %s\n", p.Done, p.Total, line(p))
		}
	}
}

// experiment opens the models and hashes their files.
func (a *app) experiment(cmd *cobra.Command, f *evalFlags, task string, rounds []rerank.Round) (e eval.Experiment, done func(), err error) {
	var closers []func()
	done = func() {
		for _, c := range closers {
			c()
		}
	}
	defer func(end func()) {
		if err != nil {
			end()
		}
	}(done)
	x, err := f.words.extras()
	if err != nil {
		return e, nil, err
	}
	var m eval.Models
	if m.BLIP, err = a.openBLIP(); err != nil {
		return e, nil, err
	}
	closers = append(closers, m.BLIP.Close)
	if m.SD, err = a.openSD(x); err != nil {
		return e, nil, err
	}
	closers = append(closers, m.SD.Close)
	if m.CLIP, err = a.openCLIP(); err != nil {
		return e, nil, err
	}
	closers = append(closers, m.CLIP.Close)
	if err := m.CLIP.Ready(true, true); err != nil {
		return e, nil, err
	}
	draw := f.draw.options(a, cmd, m.SD.Defaults)
	draw.Chunks = f.words.long == "chunks"
	draw.Note = func(text string) { a.note(text + "; --vae-tiling decides") }
	o := eval.Options{Task: task, K: f.k, Seed: f.seed.value, Caption: f.caption.options(cmd, false), Draw: draw, Drawings: f.drawings,
		Redraw: f.redraw, Pooled: f.pooled, Prune: rounds, Keep: f.keep, Beam: models.Beam()}
	if task == eval.Text {
		o.Beam = f.caption.options(cmd, true) // one caption a drawing: the likeliest
	} else if f.caption.beam == 0 {
		o.Beam.Prompt, o.Beam.KeepPrompt, o.Beam.MinLength, o.Beam.MaxLength = o.Caption.Prompt, o.Caption.KeepPrompt, o.Caption.MinLength,
			o.Caption.MaxLength
	} else {
		o.Beam = o.Caption
	}
	if e, err = eval.New(m, o); err != nil {
		return e, nil, err
	}
	s := &e.Settings
	s.Precision, s.Program = a.precision, version()
	if s.Precision == "" {
		s.Precision = "default"
	}
	s.Device = a.deviceKind()
	s.Machine = fmt.Sprintf("%s, %s/%s, %d CPUs", deviceName(a.dev), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for name, own := range map[string]string{"blip": a.blip, "sd": a.sd, "clip": a.clip} {
		src, err := a.source(name, own)
		if err != nil {
			return e, nil, err
		}
		if err := a.hashed(cmd, s, name, src); err != nil {
			return e, nil, err
		}
	}
	if x.VAE != nil {
		if err := a.hashed(cmd, s, "vae", *x.VAE); err != nil {
			return e, nil, err
		}
	}
	for _, v := range x.Embeddings {
		hash, err := sum(v.File)
		if err != nil {
			return e, nil, err
		}
		s.Models["embedding "+filepath.Base(v.File)] = eval.Model{Path: v.File, SHA256: hash}
	}
	return e, done, nil
}

func (a *app) hashed(cmd *cobra.Command, s *eval.Settings, name string, src models.Source) error {
	hash, err := src.Hash(a.run(cmd))
	s.Models[name] = eval.Model{Path: src.String(), SHA256: hash}
	return err
}

// deviceKind is what --device calls the device, without its number: machines of one
// kind come to the same.
func (a *app) deviceKind() string {
	switch {
	case a.dev.Local():
		return "cpu"
	case a.device == "ptx":
		return "ptx"
	}
	return "cuda"
}

func deviceName(dev engine.Device) string {
	if n, ok := engine.As[interface{ Name() string }](dev); ok {
		return n.Name()
	}
	return fmt.Sprintf("%T", dev)
}

func (a *app) evalMerge() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "merge --out DIR SHARD…", Short: "Put the shards of a run together", Args: cobra.MinimumNArgs(1),
		Example: "  parley eval merge --out runs/nocaps/all runs/nocaps/shard-*",
		Long: "Writes the folder that a run without shards would have written. Shards of other settings, of other models by their " +
			"hashes, that are " +
			"missing, that are there twice or that are not complete are refused by name."}
	c.Flags().StringVarP(&dir, "out", "o", "", "folder of the whole run, which must not be there yet")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if dir == "" {
			return usage("--out DIR is needed: the folder of the whole run")
		}
		if err := eval.Merge(dir, args); err != nil {
			return err
		}
		if a.json {
			return a.print(map[string]any{"out": dir, "shards": len(args)})
		}
		_, err := fmt.Fprintf(a.out, "%s\n", dir)
		return err
	}
	return c
}

// tried are the flags that a sweep tries other values of.
func tried() []string { return []string{"steps", "scheduler", "guidance", "prune"} }

func (a *app) evalSweep() *cobra.Command {
	f := &evalFlags{}
	var tries []string
	var task, meteor string
	c := &cobra.Command{Use: "sweep --data mini|FILE|DIR --out DIR", Short: "See what candidates, steps and pruning buy", Args: cobra.NoArgs,
		Example: "  parley eval sweep --data mini -k 8 --steps 10 --out runs/sweep --try steps=5 --try prune=0.3:0.5,0.4:0.5\n" +
			"  parley eval sweep --data nocaps_val.json --models models --limit 500 --out runs/sweep --try 'scheduler=dpmpp2m-karras steps=12'",
		Long: "Runs the experiment as the flags say, and again with each --try; then draws the gain of the choice " +
			"against the runs of the UNet, in " +
			"OUT/sweep.html, sweep.json and sweep-*.svg and .png. Each run has a folder in --out and goes on where it was " +
			"ended. Fewer candidates need " +
			"no run of their own. A try names flags: " + strings.Join(tried(), ", ") + "."}
	f.addRun(a, c)
	c.Flags().StringArrayVar(&tries, "try", []string{"prune=0.3:0.5,0.4:0.5"}, "FLAG=VALUE… of a cheaper run; may be repeated")
	c.Flags().StringVar(&task, "task", eval.Image, eval.Image+" or "+eval.Text)
	c.Flags().StringVar(&meteor, "meteor-data", "", "folder of METEOR's data: pycocoevalcap/meteor of PyPI's pycocoevalcap 1.2")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(); err != nil {
			return err
		}
		if f.prune != "" {
			return usage("--prune %s: the first run is a whole one; try it with --try prune=%s", f.prune, f.prune)
		}
		if f.k < 2 {
			return usage("-k %d: of one candidate there is no choice", f.k)
		}
		whole := filepath.Join(f.dir, "whole")
		if _, err := a.runEval(cmd, f, task, coco.Shard{}, whole); err != nil {
			return err
		}
		cheaper := map[string]string{}
		for _, t := range tries {
			back, err := set(cmd, t)
			if err != nil {
				return usage("--try %s: %w", t, err)
			}
			dir := filepath.Join(f.dir, strings.NewReplacer(" ", "_", "=", "-", ":", "x", ",", "-", "/", "-").Replace(t))
			if _, err := a.runEval(cmd, f, task, coco.Shard{}, dir); err != nil {
				return fmt.Errorf("--try %s: %w", t, err)
			}
			cheaper[t] = dir
			if err := back(); err != nil {
				return err
			}
		}
		r, err := report.Compare(f.dir, whole, cheaper, meteor)
		if err != nil {
			return err
		}
		if a.json {
			return a.print(r)
		}
		return r.Print(a.out)
	}
	return c
}

// set sets the flags of a try; back sets them as they were.
func set(cmd *cobra.Command, try string) (back func() error, err error) {
	type was struct {
		name, value string
		changed     bool
	}
	var before []was
	back = func() (err error) {
		for _, b := range before {
			flag := cmd.Flags().Lookup(b.name)
			err = errors.Join(err, flag.Value.Set(b.value))
			flag.Changed = b.changed
		}
		return err
	}
	for _, part := range strings.Fields(try) {
		name, value, ok := strings.Cut(part, "=")
		if !ok || !slices.Contains(tried(), name) {
			return nil, errors.Join(fmt.Errorf("%q: want FLAG=VALUE of %s", part, strings.Join(tried(), ", ")), back())
		}
		flag := cmd.Flags().Lookup(name)
		before = append(before, was{name, flag.Value.String(), flag.Changed})
		if err := cmd.Flags().Set(name, value); err != nil {
			return nil, errors.Join(err, back())
		}
	}
	if len(before) == 0 {
		return nil, errors.New("it names no flag")
	}
	if err := within(cmd); err != nil {
		return nil, errors.Join(err, back())
	}
	return back, nil
}
