package models

import (
	"math"
	"slices"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/rgb"
	"parley/nets/diffusion"
	"parley/nets/pixels"
	"parley/weights/mini"
)

// halves rounds what operations give to f16.
type halves struct{}

func (halves) Observe(sp engine.Span) {
	if sp.Op != "" && sp.Op != "upload" && sp.Op != "download" && sp.Out.DType() == engine.F32 {
		copy(sp.Out.F32(), engine.Convert(engine.F32, engine.Convert(engine.F16, sp.Out)).F32())
	}
}

// TestWhatHalfCostsAScore draws with f16's activations on the CPU: what a GPU's
// scores are to be held against (nets/rerank). A drawing's small errors lie on the
// edges of things, where CLIP looks, so that a few scores change much more than
// most.
func TestWhatHalfCostsAScore(t *testing.T) {
	dev := host.New(2)
	p, err := OpenStableDiffusion(Embedded("sd"), dev)
	if err != nil {
		t.Fatal(err)
	}
	o := p.Defaults.Options
	o.Steps = 4
	plan, err := p.Pipeline.Plan(o)
	if err != nil {
		t.Fatal(err)
	}
	j, err := OpenCLIP(Embedded("clip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	draw := func(text string, seed uint64, r engine.Observer) pixels.Picture {
		s := engine.NewStream(t.Context(), dev)
		defer s.Close()
		s.Watch(nil, r)
		z, _, err := plan.Latents(s, diffusion.Batch{IDs: p.Encode([]string{text}), Negative: p.Encode([]string{""}),
			Noise: diffusion.OneGenerator(seed)})
		if err != nil {
			t.Fatal(err)
		}
		x, err := p.Pipeline.Decode(s, z)
		if err != nil {
			t.Fatal(err)
		}
		b := rgb.Bytes(s, x)
		return &pixels.Image{W: b.Dim(2), H: b.Dim(1), Pix: slices.Clone(b.U8())}
	}
	run := engine.NewRun(t.Context())
	const n = 20
	mean, worst := 0., 0.
	for i := range n {
		text := scenes[5*i%len(scenes)].Captions[0]
		source, err := j.EmbedTexts(run, []string{text}, EmbedOptions{})
		if err != nil {
			t.Fatal(err)
		}
		seed := uint64(5 + i)
		scores, err := j.ScoreImages(run, source, []pixels.Picture{draw(text, seed, nil), draw(text, seed, halves{})}, EmbedOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d := math.Abs(scores[0] - scores[1])
		mean += d / n
		worst = max(worst, d)
	}
	t.Logf("of %d drawings in f16: the score changes by %.2g on average and by %.2g at most", n, mean, worst)
	if !(mean > 1e-4 && mean < 2e-3 && worst < 2e-2) {
		t.Error("nets/rerank takes f16 for another kind of error")
	}
}
