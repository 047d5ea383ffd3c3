package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/bench/eval"
	"parley/bench/score"
)

// TestCorrelations against their definitions, with many equal values.
func TestCorrelations(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := 2; n < 60; n += 3 {
		x, y := make([]float64, n), make([]float64, n)
		for i := range x {
			x[i], y[i] = float64(r.IntN(6)), float64(r.IntN(9))+r.Float64()*float64(r.IntN(2))
		}
		var s, tx, ty float64
		for i := range x {
			for j := range i {
				a, b := x[i]-x[j], y[i]-y[j]
				switch {
				case a*b > 0:
					s++
				case a*b < 0:
					s--
				}
				if a != 0 {
					tx++
				}
				if b != 0 {
					ty++
				}
			}
		}
		if want, have := s/math.Sqrt(tx*ty), Kendall(x, y); math.Abs(have-want) > 1e-12 && !(math.IsNaN(want) && math.IsNaN(have)) {
			t.Errorf("%d: Kendall %v, want %v", n, have, want)
		}
	}
	// Of scipy.stats 1.14.1: spearmanr, pearsonr, kendalltau.
	x, y := []float64{1, 2, 2, 3, 5, 8}, []float64{2, 1, 4, 4, 3, 9}
	for name, v := range map[string][2]float64{"Spearman": {Spearman(x, y), 0.6617647058823529},
		"Pearson": {Pearson(x, y), 0.8456197166243281},
		"Kendall": {Kendall(x, y), 0.5}} {
		if math.Abs(v[0]-v[1]) > 1e-12 {
			t.Errorf("%s is %v, want %v", name, v[0], v[1])
		}
	}
	if !math.IsNaN(Spearman([]float64{1, 1}, []float64{1, 2})) {
		t.Error("a correlation with a constant")
	}
}

// TestBootstrap: intervals of normal numbers have the width that theory gives, and
// cover as often.
func TestBootstrap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	covered, width := 0, 0.0
	const rounds, n = 200, 100
	for range rounds {
		x := make([]float64, n)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		b := Bootstrap(x)
		width += (b.High - b.Low) / rounds
		if b.Low <= 0 && b.High >= 0 {
			covered++
		}
	}
	if want := 2 * 1.96 / 10; math.Abs(width-want) > .03 || covered < 180 || covered > 198 {
		t.Errorf("width %v, want %v; %d of %d cover", width, want, covered, rounds)
	}
	if b := Bootstrap([]float64{math.NaN(), 2}); b.Value != 2 || b.Low != 2 || b.N != 1 {
		t.Errorf("of one: %+v", b)
	}
	if b := Bootstrap(nil); b.N != 0 || b.Value != 0 {
		t.Errorf("of none: %+v", b)
	}
}

// TestPaired against the count of all signs.
func TestPaired(t *testing.T) {
	d := []float64{1, 2, 3, -1, 2, 4, 1, 1}
	as := 0
	for signs := range 1 << len(d) {
		sum, have := 0.0, 0.0
		for i, v := range d {
			have += v
			if signs>>i&1 == 1 {
				v = -v
			}
			sum += v
		}
		if math.Abs(sum) >= have {
			as++
		}
	}
	if want, have := float64(as)/float64(int(1)<<len(d)), Paired(d); math.Abs(have-want) > .01 {
		t.Errorf("p %v, want %v", have, want)
	}
	if p := Paired([]float64{0, 0, 0}); p != 1 {
		t.Errorf("of no differences: %v", p)
	}
}

// folder has a run of n items of total, of which one in seven failed, where quality
// follows the score.
func folder(t *testing.T, task string, n, total int, change func(*eval.Record)) string {
	t.Helper()
	dir := t.TempDir()
	s := eval.Settings{Format: 1, Task: task, Shard: "1/1", K: 4, Drawings: 1, Data: eval.Data{Name: "nowhere.json", Items: total,
		SHA256: "abc"},
		Draw: eval.Draw{Steps: 5, UNet: 5}, Beam: eval.Caption{Beams: 3}, Models: map[string]eval.Model{"sd": {Path: "/x/sd",
			SHA256: "0123456789abcdef"}}}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	r := rand.New(rand.NewPCG(5, 6))
	words := strings.Fields("cat dog bird fish tree house car boat sun moon")
	for i := range n {
		w := func(k int) string { return words[(i*3+k)%len(words)] }
		rec := eval.Record{Index: i, ID: fmt.Sprint("id", i), Image: "a.png", Domain: "near", Selected: 0,
			References: []string{"a " + w(0) + " near a " + w(1), "the " + w(0) + " and the " + w(1)}, Beam: &eval.Candidate{Text: "a " + w(0)}}
		if task == eval.Text {
			rec.Source, rec.Beam = rec.References[0], nil
		}
		for j := range 4 {
			c := eval.Candidate{Text: fmt.Sprintf("a %s near a %s", w(j), w(1)), Rank: j + 1, Score: .9 - .1*float64(j) + r.Float64()/50, Steps: 5,
				Scores: map[string]float64{eval.CLIPText: .8 - .1*float64(j), eval.CLIPCaption: .5}}
			if task == eval.Text {
				c.Scores = map[string]float64{eval.CLIPImage: .8 - .1*float64(j) + r.Float64()/40, eval.CLIPDrawing: .4, "own_judge": 2}
			}
			rec.Candidates = append(rec.Candidates, c)
		}
		if i%7 == 6 {
			rec = eval.Record{Index: i, ID: rec.ID, Selected: -1, Candidates: []eval.Candidate{}, Error: "missing: <no such file>"}
		}
		if change != nil {
			change(&rec)
		}
		line, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	lines.WriteString(`{"index": 99, "id`) // is being written
	for name, data := range map[string][]byte{"settings.json": data, "items.jsonl": lines.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestWrite: a report of a run under way, of both tasks, with what hostile captions
// may not do to its page.
func TestWrite(t *testing.T) {
	for _, task := range []string{eval.Image, eval.Text} {
		dir := folder(t, task, 30, 40, func(r *eval.Record) {
			if r.Index == 3 {
				r.Candidates[0].Text = `<script>alert("x")</script> | cell`
				r.Candidates[1].Picture = "../../etc/passwd"
			}
		})
		r, err := Write(dir, Options{Refresh: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		var printed bytes.Buffer
		if err := r.Print(&printed); err != nil || r.Done != 30 || r.Total != 40 || r.Complete() ||
			!strings.Contains(printed.String(), "30 of 40 items, 4 of them without a result\n") {
			t.Errorf("%+v, %v, %s", r, err, printed.String())
		}
		read := func(name string) string {
			data, err := os.ReadFile(filepath.Join(dir, "report", name))
			if err != nil {
				t.Error(err)
			}
			return string(data)
		}
		html, md := read("index.html"), read("report.md")
		for _, want := range []string{`content="60"`, "30 of 40 items are done", "missing: &lt;no such file&gt;", "Figure 5."} {
			if !strings.Contains(html, want) {
				t.Errorf("%s: no %q in the page", task, want)
			}
		}
		if strings.Contains(html, "<script") || strings.Contains(md, "<script") || strings.Contains(html, "passwd") ||
			strings.Contains(md, "NaN") {
			t.Errorf("%s: the page has what it must not", task)
		}
		name := "figure3-cider-d-rank"
		first := "CIDEr"
		if task == eval.Text {
			name, first = "figure3-clip-image-rank", eval.CLIPImage
		}
		if svg := read(name + ".svg"); !strings.Contains(svg, "the paper, NoCaps") || !strings.Contains(svg, "Arial") {
			t.Errorf("%s: no curve of the paper, or no font that everybody has", task)
		}
		if !strings.HasPrefix(read(name+".png"), "\x89PNG") {
			t.Error("no PNG")
		}
		found := false
		for _, row := range r.Table {
			if row.Measure == "own_judge" && (row.Selected != 2 || row.Gain != 0 || row.OverMean.P != 1) {
				t.Errorf("a judge's own measure: %+v", row)
			}
			if row.Measure != first {
				continue
			}
			found = true
			if !(row.Gain > .05 && row.OverMean.Low > 0 && row.OverMean.P < .01 && *row.Best >= row.Selected && *row.Worst < row.Mean) {
				t.Errorf("%+v", row)
			}
			if task == eval.Image && (!row.HasBeam || row.OverBeam == nil || row.HasCLIP != true) {
				t.Errorf("%+v", row)
			}
		}
		if !found || len(r.Correlations) == 0 || r.Correlations[len(r.Correlations)-1].ItemSpearman.Value < .5 {
			t.Errorf("%s: %+v", task, r.Correlations)
		}
	}
}

// TestDomains: NoCaps' domains have rows of their own, of their items alone; a caption's
// CIDEr-D is that of the whole, a domain's BLEU that of its captions as a set.
func TestDomains(t *testing.T) {
	var picked [3][]score.Item
	names := []string{"in", "near", "out"}
	dir := folder(t, eval.Image, 30, 30, func(r *eval.Record) {
		d := r.Index % 5 / 2
		if r.Domain = names[d]; r.Error == "" {
			r.Selected = r.Index % 4
			picked[d] = append(picked[d], score.Item{ID: r.ID, Caption: r.Candidates[r.Index%4].Text, References: r.References})
		}
	})
	r, err := Write(dir, Options{})
	if err != nil || len(r.Domains) != 3 {
		t.Fatalf("%v, %+v", err, r)
	}
	row := func(table []Row, name string) Row {
		return table[slices.IndexFunc(table, func(x Row) bool { return x.Measure == name })]
	}
	sum, n := 0.0, 0
	for i, d := range r.Domains {
		want, err := score.Captions(picked[i], score.Options{})
		if err != nil {
			t.Fatal(err)
		}
		bleu, _ := want.Value("Bleu_4")
		if x := row(d.Table, "Bleu_4"); d.Name != names[i]+"-domain" || d.Items != len(picked[i]) || math.Abs(x.Selected-bleu) > 1e-12 ||
			x.OverMean.N != d.Items || !x.HasBeam || len(d.Table) != len(r.Table) {
			t.Errorf("%s of %d: %+v, want %v of %d", d.Name, d.Items, x, bleu, len(picked[i]))
		}
		sum, n = sum+float64(d.Items)*row(d.Table, "CIDEr").Selected, n+d.Items
		if own, _ := want.Value("CIDEr"); math.Abs(own-row(d.Table, "CIDEr").Selected) < 1e-6 {
			t.Errorf("%s: the document frequencies of CIDEr-D are its own", d.Name)
		}
	}
	if whole := row(r.Table, "CIDEr").Selected; math.Abs(sum/float64(n)-whole) > 1e-12 {
		t.Errorf("CIDEr-D of the domains comes to %v, of the whole to %v", sum/float64(n), whole)
	}
	var printed bytes.Buffer
	if err := r.Print(&printed); err != nil || !strings.Contains(printed.String(), "\nout-domain, 6 items ") {
		t.Errorf("%v\n%s", err, printed.String())
	}
	for name, want := range map[string]string{"index.html": ">near-domain: 10 items</th>", "report.md": "| **in-domain: 10 items** |",
		"report.json": `"domain": "out-domain"`} {
		if data, err := os.ReadFile(filepath.Join(dir, "report", name)); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if one, err := Write(folder(t, eval.Text, 10, 10, nil), Options{}); err != nil || one.Domains != nil {
		t.Errorf("a data set of one domain: %v, %+v", err, one)
	}
}

// TestElsewhere: a report can be written beside a run that nobody may write to, and not
// among other files.
func TestElsewhere(t *testing.T) {
	dir, out := folder(t, eval.Text, 3, 3, nil), filepath.Join(t.TempDir(), "a", "b")
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o755) })
	for range 2 { // an earlier report is replaced
		if r, err := Write(dir, Options{Out: out}); err != nil || r.Out != filepath.Join(out, "index.html") {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "report")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the run's folder: %v", err)
	}
	if _, err := Write(dir, Options{Out: dir}); err == nil || !strings.Contains(err.Error(), "holds other files than a report's") {
		t.Errorf("among other files: %v", err)
	}
}

// TestMeans: the table's numbers are those of the definitions.
func TestMeans(t *testing.T) {
	dir := folder(t, eval.Text, 2, 2, func(r *eval.Record) {
		for j := range r.Candidates {
			r.Candidates[j].Scores[eval.CLIPImage] = []float64{.5, .1, .9, .3}[j] + float64(r.Index)
		}
		r.Selected = 2
	})
	r, err := Write(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range r.Table {
		if row.Measure != eval.CLIPImage {
			continue
		}
		for name, v := range map[string][2]float64{"selected": {row.Selected, 1.4}, "mean": {row.Mean, .95}, "first": {row.First, 1},
			"best": {*row.Best, 1.4}, "worst": {*row.Worst, .6}, "gain": {row.Gain, 1.4/.95 - 1}, "over": {row.OverMean.Value, .45}} {
			if math.Abs(v[0]-v[1]) > 1e-9 {
				t.Errorf("%s is %v, want %v", name, v[0], v[1])
			}
		}
		return
	}
	t.Error("no row")
}

// TestGain: the selected's gain is positive where it is better, whatever the mean's sign.
func TestGain(t *testing.T) {
	for _, c := range []struct {
		selected, mean float64
		lower          bool
		want           float64
	}{{.6, .5, false, .2}, {-.4, -.5, false, .2}, {-.6, -.5, false, -.2}, {.4, .5, true, .2}, {.6, .5, true, -.2}, {.1, 0, false, 0},
		{2e-16, 1e-16, false, 0}} {
		r := Row{Selected: c.selected, Mean: c.mean, LowerBetter: c.lower}
		if r.gain(); math.Abs(r.Gain-c.want) > 1e-12 {
			t.Errorf("%+v: %v", c, r.Gain)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		want      string
	}{{3.28, 4.78, "3.5 4.0 4.5"}, {.36, .995, "0.4 0.6 0.8"}, {.77, .98, "0.80 0.85 0.90 0.95"}, {-.12, .31, "−0.1 0.0 0.1 0.2 0.3"},
		{0, 900, "0 200 400 600 800"}, {2, 2, "2"}} {
		var have []string
		for _, x := range (round{}).Ticks(c.low, c.high) {
			have = append(have, x.Label)
		}
		if strings.Join(have, " ") != c.want {
			t.Errorf("%v to %v: %v, want %s", c.low, c.high, have, c.want)
		}
	}
}

// TestBeamBeside: pictures without texts take beam search's captions out of no row; one
// that beam search has not described does.
func TestBeamBeside(t *testing.T) {
	for _, described := range []bool{true, false} {
		dir := folder(t, eval.Image, 10, 10, func(r *eval.Record) {
			switch r.Index {
			case 2:
				r.References = nil
			case 3:
				if !described {
					r.Beam = nil
				}
			}
		})
		r, err := Write(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range r.Table {
			if row.Measure == "CIDEr" && (row.HasBeam != described || described && row.OverBeam.N != 8) {
				t.Errorf("described %v: %+v", described, row)
			}
		}
	}
}

// TestEnough: the cheapest way that keeps 95 % is named, which may be the whole run.
func TestEnough(t *testing.T) {
	c := &Comparison{Measure: "CIDEr-D", Points: []Point{{Name: "whole", K: 1, Cost: 10, Part: .125, GainPart: .2, ScorePart: .1},
		{Name: "whole", K: 8, Cost: 80, Part: 1, GainPart: 1, ScorePart: 1}, {Name: "steps=5", K: 8, Cost: 40, Part: .5, GainPart: .96,
			ScorePart: .94}, {Name: "prune=0:0.9", K: 8, Cost: 60, Part: .75, GainPart: 1.2, ScorePart: .9}}}
	gain := c.enough("gain in CIDEr-D", func(p Point) float64 { return p.GainPart })
	if !strings.Contains(gain, "steps=5, K = 8, which takes 50 % of them and keeps 96 %") {
		t.Error(gain)
	}
	if score := c.enough("gain", func(p Point) float64 { return p.ScorePart }); !strings.Contains(score, "whole, K = 8, which takes 100 %") {
		t.Error(score)
	}
	if none := c.enough("gain", func(Point) float64 { return 0 }); !strings.Contains(none, "No way keeps 95 %") {
		t.Error(none)
	}
}

// TestFew: a report of no result and of one says so.
func TestFew(t *testing.T) {
	for n, want := range []string{"", "Of one item there are no intervals"} {
		r, err := Write(folder(t, eval.Image, n, 3, nil), Options{})
		if err != nil || want != "" && !slices.ContainsFunc(r.Notes, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("%d items: %+v, %v", n, r, err)
		}
	}
	none := folder(t, eval.Image, 1, 1, func(r *eval.Record) {
		*r = eval.Record{Selected: -1, ID: "a\nb", Image: "x.png", Error: "missing", Candidates: []eval.Candidate{}}
	})
	r, err := Write(none, Options{})
	if err != nil || len(r.Notes) != 1 || r.Notes[0] != "No item has a result." {
		t.Errorf("%+v, %v", r, err)
	}
	page, err := os.ReadFile(r.Out)
	if err != nil || !strings.Contains(string(page), "&#34;a\\nb&#34; (x.png): missing") {
		t.Errorf("%v: %s", err, page)
	}
}

// TestFollow: the report is written until the run is complete.
func TestFollow(t *testing.T) {
	dir, n := folder(t, eval.Text, 5, 6, nil), 0
	grow := func() error {
		f, err := os.OpenFile(filepath.Join(dir, "items.jsonl"), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := os.ReadFile(f.Name())
		if err != nil {
			return err
		}
		at := int64(bytes.LastIndexByte(data, '\n') + 1)
		if err := f.Truncate(at); err != nil {
			return err
		}
		_, err = f.WriteAt([]byte(`{"index": 5, "id": "last", "selected": -1, "candidates": [], "error": "none"}`+"\n"), at)
		return err
	}
	r, err := Follow(dir, Options{Refresh: time.Second}, grow, func(*Result) { n++ })
	if err != nil || !r.Complete() || n != 2 {
		t.Errorf("%+v, %v, %d reports", r, err, n)
	}
	stop := errors.New("enough")
	if _, err := Follow(folder(t, eval.Text, 0, 6, nil), Options{}, func() error { return stop }, func(*Result) {}); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	if _, err := Write(t.TempDir(), Options{}); err == nil || !strings.Contains(err.Error(), "no folder of an evaluation") {
		t.Errorf("no run: %v", err)
	}
}
