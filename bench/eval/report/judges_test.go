package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat"
	"gorgonia.org/tensor"

	"parley/bench/eval"
	"parley/engine"
	"parley/nets/pixels"
)

// counter embeds a text by how many cats and dogs it has, and counts texts.
type counter struct{ texts *int }

func (c counter) EmbedTexts(_ engine.Run, texts []string) (*tensor.Dense, error) {
	*c.texts += len(texts)
	var x []float32
	for _, t := range texts {
		x = append(x, 1+float32(strings.Count(t, "cat")), 1+float32(strings.Count(t, "dog")))
	}
	return tensor.New(tensor.WithShape(len(texts), 2), tensor.WithBacking(x)), nil
}

// eye sees the first pixel's red and green.
type eye struct{ pictures *int }

func (e eye) see(list []pixels.Picture) (*tensor.Dense, error) {
	*e.pictures += len(list)
	var x []float32
	for _, p := range list {
		m, err := p.Host()
		if err != nil {
			return nil, err
		}
		x = append(x, float32(m.Pix[0]), float32(m.Pix[1]))
	}
	return tensor.New(tensor.WithShape(len(list), 2), tensor.WithBacking(x)), nil
}

func (e eye) EmbedImages(_ engine.Run, list []pixels.Picture) (*tensor.Dense, error) {
	return e.see(list)
}
func (e eye) Features(_ engine.Run, list []pixels.Picture) (*tensor.Dense, error) { return e.see(list) }

func rowOf(t *testing.T, r *Result, name string) Row {
	t.Helper()
	for _, x := range r.Table {
		if x.Measure == name {
			return x
		}
	}
	t.Fatalf("no %s in %+v", name, r.Table)
	return Row{}
}

// TestJudgesOfCaptions: SBERT and word vectors are in the table and the figures, once
// per caption, and tell a gain from a loss where less is better.
func TestJudgesOfCaptions(t *testing.T) {
	dir := folder(t, eval.Image, 14, 14, nil)
	vectors := filepath.Join(t.TempDir(), "v.txt")
	var list strings.Builder
	for i, w := range strings.Fields("cat dog bird fish tree house car boat sun moon near") {
		fmt.Fprintf(&list, "%s %d %d 1\n", w, i%4, i/4)
	}
	if err := os.WriteFile(vectors, []byte(list.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	texts := 0
	o := Options{Judges: &Judges{SBERT: counter{&texts}, Vectors: vectors}, Run: engine.NewRun(t.Context())}
	r, err := Write(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	sbert, wmd := rowOf(t, r, "SBERT"), rowOf(t, r, "WMD")
	// The selected caption has a reference's words; the others have one that neither has.
	if !(wmd.LowerBetter && wmd.Selected < wmd.Mean && wmd.Gain > 0 && wmd.OverMean.Value < 0 && *wmd.Best <= wmd.Selected &&
		*wmd.Worst > wmd.Mean &&
		wmd.HasBeam && wmd.Beam > 0) {
		t.Errorf("%+v", wmd)
	}
	if !(!sbert.LowerBetter && sbert.Selected > sbert.Mean && sbert.Gain > 0 && *sbert.Best >= *sbert.Worst && sbert.HasBeam) {
		t.Errorf("%+v", sbert)
	}
	page, err := os.ReadFile(filepath.Join(dir, "report/index.html"))
	if err != nil || !strings.Contains(string(page), "WMD ↓") || !strings.Contains(string(page), "less is better") {
		t.Errorf("the page does not say that less is better: %v", err)
	}
	for _, name := range []string{"figure3-wmd-rank.svg", "figure3-sbert-bin.png", "figure4-sbert.svg"} {
		if _, err := os.Stat(filepath.Join(dir, "report", name)); err != nil {
			t.Error(err)
		}
	}
	svg, err := os.ReadFile(filepath.Join(dir, "report/figure3-wmd-rank.svg"))
	if err != nil || !strings.Contains(string(svg), "the paper, NoCaps") {
		t.Errorf("the paper's ends are not beside ours: %v", err)
	}
	// Written again, nothing is judged again, and it comes to the same.
	before := texts
	if r, err = Write(dir, o); err != nil || texts != before || rowOf(t, r, "SBERT").Selected != sbert.Selected ||
		rowOf(t, r, "SBERT").Beam != sbert.Beam {
		t.Errorf("%d texts are embedded again, %v", texts-before, err)
	}
	if _, err := Write(folder(t, eval.Text, 4, 4, nil), o); err == nil || !strings.Contains(err.Error(), "--sbert") {
		t.Errorf("drawings: %v", err)
	}
}

// drawings is a run of the text task whose pictures are of the colours of red, by
// item and candidate; -1 is the true one.
func drawings(t *testing.T, n, total int, red func(item, candidate int) uint8) string {
	t.Helper()
	pics := t.TempDir()
	paint := func(path string, i, c int) {
		var b strings.Builder
		if err := pixels.New(4, 4, color.RGBA{red(i, c), uint8(40 + 9*i), 0, 255}).EncodePNG(&b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var list strings.Builder
	dir := folder(t, eval.Text, n, total, func(r *eval.Record) {
		if r.Error != "" {
			return
		}
		for c := range r.Candidates {
			r.Candidates[c].Picture = fmt.Sprintf("pictures/%06d-%02d.png", r.Index, c)
		}
		slices.Reverse(r.Candidates) // ranks are not places
		r.Selected = len(r.Candidates) - 1
	})
	if err := os.Mkdir(filepath.Join(dir, "pictures"), 0o777); err != nil {
		t.Fatal(err)
	}
	for i := range total {
		fmt.Fprintf(&list, `{"id": "id%d", "image": "%d.png", "text": "x"}`+"\n", i, i)
		paint(filepath.Join(pics, fmt.Sprint(i, ".png")), i, -1)
		for c := range 4 {
			paint(filepath.Join(dir, fmt.Sprintf("pictures/%06d-%02d.png", i, c)), i, c)
		}
	}
	data := filepath.Join(pics, "set.jsonl")
	if err := os.WriteFile(data, []byte(list.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	settings(t, dir, func(s *eval.Settings) { s.Data.Name, s.Keep = data, "png" })
	return dir
}

// settings changes those of a folder.
func settings(t *testing.T, dir string, change func(*eval.Settings)) {
	t.Helper()
	s, err := eval.ReadSettings(dir)
	if err != nil {
		t.Fatal(err)
	}
	change(s)
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "settings.json"), data, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestJudgesOfDrawings: DINO's cosine is of a drawing with its own true picture, and
// FID is that of the sets of all drawings of a rank and of a place.
func TestJudgesOfDrawings(t *testing.T) {
	const n = 13
	red := func(i, c int) uint8 { return uint8(60 + 5*i + 7*(c+1)*(i%3)) }
	dir := drawings(t, n, n, red)
	seen := 0
	o := Options{Judges: &Judges{DINO: eye{&seen}, Inception: eye{&seen}}, Run: engine.NewRun(t.Context())}
	r, err := Write(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	// Candidates are reversed: place p is the drawing 3-p, which rank 4-p has.
	var cosines float64
	sets := map[int][2][]float64{} // by drawing, of the items that have a result: red and green
	good := 0
	for i := range n {
		if i%7 == 6 {
			continue
		}
		good++
		for c := -1; c < 4; c++ {
			s := sets[c]
			s[0], s[1] = append(s[0], float64(red(i, c))), append(s[1], float64(40+9*i))
			sets[c] = s
		}
		x, y, g := float64(red(i, -1)), float64(red(i, 0)), float64(40+9*i)
		cosines += (x*y + g*g) / math.Sqrt((x*x+g*g)*(y*y+g*g))
	}
	if d := rowOf(t, r, "DINO"); math.Abs(d.Selected-cosines/float64(good)) > 1e-6 || !(d.Selected > d.Mean) {
		t.Errorf("%+v, want %v selected", d, cosines/float64(good))
	}
	// In two dimensions tr (AB)^½ is sqrt(tr AB + 2 sqrt det AB).
	fid := func(a, b [2][]float64) float64 {
		m := func(s [2][]float64) (mean [2]float64, c [3]float64) {
			return [2]float64{stat.Mean(s[0], nil), stat.Mean(s[1], nil)}, [3]float64{stat.Variance(s[0], nil), stat.Covariance(s[0], s[1], nil),
				stat.Variance(s[1], nil)}
		}
		p, x := m(a)
		q, y := m(b)
		trace := x[0]*y[0] + 2*x[1]*y[1] + x[2]*y[2]
		det := (x[0]*x[2] - x[1]*x[1]) * (y[0]*y[2] - y[1]*y[1])
		return math.Pow(p[0]-q[0], 2) + math.Pow(p[1]-q[1], 2) + x[0] + x[2] + y[0] + y[2] - 2*math.Sqrt(trace+2*math.Sqrt(max(det, 0)))
	}
	f := rowOf(t, r, "FID")
	want, mean := fid(sets[-1], sets[0]), 0.0
	for c := range 4 {
		mean += fid(sets[-1], sets[c]) / 4
	}
	if math.Abs(f.Selected-want) > 1e-6*want || math.Abs(f.Mean-mean) > 1e-6*mean || math.Abs(f.First-fid(sets[-1], sets[3])) > 1e-6*f.First ||
		!f.OfSet || f.OverMean != nil || f.Best != nil || f.Gain < .1 {
		t.Errorf("%+v, want %v selected and %v on average", f, want, mean)
	}
	if seen != 2*5*good {
		t.Errorf("%d pictures are looked at, want each once by each judge: %d", seen, 2*5*good)
	}
	md, err := os.ReadFile(filepath.Join(dir, "report/report.md"))
	if err != nil || !strings.Contains(string(md), "| FID ↓ | **") || !strings.Contains(string(md), "FID is of the set") {
		t.Errorf("FID in Markdown: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "report/figure3-fid-rank.svg")); err != nil {
		t.Error(err)
	}
	// What cannot be read is told, and the others go on.
	for _, name := range []string{"000000-01.png", "000001-00.png"} {
		if err := os.WriteFile(filepath.Join(dir, "pictures", name), []byte("no picture"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	s, err := eval.ReadSettings(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(s.Data.Name), "3.png")); err != nil {
		t.Fatal(err)
	}
	o.Judges = &Judges{DINO: eye{&seen}, Inception: eye{&seen}}
	if r, err = Write(dir, o); err != nil || !strings.Contains(strings.Join(r.Notes, "\n"), "DINO leaves out 6 of 48 candidates") ||
		!strings.Contains(strings.Join(r.Notes, "\n"), "000001-00.png") || !strings.Contains(strings.Join(r.Notes, "\n"), "not judged: 3.png") {
		t.Errorf("%v, %v", r, err)
	}
}

// TestJudgesRefuse: what they cannot look at.
func TestJudgesRefuse(t *testing.T) {
	grey := func(i, c int) uint8 { return uint8(10 * (i + c + 2)) }
	n := 0
	dino := func() Options {
		return Options{Judges: &Judges{DINO: eye{&n}, Inception: eye{&n}}, Run: engine.NewRun(t.Context())}
	}
	if _, err := Write(folder(t, eval.Image, 4, 4, nil), dino()); err == nil || !strings.Contains(err.Error(), "--dino") {
		t.Errorf("captions: %v", err)
	}
	if _, err := Write(folder(t, eval.Text, 4, 4, nil), dino()); err == nil || !strings.Contains(err.Error(), "--keep png") {
		t.Errorf("no drawings: %v", err)
	}
	dir := drawings(t, 5, 6, grey)
	r, err := Write(dir, dino())
	if err != nil || !strings.Contains(strings.Join(r.Notes, "\n"), "left out until the run is complete") {
		t.Errorf("a run under way: %v, %v", r, err)
	}
	s, err := eval.ReadSettings(dir)
	if err != nil {
		t.Fatal(err)
	}
	for want, data := range map[string]string{
		"item 2 is other, and was id1": `{"id": "id0", "image": "0.png"}` + "\n" + `{"id": "other", "image": "1.png"}`,
		"it has 1 items":               `{"id": "id0", "image": "0.png"}`} {
		if err := os.WriteFile(s.Data.Name, []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Write(dir, dino()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("another data set: %v, want %q", err, want)
		}
	}
	if err := os.Remove(s.Data.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(dir, dino()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no data set: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := dino()
	o.Run = engine.NewRun(ctx)
	if _, err := Write(drawings(t, 5, 5, grey), o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
