package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/cmd/parley/terminal"
	"parley/kernels/simd"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/nets/rerank/results"
	"parley/weights/mini"
	"parley/weights/packed"
	"parley/weights/safetensors"
)

// call runs the program.
func call(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(context.Background(), args, &o, &e)
	return code, o.String(), e.String()
}

// scene writes a held-out picture to a file.
func scene(t *testing.T, i int) string {
	t.Helper()
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), scenes[i].File)
	if err := os.WriteFile(path, scenes[i].PNG, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// plain has the miniature models in files that are mapped, as a hub's are.
func plain(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, mini.FS()); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		name, ok := strings.CutSuffix(path, packed.Extension)
		if err != nil || !ok {
			return err
		}
		data, err1 := os.ReadFile(path)
		data, err2 := packed.Unpack(data)
		return errors.Join(err1, err2, os.WriteFile(name, data, 0o644), os.Remove(path))
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func decode[T any](t *testing.T, out string) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return v
}

func TestExitCodes(t *testing.T) {
	png, dir := scene(t, 0), t.TempDir()
	list := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		args string
		code int
		want string // in what it says
	}{
		{"", 0, "Usage"}, {"help", 0, "reconstruct"}, {"reconstruct image --help", 0, "Examples"},
		{"nothing", 2, "unknown command"},
		{"caption", 2, "have \"parley caption\", want \"parley caption FILE…\"\nSee: parley caption --help\n"},
		{"caption --what x", 2, "--what"}, {"caption -k 0 x.png", 2, "-k 0"},
		{"reconstruct", 2, "image or text"}, {"reconstruct image", 2, "want \"parley reconstruct image FILE…\""},
		{"embed", 2, "--text"}, {"score " + png, 2, "--text"},
		{"tokenize x", 2, "--clip or --bert"},
		{"convert a", 2, "have \"parley convert a\", want"},
		{"convert a b --dtype f8", 2, "f8"}, {"forward unet", 2, "--"}, {"draw x --device gpu", 2, "gpu"},
		{"forward what --model . --in x --out y", 2, "unet"},
		{"caption missing.png", 1, "missing.png"}, {"caption main_test.go", 1, "not a picture"},
		{"caption " + png + " --blip nowhere", 1, "nowhere"},
		{"caption " + png + " --blip main_test.go", 1, "main_test.go"}, {"draw x --scheduler heun", 2, "choose one of"},
		{"draw x --steps 0", 2, "--steps 0"}, {"draw x --guidance nan", 2, "--guidance NaN"}, {"draw x --guidance inf", 2, "--guidance"},
		{"draw x --width 0", 2, "--width 0: want 8 to 8192"}, {"draw x --prediction noise", 2, "--prediction noise"},
		{"convert a b --prediction v", 2, "--prediction v"}, {"draw x --strength nan", 2, "--strength"},
		{"caption " + png + " --temperature nan", 2, "--temperature"}, {"caption " + png + " --top-p 0", 2, "--top-p 0"},
		{"caption " + png + " --beam -1", 2, "--beam -1"}, {"reconstruct text x --repetition-penalty 0", 2, "--repetition-penalty"},
		{"demo --steps -1", 2, "--steps -1"},
		{"tokenize --bert --length 5 x", 2, "--length"}, {"score " + png + " missing.png --text x", 1, "missing.png"},
		{"embed missing.JPG --text x", 1, "missing.JPG"},
		{"draw x --steps 1 --out main_test.go", 1, "main_test.go"}, {"draw x --width 63 --out " + t.TempDir(), 1, "multiples of"},
		{"convert main_test.go " + t.TempDir() + "/x", 1, "main_test.go"}, {"caption " + png + " --max-length 3", 1, "max length 3"},
		{"draw --from-file " + list("empty", "\n \r\n"), 1, "empty: there is no text in it"},
		{"draw --from-file " + list("latin", "a cat\ncaf\xe9\n"), 1, "latin: line 2: not UTF-8"},
		{"draw --steps 1 --json --from-file " + list("marked", "\uFEFFa cat\r\n") + " --out " + t.TempDir(), 0, `"text": "a cat"`},
		{"doctor", 0, "kernels"}, {"caption " + png + " --precision int8", 2, "choose one of exact, f32, fast"},
		{"caption " + png + " --device tpu", 2, "want auto, cpu, cuda:N or ptx"},
		{"caption " + png + " --device cpu --precision exact", 0, "chair"}, {"tokenize --bert cat", 0, "cat"},
	} {
		code, out, errs := call(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("parley %s: code %d, want %d and %q; said %s%s", c.args, code, c.code, c.want, out, errs)
		}
	}
}

// TestInstructions: a set of instructions that there is not is refused, or told.
func TestInstructions(t *testing.T) {
	png := scene(t, 0)
	for want, code := range map[string]int{"": 0, simd.Active().String(): 0, "sse": 2} {
		t.Setenv("PARLEY_SIMD", want)
		if have, _, errs := call(t, "caption", png); have != code || code == 0 && errs != "" ||
			code != 0 && !strings.Contains(errs, "PARLEY_SIMD=sse") {
			t.Errorf("%q: code %d, said %s", want, have, errs)
		}
	}
	if simd.Active() == simd.AMX {
		return
	}
	t.Setenv("PARLEY_SIMD", "amx")
	if code, _, errs := call(t, "caption", png); code != 0 ||
		!strings.Contains(errs, "PARLEY_SIMD=amx: this machine has "+simd.Active().String()) {
		t.Errorf("code %d, said %s", code, errs)
	}
}

func TestJSON(t *testing.T) {
	png := scene(t, 7)
	dir := t.TempDir()
	_, out, _ := call(t, "tokenize", "--json", "--clip", "a photo of a cat")
	tokens := decode[[]struct {
		Text   string
		IDs    []int32
		Tokens []string
	}](t, out)
	if got, _ := json.Marshal(tokens[0].IDs); string(got) != "[49406,320,1125,539,320,2368,49407]" {
		t.Errorf("CLIP's ids %s", got)
	}
	_, out, _ = call(t, "tokenize", "--json", "--bert", "a picture of")
	if got := decode[[]struct {
		Text   string
		IDs    []int32
		Tokens []string
	}](t, out); got[0].IDs[0] != 101 || got[0].Tokens[1] != "a" || len(got[0].IDs) != 5 {
		t.Errorf("BERT gives %v", got)
	}
	_, out, _ = call(t, "embed", "--json", png, "--text", "a cat", "--text", "a dog")
	if got := decode[[]struct {
		File, Text string
		Embedding  []float64
	}](t, out); len(got) != 3 || got[0].File != png || got[2].Text != "a dog" || len(got[1].Embedding) != 128 {
		t.Errorf("embed gives %v", got)
	}
	_, out, _ = call(t, "score", "--json", png, png, "--text", "a cat", "--text", "a dog")
	if got := decode[struct {
		Files, Texts []string
		Scores       [][]float64
	}](t, out); len(got.Scores) != 2 || got.Scores[0][0] != got.Scores[1][0] || got.Scores[0][0] == got.Scores[0][1] {
		t.Errorf("score gives %v", got)
	}
	one, other := scene(t, 3), scene(t, 12)
	_, out, _ = call(t, "score", "--json", other, one, "--text", "a cat")
	pair := decode[struct {
		Files, Texts []string
		Scores       [][]float64
	}](t, out)
	_, out, _ = call(t, "score", "--json", one, "--text", "a cat")
	if got := decode[struct {
		Files, Texts []string
		Scores       [][]float64
	}](t, out); len(pair.Files) != 2 || pair.Files[0] != other || pair.Files[1] != one || pair.Scores[1][0] != got.Scores[0][0] ||
		pair.Scores[0][0] == pair.Scores[1][0] {
		t.Errorf("score gives %v of both, %v of one", pair, got)
	}
	_, out, _ = call(t, "caption", "--json", "-k", "3", png)
	if got := decode[[]struct {
		File     string
		Captions []struct {
			Text  string
			Score float64
		}
	}](t, out); len(got) != 1 || len(got[0].Captions) != 3 || got[0].Captions[0].Score >= 0 {
		t.Errorf("caption gives %v", got)
	}
	_, out, _ = call(t, "draw", "--json", "--steps", "2", "--out", dir, "-k", "2", "a cat")
	drawn := decode[[]struct {
		Text, Image string
		Seed        uint64
	}](t, out)
	if len(drawn) != 2 || drawn[1].Seed != 1 {
		t.Fatalf("draw gives %v", drawn)
	}
	if m, err := pixels.Read(drawn[0].Image); err != nil || m.W != 64 {
		t.Errorf("the drawing: %v", err)
	}
	type result []struct {
		Source     string
		Seed       uint64
		Selected   int
		Candidates []struct {
			Text, Image, Error string
			Score, Seconds     float64
			Timing             struct{ Caption, Draw, Judge float64 }
			Rank               int
			Seed               uint64
		}
	}
	for i, args := range [][]string{{"image", png, scene(t, 3)}, {"text", "a cat on the grass", "two dogs at night"}} {
		dir := filepath.Join(dir, string(rune('a'+i)))
		code, out, errs := call(t, append([]string{"reconstruct", "--json", "--steps", "2", "-k", "3", "--out", dir}, args...)...)
		got := decode[result](t, out)
		if code != 0 || len(got) != 2 || len(got[0].Candidates) != 3 || got[0].Candidates[got[0].Selected].Rank != 1 ||
			got[0].Source != args[1] || got[0].Seed != 0 || got[1].Seed != 1_000_000 {
			t.Errorf("reconstruct %v: code %d %s, %+v", args, code, errs, got)
		}
		file, err := os.ReadFile(filepath.Join(dir, "result.json"))
		if err != nil || string(file) != out {
			t.Errorf("result.json is not what was printed: %v", err)
		}
		if m, err := pixels.Read(filepath.Join(dir, "sheet.png")); err != nil || m.W < 4*192 {
			t.Errorf("the contact sheet: %v", err)
		}
	}
	_, out, _ = call(t, "doctor", "--json")
	if !json.Valid([]byte(out)) {
		t.Errorf("doctor gives %s", out)
	}
}

// TestConvertAndUse writes a checkpoint anew, and it gives the same.
func TestConvertAndUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "clip")
	src := "../../weights/mini/models/clip"
	for _, to := range []string{dir, dir + "2"} {
		if code, _, errs := call(t, "convert", src, to, "--dtype", "f16"); code != 0 {
			t.Fatal(errs)
		}
	}
	a, _ := os.ReadFile(dir + "/model.safetensors")
	b, _ := os.ReadFile(dir + "2/model.safetensors")
	if len(a) == 0 || !bytes.Equal(a, b) {
		t.Error("the same source gives other bytes")
	}
	if code, _, errs := call(t, "convert", src, dir); code != 1 || !strings.Contains(errs, dir+" exists already: name a new folder") {
		t.Errorf("a folder was overwritten: %s", errs)
	}
	_, one, _ := call(t, "embed", "--json", "--text", "two cats")
	_, two, _ := call(t, "embed", "--json", "--text", "two cats", "--clip", dir)
	if one != two {
		t.Error("the converted model gives another embedding")
	}
}

// TestConvertVariant: the files of a variant are the ones that are converted.
func TestConvertVariant(t *testing.T) {
	dir := t.TempDir()
	for name, dtype := range map[string]string{"model.safetensors": "f32", "model.fp16.safetensors": "f16"} {
		to := filepath.Join(t.TempDir(), "clip")
		if code, _, errs := call(t, "convert", "../../weights/mini/models/clip", to, "--dtype", dtype); code != 0 {
			t.Fatal(errs)
		}
		if err := os.CopyFS(filepath.Join(dir, dtype), os.DirFS(to)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, dtype, "model.safetensors"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, dtype, "config.json"), filepath.Join(dir, "config.json")); err != nil {
			t.Fatal(err)
		}
	}
	for flags, want := range map[string]string{"": "F32", "--variant fp16": "F16"} {
		to := filepath.Join(t.TempDir(), "clip")
		if code, _, errs := call(t, append([]string{"convert", dir, to}, strings.Fields(flags)...)...); code != 0 {
			t.Fatal(errs)
		}
		f, err := safetensors.Map(filepath.Join(to, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		if have := f.Tensors[0].DType; have != want {
			t.Errorf("%q: %s, want %s", flags, have, want)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestManyTexts: texts beyond those that are embedded at once have their own.
func TestManyTexts(t *testing.T) {
	type entries []struct {
		Text      string
		Embedding []float64
	}
	args := []string{"embed", "--json"}
	for i := range 66 {
		args = append(args, "--text", fmt.Sprint(i, " cats"))
	}
	_, out, _ := call(t, args...)
	many := decode[entries](t, out)
	_, out, _ = call(t, "embed", "--json", "--text", "65 cats")
	if one := decode[entries](t, out); len(many) != 66 || len(one) != 1 || many[65].Text != "65 cats" ||
		!slices.Equal(many[65].Embedding, one[0].Embedding) {
		t.Errorf("%d entries, the last %.80v", len(many), many[len(many)-1:])
	}
}

// TestLostTokens: what --length cuts is in the JSON.
func TestLostTokens(t *testing.T) {
	_, out, _ := call(t, "tokenize", "--clip", "--json", "--length", "4", "a cat on the grass")
	if got := decode[[]struct {
		Text, Lost string
		IDs        []int32
		Tokens     []string
	}](t, out); len(got) != 1 || got[0].Lost != "on the grass" {
		t.Errorf("%+v", got)
	}
}

// TestNothingIsMade: a model that cannot be opened leaves no folder of results behind
// that the next run would refuse.
func TestNothingIsMade(t *testing.T) {
	dir := t.TempDir()
	for _, model := range []string{"--blip", "--sd", "--clip"} {
		code, _, errs := call(t, "reconstruct", "text", "x", "--out", dir, model, "nowhere")
		if code != 1 || !strings.Contains(errs, "nowhere") {
			t.Errorf("%s: code %d, %s", model, code, errs)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
			t.Errorf("%s: %v, %v", model, list, err)
		}
	}
}

// TestSingleFile runs the parts of a single file, whose configurations are
// inferred, and of the folder that it is converted to, and they give the same.
func TestSingleFile(t *testing.T) {
	dir := t.TempDir()
	latents := make([]byte, 4*4*4*6)
	for i := range latents {
		latents[i] = byte(i % 60)
	}
	in := filepath.Join(dir, "in.safetensors")
	if err := safetensors.WriteFile(in, []safetensors.Tensor{{Name: "latents", DType: "F32", Shape: []int{1, 4, 4, 6},
		Data: latents}}); err != nil {
		t.Fatal(err)
	}
	for _, src := range []string{"ldm_sd1.safetensors", "ldm_sd2.ckpt", "old_vae.safetensors"} {
		file, folder := filepath.Join("../../weights/convert/testdata", src), filepath.Join(dir, src)
		if code, _, errs := call(t, "convert", file, folder); code != 0 {
			t.Fatal(errs)
		}
		var outs [2][]byte
		for i, model := range []string{file, folder} {
			out := filepath.Join(dir, "out.safetensors")
			if code, _, errs := call(t, "forward", "vae-decode", "--model", model, "--in", in, "--out", out); code != 0 {
				t.Fatalf("%s: %s", model, errs)
			}
			outs[i], _ = os.ReadFile(out)
		}
		if len(outs[0]) == 0 || !bytes.Equal(outs[0], outs[1]) {
			t.Errorf("%s: the folder gives another picture", src)
		}
	}
}

// TestBadFile: a file that is no picture is told in its place, and the others
// are served.
func TestBadFile(t *testing.T) {
	png := scene(t, 7)
	type entries []struct {
		File, Error string
		Captions    []any
		Embedding   []float64
	}
	for _, args := range [][]string{{"caption"}, {"embed"}} {
		code, out, errs := call(t, append(args, "--json", png, "main_test.go", png)...)
		got := decode[entries](t, out)
		if code != 1 || !strings.Contains(errs, "main_test.go: not a picture") || len(got) != 3 {
			t.Fatalf("%v: code %d, %s, %v", args, code, errs, got)
		}
		for i, e := range got {
			if bad := i == 1; bad != (e.Error != "") || bad == (len(e.Captions)+len(e.Embedding) > 0) {
				t.Errorf("%v: entry %d is %v", args, i, e)
			}
		}
	}
	dir := t.TempDir()
	code, out, errs := call(t, "reconstruct", "image", "--json", "-k", "2", "--steps", "2", "--out", dir, "main_test.go", png)
	if got := decode[[]struct {
		Source, Error string
		Seed          uint64
		Selected      int
		Candidates    []any
	}](t, out); code != 1 || len(got) != 2 || got[0].Source != "main_test.go" || got[0].Selected != -1 || got[0].Error == "" ||
		got[1].Source != png || len(got[1].Candidates) != 2 || !strings.Contains(errs, "not a picture") {
		t.Errorf("reconstruct: code %d, %s, %v", code, errs, got)
	}
}

// TestStop: an interrupted run ends at once and leaves what is finished.
func TestStop(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	// A short run tells how long loading takes here, and with the race detector.
	start := time.Now()
	if code, _, errs := call(t, "reconstruct", "text", "--steps", "1", "-k", "1", "--out", t.TempDir(), "a cat"); code != 0 {
		t.Fatal(errs)
	}
	time.AfterFunc(time.Since(start)+500*time.Millisecond, cancel)
	var out, errs bytes.Buffer
	args := []string{"reconstruct", "text", "--steps", "400", "-k", "8", "--out", dir, "a cat"}
	code := run(ctx, args, &out, &errs)
	if code != 1 || !strings.Contains(errs.String(), "stopped") {
		t.Errorf("code %d: %s", code, errs.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "result.json")); err != nil {
		t.Error(err)
	}
	out.Reset() // ctx is done: nothing is drawn, and JSON says so
	if code := run(ctx, []string{"draw", "--json", "--out", dir, "a cat"}, &out, &errs); code != 1 || out.String() != "[]\n" {
		t.Errorf("draw: code %d, %q", code, out.String())
	}
}

// TestControlCharacters: a text cannot steer the terminal nor break the table.
func TestControlCharacters(t *testing.T) {
	const text = "a\x1b[2Jcat\n\ta\u202edog\x9b"
	const quoted = `"a\x1b[2Jcat\n\ta\u202edog\x9b"`
	var out bytes.Buffer
	err := results.Table(&out, &rerank.Result{Source: rerank.Source{Name: text}, Candidates: []rerank.Candidate{
		{Text: text, Err: errors.New(text)}, {Text: text}, {Text: text, Picture: &pixels.Image{}, Rank: 1}, {Text: "naïve café"},
	}}, terminal.Plain)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), quoted); n != 5 || strings.ContainsAny(out.String(), "\x1b\u009b\u202e\t") ||
		!strings.Contains(out.String(), "  naïve café\n") {
		t.Errorf("%d texts of 5 are quoted in %q", n, out.String())
	}
	if lines := strings.Count(out.String(), "\n"); lines != 7 {
		t.Errorf("%d lines, want 7: %s", lines, out.String())
	}
	_, told, _ := call(t, "embed", "--text", text)
	if !strings.HasPrefix(told, quoted) {
		t.Errorf("embed prints %q", told)
	}
	_, told, _ = call(t, "score", scene(t, 0), "--text", text)
	if !strings.Contains(told, quoted) {
		t.Errorf("score prints %q", told)
	}
}
