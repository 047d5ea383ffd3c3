package export

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"parley/bench/layers"
	"parley/engine"
)

// results are two, whose layers' names a page has to escape.
func results() []*layers.Result {
	var all []*layers.Result
	for _, batch := range []int{1, 4} {
		r := &layers.Result{Schema: layers.Schema, Unit: layers.Seconds, Taken: time.Unix(1e9, 0), Seconds: 0.0101, Parts: 0.01,
			Rounds: []float64{
				0.01, 0.0101, 0.011}, Method: "by hand", FLOPs: 6e9, Bytes: 3e6, Command: "parley bench",
			Workload: layers.Workload{Net: "vae-decode", Preset: "sd15", Weights: "random", Batch: batch},
			Machine:  layers.Machine{OS: "linux/amd64", CPU: "a <CPU> & co", Device: "cpu", Precision: "f32", Threads: 2, Kernels: "avx2"},
			Peak:     layers.Peak{Products: 1e12, FLOPs: 1e11, Bytes: 1e10, Source: "measured"},
			Rates:    []layers.Rate{{Name: "images/s", Value: 99}},
			Layers: []layers.Layer{
				{Path: "decoder.up.<script>.conv", Op: "conv", Kernel: "winograd f4", Calls: 1, In: []engine.Shape{{1, 8, 8, 4}},
					Out:     engine.Shape{1, 8, 8, 16},
					Seconds: 0.008, Rounds: []float64{0.007, 0.008,
						0.009}, Share: 0.8, FLOPs: 5e9, Bytes: 2e6, Roof: 0.005, OfRoof: 0.625, Bound: "products"},
				{Path: "decoder.up.0.norm", Op: "groupnorm", Kernel: "rows", Calls: 2, Out: engine.Shape{1, 8, 8, 16}, Seconds: 0.002,
					Rounds: []float64{0.002, 0.002, 0.002}, Share: 0.2, FLOPs: 1e9, Bytes: 1e6, Roof: 0.001, OfRoof: 0.5, Bound: "memory", Varies: true},
			},
			Timeline: []layers.Event{{Path: "decoder.up.<script>.conv", Op: "conv", Start: 0.001, Seconds: 0.008}, {Path: "decoder", Start: 0,
				Seconds: 0.0105}},
		}
		all = append(all, r)
	}
	return all
}

func written(t *testing.T, f func(w io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTable(t *testing.T) {
	out := written(t, func(w io.Writer) error { return Table(w, results(), Options{Sort: layers.ByTime, Top: 1}) })
	for _, want := range []string{"vae-decode of sd15, batch 1", "batch 4", "80.0 %", "625 GFLOP/s", "62 %", "and 1 more with 20.0 %",
		"images/s 99",
		"1x8x8x16", "10.100 ms, median of 3 rounds: 10.000 ms to 11.000 ms", "roof     1 TFLOP/s"} {
		if !strings.Contains(strings.ReplaceAll(out, "625 G ", "625 GFLOP/s"), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	counts := results()[:1]
	counts[0].Unit = layers.Counts
	if out := written(t, func(w io.Writer) error { return Table(w, counts, Options{}) }); !strings.Contains(out, "not times") ||
		strings.Contains(out, " ms") {
		t.Errorf("counts:\n%s", out)
	}
}

func TestCSV(t *testing.T) {
	rows, err := csv.NewReader(strings.NewReader(written(t, func(w io.Writer) error {
		return CSV(w, results(),
			Options{Depth: 2})
	}))).ReadAll()
	if err != nil || len(rows) != 3 || rows[1][2] != "decoder.up" || rows[1][7] != "0.01" || rows[2][1] != "4" || rows[0][7] != "seconds" {
		t.Errorf("%v, %v", rows, err)
	}
}

// TestGoBench: the lines are those of the format's grammar, one a round.
func TestGoBench(t *testing.T) {
	out := written(t, func(w io.Writer) error { return GoBench(w, results(), Options{}) })
	line := regexp.MustCompile(`^(Benchmark[A-Z][^\s]*) (\d+) ([\d.]+) ns/op$`)
	config := regexp.MustCompile(`^[a-z][^\sA-Z]*: .+$`)
	seen := map[string][]string{}
	for l := range strings.Lines(out) {
		l = strings.TrimSuffix(l, "\n")
		if m := line.FindStringSubmatch(l); m != nil {
			seen[m[1]] = append(seen[m[1]], m[3])
		} else if l != "" && !config.MatchString(l) {
			t.Errorf("%q", l)
		}
	}
	if len(seen) != 6 || !slices.Equal(seen["BenchmarkVaeDecode/sd15/batch=4"], []string{"10000000", "10100000", "11000000"}) ||
		len(seen["BenchmarkVaeDecode/sd15/batch=1/decoder.up.0.norm"]) != 3 {
		t.Errorf("%v", seen)
	}
}

// TestPProf: what pprof's own package reads back is all of the time, by path.
func TestPProf(t *testing.T) {
	p, err := profile.Parse(strings.NewReader(written(t, func(w io.Writer) error { return PProf(w, results()) })))
	if err != nil {
		t.Fatal(err)
	}
	var sum [3]int64
	for _, s := range p.Sample {
		for i, v := range s.Value {
			sum[i] += v
		}
	}
	first := p.Sample[0]
	var stack []string
	for _, l := range first.Location {
		stack = append(stack, l.Line[0].Function.Name)
	}
	if sum != [3]int64{20e6, 12e9, 6e6} || len(stack) != 5 || stack[0] != "decoder.up.<script>.conv" || stack[3] != "decoder" ||
		stack[4] != results()[0].Workload.String() || first.Label["kernel"][0] != "winograd f4" || p.SampleType[0].Unit != "nanoseconds" {
		t.Errorf("sums %v, stack %q, labels %v", sum, stack, first.Label)
	}
}

// TestPProfAdds: the profile's time is that of a pass, where the layers' medians are less
// because another one was slow in each round.
func TestPProfAdds(t *testing.T) {
	r := results()[0]
	r.Layers[0].Rounds, r.Layers[0].Seconds, r.Layers[0].Share = []float64{0.02, 0.01, 0.01, 0.02}, 0.015, 0.5
	r.Layers[1].Rounds, r.Layers[1].Seconds, r.Layers[1].Share = []float64{0.01, 0.02, 0.02, 0.02}, 0.015, 0.5
	p, err := profile.Parse(strings.NewReader(written(t, func(w io.Writer) error { return PProf(w, []*layers.Result{r}) })))
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, s := range p.Sample {
		sum += s.Value[0]
	}
	if pass := int64(1e9 * r.Recorded()); sum != 30e6 || pass != sum {
		t.Errorf("%d ns, a pass is %d", sum, pass)
	}
}

// TestTrace: events have the fields that the format asks of their phase, and lie within
// each other on their thread.
func TestTrace(t *testing.T) {
	type event struct {
		Name, Cat, Ph string
		TS, Dur       *float64
		PID, TID      *int
		Args          map[string]any
	}
	var v struct{ TraceEvents []event }
	if err := json.Unmarshal([]byte(written(t, func(w io.Writer) error { return Trace(w, results()) })), &v); err != nil {
		t.Fatal(err)
	}
	named, spans := map[string]int{}, map[int][]event{}
	for _, e := range v.TraceEvents {
		if e.Name == "" || e.Cat == "" || e.TS == nil || e.PID == nil || e.TID == nil || e.Ph == "X" && (e.Dur == nil || *e.Dur < 0) {
			t.Fatalf("%+v", e)
		}
		switch e.Ph {
		case "M":
			named[e.Name+" "+e.Args["name"].(string)]++
		case "X":
			spans[*e.PID] = append(spans[*e.PID], e)
		default:
			t.Errorf("phase %q", e.Ph)
		}
	}
	if named["process_name vae-decode of sd15, batch 4"] != 1 || named["thread_name cpu"] != 2 || len(spans) != 2 {
		t.Errorf("%v, %d processes", named, len(spans))
	}
	for pid, l := range spans {
		slices.SortFunc(l, func(a, b event) int { return cmp.Compare(*a.TS, *b.TS) })
		outer, inner := l[0], l[1]
		if outer.Cat != "scope" || inner.Name != "conv" || inner.Cat != "conv" || *inner.TS != 1000 || *inner.Dur != 8000 ||
			*inner.TS+*inner.Dur > *outer.TS+*outer.Dur || inner.Args["flops"] != 5e9 {
			t.Errorf("process %d: %+v", pid, l)
		}
	}
}

// TestSVG: the picture is XML, its flame graph as wide as the time, and its points lie
// within it.
func TestSVG(t *testing.T) {
	out := written(t, func(w io.Writer) error { return SVG(w, results()) })
	boxes, points := 0, 0
	for d := xml.NewDecoder(strings.NewReader(out)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := token.(xml.StartElement); ok {
			for _, a := range s.Attr {
				switch {
				case a.Name.Local == "data-w" && a.Value == "0.800000":
					boxes++ // <script>, conv
				case s.Name.Local == "circle" && a.Name.Local == "fill-opacity":
					points++
				case strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf"):
					t.Errorf("%s=%q", a.Name.Local, a.Value)
				}
			}
		}
	}
	if boxes != 4 || points != 4 || strings.Contains(out, "<script") {
		t.Errorf("%d boxes of 80 %%, %d points", boxes, points)
	}
}

// TestHTML: the page has all of it, asks for nothing else, and names are text.
func TestHTML(t *testing.T) {
	out := written(t, func(w io.Writer) error { return HTML(w, results(), Options{Sort: layers.ByTime}) })
	for _, want := range []string{"class=\"flame\"", "class=\"roofline\"", "class=\"timeline\"", "&lt;script&gt;", "8.000 ms",
		"a &lt;CPU&gt; &amp; co",
		"batch 4"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Count(out, "<script") != 1 || regexp.MustCompile(`(src|href)=|url\(|@import|fetch\(|https?://`).MatchString(out) {
		t.Error("the page asks for something, or a name is markup")
	}
}
