// Package tuning measures the methods that the CPU's operations could take, at the
// shapes that nets have, and keeps the fastest in a table that a device reads
// (host.Options). A table belongs to a machine: of another it is refused.
package tuning

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aclements/go-moremath/stats"
	"github.com/klauspost/cpuid/v2"

	"parley/bench/columns"
	"parley/bench/layers"
	"parley/bench/random"
	"parley/bench/workload"
	"parley/engine"
	"parley/engine/host"
	"parley/kernels/conv"
	"parley/kernels/matmul"
	"parley/kernels/simd"
	"parley/kernels/storage"
)

// Version is that of the methods' names and of what they do. It is raised where a
// table of before would choose something else.
const Version = 1

// Machine is what a table was measured on, and is good for.
type Machine struct {
	CPU       string `json:"cpu"`
	Kernels   string `json:"kernels"` // the level of the instruction set
	Threads   int    `json:"threads"`
	Precision string `json:"precision"`
}

// MachineOf is the one that a device of the CPU is.
func MachineOf(d *host.Device) Machine {
	return Machine{cpuid.CPU.BrandName, simd.Active().String(), d.Workers(), d.Precision().String()}
}

// Table is what was chosen.
type Table struct {
	Version int               `json:"version"`
	Machine Machine           `json:"machine"`
	Choices map[string]string `json:"choices"` // where the device's own way is the fastest there is none
}

// Read reads a table for a machine. The error of one that is of another machine or of
// another version of the program is a StaleError.
func Read(path string, m Machine) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var t Table
	if err := json.Unmarshal(data, &t); err != nil || t.Version == 0 || t.Choices == nil || t.Machine.CPU == "" {
		return nil, fmt.Errorf("%s: no table of parley bench tune", path)
	}
	switch {
	case t.Version != Version:
		return nil, &StaleError{fmt.Sprintf("%s is of version %d of the methods, this program has %d", path, t.Version, Version)}
	case t.Machine != m:
		return nil, &StaleError{fmt.Sprintf("%s is of %s, this is %s", path, t.Machine, m)}
	}
	known := slices.Concat(matmul.Blockings(), conv.Methods())
	for _, key := range slices.Sorted(maps.Keys(t.Choices)) {
		if !slices.Contains(known, t.Choices[key]) {
			return nil, fmt.Errorf("%s: %s: no method %q: want one of %s", path, key, t.Choices[key], strings.Join(known, ", "))
		}
	}
	return t.Choices, nil
}

func (m Machine) String() string {
	return fmt.Sprintf("%s with %s, %d threads, precision %s", m.CPU, m.Kernels, m.Threads, m.Precision)
}

// StaleError is a table that is not for this machine or program.
type StaleError struct{ words string }

func (e *StaleError) Error() string { return e.words }

// Shape is an operation of some nets.
type Shape struct {
	Op   string         `json:"op"`
	Dims map[string]int `json:"dims"`
	Uses int            `json:"uses"` // in a pass of each net
	Nets []string       `json:"nets"`
	key  string
}

// collector finds shapes among spans.
type collector struct {
	net    string
	shapes map[string]*Shape
}

// Record implements engine.Recorder.
func (c *collector) Record(s engine.Span) {
	d := s.Dims.Of
	var key string
	switch {
	case s.Op == "linear":
		key = matmul.Key(d("k"), d("n"))
	case s.Op == "conv" && d("kh") == 3 && d("kw") == 3 && d("stride") <= 1:
		key = conv.Key(d("h"), d("w"), d("in"), d("out"))
	default:
		return
	}
	at := key
	if s.Op == "linear" {
		at = fmt.Sprint(key, " of ", d("m"))
	}
	v := c.shapes[at]
	if v == nil {
		v = &Shape{Op: s.Op, Dims: map[string]int{}, key: key}
		for _, e := range s.Dims {
			if e.Name != "" {
				v.Dims[e.Name] = e.Size
			}
		}
		c.shapes[at] = v
	}
	v.Uses++
	if !slices.Contains(v.Nets, c.net) {
		v.Nets = append(v.Nets, c.net)
	}
}

// Works are workloads of some nets with random weights, each of the preset among
// those that are named which it has, or of its usual one.
func Works(nets []string, presets string, size int) ([]workload.Options, error) {
	var l []workload.Options
	for _, net := range nets {
		o := workload.Options{Net: net, Size: size}
		var err error
		for name := range strings.SplitSeq(presets, ",") {
			o.Preset = name
			var set *workload.Set
			if set, err = workload.Open(o, engine.DryRun{Elem: engine.F32, Host: true}); err == nil {
				set.Close()
				break
			}
		}
		if err != nil {
			return nil, err
		}
		l = append(l, o)
	}
	return l, nil
}

// single are the nets that can be measured by themselves.
func single() (l []string) {
	for _, net := range workload.Nets() {
		if workload.Single(net) {
			l = append(l, net)
		}
	}
	return l
}

// Collect runs workloads dry and returns the shapes of their products and
// convolutions that have methods to choose from, those with the most FLOPs first.
func Collect(ctx context.Context, works []workload.Options) ([]Shape, error) {
	dry := engine.DryRun{Elem: engine.F32, Host: true}
	c := &collector{shapes: map[string]*Shape{}}
	for _, o := range works {
		set, err := workload.Open(o, dry)
		if err != nil {
			return nil, err
		}
		if !set.Graph() {
			set.Close()
			return nil, fmt.Errorf("%s is more than one net: name those of it, such as %s", o.Net, strings.Join(single(), ", "))
		}
		c.net = o.Net
		run := engine.NewRun(ctx).On(dry)
		run.Recorder = c
		s := run.Stream()
		pass, err := set.Of(1).Start(s)
		if err == nil {
			err = pass()
		}
		s.Close()
		set.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Net, err)
		}
	}
	var l []Shape
	for _, v := range c.shapes {
		l = append(l, *v)
	}
	slices.SortFunc(l, func(a, b Shape) int {
		return cmp.Or(cmp.Compare(float64(b.Uses)*b.flops(), float64(a.Uses)*a.flops()), strings.Compare(a.key, b.key),
			cmp.Compare(a.Dims["m"], b.Dims["m"]))
	})
	return l, nil
}

func (v Shape) flops() float64 {
	d := v.Dims
	if v.Op == "conv" {
		return 2 * float64(d["n"]*d["h"]*d["w"]) * float64(d["out"]*d["in"]*9)
	}
	return 2 * float64(d["m"]) * float64(d["n"]) * float64(d["k"])
}

// Found is a shape with its methods.
type Found struct {
	Shape
	Own     string   `json:"own"` // what the device would take
	Methods []Method `json:"methods"`
	Winner  string   `json:"winner"` // Own, unless another is faster by more than noise
}

// Method is one that was timed.
type Method struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"` // median
}

// Gain is the share of its time that the winner saves.
func (f Found) Gain() float64 {
	var own, best float64
	for _, m := range f.Methods {
		if m.Name == f.Own {
			own = m.Seconds
		}
		if m.Name == f.Winner {
			best = m.Seconds
		}
	}
	if own == 0 {
		return 0
	}
	return 1 - best/own
}

// Options say how methods are measured.
type Options struct {
	Workers   int
	Precision host.Precision
	Rounds    int     // of each method, by turns
	Least     float64 // share of the time by which another method has to be faster than the own
	Progress  func(done, of int)
}

// Measure times each method of each shape.
func Measure(ctx context.Context, shapes []Shape, o Options) ([]Found, error) {
	if o.Rounds < 1 {
		return nil, errors.New("no rounds")
	}
	var all []Found
	for i, v := range shapes {
		f, err := measure(ctx, v, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.key, err)
		}
		if f != nil {
			all = append(all, *f)
		}
		if o.Progress != nil {
			o.Progress(i+1, len(shapes))
		}
	}
	return all, nil
}

// runner runs an operation on a device of its own, which takes one method.
type runner struct {
	name   string
	s      *engine.Stream
	run    operation
	took   string
	rounds []float64
}

// operation is one on a stream.
type operation func(s *engine.Stream) *engine.Tensor

// Record implements engine.Recorder: what the operation took.
func (r *runner) Record(s engine.Span) {
	if s.Op == "linear" || s.Op == "conv" {
		r.took = s.Kernel
	}
}

// once runs the operation and notes what it takes.
func (r *runner) once() error {
	r.s.Watch(r, nil)
	r.s.Free(r.run(r.s))
	r.s.Watch(nil, nil)
	return r.s.Err()
}

// measure is nil where a shape has nothing to choose from.
func measure(ctx context.Context, v Shape, o Options) (*Found, error) {
	plain := host.NewWith(host.Options{Workers: o.Workers, Precision: o.Precision})
	if v.Op == "conv" && (o.Precision == host.Exact || matmul.Gemm(plain).Format != simd.F32) {
		return nil, nil // a plain sum, always
	}
	first := &runner{s: engine.NewStream(ctx, plain)}
	defer first.s.Close()
	var err error
	if first.run, err = prepare(first.s, v); err == nil {
		err = first.once()
	}
	if err != nil {
		return nil, err
	}
	names, own := matmul.Blockings(), matmul.Blocking(plain)
	if v.Op == "conv" { // the plan's own, by what it took
		names, own = conv.Methods(), "sum"
		for _, m := range names {
			if strings.Contains(first.took, m) {
				own = m
			}
		}
	}
	var all []*runner
	defer func() {
		for _, r := range all {
			r.s.Close()
		}
	}()
	for _, name := range names {
		dev := host.NewWith(host.Options{Workers: o.Workers, Precision: o.Precision, Choices: map[string]string{v.key: name}})
		r := &runner{name: name, s: engine.NewStream(ctx, dev), run: first.run}
		all = append(all, r)
		if err := r.once(); err != nil {
			return nil, err
		}
	}
	// What is short is repeated, so that a round takes about a millisecond.
	start := time.Now()
	first.s.Free(first.run(first.s))
	n := max(1, min(200, int(time.Millisecond/max(time.Since(start), 1))))
	for range o.Rounds {
		for _, r := range all {
			start := time.Now()
			for range n {
				r.s.Free(r.run(r.s))
			}
			r.rounds = append(r.rounds, time.Since(start).Seconds()/float64(n))
			if err := r.s.Err(); err != nil {
				return nil, err
			}
		}
	}
	return judge(v, own, all, o.Least), nil
}

// judge names the winner: the fastest of the methods that are faster than the own by
// a share and by more than noise (Mann and Whitney's test, among so many methods).
func judge(v Shape, own string, all []*runner, least float64) *Found {
	const alpha = 0.05
	f := &Found{Shape: v, Own: own, Winner: own}
	i := slices.IndexFunc(all, func(r *runner) bool { return r.name == own })
	before := layers.Median(all[i].rounds)
	best := before
	for _, r := range all {
		m := Method{r.name, layers.Median(r.rounds)}
		f.Methods = append(f.Methods, m)
		t, err := stats.MannWhitneyUTest(r.rounds, all[i].rounds, stats.LocationLess)
		if err == nil && t.P <= alpha/float64(len(all)-1) && m.Seconds < before*(1-least) && m.Seconds < best {
			f.Winner, best = m.Name, m.Seconds
		}
	}
	slices.SortStableFunc(f.Methods, func(a, b Method) int { return cmp.Compare(a.Seconds, b.Seconds) })
	return f
}

// prepare makes the operation of a shape, with weights and inputs that a stream of
// the CPU has.
func prepare(s *engine.Stream, v Shape) (operation, error) {
	d := v.Dims
	if v.Op == "conv" {
		w, err := conv.Pack(s.Device(), storage.Values(random.Normal(1, 0.02, d["out"], d["in"], 3, 3).F32()), d["out"], d["in"], 3, 3)
		x := s.Put(random.Normal(2, 1, d["n"], d["h"], d["w"], d["in"]))
		return func(s *engine.Stream) *engine.Tensor { return conv.Conv2D(s, x, w, conv.Options{Pad: conv.Same(3)}) }, err
	}
	w, err := matmul.Pack(s.Device(), storage.Values(random.Normal(1, 0.02, d["n"], d["k"]).F32()), d["n"], d["k"])
	x := s.Put(random.Normal(2, 1, d["m"], d["k"]))
	return func(s *engine.Stream) *engine.Tensor { return matmul.Linear(s, x, w, matmul.Epilogue{}) }, err
}

// Choose makes a table of what was found. Of shapes with one key the one with the most
// FLOPs decides.
func Choose(m Machine, all []Found) Table {
	t := Table{Version: Version, Machine: m, Choices: map[string]string{}}
	seen := map[string]bool{}
	for _, f := range all {
		if !seen[f.key] && f.Winner != f.Own {
			t.Choices[f.key] = f.Winner
		}
		seen[f.key] = true
	}
	return t
}

// Write writes what was found as a table to read, in so many columns (0: as many as it
// takes). Only a winner that is not the device's own method is named.
func Write(w io.Writer, all []Found, width int) error {
	var b strings.Builder
	rows := []columns.Row{{Cells: []string{"uses", "own method", "time", "winner", "gain"}, Name: "operation"}}
	name := func(f Found) string {
		if f.Op == "linear" {
			return fmt.Sprintf("%s, %d rows", f.key, f.Dims["m"])
		}
		return f.key
	}
	for _, f := range all {
		r := columns.Row{Cells: []string{strconv.Itoa(f.Uses), f.Own, "", "", ""}, Name: name(f)}
		for _, m := range f.Methods {
			if took := fmt.Sprintf("%.4g ms", 1e3*m.Seconds); m.Name == f.Own {
				r.Cells[2] = took
			} else {
				r.More = append(r.More, m.Name+" "+took)
			}
		}
		if f.Winner != f.Own {
			r.Cells[3], r.Cells[4] = f.Winner, fmt.Sprintf("%.1f %%", 100*f.Gain())
		}
		rows = append(rows, r)
	}
	columns.Write(&b, rows, width)
	_, err := io.WriteString(w, b.String())
	return err
}
