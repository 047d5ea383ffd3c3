package diffusion_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/elementwise"
	"parley/nets/diffusion"
)

// clocked is a toy whose prediction depends on the step of each sample, too.
type clocked struct{ toy }

func (*clocked) Condition(_ *engine.Stream, times []diffusion.Time, text *engine.Tensor) (diffusion.Conditions, error) {
	return &clock{slices.Clone(text.F32()), times}, nil
}

type clock struct {
	by    []float32
	times []diffusion.Time
}

func (c *clock) Step(s *engine.Stream, x, step *engine.Tensor) (*engine.Tensor, error) {
	dims := slices.Clone(x.Shape())
	m := dims[0]
	dims[0] = len(c.by)
	y := s.New(engine.F32, dims...)
	for i, by := range c.by {
		number := step.I32()[i%m%step.Elems()]
		elementwise.Scale(s, y.Rows(i, i+1), x.Rows(i%m, i%m+1), float64(by)/10*(1+c.times[number].Timestep/1000+c.times[number].Guidance/10))
	}
	return y, s.Err()
}

func (*clock) Free(*engine.Stream) {}

// entrant is a drawing that comes after so many steps of what there is.
type entrant struct {
	after int
	id    int32
	seed  uint64
	leave int                // the step after which it is given up; 0: none
	o     *diffusion.Options // its own, unless it is nil
	mask  diffusion.Mask
}

// joined draws entrants together, and gives the latents and the steps of each.
func joined(t *testing.T, net *clocked, o diffusion.Options, entrants []entrant) (latents [][]float32, steps []int, atOnce int) {
	t.Helper()
	p := &diffusion.Pipeline{Text: net, Denoiser: net, VAE: net, Scheduler: config}
	s := engine.NewStream(t.Context(), host.New(1))
	defer s.Close()
	d := p.Begin(s)
	latents, steps = make([][]float32, len(entrants)), make([]int, len(entrants))
	for now, next := 0, 0; next < len(entrants) || d.Samples() > 0; now++ {
		for ; next < len(entrants) && entrants[next].after <= now; next++ {
			i, e := next, entrants[next]
			own := o
			if e.o != nil {
				own = *e.o
			}
			own.Width, own.Height = 4, 4
			plan, err := p.Plan(own)
			if err != nil {
				t.Fatal(err)
			}
			var init *diffusion.Moments
			if own.Strength != 0 {
				init = &diffusion.Moments{Mean: engine.FromF32(slices.Repeat([]float32{float32(e.id)}, 32), 1, 4, 4, 2),
					Deviation: engine.FromF32(slices.Repeat([]float32{0.5}, 32), 1, 4, 4, 2)}
			}
			err = d.Join(plan, diffusion.Batch{Init: init, Mask: e.mask, IDs: [][]int32{{e.id}}, Negative: [][]int32{{1}},
				Noise: diffusion.Generators([]uint64{e.seed}),
				Step: func(st diffusion.Step) ([]int, error) {
					if st.Index != steps[i] {
						t.Errorf("entrant %d is told of step %d after %d", i, st.Index, steps[i])
					}
					if steps[i]++; steps[i] == e.leave {
						return []int{}, nil
					}
					return nil, nil
				},
				Done: func(z *engine.Tensor, samples []int) error {
					latents[i] = slices.Clone(z.F32())
					s.Free(z)
					return nil
				}})
			if err != nil {
				t.Fatal(err)
			}
		}
		atOnce = max(atOnce, d.Samples())
		if err := d.Advance(); err != nil {
			t.Fatal(err)
		}
	}
	d.Free()
	return latents, steps, atOnce
}

// TestJoin: drawings that join others in the middle of their steps, and others that leave
// meanwhile, are to the bit what they are alone, with every kind of past and of noise.
func TestJoin(t *testing.T) {
	for _, kind := range []string{"pndm", "ddim", "euler", "euler-a", "dpmpp2m-karras", "unipc", "lcm"} {
		for _, guidance := range []float64{1, 5} {
			o := diffusion.Options{Steps: 6, Guidance: guidance, Scheduler: kind}
			entrants := []entrant{{after: 0, id: 2, seed: 10}, {after: 1, id: 3, seed: 11}, {after: 3, id: 5, seed: 12, leave: 2},
				{after: 3, id: 7, seed: 13}, {after: 20, id: 4, seed: 14}}
			have, steps, atOnce := joined(t, &clocked{}, o, entrants)
			for i, e := range entrants {
				e.after = 0
				want, alone, _ := joined(t, &clocked{}, o, []entrant{e})
				name := fmt.Sprintf("%s, guidance %v: entrant %d", kind, guidance, i)
				if !slices.Equal(have[i], want[0]) || (have[i] == nil) != (e.leave > 0) {
					t.Errorf("%s: %v, alone %v", name, have[i], want[0])
				}
				if steps[i] != alone[0] {
					t.Errorf("%s: %d steps, alone %d", name, steps[i], alone[0])
				}
			}
			if atOnce != 4 {
				t.Errorf("%s: %d at once, want 4", kind, atOnce)
			}
		}
	}
}

// TestJoinOfMany: so are drawings of other samplers, steps, guidance and strengths, with
// masks too.
func TestJoinOfMany(t *testing.T) {
	mask := diffusion.Mask(slices.Repeat([]bool{true, false, false, true}, 4))
	options := []diffusion.Options{{Steps: 6, Scheduler: "pndm", Guidance: 2}, {Steps: 9, Scheduler: "euler-a", Guidance: 3.5},
		{Steps: 4, Scheduler: "lcm", Guidance: 8, Prediction: "v_prediction"}, {Steps: 9, Scheduler: "dpmpp2m", Guidance: 2, Strength: 0.6},
		{Steps: 6, Scheduler: "ddim", Guidance: 4, Strength: 0.9, Fill: diffusion.FillNoise}, {Steps: 2, Scheduler: "euler", Guidance: 2},
		{Steps: 6, Scheduler: "unipc", Guidance: 6}}
	for _, c := range []struct{ guided, embeds bool }{{true, false}, {false, false}, {true, true}} {
		net := &clocked{toy{embeds: c.embeds}}
		var entrants []entrant
		for i, o := range options {
			if !c.guided {
				o.Guidance = 1
			}
			e := entrant{after: i, id: int32(2 + i), seed: uint64(20 + i), o: &o}
			if o.Fill != "" {
				e.mask = mask
			}
			entrants = append(entrants, e)
		}
		entrants[1].leave = 5
		have, steps, atOnce := joined(t, net, diffusion.Options{}, entrants)
		for i, e := range entrants {
			e.after = 0
			want, alone, _ := joined(t, net, diffusion.Options{}, []entrant{e})
			if !slices.Equal(have[i], want[0]) || (have[i] == nil) != (e.leave > 0) || steps[i] != alone[0] {
				t.Errorf("entrant %d: %v in %d steps, alone %v in %d", i, have[i], steps[i], want[0], alone[0])
			}
		}
		if atOnce < 4 {
			t.Errorf("%d at once", atOnce)
		}
	}
}

// TestJoinRefused: a batch of another shape.
func TestJoinRefused(t *testing.T) {
	net := &clocked{}
	p := &diffusion.Pipeline{Text: net, Denoiser: net, VAE: net, Scheduler: config}
	s := engine.NewStream(t.Context(), host.New(1))
	defer s.Close()
	d := p.Begin(s)
	defer d.Free()
	first := diffusion.Options{Steps: 3, Width: 4, Height: 4, Guidance: 2}
	for i, change := range []func(*diffusion.Options){func(*diffusion.Options) {}, func(o *diffusion.Options) { o.Width = 8 },
		func(o *diffusion.Options) { o.Height = 8 }, func(o *diffusion.Options) { o.Guidance = 1 },
		func(o *diffusion.Options) { o.Tokens = 9 }} {
		o := first
		change(&o)
		plan, err := p.Plan(o)
		if err != nil {
			t.Fatal(err)
		}
		err = d.Join(plan, diffusion.Batch{IDs: [][]int32{{2}}, Negative: [][]int32{{1}}, Noise: diffusion.OneGenerator(1)})
		if (err != nil) != (i > 0) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestDoneFails: an error of who takes the latents ends all.
func TestDoneFails(t *testing.T) {
	net := &clocked{}
	p := &diffusion.Pipeline{Text: net, Denoiser: net, VAE: net, Scheduler: config}
	plan, err := p.Plan(diffusion.Options{Steps: 1, Width: 4, Height: 4})
	if err != nil {
		t.Fatal(err)
	}
	s := engine.NewStream(t.Context(), host.New(1))
	defer s.Close()
	d := p.Begin(s)
	defer d.Free()
	full := errors.New("no room")
	for range 2 {
		if err := d.Join(plan, diffusion.Batch{IDs: [][]int32{{2}}, Noise: diffusion.OneGenerator(1),
			Done: func(*engine.Tensor, []int) error { return full }}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Advance(); !errors.Is(err, full) || d.Samples() != 0 {
		t.Errorf("have %v, %d left", err, d.Samples())
	}
}

// TestEmbeddedGuidance: a net that takes the guidance scale is told it, and runs with the
// prompt alone.
func TestEmbeddedGuidance(t *testing.T) {
	e := []entrant{{id: 3, seed: 5}}
	for _, guidance := range []float64{0, 1, 8.5} {
		o := diffusion.Options{Steps: 4, Scheduler: "lcm", Guidance: guidance}
		net := &clocked{toy{embeds: true}}
		have, _, _ := joined(t, net, o, e)
		if len(net.encoded) != 1 {
			t.Errorf("guidance %v: %d texts, want the prompt alone", guidance, len(net.encoded))
		}
		o.Guidance = 0
		if want, _, _ := joined(t, &clocked{toy{embeds: true}}, o, e); slices.Equal(have[0], want[0]) != (guidance == 0) {
			t.Errorf("guidance %v: %v, with 0 %v", guidance, have[0], want[0])
		}
	}
}
