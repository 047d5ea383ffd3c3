// Package compare lays results of package layers beside each other, layer by layer:
// two of Parley's, with a test of whether they differ by more than noise; and one of
// Parley's with what another program's profiler has written.
package compare

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/aclements/go-moremath/stats"

	"parley/bench/columns"
	"parley/bench/layers"
)

// unpacked is what a file holds that may be compressed by gzip.
func unpacked(f io.Reader) (io.Reader, error) {
	in := bufio.NewReader(f)
	if head, _ := in.Peek(2); string(head) == "\x1f\x8b" {
		return gzip.NewReader(in)
	}
	return in, nil
}

// Read reads results: one, an array of them, or several behind each other. Those of
// one workload, machine and build are joined: their rounds are of one sample. A file may
// be compressed by gzip.
func Read(path string) ([]*layers.Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	from, err := unpacked(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	all, err := Decode(from)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

// Decode is Read of a reader.
func Decode(in io.Reader) ([]*layers.Result, error) {
	var all []*layers.Result
	for d := json.NewDecoder(in); ; {
		var raw json.RawMessage
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("not a result of parley bench --json: %w", err)
		}
		some := []*layers.Result{{}}
		var into any = some[0]
		if raw[0] == '[' {
			into = &some
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, fmt.Errorf("not a result of parley bench --json: %w", err)
		}
		for _, r := range some {
			if r == nil || r.Schema != layers.Schema || len(r.Rounds) == 0 {
				return nil, fmt.Errorf("not a result of parley bench --json, schema %d, with rounds", layers.Schema)
			}
			if err := check(r); err != nil {
				return nil, err
			}
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no result")
	}
	var joined []*layers.Result
	for _, r := range all {
		i := slices.IndexFunc(joined, func(o *layers.Result) bool {
			return o.Workload == r.Workload && sameMachine(o.Machine, r.Machine) && o.Build == r.Build
		})
		if i < 0 {
			joined = append(joined, r)
		} else {
			join(joined[i], r)
		}
	}
	return joined, nil
}

// check refuses what no measurement gives, such as a file that was written by hand.
func check(r *layers.Result) error {
	if r.Unit != layers.Seconds && r.Unit != layers.Counts {
		return fmt.Errorf("%s: unit %q: want %s or %s", r.Workload, r.Unit, layers.Seconds, layers.Counts)
	}
	if least := slices.Min(r.Rounds); !(least > 0) {
		return fmt.Errorf("%s: a round of %v %s", r.Workload, least, r.Unit)
	}
	for _, l := range r.Layers {
		if len(l.Rounds) != len(r.Rounds) {
			return fmt.Errorf("%s: %s has %d rounds, the whole has %d", r.Workload, l.Path, len(l.Rounds), len(r.Rounds))
		}
		if least := slices.Min(l.Rounds); !(least >= 0) {
			return fmt.Errorf("%s: %s has a round of %v %s", r.Workload, l.Path, least, r.Unit)
		}
	}
	return nil
}

// join adds b's rounds to a's. A layer that one of them lacks has no time there.
func join(a, b *layers.Result) {
	was := len(a.Rounds)
	a.Rounds, a.Load = append(a.Rounds, b.Rounds...), max(a.Load, b.Load)
	at := map[string]int{}
	for i, l := range a.Layers {
		at[l.Path+"\x00"+l.Kernel] = i
	}
	for _, l := range b.Layers {
		i, ok := at[l.Path+"\x00"+l.Kernel]
		if !ok {
			l.Rounds = append(make([]float64, was), l.Rounds...)
			a.Layers = append(a.Layers, l)
			continue
		}
		a.Layers[i].Rounds = append(a.Layers[i].Rounds, l.Rounds...)
	}
	for i := range a.Layers {
		l := &a.Layers[i]
		l.Rounds = append(l.Rounds, make([]float64, len(a.Rounds)-len(l.Rounds))...)
		l.Seconds = layers.Median(l.Rounds)
	}
	a.Seconds = layers.Median(a.Rounds)
}

// sameMachine reports whether times of two machines can be compared.
func sameMachine(a, b layers.Machine) bool {
	a.Gauges, b.Gauges = nil, nil
	return a == b
}

// Options say what counts as a change.
type Options struct {
	Depth int     // of paths: 0 is every layer
	Least float64 // change of a median that is told, as a share
	// SameMachine refuses results of two machines, which are a note otherwise.
	SameMachine bool
	Alpha       float64 // chance that a comparison of equals tells anything at all; 0 is 0.05
}

// Diff is what became of a workload.
type Diff struct {
	Workload layers.Workload `json:"workload"`
	Unit     string          `json:"unit"`
	Notes    []string        `json:"notes,omitempty"`
	Whole    Change          `json:"whole"`
	Layers   []Change        `json:"layers"` // of both, what has changed most seconds first
}

// Change is one layer before and after.
type Change struct {
	Path   string  `json:"path"`
	Kernel string  `json:"kernel"`
	Before float64 `json:"before_seconds"` // medians; 0: it was not there
	After  float64 `json:"after_seconds"`
	Ratio  float64 `json:"ratio"` // After over Before; 0 where one of them is 0
	P      float64 `json:"p"`     // of a two-sided Mann-Whitney test over the rounds
	// Changed says that it differs by more than noise: the test holds among all
	// layers of the comparison (Holm, 1979), and the medians differ by Options.Least.
	Changed bool `json:"changed"`
}

// Slower reports whether the layer has become slower by more than a share.
func (c Change) Slower(share float64) bool { return c.Changed && c.Ratio > 1+share }

// Compare compares results of the same workloads, one by one.
func Compare(before, after []*layers.Result, o Options) ([]*Diff, error) {
	var all []*Diff
	var alone []*layers.Result
	for _, b := range before {
		if !slices.ContainsFunc(after, func(a *layers.Result) bool { return a.Workload == b.Workload }) {
			alone = append(alone, b)
		}
	}
	for _, a := range after {
		i := slices.IndexFunc(before, func(b *layers.Result) bool { return b.Workload == a.Workload })
		if i < 0 {
			alone = append(alone, a)
			continue
		}
		d, err := compare(before[i], a, o)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no workload is in both: before %s, after %s", names(before), names(after))
	}
	if alone != nil {
		last := all[len(all)-1]
		last.Notes = append(last.Notes, "not compared, for it is on one side alone: "+names(alone))
	}
	return all, nil
}

func names(results []*layers.Result) string {
	var l []string
	for _, r := range results {
		l = append(l, r.Workload.String())
	}
	return strings.Join(l, "; ")
}

func compare(a, b *layers.Result, o Options) (*Diff, error) {
	if a.Unit != b.Unit {
		return nil, fmt.Errorf("%s: %s before, %s after", a.Workload, a.Unit, b.Unit)
	}
	d := &Diff{Workload: a.Workload, Unit: a.Unit}
	if !sameMachine(a.Machine, b.Machine) {
		words := fmt.Sprintf("other machines or settings: before %s %s %s with %d threads, after %s %s %s with %d", a.Machine.CPU,
			a.Machine.Device, a.Machine.Precision, a.Machine.Threads, b.Machine.CPU, b.Machine.Device, b.Machine.Precision, b.Machine.Threads)
		if o.SameMachine {
			return nil, errors.New(words)
		}
		d.Notes = append(d.Notes, words)
	}
	if most := max(a.Load, b.Load); most > 0.5 && a.Unit == layers.Seconds {
		d.Notes = append(d.Notes, fmt.Sprintf("up to %.0f others were at work: what has changed may be theirs", most))
	}
	alpha := cmp.Or(o.Alpha, 0.05)
	d.Whole = change("", "", a.Rounds, b.Rounds)
	d.Whole.Changed = d.Whole.P <= alpha && far(d.Whole.Ratio, o.Least)
	before, after := byPath(a, o.Depth), byPath(b, o.Depth)
	for path, l := range before {
		c := Change{Path: path, Kernel: l.Kernel, Before: l.Seconds, P: 1, Changed: true}
		if m, ok := after[path]; ok {
			c = change(path, l.Kernel, l.Rounds, m.Rounds)
			if m.Kernel != l.Kernel {
				c.Kernel += " -> " + m.Kernel
			}
		}
		d.Layers = append(d.Layers, c)
	}
	for path, l := range after {
		if _, ok := before[path]; !ok {
			d.Layers = append(d.Layers, Change{Path: path, Kernel: l.Kernel, After: l.Seconds, P: 1, Changed: true})
		}
	}
	holm(d.Layers, alpha, o.Least)
	slices.SortFunc(d.Layers, func(x, y Change) int {
		return cmp.Or(cmp.Compare(math.Abs(y.After-y.Before), math.Abs(x.After-x.Before)), cmp.Compare(x.Path, y.Path))
	})
	if n := needs(len(d.Layers), alpha); len(a.Rounds) < n || len(b.Rounds) < n {
		d.Notes = append(d.Notes, fmt.Sprintf("%d and %d rounds are too few to tell one of %d layers from noise: --rounds %d, or --depth",
			len(a.Rounds), len(b.Rounds), len(d.Layers), n))
	}
	return d, nil
}

// byPath joins layers of one path, and those of folded paths.
func byPath(r *layers.Result, depth int) map[string]layers.Layer {
	if depth == 0 {
		depth = 1 << 20
	}
	all := map[string]layers.Layer{}
	for _, l := range layers.Fold(r.Layers, depth) {
		all[l.Path] = l
	}
	return all
}

// change compares two samples.
func change(path, kernel string, a, b []float64) Change {
	c := Change{Path: path, Kernel: kernel, Before: layers.Median(a), After: layers.Median(b), P: 1}
	if c.Before > 0 {
		c.Ratio = c.After / c.Before
	}
	// Equal samples have no test, and have not changed.
	if t, err := stats.MannWhitneyUTest(a, b, stats.LocationDiffers); err == nil {
		c.P = t.P
	}
	return c
}

// far reports whether a ratio is a change of more than a share, either way.
func far(ratio, least float64) bool { return ratio >= 1+least || ratio <= 1/(1+least) }

// holm marks the layers whose samples differ, so that among all of them the chance
// of one that did not change is alpha.
func holm(all []Change, alpha, least float64) {
	var tested []*Change
	for i := range all {
		if all[i].Before > 0 && all[i].After > 0 {
			tested = append(tested, &all[i])
		}
	}
	slices.SortFunc(tested, func(x, y *Change) int { return cmp.Compare(x.P, y.P) })
	for i, c := range tested {
		if c.P > alpha/float64(len(tested)-i) {
			return
		}
		c.Changed = far(c.Ratio, least)
	}
}

// needs is how many rounds on each side can tell one of so many layers: the least
// probability of the test is 2 over the ways to choose n of 2n.
func needs(layers int, alpha float64) int {
	ways := 1.0
	for n := 1; ; n++ {
		ways *= float64(2*n) * float64(2*n-1) / float64(n*n)
		if 2/ways <= alpha/float64(max(layers, 1)) {
			return n
		}
	}
}

// Regressions says what has become slower by more than a share, nil where nothing
// has.
func Regressions(diffs []*Diff, share float64) error {
	var errs []error
	for _, d := range diffs {
		if d.Whole.Slower(share) {
			errs = append(errs, fmt.Errorf("%s: %+.1f %%", d.Workload, 100*(d.Whole.Ratio-1)))
		}
		for _, c := range d.Layers {
			if c.Slower(share) {
				errs = append(errs, fmt.Errorf("%s: %s: %+.1f %%", d.Workload, c.Path, 100*(c.Ratio-1)))
			}
		}
	}
	return errors.Join(errs...)
}

// Table writes differences to read, in so many columns (0: as many as it takes): what has
// changed, or rows of everything.
func Table(w io.Writer, diffs []*Diff, all bool, width int) error {
	const indent = 9
	var b strings.Builder
	for i, d := range diffs {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s\n\n", columns.Wrap(d.Workload.String(), 0, width))
		rows := []columns.Row{{Cells: []string{"before", "after", "change", "p"}}}
		line := func(c Change, name string) {
			mark, change := "", "gone"
			switch {
			case c.Before == 0:
				change = "new"
			case c.After > 0:
				change = fmt.Sprintf("%+.1f %%", 100*(c.Ratio-1))
			}
			if !c.Changed {
				mark = "noise"
			}
			rows = append(rows, columns.Row{Cells: []string{Amount(d.Unit, c.Before), Amount(d.Unit, c.After), change,
				fmt.Sprintf("%.2g", c.P), mark}, Name: name, More: []string{c.Kernel}, Whole: true})
		}
		line(d.Whole, "the whole")
		same := 0
		for _, c := range d.Layers {
			if c.Changed || all {
				line(c, c.Path)
			} else {
				same++
			}
		}
		columns.Write(&b, rows, width)
		if same > 0 {
			fmt.Fprintf(&b, "%d layers have not changed by more than noise\n", same)
		}
		for _, n := range d.Notes {
			fmt.Fprintln(&b, columns.Wrap("note     "+n, indent, width))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Amount is a time in milliseconds, or a count.
func Amount(unit string, v float64) string {
	switch {
	case v == 0:
		return "-"
	case unit == layers.Counts:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.4g ms", 1e3*v)
}
