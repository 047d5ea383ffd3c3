package report

import (
	"bytes"
	"cmp"
	"fmt"
	"image/color"
	"math"
	"regexp"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"parley/bench/eval"
	"parley/bench/paper"
)

// Colours that people with any colour vision tell apart (Okabe and Ito, 2008).
var (
	ink    = color.RGBA{0x22, 0x22, 0x22, 0xff}
	faint  = color.RGBA{0x77, 0x77, 0x77, 0xff}
	grid   = color.RGBA{0xe2, 0xe2, 0xe2, 0xff}
	blue   = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	orange = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
)

// series are the colours of several curves.
var series = []color.RGBA{blue, orange, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff},
	{0x56, 0xb4, 0xe9, 0xff}}

// Figure is a plot with what is written under it.
type Figure struct {
	Name    string // figure3-cider-rank
	Number  string // 3 a
	Caption string
	SVG     []byte
	PNG     []byte
}

// Size of a figure: a column of a paper is 3.25 inches wide.
const (
	figureWidth  = 3.4 * vg.Inch
	figureHeight = 2.6 * vg.Inch
	figureDPI    = 300
)

func newPlot(x, y string) *plot.Plot {
	p := plot.New()
	sans := func(size float64) font.Font {
		return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}
	}
	p.X.Label.Text, p.Y.Label.Text = x, y
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font, a.Label.TextStyle.Color, a.Label.Padding = sans(9), ink, vg.Points(3)
		a.Tick.Label.Font, a.Tick.Label.Color = sans(8), ink
		a.LineStyle.Color, a.LineStyle.Width, a.Tick.LineStyle.Color, a.Tick.LineStyle.Width = ink, vg.Points(.6), ink, vg.Points(.6)
		a.Padding, a.Tick.Marker = vg.Points(4), round{}
	}
	p.Legend.TextStyle.Font, p.Legend.TextStyle.Color = sans(8), ink
	p.Legend.Padding, p.Legend.ThumbnailWidth = vg.Points(2), vg.Points(16)
	p.Legend.Top = true
	g := plotter.NewGrid()
	g.Vertical.Color, g.Horizontal.Color, g.Horizontal.Width = color.Transparent, grid, vg.Points(.5)
	p.Add(g)
	return p
}

// band draws estimates with their intervals.
func band(p *plot.Plot, x []float64, y []Interval, name string, c color.RGBA) error {
	var line plotter.XYs
	var low, high plotter.XYs
	for i, v := range y {
		line = append(line, plotter.XY{X: x[i], Y: v.Value})
		low, high = append(low, plotter.XY{X: x[i], Y: v.Low}), append(high, plotter.XY{X: x[i], Y: v.High})
	}
	slices.Reverse(high)
	area, err := plotter.NewPolygon(slices.Concat(low, high))
	if err != nil {
		return err
	}
	pale := c
	pale.R, pale.G, pale.B, pale.A = uint8(int(c.R)*60/255), uint8(int(c.G)*60/255), uint8(int(c.B)*60/255), 60 // premultiplied
	area.Color, area.LineStyle.Width = pale, 0
	l, points, err := plotter.NewLinePoints(line)
	if err != nil {
		return err
	}
	l.Color, l.Width = c, vg.Points(1.4)
	points.Shape, points.Color, points.Radius = draw.CircleGlyph{}, c, vg.Points(2)
	p.Add(area, l, points)
	if name != "" {
		p.Legend.Add(name, l, points)
	}
	return nil
}

// level draws a horizontal line.
func level(p *plot.Plot, y float64, name string) {
	f := plotter.NewFunction(func(float64) float64 { return y })
	f.Color, f.Width, f.Dashes, f.Samples = faint, vg.Points(1), []vg.Length{vg.Points(4), vg.Points(3)}, 2
	p.Add(f)
	p.Legend.Add(name, f)
}

// family are fonts of the same widths, for who has not the first one.
var family = regexp.MustCompile(`font-family:Liberation[^;"]*`)

// finish draws a plot as SVG and PNG.
func finish(p *plot.Plot, f Figure) (Figure, error) {
	var b bytes.Buffer
	svg := vgsvg.New(figureWidth, figureHeight)
	p.Draw(margin(draw.New(svg)))
	if _, err := svg.WriteTo(&b); err != nil {
		return f, err
	}
	f.SVG = family.ReplaceAll(b.Bytes(), []byte(`font-family:'Liberation Sans',Arial,Helvetica,sans-serif`))
	img := vgimg.NewWith(vgimg.UseWH(figureWidth, figureHeight), vgimg.UseDPI(figureDPI))
	p.Draw(margin(draw.New(img)))
	var png bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: img}).WriteTo(&png); err != nil {
		return f, err
	}
	f.PNG = png.Bytes()
	return f, nil
}

// margin leaves what axes' ends and labels need.
func margin(c draw.Canvas) draw.Canvas {
	return draw.Crop(c, vg.Points(2), -vg.Points(5), vg.Points(2), -vg.Points(4))
}

// byRank are a measure's values by the rank of the candidates.
func (r *run) byRank(m *measure) (out []Interval) {
	if m.sets != nil {
		for _, v := range m.sets.ranks {
			out = append(out, Interval{Value: v, Low: v, High: v, N: 1})
		}
		return out
	}
	var lists [][]float64
	for i, it := range r.items {
		for j, rank := range it.rank {
			if rank < 1 || j >= len(m.values[i]) {
				continue
			}
			for len(lists) < rank {
				lists = append(lists, nil)
			}
			lists[rank-1] = append(lists[rank-1], m.values[i][j])
		}
	}
	for _, l := range lists {
		out = append(out, Bootstrap(l))
	}
	return out
}

// point is a candidate, or the mean of an item's.
type point struct{ x, y float64 }

// points are the scores and values of candidates, or their means by item.
func (r *run) points(m *measure, means bool) (out []point) {
	for i, it := range r.items {
		var xs, ys []float64
		for j, v := range m.values[i] {
			if !math.IsNaN(v) && !math.IsNaN(it.score[j]) {
				xs, ys = append(xs, it.score[j]), append(ys, v)
			}
		}
		if means {
			if len(xs) > 0 {
				out = append(out, point{mean(xs), mean(ys)})
			}
			continue
		}
		for j := range xs {
			out = append(out, point{xs[j], ys[j]})
		}
	}
	return out
}

// bins deals points to bins of equal counts along x.
func bins(list []point, most int) (x []float64, y []Interval) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	n := max(1, min(most, len(list)/5))
	for b := range n {
		part := list[b*len(list)/n : (b+1)*len(list)/n]
		if len(part) == 0 {
			continue
		}
		var xs, ys []float64
		for _, p := range part {
			xs, ys = append(xs, p.x), append(ys, p.y)
		}
		x, y = append(x, mean(xs)), append(y, Bootstrap(ys))
	}
	return x, y
}

// figures are Figure 3 and 4 of the measures that they are about.
func (r *run) figures() (out []Figure, err error) {
	letter := map[string]int{}
	add := func(number, name, caption string, p *plot.Plot) error {
		f, err := finish(p, Figure{Name: "figure" + number + "-" + name, Number: number + string(rune('a'+letter[number])), Caption: caption})
		letter[number]++
		out = append(out, f)
		return err
	}
	what, of, by := "captions", "picture", "their drawings' CLIP similarity to the picture"
	scoreLabel := "CLIP image similarity of the drawing"
	if r.settings.Task == eval.Text {
		what, of, by = "drawings", "text", "their captions' CLIP similarity to the text"
		scoreLabel = "CLIP text similarity of the caption"
	}
	for _, m := range r.primary() {
		slug := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(m.label), "-")
		ranks := r.byRank(m)
		label := m.label
		if m.lower {
			label += " (less is better)"
		}
		p := newPlot("rank of the candidate", label)
		x := make([]float64, len(ranks))
		for i := range x {
			x[i] = float64(i + 1)
		}
		if err := band(p, x, ranks, "this run", blue); err != nil {
			return nil, err
		}
		var all []float64
		for _, v := range m.values {
			all = append(all, numbers(v)...)
		}
		note := "Band: 95 % bootstrap interval of the mean."
		if m.sets != nil {
			all, note = numbers(m.sets.places), "Each is of the set of all drawings of a rank."
		}
		level(p, mean(all), "mean of all")
		beside := ""
		if s, ok := r.paper(m); ok {
			var line plotter.XYs
			for i, v := range s.Values {
				at := float64(i + 1)
				if len(s.Values) < paper.K { // its two ends
					at = 1 + float64(i)*float64(paper.K-1)/float64(len(s.Values)-1)
				}
				line = append(line, plotter.XY{X: at, Y: v})
			}
			l, dots, err := plotter.NewLinePoints(line)
			if err != nil {
				return nil, err
			}
			l.Color, l.Width, dots.Color, dots.Shape, dots.Radius = orange, vg.Points(1.2), orange, draw.SquareGlyph{}, vg.Points(1.8)
			p.Add(l, dots)
			p.Legend.Add("the paper, NoCaps", l, dots)
			beside = " Orange: read off the plots of the paper's page, to about three digits."
		}
		p.X.Tick.Marker = whole(len(ranks))
		p.X.Min, p.X.Max = .7, float64(max(len(ranks), 1))+.3
		headroom(p, .22)
		if err := add("3", slug+"-rank",
			fmt.Sprintf("%s of %s by the rank of %s, the most similar first; %d %ss. %s%s", label, what, by, len(r.items), of, note,
				beside), p); err != nil {
			return nil, err
		}
		if m.sets != nil {
			continue
		}
		points := r.points(m, false)
		bx, byv := bins(points, 10)
		p = newPlot(scoreLabel, label)
		if len(bx) > 0 {
			if err := band(p, bx, byv, "", blue); err != nil {
				return nil, err
			}
		}
		headroom(p, .06)
		if err := add("3", slug+"-bin",
			fmt.Sprintf("%s of %s by %s: all %d candidates in %d bins of equal counts. Band: 95 %% bootstrap interval of "+
				"a bin's mean.", m.label, what, by, len(points), len(bx)), p); err != nil {
			return nil, err
		}
		points = r.points(m, true)
		bx, byv = bins(points, 10)
		p = newPlot("mean "+scoreLabel, "mean "+label)
		var cloud plotter.XYs
		for _, q := range points {
			cloud = append(cloud, plotter.XY{X: q.x, Y: q.y})
		}
		if len(cloud) > 0 {
			s, err := plotter.NewScatter(cloud)
			if err != nil {
				return nil, err
			}
			s.Shape, s.Radius, s.Color = draw.CircleGlyph{}, vg.Points(1.1), color.RGBA{0x99, 0x99, 0x99, 0xff}
			p.Add(s)
			if err := band(p, bx, byv, "", blue); err != nil {
				return nil, err
			}
		}
		headroom(p, .06)
		if err := add("4", slug, fmt.Sprintf("How good a %s's %s are against how well it is reconstructed: means of each %s's "+
			"candidates (grey) and of %d bins of equal counts, with 95 %% bootstrap intervals.", of, what, of, len(bx)), p); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// headroom leaves a part of the plot above the data, for the legend.
func headroom(p *plot.Plot, part float64) {
	if p.Y.Max > p.Y.Min {
		p.Y.Max += (p.Y.Max - p.Y.Min) * part
		p.Y.Min -= (p.Y.Max - p.Y.Min) * .04
	}
}

// round are ticks at multiples of 1, 2 or 5 times a power of ten, three to seven of them
// between the ends.
type round struct{}

func (round) Ticks(low, high float64) (out []plot.Tick) {
	most := (high - low) / 3
	if !(most > 0) || math.IsInf(most, 0) {
		return []plot.Tick{{Value: low, Label: fmt.Sprint(low)}}
	}
	power := math.Floor(math.Log10(most))
	step := math.Pow(10, power)
	for _, f := range []float64{5, 2} {
		if f*step <= most {
			step *= f
			break
		}
	}
	for i := math.Ceil(low/step - 1e-9); i*step <= high+1e-9*step; i++ {
		out = append(out, plot.Tick{Value: i * step, Label: minus(fmt.Sprintf("%.*f", int(max(0, -power)), i*step+0))})
	}
	return out
}

// whole are ticks at whole numbers from 1.
func whole(n int) plot.ConstantTicks {
	var t plot.ConstantTicks
	step := max(1, (n+9)/10)
	for i := 1; i <= n; i += step {
		t = append(t, plot.Tick{Value: float64(i), Label: fmt.Sprint(i)})
	}
	return t
}

// paper is the paper's curve of a measure, where the data set is its own: NoCaps,
// which has domains.
func (r *run) paper(m *measure) (paper.Series, bool) {
	if len(r.items) == 0 || r.items[0].domain == "" {
		return paper.Series{}, false
	}
	series := paper.Captions()
	name := map[string]string{"CIDEr": "CIDEr", eval.CLIPText: "CLIP text", measureWMD: "WMD", measureSBERT: "SBERT"}[m.name]
	if r.settings.Task == eval.Text {
		series, name = paper.Images(), map[string]string{eval.CLIPImage: "CLIP image", measureDINO: "DINO",
			measureFID: "FID"}[m.name]
	}
	for _, s := range series {
		if s.Score == name {
			return s, true
		}
	}
	return paper.Series{}, false
}
