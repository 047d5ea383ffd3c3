package models_test

import (
	"errors"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/decode"
	"parley/nets/finite"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights"
	"parley/weights/mini"
	"parley/weights/safetensors"
)

// spoiled is a miniature model on disk whose tensors are changed.
func spoiled(t *testing.T, model, file string, change func(name string, values []float32)) models.Source {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, mini.FS()); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, model)
	found, err := filepath.Glob(filepath.Join(dir, file) + "*")
	if err != nil || len(found) != 1 {
		t.Fatalf("%v: %v %v", file, found, err)
	}
	set, err := weights.Open(found[0])
	if err != nil {
		t.Fatal(err)
	}
	var entries []weights.Entry
	for _, e := range set.Entries() {
		v, err := weights.F32(e)
		if err != nil {
			t.Fatal(err)
		}
		change(e.Name, v)
		entries = append(entries, weights.Entry{Name: e.Name, DType: "F32", Shape: e.Shape, Data: engine.FromF32(v, e.Shape...).Memory().Host})
	}
	if err := errors.Join(set.Close(), os.Remove(found[0]), safetensors.WriteFile(filepath.Join(dir, file), entries)); err != nil {
		t.Fatal(err)
	}
	return at(t, dir)
}

// nan spoils one number of a tensor.
func nan(tensor string) func(string, []float32) {
	return func(name string, v []float32) {
		if strings.HasSuffix(name, tensor) {
			v[len(v)/2] = float32(math.NaN())
		}
	}
}

// wantLayer holds an error against a net and the layer that spoils it.
func wantLayer(t *testing.T, err error, net, layer string) {
	t.Helper()
	var e *finite.Error
	if !errors.As(err, &e) || e.Net != net || !strings.Contains(e.Layer, layer) {
		t.Errorf("%v: want an error of %s's layer %s", err, net, layer)
	}
}

// TestNotFiniteDrawings: one NaN among the weights is an error of each drawing that
// names the net and the layer.
func TestNotFiniteDrawings(t *testing.T) {
	for _, c := range []struct{ part, tensor, net, layer string }{
		{"unet", "down_blocks.1.resnets.0.conv2.bias", "the UNet", "unet.down_blocks.1.resnets.0.conv2"},
		{"unet", "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", "the UNet",
			"mid_block.attentions.0.transformer_blocks.0.attn2"},
		{"vae", "decoder.mid_block.resnets.1.norm1.weight", "the VAE", "vae.decoder.mid_block.resnets.1.norm1"},
		{"text_encoder", "layers.1.mlp.fc2.bias", "the text encoder", "text_encoder.text_model.encoder.layers.1"},
	} {
		file := "diffusion_pytorch_model.safetensors"
		if c.part == "text_encoder" {
			file = "model.safetensors"
		}
		p, err := models.OpenStableDiffusion(spoiled(t, "sd", filepath.Join(c.part, file), nan(c.tensor)), host.New(2))
		if err != nil {
			t.Fatal(err)
		}
		o := p.Defaults
		o.Steps, o.Width, o.Height = 2, 16, 16
		told := 0
		err = p.Draw(engine.NewRun(t.Context()), []string{"a cat", "a dog"}, []uint64{1, 2}, o, func(i int, d rerank.Drawing) {
			told++
			wantLayer(t, d.Err, c.net, c.layer)
		})
		if err != nil || told != 2 {
			t.Errorf("%s: %d drawings, %v", c.tensor, told, err)
		}
		p.Close()
	}
}

// TestNotFinitePromptAlone: a word whose embedding is spoiled is an error of the
// drawings and embeddings that have it, and of no other.
func TestNotFinitePromptAlone(t *testing.T) {
	tokens, err := models.OpenStableDiffusion(models.Embedded("sd"), host.New(1))
	if err != nil {
		t.Fatal(err)
	}
	cat := int(tokens.Encode([]string{"cat"})[0][1])
	word := func(name string, v []float32) {
		if strings.HasSuffix(name, "token_embedding.weight") {
			v[cat*tokens.Text.Width] = float32(math.Inf(1))
		}
	}
	p, err := models.OpenStableDiffusion(spoiled(t, "sd", "text_encoder/model.safetensors", word), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	o := p.Defaults
	o.Steps, o.Width, o.Height = 2, 16, 16
	texts := []string{"two red apples", "a cat", "a dog"}
	if err := p.Draw(engine.NewRun(t.Context()), texts, []uint64{1, 2, 3}, o, func(i int, d rerank.Drawing) {
		if (d.Err != nil) != (i == 1) {
			t.Errorf("%q: %v", texts[i], d.Err)
		}
	}); err != nil {
		t.Error(err)
	}
}

// TestNotFiniteCaptions: a spoiled BLIP gives an error for each caption, however
// many are wanted, and none of them a score.
func TestNotFiniteCaptions(t *testing.T) {
	for _, c := range []struct{ tensor, layer string }{
		{"vision_model.encoder.layers.0.mlp.fc1.bias", "vision_model.encoder.layers.0"},
		{"text_decoder.bert.encoder.layer.0.output.LayerNorm.bias", "layer.0"},
	} {
		b, err := models.OpenBLIP(spoiled(t, "blip", "model.safetensors", nan(c.tensor)), host.New(2))
		if err != nil {
			t.Fatal(err)
		}
		picture := []pixels.Picture{pixels.New(64, 64, color.RGBA{90, 170, 230, 255}), pixels.New(20, 64, color.RGBA{9, 170, 230, 255})}
		for _, o := range []models.CaptionOptions{models.Nucleus(), models.Beam(), {Prompt: "a", Options: decode.Options{MaxLength: 9}}} {
			all, err := b.Caption(engine.NewRun(t.Context()), picture, 2, []uint64{0, 1}, o)
			if err != nil || len(all) != 2 {
				t.Fatalf("%v, %d pictures", err, len(all))
			}
			for _, list := range all {
				if len(list) != 2 {
					t.Errorf("%d captions", len(list))
				}
				for _, got := range list {
					wantLayer(t, got.Err, "BLIP", c.layer)
				}
			}
		}
		b.Close()
	}
}

// TestNotFiniteEmbeddings: the pictures or texts that are not finite are told, and
// the others' embeddings are what they are without them.
func TestNotFiniteEmbeddings(t *testing.T) {
	whole, err := models.OpenCLIP(models.Embedded("clip"), host.New(1))
	if err != nil {
		t.Fatal(err)
	}
	run := engine.NewRun(t.Context())
	want, err := whole.EmbedTexts(run, []string{"a dog"}, models.EmbedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := models.OpenStableDiffusion(models.Embedded("sd"), host.New(1))
	if err != nil {
		t.Fatal(err)
	}
	cat := int(tokens.Encode([]string{"cat"})[0][1])
	text, err := whole.Text()
	if err != nil {
		t.Fatal(err)
	}
	width := text.Width
	c, err := models.OpenCLIP(spoiled(t, "clip", "model.safetensors", func(name string, v []float32) {
		if strings.HasSuffix(name, "token_embedding.weight") {
			v[cat*width] = float32(math.NaN())
		}
		nan("vision_model.encoder.layers.1.mlp.fc1.weight")(name, v)
	}), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	have, err := c.EmbedTexts(run, []string{"a cat", "a dog"}, models.EmbedOptions{})
	var some finite.Items
	if !errors.As(err, &some) || len(some) != 1 || some[0] == nil {
		t.Fatalf("%v: want an error of text 0", err)
	}
	wantLayer(t, some[0], "CLIP", "text_model")
	d := want.Shape()[1]
	if e := far(have.Data().([]float32)[d:], want.Data().([]float32)); !(e < 1e-5) {
		t.Errorf("the other text's embedding is %.2g off", e)
	}
	picture := []pixels.Picture{pixels.New(64, 64, color.RGBA{90, 170, 230, 255})}
	for _, v := range have.Data().([]float32)[:d] {
		if v != 0 {
			t.Fatalf("the embedding that is none holds %v", v)
		}
	}
	_, err = c.EmbedImages(run, picture, models.EmbedOptions{})
	wantLayer(t, err, "CLIP", "vision_model.encoder.layers.1")
	_, err = c.ScoreImages(run, want, picture, models.EmbedOptions{})
	wantLayer(t, err, "CLIP", "vision_model.encoder.layers.1")
}
