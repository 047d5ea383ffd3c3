package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"parley/bench/compare"
	"parley/bench/layers"
)

// benchRows has a row for each flag of bench.
func benchRows() map[string]flagRow {
	const (
		text = "bench clip-text --preset small --rounds 1"
		asIs = text + " --json"
	)
	rows := map[string]flagRow{}
	add := func(flag string, r flagRow) { rows["bench "+flag] = r }
	add("preset", flagRow{base: asIs, set: "--preset mini", want: `"preset": "mini"`})
	add("weights", flagRow{base: asIs, set: "--preset= --weights {M}/clip", want: `"weights": "../../weights/mini/models/clip"`})
	add("batch", flagRow{base: asIs, set: "--batch 1,3", want: `"batch": 3`})
	add("size", flagRow{base: "bench unet --preset small --rounds 1 --json", set: "--size 32", want: `"size": 32`})
	add("steps", flagRow{base: "bench pipeline --preset small --rounds 1 --json", set: "--steps 2", want: `"steps": 2`})
	add("tokens", flagRow{base: "bench blip-generate --preset small --rounds 1 --json", set: "--tokens 7", want: `"tokens": 7`})
	add("rounds", flagRow{base: text, set: "--rounds 4", want: "median of 4 rounds"})
	add("depth", flagRow{base: text, set: "--depth 1", check: func(base, have outcome) bool { return len(have.lines()) < len(base.lines()) }})
	add("sort", flagRow{base: text, set: "--sort order", check: func(_, have outcome) bool {
		return strings.Contains(have.lines()[4],
			"tokens")
	}})
	add("top", flagRow{base: text, set: "--top 2", want: "more with"})
	add("width", flagRow{base: text, set: "--width 70", check: func(base, have outcome) bool {
		return broadest(base) <= 100 && broadest(have) <= 70 && len(have.lines()) >= len(base.lines())
	}})
	add("csv", flagRow{base: text, set: "--csv", want: "net,batch,path,op,kernel"})
	add("gobench", flagRow{base: text, set: "--gobench", want: "\nBenchmarkClipText/small/batch=1 1 "})
	for flag, file := range map[string]string{"html": "a.html", "svg": "a.svg", "trace": "a.json", "pprof": "a.pb.gz"} {
		add(flag, flagRow{base: text, set: "--" + flag + " {O}/" + file, check: has(file)})
	}
	add("force", flagRow{base: text + " --svg {F}/force.txt", set: "--force", check: func(base, have outcome) bool {
		return base.code == 2 && have.code == 0
	}})
	for _, c := range []string{"kernels", "tune"} {
		base := "bench " + c + " clip-text --preset small --rounds 1 --json"
		refused := func(want string) func(base, have outcome) bool {
			return func(base, have outcome) bool { return base.code == 0 && strings.Contains(have.errs, want) }
		}
		add(c+" preset", flagRow{base: base, set: "--preset what", code: 1, check: refused("want one of clip-b32")})
		add(c+" size", flagRow{base: "bench " + c + " unet --preset small --rounds 1 --precision exact", set: "--size 23", code: 1,
			check: refused("multiple of 2")})
		add(c+" rounds", flagRow{base: base, set: "--rounds 0", code: 2, check: func(_, have outcome) bool {
			return strings.Contains(have.errs, "--rounds 0")
		}})
	}
	const tune = "bench tune clip-text --preset small --rounds 1"
	add("kernels width", flagRow{base: "bench kernels clip-text --preset small --rounds 1", set: "--width 200",
		check: func(base, have outcome) bool {
			return broadest(base) <= 100 && broadest(have) > 100 && broadest(have) <= 200
		}})
	add("tune out", flagRow{base: tune, set: "--out {O}/t.json", check: has("t.json")})
	add("tune force", flagRow{base: tune + " --out {F}/force.txt", set: "--force", check: func(base, have outcome) bool {
		return base.code == 1 && have.code == 0
	}})
	return rows
}

// broadest is the longest line's columns.
func broadest(o outcome) (n int) {
	for _, l := range o.lines() {
		n = max(n, utf8.RuneCountInString(l))
	}
	return n
}

// TestTuning: a table chooses, one of another machine is passed over with a word, and
// what is none is refused.
func TestTuning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.json")
	if code, _, errs := call(t, "bench", "tune", "clip-text", "--preset", "small", "--rounds", "2", "--precision", "exact", "--out",
		path); code != 0 {
		t.Fatal(errs)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Version int               `json:"version"`
		Machine map[string]any    `json:"machine"`
		Choices map[string]string `json:"choices"`
	}
	if err := json.Unmarshal(data, &table); err != nil || table.Version == 0 || table.Machine["precision"] != "exact" {
		t.Fatalf("%s: %v", data, err)
	}
	write := func() {
		t.Helper()
		data, err := json.Marshal(table)
		if err == nil {
			err = os.WriteFile(path, data, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	table.Machine["precision"] = "f32"
	table.Choices = map[string]string{"conv3x3 8x8 32>32": "sum"}
	write()
	unet := []string{"bench", "unet", "--preset", "small", "--rounds", "1", "--csv", "--sort", "order", "--tuning", path}
	kernels := func(code int, out, errs string) string {
		t.Helper()
		if code != 0 {
			t.Fatal(errs)
		}
		var l []string
		for _, line := range strings.Split(out, "\n") {
			if f := strings.Split(line, ","); len(f) > 6 && f[3] == "conv" && f[6] == "1x8x8x32" {
				l = append(l, f[4])
			}
		}
		return strings.Join(l, " ")
	}
	code, out, errs := call(t, unet...)
	if k := kernels(code, out, errs); strings.Contains(k, "winograd") || strings.Contains(errs, "tuning") {
		t.Errorf("%s, %s", k, errs)
	}
	table.Choices["conv3x3 8x8 32>32"] = "winograd f6"
	write()
	code, out, errs = call(t, unet...)
	if k := kernels(code, out, errs); !strings.Contains(k, "winograd f6") && !strings.Contains(k, "bf16") {
		t.Errorf("%s, %s", k, errs)
	}
	table.Machine["cpu"] = "another"
	write()
	code, out, errs = call(t, unet...)
	if k := kernels(code, out, errs); strings.Contains(k, "winograd f6") || !strings.Contains(errs, "is of another with") {
		t.Errorf("%s, %s", k, errs)
	}
	if err := os.WriteFile(path, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := call(t, unet...); code != 1 || !strings.Contains(errs, "no table") {
		t.Errorf("code %d, %s", code, errs)
	}
	for _, args := range []string{"bench kernels --device ptx", "bench kernels --tuning x", "bench kernels what",
		"bench kernels loop --preset small"} {
		if code, _, _ := call(t, strings.Fields(args)...); code == 0 {
			t.Errorf("%s works", args)
		}
	}
}

// saved writes results to a file.
func saved(t *testing.T, all ...*layers.Result) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.json")
	var text []byte
	for _, r := range all {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, data...)
	}
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// measured is a result of the command.
func measured(t *testing.T, args string) *layers.Result {
	t.Helper()
	code, out, errs := call(t, strings.Fields(args+" --json")...)
	if code != 0 {
		t.Fatal(errs)
	}
	all, err := compare.Decode(strings.NewReader(out))
	if err != nil || len(all) != 1 {
		t.Fatal(err)
	}
	return all[0]
}

// faster divides all times of a result.
func faster(r *layers.Result, by float64) *layers.Result {
	data, _ := json.Marshal(r)
	c := &layers.Result{}
	_ = json.Unmarshal(data, c)
	for i := range c.Rounds {
		c.Rounds[i] /= by
	}
	for i := range c.Layers {
		for k := range c.Layers[i].Rounds {
			c.Layers[i].Rounds[k] /= by
		}
	}
	return c
}

// TestBaseline: what is slower than a baseline fails, and names it; another machine's
// or workload's is refused.
func TestBaseline(t *testing.T) {
	const work = "bench clip-text --preset small --rounds 6"
	now := measured(t, work)
	code, out, errs := call(t, strings.Fields(work+" --fail-over 900% --baseline "+saved(t, now))...)
	if code != 0 || !strings.Contains(out, "the whole") {
		t.Errorf("the same: code %d, %s%s", code, out, errs)
	}
	code, _, errs = call(t, strings.Fields(work+" --depth 1 --fail-over 10% --baseline "+saved(t, faster(now, 50)))...)
	if code != 1 || !strings.Contains(errs, "slower than") || !strings.Contains(errs, "text_model") {
		t.Errorf("50 times slower: code %d, %s", code, errs)
	}
	code, out, errs = call(t, strings.Fields(work+" --json --baseline "+saved(t, faster(now, 50)))...)
	if code != 0 || !strings.Contains(errs, "before") {
		t.Errorf("beside JSON: code %d, %s", code, errs)
	}
	_ = decode[layers.Result](t, out)
	other := faster(now, 1)
	other.Machine.CPU = "another"
	if code, _, errs := call(t, strings.Fields(work+" --baseline "+saved(t, other))...); code != 1 || !strings.Contains(errs, "another") {
		t.Errorf("another machine: code %d, %s", code, errs)
	}
	for args, want := range map[string]string{
		work + " --fail-over 10%":                   "--baseline",
		work + " --fail-over x --baseline x":        "--fail-over x",
		work + " --baseline /nowhere":               "/nowhere",
		work + " --batch 0":                         "--batch 0",
		work + " --batch 1,x":                       "--batch",
		work + " --batch 1,0":                       "--batch 0: want 1",
		"bench unet --steps 3 --preset small":       "no steps",
		"bench what":                                "choose one of",
		"bench":                                     `want "parley bench NET"`,
		"bench unet --preset what":                  "want one of",
		work + " --svg /nowhere/a.svg":              "/nowhere",
		"bench clip-text --preset small --size 200": "no pictures",
		work + " --json --gobench":                  "--gobench and --json: choose one",
		work + " --svg a --trace ./a":               "--svg and --trace: ./a is one file",
		"bench unet --preset small,mini":            "unet takes nothing of mini",
	} {
		if code, _, errs := call(t, strings.Fields(args)...); code == 0 || !strings.Contains(errs, want) || strings.Contains(errs, "fault") {
			t.Errorf("%s: code %d, %s", args, code, errs)
		}
	}
}

// TestBenchDiff: files are compared, folded, and judged.
func TestBenchDiff(t *testing.T) {
	now := measured(t, "bench clip-text --preset small --rounds 9")
	for i := range now.Rounds { // a quiet machine's
		now.Rounds[i] = 0.001 + 1e-6*float64(i)
		for k := range now.Layers {
			now.Layers[k].Rounds[i] = 1e-4 + 1e-7*float64(i)
		}
	}
	slow := faster(now, 1)
	for i := range slow.Layers[3].Rounds {
		slow.Layers[3].Rounds[i] *= 1.1
	}
	path, before, after := slow.Layers[3].Path, saved(t, now), saved(t, slow)
	diff := func(args string) (int, string, string) {
		t.Helper()
		return call(t, append([]string{"bench", "diff", before, after}, strings.Fields(args)...)...)
	}
	code, out, _ := diff("")
	if code != 0 || !strings.Contains(out, "+10.0 %") || !strings.Contains(out, path) || strings.Contains(out, now.Layers[0].Path) {
		t.Errorf("code %d, %s", code, out)
	}
	if _, out, _ := diff("--all"); !strings.Contains(out, now.Layers[0].Path) {
		t.Errorf("--all: %s", out)
	}
	if _, out, _ := diff("--all --width 60"); broadest(outcome{out: out}) > 60 || !strings.Contains(out, "text_m.encode.") {
		t.Errorf("--width: %s", out)
	}
	if _, out, _ := diff("--least 11%"); strings.Contains(out, path) {
		t.Errorf("--least: %s", out)
	}
	if _, out, _ := diff("--all --depth 1"); strings.Contains(out, path) || !strings.Contains(out, "text_model") {
		t.Errorf("--depth: %s", out)
	}
	if code, _, errs := diff("--fail-over 5%"); code != 1 || !strings.Contains(errs, path) {
		t.Errorf("--fail-over: code %d, %s", code, errs)
	}
	if code, _, errs := diff("--fail-over 20%"); code != 0 {
		t.Errorf("--fail-over: code %d, %s", code, errs)
	}
	_, out, _ = diff("--json")
	if d := decode[[]compare.Diff](t, out); len(d) != 1 || d[0].Layers[0].Path != path || !d[0].Layers[0].Changed || d[0].Layers[1].Changed {
		t.Errorf("%+v", d)
	}
	if code, _, errs := call(t, "bench", "diff", before); code != 2 || !strings.Contains(errs, "two files") {
		t.Errorf("one file: code %d, %s", code, errs)
	}
}

// TestBenchCompare: a result lies beside another program's, in lines of a width.
func TestBenchCompare(t *testing.T) {
	ours := saved(t, measured(t, "bench clip-text --preset small --rounds 1"))
	compare := func(args ...string) (int, outcome) {
		t.Helper()
		code, out, errs := call(t, append([]string{"bench", "compare", ours, "../../bench/compare/testdata/vllm.json.gz"}, args...)...)
		return code, outcome{out: out, errs: errs}
	}
	code, o := compare()
	if code != 0 || !strings.Contains(o.out, "text_model.encoder.layers.0.self_attn.qkv") || !strings.Contains(o.out, "% of vLLM's lie in") ||
		broadest(o) > 100 {
		t.Errorf("code %d, %s%s", code, o.out, o.errs)
	}
	if _, o := compare("--width", "62"); broadest(o) > 62 || strings.Contains(o.out, "text_model.encoder.layers.0.self_attn.qkv") {
		t.Errorf("--width: %s", o.out)
	}
	if _, o := compare("--json"); !strings.Contains(o.out, `"theirs_seconds"`) {
		t.Errorf("--json: %s", o.out)
	}
}

// TestBenchTurns: two programs take turns, as often as was asked for.
func TestBenchTurns(t *testing.T) {
	now := measured(t, "bench clip-text --preset small --rounds 2")
	dir := t.TempDir()
	program := func(name string, r *layers.Result) string {
		path := filepath.Join(dir, name)
		text := fmt.Sprintf("#!/bin/sh\necho %s $* >> %s/log\ncat %s\n", name, dir, saved(t, r))
		if err := os.WriteFile(path, []byte(text), 0o777); err != nil {
			t.Fatal(err)
		}
		return path
	}
	before, after := program("before", now), program("after", faster(now, 0.5))
	code, out, errs := call(t, "bench", "diff", "--old", before, "--new", after, "--turns", "3", "--", "unet", "--depth", "2")
	if code != 0 || !strings.Contains(out, "+100.0 %") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	const args = " bench unet --depth 2 --json\n"
	want := "before" + args + "after" + args + "after" + args + "before" + args + "before" + args + "after" + args
	if log, _ := os.ReadFile(filepath.Join(dir, "log")); string(log) != want {
		t.Errorf("%s", log)
	}
	for _, args := range []string{"bench diff --old x", "bench diff --old x --new y", "bench unet --sd x", "bench loop --models x",
		"forward unet --clip x --model y --in z"} {
		if code, _, _ := call(t, strings.Fields(args)...); code != 2 {
			t.Errorf("%s: code %d", args, code)
		}
	}
	if code, _, errs := call(t, "bench", "diff", "--old", "/nowhere/parley", "--new", after, "--", "unet"); code != 1 ||
		!strings.Contains(errs,
			"/nowhere/parley") {
		t.Errorf("code %d, %s", code, errs)
	}
}

// TestBenchHistory: results are drawn over commits, and flags say what is told and where.
func TestBenchHistory(t *testing.T) {
	now := measured(t, "bench clip-text --preset small --rounds 10")
	for i := range now.Rounds { // a quiet machine's
		now.Rounds[i] = 0.001 + 1e-7*float64(i)
		for k := range now.Layers {
			now.Layers[k].Rounds[i] = 1e-4 + 1e-8*float64(i)
		}
	}
	now.Seconds = layers.Median(now.Rounds)
	then := faster(now, 0.9) // 11 % slower, and earlier
	then.Taken = now.Taken.Add(-time.Hour)
	then.Seconds = layers.Median(then.Rounds)
	before, after := saved(t, then), saved(t, now)
	history := func(args string) (int, string, string) {
		t.Helper()
		return call(t, append([]string{"bench", "history", before, after}, strings.Fields(args)...)...)
	}
	code, out, errs := history("")
	if code != 0 || !strings.Contains(out, ">-10.0 %<") || !strings.Contains(out, "text_model.encoder -10.0 %") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	if _, out, _ := history("--least 20%"); strings.Contains(out, "text_model.encoder -10.0 %") {
		t.Errorf("--least: %s", out)
	}
	if _, out, _ := history("--depth 1"); strings.Contains(out, "text_model.encoder") || !strings.Contains(out, "text_model -10.0 %") {
		t.Errorf("--depth: %s", out)
	}
	path := filepath.Join(t.TempDir(), "h.html")
	if code, out, errs := history("--html " + path); code != 0 || out != "" {
		t.Errorf("--html: code %d, %s%s", code, out, errs)
	}
	if data, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(data), "<!doctype html") {
		t.Errorf("--html: %v", err)
	}
	if err := os.WriteFile(path, []byte("notes"), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := history("--html " + path); code != 2 || !strings.Contains(errs, path) {
		t.Errorf("over notes: code %d, %s", code, errs)
	}
	if code, _, errs := history("--force --html " + path); code != 0 {
		t.Errorf("--force: code %d, %s", code, errs)
	}
}
