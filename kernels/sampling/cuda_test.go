package sampling

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/optest/kernel"
)

// options are the kernels' Options.
func options(r *kernel.Room, c Options) kernel.Array {
	var b []byte
	bits := func(v uint64) { b = binary.LittleEndian.AppendUint64(b, v) }
	u32 := func(v uint32) { b = binary.LittleEndian.AppendUint32(b, v) }
	bits(math.Float64bits(orOne(c.Temperature)))
	bits(math.Float64bits(orOne(c.TopP)))
	bits(c.Seed)
	bits(c.Offset)
	u32(uint32(c.TopK))
	if c.Sample {
		u32(1)
	} else {
		u32(0)
	}
	if c.Suppress {
		u32(uint32(c.Suppressed))
	} else {
		u32(math.MaxUint32)
	}
	u32(math.Float32bits(float32(orOne(c.RepetitionPenalty))))
	return r.Put(b)
}

// sequences are rows of ids, some longer, in rows of one length.
func sequences(rng *rand.Rand, rows, room, vocab int) (ids [][]int32, flat, counts []int32) {
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

func TestTokenKernels(t *testing.T) {
	r := kernel.Open(t, image)
	s := engine.NewStream(t.Context(), host.New(1))
	rng := rand.New(rand.NewPCG(5, 5))
	for _, vocab := range []int{1, 2, 33, 1000, 30524} {
		for _, spread := range []float64{0.001, 6, 60} {
			if vocab > 10000 && spread != 6 {
				continue
			}
			const rows, room = 3, 7
			logits := kernel.Normals(rng, rows*vocab, spread)
			for i := range logits {
				if vocab > 2 && i%5 == 0 {
					logits[i] = float32(math.Round(float64(logits[i])))
				}
			}
			if spread == 0.001 && vocab > 33 {
				clear(logits[:vocab]) // all alike: more than a range's list holds
				logits[2*vocab-1] = float32(math.Inf(-1))
			}
			ids, flat, counts := sequences(rng, rows, room, vocab)
			all := []Options{{}, {RepetitionPenalty: 1.3, Suppress: true, Suppressed: int32(vocab - 1)}, {Sample: true},
				{Sample: true, TopP: 0.9, RepetitionPenalty: 1.1},
				{Sample: true, TopP: 0.3, Temperature: 0.7}, {Sample: true, TopK: 1}, {Sample: true, TopK: 5},
				{Sample: true, TopK: 40, TopP: 0.5},
				{Sample: true, TopP: 1e-9}, {Sample: true, Temperature: 3}, {Sample: true, TopK: 1 << 20, TopP: 0.999}}
			if vocab == 1 {
				all = all[:1]
			}
			if vocab > 10000 {
				all = all[1:4]
			}
			for k, c := range all {
				c.Seed, c.Offset, c.Subsequences = uint64(1e12)+uint64(k), uint64(k), []uint64{7, 1 << 40, 0}
				if k == 1 {
					ids[1], counts[1] = nil, -1
				}
				want, err := Tokens(s, engine.FromF32(logits, rows, vocab), ids, c)
				if err != nil {
					t.Fatal(err)
				}
				out := r.New(rows, 16)
				r.Run("tokens_f32", kernel.Dim{rows}, kernel.Dim{512}, (vocab+31)/32*4,
					r.Put(logits), r.Put(flat), r.Put(counts), options(r, c), r.Put(c.Subsequences), out, vocab, room)
				for i := range rows {
					var w struct {
						ID, Unused int32
						LogProb    float64
					}
					r.Get(out.At(i), &w)
					if ids[i] == nil {
						if w.ID != -1 {
							t.Errorf("row %d, which is passed over, has token %d", i, w.ID)
						}
						continue
					}
					if w.ID != want[i].ID || !(math.Abs(w.LogProb-want[i].LogProb) < 1e-10) && want[i].LogProb != w.LogProb {
						t.Errorf("%d tokens, spread %g, %+v, row %d: %+v, want %+v", vocab, spread, c, i, w, want[i])
					}
				}
				if k == 1 {
					ids, flat, counts = sequences(rng, rows, room, vocab)
				}
			}
		}
	}
}

func TestDrawsFollowTheirProbabilities(t *testing.T) {
	r := kernel.Open(t, image)
	c := Options{Sample: true, TopP: 0.99, Seed: 11}
	rows := 150
	logits := []float32{}
	for i := range rows {
		logits = append(logits, 0, 1, 2, -9)
		c.Subsequences = append(c.Subsequences, uint64(i))
	}
	counts, flat := make([]int32, rows), make([]int32, rows)
	out := r.New(rows, 16)
	r.Run("tokens_f32", kernel.Dim{rows}, kernel.Dim{512}, 4,
		r.Put(logits), r.Put(flat), r.Put(counts), options(r, c), r.Put(c.Subsequences), out, 4, 1)
	var seen [4]float64
	for i := range rows {
		var w [4]int32
		r.Get(out.At(i), w[:])
		seen[w[0]]++
	}
	sum := 1 + math.E + math.E*math.E
	for id, p := range []float64{1 / sum, math.E / sum, math.E * math.E / sum, 0} {
		if math.Abs(seen[id]/float64(rows)-p) > 4*math.Sqrt(p*(1-p)/float64(rows)) {
			t.Errorf("token %d came %v times of %d, its probability is %.3f", id, seen[id], rows, p)
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
		options               Options
	}{
		{1, 1, 2, false, Options{}}, {2, 3, 40, false, Options{}}, {2, 3, 1000, true, Options{Suppress: true, Suppressed: 3}},
		{1, 5, 1000, false, Options{RepetitionPenalty: 1.5}},
		{3, 2, 777, false, Options{RepetitionPenalty: 0.7, Suppress: true, Suppressed: 776}}, {1, 3, 30524, false, Options{}},
	} {
		const room = 5
		rows := c.prompts * c.beams
		logits := kernel.Normals(rng, rows*c.vocab, 3)
		for i := range logits {
			if i%3 == 0 {
				logits[i] = float32(math.Round(float64(logits[i])))
			}
		}
		ids, flat, counts := sequences(rng, rows, room, c.vocab)
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
		want, err := Continuations(s, engine.FromF32(logits, rows, c.vocab), ids, scores, c.beams, c.options)
		if err != nil {
			t.Fatal(err)
		}
		out := r.New(rows*2, 16)
		r.Run("continuations_f32", kernel.Dim{c.prompts}, kernel.Dim{512}, c.beams*((c.vocab+31)/32)*4,
			r.Put(logits), r.Put(flat), r.Put(counts), r.Put(scores), options(r, c.options), out, c.vocab, room, c.beams)
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
