package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/bench/columns"
	"parley/bench/compare"
	"parley/bench/layers"
	"parley/bench/layers/export"
	"parley/bench/workload"
	"parley/cmd/parley/terminal"
	"parley/output"
)

func (a *app) bench() *cobra.Command {
	var w workload.Options
	var baseline, failOver string
	var batches []int
	o := layers.Options{Warmup: 200 * time.Millisecond, Command: "parley " + strings.Join(os.Args[1:], " ")}
	var show export.Options
	var asCSV, asGoBench bool
	var files benchFiles
	c := &cobra.Command{Use: "bench NET", Short: "Say which layer takes the time, and how far it is from what the machine could do",
		Args: cobra.ExactArgs(1),
		Example: "  parley bench unet --preset sd15 --batch 1,4 --html unet.html\n  parley bench clip-image --device cuda --depth 3\n" +
			"  parley bench loop --preset mini --batch 10 --json > now.json\n  parley bench unet --preset mini --baseline now.json --fail-over 10%",
		Long: "NET is one of " + strings.Join(workload.Nets(), ", ") + `.

Each round is a pass without a recorder, the whole, and one with, the layers. The
unet is a guided step; the loop describes a picture, draws each description and
judges the drawings. docs/bench.md follows an optimisation from beginning to end.`}
	f := c.Flags()
	f.StringVar(&w.Preset, "preset", "", "configuration of random weights, or several by commas: sd15, sd21, sd21v, blip-base, blip-large, "+
		"clip-b32, clip-l14, clip-h14, mini, small (the usual one of the net)")
	f.StringVar(&w.Weights, "weights", workload.Random, "random, or a checkpoint's folder or file; of a loop, a folder with sd, blip and clip")
	f.IntSliceVar(&batches, "batch", []int{1}, "samples of a pass, several by commas; of blip-generate and loop, captions of one picture")
	f.IntVar(&w.Size, "size", 0, "side of the pictures (the model's)")
	f.IntVar(&w.Steps, "steps", 4, "of denoising, by pipeline and loop; what 50 would take is projected")
	f.IntVar(&w.Tokens, "tokens", 20, "of a caption, by blip-generate and loop")
	f.IntVar(&o.Rounds, "rounds", 0, "that are timed (10; fewer where they would take more than 40 s)")
	f.IntVar(&show.Depth, "depth", 0, "names of a path; layers below are joined (0: all are shown)")
	f.StringVar(&show.Sort, "sort", layers.ByTime, "time; roof: what has the most to win first; order: as it runs")
	f.IntVar(&show.Top, "top", 40, "rows of the table at most (0: all)")
	width := addWidth(c)
	f.BoolVar(&asCSV, "csv", false, "print CSV")
	f.BoolVar(&asGoBench, "gobench", false, "print Go's benchmark format, a line a round: for benchstat")
	files.add(c)
	f.StringVar(&baseline, "baseline", "", "file of an earlier --json: print what has changed")
	f.StringVar(&failOver, "fail-over", "", "with --baseline: fail where the whole or a layer is slower by more than this, as 10%")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		w.Net, show.Width = args[0], a.columns(*width)
		if err := untaken(cmd, "--weights", "models", "blip", "sd", "clip", "variant", "clip-act", "clip-head-width"); err != nil {
			return err
		}
		share, err := percent("--fail-over", failOver)
		if err == nil && failOver == "" && cmd.Flags().Changed("fail-over") {
			err = usage("--fail-over: say by how much, as 10%%")
		}
		if err != nil {
			return err
		}
		if failOver != "" && baseline == "" {
			return usage("--fail-over: --baseline says over what")
		}
		if several := asked(map[string]bool{"--json": a.json, "--csv": asCSV, "--gobench": asGoBench}); len(several) > 1 {
			return usage("%s: choose one", strings.Join(several, " and "))
		}
		var before []*layers.Result
		if baseline != "" {
			if before, err = compare.Read(baseline); err != nil {
				return fmt.Errorf("--baseline: %w", err)
			}
		}
		if err := errors.Join(workload.Check(w, cmd.Flags().Changed("steps"), cmd.Flags().Changed("tokens")), files.check()); err != nil {
			return usageError{err}
		}
		dev, err := a.open()
		if err != nil {
			return err
		}
		set, err := workload.Open(w, dev)
		if err != nil {
			return err
		}
		defer set.Close()
		var works []*workload.Work
		for _, n := range batches {
			works = append(works, set.Of(n))
		}
		results, err := layers.Measure(cmd.Context(), dev, works, o)
		if err != nil {
			return err
		}
		if err := files.write(results, show); err != nil {
			return err
		}
		var diffs []*compare.Diff
		if baseline != "" {
			if diffs, err = compare.Compare(before, results, compare.Options{Depth: show.Depth, Least: leastChange, SameMachine: true}); err != nil {
				return fmt.Errorf("--baseline %s: %w", baseline, err)
			}
			var to io.Writer = a.out
			if a.json || asCSV || asGoBench { // which programs read
				to = a.errs
			}
			if err := compare.Table(to, diffs, false, show.Width); err != nil {
				return err
			}
		}
		switch {
		case a.json && len(results) == 1:
			err = a.print(results[0])
		case a.json:
			err = a.print(results)
		case asCSV:
			err = export.CSV(a.out, results, show)
		case asGoBench:
			err = export.GoBench(a.out, results, show)
		case diffs == nil:
			err = export.Table(a.out, results, show)
		}
		if err == nil && failOver != "" {
			if slower := compare.Regressions(diffs, share); slower != nil {
				err = fmt.Errorf("slower than %s by more than %s:\n%w", baseline, failOver, slower)
			}
		}
		return err
	}
	c.AddCommand(a.benchDiff(), a.benchHistory(), a.benchCompare(), a.benchKernels(), a.benchTune())
	return c
}

// addWidth adds the flag of a table's columns.
func addWidth(c *cobra.Command) *int {
	return c.Flags().Int("width", 0, fmt.Sprintf("columns of a line; longer names are shortened (the terminal's; %d where there is none)",
		columns.Usual))
}

// columns are how many a table has, where a flag says it or not.
func (a *app) columns(flag int) int { return cmp.Or(flag, terminal.Width(a.out), columns.Usual) }

// asked are the names of flags that are set, in order.
func asked(flags map[string]bool) (l []string) {
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		if flags[name] {
			l = append(l, name)
		}
	}
	return l
}

// leastChange is the change of a median that is told, as a share.
const leastChange = 0.02

// percent reads "10%" as 0.1.
func percent(flag, text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(v >= 0 && v <= 1000) {
		return 0, usage("%s %s: want 0%% to 1000%%", flag, text)
	}
	return v / 100, nil
}

// benchFiles are the files that results are written to beside what is printed.
type benchFiles struct {
	page, svg, trace, pprof string
	force                   bool
}

func (b *benchFiles) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&b.page, "html", "", "write a page with flame graph, roofline and timeline to this file")
	f.StringVar(&b.svg, "svg", "", "write flame graph and roofline to this file, for a README")
	f.StringVar(&b.trace, "trace", "", "write the last round for Perfetto or Chrome's tracing to this file")
	f.StringVar(&b.pprof, "pprof", "", "write a profile for go tool pprof to this file")
	f.BoolVar(&b.force, "force", false, "write over files of another kind")
}

// file is one of them: where it goes, and how.
type benchFile struct {
	flag, path string
	kind       output.Kind
	write      func(w io.Writer, r []*layers.Result, o export.Options) error
}

// begins is the kind of files that begin with a text.
func begins(name, with string) output.Kind {
	return output.Kind{Name: name, Is: func(head []byte) bool { return strings.HasPrefix(string(head), with) }}
}

func htmlKind() output.Kind { return begins("HTML", "<!doctype html") }

func (b *benchFiles) list() (l []benchFile) {
	for _, f := range []benchFile{
		{"html", b.page, htmlKind(), export.HTML},
		{"svg", b.svg, begins("SVG", "<svg"), func(w io.Writer, r []*layers.Result, _ export.Options) error { return export.SVG(w, r) }},
		{"trace", b.trace, output.JSON, func(w io.Writer, r []*layers.Result, _ export.Options) error { return export.Trace(w, r) }},
		{"pprof", b.pprof, begins("gzip", "\x1f\x8b"), func(w io.Writer, r []*layers.Result, _ export.Options) error {
			return export.PProf(w,
				r)
		}},
	} {
		if f.path != "" {
			l = append(l, f)
		}
	}
	return l
}

// check says before the work what could not be written after it.
func (b *benchFiles) check() error {
	var errs []error
	at := map[string]string{} // flags by their files
	for _, f := range b.list() {
		path := filepath.Clean(f.path)
		if other, ok := at[path]; ok {
			errs = append(errs, fmt.Errorf("--%s and --%s: %s is one file", other, f.flag, f.path))
		}
		at[path] = f.flag
		if err := errors.Join(output.Sweep(filepath.Dir(f.path)), output.Check(f.path, output.Options{Kind: f.kind,
			Force: b.force})); err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", f.flag, err))
		}
	}
	return errors.Join(errs...)
}

func (b *benchFiles) write(results []*layers.Result, o export.Options) error {
	for _, f := range b.list() {
		err := output.Write(f.path, output.Options{Kind: f.kind, Force: b.force}, func(w io.Writer) error { return f.write(w, results, o) })
		if err != nil {
			return fmt.Errorf("--%s: %w", f.flag, err)
		}
	}
	return nil
}
