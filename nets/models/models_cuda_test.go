//go:build cuda

package models_test

import (
	"bytes"
	"context"
	"errors"
	"image/color"
	"math"
	"os"
	"testing"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/optest"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/nets/schedule"
	"parley/weights/mini"
)

// full asks for what takes the interpreter minutes; hardware does it anyway.
func full() bool { return os.Getenv("PARLEY_FULL") != "" || os.Getenv("PARLEY_DEVICE") != "" }

// each runs a test with f16 and with f32.
func each(t *testing.T, f func(t *testing.T, dev *cuda.Device)) {
	optest.Emulated(t, func(t *testing.T, d engine.Device) {
		dev, _ := cuda.On(d)
		f(t, dev)
	})
}

// TestPipelineCUDA takes diffusers' short runs of each scheduler.
func TestPipelineCUDA(t *testing.T) {
	each(t, func(t *testing.T, dev *cuda.Device) {
		testPipelines(t, dev, func(o diffusion.Options) bool { return o.Steps < 10 || full() })
	})
}

func TestTiledCUDA(t *testing.T) {
	each(t, func(t *testing.T, dev *cuda.Device) { testTiled(t, dev) })
}

// drawing is a run of the tiny Stable Diffusion.
type drawing struct {
	kind     string
	steps    int
	guidance float64
	from     bool // of a picture, at a strength of 0.7
	eager    bool // nothing is recorded
}

type nobody struct{}

func (nobody) Observe(engine.Span) {}

// sketch is the tiny Stable Diffusion, for drawings of a few pixels.
func sketch(t testing.TB, dev engine.Device) *models.StableDiffusion {
	t.Helper()
	src, err := models.At("testdata/sd")
	if err != nil {
		t.Fatal(err)
	}
	p, err := models.OpenStableDiffusion(src, dev)
	if err != nil {
		t.Fatal(err)
	}
	p.Defaults.Width, p.Defaults.Height = 8, 8
	return p
}

// draw returns two drawings' latents and pictures. step is told of each step.
func (d drawing) draw(ctx context.Context, p *models.StableDiffusion, dev engine.Device, step func()) (latents, pictures []float32,
	err error) {
	o := p.Defaults.Options
	o.Scheduler, o.Steps, o.Guidance = d.kind, d.steps, d.guidance
	if d.from {
		o.Strength = 0.7
	}
	plan, err := p.Pipeline.Plan(o)
	if err != nil {
		return nil, nil, err
	}
	s := engine.NewStream(ctx, dev)
	defer s.Close()
	if d.eager {
		s.Watch(nil, nobody{})
	}
	h, w := o.Height/p.VAE.Factor, o.Width/p.VAE.Factor
	var init *diffusion.Moments
	if d.from {
		x := make([]float32, h*w*p.VAE.Latents)
		for i := range x {
			x[i] = float32(math.Sin(float64(i)))
		}
		mean := engine.FromF32(x, 1, h, w, p.VAE.Latents)
		init = &diffusion.Moments{Mean: mean, Deviation: engine.FromF32(make([]float32, len(x)), mean.Shape()...)}
	}
	ids := [][]int32{{1, 5, 7, 2}, {1, 9, 2, 2}}
	z, _, err := plan.Latents(s, diffusion.Batch{IDs: ids, Negative: [][]int32{{1, 2, 2, 2}, {1, 2, 2, 2}},
		Noise: diffusion.OneGenerator(3), Init: init, Progress: step})
	if err != nil {
		return nil, nil, err
	}
	a, err := s.Get(z)
	if err != nil {
		return nil, nil, err
	}
	latents = append(latents, a.F32()...)
	x, err := p.Pipeline.Decode(s, z)
	if err != nil {
		return nil, nil, err
	}
	b, err := s.Get(x)
	if err != nil {
		return nil, nil, err
	}
	return latents, b.F32(), nil
}

// TestGraphsCUDA: what a recorded step of the UNet gives is to the bit what its
// operations give one by one, and nothing of it is left.
func TestGraphsCUDA(t *testing.T) {
	each(t, func(t *testing.T, dev *cuda.Device) {
		p := sketch(t, dev)
		loaded := dev.Usage()
		for _, kind := range []string{"pndm", "euler-a"} { // of the two kinds that there are: with a past, and with noise
			d := drawing{kind: kind, steps: 4, guidance: 3}
			kept := 0
			z, x, err := d.draw(t.Context(), p, dev, func() { kept = max(kept, dev.Usage().Graphs) })
			if err != nil {
				t.Fatal(err)
			}
			if kept == 0 {
				t.Errorf("%s: no step was recorded", kind)
			}
			d.eager = true
			kept = 0
			zs, xs, err := d.draw(t.Context(), p, dev, func() { kept = max(kept, dev.Usage().Graphs) })
			if err != nil {
				t.Fatal(err)
			}
			if kept != 0 {
				t.Errorf("%s: a step was recorded while spans are", kind)
			}
			if !same(z, zs) || !same(x, xs) {
				t.Errorf("%s: recorded steps give latents %v, the same steps one by one %v", kind, z[:4], zs[:4])
			}
		}
		if have := dev.Usage(); have.Blocks != loaded.Blocks || have.Bytes != loaded.Bytes || have.Graphs != 0 {
			t.Errorf("%+v is held at the end, %+v before", have, loaded)
		}
	})
}

// TestJoiningCUDA: drawings that join others in the middle of recorded steps are what they
// are alone, and nothing is left of them. In f32 that is to the bit; in f16 products are
// split by how many rows they have, as they are in batches that begin together.
func TestJoiningCUDA(t *testing.T) {
	each(t, func(t *testing.T, dev *cuda.Device) {
		p := sketch(t, dev)
		o := p.Defaults.Options
		o.Scheduler, o.Steps, o.Guidance = "pndm", 4, 3
		plan, err := p.Pipeline.Plan(o)
		if err != nil {
			t.Fatal(err)
		}
		loaded := dev.Usage()
		s := engine.NewStream(t.Context(), dev)
		draw := func(at ...int) (out [][]float32) { // drawing i joins after step at[i]; below 0 it does not
			d := p.Pipeline.Begin(s)
			defer d.Free()
			out = make([][]float32, len(at))
			for now := 0; now < 4 || d.Samples() > 0; now++ {
				for i, after := range at {
					if after != now {
						continue
					}
					if err := d.Join(plan, diffusion.Batch{IDs: [][]int32{{1, int32(5 + i), 7, 2}}, Negative: [][]int32{{1, 2, 2, 2}},
						Noise: diffusion.Generators([]uint64{uint64(i)}), Done: func(z *engine.Tensor, _ []int) error {
							host, err := s.Get(z)
							s.Free(z)
							if err == nil {
								out[i] = host.F32()
							}
							return err
						}}); err != nil {
						t.Fatal(err)
					}
				}
				if err := d.Advance(); err != nil {
					t.Fatal(err)
				}
			}
			return out
		}
		have := draw(0, 3, 3)
		for i := range have {
			at := []int{-1, -1, -1}
			at[i] = 0
			if want := draw(at...)[i]; dev.Float() == engine.F32 && !same(have[i], want) || !(far(have[i], want) < 5e-3) {
				t.Errorf("drawing %d: %v, alone %v: %.2g off", i, have[i][:4], want[:4], far(have[i], want))
			}
		}
		s.Close()
		if now := dev.Usage(); now.Blocks != loaded.Blocks || now.Bytes != loaded.Bytes || now.Graphs != 0 {
			t.Errorf("%+v is held at the end, %+v before", now, loaded)
		}
	})
}

// TestGivenUpCUDA: of drawings of all samplers that are given up after a step, among others,
// with masks and without, or ended with all that are under way, no block of the device is
// left; on hardware of five hundred.
func TestGivenUpCUDA(t *testing.T) {
	each(t, func(t *testing.T, dev *cuda.Device) {
		all := 14
		if full() {
			all = 500
		} else if dev.Float() == engine.F16 {
			return // the interpreter's time
		}
		p := sketch(t, dev)
		h, w, c := 8/p.VAE.Factor, 8/p.VAE.Factor, p.VAE.Latents
		moments := func() *engine.Tensor { return engine.FromF32(make([]float32, h*w*c), 1, h, w, c) }
		init := &diffusion.Moments{Mean: moments(), Deviation: moments()}
		mask := make(diffusion.Mask, h*w)
		mask[0] = true
		var plans []*diffusion.Plan
		for i, kind := range schedule.Kinds {
			o := p.Defaults.Options
			if o.Scheduler, o.Steps, o.Guidance = kind, 5+i, 3; i%2 == 0 {
				o.Strength = 0.9
			}
			plan, err := p.Pipeline.Plan(o)
			if err != nil {
				t.Fatal(err)
			}
			plans = append(plans, plan)
		}
		loaded := dev.Usage()
		given, ended, came := 0, 0, 0
		for range 2 {
			ctx, end := context.WithCancel(t.Context())
			s := engine.NewStream(ctx, dev)
			d := p.Pipeline.Begin(s)
			var err error
			for left := all / 2; err == nil && (left > 0 || d.Samples() > 0); {
				for ; left > 0 && d.Samples() < 6; left-- {
					i := came
					came++
					b := diffusion.Batch{IDs: [][]int32{{1, int32(5 + i%9), 7, 2}}, Negative: [][]int32{{1, 2, 2, 2}},
						Noise: diffusion.Generators([]uint64{uint64(i)}), Step: func(st diffusion.Step) ([]int, error) {
							if st.Index < i%2 {
								return nil, nil
							}
							if given++; i%(all/2) == all/2-2 {
								end() // all that there are
							}
							return []int{}, nil
						}}
					if k := i % len(plans); k%2 == 0 {
						if b.Init = init; k%4 == 0 {
							b.Mask = mask
						}
					}
					if err = d.Join(plans[i%len(plans)], b); err != nil {
						break
					}
				}
				if err == nil {
					err = d.Advance()
				}
			}
			if err != nil && ctx.Err() == nil {
				t.Fatal(err)
			}
			if err != nil {
				ended++
			}
			d.Free()
			if now := dev.Usage(); now.Blocks != loaded.Blocks || now.Bytes != loaded.Bytes || now.Graphs != 0 {
				t.Errorf("after %d drawings %+v is held, %+v before", came, now, loaded)
			}
			s.Close()
			end()
		}
		if given < all/2 || ended != 2 {
			t.Errorf("%d of %d were given up, %d times all were ended", given, all, ended)
		}
	})
}

func same(a, b []float32) bool {
	for i := range b {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// TestFromPictureCUDA: each scheduler goes on from a picture as the CPU does.
func TestFromPictureCUDA(t *testing.T) {
	each(t, func(t *testing.T, dev *cuda.Device) {
		cpu := host.New(2)
		p, ref := sketch(t, dev), sketch(t, cpu)
		bound := map[engine.DType]float64{engine.F32: 5e-5, engine.F16: 5e-3}[dev.Float()]
		for i, kind := range schedule.Kinds {
			d := drawing{kind: kind, steps: 5, guidance: float64(1 + i%2), from: true}
			z, x, err := d.draw(t.Context(), p, dev, nil)
			if err != nil {
				t.Fatal(err)
			}
			zs, xs, err := d.draw(t.Context(), ref, cpu, nil)
			if err != nil {
				t.Fatal(err)
			}
			a, b := far(z, zs), far(x, xs)
			t.Logf("%s, guidance %v: latents %.2g, pictures %.2g", kind, d.guidance, a, b)
			if !(a <= bound) || !(b <= bound) {
				t.Errorf("%s, guidance %v: relative errors %.2g and %.2g, want at most %g", kind, d.guidance, a, b, bound)
			}
		}
	})
}

// TestCloseCUDA: models that have worked give all of the device's memory back.
func TestCloseCUDA(t *testing.T) {
	dev := optest.GPU(t, false)
	c, err := models.OpenBLIP(models.Embedded("blip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	j, err := models.OpenCLIP(models.Embedded("clip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	p, err := models.OpenStableDiffusion(models.Embedded("sd"), dev)
	if err != nil {
		t.Fatal(err)
	}
	o := p.Defaults
	o.Width, o.Height, o.Steps, o.Guidance = 16, 16, 3, 1
	run := engine.NewRun(t.Context())
	if dev.Usage().Blocks < 100 {
		t.Fatalf("%+v is held by three models", dev.Usage())
	}
	short := models.CaptionOptions{Prompt: "a "}
	short.MaxLength = 5
	pictures := []pixels.Picture{pixels.New(9, 7, color.RGBA{1, 2, 3, 255})}
	if _, err := c.Caption(run, pictures, 1, []uint64{0}, short); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time is recorded
		if _, err := j.EmbedImages(run, pictures, models.EmbedOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	drawn := 0
	var kept pixels.Picture
	o.Init, o.Strength = pixels.New(3, 21, color.RGBA{9, 80, 200, 255}), 0.8
	err = p.Draw(run, []string{"a cat", "a dog"}, []uint64{1, 2}, o, func(_ int, d rerank.Drawing) {
		if d.Err != nil {
			t.Fatal(d.Err)
		}
		drawn++
		kept = d.Picture
	})
	if err != nil || drawn != 2 {
		t.Fatalf("%d drawings: %v", drawn, err)
	}
	if _, err := kept.Host(); !errors.Is(err, pixels.ErrReleased) {
		t.Errorf("a drawing that nobody took: %v", err)
	}
	c.Close()
	p.Close()
	j.Close()
	j.Close()
	if have := dev.Usage(); have.Blocks != 0 || have.Bytes != 0 || have.Graphs != 0 {
		t.Errorf("%+v is held at the end", have)
	}
	if m := dev.Machine(); m != nil && len(m.Allocations()) != 0 {
		t.Errorf("%d allocations are left", len(m.Allocations()))
	}
}

// TestJudgeCUDA: embeddings are the CPU's but for f16's error, to the bit the
// same when they are recorded and replayed, and a judge that found no memory
// serves the next request. ReleaseGraphs gives back what was recorded.
func TestJudgeCUDA(t *testing.T) {
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	var pictures []pixels.Picture
	for _, s := range scenes[:2] {
		m, err := pixels.Decode(bytes.NewReader(s.PNG))
		if err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, m)
	}
	dev := optest.GPU(t, false)
	var judges [2]*models.CLIP
	for i, d := range []engine.Device{host.New(2), dev} {
		if judges[i], err = models.OpenCLIP(models.Embedded("clip"), d); err != nil {
			t.Fatal(err)
		}
	}
	if err := judges[1].Ready(true, true); err != nil { // towers load when they are first of use
		t.Fatal(err)
	}
	loaded, run := dev.Usage(), engine.NewRun(t.Context())
	embed := func(j *models.CLIP) ([]float32, error) {
		a, err := j.EmbedImages(run, pictures, models.EmbedOptions{})
		if err != nil {
			return nil, err
		}
		b, err := j.EmbedTexts(run, []string{scenes[0].Captions[0], "a dog"}, models.EmbedOptions{})
		if err != nil {
			return nil, err
		}
		return append(append([]float32{}, a.Data().([]float32)...), b.Data().([]float32)...), nil
	}
	want, err := embed(judges[0])
	if err != nil {
		t.Fatal(err)
	}
	first, err := embed(judges[1])
	if err != nil {
		t.Fatal(err)
	}
	if e := far(first, want); !(e <= 5e-3) {
		t.Errorf("relative error %.2g", e)
	} else {
		t.Logf("relative error %.2g", e)
	}
	for i := range 2 {
		if again, err := embed(judges[1]); err != nil || !same(again, first) {
			t.Errorf("run %d: other embeddings, or %v", i+2, err)
		}
	}
	if dev.Usage().Graphs == 0 {
		t.Error("nothing is recorded")
	}
	judges[1].ReleaseGraphs()
	judges[1].ReleaseGraphs()
	if have := dev.Usage(); have.Blocks != loaded.Blocks || have.Bytes != loaded.Bytes || have.Graphs != 0 {
		t.Errorf("%+v is held, %+v before", have, loaded)
	}
	if fail := dev.Emulation(); fail != nil {
		fail.FailAlloc(0)
		if _, err := embed(judges[1]); err != nil {
			t.Fatal(err)
		}
		all := fail.Allocs()
		for _, n := range []int{1, all / 3, all * 2 / 3, all} {
			judges[1].ReleaseGraphs()
			fail.FailAlloc(n)
			_, err := embed(judges[1])
			var memory *cuda.OutOfMemory
			if !errors.As(err, &memory) {
				t.Errorf("allocation %d of %d fails: %v", n, all, err)
			}
		}
		if again, err := embed(judges[1]); err != nil || !same(again, first) {
			t.Errorf("the next request: other embeddings, or %v", err)
		}
		judges[1].ReleaseGraphs()
		if have := dev.Usage(); have != loaded {
			t.Errorf("%+v is held, %+v before", have, loaded)
		}
	}
}
