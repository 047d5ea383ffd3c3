package models_test

import (
	"encoding/json"
	"errors"
	"image/color"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/mini"
)

// folderOf is a miniature model in a folder, without some of its files.
func folderOf(t *testing.T, name string, without ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	sub, err := fs.Sub(mini.FS(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, sub); err != nil {
		t.Fatal(err)
	}
	for _, w := range without {
		if err := os.RemoveAll(filepath.Join(dir, w)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// set changes keys of a configuration.
func set(t *testing.T, path string, keys map[string]any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := map[string]any{}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	for k, v := range keys {
		c[k] = v
	}
	if data, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPartsOfDifferentModels: parts that do not fit together are told by their sizes.
func TestPartsOfDifferentModels(t *testing.T) {
	dir := folderOf(t, "sd", "text_encoder", "tokenizer")
	if err := os.CopyFS(filepath.Join(dir, "text_encoder"), os.DirFS("testdata/sd/text_encoder")); err != nil {
		t.Fatal(err)
	}
	if _, err := models.OpenStableDiffusion(at(t, dir), host.New(1)); err == nil ||
		!strings.Contains(err.Error(), "the unet attends to 128 channels, the text encoder has 24") {
		t.Errorf("another text encoder: %v", err)
	}
	vae := at(t, "../testdata/vae_deep")
	if _, err := models.OpenStableDiffusionWith(models.Embedded("sd"), host.New(1), models.Extras{VAE: &vae}); err == nil ||
		!strings.Contains(err.Error(), "the unet takes latents of 4 channels, the vae's have 3") {
		t.Errorf("another autoencoder: %v", err)
	}
}

// TestVocabularyIsMissing: a folder without its own words is not read with the
// published ones, whose ids a small model does not have.
func TestVocabularyIsMissing(t *testing.T) {
	const want = "its own vocabulary is missing"
	if _, err := models.OpenBLIP(at(t, folderOf(t, "blip", "vocab.txt", "tokenizer_config.json")), host.New(1)); err == nil ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("BLIP: %v", err)
	}
	c, err := models.OpenCLIP(at(t, folderOf(t, "clip", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")),
		host.New(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(true, false); err != nil {
		t.Errorf("CLIP's pictures: %v", err)
	}
	if err := c.Ready(false, true); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("CLIP's texts: %v", err)
	}
}

// TestOtherKindsOfCLIP: a model of the same tensors and another meaning is refused by
// its name.
func TestOtherKindsOfCLIP(t *testing.T) {
	dir := folderOf(t, "clip")
	for kind, refused := range map[string]bool{"clip": false, "chinese_clip": true, "altclip": true} {
		set(t, filepath.Join(dir, "config.json"), map[string]any{"model_type": kind})
		if _, err := models.OpenCLIP(at(t, dir), host.New(1)); (err != nil) != refused || refused && !strings.Contains(err.Error(), kind) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestFileAmongOthers: what lies beside a single file is another model's, but for
// open_clip's configuration.
func TestFileAmongOthers(t *testing.T) {
	data, err := os.ReadFile("../../weights/convert/testdata/openai_clip.pt")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "clip.pt")
	beside := filepath.Join(filepath.Dir(file), "preprocessor_config.json")
	if err := errors.Join(os.WriteFile(file, data, 0o600), os.WriteFile(beside, []byte(`{"do_resize": false}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	c, err := models.OpenCLIP(at(t, file), host.New(1))
	if err == nil {
		err = c.Ready(true, false)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestHalfOfTheMemory: on the CPU drawings take half of what is free, since the
// system's cache of the files lives there too.
func TestHalfOfTheMemory(t *testing.T) {
	all := openSD(t)
	o := all.Defaults
	o.Steps, o.Guidance, o.Width, o.Height = 1, 1, 512, 512
	o.Tiling = "off"
	plan, err := all.Pipeline.Plan(o.Options)
	if err != nil {
		t.Fatal(err)
	}
	need, err := plan.Need(host.New(1), 1, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	p, err := models.OpenStableDiffusion(models.Embedded("sd"), small{host.New(1), 2*need - 2})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var m *engine.MemoryError
	if err := p.Draw(engine.NewRun(t.Context()), []string{"a cat"}, []uint64{1}, o, func(int, rerank.Drawing) {}); !errors.As(err, &m) ||
		m.Free != need-1 || m.Need != need {
		t.Errorf("of %d bytes: %v", need, err)
	}
}

// TestNegativeThatNobodyReads: without guidance the negative prompt changes nothing,
// however many chunks it has.
func TestNegativeThatNobodyReads(t *testing.T) {
	p := openSD(t)
	o := p.Defaults
	o.Chunks, o.Width, o.Height, o.Steps, o.Guidance = true, 16, 16, 1, 1
	var pictures [2]string
	for i, negative := range []string{"", strings.Repeat("red apple ", 40)} {
		o.Negative = negative
		if err := p.Draw(engine.NewRun(t.Context()), []string{"a cat"}, []uint64{1}, o, func(_ int, d rerank.Drawing) {
			m, err := d.Picture.Host()
			if err != nil {
				t.Fatal(err)
			}
			pictures[i] = string(m.Pix)
		}); err != nil {
			t.Fatal(err)
		}
	}
	if pictures[0] != pictures[1] {
		t.Error("a negative prompt changes a drawing without guidance")
	}
}

// TestSizeOf: a drawing keeps its picture's shape.
func TestSizeOf(t *testing.T) {
	p := openSD(t)
	m := pixels.New(96, 48, color.RGBA{A: 255})
	for _, c := range [][4]int{{0, 0, 88, 44}, {32, 0, 32, 16}, {0, 32, 64, 32}, {40, 40, 40, 40}} {
		if w, h := p.SizeOf(m, c[0], c[1]); w != c[2] || h != c[3] {
			t.Errorf("%v: %d x %d", c, w, h)
		}
	}
	if w, h := p.SizeOf(pixels.New(20, 13, color.RGBA{}), 0, 0); w != 20 || h != 12 { // not enlarged
		t.Errorf("of a small picture: %d x %d", w, h)
	}
}
