// Package export writes what package layers has found: as a table, CSV, Go's
// benchmark format, a trace, a pprof profile, a page and a picture.
package export

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"parley/bench/layers"
	"parley/engine"
)

// Options say which layers are shown, and how.
type Options struct {
	Depth int    // of paths; 0 is all of them
	Sort  string // one of package layers' orders
	Top   int    // rows of the table at most; 0: all
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
	fmt.Fprintf(b, "%s\non %s\n\n", r.Workload, where)
	t := tabwriter.NewWriter(b, 0, 4, 2, ' ', tabwriter.AlignRight)
	counts := r.Unit == layers.Counts
	all := o.show(r)
	shown := all
	if o.Top > 0 && len(all) > o.Top {
		shown = all[:o.Top]
	}
	if counts {
		fmt.Fprintln(t, "instructions\tshare\tFLOPs\tbytes\tcalls\t\t")
	} else {
		fmt.Fprintln(t, "time\tshare\tFLOP/s\tB/s\tof roof\tbound\tcalls\t\t")
	}
	for _, l := range shown {
		what := l.Path
		if l.Op != "" {
			what += "  " + shape(l.Out)
			if l.Varies {
				what += " and others"
			}
			if l.Kernel != "" {
				what += "  " + l.Kernel
			}
		}
		if counts {
			fmt.Fprintf(t, "%s\t%.1f %%\t%s\t%s\t%d\t\t%s\n", si(l.Seconds), 100*l.Share, si(float64(l.FLOPs)), si(float64(l.Bytes)), l.Calls, what)
			continue
		}
		of, flops, bytes := "", "", ""
		if l.OfRoof > 0 {
			of = fmt.Sprintf("%.0f %%", 100*l.OfRoof)
		}
		if l.FLOPs > 0 {
			flops = si(float64(l.FLOPs) / l.Seconds)
		}
		if l.Bytes > 0 {
			bytes = si(float64(l.Bytes) / l.Seconds)
		}
		fmt.Fprintf(t, "%s\t%.1f %%\t%s\t%s\t%s\t%s\t%d\t\t%s\n", duration(l.Seconds), 100*l.Share, flops, bytes, of, l.Bound, l.Calls, what)
	}
	_ = t.Flush() // to memory
	if rest := all[len(shown):]; len(rest) > 0 {
		share := 0.0
		for _, l := range rest {
			share += l.Share
		}
		fmt.Fprintf(b, "and %d more with %.1f %% (--top 0 shows all)\n", len(rest), 100*share)
	}
	fmt.Fprintf(b, "\nwhole    %s, median of %d rounds", amount(r, r.Seconds), len(r.Rounds))
	if !counts {
		fmt.Fprintf(b, ": %s to %s", duration(least(r.Rounds)), duration(largest(r.Rounds)))
	}
	fmt.Fprintf(b, "\nlayers   %s, %+.1f %%; %s\n", amount(r, r.Parts), 100*r.Difference, r.Method)
	if counts {
		fmt.Fprintf(b, "work     %sFLOPs, %sB\n", si(float64(r.FLOPs)), si(float64(r.Bytes)))
		fmt.Fprintln(b, "These are counts, not times: they say nothing about speed.")
	} else {
		fmt.Fprintf(b, "work     %sFLOPs at %sFLOP/s, %sB at %sB/s\n", si(float64(r.FLOPs)), si(float64(r.FLOPs)/r.Seconds), si(float64(r.Bytes)),
			si(float64(r.Bytes)/r.Seconds))
		roof := func(name string, p layers.Peak, source string) {
			fmt.Fprintf(b, "%-8s %sFLOP/s of products, %sFLOP/s else, %sB/s%s\n", name, si(p.Products), si(p.FLOPs), si(p.Bytes), source)
		}
		if p := r.Peak; p.Source != "" {
			roof("roof", p, " ("+p.Source+")")
			if p.Core != nil && m.Threads > 1 {
				roof("a core", *p.Core, " when it runs alone")
			}
		}
	}
	for _, x := range r.Rates {
		fmt.Fprintf(b, "%-8s %.4g", x.Name, x.Value)
		if x.Note != "" {
			fmt.Fprintf(b, " (%s)", x.Note)
		}
		b.WriteString("\n")
	}
	if g := m.Gauges; g != nil {
		fmt.Fprintf(b, "gauges   %.0f to %.0f MHz, %.0f to %.0f degrees, %.0f to %.0f W\n", g.MHz[0], g.MHz[1], g.Celsius[0], g.Celsius[1],
			g.Watts[0], g.Watts[1])
	}
	for _, x := range r.Warnings {
		fmt.Fprintf(b, "warning  %s\n", x)
	}
}

func least(v []float64) float64 {
	m := v[0]
	for _, x := range v {
		m = min(m, x)
	}
	return m
}

func largest(v []float64) float64 {
	m := v[0]
	for _, x := range v {
		m = max(m, x)
	}
	return m
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
