package export

import (
	_ "embed"
	"html/template"
	"io"

	"parley/bench/layers"
)

//go:embed page.html
var page string

// HTML writes a page about results that needs nothing beside it: what would pay, flame
// graph, roofline, timeline and the table.
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
		Percent, Of, Win         float64
	}
	type part struct {
		*layers.Result
		Name, Where, Whole, Sum string
		More                    float64
		Flame, Roof, Line, Thin picture // Thin is the roofline of a phone
		Rows, Pays              []line
		Counted                 bool
	}
	draw := func(width float64, f func(r *layers.Result) (string, float64), r *layers.Result) picture {
		s, h := f(r)
		return picture{template.HTML(s), width, h}
	}
	roofline := func(width float64) func(r *layers.Result) (string, float64) {
		return func(r *layers.Result) (string, float64) { return rooflinePlot(r, width) }
	}
	var parts []part
	for _, r := range results {
		p := part{Result: r, Name: r.Workload.String(), Where: where(r), Whole: amount(r, r.Seconds), Sum: amount(r, r.Parts),
			More: 100 * r.Difference, Counted: r.Unit == layers.Counts}
		p.Flame, p.Line = draw(width, flameGraph, r), draw(width, timeline, r)
		p.Roof, p.Thin = draw(width, roofline(width), r), draw(narrow, roofline(narrow), r)
		row := func(l layers.Layer) line {
			v := line{Layer: l, Time: amount(r, l.Seconds), Shape: shape(l.Out), Percent: 100 * l.Share, Of: 100 * l.OfRoof}
			if l.Seconds > 0 && l.Bytes > 0 && !p.Counted {
				v.Win = 100 * l.Share * (1 - l.OfRoof)
				v.Speed, v.Rate = si(float64(l.FLOPs)/l.Seconds), si(float64(l.Bytes)/l.Seconds)
			}
			return v
		}
		for _, l := range o.show(r) {
			p.Rows = append(p.Rows, row(l))
		}
		byWin := Options{Sort: layers.ByRoof}.show(r)
		for _, l := range byWin[:min(5, len(byWin))] {
			if l.Roof > 0 && l.Seconds > l.Roof {
				p.Pays = append(p.Pays, row(l))
			}
		}
		parts = append(parts, p)
	}
	return t.Execute(w, parts)
}
