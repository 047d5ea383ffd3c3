package diffusion_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/elementwise"
	"parley/nets/diffusion"
	"parley/nets/schedule"
	"parley/weights"
)

// toy is a Stable Diffusion of arithmetic: the text of a sample is its first id,
// and the net predicts the latents times it.
type toy struct {
	conditioned int
	embeds      bool     // the guidance scale
	encoded     []string // what Encode was given, by row
}

func (t *toy) Encode(s *engine.Stream, ids [][]int32, weights [][]float32, skip int) (*engine.Tensor, error) {
	for i, row := range ids {
		var w []float32
		if weights != nil {
			w = weights[i]
		}
		t.encoded = append(t.encoded, fmt.Sprint(row, w, skip))
	}
	x := make([]float32, len(ids))
	for i, row := range ids {
		x[i] = float32(row[0])
	}
	return s.PutAs(engine.F32, engine.FromF32(x, len(ids), 1, 1)), s.Err()
}

func (*toy) Size() (int, int)       { return 1, 1 }
func (*toy) Channels() int          { return 2 }
func (t *toy) EmbedsGuidance() bool { return t.embeds }

type toyConditions struct{ by []float32 }

func (t *toy) Condition(s *engine.Stream, _ []diffusion.Time, text *engine.Tensor) (diffusion.Conditions, error) {
	t.conditioned++
	return &toyConditions{slices.Clone(text.F32())}, nil
}

func (c *toyConditions) Step(s *engine.Stream, x, _ *engine.Tensor) (*engine.Tensor, error) {
	n := len(c.by)
	dims := slices.Clone(x.Shape())
	m := dims[0]
	dims[0] = n
	y := s.New(engine.F32, dims...)
	for i, by := range c.by {
		elementwise.Scale(s, y.Rows(i, i+1), x.Rows(i%m, i%m+1), float64(by)/10)
	}
	return y, s.Err()
}

func (*toyConditions) Free(*engine.Stream) {}

func (*toy) Decode(s *engine.Stream, z *engine.Tensor) (*engine.Tensor, error) { return z, nil }
func (*toy) DecodeTiled(s *engine.Stream, z *engine.Tensor, _ int) (*engine.Tensor, error) {
	return z, nil
}
func (*toy) Moments(s *engine.Stream, x *engine.Tensor) (*engine.Tensor, error) { return x, nil }
func (*toy) Geometry() diffusion.Geometry {
	return diffusion.Geometry{Channels: 2, Factor: 1, Scale: 1}
}

var config = weights.Config{"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
	"steps_offset": 1, "clip_sample": false, "skip_prk_steps": true}

// draw gives the latents of the samples that are left, by sample.
func draw(t *testing.T, net *toy, o diffusion.Options, ids []int32, step diffusion.Callback) map[int][]float32 {
	t.Helper()
	p := &diffusion.Pipeline{Text: net, Denoiser: net, VAE: net, Scheduler: config}
	o.Width, o.Height = 4, 4
	plan, err := p.Plan(o)
	if err != nil {
		t.Fatal(err)
	}
	s := engine.NewStream(context.Background(), host.New(1))
	defer s.Close()
	b := diffusion.Batch{Step: step}
	var seeds []uint64
	for i, id := range ids {
		b.IDs, b.Negative = append(b.IDs, []int32{id}), append(b.Negative, []int32{1})
		seeds = append(seeds, uint64(i))
	}
	b.Noise = diffusion.Generators(seeds)
	z, samples, err := plan.Latents(s, b)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int][]float32{}
	for i, n := range samples {
		out[n] = slices.Clone(z.Rows(i, i+1).F32())
	}
	return out
}

// TestEndedSamples: what a callback ends is gone, and the others are to the bit
// what they are by themselves, with every kind of past that a scheduler keeps.
func TestEndedSamples(t *testing.T) {
	for _, kind := range []string{"pndm", "euler-a", "dpmpp2m", "ddim", "unipc", "lcm"} {
		for _, guidance := range []float64{1, 5} {
			for at := range 6 {
				o := diffusion.Options{Steps: 7, Guidance: guidance, Scheduler: kind}
				ids := []int32{2, 3, 5, 7}
				whole := draw(t, &toy{}, o, ids, nil)
				net := &toy{}
				seen := map[int]int{}
				some := draw(t, net, o, ids, func(st diffusion.Step) ([]int, error) {
					for _, n := range st.Samples {
						seen[n]++
					}
					if st.Index != at {
						return nil, nil
					}
					return []int{3, 1}, nil // in another order, too
				})
				name := fmt.Sprintf("%s, guidance %v, after step %d", kind, guidance, at)
				if len(some) != 2 || !slices.Equal(some[1], whole[1]) || !slices.Equal(some[3], whole[3]) {
					t.Errorf("%s: %v, want samples 1 and 3 of %v", name, some, whole)
				}
				if seen[0] != at+1 || seen[3] <= at+1 || net.conditioned != 2 {
					t.Errorf("%s: steps of each sample %v, %d times conditioned", name, seen, net.conditioned)
				}
			}
		}
	}
}

// TestCallback: what a callback sees of each step, and what becomes of what it
// returns; the progress is told beside it.
func TestCallback(t *testing.T) {
	p := &diffusion.Pipeline{Text: &toy{}, Denoiser: &toy{}, VAE: &toy{}, Scheduler: config}
	plan, err := p.Plan(diffusion.Options{Steps: 4, Scheduler: "ddim", Width: 4, Height: 6})
	if err != nil {
		t.Fatal(err)
	}
	run := func(step diffusion.Callback) (z *engine.Tensor, samples []int, told int, err error) {
		s := engine.NewStream(context.Background(), host.New(1))
		t.Cleanup(s.Close)
		b := diffusion.Batch{IDs: [][]int32{{2}, {3}, {5}}, Noise: diffusion.OneGenerator(1), Step: step, Progress: func() { told++ }}
		z, samples, err = plan.Latents(s, b)
		return z, samples, told, err
	}
	var last []float32
	next := 0
	z, samples, told, err := run(func(st diffusion.Step) ([]int, error) {
		if st.Index != next || st.Count != 4 || !slices.Equal(st.Samples, []int{0, 1, 2}) ||
			!st.Latents.Shape().Equal(engine.Shape{3, 6, 4, 2}) || slices.Equal(last, st.Latents.F32()) {
			t.Errorf("step %d: %+v", next, st)
		}
		next++
		last = slices.Clone(st.Latents.F32())
		return nil, nil
	})
	if err != nil || next != 4 || told != 4 || !slices.Equal(last, z.F32()) || len(samples) != 3 {
		t.Errorf("%d steps, %d told; the last step's latents are the result: %v, %v", next, told, slices.Equal(last, z.F32()), err)
	}
	away := errors.New("the user went away")
	if z, _, told, err := run(func(diffusion.Step) ([]int, error) { return nil, away }); !errors.Is(err, away) || told != 1 || z != nil {
		t.Errorf("a callback's error: %v after %d steps", err, told)
	}
	for _, rows := range [][]int{{3}, {-1}} {
		if _, _, _, err := run(func(diffusion.Step) ([]int, error) { return rows, nil }); err == nil {
			t.Errorf("rows %v were kept of three", rows)
		}
	}
}

// TestPlanRefuses: sizes, steps and strengths that do not fit.
func TestPlanRefuses(t *testing.T) {
	p := &diffusion.Pipeline{Text: &toy{}, Denoiser: &toy{}, VAE: &toy{}, Scheduler: config}
	fine := diffusion.Options{Steps: 4, Scheduler: "ddim", Width: 4, Height: 6}
	for name, edit := range map[string]func(*diffusion.Options){
		"width": func(o *diffusion.Options) { o.Width = -4 }, "height": func(o *diffusion.Options) { o.Height = 0 },
		"none": func(o *diffusion.Options) { o.Width = 0 }, "steps": func(o *diffusion.Options) { o.Steps = 0 },
		"strength": func(o *diffusion.Options) { o.Strength = 1.5 }, "little": func(o *diffusion.Options) { o.Strength = 0.1 },
		"sampler": func(o *diffusion.Options) { o.Scheduler = "x" }, "prediction": func(o *diffusion.Options) { o.Prediction = "x" },
	} {
		o := fine
		if edit(&o); o == fine {
			t.Fatal(name)
		}
		if _, err := p.Plan(o); err == nil {
			t.Errorf("%s: %+v was taken", name, o)
		}
	}
	for strength, steps := range map[float64]int{0: 4, 0.5: 2, 1: 4} {
		o := fine
		o.Strength = strength
		plan, err := p.Plan(o)
		if err != nil || plan.Steps() != steps {
			t.Errorf("strength %v: %d steps, %v; want %d", strength, plan.Steps(), err, steps)
			continue
		}
		s := engine.NewStream(t.Context(), host.New(1))
		b := diffusion.Batch{IDs: [][]int32{{2}}, Noise: diffusion.OneGenerator(1)}
		if strength == 0 {
			b.Init = &diffusion.Moments{}
		}
		if _, _, err := plan.Latents(s, b); err == nil {
			t.Errorf("strength %v, init image %v: taken", strength, b.Init != nil)
		}
	}
}

// TestAllSamplesEnd: a batch that nobody wants any more ends.
func TestAllSamplesEnd(t *testing.T) {
	steps := 0
	if left := draw(t, &toy{}, diffusion.Options{Steps: 9, Scheduler: "ddim"}, []int32{2, 3}, func(st diffusion.Step) ([]int, error) {
		steps++
		if steps == 4 {
			return []int{}, nil
		}
		return nil, nil
	}); len(left) != 0 || steps != 4 {
		t.Errorf("%d samples are left after %d steps, want none after 4", len(left), steps)
	}
}

// TestPredictedOfEachStep: by the same formula, of the latents before each step and
// the net's output for them.
func TestPredictedOfEachStep(t *testing.T) {
	alphas, product := make([]float64, 1000), 1.0
	for i := range alphas {
		root := math.Sqrt(0.00085) + (math.Sqrt(0.012)-math.Sqrt(0.00085))*float64(i)/999
		product *= 1 - root*root
		alphas[i] = product
	}
	const by = 4
	for _, kind := range []string{"pndm", "ddim", "lcm"} {
		sch, err := schedule.New(config, kind, 6)
		if err != nil {
			t.Fatal(err)
		}
		var before []float32
		draw(t, &toy{}, diffusion.Options{Steps: 6, Scheduler: kind, Guidance: 1}, []int32{by}, func(st diffusion.Step) ([]int, error) {
			x := st.Predicted()
			a := alphas[int(sch.Timestep(st.Index))]
			for i, v := range before {
				want := (float64(v) - math.Sqrt(1-a)*by/10*float64(v)) / math.Sqrt(a)
				if have := float64(x.F32()[i]); math.Abs(have-want) > 1e-3*(1+math.Abs(want)) {
					t.Fatalf("%s, step %d: element %d is %v, want %v", kind, st.Index, i, have, want)
				}
			}
			before = slices.Clone(st.Latents.F32())
			st.Stream.Free(x)
			return nil, st.Stream.Err()
		})
	}
}

// TestPredicted: the predicted clean latents of each step, by the formula: of
// epsilon e in latents x, (x - sqrt(1-a) e) / sqrt(a). The last step's are what
// DDIM ends with.
func TestPredicted(t *testing.T) {
	for _, kind := range []string{"pndm", "ddim"} {
		var last []float32
		z := draw(t, &toy{}, diffusion.Options{Steps: 6, Scheduler: kind, Guidance: 3}, []int32{4}, func(st diffusion.Step) ([]int, error) {
			x := st.Predicted()
			last = slices.Clone(x.F32())
			st.Stream.Free(x)
			return nil, st.Stream.Err()
		})
		var diff, sum float64
		for i, v := range z[0] {
			diff += math.Pow(float64(v-last[i]), 2)
			sum += float64(v) * float64(v)
		}
		// At the last step alpha is that of timestep 1, almost 1.
		if e := math.Sqrt(diff / sum); !(e < 0.05) || e == 0 && kind == "pndm" {
			t.Errorf("%s: the last prediction is %.2g from the latents", kind, e)
		}
	}
}

// TestWeightsGoWithTheirIDs: the weights of prompts and of negative prompts, where
// one of both has none, too.
func TestWeightsGoWithTheirIDs(t *testing.T) {
	prompts, negative := [][]float32{{1.5}, {0.5}}, [][]float32{{0.25}, {4}}
	for _, c := range []struct {
		guidance           float64
		prompts, negatives [][]float32
		want               []string
	}{
		{7, prompts, negative, []string{"[7] [0.25] 1", "[8] [4] 1", "[2] [1.5] 1", "[3] [0.5] 1"}},
		{7, prompts, nil, []string{"[7] [] 1", "[8] [] 1", "[2] [1.5] 1", "[3] [0.5] 1"}},
		{7, nil, negative, []string{"[7] [0.25] 1", "[8] [4] 1", "[2] [] 1", "[3] [] 1"}},
		{7, nil, nil, []string{"[7] [] 1", "[8] [] 1", "[2] [] 1", "[3] [] 1"}},
		{1, prompts, negative, []string{"[2] [1.5] 1", "[3] [0.5] 1"}},
	} {
		net := &toy{}
		p := &diffusion.Pipeline{Text: net, Denoiser: net, VAE: net, Scheduler: config}
		plan, err := p.Plan(diffusion.Options{Steps: 1, Guidance: c.guidance, Width: 2, Height: 2, ClipSkip: 1})
		if err != nil {
			t.Fatal(err)
		}
		s := engine.NewStream(context.Background(), host.New(1))
		_, _, err = plan.Latents(s, diffusion.Batch{IDs: [][]int32{{2}, {3}}, Negative: [][]int32{{7}, {8}}, Weights: c.prompts,
			NegativeWeights: c.negatives, Noise: diffusion.Generators([]uint64{1, 2})})
		s.Close()
		if err != nil || !slices.Equal(net.encoded, c.want) {
			t.Errorf("guidance %v, weights %v and %v: %q, error %v, want %q", c.guidance, c.prompts, c.negatives, net.encoded, err, c.want)
		}
	}
}
