package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"parley/bench/eval"
)

// asParley is the variable under which the test's program is parley itself.
const asParley = "PARLEY_TEST_AS_PARLEY"

func TestMain(m *testing.M) {
	if os.Getenv(asParley) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// parley is the program with arguments, as a process of its own.
func parley(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), asParley+"=1")
	return c
}

// evalRows are those of the runs of an experiment: a flag changes the items.
func evalRows() map[string]flagRow {
	rows := map[string]flagRow{}
	changed := func(base, have outcome) bool {
		return base.code == 0 && base.files["items.jsonl"] != "" && have.files["items.jsonl"] != "" &&
			base.files["items.jsonl"] != have.files["items.jsonl"]
	}
	says := func(text string) func(_, have outcome) bool {
		return func(_, have outcome) bool { return strings.Contains(have.errs, text) }
	}
	lines := func(n int) func(_, have outcome) bool {
		return func(_, have outcome) bool { return strings.Count(have.files["items.jsonl"], "\n") == n }
	}
	for _, task := range []string{eval.Image, eval.Text} {
		base := "eval " + task + " --data mini --limit 2 -k 2 --steps 2 --out {O}"
		of := func(data string) string { return "eval " + task + " --data " + data + " -k 2 --steps 1 --out {O}" }
		add := func(flag, set string, check func(base, have outcome) bool) {
			if task == eval.Text && slices.Contains(drawn(), flag) {
				return
			}
			rows["eval "+task+" "+flag] = flagRow{base: base, set: set, check: check}
		}
		for flag, set := range map[string]string{"steps": "--steps 3", "guidance": "--guidance 9", "scheduler": "--scheduler ddim",
			"negative": "--negative a~red~apple", "prediction": "--prediction sample", "width": "--width 96", "height": "--height 96",
			"clip-skip": "--clip-skip 1", "vae": "--vae {F}/sd16", "pooled": "--pooled", "seed": "--seed 3", "k": "-k 3", "beam": "--beam 2",
			"top-k": "--top-k 1", "top-p": "--top-p 0.0001", "temperature": "--temperature 9", "repetition-penalty": "--repetition-penalty 50",
			"max-length": "--max-length 6", "prompt": "--prompt there", "keep-prompt": "--keep-prompt", "prune": "--prune 0.5:0.5",
			"limit": "--limit 3", "min-length": "--min-length 18"} {
			add(flag, set, changed)
		}
		for _, flag := range []string{"vae-tiling", "clean", "long-prompt", "split", "domain", "keep"} {
			if task == eval.Image {
				rows["eval "+task+" "+flag] = flagRow{base: base, set: "--" + flag + " shout", code: 2, check: says("--" + flag + " shout")}
			}
		}
		rows["eval "+task+" embedding"] = flagRow{base: base, set: "--embedding {F}/missing.pt", code: 1, check: says("missing.pt")}
		rows["eval "+task+" images"] = flagRow{base: of("{F}/list/set.jsonl"), set: "--images {F}/pics", check: func(base, have outcome) bool {
			return base.code == 3 && strings.Contains(base.errs, "missing") && have.code == 0 && !strings.Contains(have.errs, "missing")
		}}
		rows["eval "+task+" data"] = flagRow{base: base, set: "--data {F}/pairs.tsv", check: changed}
		rows["eval "+task+" out"] = flagRow{base: base, set: "--out {O}/deep", check: has("deep/items.jsonl", "deep/settings.json",
			"deep/timings.jsonl")}
		rows["eval "+task+" shard"] = flagRow{base: base, set: "--shard 2/2", check: lines(1)}
		rows["eval "+task+" shards"] = flagRow{base: base, set: "--shards 2", code: 2, check: says("--shards 2: neither")}
		rows["eval "+task+" retry"] = flagRow{base: strings.Replace(of("{F}/list/set.jsonl"), "{O}", "{F}/retry-"+task, 1), set: "--retry",
			code: 3, check: func(base, have outcome) bool {
				return base.code == 3 && !strings.Contains(base.out, "tried again") && strings.Contains(have.out, "tried again: 1")
			}}
		rows["eval "+task+" at-once"] = flagRow{base: base, set: "--at-once 1", check: func(base, have outcome) bool {
			return base.files["items.jsonl"] == have.files["items.jsonl"]
		}}
	}
	rows["eval image min-length"] = flagRow{base: "eval image --data mini --limit 2 -k 2 --steps 2 --max-length 30 --out {O}",
		set: "--min-length 29", check: changed}
	rows["eval image drawings"] = flagRow{base: "eval image --data mini --limit 2 -k 2 --steps 2 --out {O}", set: "--drawings 3",
		check: changed}
	rows["eval image redraw-duplicates"] = flagRow{base: "eval image --data mini --limit 2 -k 2 --steps 2 --top-k 1 --out {O}",
		set: "--redraw-duplicates=false", check: changed}
	return rows
}

// drawn are flags of drawing, which the text task has from the same function as the
// image task.
func drawn() []string {
	return []string{"guidance", "scheduler", "negative", "prediction", "width", "height", "clip-skip", "vae"}
}

// evalElsewhere are flags of the experiment's commands that the tests below hold. The
// runs of a sweep are those of eval, whose flags it has from the same function.
func evalElsewhere() map[string]string {
	out := map[string]string{
		"eval merge out": "TestEval", "eval report out": "TestEval", "eval report meteor-data": "TestEval",
		"eval report follow": "TestEval", "eval sweep try": "TestEvalSweep",
		"eval sweep task": "TestEvalSweep", "eval sweep meteor-data": "TestEvalSweep", "eval report sbert": "TestEvalJudges",
		"eval report vectors": "TestEvalJudges", "eval report stop-words": "TestEvalJudges", "eval report dino": "TestEvalJudges",
		"eval report inception": "TestEvalJudges",
	}
	a := &app{errs: new(bytes.Buffer)}
	f := &evalFlags{}
	c := a.evalMerge()
	c.ResetFlags()
	f.addRun(a, c)
	for _, flag := range append(drawn(), "vae-tiling", "clean", "long-prompt", "split", "domain", "keep") {
		out["eval text "+flag] = "TestFlags, as eval image"
	}
	c.Flags().VisitAll(func(f *pflag.Flag) { out["eval sweep "+f.Name] = "TestFlags, as eval image" })
	return out
}

// table is what a report's JSON says of a measure.
type table struct {
	Table []struct {
		Measure                     string
		Selected, Mean, Best, Worst float64
		Gain                        float64
		LowerBetter                 bool                                  `json:"lower_better"`
		OverMean                    struct{ Value, Low, High, P float64 } `json:"over_mean"`
	}
	Correlations []struct {
		Measure string
		N       int
	}
	Notes       []string
	Done, Total int
}

// row holds that a measure is there, and its numbers in order.
func (r table) row(t *testing.T, name string) {
	t.Helper()
	for _, x := range r.Table {
		if x.Measure == name {
			if !(x.Worst <= x.Selected && x.Selected <= x.Best && x.Worst < x.Mean && x.Mean < x.Best) || x.OverMean.Low > x.OverMean.Value ||
				x.OverMean.High < x.OverMean.Value || x.OverMean.P <= 0 || x.OverMean.P > 1 {
				t.Errorf("%s: %+v", name, x)
			}
			return
		}
	}
	t.Errorf("no %s in %+v", name, r)
}

// TestEval: the experiment from a shell: two shards, one of them killed as it goes,
// merged, reported. That the paper's effect is there is bench/eval's TestExperiment.
func TestEval(t *testing.T) {
	const n, k, steps = 12, 3, 3
	dir := t.TempDir()
	for _, task := range []string{eval.Image, eval.Text} {
		var shards []string
		for i := range 2 {
			out := filepath.Join(dir, task, fmt.Sprint("shard", i+1))
			args := strings.Fields(fmt.Sprintf("eval %s --data mini --limit %d -k %d --steps %d --seed 1 --keep png --shard %d/2 --out %s", task,
				n, k,
				steps, i+1, out))
			if code, _, errs := call(t, args...); code != 0 {
				t.Fatal(errs)
			}
			shards = append(shards, out)
		}
		merged := filepath.Join(dir, task, "merged")
		if code, _, errs := call(t, append([]string{"eval", "merge", "--out", merged}, shards...)...); code != 0 {
			t.Fatal(errs)
		}
		elsewhere := filepath.Join(dir, task, "report")
		code, out, errs := call(t, "eval", "report", "--json", "--follow", "--out", elsewhere, "--meteor-data",
			"../../bench/score/testdata/meteor", merged)
		var r table
		if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil {
			t.Fatal(err, errs)
		}
		if r.Done != n || r.Total != n || len(r.Correlations) == 0 || r.Correlations[0].N != n*k || !strings.Contains(errs, "index.html") {
			t.Errorf("%+v %s", r, errs)
		}
		page, err := os.ReadFile(filepath.Join(elsewhere, "index.html"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Table 1.", "Figure 3a.", "Figure 4a.", "Figure 5.", "data:image/svg&#43;xml", "data:image/png",
			"bootstrap"} {
			if !bytes.Contains(page, []byte(want)) {
				t.Errorf("%s: no %q in the page", task, want)
			}
		}
		if bytes.Contains(page, []byte("src=\"http")) || bytes.Contains(page, []byte("http-equiv=\"refresh\"")) ||
			bytes.Contains(page, []byte(">NaN")) {
			t.Errorf("%s: the page of a run that is complete needs a network, loads itself again or has no numbers", task)
		}
		if task == eval.Text {
			r.row(t, eval.CLIPImage)
			continue
		}
		for _, measure := range []string{"METEOR", "CIDEr", eval.CLIPText} {
			r.row(t, measure)
		}
	}
}

// TestEvalJudges: what is opened by the report's flags judges captions, and drawings
// that were kept.
func TestEvalJudges(t *testing.T) {
	dir := t.TempDir()
	for task, more := range map[string]string{eval.Image: "", eval.Text: " --keep webp"} {
		args := "eval " + task + " --data mini --limit 3 -k 2 --steps 1 --out " + filepath.Join(dir, task) + more
		if code, _, errs := call(t, strings.Fields(args)...); code != 0 {
			t.Fatal(errs)
		}
	}
	vectors := filepath.Join(dir, "vectors.txt")
	if err := os.WriteFile(vectors, []byte("a 1 0 0\nthe 0 1 0\non 0 0 1\nat 1 1 0\nbig 0 1 1\nof 1 0 1\n"+
		"night 1 2 0\nstars 2 1 0\nsky 3 1 0\ngrass 0 3 1\nleft 1 3 0\nright 3 0 1\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	inception := filepath.Join(dir, "inception.safetensors")
	randomInception(t, inception)
	report := func(task, flags string) map[string]float64 {
		t.Helper()
		code, out, errs := call(t, append([]string{"eval", "report", "--json", filepath.Join(dir, task)}, strings.Fields(flags)...)...)
		var r table
		if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil {
			t.Fatal(err, errs)
		}
		found := map[string]float64{}
		for _, x := range r.Table {
			found[x.Measure] = x.Mean
			if (x.Measure == "WMD" || x.Measure == "FID") != x.LowerBetter {
				t.Errorf("%s: less is better: %v", x.Measure, x.LowerBetter)
			}
		}
		return found
	}
	captions := report(eval.Image, "--sbert ../../nets/testdata/sbert --vectors "+vectors)
	stop := report(eval.Image, "--stop-words --vectors "+vectors)
	if _, sbert := stop["SBERT"]; sbert || captions["SBERT"] == 0 || captions["WMD"] == stop["WMD"] || stop["WMD"] == 0 {
		t.Errorf("%v; with stop words %v", captions, stop)
	}
	drawings := report(eval.Text, "--dino ../../nets/testdata/vit_small --inception "+inception)
	if drawings["DINO"] <= 0 || drawings["FID"] <= 0 {
		t.Errorf("%v", drawings)
	}
	for args, want := range map[string]string{eval.Image + " --dino ../../nets/testdata/vit_small": "--dino",
		eval.Text + " --vectors " + vectors: "--vectors", eval.Image + " --stop-words": "--stop-words is for --vectors",
		eval.Image + " --sbert " + vectors:                       "vectors.txt: not a safetensors file",
		eval.Text + " --inception ../../nets/testdata/vit_small": "no inception in it"} {
		if code, _, errs := call(t, strings.Fields("eval report "+dir+"/"+args)...); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d, %s", args, code, errs)
		}
	}
}

// TestEvalSweep: tries cost what they say, and other settings come from them.
func TestEvalSweep(t *testing.T) {
	dir := t.TempDir()
	args := []string{"eval", "sweep", "--json", "--data", "mini", "--limit", "3", "-k", "4", "--steps", "4", "--out", dir, "--try", "steps=2",
		"--try", "prune=0.5:0.5", "--meteor-data", "../../bench/score/testdata/meteor"}
	for _, task := range []string{eval.Image, eval.Text} {
		to := filepath.Join(dir, task)
		args[12] = to
		more := []string{"--task", task}
		if task == eval.Image {
			more = append(more, "--try", "prune=0:0.5")
		}
		code, out, errs := call(t, slices.Concat(args, more)...)
		var r struct {
			Task, Measure string
			Enough        []string
			Points        []struct {
				Name      string
				K         int
				Cost      float64 `json:"unet_steps"`
				CostPart  float64 `json:"cost_part"`
				ScorePart float64 `json:"score_part"`
			}
		}
		if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil {
			t.Fatal(err, errs)
		}
		want := map[string]float64{"whole 4": 16, "whole 2": 8, "steps=2 4": 8, "steps=2 1": 2, "prune=0.5:0.5 4": 12}
		points := 9
		if task == eval.Image {
			want["prune=0:0.5 4"], points = 8, 10 // two of four are drawn
		}
		for _, p := range r.Points {
			key := fmt.Sprint(p.Name, " ", p.K)
			if v, ok := want[key]; ok && v == p.Cost && p.CostPart == v/16 {
				delete(want, key)
			}
			if key == "whole 4" && p.ScorePart != 1 {
				t.Errorf("the whole run has %v of its own gain", p.ScorePart)
			}
		}
		if len(want) > 0 || r.Task != task || len(r.Points) != points || len(r.Enough) != 2 || !strings.Contains(r.Enough[1], "95 % of the") {
			t.Errorf("%s: missing %v in %+v", task, want, r)
		}
		if s, err := eval.ReadSettings(filepath.Join(to, "prune-0.5x0.5")); err != nil || s.Prune != "0.5:0.5" || s.Draw.Steps != 4 {
			t.Errorf("%+v, %v", s, err)
		}
		for _, name := range []string{"sweep.html", "sweep-quality.svg", "sweep-score.png"} {
			if st, err := os.Stat(filepath.Join(to, name)); err != nil || st.Size() < 1000 {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if code, _, errs := call(t, strings.Fields("eval text --data mini --limit 1 --prune 0:0.5 --out "+dir+"/none")...); code != 1 ||
		!strings.Contains(errs, "the text task has none") {
		t.Errorf("pruning texts before they are drawn: code %d, %s", code, errs)
	}
	for try, want := range map[string]string{"k=2": "want FLAG=VALUE of steps", "steps=0": "want 1 to", "": "names no flag",
		"steps": "want FLAG"} {
		if code, _, errs := call(t, "eval", "sweep", "--data", "mini", "--limit", "3", "-k", "4", "--steps", "4", "--out",
			filepath.Join(dir, eval.Image), "--try", try); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("--try %q: code %d, %s", try, code, errs)
		}
	}
}

// TestEvalKilled: a run that is killed again and again is completed by the same
// command, to the bytes of one that is not, and no item is done twice.
func TestEvalKilled(t *testing.T) {
	dir := t.TempDir()
	args := func(out string) []string {
		return strings.Fields("eval image --data mini --limit 24 -k 2 --steps 1 --at-once 2 --keep png --out " + filepath.Join(dir, out))
	}
	kills, killed := 0, filepath.Join(dir, "killed/items.jsonl")
	for seen := ""; ; {
		c := parley(t, args("killed")...)
		var errs bytes.Buffer
		c.Stderr = &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		// It is killed somewhere after its first new line.
		before := len(seen)
		var err error
		running := true
		for deadline := time.Now().Add(time.Minute); running && time.Now().Before(deadline); {
			select {
			case err = <-ended:
				running = false
			case <-time.After(time.Millisecond):
			}
			data, _ := os.ReadFile(killed)
			if len(data) > before && running {
				time.Sleep(time.Duration(kills*7%23) * time.Millisecond)
				if e := c.Process.Signal(syscall.SIGKILL); e == nil {
					kills++
				}
				err = <-ended
				running = false
			}
		}
		data, _ := os.ReadFile(killed)
		if whole := data[:bytes.LastIndexByte(data, '\n')+1]; !strings.HasPrefix(string(whole), seen) {
			t.Fatal("lines of an earlier run are lost")
		} else {
			seen = string(whole)
		}
		if err == nil {
			break
		}
		if kills > 60 {
			t.Fatalf("it does not come to an end: %s", errs.String())
		}
	}
	if code, _, errs := call(t, args("once")...); code != 0 {
		t.Fatal(errs)
	}
	a, err1 := os.ReadFile(killed)
	b, err2 := os.ReadFile(filepath.Join(dir, "once/items.jsonl"))
	if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
		t.Errorf("%d kills: other bytes than without (%v, %v)", kills, err1, err2)
	}
	if t.Logf("killed %d times", kills); kills < 3 {
		t.Errorf("killed %d times only", kills)
	}
}

// TestEvalExits: the exit code says whether the same command again would come to more,
// which is what the Job in deploy asks for.
func TestEvalExits(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list.tsv")
	if err := os.WriteFile(list, []byte("image\tcaption\nnone.png\tA cat\nnot.png\tA dog\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args, says string
		code       int
	}{
		{"--shard 1/3 --out " + dir + "/one", "none of the 1 items has a result", 3},
		{"--shard 1/3 --out " + dir + "/one", "none of the 1 items has a result", 3},
		{"--shard 3/3 --out " + dir + "/three", "is taken for a header", 0}, // it has no items
		{"--out " + dir + "/all", "none of the 2 items has a result", 3},
		{"--seed 4 --out " + dir + "/all", "seed 4, there 1", 2},
		{"--data " + dir + "/nowhere.json --out " + dir + "/other", "nowhere.json", 1},
		{"--data mini --limit 1 --out " + dir + "/mini", "", 0},
		{"--data mini --prune 0.3:0.5,0.4:0.5 --out " + dir + "/prune", "pruning at 0.3:0.5: of 1 steps", 1},
		{"--data mini --limit 1 --clip-skip 9 --out " + dir + "/skip", "item 0 (000000.png): every candidate failed", 3},
	} {
		args := append(strings.Fields("eval image --seed 1 -k 2 --steps 1 --data "+list), strings.Fields(c.args)...)
		if code, _, errs := call(t, args...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%s: code %d, want %d and %q: %s", c.args, code, c.code, c.says, errs)
		}
	}
	manifest, err := os.ReadFile("../../deploy/kubernetes.yaml")
	if err != nil || !strings.Contains(string(manifest), "action: FailIndex\n"+
		"        onExitCodes: {containerName: parley, operator: In, values: [2, 3]}") {
		t.Errorf("%v: the Job starts again what is wrongly called or complete", err)
	}
}
