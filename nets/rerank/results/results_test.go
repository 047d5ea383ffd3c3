package results_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"image/color"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/nets/rerank/results"
)

func grey(v uint8) *pixels.Image { return pixels.New(3, 2, color.RGBA{v, v, v, 255}) }

// result has a best candidate, a worse one that shares its drawing, one that
// failed and one that was not drawn.
func result(name string) *rerank.Result {
	timing := rerank.Timing{Caption: 250 * time.Millisecond, Draw: 2 * time.Second, Judge: 500 * time.Millisecond}
	return &rerank.Result{Source: rerank.Source{Name: name, Seed: 7, Picture: grey(9)}, Selected: 1, Candidates: []rerank.Candidate{
		{Text: "worse", Picture: grey(1), Score: 0.25, Rank: 2, Seed: 7, Duplicate: -1, Time: timing},
		{Text: "best", Picture: grey(2), Score: 0.75, Rank: 1, Seed: 8, Duplicate: -1, Embedding: []float32{0.6, 0.8}},
		{Text: "failed", Picture: grey(3), Seed: 9, Duplicate: -1, Err: errors.New("out of paint")},
		{Text: "left", Seed: 10, Duplicate: -1},
	}}
}

// TestJSON: what a result is in JSON, by its keys.
func TestJSON(t *testing.T) {
	image := func(i int) string { return []string{"a.png", "b.png", "c.png", "d.png"}[i] }
	have, err := json.Marshal([]results.Entry{
		results.NewEntry(result("cat.png"), nil, image),
		results.NewEntry(&rerank.Result{Source: rerank.Source{Name: "gone.png"}, Selected: -1}, errors.New("no such file"), image),
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"source":"cat.png","seed":7,"selected":1,"candidates":[
{"text":"worse","image":"a.png","score":0.25,"rank":2,"seed":7,"seconds":2.75,"timing":{"caption":0.25,"draw":2,"judge":0.5}},
{"text":"best","image":"b.png","score":0.75,"rank":1,"seed":8,"seconds":0,"timing":{"caption":0,"draw":0,"judge":0},"embedding":[0.6,0.8]},
{"text":"failed","image":"","score":0,"rank":0,"seed":9,"seconds":0,"timing":{"caption":0,"draw":0,"judge":0},"error":"out of paint"},
{"text":"left","image":"","score":0,"rank":0,"seed":10,"seconds":0,"timing":{"caption":0,"draw":0,"judge":0},"error":"not drawn"}]},
{"source":"gone.png","seed":0,"selected":-1,"candidates":[],"error":"no such file"}]`
	var a, b any
	if err := errors.Join(json.Unmarshal(have, &a), json.Unmarshal([]byte(want), &b)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("have %s\nwant %s", have, want)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := results.Table(&b, result("cat.png"), func(s string) string { return "<" + s + ">" }); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(b.String()) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	want := []string{"", "<cat.png>", "rank score seed caption", "1 0.750 8 <best>", "2 0.250 7 <worse>", "failed 9 <failed>: <out of paint>",
		"not drawn 10 <left>"}
	if !slices.Equal(rows, want) {
		t.Errorf("have %q, want %q", rows, want)
	}
}

// append adds sources to a folder.
func appendAll(t *testing.T, f *results.Folder, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := f.Append(result(n), nil); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) (list []results.Entry) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		list = append(list, f.Name())
	}
	return list
}

// TestFolder: a source's pictures and its line are there at once, all results when
// the folder is closed.
func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	f, err := results.NewFolder(dir, results.Options{})
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, f, "cat.png")
	if have := names(t, dir); !slices.Equal(have, []string{"00-00.png", "00-01.png", "results.jsonl"}) {
		t.Errorf("after one source: %v", have)
	}
	if m, err := pixels.Read(filepath.Join(dir, "00-01.png")); err != nil || m.W != 3 || m.Pix[0] != 2 {
		t.Errorf("the second candidate's picture: %+v, %v", m, err)
	}
	for i := 1; i < 18; i++ { // more than a sheet
		appendAll(t, f, "dog.png")
	}
	if e, err := f.Append(&rerank.Result{Source: rerank.Source{Name: "gone.png"}, Selected: -1}, errors.New("no such file")); err != nil ||
		e.Error != "no such file" {
		t.Errorf("a source that failed: %+v, %v", e, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	all := read(t, f.Result())
	if len(all) != 19 || all[0].Source != "cat.png" || all[17].Source != "dog.png" || all[18].Error != "no such file" ||
		all[1].Candidates[1].Image != filepath.Join(dir, "01-01.png") {
		t.Errorf("%d results: %+v", len(all), all)
	}
	lines, err := os.ReadFile(filepath.Join(dir, "results.jsonl"))
	if err != nil || bytes.Count(lines, []byte("\n")) != 19 {
		t.Errorf("%d lines, %v", bytes.Count(lines, []byte("\n")), err)
	}
	if f.Sheets() != 2 {
		t.Errorf("%d sheets, want 2", f.Sheets())
	}
	for n, name := range []string{"sheet.png", "sheet-2.png"} {
		if m, err := pixels.Read(f.Sheet(n + 1)); err != nil || filepath.Base(f.Sheet(n+1)) != name || m.W < 500 || m.H < 200 {
			t.Errorf("sheet %d: %+v, %v", n+1, m, err)
		}
	}
}

// TestResultIsWholeOrNotThere: result.json is not touched before the new one is
// whole: who has opened an earlier one reads on in that, and where the new one
// fails, it stays. Nothing else stays.
func TestResultIsWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	write := func(sources ...string) (*results.Folder, error) {
		f, err := results.NewFolder(dir, results.Options{Force: true})
		if err != nil {
			t.Fatal(err)
		}
		appendAll(t, f, sources...)
		if sources == nil { // a line that is no result
			if err := os.WriteFile(filepath.Join(dir, "results.jsonl"), []byte("{\"source\":\"x\"}\n{"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return f, f.Close()
	}
	f, err := write("first.png")
	if err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(f.Result())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := write("second.png", "third.png"); err != nil {
		t.Fatal(err)
	}
	var old []results.Entry
	if err := json.NewDecoder(open).Decode(&old); err != nil || len(old) != 1 || old[0].Source != "first.png" {
		t.Errorf("an earlier result.json that is open has become %+v, %v", old, err)
	}
	if _, err := write(); err == nil {
		t.Error("a broken line is no error")
	}
	if all := read(t, f.Result()); len(all) != 2 || all[0].Source != "second.png" {
		t.Errorf("after a failure result.json holds %+v", all)
	}
	for _, name := range names(t, dir) {
		if strings.HasPrefix(name, ".") || strings.Contains(name, "tmp") {
			t.Errorf("%s is left", name)
		}
	}
}

// TestSheet: candidates stand in the order of their ranks.
func TestSheet(t *testing.T) {
	m, err := results.Sheet([]*rerank.Result{result("cat.png")})
	if err != nil {
		t.Fatal(err)
	}
	// The middle of the source's tile, then of the candidates', best first: 9, 2, 1
	// and the one that failed, whose picture is 3.
	for i, want := range []uint8{9, 2, 1, 3} {
		x, y := 16+96+i*(192+16), 16+96
		if i > 0 {
			x += 16
		}
		if v := m.Pix[3*(y*m.W+x)]; v != want {
			t.Errorf("tile %d is %d, want %d", i, v, want)
		}
	}
}
