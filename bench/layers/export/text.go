// Package export writes what package layers has found: as a table, CSV, Go's
// benchmark format, a trace, a pprof profile, a page and a picture.
package export

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"parley/bench/columns"
	"parley/bench/layers"
	"parley/engine"
)

// Options say which layers are shown, and how.
type Options struct {
	Depth int    // of paths; 0 is all of them
	Sort  string // one of package layers' orders
	Top   int    // rows of the table at most; 0: all
	Width int    // columns of the table at most; 0: as many as it takes
}

// show is the result's layers, folded and in order.
func (o Options) show(r *layers.Result) []layers.Layer {
	l := layers.Fold(r.Layers, o.Depth)
	layers.Sort(l, o.Sort)
	return l
}

// si is a number with three digits and a prefix: "1.23 G".
func si(v float64) string {
	for _, p := range []struct {
		at   float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= p.at {
			return fmt.Sprintf("%.3g %s", v/p.at, p.name)
		}
	}
	return fmt.Sprintf("%.3g ", v)
}

// duration is seconds in the unit that leaves digits before the point.
func duration(s float64) string {
	switch {
	case s >= 1:
		return fmt.Sprintf("%.3f s", s)
	case s >= 1e-3:
		return fmt.Sprintf("%.3f ms", 1e3*s)
	}
	return fmt.Sprintf("%.2f us", 1e6*s)
}

// amount is a time, or a count of instructions.
func amount(r *layers.Result, v float64) string {
	if r.Unit == layers.Counts {
		return si(v) + "instr"
	}
	return duration(v)
}

func shape(s engine.Shape) string {
	if s == nil {
		return ""
	}
	return strings.ReplaceAll(strings.Trim(s.String(), "[]"), " ", "x")
}

// Table writes results to read.
func Table(w io.Writer, results []*layers.Result, o Options) error {
	var b strings.Builder
	for i, r := range results {
		if i > 0 {
			b.WriteString("\n")
		}
		table(&b, r, o)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func table(b *strings.Builder, r *layers.Result, o Options) {
	m := r.Machine
	where := m.Device + ", " + m.Precision
	if m.GPU != "" {
		where += ", " + m.GPU
	} else {
		where += fmt.Sprintf(", %d threads of %s, %s", m.Threads, m.CPU, m.Kernels)
	}
	say := func(format string, args ...any) {
		b.WriteString(columns.Wrap(fmt.Sprintf(format, args...), indent, o.Width) + "\n")
	}
	say("%s", r.Workload)
	say("on %s", where)
	b.WriteString("\n")
	counts := r.Unit == layers.Counts
	all := o.show(r)
	shown := all
	if o.Top > 0 && len(all) > o.Top {
		shown = all[:o.Top]
	}
	rows := []columns.Row{{Cells: []string{"time", "share", "FLOP/s", "B/s", "of roof", "bound"}}}
	if counts {
		rows[0].Cells = []string{"instructions", "share", "FLOPs", "bytes"}
	}
	again := slices.ContainsFunc(shown, func(l layers.Layer) bool { return l.Calls > 1 })
	if again {
		rows[0].Cells = append(rows[0].Cells, "calls")
	}
	for _, l := range shown {
		row := line(l, counts)
		if again {
			row.Cells = append(row.Cells, strconv.Itoa(l.Calls))
		}
		rows = append(rows, row)
	}
	columns.Write(b, rows, o.Width)
	if rest := all[len(shown):]; len(rest) > 0 {
		share := 0.0
		for _, l := range rest {
			share += l.Share
		}
		fmt.Fprintf(b, "and %d more with %.1f %% (--top 0 shows all)\n", len(rest), 100*share)
	}
	b.WriteString("\n")
	whole := fmt.Sprintf("whole    %s, median of %d rounds", amount(r, r.Seconds), len(r.Rounds))
	if len(r.Rounds) == 1 {
		whole = fmt.Sprintf("whole    %s, of one round", amount(r, r.Seconds))
	} else if !counts {
		whole += fmt.Sprintf(": %s to %s", duration(slices.Min(r.Rounds)), duration(slices.Max(r.Rounds)))
	}
	say("%s", whole)
	quickest := "" // which are not the same as the medians
	if len(r.Rounds) > 1 && !counts {
		quickest = " in the quickest rounds"
	}
	say("layers   %s; %+.1f %% from the whole%s; %s", amount(r, r.Parts), 100*r.Difference, quickest, r.Method)
	if counts {
		say("work     %sFLOPs, %sB", si(float64(r.FLOPs)), si(float64(r.Bytes)))
		say("These are counts, not times: they say nothing about speed.")
	} else {
		say("work     %sFLOPs at %sFLOP/s, %sB at %sB/s", si(float64(r.FLOPs)), si(float64(r.FLOPs)/r.Seconds), si(float64(r.Bytes)),
			si(float64(r.Bytes)/r.Seconds))
		roof := func(name string, p layers.Peak, source string) {
			say("%-8s %sFLOP/s of products, %sFLOP/s else, %sB/s%s", name, si(p.Products), si(p.FLOPs), si(p.Bytes), source)
		}
		if p := r.Peak; p.Source != "" {
			roof("roof", p, " ("+p.Source+")")
			if p.Core != nil && m.Threads > 1 {
				roof("a core", *p.Core, " when it runs alone")
			}
		}
	}
	for _, x := range r.Rates {
		note := ""
		if x.Note != "" {
			note = " (" + x.Note + ")"
		}
		say("%-8s %.4g%s", x.Name, x.Value, note)
	}
	if g := m.Gauges; g != nil {
		say("gauges   %.0f to %.0f MHz, %.0f to %.0f degrees, %.0f to %.0f W", g.MHz[0], g.MHz[1], g.Celsius[0], g.Celsius[1],
			g.Watts[0], g.Watts[1])
	}
	for _, x := range r.Warnings {
		say("warning  %s", x)
	}
}

const indent = 9 // columns before what is said below a table

// line is a layer's.
func line(l layers.Layer, counts bool) columns.Row {
	c := columns.Row{Name: l.Path}
	if l.Op != "" {
		out := shape(l.Out)
		if l.Varies {
			out += " and others"
		}
		c.More = []string{out, l.Kernel}
	}
	share := fmt.Sprintf("%.1f %%", 100*l.Share)
	if counts {
		c.Cells = []string{si(l.Seconds), share, si(float64(l.FLOPs)), si(float64(l.Bytes))}
		return c
	}
	of, flops, bytes := "", "", ""
	if l.OfRoof > 0 {
		of = fmt.Sprintf("%.0f %%", 100*l.OfRoof)
	}
	if l.FLOPs > 0 && l.Seconds > 0 {
		flops = si(float64(l.FLOPs) / l.Seconds)
	}
	if l.Bytes > 0 && l.Seconds > 0 {
		bytes = si(float64(l.Bytes) / l.Seconds)
	}
	c.Cells = []string{duration(l.Seconds), share, flops, bytes, of, brief(l.Bound)}
	return c
}

// brief is what bounds a layer, in a word for a column.
func brief(bound string) string {
	switch bound {
	case "products":
		return "prod"
	case "arithmetic":
		return "arith"
	case "memory":
		return "mem"
	}
	return bound
}

// CSV writes a line for each layer of each result.
func CSV(w io.Writer, results []*layers.Result, o Options) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"net", "batch", "path", "op", "kernel", "calls", "out", results[0].Unit, "share", "flops", "bytes", "workspace",
		"roof_seconds", "of_roof", "bound"})
	f := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
	for _, r := range results {
		for _, l := range o.show(r) {
			_ = c.Write([]string{r.Workload.Net, strconv.Itoa(r.Workload.Batch), l.Path, l.Op, l.Kernel, strconv.Itoa(l.Calls), shape(l.Out),
				f(l.Seconds), f(l.Share), strconv.FormatInt(l.FLOPs, 10), strconv.FormatInt(l.Bytes, 10), strconv.Itoa(l.Workspace), f(l.Roof),
				f(l.OfRoof), l.Bound})
		}
	}
	c.Flush()
	return c.Error()
}

// GoBench writes rounds in Go's benchmark format (golang.org/design/14313-benchmark-format),
// which benchstat compares: a line for each round of the whole and of each layer.
func GoBench(w io.Writer, results []*layers.Result, o Options) error {
	var b strings.Builder
	for i, r := range results {
		m := r.Machine
		if i == 0 {
			goos, goarch, _ := strings.Cut(m.OS, "/")
			fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: parley\ncpu: %s\ndevice: %s\nprecision: %s\nthreads: %d\n", goos, goarch, m.CPU, m.Device,
				m.Precision, m.Threads)
			if m.GPU != "" {
				fmt.Fprintf(&b, "gpu: %s\n", m.GPU)
			}
			if r.Build.Commit != "" {
				fmt.Fprintf(&b, "commit: %s\n", r.Build.Commit)
			}
			b.WriteString("\n")
		}
		preset := r.Workload.Preset
		if preset == "" {
			preset = "checkpoint"
		}
		name := fmt.Sprintf("Benchmark%s/%s/batch=%d", title(r.Workload.Net), preset, r.Workload.Batch)
		line := func(path string, rounds []float64) {
			for _, v := range rounds {
				if r.Unit == layers.Counts {
					fmt.Fprintf(&b, "%s%s 1 %.0f instr/op\n", name, path, v)
				} else {
					fmt.Fprintf(&b, "%s%s 1 %.0f ns/op\n", name, path, 1e9*v)
				}
			}
		}
		line("", r.Rounds)
		for _, l := range o.show(r) {
			line("/"+strings.ReplaceAll(l.Path, " ", "_"), l.Rounds)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// title is a name as a benchmark's: "vae-decode" is "VaeDecode".
func title(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "-") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
