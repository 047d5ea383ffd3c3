package diffusion_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/elementwise"
	"parley/nets/diffusion"
	"parley/weights"
)

// toy is a Stable Diffusion of arithmetic: the text of a sample is its first id,
// and the net predicts the latents times it.
type toy struct{ conditioned int }

func (*toy) Encode(s *engine.Stream, ids [][]int32, _ [][]float32, _ int) (*engine.Tensor, error) {
	x := make([]float32, len(ids))
	for i, row := range ids {
		x[i] = float32(row[0])
	}
	return s.PutAs(engine.F32, engine.FromF32(x, len(ids), 1, 1)), s.Err()
}

func (*toy) Size() (int, int) { return 1, 1 }
func (*toy) Channels() int    { return 2 }

type toyConditions struct{ by []float32 }

func (t *toy) Condition(s *engine.Stream, _ []float64, text *engine.Tensor) (diffusion.Conditions, error) {
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
	for _, kind := range []string{"pndm", "euler-a", "dpmpp2m", "ddim", "lcm"} {
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
