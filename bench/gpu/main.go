// Command gpu proves and measures Parley on a GPU: the operations' suites and the
// nets' goldens on the device, hardware against interpreter bit for bit, the
// matrix kernels beside cuBLAS and PyTorch, full-size nets with random weights,
// and both reconstructions on the miniature models, on the CPU and on the
// device. It writes one JSON and a table to bench/results.
//
//	make gpu-bundle && out/gpu/run              # anywhere with a driver
//	bench/gpu/run --device ptx --small          # on the interpreter, small
//	go run ./bench/gpu roofline                 # what to expect: bench/ROOFLINE.md
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"parley/engine"
	"parley/engine/cuda"
)

// options are the command line.
type options struct {
	device  string
	small   bool
	only    string
	out     string
	data    string
	limit   time.Duration
	scenes  int
	records io.Writer // progress and logs
}

func (o *options) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.StringVar(&o.device, "device", "cuda:0", "cuda:N, or ptx, the interpreter")
	f.BoolVar(&o.small, "small", false, "small sizes: to see that everything runs")
	f.StringVar(&o.only, "only", "", "these parts, by commas: "+strings.Join(names(), ","))
	f.StringVar(&o.out, "out", filepath.Join("bench", "results"), "folder of the results")
	f.StringVar(&o.data, "data", "", "the bundle or the checkout (where the program or the shell is)")
	f.DurationVar(&o.limit, "limit", 10*time.Minute, "for everything")
	f.IntVar(&o.scenes, "scenes", 200, "of the reconstructions")
	return f
}

// section is a part of the run: a process of its own, so that what goes wrong in
// one leaves the others be.
type section struct {
	name, what string
	run        func(*bench) error
}

func sections() []section {
	return []section{
		{"suites", "each operation against loops in float64", suites},
		{"goldens", "each net against transformers and diffusers", goldens},
		{"bits", "the hardware against the interpreter, bit for bit", bits},
		{"kernels", "matrix products, convolutions, attention and norms at the nets' shapes", kernels},
		{"cublas", "the same products by cuBLAS", cublas},
		{"torch", "the same by PyTorch", torch},
		{"diffusion", "Stable Diffusion 1.5 with random weights", stableDiffusion},
		{"captions", "BLIP base with random weights", captions},
		{"embeddings", "CLIP B/32 with random weights", embeddings},
		{"loops", "both reconstructions on the miniature models, against the CPU", loops},
	}
}

func names() []string {
	var l []string
	for _, s := range sections() {
		l = append(l, s.name)
	}
	return l
}

// part is what a section found.
type part struct {
	Name     string   `json:"name"`
	What     string   `json:"what"`
	Command  string   `json:"command"`
	Seconds  float64  `json:"seconds"`
	Skipped  string   `json:"skipped,omitempty"` // why there is nothing
	Failures []string `json:"failures,omitempty"`
	Figures  []figure `json:"figures,omitempty"`
}

// figure is one number. Of repeated measurements it is the median.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// bench is what a section works with.
type bench struct {
	options
	ctx context.Context
	dev *cuda.Device // of open
	*part
}

func (b *bench) figure(name string, value float64, unit string) {
	b.Figures = append(b.Figures, figure{name, value, unit})
	fmt.Fprintf(b.records, "  %-58s %12.5g %s\n", name, value, unit)
}

func (b *bench) fail(format string, args ...any) {
	b.Failures = append(b.Failures, fmt.Sprintf(format, args...))
	fmt.Fprintf(b.records, "  FAILED: "+format+"\n", args...)
}

// skipped is why a section has nothing to say.
type skipped string

func (s skipped) Error() string { return string(s) }

// open opens the device, for the section or until close.
func (b *bench) open(float engine.DType) error {
	o := cuda.Options{Emulated: b.device == "ptx", Float32: float == engine.F32}
	if !o.Emulated {
		if _, err := fmt.Sscanf(b.device, "cuda:%d", &o.Ordinal); err != nil {
			return fmt.Errorf("device %q: want cuda:N or ptx", b.device)
		}
	}
	d, err := cuda.Open(o)
	if err != nil {
		return err
	}
	b.dev = d
	return nil
}

func (b *bench) close() {
	if b.dev == nil {
		return
	}
	if err := b.dev.Close(); err != nil {
		b.fail("close: %v", err)
	}
	b.dev = nil
}

func (b *bench) hardware() bool { return b.device != "ptx" }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := command(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func command(ctx context.Context, args []string) int {
	o := options{records: os.Stderr}
	var err error
	switch {
	case len(args) > 0 && args[0] == "roofline":
		err = roofline(args[1:], os.Stdout)
	case len(args) > 1 && args[0] == "part":
		if err = o.flags("part").Parse(args[2:]); err == nil {
			err = alone(ctx, o, args[1])
		}
	case len(args) > 0 && args[0] == "operations":
		if err = o.flags("operations").Parse(args[1:]); err == nil {
			runOperations(o) // does not come back
		}
	default:
		if err = o.flags("gpu").Parse(args); err == nil {
			return all(ctx, o)
		}
	}
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gpu:", err)
		return 1
	}
	return 0
}

// alone runs one section and prints its part as JSON.
func alone(ctx context.Context, o options, name string) error {
	i := slices.Index(names(), name)
	if i < 0 {
		return fmt.Errorf("part %q: choose from %v", name, names())
	}
	b := &bench{options: o, ctx: ctx, part: &part{}}
	if err := b.guarded(sections()[i].run); err != nil {
		var skip skipped
		if errors.As(err, &skip) {
			b.Skipped = err.Error()
		} else {
			b.fail("%v", err)
		}
	}
	b.close()
	return json.NewEncoder(os.Stdout).Encode(b.part)
}

// guarded turns a panic into a failure that keeps the figures so far.
func (b *bench) guarded(run func(*bench) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return run(b)
}

// self starts this program with other arguments.
func (o options) self(ctx context.Context, args ...string) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args = append(args, "-device", o.device, fmt.Sprintf("-small=%t", o.small), "-data", o.data, fmt.Sprint("-scenes=", o.scenes))
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// all runs the sections one after another, writes what they found, and returns
// the exit code.
func all(ctx context.Context, o options) int {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	var only []string
	if o.only != "" {
		only = strings.Split(o.only, ",")
		for _, n := range only {
			if !slices.Contains(names(), n) {
				fmt.Fprintf(os.Stderr, "gpu: part %q: choose from %v\n", n, names())
				return 2
			}
		}
	}
	r, err := describe(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gpu:", err)
		return 1
	}
	for _, s := range sections() {
		if only != nil && !slices.Contains(only, s.name) {
			continue
		}
		fmt.Fprintf(o.records, "%s: %s\n", s.name, s.what)
		began := time.Now()
		p := o.section(ctx, s)
		p.Name, p.What, p.Command = s.name, s.what, o.command(s.name)
		p.Seconds = round(time.Since(began).Seconds())
		r.Parts = append(r.Parts, p)
		if p.Skipped != "" {
			fmt.Fprintln(o.records, "  left out:", p.Skipped)
		}
	}
	r.Seconds = round(time.Since(start).Seconds())
	for _, p := range r.Parts {
		for _, f := range p.Failures {
			r.Failures = append(r.Failures, p.Name+": "+f)
		}
	}
	path, err := r.save(o.out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gpu:", err)
		return 1
	}
	fmt.Fprintf(o.records, "%.0f seconds, %d failures: %s\n", r.Seconds, len(r.Failures), path)
	if len(r.Failures) > 0 {
		return 1
	}
	return 0
}

// section runs one in a process of its own.
func (o options) section(ctx context.Context, s section) (p part) {
	cmd, err := o.self(ctx, "part", s.name)
	if err != nil {
		return part{Failures: []string{err.Error()}}
	}
	cmd.Stderr = o.records
	out, err := cmd.Output()
	if ctx.Err() != nil {
		err = fmt.Errorf("no time was left: %w", ctx.Err())
	}
	if e := json.Unmarshal(out, &p); e != nil && err == nil {
		err = fmt.Errorf("what it printed: %w", e)
	}
	if err != nil {
		p.Failures = append(p.Failures, err.Error())
	}
	return p
}

// command is how one part is run again.
func (o options) command(part string) string {
	c := "bench/gpu/run --device " + o.device
	if o.small {
		c += " --small"
	}
	return c + " --only " + part
}
