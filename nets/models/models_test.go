package models_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/resample"
	"parley/nets/decode"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/weights"
	"parley/weights/mini"
)

func at(t *testing.T, path string) models.Source {
	src, err := models.At(path)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func far(a, b []float32) float64 {
	var d, n float64
	for i, w := range b {
		d += float64(a[i]-w) * float64(a[i]-w)
		n += float64(w) * float64(w)
	}
	return math.Sqrt(d / n)
}

func TestPipelineAsDiffusers(t *testing.T) {
	set, err := weights.Open("testdata/goldens.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	all, err := models.ReadTensors(set)
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for name := range all {
		key, ok := strings.CutSuffix(name, "latents")
		if !ok {
			continue
		}
		cases++
		p := strings.Split(key, "/")
		var o models.ForwardOptions
		o.Paint.Scheduler = p[0]
		fmt.Sscan(strings.Join(p[2:7], " "), &o.Paint.Steps, &o.Paint.Guidance, &o.Paint.Height, &o.Paint.Width, &o.Seed)
		if p[0] == "ddim" {
			continue // its configuration differs: below
		}
		check(t, key, all, o, "testdata/sd")
	}
	if cases != 14 {
		t.Errorf("%d cases", cases)
	}
}

func check(t *testing.T, key string, all models.Tensors, o models.ForwardOptions, dir string) {
	t.Helper()
	in := models.Tensors{"input_ids": all[key+"input_ids"], "negative_ids": all[key+"negative_ids"]}
	out, err := models.Forward(context.Background(), "pipeline", at(t, dir), host.New(2), in, o)
	if err != nil {
		t.Errorf("%s: %v", key, err)
		return
	}
	for _, what := range []string{"latents", "image"} {
		if got, want := out[what], all[key+what]; !got.Shape().Equal(want.Shape()) {
			t.Errorf("%s%s: %v, want %v", key, what, got.Shape(), want.Shape())
		} else if e := far(got.F32(), want.F32()); !(e <= 5e-5) {
			t.Errorf("%s%s: relative error %.2g", key, what, e)
		} else {
			t.Logf("%s%s: relative error %.2g", key, what, e)
		}
	}
}

// TestPipelineDDIM runs DDIM without clipping, as Stable Diffusion's own
// configuration says.
func TestPipelineDDIM(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/sd")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "scheduler/scheduler_config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data = []byte(strings.Replace(string(data), "{", `{"clip_sample": false,`, 1))
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := weights.Open("testdata/goldens.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	all, err := models.ReadTensors(set)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for name := range all {
		if key, ok := strings.CutSuffix(name, "latents"); ok && strings.HasPrefix(key, "ddim/") {
			n++
			p := strings.Split(key, "/")
			var o models.ForwardOptions
			o.Paint.Scheduler = p[0]
			fmt.Sscan(strings.Join(p[2:7], " "), &o.Paint.Steps, &o.Paint.Guidance, &o.Paint.Height, &o.Paint.Width, &o.Seed)
			check(t, key, all, o, dir)
		}
	}
	if n != 2 {
		t.Errorf("%d cases", n)
	}
}

// TestForwardMini runs every net by name; nets/goldens_test.go has the values.
func TestForwardMini(t *testing.T) {
	size := 64
	x := make([]float32, 3*size*size)
	for i := range x {
		x[i] = float32(math.Sin(float64(i) / 50))
	}
	picture := engine.FromF32(x, 1, 3, size, size)
	ids := engine.FromI32([]int32{220, 5, 7}, 1, 3)
	sd := models.Tensors{"sample": engine.FromF32(x[:4*16*16], 1, 4, 16, 16), "timestep": engine.FromI32([]int32{500}, 1), "encoder_hidden_states": nil}
	for _, c := range []struct {
		net, model string
		in         models.Tensors
		want       map[string]string
		err        string
	}{
		{"clip-image", "clip", models.Tensors{"pixel_values": picture}, map[string]string{"image_embeds": "[1 128]"}, ""},
		{"clip-text", "clip", models.Tensors{"input_ids": ids}, map[string]string{"text_embeds": "[1 128]"}, ""},
		{"blip-vision", "blip", models.Tensors{"pixel_values": picture}, map[string]string{"last_hidden_state": "[1 65 192]"}, ""},
		{"blip-generate", "blip", models.Tensors{"pixel_values": picture, "input_ids": ids}, map[string]string{"sequences": ""}, ""},
		{"vae-encode", "sd", models.Tensors{"sample": picture}, map[string]string{"latent_mean": "[1 4 16 16]"}, ""},
		{"vae-decode", "sd", models.Tensors{"latents": sd["sample"]}, map[string]string{"sample": "[1 3 64 64]"}, ""},
		{"clip-text", "sd", models.Tensors{"input_ids": ids}, map[string]string{"last_hidden_state": ""}, ""},
		{"clip-image", "clip", models.Tensors{}, nil, "pixel_values"},
		{"clip-image", "clip", models.Tensors{"pixel_values": ids}, nil, "4 dimensions"},
		{"unet", "clip", sd, nil, "clip"},
		{"nothing", "clip", sd, nil, "choose one of"},
	} {
		out, err := models.Forward(context.Background(), c.net, models.Embedded(c.model), host.New(2), c.in,
			models.ForwardOptions{Generate: decode.Options{MaxLength: 9}, Taps: regexp.MustCompile(`layers\.0$`)})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s of %s: error %v, want one with %q", c.net, c.model, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s of %s: %v", c.net, c.model, err)
			continue
		}
		for name, shape := range c.want {
			if o := out[name]; o == nil || shape != "" && o.Shape().String() != shape {
				t.Errorf("%s: no %s of %s in %v", c.net, name, shape, out)
			}
		}
	}
}

// TestCaptions: k captions are one batch over one encoding, and the
// first ones do not depend on how many follow.
func TestCaptions(t *testing.T) {
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	var pictures []*pixels.Image
	for _, s := range scenes[:3] {
		m, err := pixels.Decode(strings.NewReader(string(s.PNG)))
		if err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, m)
	}
	c, err := models.OpenCaptioner(models.Embedded("blip"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	many, err := c.Captions(context.Background(), pictures, 5, 9)
	if err != nil {
		t.Fatal(err)
	}
	few, err := c.Captions(context.Background(), pictures[1:2], 2, 9)
	if err != nil {
		t.Fatal(err)
	}
	if few[0][0].Text != many[1][0].Text || few[0][1].Text != many[1][1].Text {
		t.Errorf("two captions %v, the first of five %v", few[0], many[1])
	}
	c.CaptionOptions = models.Beam()
	beams, err := c.Captions(context.Background(), pictures, 4, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, list := range beams {
		seen := map[string]bool{}
		for j, x := range list {
			if seen[x.Text] || j > 0 && x.Score > list[j-1].Score {
				t.Errorf("picture %d: beams %v", i, list)
			}
			seen[x.Text] = true
		}
	}
}

func TestTiledAsDiffusers(t *testing.T) {
	set, err := weights.Open("testdata/tiled.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	all, err := models.ReadTensors(set)
	if err != nil {
		t.Fatal(err)
	}
	p, err := models.OpenPainter(at(t, "testdata/sd"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	s := engine.NewStream(context.Background(), host.New(2))
	x, err := p.VAE.DecodeTiled(s, s.Put(resample.ToNHWC(all["latents"])), 8)
	if err != nil {
		t.Fatal(err)
	}
	got, want := resample.ToNCHW(x), all["sample"]
	if !got.Shape().Equal(want.Shape()) {
		t.Fatalf("%v, want %v", got.Shape(), want.Shape())
	}
	if e := far(got.F32(), want.F32()); !(e <= 1e-5) {
		t.Errorf("relative error %.2g", e)
	}
	if _, err := p.VAE.DecodeTiled(s, x, 2); err == nil {
		t.Error("tiles of 2 latents were taken")
	}
}
