//go:build cuda

package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/bench/parts"
	"parley/bench/random"
	"parley/bench/roofline"
	"parley/engine"
	"parley/engine/cuda/ptx"
)

// TestMain lets the test binary be the program that the run starts for each part.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"part", "operations", "rooms", "launches"}, os.Args[1]) {
		main()
	}
	os.Exit(m.Run())
}

func report(t *testing.T, dir string) (r parts.Report) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRun rehearses both calls, small, on the interpreter: every part has figures or
// says why not, nothing fails, and what comes back is what may come back.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("two minutes on the interpreter")
	}
	for call, kept := range map[string][]string{
		"1": {"environment", "suites", "goldens", "bits", "diffusion", "ordered", "batches", "bandwidth"},
		"2": {"environment", "diffusion", "tune", "kernels", "torch", "peers", "captions", "embeddings", "ncu", "loops", "sanitizer", "jit",
			"compile"},
	} {
		dir := t.TempDir()
		if code := command(t.Context(), []string{"-device", "ptx", "-small", "-limit", "30m", "-call", call, "-out", dir, "-data",
			filepath.Join("..", "..")}); code != 0 {
			t.Errorf("call %s: exit code %d", call, code)
		}
		r := report(t, dir)
		var have []string
		for _, p := range r.Parts {
			have = append(have, p.Name)
			if len(p.Failures) > 0 {
				t.Errorf("%s: %s", p.Name, strings.Join(p.Failures, "\n"))
			}
			if (len(p.Figures) == 0) == (p.Skipped == "") {
				t.Errorf("%s: %d figures, left out: %q", p.Name, len(p.Figures), p.Skipped)
			}
			if absent := slices.Contains([]string{"torch", "peers", "ncu", "sanitizer", "compile"}, p.Name); absent != (p.Skipped != "") {
				t.Errorf("%s: left out: %q", p.Name, p.Skipped)
			}
			if !strings.Contains(p.Command, "--only "+p.Name) {
				t.Errorf("%s: command %q", p.Name, p.Command)
			}
		}
		if !slices.Equal(have, kept) {
			t.Errorf("call %s: parts %v, want %v", call, have, kept)
		}
		page, err := os.ReadFile(filepath.Join(dir, "report.md"))
		if err != nil || !strings.Contains(string(page), "Not hardware") {
			t.Errorf("the page does not say that it is not hardware: %v", err)
		}
		files, err := os.ReadDir(dir)
		if err != nil || len(files) > 8 {
			t.Errorf("%d files, %v", len(files), err)
		}
		table := map[string]string{"1": "diffusion.csv", "2": "tune.csv"}[call]
		f, err := os.Open(filepath.Join(dir, table))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(f).ReadAll()
		f.Close()
		if err != nil || len(rows) < 15 {
			t.Errorf("%s: %d rows, %v", table, len(rows), err)
		}
		if call == "2" {
			var ops []string
			for _, row := range rows[1:] {
				ops = append(ops, row[2])
			}
			if !slices.Contains(ops, "conv") || len(slices.Compact(slices.Clone(ops))) < 3 {
				t.Errorf("operations tuned: %v", slices.Compact(ops))
			}
		}
	}
}

// TestFailures: what goes wrong in a part is told, and the other parts go on.
func TestFailures(t *testing.T) {
	dir := t.TempDir()
	code := command(t.Context(), []string{"-device", "ptx", "-small", "-only", "goldens,bandwidth", "-out", dir, "-data", t.TempDir()})
	if code != 1 {
		t.Errorf("exit code %d without goldens, want 1", code)
	}
	r := report(t, dir)
	if len(r.Parts) != 2 || len(r.Parts[0].Failures) != 1 || !strings.Contains(r.Parts[0].Failures[0], "name it by --data") ||
		len(r.Parts[1].Failures) != 0 || len(r.Parts[1].Figures) == 0 {
		t.Errorf("%+v %+v", r.Parts[0], r.Parts[1])
	}
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"-device", "cuda:999", "-only", "bandwidth"}, 1}, {[]string{"-device", "nowhere"}, 2}, {[]string{"-device", "cuda:1x"}, 2},
		{[]string{"-only", "everything"}, 2}, {[]string{"-call", "3"}, 2},
	} {
		if code := command(t.Context(), append(slices.Clone(c.args), "-out", t.TempDir())); code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.args, code, c.code)
		}
	}
}

// TestCalls: every part is in a call, and no part's time is beyond its call's.
func TestCalls(t *testing.T) {
	for _, p := range list() {
		if p.calls == "" || p.run == nil || p.what == "" || p.limit > 0 && p.least > p.limit {
			t.Errorf("%+v", p)
		}
	}
	first, err := choose(options{call: 1})
	second, err2 := choose(options{call: 2})
	if err != nil || err2 != nil || len(first)+len(second) != len(list())+2 {
		t.Errorf("%v, %v", names(first), names(second))
	}
}

// TestPeers: the scripts of the peers run without PyTorch and say that it is missing,
// and hold what Python can compile.
func TestPeers(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	empty := t.TempDir()
	if err := os.WriteFile(filepath.Join(empty, "torch.py"), []byte("raise OSError('libcudart.so.13: cannot open shared object file')\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PYTHONPATH", empty)
	measure, err := scripts.ReadFile("python/measure.py")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"operations.py", "nets.py"} {
		text, err := scripts.ReadFile("python/" + name)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(python, "-c", "COMPILE = False\nSMALL = True\n"+string(measure)+string(text))
		cmd.Stdin = strings.NewReader("[]")
		out, err := cmd.CombinedOutput()
		var e parts.Event
		if e2 := json.Unmarshal(out, &e); err != nil || e2 != nil || !strings.Contains(e.Skipped, "libcudart.so.13") {
			t.Errorf("%s: %v, %v: %s", name, err, e2, out)
		}
	}
}

// TestLaunches: a profiler sees each kernel of a step once, and a sanitizer each
// room.
func TestLaunches(t *testing.T) {
	o := options{device: "ptx", small: true}
	if err := mainLaunches(t.Context(), o); err != nil {
		t.Error(err)
	}
	if err := smallNets(t.Context(), o); err != nil {
		t.Error(err)
	}
}

// TestCounters reads what ncu writes.
func TestCounters(t *testing.T) {
	var said strings.Builder
	b := &bench{Speaker: parts.NewSpeaker(&said)}
	n := b.counters(strings.NewReader(`==PROF== Connected to process 1
342 launches
"ID","Process ID","Kernel Name","Block Size","CC","Section Name","Metric Name","Metric Unit","Metric Value"
"0","1","conv_f16_256x128x32","(256, 1, 1)","9.0","GPU Speed Of Light Throughput","Duration","us","1,054.82"
"0","1","conv_f16_256x128x32","(256, 1, 1)","9.0","GPU Speed Of Light Throughput","Something Else","%","12"
"1","1","group_f16(void)","(256, 1, 1)","9.0","Launch Statistics","Registers Per Thread","register/thread","168"
`))
	if n != 2 || strings.Count(said.String(), "\n") != 2 || !strings.Contains(said.String(),
		`"conv_f16_256x128x32, Duration","value":1054.82,"unit":"us"`) || !strings.Contains(said.String(), `"group_f16, Registers Per Thread"`) {
		t.Errorf("%d kernels: %s", n, said.String())
	}
	if n := b.counters(strings.NewReader("==ERROR== no permission\n")); n != 0 {
		t.Errorf("%d kernels of none", n)
	}
}

// TestFindings reads what the tools of compute-sanitizer write.
func TestFindings(t *testing.T) {
	for text, want := range map[string]int{
		"========= COMPUTE-SANITIZER\n12 launches\n========= ERROR SUMMARY: 0 errors\n":                               0,
		"========= COMPUTE-SANITIZER\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n":      0,
		"========= Error: Race reported\n========= RACECHECK SUMMARY: 12 hazards displayed (12 errors, 0 warnings)\n": 12,
		"========= Invalid __global__ read of size 4 bytes\n========= ERROR SUMMARY: 1 error\n":                       1,
		"========= Error: Device not supported\n":                                                                     -1,
	} {
		if n, told := findings(strings.NewReader(text)); n != want || n != 0 && len(told) == 0 {
			t.Errorf("%q: %d findings, %q; want %d", text, n, told, want)
		}
	}
}

// TestBundle: the kit is refused where it could not be carried.
func TestBundle(t *testing.T) {
	kit := filepath.Join(t.TempDir(), "gpu.tar.xz")
	if err := os.WriteFile(kit, []byte("a kit"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	if err := exec.Command("git", "rev-parse", "HEAD").Run(); err != nil {
		t.Skip("this is no checkout")
	}
	// Sparse: it takes no room.
	for size, fits := range map[int64]bool{20 << 20: true, 25 << 20: false} {
		if err := os.Truncate(kit, size); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("./size", kit).CombinedOutput(); (err == nil) != fits || !fits && !strings.Contains(string(out),
			"more than 60 MiB") {
			t.Errorf("a kit of %d MiB: %v\n%s", size>>20, err, out)
		}
	}
}

// TestDryStep: the launches that the prediction is made of are those of the step.
func TestDryStep(t *testing.T) {
	dry, err := roofline.DryStep(random.SmallSD(), 1, ptx.MultiProcessors)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{options: options{device: "ptx", small: true}, ctx: t.Context()}
	if err := b.open(engine.F16); err != nil {
		t.Fatal(err)
	}
	defer b.dev.Close()
	p, err := random.StableDiffusion(random.SmallSD(), b.dev)
	if err != nil {
		t.Fatal(err)
	}
	s := engine.NewStream(t.Context(), b.dev)
	defer s.Close()
	run, err := p.GuidedStep(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	g, real, err := roofline.Follow(b.dev, s, run)
	if err != nil {
		t.Fatal(err)
	}
	g.Free()
	say := func(ops []roofline.Operation) (l []string) {
		for _, o := range ops {
			for _, k := range o.Launches {
				l = append(l, fmt.Sprintln(o.Path, o.Shape, o.FLOPs, k.Kernel, k.Grid, k.Block, k.Shared))
			}
		}
		return l
	}
	if have, want := say(dry), say(real); !slices.Equal(have, want) || len(want) < 50 {
		t.Errorf("%d launches predicted, %d made; predicted:\n%s\nmade:\n%s", len(have), len(want), have, want)
	}
}
