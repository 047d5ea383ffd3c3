// Command gpu proves and measures Parley on a GPU that is lent for minutes: the
// operations' suites and the nets' goldens on the device, hardware against
// interpreter bit for bit, full-size nets of random weights, every plan of every
// product, PyTorch and its nets beside it, and both reconstructions on the
// miniature models. Each part is a process of its own; what it finds is on disk at
// once (bench/parts). bench/results/README.md says how it is done.
//
//	make gpu-bundle && bench/gpu/run --call 1 --out DIR   # on a machine with a GPU
//	bench/gpu/run --device ptx --small --out DIR          # on the interpreter, small
//	bench/gpu/run roofline                                # what to expect: bench/ROOFLINE.md
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"parley/bench/parts"
	"parley/bench/timing"
	"parley/engine"
	"parley/engine/cuda"
)

// options are the command line.
type options struct {
	device string
	small  bool
	call   int
	only   string
	out    string
	data   string
	limit  time.Duration
	scenes int
}

func (o *options) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.StringVar(&o.device, "device", "cuda:0", "cuda:N, or ptx, the interpreter")
	f.BoolVar(&o.small, "small", false, "small sizes: to see that everything runs")
	f.IntVar(&o.call, "call", 0, "1: what has to be known first, in 280 s; 2: the rest; 0: everything")
	f.StringVar(&o.only, "only", "", "these parts, by commas: "+strings.Join(names(list()), ","))
	f.StringVar(&o.out, "out", "", "folder of the results (bench/results/DATE)")
	f.StringVar(&o.data, "data", "", "the checkout (where the shell is)")
	f.DurationVar(&o.limit, "limit", 0, "for everything (280s for call 1, 560s for call 2, 14m for all)")
	f.IntVar(&o.scenes, "scenes", 60, "of the reconstructions, up to 200")
	return f
}

// args are the options as a part's process gets them.
func (o options) args() []string {
	return []string{"-device", o.device, fmt.Sprintf("-small=%t", o.small), "-data", o.data, fmt.Sprint("-scenes=", o.scenes)}
}

func (o options) hardware() bool { return o.device != "ptx" }

// bench is what a part works with.
type bench struct {
	options
	*parts.Speaker
	ctx   context.Context
	dev   *cuda.Device // of open
	until time.Time    // when it had better end with what it has; zero: never
}

// late says that a part had better end with what it has.
func (b *bench) late() bool {
	return b.ctx.Err() != nil || !b.until.IsZero() && time.Now().After(b.until)
}

// skipped is why a part has nothing to say.
type skipped string

func (s skipped) Error() string { return string(s) }

// open opens the device, for the part or until close.
func (b *bench) open(float engine.DType) error {
	return b.openAs(cuda.Options{Float32: float == engine.F32})
}

func (b *bench) openAs(o cuda.Options) error {
	if o.Emulated = !b.hardware(); !o.Emulated {
		var err error
		if o.Ordinal, err = ordinal(b.device); err != nil {
			return err
		}
	}
	d, err := cuda.Open(o)
	if err != nil {
		return err
	}
	b.dev = d
	return nil
}

// ordinal is the N of cuda:N.
func ordinal(device string) (n int, err error) {
	if _, err = fmt.Sscanf(device, "cuda:%d", &n); err != nil || device != fmt.Sprintf("cuda:%d", n) {
		return 0, fmt.Errorf("device %q: want cuda:N or ptx", device)
	}
	return n, nil
}

func (b *bench) close() {
	if b.dev == nil {
		return
	}
	if err := b.dev.Close(); err != nil {
		b.Fail("close: %v", err)
	}
	b.dev = nil
}

func (b *bench) timer() *timing.Timer { return timing.On(b.dev, b.small) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func command(ctx context.Context, args []string) int {
	var o options
	var err error
	code := 0
	switch {
	case len(args) > 0 && args[0] == "roofline":
		err = predict(args[1:], os.Stdout)
	case len(args) > 1 && args[0] == "part":
		if err = o.flags("part").Parse(args[2:]); err == nil {
			err = alone(ctx, o, args[1])
		}
	case len(args) > 0 && args[0] == "operations":
		if err = o.flags("operations").Parse(args[1:]); err == nil {
			runOperations(o) // does not come back
		}
	case len(args) > 0 && args[0] == "rooms":
		if err = o.flags("rooms").Parse(args[1:]); err == nil {
			err = smallNets(ctx, o)
		}
	case len(args) > 0 && args[0] == "launches":
		if err = o.flags("launches").Parse(args[1:]); err == nil {
			err = mainLaunches(ctx, o)
		}
	default:
		f := o.flags("gpu")
		if err = f.Parse(args); err == nil && f.NArg() > 0 {
			err = fmt.Errorf("%q: want flags alone, or roofline", f.Arg(0))
		}
		if err == nil {
			code, err = all(ctx, o)
		}
	}
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gpu:", err)
		return max(code, 1)
	}
	return code
}

// alone runs one part in this process and says what it finds on stdout.
func alone(ctx context.Context, o options, name string) error {
	p, err := find(name)
	if err != nil {
		return err
	}
	b := &bench{options: o, ctx: ctx, Speaker: parts.NewSpeaker(os.Stdout), until: parts.Deadline()}
	if err := b.guarded(p.run); err != nil {
		var skip skipped
		if errors.As(err, &skip) {
			b.Skip(err.Error())
		} else {
			b.Fail("%v", err)
		}
	}
	b.close()
	return nil
}

// guarded turns a panic into a failure.
func (b *bench) guarded(run func(*bench) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return run(b)
}

// all runs the chosen parts, each in a process, and returns the exit code: 1 where
// something failed.
func all(ctx context.Context, o options) (int, error) {
	chosen, err := choose(o)
	if err != nil {
		return 2, err
	}
	if o.limit == 0 {
		o.limit = map[int]time.Duration{0: 14 * time.Minute, 1: 280 * time.Second, 2: 560 * time.Second}[o.call]
	}
	gpu := 0
	if o.hardware() {
		if gpu, err = ordinal(o.device); err != nil {
			return 2, err
		}
	}
	if o.data == "" {
		if o.data, err = os.Getwd(); err != nil {
			return 1, err
		}
	}
	if o.data, err = filepath.Abs(o.data); err != nil {
		return 1, err
	}
	if o.out == "" {
		o.out = filepath.Join(o.data, "bench", "results", time.Now().UTC().Format("2006-01-02"))
		if o.small || !o.hardware() {
			o.out = filepath.Join(o.data, "out", "gpu-small")
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return 1, err
	}
	folder, err := parts.Create(o.out, parts.Report{Title: "Parley on " + o.device, Lines: about(o), Command: o.command("")})
	if err != nil {
		return 1, err
	}
	r := parts.Run{Folder: folder, Limit: o.limit, GPU: gpu, Again: o.command, Log: os.Stderr, Env: []string{
		"PARLEY_RESULTS=" + folder.Path(), "PYTHONUNBUFFERED=1", "HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1",
	}}
	for _, p := range chosen {
		limit := p.limit
		if o.small {
			limit = 5 * time.Minute // the interpreter's
		}
		r.Parts = append(r.Parts, parts.Part{Name: p.name, What: p.what, Limit: limit, Least: p.least,
			Command: append([]string{exe, "part", p.name}, o.args()...)})
	}
	r.Do(ctx)
	err = folder.Close()
	report := folder.Report()
	fmt.Fprintf(os.Stderr, "%.0f seconds, %d failures, %d notes: %s\n", report.Seconds, report.Failures, report.Notes,
		folder.Path("report.md"))
	if report.Failures > 0 {
		return 1, err
	}
	return 0, err
}

// command is how the run, or one part of it, is run again.
func (o options) command(part string) string {
	c := "bench/gpu/run --device " + o.device
	if o.small {
		c += " --small"
	}
	switch {
	case part != "":
		c += " --only " + part
	case o.only != "":
		c += " --only " + o.only
	case o.call > 0:
		c += fmt.Sprint(" --call ", o.call)
	}
	return c
}
