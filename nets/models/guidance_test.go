package models_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/rerank"
	"parley/weights"
	"parley/weights/mini"
	"parley/weights/safetensors"
)

// consistency is the miniature Stable Diffusion with a UNet that takes the guidance scale.
func consistency(t *testing.T) *models.StableDiffusion {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, mini.FS()); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "sd")
	file, config := filepath.Join(dir, "unet", "diffusion_pytorch_model.safetensors"), filepath.Join(dir, "unet", "config.json")
	set, err := weights.Open(file + ".zst")
	if err != nil {
		t.Fatal(err)
	}
	const width, channels = 16, 64
	w := make([]float32, channels*width)
	for i := range w {
		w[i] = float32(i%7-3) / 20
	}
	entries := append(slices.Clone(set.Entries()), weights.Entry{Name: "time_embedding.cond_proj.weight", DType: "F32",
		Shape: engine.Shape{channels, width}, Data: engine.FromF32(w, channels, width).Memory().Host})
	c, err := weights.ReadConfig(os.DirFS(dir), "unet/config.json")
	if err != nil {
		t.Fatal(err)
	}
	c["time_cond_proj_dim"] = json.Number("16")
	data, err := c.MarshalJSON()
	if err := errors.Join(err, safetensors.WriteFile(file, entries), set.Close(), os.Remove(file+".zst"), os.Chmod(config, 0o644),
		os.WriteFile(config, data, 0o644)); err != nil {
		t.Fatal(err)
	}
	p, err := models.OpenStableDiffusion(at(t, dir), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// TestGuidanceIsEmbedded: a UNet that takes the guidance scale draws otherwise with
// another one, 1 and 0 too, in one run of the net a step; and a negative prompt, which
// nothing would look at, is refused.
func TestGuidanceIsEmbedded(t *testing.T) {
	p := consistency(t)
	if d := p.Defaults; d.Steps != 4 || d.Guidance != 8.5 {
		t.Errorf("defaults: %d steps, guidance %v", d.Steps, d.Guidance)
	}
	o := p.Defaults
	o.Width, o.Height, o.Steps = 64, 64, 2
	seen := map[string]float64{}
	for _, o.Guidance = range []float64{0, 1, 8.5} {
		for _, o.Chunks = range []bool{false, true} {
			if err := p.Draw(engine.NewRun(t.Context()), []string{"a cat"}, []uint64{1}, o, func(_ int, d rerank.Drawing) {
				m, err := d.Picture.Host()
				if err != nil {
					t.Fatal(err)
				}
				if g, ok := seen[string(m.Pix)]; ok != o.Chunks || g != o.Guidance && ok {
					t.Errorf("guidance %v, in chunks %v: the picture of guidance %v (%v)", o.Guidance, o.Chunks, g, ok)
				}
				seen[string(m.Pix)] = o.Guidance
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	plan, err := p.Pipeline.Plan(o.Options)
	if err != nil || plan.Guided() || plan.Shape() != (diffusion.Shape{W: 64, H: 64}) {
		t.Errorf("a plan with guidance %v: %+v, %v", o.Guidance, plan.Shape(), err)
	}
	o.Negative = "a dog"
	nothing := func(int, rerank.Drawing) { t.Error("drawn") }
	_, err = p.Request(engine.NewRun(t.Context()), "a cat", o)
	for _, err := range []error{err, p.Draw(engine.NewRun(t.Context()), []string{"a cat"}, []uint64{1}, o, nothing)} {
		if err == nil || !strings.Contains(err.Error(), "a negative prompt has no effect") {
			t.Errorf("a negative prompt: %v", err)
		}
	}
}
