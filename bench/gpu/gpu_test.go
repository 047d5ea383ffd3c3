//go:build cuda

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/engine"
)

// TestMain lets the test binary be the program that the run starts for each part.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "part" || os.Args[1] == "operations") {
		main()
	}
	os.Exit(m.Run())
}

// TestRun runs everything, small, on the interpreter: every part has figures or
// says why not, and nothing fails.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute on the interpreter")
	}
	dir := t.TempDir()
	if code := command(t.Context(), []string{"-device", "ptx", "-small", "-out", dir, "-data", filepath.Join("..", "..")}); code != 0 {
		t.Errorf("exit code %d", code)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("results %v, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Failures) > 0 {
		t.Errorf("failures: %s", strings.Join(r.Failures, "\n"))
	}
	if r.Hardware || r.Device.SMs == 0 || r.Device.Name == "" {
		t.Errorf("device %+v, hardware %t", r.Device, r.Hardware)
	}
	var have []string
	for _, p := range r.Parts {
		have = append(have, p.Name)
		if (len(p.Figures) == 0) == (p.Skipped == "") {
			t.Errorf("%s: %d figures, left out: %q", p.Name, len(p.Figures), p.Skipped)
		}
		if !strings.Contains(p.Command, "--only "+p.Name) {
			t.Errorf("%s: command %q", p.Name, p.Command)
		}
		for _, f := range p.Figures {
			if f.Name == "" || f.Unit == "" {
				t.Errorf("%s: %+v", p.Name, f)
			}
		}
	}
	if !slices.Equal(have, names()) {
		t.Errorf("parts %v, want %v", have, names())
	}
	table, err := os.ReadFile(strings.TrimSuffix(files[0], "json") + "md")
	if err != nil || !strings.Contains(string(table), "Not hardware") {
		t.Errorf("the table does not say that it is not hardware: %v", err)
	}
}

// TestFailures: what goes wrong in a part is told, and the other parts go on.
func TestFailures(t *testing.T) {
	dir := t.TempDir()
	code := command(t.Context(), []string{"-device", "ptx", "-small", "-only", "goldens,bits", "-out", dir, "-data", t.TempDir()})
	if code != 1 {
		t.Errorf("exit code %d without goldens, want 1", code)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("results %v, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Parts) != 2 || len(r.Parts[0].Failures) != 1 || len(r.Parts[1].Failures) != 0 || len(r.Parts[1].Figures) == 0 {
		t.Errorf("%+v", r.Parts)
	}
	if len(r.Failures) != 1 || !strings.Contains(r.Failures[0], "goldens: neither") {
		t.Errorf("failures %v", r.Failures)
	}
	for _, device := range []string{"nowhere", "cuda:999"} {
		none := t.TempDir()
		if code := command(t.Context(), []string{"-device", device, "-out", none}); code != 1 {
			t.Errorf("%s: exit code %d, want 1", device, code)
		}
		if l, err := os.ReadDir(none); err != nil || len(l) > 0 {
			t.Errorf("%s: results without a device: %v, %v", device, l, err)
		}
	}
	if code := command(t.Context(), []string{"-only", "everything"}); code != 2 {
		t.Errorf("exit code %d for a part that is not there, want 2", code)
	}
	if code := command(t.Context(), []string{"part", "bits", "-device", "nowhere"}); code != 0 {
		t.Errorf("exit code %d of a part whose failure stands in its JSON", code)
	}
}

// TestDryStep: the launches that the prediction is made of are those of the step.
func TestDryStep(t *testing.T) {
	dry, err := dryStep(smallSD, 1)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{options: options{device: "ptx", small: true, records: io.Discard}, ctx: t.Context(), part: &part{}}
	if err := b.open(engine.F16); err != nil {
		t.Fatal(err)
	}
	defer b.close()
	p, err := loadPainter(smallSD, b.dev, false)
	if err != nil {
		t.Fatal(err)
	}
	s := engine.NewStream(t.Context(), b.dev)
	defer s.Close()
	run, err := b.unet(s, p, smallSD, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	g, real, err := follow(b.dev, s, run)
	if err != nil {
		t.Fatal(err)
	}
	g.Free()
	say := func(ops []operation) (l []string) {
		for _, o := range ops {
			for _, k := range o.launches {
				l = append(l, fmt.Sprintln(o.Path, o.shape, o.FLOPs, k.Kernel, k.Grid, k.Block, k.Shared))
			}
		}
		return l
	}
	if have, want := say(dry), say(real); !slices.Equal(have, want) || len(want) < 50 {
		t.Errorf("%d launches predicted, %d made; predicted:\n%s\nmade:\n%s", len(have), len(want), have, want)
	}
}

// TestRoofline holds the tables to what is known of a guided step of Stable
// Diffusion 1.5 at 512 x 512, and to the chips' bounds.
func TestRoofline(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "kernels", "RESOURCES.md"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := readResources(text)
	if err != nil {
		t.Fatal(err)
	}
	ops, err := dryStep(sd15, 1)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]float64{}
	for _, c := range chips {
		var all sum
		for _, o := range ops {
			for i := range o.launches {
				f, err := c.predict(r, o, i)
				if err != nil {
					t.Fatal(err)
				}
				if !(f.time > f.ideal) || f.resident < 1 || f.bound == "" {
					t.Errorf("%s: %s %s: %+v", c.name, f.kernel, f.what, f)
				}
				all.add(f)
			}
		}
		times[c.name] = all.time
		// diffusers' UNet has 803 GFLOPs of products for a sample, guidance makes
		// it two; keys and values of the text are not computed in a step.
		if g := all.flops / 1e9; g < 1500 || g > 1650 {
			t.Errorf("%s: %.0f GFLOPs", c.name, g)
		}
		// Each of the UNet's 860 million weights is read.
		if all.bytes < 1.7e9 {
			t.Errorf("%s: %.2f GB", c.name, all.bytes/1e9)
		}
		if least := all.flops / (c.tensor * c.clock * float64(c.sms) * 1e3); all.time < least {
			t.Errorf("%s: %.0f us, the tensor cores alone take %.0f", c.name, all.time, least)
		}
	}
	if h, a := times["H100 SXM"], times["A100 SXM 80 GB"]; h == 0 || h >= a {
		t.Errorf("an H100 takes %.0f us, an A100 %.0f", h, a)
	}
	tables, err := rooflineTables(r, ops, 1)
	if err != nil || !strings.Contains(tables, "H100 SXM, 1 guided") || !strings.Contains(tables, "`attention_f16_") {
		t.Errorf("tables, %v:\n%s", err, tables)
	}
}
