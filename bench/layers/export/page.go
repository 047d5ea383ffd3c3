package export

import (
	_ "embed"
	"html/template"
	"io"

	"parley/bench/layers"
)

//go:embed page.html
var page string

// HTML writes a page about results that needs nothing beside it: flame graph,
// roofline, timeline and the table.
func HTML(w io.Writer, results []*layers.Result, o Options) error {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return err
	}
	type picture struct {
		SVG    template.HTML // of our own making, with escaped texts
		Width  float64
		Height float64
	}
	type line struct {
		layers.Layer
		Time, Speed, Rate, Shape string
		Percent, Of              float64
	}
	type part struct {
		*layers.Result
		Name, Where, Whole, Sum string
		More                    float64
		Flame, Roof, Line       picture
		Rows                    []line
		Counted                 bool
	}
	draw := func(f func(*layers.Result) (string, float64), r *layers.Result) picture {
		s, h := f(r)
		return picture{template.HTML(s), width, h}
	}
	var parts []part
	for _, r := range results {
		p := part{Result: r, Name: r.Workload.String(), Where: where(r), Whole: amount(r, r.Seconds), Sum: amount(r, r.Parts),
			More: 100 * r.Difference, Counted: r.Unit == layers.Counts}
		p.Flame, p.Roof, p.Line = draw(flameGraph, r), draw(rooflinePlot, r), draw(timeline, r)
		for _, l := range o.show(r) {
			v := line{Layer: l, Time: amount(r, l.Seconds), Shape: shape(l.Out), Percent: 100 * l.Share, Of: 100 * l.OfRoof}
			if l.Seconds > 0 && !p.Counted {
				v.Speed, v.Rate = si(float64(l.FLOPs)/l.Seconds), si(float64(l.Bytes)/l.Seconds)
			}
			p.Rows = append(p.Rows, v)
		}
		parts = append(parts, p)
	}
	return t.Execute(w, parts)
}
