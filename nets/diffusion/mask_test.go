package diffusion_test

import (
	"fmt"
	"image/color"
	"math"
	"slices"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/random"
	"parley/nets/diffusion"
	"parley/nets/pixels"
	"parley/nets/schedule"
)

// masked draws two samples from an init image of mean 0.1, 0.2, …, and gives their
// latents after each step; keep, unless it is nil, after step 0.
func masked(t *testing.T, kind string, strength float64, mask diffusion.Mask, keep []int) (steps [][]float32) {
	t.Helper()
	return filled(t, kind, strength, diffusion.FillOriginal, mask, keep)
}

// filled is masked with a filling.
func filled(t *testing.T, kind string, strength float64, fill diffusion.Fill, mask diffusion.Mask, keep []int) (steps [][]float32) {
	t.Helper()
	net := &clocked{}
	p := &diffusion.Pipeline{Text: net, Denoiser: net, VAE: net, Scheduler: config}
	plan, err := p.Plan(diffusion.Options{Steps: 6, Guidance: 3, Scheduler: kind, Strength: strength, Width: 4, Height: 2,
		Fill: fill})
	if err != nil {
		t.Fatal(err)
	}
	init := &diffusion.Moments{Mean: engine.FromF32(make([]float32, 16), 1, 2, 4, 2),
		Deviation: engine.FromF32(make([]float32, 16), 1, 2, 4, 2)}
	for i := range init.Mean.F32() {
		init.Mean.F32()[i] = float32(i+1) / 10
	}
	s := engine.NewStream(t.Context(), host.New(1))
	defer s.Close()
	z, _, err := plan.Latents(s, diffusion.Batch{IDs: [][]int32{{2}, {3}}, Negative: [][]int32{{1}, {1}},
		Noise: diffusion.Generators([]uint64{4, 5}), Init: init, Mask: mask, Step: func(st diffusion.Step) ([]int, error) {
			steps = append(steps, slices.Clone(st.Latents.F32()))
			if st.Index == 0 {
				return keep, nil
			}
			return nil, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if last := steps[len(steps)-1]; !slices.Equal(last, z.F32()) {
		t.Errorf("%v after the last step, %v at the end", last, z.F32())
	}
	return steps
}

// TestMask: after each step the latents outside of the mask are the init image's with
// the noise of the next one, by the schedule's own alphas, and in the end the image's;
// those inside are drawn.
func TestMask(t *testing.T) {
	alphas, product := make([]float64, 1000), 1.0
	for i := range alphas {
		root := math.Sqrt(0.00085) + (math.Sqrt(0.012)-math.Sqrt(0.00085))*float64(i)/999
		product *= 1 - root*root
		alphas[i] = product
	}
	mask := diffusion.Mask{true, false, true, true, false, false, true, false}
	all := slices.Repeat(diffusion.Mask{true}, 8)
	for _, kind := range []string{"pndm", "ddim", "euler", "euler-a", "dpmpp2m", "lcm"} {
		for _, strength := range []float64{0.7, 1} {
			name := fmt.Sprintf("%s, strength %v", kind, strength)
			sch, err := schedule.New(config, kind, 6)
			if err != nil {
				t.Fatal(err)
			}
			steps, free := masked(t, kind, strength, mask, nil), masked(t, kind, strength, all, nil)
			first := sch.Steps() - len(steps)
			for i, have := range steps {
				image, noise := 1.0, 0.0
				if i+1 < len(steps) {
					at := sch.Timestep(first + i + 1)
					a := alphas[int(at)]
					if image, noise = math.Sqrt(a), math.Sqrt(1-a); kind == "euler" || kind == "euler-a" {
						// Between two timesteps, the level between theirs.
						b := alphas[min(int(at)+1, 999)]
						low, high := math.Sqrt((1-a)/a), math.Sqrt((1-b)/b)
						image, noise = 1, low+(high-low)*(at-math.Floor(at))
					}
				}
				for n := range 2 {
					// The image's latents are drawn first, then the noise.
					g, chw := random.NewTorch(uint64(4+n)), make([]float32, 16)
					g.Normal(chw)
					g.Normal(chw)
					for at := range 16 {
						v := have[16*n+at]
						if mask[at/2] {
							continue
						}
						want := image*float64(at+1)/10 + noise*float64(chw[at%2*8+at/2])
						if math.Abs(float64(v)-want) > 2e-5*(1+math.Abs(want)) {
							t.Fatalf("%s, step %d: sample %d's latent %d is %v, want %v", name, i, n, at, v, want)
						}
					}
				}
			}
			// The toy's latents do not see each other: those inside are as without others outside.
			for at, v := range steps[len(steps)-1] {
				if mask[at/2%8] && v != free[len(free)-1][at] {
					t.Errorf("%s: latent %d is %v, want %v", name, at, v, free[len(free)-1][at])
				}
			}
			// What goes on alone, has its own.
			if one := masked(t, kind, strength, mask, []int{1}); !slices.Equal(one[len(one)-1], steps[len(steps)-1][16:]) {
				t.Errorf("%s: sample 1 alone: %v, want %v", name, one[len(one)-1], steps[len(steps)-1][16:])
			}
		}
	}
}

// TestWholeMask: a mask of everything is none, where a scheduler draws no noise.
func TestWholeMask(t *testing.T) {
	for _, kind := range []string{"ddim", "dpmpp2m"} {
		have, want := masked(t, kind, 0.7, slices.Repeat(diffusion.Mask{true}, 8), nil), masked(t, kind, 0.7, nil, nil)
		if last := len(want) - 1; !slices.Equal(have[last], want[last]) {
			t.Errorf("%s: %v, want %v", kind, have[last], want[last])
		}
	}
}

// TestMaskRefused: without an init image, and of another size.
func TestMaskRefused(t *testing.T) {
	net := &toy{}
	p := &diffusion.Pipeline{Text: net, Denoiser: net, VAE: net, Scheduler: config}
	for _, strength := range []float64{0, 0.5} {
		plan, err := p.Plan(diffusion.Options{Steps: 4, Width: 4, Height: 2, Strength: strength})
		if err != nil {
			t.Fatal(err)
		}
		b := diffusion.Batch{IDs: [][]int32{{2}}, Noise: diffusion.OneGenerator(1), Mask: diffusion.Mask{true}}
		if strength != 0 {
			b.Init = &diffusion.Moments{Mean: engine.FromF32(make([]float32, 16), 16), Deviation: engine.FromF32(make([]float32, 16), 16)}
		}
		s := engine.NewStream(t.Context(), host.New(1))
		if _, _, err := plan.Latents(s, b); err == nil {
			t.Errorf("strength %v: taken", strength)
		}
		s.Close()
	}
}

// TestFillRefused: without a mask, and one that there is not.
func TestFillRefused(t *testing.T) {
	net := &toy{}
	p := &diffusion.Pipeline{Text: net, Denoiser: net, VAE: net, Scheduler: config}
	if _, err := p.Plan(diffusion.Options{Steps: 4, Width: 4, Height: 2, Strength: 0.5, Fill: "red"}); err == nil {
		t.Error("red: taken")
	}
	plan, err := p.Plan(diffusion.Options{Steps: 4, Width: 4, Height: 2, Strength: 0.5, Fill: diffusion.FillNoise})
	if err != nil {
		t.Fatal(err)
	}
	s := engine.NewStream(t.Context(), host.New(1))
	defer s.Close()
	ones := engine.FromF32(make([]float32, 16), 1, 2, 4, 2)
	if _, _, err := plan.Latents(s, diffusion.Batch{IDs: [][]int32{{2}}, Noise: diffusion.OneGenerator(1),
		Init: &diffusion.Moments{Mean: ones, Deviation: ones}}); err == nil {
		t.Error("without a mask: taken")
	}
}

// TestEncodeMask: grey is cut at the middle; each latent has its own pixel.
func TestEncodeMask(t *testing.T) {
	net := &toy{}
	p := &diffusion.Pipeline{Text: net, Denoiser: net, VAE: net, Scheduler: config}
	plan, err := p.Plan(diffusion.Options{Steps: 4, Width: 4, Height: 2, Strength: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	m := pixels.New(4, 2, color.RGBA{A: 255})
	for i, v := range []uint8{0, 127, 128, 255, 200, 0, 0, 129} {
		m.Pix[3*i], m.Pix[3*i+1], m.Pix[3*i+2] = v, v, v
	}
	m.Pix[3*5] = 255 // red is dark
	have, err := plan.EncodeMask(engine.NewRun(t.Context()).On(host.New(1)), m)
	if want := (diffusion.Mask{false, false, true, true, true, false, false, true}); err != nil || !slices.Equal(have, want) {
		t.Errorf("%v, %v, want %v", have, err, want)
	}
}

// later is noise without the first of those that it draws, and the third.
type later struct {
	diffusion.Noise
	drawn int
}

func (l *later) Fill(samples []int, chw []float32) {
	if l.drawn < 2 {
		l.Noise.Fill(samples, chw)
	}
	l.drawn++
	l.Noise.Fill(samples, chw)
}

// TestMaskAtFullStrength: a whole mask is a drawing without an init image, but for the
// numbers that the image's latents and the masked image's have drawn.
func TestMaskAtFullStrength(t *testing.T) {
	for _, kind := range []string{"ddim", "euler-a"} {
		steps := masked(t, kind, 1, slices.Repeat(diffusion.Mask{true}, 8), nil)
		net := &clocked{}
		p := &diffusion.Pipeline{Text: net, Denoiser: net, VAE: net, Scheduler: config}
		plan, err := p.Plan(diffusion.Options{Steps: 6, Guidance: 3, Scheduler: kind, Width: 4, Height: 2})
		if err != nil {
			t.Fatal(err)
		}
		s := engine.NewStream(t.Context(), host.New(1))
		z, _, err := plan.Latents(s, diffusion.Batch{IDs: [][]int32{{2}, {3}}, Negative: [][]int32{{1}, {1}},
			Noise: &later{Noise: diffusion.Generators([]uint64{4, 5})}})
		if err != nil || !slices.Equal(z.F32(), steps[len(steps)-1]) {
			t.Errorf("%s: %v, want %v, %v", kind, steps[len(steps)-1], z.F32(), err)
		}
		s.Close()
	}
}

// blank is noise whose first numbers for each sample, those of an image's latents, are
// given, and the rest as ever.
type blank struct {
	diffusion.Noise
	first []float32 // [C, h, w]
	drawn bool
}

func (b *blank) Fill(samples []int, chw []float32) {
	b.Noise.Fill(samples, chw)
	if !b.drawn {
		for i := range chw {
			chw[i] = b.first[i%len(b.first)]
		}
	}
	b.drawn = true
}

// TestFill: with zeros or noise where it is drawn anew, a drawing is one from an image
// whose latents are those; what stays is the image's own.
func TestFill(t *testing.T) {
	mask := diffusion.Mask{true, false, true, true, false, false, true, false}
	for _, fill := range []diffusion.Fill{diffusion.FillNoise, diffusion.FillNothing} {
		for _, strength := range []float64{0.7, 1} {
			have := filled(t, "ddim", strength, fill, mask, nil)
			// The other way: each sample alone, from an image that is its latents exactly.
			for n := range 2 {
				g, normal := random.NewTorch(uint64(4+n)), make([]float32, 16)
				g.Normal(normal)
				g.Normal(normal)
				latents := make([]float32, 16) // [C, h, w]
				for i := range latents {
					if latents[i] = float32(i%8*2+i/8+1) / 10; mask[i%8] {
						if latents[i] = 0; fill == diffusion.FillNoise {
							latents[i] = normal[i]
						}
					}
				}
				net := &clocked{}
				p := &diffusion.Pipeline{Text: net, Denoiser: net, VAE: net, Scheduler: config}
				plan, err := p.Plan(diffusion.Options{Steps: 6, Guidance: 3, Scheduler: "ddim", Strength: strength, Width: 4, Height: 2})
				if err != nil {
					t.Fatal(err)
				}
				ones := slices.Repeat([]float32{1}, 16)
				init := &diffusion.Moments{Mean: engine.FromF32(make([]float32, 16), 1, 2, 4, 2), Deviation: engine.FromF32(ones, 1, 2, 4, 2)}
				s := engine.NewStream(t.Context(), host.New(1))
				z, _, err := plan.Latents(s, diffusion.Batch{IDs: [][]int32{{int32(2 + n)}}, Negative: [][]int32{{1}}, Init: init,
					Noise: &blank{Noise: diffusion.Generators([]uint64{uint64(4 + n)}), first: latents}})
				if err != nil {
					t.Fatal(err)
				}
				for i, v := range z.F32() {
					got, want := have[len(have)-1][16*n+i], v
					if !mask[i/2] {
						want = float32(i+1) / 10
					}
					if math.Abs(float64(got-want)) > 1e-5*(1+math.Abs(float64(want))) {
						t.Errorf("%s, strength %v: sample %d's latent %d is %v, want %v", fill, strength, n, i, got, want)
					}
				}
				s.Close()
			}
		}
	}
}
