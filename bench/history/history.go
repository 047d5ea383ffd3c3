// Package history draws results of package layers over the commits that they were
// measured at: a line for each workload on each machine, and what changed from one
// commit to the next by more than noise.
package history

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"html"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"parley/bench/compare"
	"parley/bench/layers"
)

//go:embed page.html
var page string

// Read reads results of files, and of the *.json and *.json.gz of folders. One of them
// that is no result is an error that names it.
func Read(paths []string) ([]*layers.Result, error) {
	var all []*layers.Result
	for _, path := range paths {
		files := []string{path}
		if i, err := os.Stat(path); err != nil {
			return nil, err
		} else if i.IsDir() {
			files = nil
			for _, pattern := range []string{"*.json", "*.json.gz"} {
				some, err := filepath.Glob(filepath.Join(path, pattern))
				if err != nil {
					return nil, err
				}
				files = append(files, some...)
			}
			if files == nil {
				return nil, fmt.Errorf("%s: no *.json or *.json.gz in it", path)
			}
		}
		for _, f := range files {
			some, err := compare.Read(f)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no results")
	}
	return all, nil
}

// Series is a workload on a machine, at one commit after another.
type Series struct {
	Workload layers.Workload
	Machine  layers.Machine
	Results  []*layers.Result // by the commit's time, or else when they were measured
}

// Group sorts results into series, those with the most results first.
func Group(all []*layers.Result) []*Series {
	var list []*Series
	for _, r := range all {
		m := r.Machine
		m.Gauges = nil // clock and temperature of the moment
		i := slices.IndexFunc(list, func(s *Series) bool {
			return s.Workload == r.Workload && s.Machine == m && s.Results[0].Unit == r.Unit
		})
		if i < 0 {
			i = len(list)
			list = append(list, &Series{Workload: r.Workload, Machine: m})
		}
		list[i].Results = append(list[i].Results, r)
	}
	for _, s := range list {
		slices.SortStableFunc(s.Results, func(a, b *layers.Result) int {
			if !a.Build.Time.IsZero() && !b.Build.Time.IsZero() {
				if c := a.Build.Time.Compare(b.Build.Time); c != 0 {
					return c
				}
			}
			return a.Taken.Compare(b.Taken)
		})
	}
	slices.SortStableFunc(list, func(a, b *Series) int {
		return cmp.Or(cmp.Compare(len(b.Results), len(a.Results)), cmp.Compare(a.Workload.String(), b.Workload.String()))
	})
	return list
}

// point is a result of a series as the page shows it.
type point struct {
	Commit, Taken, Time, Range, Change string
	Slower, Faster                     bool
	Layers                             []string // that changed since the one before
	Notes                              []string
}

// HTML writes a page about results that needs nothing beside it. Layers are joined at a
// depth of their paths; a change of less than a share is not told.
func HTML(w io.Writer, all []*layers.Result, depth int, least float64) error {
	t, err := template.New("history").Parse(page)
	if err != nil {
		return err
	}
	type part struct {
		Name, Where string
		Plot        template.HTML // of our own making, with escaped texts
		Points      []point
	}
	var parts []part
	for _, s := range Group(all) {
		p := part{Name: s.Workload.String(), Where: where(s.Machine), Plot: template.HTML(plot(s))}
		for i, r := range s.Results {
			v := point{Commit: commit(r), Taken: r.Taken.Format("2006-01-02"), Time: compare.Amount(r.Unit, r.Seconds),
				Range: compare.Amount(r.Unit, slices.Min(r.Rounds)) + " to " + compare.Amount(r.Unit, slices.Max(r.Rounds)), Notes: r.Warnings}
			if i > 0 {
				diffs, err := compare.Compare(s.Results[i-1:i], s.Results[i:i+1], compare.Options{Depth: depth, Least: least, SameMachine: true})
				if err != nil {
					return err
				}
				v.since(diffs[0])
			}
			p.Points = append(p.Points, v)
		}
		slices.Reverse(p.Points) // the newest is on top
		parts = append(parts, p)
	}
	return t.Execute(w, parts)
}

// since says what has changed.
func (v *point) since(d *compare.Diff) {
	v.Change = fmt.Sprintf("%+.1f %%", 100*(d.Whole.Ratio-1))
	if !d.Whole.Changed {
		v.Change += " (noise)"
	}
	v.Slower, v.Faster = d.Whole.Slower(0), d.Whole.Changed && d.Whole.Ratio < 1
	const shown = 5
	for _, c := range d.Layers {
		if !c.Changed || len(v.Layers) == shown {
			continue
		}
		what := fmt.Sprintf("%+.1f %%", 100*(c.Ratio-1))
		switch {
		case c.Before == 0:
			what = "new"
		case c.After == 0:
			what = "gone"
		}
		v.Layers = append(v.Layers, c.Path+" "+what)
	}
	v.Notes = append(v.Notes, d.Notes...)
}

// commit is the short name of what a result was measured at.
func commit(r *layers.Result) string {
	name := r.Build.Commit
	if name == "" {
		return r.Taken.Format("01-02 15:04")
	}
	if name = name[:min(8, len(name))]; r.Build.Changed {
		name += "+"
	}
	return name
}

func where(m layers.Machine) string {
	if m.GPU != "" {
		return fmt.Sprintf("%s, %s, %s, driver %s", m.Device, m.Precision, m.GPU, m.Driver)
	}
	return fmt.Sprintf("%s, %s, %d threads of %s, %s", m.Device, m.Precision, m.Threads, m.CPU, m.Kernels)
}

// plot draws the medians of a series from zero on, with the least and the largest round.
func plot(s *Series) string {
	const width, height, left, right, top, bottom = 800.0, 220.0, 80.0, 20.0, 14.0, 26.0
	most := 0.0
	for _, r := range s.Results {
		most = max(most, slices.Max(r.Rounds))
	}
	if most <= 0 {
		return ""
	}
	n := len(s.Results)
	x := func(i int) float64 { return left + (width-left-right)*(float64(i)+0.5)/float64(n) }
	y := func(v float64) float64 { return height - bottom - (height-top-bottom)*v/most }
	var b, line strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %.0f %.0f">`, width, height)
	for i := range 3 {
		v, label := most*float64(i)/2, "0"
		if i > 0 {
			label = compare.Amount(s.Results[0].Unit, v)
		}
		fmt.Fprintf(&b, `<line class="grid" x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f"/><text x="%.0f" y="%.1f" text-anchor="end">%s</text>`,
			left, width-right, y(v), y(v), left-6, y(v)+4, label)
	}
	for i, r := range s.Results {
		fmt.Fprintf(&line, "%.1f,%.1f ", x(i), y(r.Seconds))
		fmt.Fprintf(&b, `<line x1="%.1[1]f" x2="%.1[1]f" y1="%.1[2]f" y2="%.1[3]f"/><circle cx="%.1[1]f" cy="%.1[4]f" r="4">`+
			`<title>%[5]s: %[6]s</title></circle>`,
			x(i), y(slices.Min(r.Rounds)), y(slices.Max(r.Rounds)), y(r.Seconds), html.EscapeString(commit(r)),
			compare.Amount(r.Unit, r.Seconds))
		if every := (n + 7) / 8; i%every == 0 {
			fmt.Fprintf(&b, `<text x="%.1f" y="%.0f" text-anchor="middle">%s</text>`, x(i), height-8, html.EscapeString(commit(r)))
		}
	}
	fmt.Fprintf(&b, `<polyline points="%s"/></svg>`, strings.TrimSpace(line.String()))
	return b.String()
}
