package history

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"parley/bench/layers"
)

// result is one of a commit, whose layers take so many milliseconds.
func result(commit string, at int, batch int, a, b float64) *layers.Result {
	r := &layers.Result{Schema: layers.Schema, Unit: layers.Seconds, Workload: layers.Workload{Net: "unet", Preset: "<mini>", Batch: batch},
		Machine: layers.Machine{CPU: "a CPU", Device: "cpu", Threads: 2}, Taken: time.Unix(int64(2e9-1e6*float64(at)), 0),
		Build: layers.Build{Commit: commit, Time: time.Unix(int64(1e9+1e6*float64(at)), 0)}, Layers: []layers.Layer{{Path: "a.b"}, {Path: "c"}}}
	for i := range 10 {
		noise := 1 + float64(i)/1e4
		r.Layers[0].Rounds = append(r.Layers[0].Rounds, 1e-3*a*noise)
		r.Layers[1].Rounds = append(r.Layers[1].Rounds, 1e-3*b*noise)
		r.Rounds = append(r.Rounds, 1e-3*(a+b)*noise)
	}
	r.Seconds, r.Layers[0].Seconds, r.Layers[1].Seconds = layers.Median(r.Rounds), layers.Median(r.Layers[0].Rounds),
		layers.Median(r.Layers[1].Rounds)
	return r
}

// TestHistory: files of a folder, compressed or not, are drawn by commits in the order of
// their times, a change with the layer that it is of; names are text.
func TestHistory(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, r *layers.Result) {
		t.Helper()
		data, err := json.Marshal(r)
		if strings.HasSuffix(name, ".gz") && err == nil {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, err = z.Write(data)
			_ = z.Close()
			data = b.Bytes()
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("1.json", result("ccccccccc", 3, 1, 1, 3)) // taken first, and the newest commit
	write("2.json.gz", result("aaaaaaaaa", 1, 1, 2, 3))
	write("3.json", result("bbbbbbbbb", 2, 1, 2, 3))
	write("4.json", result("bbbbbbbbb", 2, 4, 5, 6))
	all, err := Read([]string{dir})
	if err != nil || len(all) != 4 {
		t.Fatalf("%d results, %v", len(all), err)
	}
	series := Group(all)
	var order string
	for _, r := range series[0].Results {
		order += r.Build.Commit[:1]
	}
	if len(series) != 2 || order != "abc" || series[1].Workload.Batch != 4 {
		t.Errorf("%d series, commits %s", len(series), order)
	}
	var b bytes.Buffer
	if err := HTML(&b, all, 0, 0.02); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for _, want := range []string{"&lt;mini&gt;", "<title>cccccccc: 4.002 ms</title>", `<td class="n faster">-20.0 %</td>`, "a.b -50.0 %",
		"+0.0 % (noise)"} {
		if !strings.Contains(strings.ReplaceAll(out, "&#43;", "+"), want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(out, "c -") || strings.Contains(out, "<script") || regexp.MustCompile(`(src|href)=|url\(|https?://`).MatchString(out) {
		t.Errorf("the page tells of what has not changed, or asks for something:\n%s", out)
	}
	for _, path := range []string{filepath.Join(dir, "none"), t.TempDir()} {
		if _, err := Read([]string{path}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "5.json"), []byte("{}"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Read([]string{dir}); err == nil || !strings.Contains(err.Error(), "5.json") {
		t.Errorf("no result: %v", err)
	}
}
