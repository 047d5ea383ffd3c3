package eval

import (
	"bytes"
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
	"time"

	"gorgonia.org/tensor"

	"parley/bench/coco"
	"parley/bench/score"
	"parley/bench/score/judge"
	"parley/engine"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/output"
)

// toy models: a text is a brightness, a drawing of it has it, embeddings are angles.
type toy struct{ wait time.Duration }

func grey(v int) *pixels.Image {
	return pixels.New(2, 2, color.RGBA{uint8(v), uint8(v), uint8(v), 255})
}

func (t toy) Caption(_ engine.Run, ps []pixels.Picture, k int, seeds []uint64) (out [][]rerank.Caption, err error) {
	time.Sleep(t.wait)
	for i, p := range ps {
		m, err := p.Host()
		if err != nil {
			return nil, err
		}
		var list []rerank.Caption
		for j := range k {
			list = append(list, rerank.Caption{Text: fmt.Sprint(int(m.Pix[0]) + int(seeds[i]+uint64(7*j))%13)})
		}
		out = append(out, list)
	}
	return out, nil
}

func (toy) Draw(run engine.Run, texts []string, seeds []uint64, each func(int, rerank.Drawing)) error {
	for i, x := range texts {
		if err := run.Err(); err != nil {
			return err
		}
		v := 0
		fmt.Sscan(x, &v)
		each(i, rerank.Drawing{Picture: grey(min(255, v+int(seeds[i]%5)))})
	}
	return nil
}

func angles(list []float64) *tensor.Dense {
	var x []float32
	for _, v := range list {
		x = append(x, float32(math.Cos(v/300)), float32(math.Sin(v/300)))
	}
	return tensor.New(tensor.WithShape(len(list), 2), tensor.WithBacking(x))
}

func (toy) EmbedImages(_ engine.Run, ps []pixels.Picture) (*tensor.Dense, error) {
	var list []float64
	for _, p := range ps {
		m, err := p.Host()
		if err != nil {
			return nil, err
		}
		list = append(list, float64(m.Pix[0]))
	}
	return angles(list), nil
}

func (toy) EmbedTexts(_ engine.Run, ts []string) (*tensor.Dense, error) {
	list := make([]float64, len(ts))
	for i, t := range ts {
		fmt.Sscan(t, &list[i])
	}
	return angles(list), nil
}

func (toy) ScoreImages(engine.Run, *tensor.Dense, []pixels.Picture) ([]float64, error) {
	return nil, errors.New("embeddings are kept, and compared")
}

func (toy) ScoreTexts(engine.Run, *tensor.Dense, []string) ([]float64, error) {
	return nil, errors.New("embeddings are kept, and compared")
}

// world is a data set of n pictures, of which the second is missing and the third broken.
func world(t *testing.T, n int) *coco.Set {
	t.Helper()
	dir := t.TempDir()
	var list bytes.Buffer
	for i := range n {
		name := fmt.Sprintf("%d.png", i)
		fmt.Fprintf(&list, `{"image": %q, "text": "%d"}`+"\n", name, 10+i)
		switch i {
		case 1:
		case 2:
			write(t, filepath.Join(dir, name), []byte("no picture"))
		default:
			var b bytes.Buffer
			if err := grey(10 + i).EncodePNG(&b); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, name), b.Bytes())
		}
	}
	path := filepath.Join(dir, "set.jsonl")
	write(t, path, list.Bytes())
	set, err := coco.Open(path, coco.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// experiment is one of toys.
func experiment(set *coco.Set, task string) Experiment {
	e := Experiment{Set: set, Settings: Settings{Task: task, Shard: "1/1", K: 3, Seed: 5, Drawings: 1, Redraw: true,
		Draw: Draw{Steps: 4, UNet: 4}},
		Loop: rerank.Loop{Captioner: toy{}, Painter: toy{}, Judge: toy{}, K: 3, RedrawDuplicates: true}, Scorers: []Scorer{CLIP(task, toy{})}}
	if task == Image {
		e.Beam = toy{}
	}
	return e
}

var background = engine.NewRun(context.Background())

func must(t *testing.T, dir string, e Experiment) *Summary {
	t.Helper()
	s, err := Run(background, dir, e)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSameFile: the same settings give the same bytes in batches of any size and in
// shards, of both tasks, pictures included.
func TestSameFile(t *testing.T) {
	set := world(t, 23)
	for _, task := range []string{Image, Text} {
		e := experiment(set, task)
		e.Settings.Keep = "webp"
		one := filepath.Join(t.TempDir(), "one")
		var told []string
		e.Together, e.Failed = 1, func(r *Record) { told = append(told, r.ID+" "+r.Error) }
		s := must(t, one, e)
		if s.Done != 23 || s.Now != 23 || s.Total != 23 || s.Failed != 2 || s.Missing != 1 || s.Broken != 1 || len(told) != 2 ||
			!strings.Contains(told[0], "missing") || !strings.Contains(told[1], "broken") {
			t.Errorf("%+v, told %q", s, told)
		}
		want := read(t, itemsFile(one))
		if n := strings.Count(want, "\n"); n != 23 || strings.Contains(want, t.TempDir()) {
			t.Errorf("%d lines", n)
		}
		e.Together = 8
		eight := filepath.Join(t.TempDir(), "eight")
		must(t, eight, e)
		if read(t, itemsFile(eight)) != want {
			t.Error("batches of 8 come to something else than of 1")
		}
		var shards []string
		for i := range 4 {
			e.Settings.Shard, e.Together = fmt.Sprintf("%d/4", i+1), 3
			shards = append(shards, filepath.Join(t.TempDir(), "shard"))
			must(t, shards[i], e)
		}
		merged := filepath.Join(t.TempDir(), "merged")
		if err := Merge(merged, shards); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"items.jsonl", "settings.json", "pictures/000003-01.webp"} {
			if a, b := read(t, filepath.Join(one, name)), read(t, filepath.Join(merged, name)); a != b {
				t.Errorf("%s: merged shards come to something else: %.300s\n%.300s", name, a, b)
			}
		}
		if n := strings.Count(read(t, timesFile(merged)), "\n"); n != 23 {
			t.Errorf("%d timings", n)
		}
		m, err := pixels.Read(filepath.Join(one, "pictures/000003-01.webp"))
		if err != nil || m.W != 2 || m.Pix[0] != m.Pix[1] {
			t.Errorf("a kept drawing: %+v, %v", m, err)
		}
		n := 0
		if err := Records(one, func(r *Record) error {
			if r.Index != n || r.Seed != SeedOf(5, n) || r.Error == "" && (len(r.Candidates) != 3 || r.Evaluations() != 12 || r.Pixels == "") {
				t.Errorf("record %d: %+v", n, r)
			}
			for _, c := range r.Candidates {
				if len(c.Embedding) != 64 || c.Rank < 1 || c.Picture == "" || task == Image && c.Scores[CLIPText] == 0 ||
					task == Text && (c.Scores[CLIPImage] == 0 || c.Scores[CLIPDrawing] == 0) {
					t.Errorf("record %d: %+v", n, c)
				}
			}
			n++
			return nil
		}); err != nil || n != 23 {
			t.Errorf("%d records, %v", n, err)
		}
	}
}

// TestResume: wherever a run's file is cut, the same settings complete it to the same
// bytes, and only what was missing is done again.
func TestResume(t *testing.T) {
	e := experiment(world(t, 9), Image)
	dir := filepath.Join(t.TempDir(), "run")
	must(t, dir, e)
	want := read(t, itemsFile(dir))
	for n := 0; n <= len(want); n += 1 + len(want)/40 {
		write(t, itemsFile(dir), []byte(want[:n]))
		write(t, timesFile(dir), nil)
		s := must(t, dir, e)
		if read(t, itemsFile(dir)) != want {
			t.Fatalf("cut at byte %d: other bytes", n)
		}
		if whole := strings.Count(want[:n], "\n"); s.Now != 9-whole || s.Done != 9 {
			t.Errorf("cut at byte %d: %d items done now, of %d lines", n, s.Now, whole)
		}
	}
	// A line in the middle that is gone is done again, at the end.
	lines := strings.SplitAfter(want, "\n")
	write(t, itemsFile(dir), []byte(strings.Join(slices.Delete(slices.Clone(lines), 4, 5), "")))
	must(t, dir, e)
	if read(t, itemsFile(dir)) != strings.Join(append(slices.Delete(slices.Clone(lines[:9]), 4, 5), lines[4]), "") {
		t.Error("a line that was gone")
	}
	for _, c := range []struct{ items, want string }{
		{lines[0] + lines[0], "item " + id(t, lines[0]) + " is there twice"},
		{lines[0] + "{}x\n", "line 2"},
		{strings.Replace(lines[0], `"index":0`, `"index":99`, 1), "there are 9 items"},
	} {
		write(t, itemsFile(dir), []byte(c.items))
		if _, err := Run(background, dir, e); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %q", c.items, err, c.want)
		}
	}
}

func id(t *testing.T, line string) string {
	var r Record
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// TestCLIPScore: a run's CLIPScore and RefCLIPScore are those that captions alone are
// given.
func TestCLIPScore(t *testing.T) {
	e := experiment(world(t, 4), Image)
	dir := filepath.Join(t.TempDir(), "run")
	must(t, dir, e)
	n := 0
	err := Records(dir, func(r *Record) error {
		for _, c := range r.Candidates {
			item := score.Item{ID: r.ID, Caption: c.Text, References: r.References}
			clip, ref, err := judge.CLIPScores(background, toy{}, []score.Item{item}, []pixels.Picture{grey(10 + r.Index)})
			if err != nil {
				return err
			}
			if math.Abs(clip[0]-c.Scores[CLIPScore]) > 1e-6 || math.Abs(ref[0]-c.Scores[RefCLIPScore]) > 1e-6 {
				t.Errorf("item %s: %v, want %v and %v", r.ID, c.Scores, clip, ref)
			}
			n++
		}
		return nil
	})
	if err != nil || n != 6 {
		t.Errorf("%d captions, %v", n, err)
	}
}

// TestRetry: items without a result, or with a candidate that has none, are done again
// when that is asked for, the others not; merged shards are then in order and have the
// times of the last try.
func TestRetry(t *testing.T) {
	e := experiment(world(t, 9), Image)
	base := t.TempDir()
	whole := filepath.Join(base, "whole")
	must(t, whole, e)
	want := strings.SplitAfter(read(t, itemsFile(whole)), "\n")
	dir := filepath.Join(base, "run")
	must(t, dir, e)
	// Of the fifth item a candidate failed.
	lines := slices.Clone(want)
	lines[4] = strings.Replace(lines[4], `"seed":4000006,`, `"error":"no memory","seed":4000006,`, 1)
	write(t, itemsFile(dir), []byte(strings.Join(lines, "")))
	if s := must(t, dir, e); s.Now != 0 || s.Failed != 2 {
		t.Errorf("%+v", s)
	}
	e.Retry = true
	s := must(t, dir, e)
	if s.Again != 3 || s.Now != 3 || s.Done != 9 || s.Failed != 2 || s.Missing != 1 || s.Broken != 1 {
		t.Errorf("%+v", s)
	}
	kept := want[0] + strings.Join(want[3:4], "") + strings.Join(want[5:9], "")
	if read(t, itemsFile(dir)) != kept+want[1]+want[2]+want[4] {
		t.Errorf("%s", read(t, itemsFile(dir)))
	}
	// Its pictures are there now.
	images := filepath.Dir(e.Set.Name)
	for i := 1; i < 3; i++ {
		data := read(t, filepath.Join(images, fmt.Sprint(i+3, ".png")))
		write(t, filepath.Join(images, fmt.Sprint(i, ".png")), []byte(data))
	}
	if s := must(t, dir, e); s.Again != 2 || s.Now != 2 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	have := read(t, itemsFile(dir))
	if s := must(t, dir, e); s.Again != 0 || s.Now != 0 || read(t, itemsFile(dir)) != have {
		t.Errorf("nothing has failed: %+v", s)
	}
	clean := filepath.Join(base, "clean")
	must(t, clean, e)
	times := strings.SplitAfter(read(t, timesFile(dir)), "\n")
	merged := filepath.Join(base, "merged")
	if err := Merge(merged, []string{dir}); err != nil {
		t.Fatal(err)
	}
	if read(t, itemsFile(merged)) != read(t, itemsFile(clean)) {
		t.Error("a run that was tried again comes to something else")
	}
	if len(times) != 9+3+2+1 || strings.SplitAfter(read(t, timesFile(merged)), "\n")[1] != times[12] {
		t.Errorf("times of the last try: %q, merged %s", times, read(t, timesFile(merged)))
	}
}

// TestOtherSettings: each setting that changes records is refused by its name in a
// folder of others; where data and models lie is not.
func TestOtherSettings(t *testing.T) {
	set := world(t, 4)
	e := experiment(set, Image)
	e.Settings.Models = map[string]Model{"sd": {"a", "1"}}
	dir := filepath.Join(t.TempDir(), "run")
	must(t, dir, e)
	for want, change := range map[string]func(*Settings){
		"seed 6, there 5": func(s *Settings) { s.Seed = 6 }, "k 4, there 3": func(s *Settings) { s.K = 4 },
		"draw.steps 9, there 4":     func(s *Settings) { s.Draw.Steps = 9 },
		"models.sd.sha256 2":        func(s *Settings) { s.Models = map[string]Model{"sd": {"a", "2"}} },
		"models.vae.sha256 3":       func(s *Settings) { s.Models = map[string]Model{"sd": {"a", "1"}, "vae": {"v", "3"}} },
		"prune 0.5:0.5, there none": func(s *Settings) { s.Prune = "0.5:0.5" }, "shard 1/2": func(s *Settings) { s.Shard = "1/2" },
		"task text": func(s *Settings) { s.Task = Text }, "program x": func(s *Settings) { s.Program = "x" },
	} {
		other := e
		change(&other.Settings)
		_, err := Run(background, dir, other)
		var d *DifferentError
		if !errors.As(err, &d) || !strings.Contains(err.Error(), want) || len(d.What) != 1 {
			t.Errorf("%q: %v", want, err)
		}
	}
	e.Settings.Models, e.Settings.Machine = map[string]Model{"sd": {"elsewhere", "1"}}, "another"
	if s := must(t, dir, e); s.Now != 0 || s.Done != 4 {
		t.Errorf("%+v", s)
	}
	if e.Set = world(t, 5); e.Set != nil {
		if _, err := Run(background, dir, e); err == nil || !strings.Contains(err.Error(), "data.items 5, there 4") {
			t.Errorf("other data: %v", err)
		}
	}
	write(t, settingsFile(dir), []byte(`{"format": 9}`))
	if _, err := Run(background, dir, e); err == nil || !strings.Contains(err.Error(), "format 9") {
		t.Errorf("another format: %v", err)
	}
	if err := os.Remove(settingsFile(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(background, dir, e); err == nil || !strings.Contains(err.Error(), "without settings.json") {
		t.Errorf("no settings: %v", err)
	}
}

// TestTwoRuns: a second run of a folder under way is refused, and one that was
// stopped goes on.
func TestTwoRuns(t *testing.T) {
	e := experiment(world(t, 12), Image)
	dir := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(t.Context())
	e.Together = 2
	e.Progress = func(p Progress) {
		if _, err := Run(background, dir, experiment(e.Set, Image)); !errors.Is(err, output.ErrLocked) || !strings.Contains(err.Error(), dir) {
			t.Errorf("two runs: %v", err)
		}
		if p.Now == 4 {
			cancel()
		}
	}
	s, err := Run(engine.NewRun(ctx), dir, e)
	if !errors.Is(err, context.Canceled) || s.Done < 4 || s.Done > 6 {
		t.Fatalf("%+v, %v", s, err)
	}
	e.Progress = nil
	if s = must(t, dir, e); s.Now > 8 || s.Done != 12 {
		t.Errorf("%+v", s)
	}
	whole := filepath.Join(t.TempDir(), "whole")
	must(t, whole, e)
	if read(t, itemsFile(whole)) != read(t, itemsFile(dir)) {
		t.Error("a run that was stopped comes to something else")
	}
}

// TestMergeRefuses: shards that do not fit together are refused by name.
func TestMergeRefuses(t *testing.T) {
	e := experiment(world(t, 10), Image)
	base := t.TempDir()
	shard := func(name, s string, change func(*Experiment)) string {
		x := e
		x.Settings.Shard = s
		if change != nil {
			change(&x)
		}
		dir := filepath.Join(base, name)
		must(t, dir, x)
		return dir
	}
	a, b := shard("a", "1/2", nil), shard("b", "2/2", nil)
	seed := shard("seed", "2/2", func(x *Experiment) { x.Settings.Seed = 9 })
	three := shard("three", "2/3", nil)
	short := shard("short", "2/2", nil)
	lines := strings.SplitAfter(read(t, itemsFile(short)), "\n")
	write(t, itemsFile(short), []byte(strings.Join(lines[:3], "")+lines[3][:20]))
	twice := shard("twice", "2/2", nil)
	write(t, itemsFile(twice), []byte(read(t, itemsFile(twice))+lines[0]))
	foreign := shard("foreign", "2/2", nil)
	write(t, itemsFile(foreign), []byte(strings.SplitAfter(read(t, itemsFile(a)), "\n")[0]))
	out := filepath.Join(base, "out")
	for want, shards := range map[string][]string{
		"shard 2/2 is missing": {a}, "both shard 1/2": {a, a}, "seed 9, there 5": {a, seed}, "the others are of 2": {a, three},
		"2 of 5 items are missing": {a, short}, "is there twice": {a, twice}, "is not of shard 2/2": {a, foreign}, "no shards": {},
		"no folder of an evaluation": {a, base},
	} {
		if err := Merge(out, shards); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, have %v", want, err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: there is a folder", want)
		}
	}
	if err := Merge(out, []string{b, a}); err != nil {
		t.Error(err)
	}
	if err := Merge(out, []string{b, a}); err == nil {
		t.Error("merged into a folder that is there")
	}
}

func TestShardOf(t *testing.T) {
	for _, c := range []struct {
		flag  string
		count int
		env   string
		want  string
		found string
	}{
		{"", 0, "", "1/1", ""},
		{"2/3", 0, "SLURM_ARRAY_TASK_ID=9", "2/3", "--shard"},
		{"", 0, "SLURM_ARRAY_TASK_ID=2 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_COUNT=4", "3/4", "SLURM_ARRAY_TASK_ID"},
		{"", 0, "SLURM_ARRAY_TASK_ID=1 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_COUNT=4", "1/4", "SLURM_ARRAY_TASK_ID"},
		{"", 0, "SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_STEP=3", "3/4", "SLURM_ARRAY_TASK_ID"},
		{"", 4, "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_COUNT=1", "4/4", "SLURM_ARRAY_TASK_ID"},
		{"", 4, "JOB_COMPLETION_INDEX=0", "1/4", "JOB_COMPLETION_INDEX"},
		{"", 0, "JOB_COMPLETION_INDEX=0", "--shards", "error"},
		{"", 4, "JOB_COMPLETION_INDEX=4", "the last 3", "error"},
		{"", 4, "", "--shard i/4", "error"},
		{"1/2", 2, "", "one of them", "error"},
		{"3/2", 0, "", "want i/n", "error"},
		{"", 0, "SLURM_ARRAY_TASK_ID=x", "want a whole number", "error"},
		{"", 0, "SLURM_ARRAY_TASK_ID=1", "SLURM_ARRAY_TASK_MIN", "error"},
		{"", 0, "SLURM_ARRAY_TASK_ID=5 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_COUNT=2", "task 5", "error"},
	} {
		env := map[string]string{}
		for _, f := range strings.Fields(c.env) {
			k, v, _ := strings.Cut(f, "=")
			env[k] = v
		}
		s, found, err := ShardOf(c.flag, c.count, func(k string) string { return env[k] })
		if c.found == "error" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v: %v, %v", c, s, err)
			}
		} else if err != nil || s.String() != c.want || found != c.found {
			t.Errorf("%+v: %v, %q, %v", c, s, found, err)
		}
	}
}

// TestLinear: time grows with the items, memory does not.
func TestLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds")
	}
	run := func(n int) time.Duration {
		e := experiment(world(t, n), Image)
		start := time.Now()
		must(t, filepath.Join(t.TempDir(), "run"), e)
		return time.Since(start)
	}
	run(100)
	a, b := run(500), run(2500)
	if t.Logf("500 items %v, 2,500 items %v", a, b); b > 5*a*5/2 { // others use the machine, too
		t.Errorf("500 items take %v, 2,500 take %v", a, b)
	}
}

// lost is a painter whose device fails at the n-th text from now on.
type lost struct {
	toy
	n *int
}

func (l lost) Draw(run engine.Run, texts []string, seeds []uint64, each func(int, rerank.Drawing)) error {
	if *l.n -= len(texts); *l.n < 0 {
		return errors.New("device lost")
	}
	return l.toy.Draw(run, texts, seeds, each)
}

// TestBatchError: a device that fails ends a run, which goes on later; it does not
// leave a line of each item to come that says so. Items one by one, and those that are
// done again, have lines.
func TestBatchError(t *testing.T) {
	set := world(t, 23)
	e := experiment(set, Image)
	whole := filepath.Join(t.TempDir(), "whole")
	must(t, whole, e)
	n, dir := 30, filepath.Join(t.TempDir(), "run")
	e.Loop.Painter, e.Together = lost{n: &n}, 4
	s, err := Run(background, dir, e)
	var b *BatchError
	if !errors.As(err, &b) || b.Items != 4 || !strings.Contains(err.Error(), "device lost") || s.Done != 8 && s.Done != 12 {
		t.Fatalf("%+v, %v", s, err)
	}
	have := read(t, itemsFile(dir))
	if strings.Contains(have, "device lost") || strings.Count(have, "\n") != s.Done || !strings.HasPrefix(read(t, itemsFile(whole)), have) {
		t.Errorf("%s", have)
	}
	alone := e
	alone.Together = 1
	if s := must(t, dir, alone); s.Failed != 2+s.Now || s.Done != 23 {
		t.Errorf("one by one: %+v", s)
	}
	e.Retry = true
	if s := must(t, dir, e); s.Done != 23 || s.Failed < 10 || s.Failed != s.Again {
		t.Errorf("again: %+v", s)
	}
	e.Loop.Painter = toy{}
	if s := must(t, dir, e); s.Done != 23 || s.Failed != 2 {
		t.Errorf("the device is back: %+v", s)
	}
}
