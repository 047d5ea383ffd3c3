package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"parley/bench/eval"
	"parley/output"
)

// Point is what a way to choose costs and gives.
type Point struct {
	Name string  `json:"name"`
	K    int     `json:"k"`
	Cost float64 `json:"unet_steps"` // by item
	Part float64 `json:"cost_part"`  // of the whole run's
	// Gain is by how much the choice is better than the mean of the whole run's
	// candidates, by item; GainPart the part of the whole run's gain.
	Gain     Interval `json:"gain"`
	GainPart float64  `json:"gain_part"`
	// Score is likewise of the score that is chosen by: of what the choice has, or in
	// the image task would have had, in the whole run.
	Score     Interval `json:"score_gain"`
	ScorePart float64  `json:"score_part"`
	// Below is the whole run's choice minus this one by item.
	Below  Difference `json:"below_whole"`
	pruned bool
}

// Comparison is a whole run and cheaper ones.
type Comparison struct {
	Task    string  `json:"task"`
	Measure string  `json:"measure"`
	Items   int     `json:"items"`
	Points  []Point `json:"points"`
	// Enough says which way keeps 95 % of the whole run's gain with the fewest runs of the
	// UNet, by the measure and by the score that is chosen by.
	Enough []string `json:"enough"`
	Out    string   `json:"-"`
}

// Compare holds cheaper runs of the same items against a whole one, and writes
// sweep.html, sweep.json and the curves to a folder. Of a run without
// pruning it has every number of candidates from 1, since the first of K candidates
// do not depend on K.
func Compare(out string, whole string, cheaper map[string]string, meteor string) (*Comparison, error) {
	full, err := measured(whole, meteor)
	if err != nil {
		return nil, err
	}
	runs := map[string]*run{"": full}
	for name, dir := range cheaper {
		r, err := measured(dir, meteor)
		if err != nil {
			return nil, err
		}
		a, b := full.settings, r.settings
		if a.Data.SHA256 != b.Data.SHA256 || a.Task != b.Task || a.K != b.K || a.Seed != b.Seed {
			return nil, fmt.Errorf("%s is of other items, another task, K or seed than %s", dir, whole)
		}
		runs[name] = r
	}
	c := &Comparison{Task: full.settings.Task, Out: filepath.Join(out, "sweep.html")}
	if len(full.primary()) == 0 {
		return nil, errors.New("there is no measure of quality: the data set has no texts")
	}
	c.Measure = full.primary()[0].label
	// Items that have a result in all runs, and where they are in each.
	at := map[string][]int{}
	common := map[int]int{}
	for _, r := range runs {
		for _, it := range r.items {
			common[it.index]++
		}
	}
	indexes := slices.DeleteFunc(slices.Sorted(maps.Keys(common)), func(i int) bool { return common[i] < len(runs) })
	if c.Items = len(indexes); c.Items == 0 {
		return nil, errors.New("no item has a result in all runs")
	}
	for name, r := range runs {
		place := map[int]int{}
		for i, it := range r.items {
			place[it.index] = i
		}
		for _, x := range indexes {
			at[name] = append(at[name], place[x])
		}
	}
	c.add("whole", full, full, at[""], at[""])
	for _, name := range slices.Sorted(maps.Keys(cheaper)) {
		c.add(name, runs[name], full, at[name], at[""])
	}
	c.relate()
	c.Enough = []string{c.enough("gain in "+c.Measure, func(p Point) float64 { return p.GainPart }),
		c.enough("gain in CLIP similarity", func(p Point) float64 { return p.ScorePart })}
	return c, c.write(out)
}

// measured reads a run and has its captions scored.
func measured(dir, meteor string) (*run, error) {
	r, err := read(dir)
	if err == nil && r.settings.Task == eval.Image && len(r.items) > 0 {
		err = r.captionMetrics(meteor)
	}
	return r, err
}

// add has the points of a run: of all numbers of candidates where none is pruned.
func (c *Comparison) add(name string, r, full *run, at, atFull []int) {
	pruned := r.settings.Prune != ""
	from := 1
	if pruned {
		from = r.settings.K
	}
	m, whole := r.primary()[0], full.primary()[0]
	for k := from; k <= r.settings.K; k++ {
		var gains, scores, below []float64
		p, steps := Point{Name: name, K: k, pruned: pruned}, 0
		for n, i := range at {
			it, f := r.items[i], full.items[atFull[n]]
			choice := it.selected
			if !pruned {
				choice = best(it.score[:min(k, len(it.score))])
			}
			for j, s := range it.steps {
				if pruned || j < k {
					steps += s
				}
			}
			if choice < 0 {
				continue
			}
			base := mean(numbers(whole.values[atFull[n]]))
			v := m.values[i][choice]
			gains, below = append(gains, v-base), append(below, whole.values[atFull[n]][f.selected]-v)
			score := it.score[choice]
			if r.settings.Task == eval.Image {
				score = f.score[choice]
			}
			scores = append(scores, score-mean(numbers(f.score)))
		}
		p.Cost = float64(steps) / float64(len(at))
		p.Gain, p.Score, p.Below = Bootstrap(gains), Bootstrap(scores), Difference{Bootstrap(below), Paired(below)}
		c.Points = append(c.Points, p)
	}
}

// best is the place of the largest number; -1: there is none.
func best(x []float64) int {
	at := -1
	for i, v := range x {
		if !math.IsNaN(v) && (at < 0 || v > x[at]) {
			at = i
		}
	}
	return at
}

// relate has the parts of the whole run's.
func (c *Comparison) relate() {
	var whole Point
	for _, p := range c.Points {
		if p.Name == "whole" {
			whole = p // the last has all candidates
		}
	}
	for i := range c.Points {
		p := &c.Points[i]
		p.Part = p.Cost / whole.Cost
		p.GainPart, p.ScorePart = share(p.Gain, whole.Gain), share(p.Score, whole.Score)
	}
}

// enough names the cheapest point with 95 % of a gain.
func (c *Comparison) enough(gain string, part func(Point) float64) string {
	var least *Point
	for i, p := range c.Points {
		if part(p) >= .95 && (least == nil || p.Cost < least.Cost) {
			least = &c.Points[i]
		}
	}
	if least == nil {
		return "No way keeps 95 % of the " + gain + ": the whole run has none."
	}
	return fmt.Sprintf("95 %% of the %s, with the fewest runs of the UNet: %s, K = %d, which takes %.0f %% of them and keeps %.0f %%.", gain,
		least.Name, least.K, 100*least.Part, 100*part(*least))
}

// share is the part of a gain; 0 where there is none to have a part of.
func share(part, whole Interval) float64 {
	if whole.Value <= 0 {
		return 0
	}
	return finite(part.Value / whole.Value)
}

// curves draws a gain against the cost.
func (c *Comparison) curves(label string, gain func(Point) Interval) (Figure, error) {
	p := newPlot("runs of the UNet by item", label)
	glyphs := []draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.PyramidGlyph{}, draw.TriangleGlyph{}, draw.BoxGlyph{},
		draw.RingGlyph{}}
	names := []string{}
	for _, x := range c.Points {
		if !slices.Contains(names, x.Name) {
			names = append(names, x.Name)
		}
	}
	for n, name := range names {
		var line plotter.XYs
		var intervals []Interval
		var xs []float64
		pruned := false
		for _, x := range c.Points {
			if x.Name == name {
				line = append(line, plotter.XY{X: x.Cost, Y: gain(x).Value})
				xs, intervals, pruned = append(xs, x.Cost), append(intervals, gain(x)), x.pruned
			}
		}
		ink := series[n%len(series)]
		if name == "whole" {
			if err := band(p, xs, intervals, "K from 1 to all", ink); err != nil {
				return Figure{}, err
			}
			continue
		}
		l, dots, err := plotter.NewLinePoints(line)
		if err != nil {
			return Figure{}, err
		}
		l.Color, l.Width, dots.Color, dots.Radius, dots.Shape = ink, vg.Points(1.2), ink, vg.Points(2.6), glyphs[n%len(glyphs)]
		if pruned {
			p.Add(dots)
			p.Legend.Add(name, dots)
			continue
		}
		p.Add(l, dots)
		p.Legend.Add(name, l, dots)
	}
	p.Legend.Top, p.Legend.Left = false, false
	p.Legend.YOffs = vg.Points(4)
	p.X.Min = 0
	headroom(p, .05)
	return finish(p, Figure{})
}

//go:embed sweep.html
var sweepHTML string

func (c *Comparison) write(dir string) error {
	quality, err := c.curves("gain in "+c.Measure, func(p Point) Interval { return p.Gain })
	if err != nil {
		return err
	}
	score, err := c.curves("gain in CLIP similarity", func(p Point) Interval { return p.Score })
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	var html bytes.Buffer
	if err := execute(&html, sweepHTML, map[string]any{"C": c, "Quality": quality.SVG, "Score": score.SVG}); err != nil {
		return err
	}
	files := map[string][]byte{"sweep-quality.svg": quality.SVG, "sweep-quality.png": quality.PNG, "sweep-score.svg": score.SVG,
		"sweep-score.png": score.PNG, "sweep.json": append(data, '\n'), "sweep.html": html.Bytes()}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := output.WriteFile(filepath.Join(dir, name), files[name], output.Options{}); err != nil {
			return err
		}
	}
	return nil
}

// Print writes the comparison in lines.
func (c *Comparison) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "way\tK\tUNet\tpart\tgain in %s [95 %%]\tpart\tgain in CLIP\tpart\n", c.Measure)
	for _, p := range c.Points {
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.0f %%\t%+.3f [%+.3f, %+.3f]\t%.0f %%\t%+.4f\t%.0f %%\n", p.Name, p.K, p.Cost, 100*p.Part, p.Gain.Value,
			p.Gain.Low, p.Gain.High, 100*p.GainPart, p.Score.Value, 100*p.ScorePart)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, e := range c.Enough {
		fmt.Fprintln(w, e)
	}
	_, err := fmt.Fprintf(w, "%d items\n%s\n", c.Items, c.Out)
	return err
}
