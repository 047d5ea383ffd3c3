//go:build cuda

package decode_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/optest"
	"parley/kernels/sampling"
	"parley/nets/blip"
	"parley/nets/decode"
	"parley/weights/mini"
)

// TestGenerateCUDA takes some of transformers' runs, of each model and each
// number of beams; on hardware all of them.
func TestGenerateCUDA(t *testing.T) {
	dev := optest.GPU(t, true)
	n := map[string]int{}
	chosen := 0
	testGenerate(t, dev, func(i int, model string) bool {
		every := 11
		if model == "mini" {
			every = 130
		}
		n[model]++
		if dev.Machine() != nil && n[model]%every != every/2 {
			return false
		}
		chosen++
		return true
	})
	t.Logf("%d runs", chosen)
}

// model keeps what a model says at each step.
type model struct {
	*blip.Cache
	dev    engine.Device
	logits []*engine.Tensor // [rows, V], on the host
}

func (w *model) Next(s *engine.Stream, ids [][]int32) (*engine.Tensor, error) {
	y, err := w.Cache.Next(s, ids)
	if err != nil {
		return nil, err
	}
	h, err := s.Get(y)
	if err != nil {
		return nil, err
	}
	w.logits = append(w.logits, engine.FromF32(slices.Clone(h.F32()), h.Shape()...))
	return y, nil
}

// write generates, and keeps the logits. Spans that somebody takes keep the
// GPU from recording.
func write(t *testing.T, m *blip.Model, dev engine.Device, spans engine.Observer, prompts [][]int32, o decode.Options) ([]decode.Text, *model) {
	t.Helper()
	s := engine.NewStream(context.Background(), dev)
	s.Watch(nil, spans)
	defer s.Close()
	v, err := m.Vision.Forward(s, s.Put(pictures(1, m.Vision.Size(), 3)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Text.Start(s, v, o.Rows(len(prompts)), o.MaxLength)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Free(s)
	w := &model{Cache: c, dev: dev}
	o.EOS, o.Pad = m.Text.Sep, m.Text.PadID
	texts, err := decode.Generate(s, w, prompts, o)
	if err != nil {
		t.Fatal(err)
	}
	return texts, w
}

// TestChoicesCUDA: the tokens that the device chooses are the CPU's for the same
// seed. In f16 a row may part from the CPU's, where the logits of that token are
// the CPU's but for f16's error and the host chooses from them as the device
// did.
func TestChoicesCUDA(t *testing.T) {
	cpu := host.New(2)
	for _, f32 := range []bool{true, false} {
		dev := optest.GPU(t, f32)
		bound := map[engine.DType]float64{engine.F32: 1e-5, engine.F16: 5e-3}[dev.Float()]
		for _, c := range []struct {
			name string
			rows int
			half bool // in f16 alone
			o    decode.Options
		}{
			{"greedy", 1, true, decode.Options{MaxLength: 16}},
			{"greedy, no repetitions", 2, false, decode.Options{MaxLength: 12, MinLength: 8, RepetitionPenalty: 1.3}},
			{"nucleus", 3, false, decode.Options{Sample: true, TopP: 0.9, RepetitionPenalty: 1.1, MinLength: 5, MaxLength: 16, Seed: 1}},
			{"wide nucleus", 64, true, decode.Options{Sample: true, TopP: 0.98, Temperature: 1.5, MaxLength: 14, Seed: 77}},
			{"few words", 12, true, decode.Options{Sample: true, TopK: 20, Temperature: 2, MaxLength: 14, Seed: 5}},
		} {
			if f32 && c.half && dev.Machine() != nil {
				continue
			}
			t.Run(fmt.Sprintf("%v/%s", dev.Float(), c.name), func(t *testing.T) {
				m, ref := load(t, dev, mini.FS(), "blip"), load(t, cpu, mini.FS(), "blip")
				var prompts [][]int32
				for range c.rows {
					prompts = append(prompts, []int32{m.Text.BOS, 5})
				}
				have, w := write(t, m, dev, nil, prompts, c.o)
				want, r := write(t, ref, cpu, nil, prompts, c.o)
				parted := 0
				for i := range want {
					at := part(have[i].IDs, want[i].IDs)
					if at < 0 {
						continue
					}
					parted++
					if f32 {
						t.Errorf("row %d: have %v, want %v", i, have[i].IDs, want[i].IDs)
						continue
					}
					step := at - 2
					x, y := row(w.logits[step], i), row(r.logits[step], i)
					e := far(x.F32(), y.F32())
					choice := sampling.Options{RepetitionPenalty: c.o.RepetitionPenalty, Suppress: at < c.o.MinLength, Suppressed: m.Text.Sep,
						Sample: c.o.Sample, Temperature: c.o.Temperature, TopP: c.o.TopP, TopK: c.o.TopK, Seed: c.o.Seed, Subsequences: []uint64{uint64(i)}, Offset: uint64(step)}
					tokens, err := sampling.Tokens(engine.NewStream(context.Background(), cpu), x, [][]int32{want[i].IDs[:at]}, choice)
					if err != nil {
						t.Fatal(err)
					}
					t.Logf("row %d parts at token %d; the logits' relative error there is %.2g", i, at, e)
					if !(e <= bound) || tokens[0].ID != have[i].IDs[at] {
						t.Errorf("row %d: have %v, want %v; from the device's logits the host takes %d", i, have[i].IDs, want[i].IDs, tokens[0].ID)
					}
				}
				worst := 0.
				for i := range min(len(w.logits), len(r.logits)) {
					for j := range want {
						if at := part(have[j].IDs, want[j].IDs); (at < 0 || i <= at-2) && len(want[j].IDs) > i+2 {
							worst = max(worst, far(row(w.logits[i], j).F32(), row(r.logits[i], j).F32()))
						}
					}
				}
				t.Logf("%d of %d rows part; the logits' worst relative error is %.2g", parted, len(want), worst)
				if !(worst <= bound) {
					t.Errorf("logits: relative error %.2g, want at most %g", worst, bound)
				}
			})
		}
	}
}

// TestBeamsCUDA: beam search in f16 finds the CPU's texts, or in their places
// others of the same score but for f16's error.
func TestBeamsCUDA(t *testing.T) {
	cpu := host.New(2)
	dev := optest.GPU(t, false)
	m, ref := load(t, dev, mini.FS(), "blip"), load(t, cpu, mini.FS(), "blip")
	for _, o := range []decode.Options{
		{Beams: 3, Keep: 3, MinLength: 5, MaxLength: 12},
		{Beams: 5, Keep: 5, MaxLength: 10, LengthPenalty: 2, RepetitionPenalty: 1.3},
	} {
		prompts := [][]int32{{m.Text.BOS, 5}}
		have, _ := write(t, m, dev, nil, prompts, o)
		want, _ := write(t, ref, cpu, nil, prompts, o)
		for i := range want {
			if !slices.Equal(have[i].IDs, want[i].IDs) {
				t.Logf("beam %d: have %v %.5f, want %v %.5f", i, have[i].IDs, have[i].Score, want[i].IDs, want[i].Score)
			}
			if math.Abs(have[i].Score-want[i].Score) > 5e-3*(1+math.Abs(want[i].Score)) {
				t.Errorf("beam %d: have %v %.5f, want %v %.5f", i, have[i].IDs, have[i].Score, want[i].IDs, want[i].Score)
			}
		}
	}
}

type nobody struct{}

func (nobody) Observe(engine.Span) {}

// TestRecordedCUDA: a captured token's logits are to the bit those of its
// operations one by one, also when beams change places.
func TestRecordedCUDA(t *testing.T) {
	dev := optest.GPU(t, false)
	m := load(t, dev, mini.FS(), "blip")
	before := dev.Usage()
	o := decode.Options{Beams: 3, MinLength: 9, MaxLength: 9}
	prompts := [][]int32{{m.Text.BOS, 5}}
	have, w := write(t, m, dev, nil, prompts, o)
	want, r := write(t, m, dev, nobody{}, prompts, o)
	if !slices.Equal(have[0].IDs, want[0].IDs) || have[0].Score != want[0].Score {
		t.Errorf("have %v, want %v", have, want)
	}
	for i := range r.logits {
		if !slices.Equal(w.logits[i].F32(), r.logits[i].F32()) {
			t.Errorf("token %d: other logits", i)
		}
	}
	if after := dev.Usage(); after.Blocks != before.Blocks || after.Graphs != 0 {
		t.Errorf("%+v is held, %+v before", after, before)
	}
}

// part is where two texts part, or -1.
func part(a, b []int32) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

func row(x *engine.Tensor, i int) *engine.Tensor { return x.Rows(i, i+1) }

// far is |a-b| / |b|.
func far(a, b []float32) float64 {
	var diff, sum float64
	for i, v := range b {
		d := float64(a[i] - v)
		diff += d * d
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(diff / sum)
}
