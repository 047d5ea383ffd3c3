package sample

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/optest/kernel"
)

func normals(rng *rand.Rand, n int, spread float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(spread * rng.NormFloat64())
	}
	return v
}

func TestStepKernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(1, 1))
	s := engine.NewStream(t.Context(), host.New(1))
	for _, c := range []struct {
		name   string
		n      int
		recipe Recipe
		copies int
	}{
		{"one", 1, Recipe{PE: 1, X: 0.5, P: -0.3}, 1},
		{"guided", 333, Recipe{PE: 1, X: 1.01, P: -0.1, Guidance: 7.5}, 2},
		{"clipped", 256, Recipe{PX: 1.3, PE: -0.8, Clip: 1, X: 0.2, E: 0.1, P: 0.7, Guidance: 3}, 2},
		{"multistep", 1000, Recipe{PE: 1, X: 1.004, P: 2.29, Past: []float64{-2.46, 1.54, -0.375}, Guidance: 7.5}, 2},
		{"first", 40, Recipe{PE: 1, P: 0.4, Past: []float64{0.4}, First: 0.99}, 1},
		{"noise", 40, Recipe{PX: 1, PE: -14.6, X: 0.9, P: 0.1, Noise: 0.44}, 0},
	} {
		for _, half := range []bool{true, false} {
			x := normals(rng, c.n, 1)
			count := c.n
			if c.recipe.Guidance > 1 {
				count *= 2
			}
			model := normals(rng, count, 1)
			ms := r.Float(half, model)
			var past []*engine.Tensor
			args := []any{r.Put(x), ms, nil, nil, nil, nil, nil}
			for j := range c.recipe.Past {
				v := normals(rng, c.n, 1)
				past = append(past, engine.FromF32(v, c.n))
				args[2+j] = r.Put(v)
			}
			var first, noise *engine.Tensor
			if c.recipe.First != 0 {
				first = engine.FromF32(normals(rng, c.n, 1), c.n)
				args[5] = r.Put(first.F32())
			}
			if c.recipe.Noise != 0 {
				noise = engine.FromF32(normals(rng, c.n, 1), c.n)
				args[6] = r.Put(noise.F32())
			}
			want, wantP := Step(s, c.recipe, engine.FromF32(x, c.n), engine.FromF32(model, count), past, first, noise)
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			next, p, input := r.New(c.n, 4), r.New(c.n, 4), any(nil)
			if c.copies > 0 {
				input = r.New(c.n*c.copies, kernel.Size(half))
			}
			q := c.recipe
			coefs := [3]float64{}
			copy(coefs[:], q.Past)
			args = append(args, next, p, input, int64(c.n), q.PX, q.PE, q.Clip, q.X, q.E, q.P, coefs[0], coefs[1], coefs[2], q.First, q.Noise, q.Guidance, 0.25, c.copies)
			r.Run("step_"+kernel.Type(half), kernel.Dim{2}, kernel.Dim{256}, 0, args...)
			for i, v := range r.Floats(next) {
				// A fused product may round the double otherwise, hardly ever the float.
				if w := want.F32()[i]; math.Abs(float64(v-w)) > 2e-7*math.Abs(float64(w))+1e-12 {
					t.Errorf("%s, half %t: latent %d is %g, want %g", c.name, half, i, v, w)
				}
				if got, w := r.Floats(p)[i], wantP.F32()[i]; math.Abs(float64(got-w)) > 2e-7*math.Abs(float64(w))+1e-12 {
					t.Errorf("%s, half %t: prediction %d is %g, want %g", c.name, half, i, got, w)
				}
			}
			if c.copies > 0 {
				scaled := make([]float32, 0, c.n*c.copies)
				for range c.copies {
					for _, v := range r.Floats(next) {
						scaled = append(scaled, 0.25*v)
					}
				}
				if half {
					r.F16(scaled)
				}
				for i, v := range r.Floats(input.(kernel.Array)) {
					if v != scaled[i] {
						t.Fatalf("%s, half %t: input %d is %g, want %g", c.name, half, i, v, scaled[i])
					}
				}
			}
		}
	}
	x, y := normals(rng, 777, 1), normals(rng, 777, 1)
	out := r.New(777, 4)
	r.Run("mix_f32", kernel.Dim{2}, kernel.Dim{256}, 0, r.Put(x), r.Put(y), out, int64(777), 0.3, -1.7)
	for i, v := range r.Floats(out) {
		if w := 0.3*float64(x[i]) - 1.7*float64(y[i]); math.Abs(float64(v)-w) > 1e-7*math.Abs(w)+1e-12 {
			t.Errorf("mix: element %d is %g, want %g", i, v, w)
		}
	}
	for _, from := range []bool{true, false} {
		for _, to := range []bool{true, false} {
			xs, ys := r.Float(from, x), r.New(len(x), kernel.Size(to))
			r.Run(fmt.Sprintf("scale_%s_%s", kernel.Type(from), kernel.Type(to)), kernel.Dim{3}, kernel.Dim{256}, 0, xs, ys, int64(len(x)), float32(0.18215))
			want := make([]float32, len(x))
			for i := range x {
				want[i] = float32(0.18215) * x[i]
			}
			if to {
				r.F16(want)
			}
			for i, v := range r.Floats(ys) {
				if v != want[i] {
					t.Fatalf("scale from f16 %t to f16 %t: element %d is %g, want %g", from, to, i, v, want[i])
				}
			}
		}
	}
}

func TestFiniteKernels(t *testing.T) {
	r := kernel.Open(t, image)
	for _, half := range []bool{true, false} {
		for _, n := range []int{1, 9, 2051} {
			for _, bad := range []float32{0, 65504, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())} {
				for _, at := range []int{0, n / 2, n - 1} {
					x := make([]float32, n)
					x[at] = bad
					xs, flag := r.Float(half, x), r.Put([]int32{0})
					r.Run("finite_"+kernel.Type(half), kernel.Dim{2}, kernel.Dim{256}, 0, xs, flag, int64(n))
					got := []int32{-1}
					r.Get(flag, got)
					if want := int32(0); got[0] != want && (bad == 0 || bad == 65504) || got[0] != 1 && bad != 0 && bad != 65504 {
						t.Errorf("%g at %d of %d, half %t: flag %d", bad, at, n, half, got[0])
					}
				}
			}
		}
	}
}

// setting is the kernels' Choice.
func setting(r *kernel.Room, c Choice) kernel.Array {
	var b []byte
	bits := func(v uint64) { b = binary.LittleEndian.AppendUint64(b, v) }
	word := func(v uint32) { b = binary.LittleEndian.AppendUint32(b, v) }
	or1 := func(v float64) float64 {
		if v == 0 {
			return 1
		}
		return v
	}
	bits(math.Float64bits(or1(c.Temperature)))
	bits(math.Float64bits(or1(c.TopP)))
	bits(c.Seed)
	bits(c.Offset)
	word(uint32(c.TopK))
	if c.Sample {
		word(1)
	} else {
		word(0)
	}
	if c.Bar {
		word(uint32(c.Barred))
	} else {
		word(math.MaxUint32)
	}
	word(math.Float32bits(float32(or1(c.RepetitionPenalty))))
	return r.Put(b)
}

// texts are rows of ids, some longer, in rows of one length.
func texts(rng *rand.Rand, rows, room, vocab int) (ids [][]int32, flat, counts []int32) {
	for range rows {
		n := 1 + rng.IntN(room)
		row := make([]int32, room)
		for i := range row {
			row[i] = int32(rng.IntN(vocab))
		}
		ids, flat, counts = append(ids, row[:n]), append(flat, row...), append(counts, int32(n))
	}
	return
}

func TestWordKernels(t *testing.T) {
	r := kernel.Open(t, image)
	s := engine.NewStream(t.Context(), host.New(1))
	rng := rand.New(rand.NewPCG(5, 5))
	for _, vocab := range []int{1, 2, 33, 1000, 30524} {
		for _, spread := range []float64{0.001, 6, 60} {
			if vocab > 10000 && spread != 6 {
				continue
			}
			const rows, room = 3, 7
			logits := normals(rng, rows*vocab, spread)
			for i := range logits {
				if vocab > 2 && i%5 == 0 {
					logits[i] = float32(math.Round(float64(logits[i])))
				}
			}
			if spread == 0.001 && vocab > 33 {
				clear(logits[:vocab]) // all alike: more than a range's list holds
				logits[2*vocab-1] = float32(math.Inf(-1))
			}
			ids, flat, counts := texts(rng, rows, room, vocab)
			choices := []Choice{{}, {RepetitionPenalty: 1.3, Bar: true, Barred: int32(vocab - 1)}, {Sample: true}, {Sample: true, TopP: 0.9, RepetitionPenalty: 1.1},
				{Sample: true, TopP: 0.3, Temperature: 0.7}, {Sample: true, TopK: 1}, {Sample: true, TopK: 5}, {Sample: true, TopK: 40, TopP: 0.5},
				{Sample: true, TopP: 1e-9}, {Sample: true, Temperature: 3}, {Sample: true, TopK: 1 << 20, TopP: 0.999}}
			if vocab == 1 {
				choices = choices[:1]
			}
			if vocab > 10000 {
				choices = choices[1:4]
			}
			for k, c := range choices {
				c.Seed, c.Offset, c.Streams = uint64(1e12)+uint64(k), uint64(k), []uint64{7, 1 << 40, 0}
				if k == 1 {
					ids[1], counts[1] = nil, -1
				}
				want, err := Words(s, engine.FromF32(logits, rows, vocab), ids, c)
				if err != nil {
					t.Fatal(err)
				}
				out, next := r.New(rows, 16), r.New(rows, 4)
				r.Run("words_f32", kernel.Dim{rows}, kernel.Dim{512}, (vocab+31)/32*4, r.Put(logits), r.Put(flat), r.Put(counts), setting(r, c), r.Put(c.Streams), out, next, vocab, room)
				for i := range rows {
					var w struct {
						ID, Unused int32
						Log        float64
					}
					var n [1]int32
					r.Get(out.At(i), &w)
					if ids[i] == nil {
						if w.ID != -1 {
							t.Errorf("row %d, which is passed over, has word %d", i, w.ID)
						}
						continue
					}
					r.Get(next.At(i), n[:])
					if w.ID != want[i].ID || n[0] != w.ID || !(math.Abs(w.Log-want[i].Log) < 1e-10) && want[i].Log != w.Log {
						t.Errorf("%d words, spread %g, %+v, row %d: %+v, next %d, want %+v", vocab, spread, c, i, w, n[0], want[i])
					}
				}
				if k == 1 {
					ids, flat, counts = texts(rng, rows, room, vocab)
				}
			}
		}
	}
}

func TestDrawsFollowTheirProbabilities(t *testing.T) {
	r := kernel.Open(t, image)
	c := Choice{Sample: true, TopP: 0.99, Seed: 11}
	rows := 150
	logits := []float32{}
	for i := range rows {
		logits = append(logits, 0, 1, 2, -9)
		c.Streams = append(c.Streams, uint64(i))
	}
	counts, flat := make([]int32, rows), make([]int32, rows)
	out := r.New(rows, 16)
	r.Run("words_f32", kernel.Dim{rows}, kernel.Dim{512}, 4, r.Put(logits), r.Put(flat), r.Put(counts), setting(r, c), r.Put(c.Streams), out, nil, 4, 1)
	var seen [4]float64
	for i := range rows {
		var w [4]int32
		r.Get(out.At(i), w[:])
		seen[w[0]]++
	}
	sum := 1 + math.E + math.E*math.E
	for id, p := range []float64{1 / sum, math.E / sum, math.E * math.E / sum, 0} {
		if math.Abs(seen[id]/float64(rows)-p) > 4*math.Sqrt(p*(1-p)/float64(rows)) {
			t.Errorf("word %d came %v times of %d, its probability is %.3f", id, seen[id], rows, p)
		}
	}
}

func TestContinuationKernel(t *testing.T) {
	r := kernel.Open(t, image)
	s := engine.NewStream(t.Context(), host.New(1))
	rng := rand.New(rand.NewPCG(6, 6))
	for _, c := range []struct {
		prompts, beams, vocab int
		first                 bool
		choice                Choice
	}{
		{1, 1, 2, false, Choice{}}, {2, 3, 40, false, Choice{}}, {2, 3, 1000, true, Choice{Bar: true, Barred: 3}}, {1, 5, 1000, false, Choice{RepetitionPenalty: 1.5}},
		{3, 2, 777, false, Choice{RepetitionPenalty: 0.7, Bar: true, Barred: 776}}, {1, 3, 30524, false, Choice{}},
	} {
		const room = 5
		rows := c.prompts * c.beams
		logits := normals(rng, rows*c.vocab, 3)
		for i := range logits {
			if i%3 == 0 {
				logits[i] = float32(math.Round(float64(logits[i])))
			}
		}
		ids, flat, counts := texts(rng, rows, room, c.vocab)
		scores := make([]float64, rows)
		for i := range scores {
			scores[i] = -3 * rng.Float64()
			if c.first {
				scores[i] = 0
				if i%c.beams > 0 {
					scores[i] = -1e9
				}
			}
		}
		if !c.first && c.beams > 1 { // two beams alike
			copy(logits[c.vocab:2*c.vocab], logits[:c.vocab])
			scores[1], counts[1] = scores[0], counts[0]
			copy(flat[room:2*room], flat[:room])
			ids[1] = ids[0]
		}
		want, err := Continuations(s, engine.FromF32(logits, rows, c.vocab), ids, scores, c.beams, c.choice)
		if err != nil {
			t.Fatal(err)
		}
		out := r.New(rows*2, 16)
		r.Run("continuations_f32", kernel.Dim{c.prompts}, kernel.Dim{512}, c.beams*((c.vocab+31)/32)*4, r.Put(logits), r.Put(flat), r.Put(counts), r.Put(scores), setting(r, c.choice), out, c.vocab, room, c.beams)
		for p := range want {
			for i, w := range want[p] {
				var n struct {
					Beam, ID int32
					Score    float64
				}
				r.Get(out.At(p*2*c.beams+i), &n)
				if int(n.Beam) != w.Beam || n.ID != w.ID || math.Abs(n.Score-w.Score) > 1e-6 {
					t.Errorf("%+v, prompt %d, place %d: %+v, want %+v", c, p, i, n, w)
				}
			}
		}
	}
}

func TestCosineKernel(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(7, 7))
	for _, c := range [][2]int{{1, 1}, {3, 7}, {10, 512}, {40, 33}} {
		a, b := normals(rng, c[0]*c[1], 1), normals(rng, c[1], 1)
		if c[0] > 2 {
			copy(a[2*c[1]:3*c[1]], a[:c[1]]) // a tie
		}
		scores, best := r.New(c[0], 8), r.New(1, 4)
		r.Run("cosine_f32", kernel.Dim{1}, kernel.Dim{512}, 0, r.Put(a), r.Put(b), scores, best, c[0], c[1])
		top := 0
		got := make([]float64, c[0])
		r.Get(scores, got)
		for i := range c[0] {
			var sum float64
			for j := range c[1] {
				sum += float64(a[i*c[1]+j]) * float64(b[j])
			}
			if math.Abs(got[i]-sum) > 1e-12 {
				t.Errorf("%v: score %d is %g, want %g", c, i, got[i], sum)
			}
			if got[i] > got[top] {
				top = i
			}
		}
		var at [1]int32
		if r.Get(best, at[:]); int(at[0]) != top {
			t.Errorf("%v: best is %d, want %d", c, at[0], top)
		}
	}
}
