package main

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/nets/pixels"
	"parley/weights"
	"parley/weights/mini"
	"parley/weights/safetensors"
)

// picture is the bytes of the only drawing in a folder.
func picture(t *testing.T, dir string) *pixels.Image {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.png"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v %v", found, err)
	}
	m, err := pixels.Read(found[0]) // the file tells its prompt, too
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestFlagsOfPrompts: each flag changes the picture or the ids, or is refused with the
// choices that there are.
func TestFlagsOfPrompts(t *testing.T) {
	width := 128
	vector := make([]byte, 4*width)
	for i := range width {
		binary.LittleEndian.PutUint32(vector[4*i:], math.Float32bits(float32(math.Sin(float64(i)))))
	}
	learned := filepath.Join(t.TempDir(), "learned.safetensors")
	if err := safetensors.WriteFile(learned, []safetensors.Tensor{{Name: "emb_params", DType: "F32", Shape: []int{1, width},
		Data: vector}}); err != nil {
		t.Fatal(err)
	}
	draw := func(text string, flags ...string) ([]byte, string) {
		t.Helper()
		dir := t.TempDir()
		args := append([]string{"draw", "--steps", "1", "--width", "16", "--height", "16", "--out", dir, text}, flags...)
		code, _, errs := call(t, args...)
		if code != 0 {
			t.Fatalf("%q: code %d: %s", args, code, errs)
		}
		return picture(t, dir).Pix, errs
	}
	long := strings.Repeat("red apple ", 20)
	plain, told := draw(long + "at night")
	if !strings.Contains(told, "at night") || !strings.Contains(told, "--long-prompt chunks") {
		t.Errorf("a prompt that is cut is told as %q", told)
	}
	if other, _ := draw(long + "on the grass"); !bytes.Equal(plain, other) {
		t.Error("what is cut changes the picture")
	}
	if chunks, told := draw(long+"at night", "--long-prompt", "chunks"); bytes.Equal(plain, chunks) || told != "" {
		t.Errorf("--long-prompt chunks changes nothing, or tells %q", told)
	}
	cat, _ := draw("a zyx")
	for _, flags := range [][]string{{"--clip-skip", "1"}, {"--embedding", "zyx=" + learned}} {
		if other, _ := draw("a zyx", flags...); bytes.Equal(cat, other) {
			t.Errorf("%v changes nothing", flags)
		}
	}
	quotes, _ := draw("a cat&amp;dog")
	if other, _ := draw("a cat&amp;dog", "--clean", "openai"); bytes.Equal(quotes, other) {
		t.Error("--clean changes nothing")
	}
	code, out, _ := call(t, "draw", "--json", "--steps", "1", "--width", "16", "--height", "16", "--out", t.TempDir(), long+"at night")
	if got := decode[[]struct {
		Text, Image, Lost string
		Seed              uint64
	}](t, out); code != 0 || len(got) != 1 || !strings.HasSuffix(got[0].Lost, "at night") {
		t.Errorf("code %d, %+v", code, got)
	}
	for flags, want := range map[string]string{
		"--long-prompt weave": "cut, chunks", "--clean soap": "openai", "--clip-skip -1": "--clip-skip", "--vae-tiling maybe": "auto, on, off",
		"--embedding =a.pt": "name before =", "--embedding none.pt": "none.pt", "--vae none": "--vae",
	} {
		code, _, errs := call(t, append([]string{"draw", "--out", t.TempDir(), "a cat"}, strings.Fields(flags)...)...)
		if code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d, %q", flags, code, errs)
		}
	}
	for _, c := range []struct{ how, want string }{{"", "amp"}, {"openai", "&</w>"}} {
		args := []string{"tokenize", "--clip", "a cat &amp; a dog"}
		if c.how != "" {
			args = append(args, "--clean", c.how)
		}
		if _, out, _ := call(t, args...); strings.Contains(strings.SplitN(out, "\n", 2)[1], "amp") != (c.how == "") {
			t.Errorf("--clean %s: %s", c.how, out)
		}
	}
}

// TestFromKeepsTheShape: without a size a drawing that starts from a picture has its
// shape, which is told; with one, that one.
func TestFromKeepsTheShape(t *testing.T) {
	dir := t.TempDir()
	if code, _, errs := call(t, "draw", "--steps", "1", "--width", "96", "--height", "48", "--out", dir, "a cat"); code != 0 {
		t.Fatal(errs)
	}
	from := filepath.Join(dir, "00-00.png")
	for _, c := range []struct {
		flags string
		w, h  int
		told  bool
	}{{"", 88, 44, true}, {"--width 32", 32, 16, true}, {"--height 32", 64, 32, true}, {"--width 40 --height 40", 40, 40, false}} {
		dir := t.TempDir()
		args := append([]string{"draw", "--steps", "2", "--from", from, "--out", dir, "a cat"}, strings.Fields(c.flags)...)
		code, _, errs := call(t, args...)
		if code != 0 {
			t.Fatal(errs)
		}
		m := picture(t, dir)
		if m.W != c.w || m.H != c.h || strings.Contains(errs, "drawn as") != c.told {
			t.Errorf("%q: %d x %d, %q", c.flags, m.W, m.H, errs)
		}
	}
}

// TestNotFiniteIsTold: with weights that hold a NaN every command says so, keeps its
// JSON whole and ends with 1.
func TestNotFiniteIsTold(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, mini.FS()); err != nil {
		t.Fatal(err)
	}
	for file, tensor := range map[string]string{
		"blip/model.safetensors":                      "vision_model.encoder.layers.0.mlp.fc1.bias",
		"clip/model.safetensors":                      "vision_model.encoder.layers.0.mlp.fc1.bias",
		"sd/unet/diffusion_pytorch_model.safetensors": "conv_in.bias",
	} {
		spoil(t, filepath.Join(dir, file), tensor, -1)
	}
	png := scene(t, 3)
	for _, args := range [][]string{
		{"caption", png}, {"caption", "-k", "2", png}, {"embed", png, "--text", "a cat"}, {"score", png, "--text", "a cat"},
		{"draw", "--steps", "1", "--out", t.TempDir(), "a cat"},
	} {
		code, out, errs := call(t, append(args, "--json", "--models", dir)...)
		if code != 1 || !strings.Contains(errs, "not finite") || strings.Contains(errs, "fault") || strings.Contains(out, "-1000000000") ||
			strings.Contains(out, "e+09") {
			t.Errorf("%v: code %d, %s, %s", args, code, out, errs)
		}
		v := decode[any](t, out)
		if list, ok := v.([]any); ok && len(list) != len(args)-map[string]int{"caption": 1, "embed": 2,
			"draw": 5}[args[0]]-map[bool]int{true: 2}[args[1] == "-k"] {
			t.Errorf("%v: %d entries in %s", args, len(list), out)
		}
	}
}

// spoil puts NaN in a tensor of a file, or in one of its rows.
func spoil(t *testing.T, path, tensor string, row int) {
	t.Helper()
	set, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var entries []weights.Entry
	for _, e := range set.Entries() {
		e.Data = bytes.Clone(e.Data)
		if e.Name == tensor {
			part := e.Data
			if width := len(part) / e.Shape[0]; row >= 0 {
				part = part[row*width : (row+1)*width]
			}
			for i := range part {
				part[i] = 0xff // a NaN of any format
			}
		}
		entries = append(entries, e)
	}
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	if err := safetensors.WriteFile(path, entries); err != nil {
		t.Fatal(err)
	}
}

// TestOneTextNotFinite: of several texts the one whose numbers are none is told, and the
// others have theirs.
func TestOneTextNotFinite(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, mini.FS()); err != nil {
		t.Fatal(err)
	}
	_, out, _ := call(t, "tokenize", "--clip", "--models", dir, "--json", "dog")
	ids := decode[[]struct {
		Text   string
		IDs    []int32
		Tokens []string
	}](t, out)[0].IDs
	spoil(t, filepath.Join(dir, "clip/model.safetensors"), "text_model.embeddings.token_embedding.weight", int(ids[1]))
	png := scene(t, 3)
	texts := strings.Fields("--json --text cat --text dog --text tree --models " + dir)
	code, out, errs := call(t, append([]string{"score", png}, texts...)...)
	scores := decode[struct {
		Files, Texts []string
		Scores       [][]*float64
		Error        string
	}](t, out)
	if code != 1 || !strings.Contains(errs, `"dog"`) || !strings.Contains(scores.Error, "not finite") || len(scores.Scores) != 1 ||
		scores.Scores[0][0] == nil || scores.Scores[0][1] != nil || scores.Scores[0][2] == nil {
		t.Errorf("score: code %d, %s, %s", code, out, errs)
	}
	code, out, errs = call(t, append([]string{"embed"}, texts...)...)
	list := decode[[]struct {
		Text, Error string
		Embedding   []float64
	}](t, out)
	if code != 1 || !strings.Contains(errs, `"dog"`) || len(list) != 3 {
		t.Fatalf("embed: code %d, %s, %s", code, out, errs)
	}
	for i, e := range list {
		if bad := i == 1; bad != (e.Error != "") || bad == (len(e.Embedding) > 0) {
			t.Errorf("%s: %d numbers, %q", e.Text, len(e.Embedding), e.Error)
		}
	}
}
