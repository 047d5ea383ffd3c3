package export

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"

	"parley/bench/layers"
)

const (
	width  = 1200.0 // of pictures, in pixels
	narrow = 400.0  // of a phone's
	row    = 19.0   // of a flame graph
)

// SVG writes the flame graphs and the rooflines of results as one picture.
func SVG(w io.Writer, results []*layers.Result) error {
	var b strings.Builder
	y := 0.0
	for _, r := range results {
		flame, high := flameGraph(r)
		roof, low := rooflinePlot(r, width)
		fmt.Fprintf(&b, `<g transform="translate(0 %.0f)"><text x="8" y="18" font-size="15">%s</text>`+
			`<text x="8" y="36" fill="#555">%s: %s</text>`, y,
			html.EscapeString(r.Workload.String()), html.EscapeString(where(r)), amount(r, r.Seconds))
		fmt.Fprintf(&b, `<g transform="translate(0 46)">%s</g><g transform="translate(0 %.0f)">%s</g></g>`+"\n", flame, 46+high, roof)
		y += 46 + high + low
	}
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="12">`+
		"\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>%s</svg>\n", width, y, b.String())
	return err
}

// where says in a line where a result was found.
func where(r *layers.Result) string {
	m := r.Machine
	if m.GPU != "" {
		return fmt.Sprintf("%s, %s, %s", m.Device, m.Precision, m.GPU)
	}
	return fmt.Sprintf("%s, %s, %d threads of %s, %s", m.Device, m.Precision, m.Threads, m.CPU, m.Kernels)
}

// node is a part of a net with those in it.
type node struct {
	name, path string
	seconds    float64
	roof       float64
	layer      *layers.Layer // of an operation
	children   []*node
}

// tree joins layers by the names of their paths.
func tree(r *layers.Result) *node {
	root := &node{name: r.Workload.Net}
	at := map[string]*node{}
	for i := range r.Layers {
		l := &r.Layers[i]
		n := root
		n.seconds += l.Seconds
		n.roof += l.Roof
		for end := 0; end < len(l.Path); {
			next := strings.IndexByte(l.Path[end:], '.')
			if next < 0 {
				next = len(l.Path) - end
			}
			path := l.Path[:end+next]
			c := at[path]
			if c == nil {
				c = &node{name: l.Path[end : end+next], path: path}
				at[path] = c
				n.children = append(n.children, c)
			}
			c.seconds += l.Seconds
			c.roof += l.Roof
			n, end = c, end+next+1
		}
		n.layer = l
	}
	return root
}

func (n *node) depth() int {
	d := 0
	for _, c := range n.children {
		d = max(d, c.depth())
	}
	return d + 1
}

// tip is what is said about a node.
func tip(r *layers.Result, path string, seconds, roof, share float64, l *layers.Layer) string {
	s := fmt.Sprintf("%s\n%s, %.1f %%", path, amount(r, seconds), 100*share)
	if roof > 0 && seconds > 0 {
		s += fmt.Sprintf(", %.0f %% of the roof", 100*roof/seconds)
	}
	if l == nil || l.Path == layers.Between {
		return s
	}
	for _, in := range l.In {
		s += fmt.Sprintf("\nin  %s", shape(in))
	}
	s += "\nout " + shape(l.Out)
	if l.Calls > 1 {
		s += fmt.Sprintf("\n%d calls", l.Calls)
	}
	s += fmt.Sprintf("\n%sFLOPs, %sB, bound by %s\n%s", si(float64(l.FLOPs)), si(float64(l.Bytes)), l.Bound, l.Kernel)
	return s
}

// heat is green at the roof and red far from it; grey where no roof is known.
func heat(roof, seconds float64) string {
	if roof <= 0 || seconds <= 0 {
		return "#c8ccd4"
	}
	return fmt.Sprintf("hsl(%.0f 62%% 74%%)", 120*math.Sqrt(min(1, roof/seconds)))
}

// flameGraph draws the net by time, and says how high it is.
func flameGraph(r *layers.Result) (string, float64) {
	root := tree(r)
	var b strings.Builder
	b.WriteString(`<g class="flame">`)
	var draw func(n *node, at float64, depth int)
	draw = func(n *node, at float64, depth int) {
		w := n.seconds / root.seconds
		if w*width < 0.3 {
			return
		}
		box(&b, at, w, float64(depth)*row, heat(n.roof, n.seconds), n.name, tip(r, cmp.Or(n.path, n.name), n.seconds, n.roof, w, n.layer))
		slices.SortStableFunc(n.children, func(x, y *node) int { return cmp.Compare(y.seconds, x.seconds) })
		for _, c := range n.children {
			draw(c, at, depth+1)
			at += c.seconds / root.seconds
		}
	}
	draw(root, 0, 0)
	b.WriteString("</g>\n")
	return b.String(), float64(root.depth())*row + 14
}

// box is a rectangle with its name, at fractions of the width.
func box(b *strings.Builder, at, w, y float64, fill, name, tip string) {
	chars := int((w*width - 6) / 6.6)
	if chars < len(name) {
		if name = name[:max(0, chars-1)]; name != "" {
			name += "…"
		}
	}
	fmt.Fprintf(b, `<g data-x="%.6f" data-w="%.6f"><title>%s</title><rect x="%.2f" y="%.1f" width="%.2f" height="%.0f" fill="%s" `+
		`stroke="white" stroke-width="0.6"/><text x="%.2f" y="%.1f" font-size="11">%s</text></g>`+"\n", at, w,
		html.EscapeString(tip), at*width, y,
		max(0.3, w*width), row-1, fill, at*width+3, y+13, html.EscapeString(name))
}

// kinds are the operations that a picture tells apart, with their colours.
var kinds = []struct{ op, colour string }{{"conv", "#3b76c4"}, {"linear", "#d9822b"}, {"attention", "#9a4fb5"}, {"groupnorm", "#2c9c78"},
	{"layernorm", "#5bb85b"}, {"", "#888888"}}

func colour(op string) string {
	for _, k := range kinds {
		if k.op == op || k.op == "" {
			return k.colour
		}
	}
	return ""
}

// legend names the kinds from a place on, so many in a line.
func legend(b *strings.Builder, left, top float64, columns int) {
	for i, k := range kinds {
		x, y := left+float64(90*(i%columns)), top+float64(16*(i/columns))
		fmt.Fprintf(b, `<circle cx="%.0f" cy="%.0f" r="5" fill="%s"/><text x="%.0f" y="%.0f">%s</text>`, x, y-4, k.colour, x+9, y,
			cmp.Or(k.op, "others"))
	}
}

// rooflinePlot draws each layer by the FLOPs a byte that its method takes and its speed, below the lines
// that memory and arithmetic are (Williams, Waterman and Patterson, 2009), as a picture
// of a width, and says how high it is.
func rooflinePlot(r *layers.Result, width float64) (string, float64) {
	left, right, top, bottom, height := 74.0, 20.0, 26.0, 40.0, 460.0
	columns, caption := len(kinds), "FLOPs a byte; a point is a layer, its area the time"
	if width == narrow {
		left, top, height, columns, caption = 62, 46, 400, 3, "FLOPs a byte"
	}
	if r.Unit == layers.Counts || r.Peak.Bytes == 0 {
		return "", 0
	}
	peak := max(r.Peak.Products, r.Peak.FLOPs)
	x0, x1, y0, y1 := 1e-1, 1e3, math.Inf(1), peak
	for _, l := range r.Layers {
		if l.FLOPs > 0 && l.Seconds > 0 && l.Bytes > 0 {
			v, i := l.Computed()/l.Seconds, l.Computed()/float64(l.Bytes)
			y0, y1 = min(y0, v), max(y1, v)
			x0, x1 = min(x0, i), max(x1, i)
		}
	}
	if math.IsInf(y0, 0) || y1 <= 0 {
		return "", 0
	}
	x0, x1 = math.Pow(10, math.Floor(math.Log10(x0))), math.Pow(10, math.Ceil(math.Log10(x1)))
	y0, y1 = math.Pow(10, math.Floor(math.Log10(y0))), math.Pow(10, math.Ceil(math.Log10(y1*1.05)))
	px := func(v float64) float64 { return left + math.Log(v/x0)/math.Log(x1/x0)*(width-left-right) }
	py := func(v float64) float64 { return height - bottom - math.Log(v/y0)/math.Log(y1/y0)*(height-top-bottom) }
	var b strings.Builder
	b.WriteString(`<g class="roofline">`)
	for v := x0; v <= x1*1.01; v *= 10 {
		fmt.Fprintf(&b, `<line x1="%[1]f" x2="%[1]f" y1="%[2]f" y2="%[3]f" stroke="#eee"/><text x="%[1]f" y="%.1[4]f" text-anchor="middle" `+
			`fill="#555">%[5]g</text>`, px(v), top, height-bottom, height-bottom+15, v)
	}
	for v := y0; v <= y1*1.01; v *= 10 {
		fmt.Fprintf(&b, `<line x1="%f" x2="%f" y1="%[3]f" y2="%[3]f" stroke="#eee"/>`+
			`<text x="%f" y="%f" text-anchor="end" fill="#555">%s</text>`, left,
			width-right, py(v), left-6, py(v)+4, strings.TrimSpace(si(v)))
	}
	line := func(rate float64, name string) {
		if rate <= 0 {
			return
		}
		knee := min(max(rate/r.Peak.Bytes, x0), x1)
		from := max(x0, y0/r.Peak.Bytes)
		fmt.Fprintf(&b, `<polyline points="%.1f,%.1f %.1f,%.1f %.1f,%.1f" fill="none" stroke="#333"/><text x="%.1f" y="%.1f" `+
			`text-anchor="end" fill="#333">%s%sFLOP/s</text>`+"\n", px(from), py(from*r.Peak.Bytes), px(knee), py(min(rate,
			knee*r.Peak.Bytes)), px(x1),
			py(rate), width-right-4, py(rate)-5, name, si(rate))
	}
	points := slices.Clone(r.Layers)
	layers.Sort(points, layers.ByTime)
	for i := range points { // the small ones on top
		l := &points[i]
		if l.FLOPs > 0 && l.Seconds > 0 && l.Bytes > 0 {
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="%.1f" fill="%s" fill-opacity="0.55" stroke="white" stroke-width="0.5"><title>%s</title>`+
				"</circle>\n", px(l.Computed()/float64(l.Bytes)), py(l.Computed()/l.Seconds), 2.5+width/30*math.Sqrt(max(0, l.Share)),
				colour(l.Op),
				html.EscapeString(tip(r, l.Path, l.Seconds, l.Roof, l.Share, l)))
		}
	}
	line(r.Peak.Products, "products ")
	if r.Peak.FLOPs < 0.99*r.Peak.Products || r.Peak.Products < 0.99*r.Peak.FLOPs { // two lines on each other cannot be read
		line(r.Peak.FLOPs, "")
	}
	fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" fill="#333">memory %sB/s</text>`, left+6, height-bottom-8, si(r.Peak.Bytes))
	legend(&b, left+10, 16, columns)
	fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="middle" fill="#555">%s</text>`, width/2, height-6, caption)
	fmt.Fprintf(&b, `<text x="14" y="%.0f" fill="#555" transform="rotate(-90 14 %.0f)" text-anchor="middle">FLOP/s</text></g>`+"\n", height/2,
		height/2)
	return b.String(), height
}

// timeline draws the last recorded round, and says how high it is.
func timeline(r *layers.Result) (string, float64) {
	end := 0.0
	for _, e := range r.Timeline {
		end = max(end, e.Start+e.Seconds)
	}
	if end == 0 {
		return "", 0
	}
	info := map[string]*layers.Layer{}
	for i := range r.Layers {
		info[r.Layers[i].Path] = &r.Layers[i]
	}
	var b strings.Builder
	deepest := 0
	b.WriteString(`<g class="timeline">`)
	for _, e := range r.Timeline {
		w := e.Seconds / end
		if w*width < 0.25 {
			continue
		}
		names := strings.Split(e.Path, ".")
		depth, fill := len(names)-1, "#e3e6ec"
		var l *layers.Layer
		if e.Op != "" {
			l, fill = info[e.Path], colour(e.Op)
		}
		deepest = max(deepest, depth)
		box(&b, e.Start/end, w, float64(depth)*row, fill, names[depth], fmt.Sprintf("%s\nfrom %s", tip(r, e.Path, e.Seconds, 0, w, l), amount(r,
			e.Start)))
	}
	b.WriteString("</g>\n")
	return b.String(), float64(deepest+1)*row + 4
}
