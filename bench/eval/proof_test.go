package eval_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExperiment is the paper's experiment over the 200 held-out scenes of the miniature
// world with 8 candidates, typed in a shell, in few steps, which show its effect well
// beyond what other instruction sets' rounding moves: the selected caption is better than
// its candidates by what people wrote, and the selected drawing closer to the true picture.
func TestExperiment(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes")
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "parley"), "parley/cmd/parley")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const script = `set -e
./parley eval image --data mini -k 8 --scheduler ddim --steps 5 --seed 1 --out image
./parley eval text --data mini -k 8 --steps 2 --seed 1 --out text
./parley eval report image
./parley eval report text`
	c := exec.Command("sh", "-c", script)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for task, measures := range map[string]string{"image": "CIDEr clip_text", "text": "clip_image"} {
		read := func(name string) []byte {
			data, err := os.ReadFile(filepath.Join(dir, task, "report", name))
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
		var r struct {
			Items, Total, Failed int
			Table                []struct {
				Measure                     string
				Selected, Mean, Best, Worst float64
				Difference                  struct{ Value, Low, High, P float64 } `json:"over_mean"`
			}
			Correlations []struct {
				Measure string
				N       int
			}
		}
		if err := json.Unmarshal(read("report.json"), &r); err != nil {
			t.Fatal(err)
		}
		if r.Items != 200 || r.Total != 200 || r.Failed != 0 {
			t.Errorf("%s: %d of %d items have a result, %d have none", task, r.Items, r.Total, r.Failed)
		}
		for _, m := range strings.Fields(measures) {
			found := false
			for _, x := range r.Table {
				if x.Measure != m {
					continue
				}
				found = true
				d := x.Difference
				t.Logf("%s: %.3f, mean %.3f: %+.3f [%+.3f, %+.3f], p %.4f", m, x.Selected, x.Mean, d.Value, d.Low, d.High, d.P)
				if !(d.Low > 0 && d.Low < d.Value && d.Value < d.High && d.P < .05 && x.Worst < x.Mean && x.Mean < x.Selected && x.Selected < x.Best) {
					t.Errorf("%s: the selected is not better than the mean of its candidates: %+v", m, x)
				}
			}
			if !found {
				t.Errorf("%s: no %s in the table", task, m)
			}
		}
		for _, x := range r.Correlations {
			if x.N != 1600 {
				t.Errorf("%s: the correlation with %s is of %d candidates", task, x.Measure, x.N)
			}
		}
		page := string(read("index.html"))
		for _, want := range []string{"Table 1.", "Figure 3a.", "Figure 4a.", "Figure 5.", "data:image/svg&#43;xml"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %q in the page", task, want)
			}
		}
		n := strings.Count(string(read("report.md")), ".svg)")
		if n == 0 || n != len(glob(t, dir, task, "*.svg")) || n != len(glob(t, dir, task, "*.png")) {
			t.Errorf("%s: %d figures in the Markdown, others beside it", task, n)
		}
	}
}

func glob(t *testing.T, dir, task, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, task, "report", pattern))
	if err != nil {
		t.Fatal(err)
	}
	return list
}
