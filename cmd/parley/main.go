// Command parley describes, draws and judges pictures with BLIP, Stable
// Diffusion and CLIP, and lets them choose the best of each other's work.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// usageError is a wrong command line: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// noResult says that all is done and nothing came of it: exit code 3, for trying again
// would change nothing.
type noResult struct{ error }

func (e noResult) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	// Weights are the most of the heap, hold no pointers and cost the collector
	// nothing: it may run before there is as much garbage as there are weights.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(10)
	}
	stops := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		stops = append(stops, syscall.SIGHUP)
	}
	var patience atomic.Int64
	patience.Store(int64(900 * time.Millisecond))
	ctx, stop := signal.NotifyContext(context.WithValue(context.Background(), patienceKey{}, &patience), stops...)
	go func() {
		// Work stops between two operations and files appear whole or not at
		// all; what takes longer than people wait (a large checkpoint being
		// read) is left. A second Ctrl-C ends at once.
		<-ctx.Done()
		stop()
		time.Sleep(time.Duration(patience.Load()))
		fmt.Fprintln(os.Stderr, "parley: stopped")
		os.Exit(1)
	}()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	os.Exit(code)
}

// patienceKey is the context's value of how long the program may take to end.
type patienceKey struct{}

// patient lets a command take longer to end than others.
func patient(ctx context.Context, d time.Duration) {
	if p, ok := ctx.Value(patienceKey{}).(*atomic.Int64); ok {
		p.Store(int64(d))
	}
}

// run is the program: 0 done, 1 failed, 2 wrongly called, 3 complete without a result.
func run(ctx context.Context, args []string, out, errs io.Writer) (code int) {
	return runOn(ctx, args, os.Stdin, out, errs)
}

// runOn is run with a standard input.
func runOn(ctx context.Context, args []string, in io.Reader, stdout, errs io.Writer) (code int) {
	out := &checked{Writer: stdout}
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(errs, "parley: a fault of the program, please report it: %v\n", r)
			code = 1
		}
	}()
	root := command(out, errs)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	called, err := root.ExecuteContextC(ctx)
	if out.err != nil {
		err = out.err // whatever came of it
	}
	var wrong usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong) || strings.HasPrefix(err.Error(), "unknown command"):
		fmt.Fprintf(errs, "parley: %v\nSee: %s --help\n", err, called.CommandPath())
		return 2
	case ctx.Err() != nil:
		fmt.Fprintln(errs, "parley: stopped; what was finished is there")
		return 1
	}
	fmt.Fprintf(errs, "parley: %v\n", err)
	if errors.As(err, new(noResult)) {
		return 3
	}
	return 1
}

func command(out *checked, errs io.Writer) *cobra.Command {
	a := &app{out: out, errs: errs}
	root := &cobra.Command{
		Use:   "parley",
		Short: "Describe, draw and judge pictures, and choose the best",
		Long: `BLIP describes pictures, Stable Diffusion draws texts, CLIP judges both; and in
the reconstructions they choose the best of each other's work. Without --models
the embedded miniature models run, which know a small world of emoji scenes.`,
		Version:       version(),
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetVersionTemplate("parley {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print JSON")
	f.BoolVar(&a.jsonl, "jsonl", false, "print JSON, a line for each entry as soon as it is there")
	f.StringVar(&a.models, "models", "", "folder that holds blip/, sd/ and clip/, or paper, once that is pulled")
	f.StringVar(&a.blip, "blip", "", "BLIP: a folder, a file, or a name as pull takes it")
	f.StringVar(&a.sd, "sd", "", "Stable Diffusion: a folder, a file, or a name as pull takes it")
	f.StringVar(&a.clip, "clip", "", "CLIP: a folder, a file, or a name as pull takes it")
	f.StringVar(&a.variant, "variant", "", "read a checkpoint's files of this variant, such as fp16 (those without one)")
	f.StringVar(&a.assume.Act, "clip-act", "", "activation of a CLIP without a configuration: gelu or quick_gelu (a guess, which is told)")
	f.IntVar(&a.assume.HeadWidth, "clip-head-width", 0, "channels of an attention head of such a CLIP's vision tower (a guess, which is told)")
	f.StringVar(&a.device, "device", "auto", "auto, cpu, cuda:N, or ptx: the GPU's code on an interpreter")
	f.StringVar(&a.precision, "precision", "", "exact: f32 as it stands; f32: with faster methods; fast: bfloat16 products on the CPU, f16 "+
		"on a GPU (f32 on the CPU, exact for forward; f16 on a GPU)")
	f.IntVar(&a.threads, "threads", 0, "CPU threads (all cores)")
	f.StringVar(&a.tuning, "tuning", "", "file of parley bench tune: methods that were the fastest on this CPU (its own choice)")
	root.AddCommand(a.demo(), a.reconstruct(), a.caption(), a.draw(), a.embed(), a.score(),
		a.tokenize(), a.convert(), a.doctor(), a.forward(), a.metrics(), a.fid(), a.eval(), a.bench(), a.pull(), a.list(), a.rm(),
		a.serve(), a.man())
	state(f)
	a.finish(root)
	return root
}

// finish makes a wrong number of arguments and a flag out of its range usage
// errors of a command and those below it, and states the ranges in their help.
func (a *app) finish(c *cobra.Command) {
	state(c.LocalNonPersistentFlags())
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if check(c, args) != nil {
				have := strings.Join(append([]string{c.CommandPath()}, args...), " ")
				return usage("have %.100q, want %q", have, strings.TrimSuffix(c.UseLine(), " [flags]"))
			}
			return nil
		}
	}
	if work := c.RunE; work != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			if err := within(c); err != nil {
				return err
			}
			a.json = a.json || a.jsonl
			a.tellSeeds(c.Flags())
			return work(c, args)
		}
	}
	for _, sub := range c.Commands() {
		a.finish(sub)
	}
}
