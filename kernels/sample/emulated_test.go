//go:build cuda

package sample_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/optest"
	"parley/kernels/sample"
)

// TestEmulated holds the operations on the GPU's device against the CPU's.
func TestEmulated(t *testing.T) {
	for _, f32 := range []bool{false, true} {
		t.Run(fmt.Sprintf("f32 %t", f32), func(t *testing.T) {
			gpu := engine.NewStream(t.Context(), optest.GPU(t, f32))
			cpu := engine.NewStream(t.Context(), host.New(1))
			rng := rand.New(rand.NewPCG(1, 2))
			normals := func(dims ...int) *engine.Tensor {
				v := make([]float32, engine.Shape(dims).Elems())
				for i := range v {
					v[i] = float32(rng.NormFloat64())
				}
				return engine.FromF32(v, dims...)
			}
			// rounded is what the device sees of an activation.
			rounded := func(x *engine.Tensor) *engine.Tensor {
				return engine.Convert(engine.F32, engine.Convert(gpu.Float(), x))
			}
			near := func(name string, have, want *engine.Tensor, bound float64) {
				t.Helper()
				h, err := gpu.Get(have)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				for i, v := range want.F32() {
					if d := math.Abs(float64(h.F32()[i] - v)); !(d <= bound*math.Abs(float64(v))+1e-12) {
						t.Fatalf("%s: element %d is %g, want %g", name, i, h.F32()[i], v)
					}
				}
			}
			for _, r := range []sample.Recipe{
				{PE: 1, X: 1.01, P: -0.1},
				{PE: 1, X: 1.004, P: 2.29, Past: []float64{-2.46, 1.54, -0.375}, Guidance: 7.5},
				{PX: 1.3, PE: -0.8, Clip: 1, X: 0.2, E: 0.1, P: 0.7, First: 0.5, Noise: 0.44, Guidance: 3},
			} {
				for _, dims := range [][]int{{1, 1, 1, 1}, {2, 5, 7, 4}, {0, 8, 8, 4}} {
					model := append([]int(nil), dims...)
					if r.Guidance > 1 {
						model[0] *= 2
					}
					x, e, first, noise := normals(dims...), rounded(normals(model...)), normals(dims...), normals(dims...)
					var past, onGPU []*engine.Tensor
					for range r.Past {
						p := normals(dims...)
						past, onGPU = append(past, p), append(onGPU, gpu.PutAs(engine.F32, p))
					}
					next, p := sample.Step(cpu, r, x, e, past, first, noise)
					gotNext, gotP := sample.Step(gpu, r, gpu.PutAs(engine.F32, x), gpu.Put(e), onGPU, gpu.PutAs(engine.F32, first), gpu.PutAs(engine.F32, noise))
					near(fmt.Sprintf("next of %+v %v", r, dims), gotNext, next, 2e-7)
					near(fmt.Sprintf("prediction of %+v %v", r, dims), gotP, p, 2e-7)
				}
			}
			x, y := normals(3, 77), normals(3, 77)
			near("mix", sample.Mix(gpu, 0.3, gpu.PutAs(engine.F32, x), -1.7, gpu.PutAs(engine.F32, y)), sample.Mix(cpu, 0.3, x, -1.7, y), 2e-7)
			scaled, want := gpu.New(gpu.Float(), 3, 77), cpu.New(engine.F32, 3, 77)
			sample.Scale(gpu, scaled, gpu.PutAs(engine.F32, x), 0.25)
			sample.Scale(cpu, want, x, 0.25)
			near("scale", scaled, rounded(want), 1e-7)

			const rows, vocab = 4, 515
			logits := normals(rows, vocab)
			for i := range logits.F32() {
				logits.F32()[i] *= 4
			}
			ids := [][]int32{{1, 2, 3}, {514}, nil, {7, 7}}
			for _, c := range []sample.Choice{{}, {RepetitionPenalty: 1.4, Bar: true, Barred: 9}, {Sample: true, TopP: 0.9, Seed: 3, Offset: 5, Streams: []uint64{4, 3, 2, 1}},
				{Sample: true, TopK: 12, TopP: 0.7, Temperature: 1.3, RepetitionPenalty: 1.1, Seed: 1 << 60, Streams: []uint64{0, 1, 2, 3}}} {
				want, err := sample.Words(cpu, logits, ids, c)
				if err != nil {
					t.Fatal(err)
				}
				have, err := sample.Words(gpu, gpu.PutAs(engine.F32, logits), ids, c)
				if err != nil {
					t.Fatal(err)
				}
				for i := range want {
					if have[i].ID != want[i].ID || math.Abs(have[i].Log-want[i].Log) > 1e-10 {
						t.Errorf("%+v, row %d: %+v, want %+v", c, i, have[i], want[i])
					}
				}
			}
			ids[2] = []int32{5}
			scores := []float64{-1, -2.5, 0, -1e9}
			for _, c := range []sample.Choice{{}, {RepetitionPenalty: 1.4, Bar: true, Barred: 9}} {
				want, err := sample.Continuations(cpu, logits, ids, scores, 2, c)
				if err != nil {
					t.Fatal(err)
				}
				have, err := sample.Continuations(gpu, gpu.PutAs(engine.F32, logits), ids, scores, 2, c)
				if err != nil {
					t.Fatal(err)
				}
				for p := range want {
					if len(have[p]) != len(want[p]) {
						t.Fatalf("prompt %d: %d continuations, want %d", p, len(have[p]), len(want[p]))
					}
					for i, w := range want[p] {
						if h := have[p][i]; h.Beam != w.Beam || h.ID != w.ID || math.Abs(h.Score-w.Score) > 1e-6 {
							t.Errorf("%+v, prompt %d, place %d: %+v, want %+v", c, p, i, h, w)
						}
					}
				}
			}
			for _, c := range [][2]int{{1, 1}, {3, 32}, {40, 513}} {
				x, y := normals(c[0], c[1]), normals(1, c[1])
				copy(x.F32()[(c[0]-1)*c[1]:], x.F32()[:c[1]]) // a tie
				want, at, err := sample.Cosine(cpu, x, y)
				if err != nil {
					t.Fatal(err)
				}
				have, best, err := sample.Cosine(gpu, gpu.PutAs(engine.F32, x), gpu.PutAs(engine.F32, y))
				if err != nil || best != at {
					t.Fatalf("cosines of %v: row %d, want %d: %v", c, best, at, err)
				}
				for i, v := range want {
					if math.Abs(have[i]-v) > 1e-12 {
						t.Errorf("cosine %d of %v is %v, want %v", i, c, have[i], v)
					}
				}
			}
			if err := gpu.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}
