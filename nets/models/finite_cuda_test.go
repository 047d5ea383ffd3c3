//go:build cuda

package models_test

import (
	"image/color"
	"path/filepath"
	"testing"

	"parley/engine"
	"parley/engine/cuda"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
)

// TestNotFiniteCUDA: what the CPU says of spoiled weights, a GPU says too, where
// steps are graphs and activations f16.
func TestNotFiniteCUDA(t *testing.T) {
	gpu, err := cuda.Open(cuda.Options{Emulated: true})
	if err != nil {
		t.Fatal(err)
	}
	defer gpu.Close()
	run := engine.NewRun(t.Context())
	for _, c := range []struct{ file, tensor, net, layer string }{
		{"unet", "mid_block.resnets.0.norm1.weight", "the UNet", "unet.mid_block.resnets.0.norm1"},
		{"vae", "decoder.conv_in.bias", "the VAE", "vae.decoder.conv_in"},
	} {
		file := filepath.Join(c.file, "diffusion_pytorch_model.safetensors")
		p, err := models.OpenStableDiffusion(spoiled(t, "sd", file, nan(c.tensor)), gpu)
		if err != nil {
			t.Fatal(err)
		}
		o := p.Defaults
		o.Steps, o.Width, o.Height = 3, 16, 16
		told := false
		if err := p.Draw(run, []string{"a cat"}, []uint64{1}, o, func(_ int, d rerank.Drawing) {
			told = true
			wantLayer(t, d.Err, c.net, c.layer)
		}); err != nil || !told {
			t.Errorf("%s: %v", c.tensor, err)
		}
		p.Close()
	}
	picture := []pixels.Picture{pixels.New(64, 64, color.RGBA{90, 170, 230, 255})}
	b, err := models.OpenBLIP(spoiled(t, "blip", "model.safetensors", nan("vision_model.encoder.layers.0.mlp.fc1.bias")), gpu)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []int{1, 2} {
		for _, o := range []models.CaptionOptions{models.Nucleus(), models.Beam()} {
			all, err := b.Caption(run, picture, k, []uint64{0}, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range all[0] {
				wantLayer(t, got.Err, "BLIP", "vision_model.encoder.layers.0")
			}
		}
	}
	b.Close()
	m, err := models.OpenCLIP(spoiled(t, "clip", "model.safetensors", nan("vision_model.post_layernorm.weight")), gpu)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err = m.EmbedImages(run, picture, models.EmbedOptions{})
		wantLayer(t, err, "CLIP", "vision_model.post_layernorm")
	}
	m.Close()
	if have := gpu.Usage(); have.Blocks != 0 {
		t.Errorf("%+v is held at the end", have)
	}
}
