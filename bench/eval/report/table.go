package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// Row is a measure's line of Table 1.
type Row struct {
	Measure  string  `json:"measure"`
	Label    string  `json:"label"`
	Selected float64 `json:"selected"`
	Mean     float64 `json:"mean"`            // of the candidates
	First    float64 `json:"first"`           // the first candidate of each item
	Beam     float64 `json:"beam,omitempty"`  // beam search's caption
	CLIP     float64 `json:"clip,omitempty"`  // the candidate that CLIP alone would choose, by picture and text
	Gain     float64 `json:"gain"`            // how much better the selected is than the mean, as a part of the mean
	HasBeam  bool    `json:"has_beam"`        //
	HasCLIP  bool    `json:"has_clip_choice"` //
	Digits   int     `json:"-"`
	// LowerBetter says that less is better: of a distance.
	LowerBetter bool `json:"lower_better,omitempty"`
	// OfSet says that the measure is of whole sets of candidates: there is no best one,
	// and no difference by item.
	OfSet bool     `json:"of_set,omitempty"`
	Best  *float64 `json:"best,omitempty"`  // the best candidate by this measure
	Worst *float64 `json:"worst,omitempty"` // the worst
	// Differences of the selected from the others, by item, with their two-sided p.
	OverMean   *Difference `json:"over_mean,omitempty"`
	OverFirst  *Difference `json:"over_first,omitempty"`
	OverBeam   *Difference `json:"over_beam,omitempty"`
	OverCLIP   *Difference `json:"over_clip_choice,omitempty"`
	OfSentence bool        `json:"differences_of_sentences,omitempty"` // the measure is of a whole set, differences are of its value by image
}

// Difference is a mean difference by item.
type Difference struct {
	Interval
	P float64 `json:"p"`
}

func difference(x, y []float64) *Difference {
	d := make([]float64, len(x))
	for i := range d {
		d[i] = x[i] - y[i]
	}
	return &Difference{Bootstrap(d), Paired(d)}
}

// Domain is the table of the items of one of NoCaps' domains.
type Domain struct {
	Name  string `json:"domain"` // as NoCaps calls it: in-domain, near-domain or out-domain
	Items int    `json:"items"`
	Table []Row  `json:"table"`
}

// table is Table 1.
func (r *run) table() ([]Row, error) {
	var rows []Row
	for _, m := range r.measures {
		if m.sets != nil {
			rows = append(rows, r.ofSets(m))
			continue
		}
		row, err := r.row(m, seq(len(r.items)))
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// domains are the tables of NoCaps' domains, as its leaderboard has them beside the
// whole; none where the items are of one or of none. A caption's CIDEr-D is that of the
// whole, whose references its document frequencies are of: so does NoCaps' evaluation.
func (r *run) domains() (out []Domain, err error) {
	for _, name := range []string{"in", "near", "out"} {
		of := slices.DeleteFunc(seq(len(r.items)), func(i int) bool { return r.items[i].domain != name })
		if len(of) == 0 {
			continue
		}
		d := Domain{Name: name + "-domain", Items: len(of)}
		for _, m := range r.measures {
			if m.sets != nil || !slices.ContainsFunc(of, func(i int) bool { return len(numbers(m.values[i])) > 0 }) {
				continue
			}
			row, err := r.row(m, of)
			if err != nil {
				return nil, err
			}
			d.Table = append(d.Table, row)
		}
		out = append(out, d)
	}
	if len(out) < 2 {
		return nil, nil
	}
	return out, nil
}

// ofSets is the row of a measure of whole sets.
func (r *run) ofSets(m *measure) Row {
	s := m.sets
	row := Row{Measure: m.name, Label: m.label, Digits: m.digits, LowerBetter: m.lower, OfSet: true, Selected: s.ranks[0], First: s.places[0],
		Mean: mean(numbers(s.places)), CLIP: finite(s.direct), HasCLIP: !math.IsNaN(s.direct)}
	row.gain()
	return row
}

// gain is positive where the selected is better, also where the mean is below zero. Of a
// mean that is zero but for what BLEU counts for none there is no part.
func (r *Row) gain() {
	if math.Abs(r.Mean) < 1e-6 {
		return
	}
	r.Gain = (r.Selected - r.Mean) / math.Abs(r.Mean)
	if r.LowerBetter {
		r.Gain = -r.Gain
	}
}

// row is a measure's of some items, of which at least one has a value.
func (r *run) row(m *measure, items []int) (Row, error) {
	n := len(r.items)
	selected, first, beams, clip := make([]int, n), make([]int, n), make([]int, n), make([]int, n)
	best, worst := make([]int, n), make([]int, n)
	hasCLIP := true
	for _, i := range items {
		it := r.items[i]
		selected[i], beams[i], clip[i] = it.selected, -1, r.direct[i]
		hasCLIP = hasCLIP && clip[i] >= 0
		for j, v := range m.values[i] {
			if math.IsNaN(v) {
				continue
			}
			if w := m.values[i][best[i]]; math.IsNaN(w) || v != w && v > w != m.lower {
				best[i] = j
			}
			if w := m.values[i][worst[i]]; math.IsNaN(w) || v != w && v < w != m.lower {
				worst[i] = j
			}
		}
	}
	of := func(choice []int) []float64 {
		out := make([]float64, len(items))
		for n, i := range items {
			switch j := choice[i]; {
			case j < 0 && m.beam != nil:
				out[n] = m.beam[i]
			case j >= 0 && j < len(m.values[i]):
				out[n] = m.values[i][j]
			default:
				out[n] = math.NaN()
			}
		}
		return out
	}
	means := make([]float64, len(items))
	k := 0
	for n, i := range items {
		means[n] = math.NaN()
		k = max(k, len(m.values[i]))
		if x := numbers(m.values[i]); len(x) > 0 {
			means[n] = mean(x)
		}
	}
	row := Row{Measure: m.name, Label: m.label, Digits: m.digits, LowerBetter: m.lower, HasCLIP: hasCLIP, OfSentence: m.corpus != nil}
	row.HasBeam = len(numbers(of(beams))) > 0
	for n, v := range of(selected) { // a picture without texts has neither
		row.HasBeam = row.HasBeam && (math.IsNaN(v) || !math.IsNaN(m.beam[items[n]]))
	}
	var failed error
	value := func(choice []int) float64 {
		if m.corpus == nil {
			return mean(numbers(of(choice)))
		}
		v, err := m.corpus(choice, items)
		failed = cmp.Or(failed, err)
		return v
	}
	most, least := value(best), value(worst)
	row.Selected, row.First, row.Best, row.Worst = value(selected), value(first), &most, &least
	if m.corpus == nil {
		row.Mean = mean(numbers(means))
	} else {
		for j := range k {
			place := make([]int, n)
			for i := range place {
				place[i] = j
			}
			row.Mean += value(place) / float64(k)
		}
	}
	row.OverMean, row.OverFirst = difference(of(selected), means), difference(of(selected), of(first))
	if row.HasBeam {
		row.Beam = value(beams)
		row.OverBeam = difference(of(selected), of(beams))
	}
	if hasCLIP {
		row.CLIP = value(clip)
		row.OverCLIP = difference(of(selected), of(clip))
	}
	row.gain()
	return row, failed
}

// Print writes what a report says in a few lines.
func (r *Result) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	rows := func(first string, table []Row) {
		fmt.Fprintf(t, "%s\tselected\tmean\tbest\tworst\tgain\tdifference [95 %%]\tp\n", first)
		for _, x := range table {
			d := x.OverMean
			if d == nil {
				fmt.Fprintf(t, "%s\t%.3f\t%.3f\t\t\t%+.1f %%\t\t\n", x.Label, x.Selected, x.Mean, 100*x.Gain)
				continue
			}
			fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%.3f\t%.3f\t%+.1f %%\t%+.3f [%+.3f, %+.3f]\t%.4f\n", x.Label, x.Selected, x.Mean, *x.Best, *x.Worst,
				100*x.Gain, d.Value, d.Low, d.High, d.P)
		}
	}
	rows("measure", r.Table)
	for _, d := range r.Domains {
		rows(fmt.Sprintf("%s, %d items", d.Name, d.Items), d.Table)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, n)
	}
	_, err := fmt.Fprintf(w, "%d of %d items, %d of them without a result\n%s\n", r.Done, r.Total, r.Failed, r.Out)
	return err
}
