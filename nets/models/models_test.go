package models_test

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/layout"
	"parley/nets/decode"
	"parley/nets/diffusion"
	"parley/nets/forward"
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
	testPipelines(t, host.New(2), func(diffusion.Options) bool { return true })
}

// TestPipelinesFast is the same with the CPU's faster methods.
func TestPipelinesFast(t *testing.T) {
	testPipelines(t, host.NewWith(host.Options{Workers: 2, Precision: host.F32}), func(diffusion.Options) bool { return true })
}

// goldens are tensors of a file of testdata.
func goldens(t *testing.T, name string) forward.Tensors {
	t.Helper()
	set, err := weights.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	all, err := forward.ReadTensors(set)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// testPipelines compares the runs whose options are chosen with diffusers'.
func testPipelines(t *testing.T, dev engine.Device, choose func(diffusion.Options) bool) {
	all := goldens(t, "goldens.safetensors")
	bound := map[engine.DType]float64{engine.F32: 5e-5, engine.F16: 5e-3}[dev.Float()]
	if h, ok := host.On(dev); ok && h.Precision() != host.Exact {
		bound = 5e-4
	}
	cases := 0
	for name := range all {
		key, ok := strings.CutSuffix(name, "latents")
		if !ok {
			continue
		}
		cases++
		p := strings.Split(key, "/")
		var o forward.Options
		o.Draw.Scheduler = p[0]
		fmt.Sscan(strings.Join(p[2:7], " "), &o.Draw.Steps, &o.Draw.Guidance, &o.Draw.Height, &o.Draw.Width, &o.Seed)
		if !choose(o.Draw) {
			continue
		}
		in := forward.Tensors{"input_ids": all[key+"input_ids"], "negative_ids": all[key+"negative_ids"]}
		out, err := forward.Once(engine.NewRun(context.Background()), "pipeline", at(t, "testdata/sd"), dev, in, o)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		for _, what := range []string{"latents", "image"} {
			if got, want := out[what], all[key+what]; !got.Shape().Equal(want.Shape()) {
				t.Errorf("%s%s: %v, want %v", key, what, got.Shape(), want.Shape())
			} else if e := far(got.F32(), want.F32()); !(e <= bound) {
				t.Errorf("%s%s: relative error %.2g, want at most %g", key, what, e, bound)
			} else {
				t.Logf("%s%s: relative error %.2g", key, what, e)
			}
		}
	}
	if cases != 14 {
		t.Errorf("%d cases", cases)
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
	ids, padded := engine.FromI32([]int32{220, 5, 7}, 1, 3), engine.FromI32([]int32{220, 5, 0}, 1, 3)
	sd := forward.Tensors{"sample": engine.FromF32(x[:4*16*16], 1, 4, 16, 16), "timestep": engine.FromI32([]int32{500}, 1),
		"encoder_hidden_states": nil}
	for _, c := range []struct {
		net, model string
		in         forward.Tensors
		want       map[string]string
		err        string
	}{
		{"clip-image", "clip", forward.Tensors{"pixel_values": picture}, map[string]string{"image_embeds": "[1 128]"}, ""},
		{"clip-text", "clip", forward.Tensors{"input_ids": ids}, map[string]string{"text_embeds": "[1 128]"}, ""},
		{"blip-vision", "blip", forward.Tensors{"pixel_values": picture}, map[string]string{"last_hidden_state": "[1 65 192]"}, ""},
		{"blip-generate", "blip", forward.Tensors{"pixel_values": picture, "input_ids": ids}, map[string]string{"sequences": ""}, ""},
		{"vae-encode", "sd", forward.Tensors{"sample": picture}, map[string]string{"latent_mean": "[1 4 16 16]"}, ""},
		{"vae-decode", "sd", forward.Tensors{"latents": sd["sample"]}, map[string]string{"sample": "[1 3 64 64]"}, ""},
		{"clip-text", "sd", forward.Tensors{"input_ids": ids}, map[string]string{"last_hidden_state": ""}, ""},
		{"clip-image", "clip", forward.Tensors{}, nil, "pixel_values"},
		{"clip-image", "clip", forward.Tensors{"pixel_values": ids}, nil, "4 dimensions"},
		{"unet", "clip", sd, nil, "clip"},
		{"nothing", "clip", sd, nil, "choose one of"},
		{"blip-generate", "blip", forward.Tensors{"pixel_values": picture, "input_ids": padded}, nil, "padding"},
	} {
		out, err := forward.Once(engine.NewRun(context.Background()), c.net, models.Embedded(c.model), host.New(2), c.in,
			forward.Options{Generate: decode.Options{MaxLength: 9}, Taps: regexp.MustCompile(`layers\.0$`)})
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
	var pictures []pixels.Picture
	for _, s := range scenes[:3] {
		m, err := pixels.Decode(strings.NewReader(string(s.PNG)))
		if err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, m)
	}
	c, err := models.OpenBLIP(models.Embedded("blip"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	run := engine.NewRun(t.Context())
	many, err := c.Caption(run, pictures, 5, []uint64{9, 9, 9}, models.Nucleus())
	if err != nil {
		t.Fatal(err)
	}
	few, err := c.Caption(run, pictures[1:2], 2, []uint64{9}, models.Nucleus())
	if err != nil {
		t.Fatal(err)
	}
	if few[0][0].Text != many[1][0].Text || few[0][1].Text != many[1][1].Text {
		t.Errorf("two captions %v, the first of five %v", few[0], many[1])
	}
	// A picture's captions are those of its seed, whatever its neighbours' seeds are.
	others, err := c.Caption(run, pictures, 2, []uint64{1, 9, 7}, models.Nucleus())
	if err != nil {
		t.Fatal(err)
	}
	if others[1][0].Text != few[0][0].Text || others[1][1].Text != few[0][1].Text || others[2][0].Text == many[2][0].Text &&
		others[2][1].Text == many[2][1].Text {
		t.Errorf("with seeds 1, 9 and 7: %v, with 9: %v", others, many)
	}
	beams, err := c.Caption(run, pictures, 4, make([]uint64, 3), models.Beam())
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

func TestTiledAsDiffusers(t *testing.T) { testTiled(t, host.New(2)) }

func testTiled(t *testing.T, dev engine.Device) {
	all := goldens(t, "tiled.safetensors")
	p, err := models.OpenStableDiffusion(at(t, "testdata/sd"), dev)
	if err != nil {
		t.Fatal(err)
	}
	s := engine.NewStream(context.Background(), dev)
	defer s.Close()
	x, err := p.VAE.DecodeTiled(s, s.Put(layout.ToNHWC(all["latents"])), 8)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Get(x)
	if err != nil {
		t.Fatal(err)
	}
	got, want := layout.ToNCHW(h), all["sample"]
	if !got.Shape().Equal(want.Shape()) {
		t.Fatalf("%v, want %v", got.Shape(), want.Shape())
	}
	e := far(got.F32(), want.F32())
	t.Logf("relative error %.2g", e)
	if bound := map[engine.DType]float64{engine.F32: 1e-5, engine.F16: 5e-3}[dev.Float()]; !(e <= bound) {
		t.Errorf("relative error %.2g, want at most %g", e, bound)
	}
	if _, err := p.VAE.DecodeTiled(s, x, 2); err == nil {
		t.Error("tiles of 2 latents were taken")
	}
}

// TestFromAPicture draws from a picture, as diffusers' pipeline with the same
// seed: the picture's latents are drawn, too.
func TestFromAPicture(t *testing.T) {
	set, err := weights.Open("testdata/img2img.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	all, err := forward.ReadTensors(set)
	if err != nil {
		t.Fatal(err)
	}
	p, err := models.OpenStableDiffusion(at(t, "testdata/sd"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	chw := all["picture"]
	h, w := chw.Dim(2), chw.Dim(3)
	m := &pixels.Image{W: w, H: h, Pix: make([]uint8, 3*h*w)}
	for i := range m.Pix {
		m.Pix[i] = uint8(chw.I32()[i%3*h*w+i/3])
	}
	rows := func(name string) [][]int32 { return [][]int32{all[name].I32()} }
	for _, kind := range []string{"ddim", "euler", "dpmpp2m"} {
		plan, err := p.Pipeline.Plan(diffusion.Options{Width: w, Height: h, Steps: 9, Guidance: 4, Strength: 0.7, Scheduler: kind})
		if err != nil {
			t.Fatal(err)
		}
		run := engine.NewRun(t.Context()).On(host.New(2))
		init, err := plan.EncodeImage(run, m)
		if err != nil {
			t.Fatal(err)
		}
		s := run.Stream()
		z, _, err := plan.Latents(s, diffusion.Batch{IDs: rows("input_ids"), Negative: rows("negative_ids"), Noise: diffusion.OneGenerator(9),
			Init: init})
		if err != nil {
			t.Fatal(err)
		}
		have, err := s.Get(z)
		if err != nil {
			t.Fatal(err)
		}
		e := far(layout.ToNCHW(have).F32(), all[kind].F32())
		if !(e <= 5e-5) {
			t.Errorf("%s: relative error %.3g", kind, e)
		}
		t.Logf("%s: %.2g", kind, e)
	}
}
