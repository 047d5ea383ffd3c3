//go:build cuda

package sampling_test

import (
	"math"
	"strings"
	"testing"

	"parley/engine"
	"parley/kernels/optest"
	"parley/kernels/sampling"
)

// TestEmulated holds the operations on the GPU's device against the CPU's.
func TestEmulated(t *testing.T) {
	optest.Beside(t, func(p *optest.Pair) {
		const rows, vocab = 4, 515
		logits := p.Normals(rows, vocab)
		for i := range logits.F32() {
			logits.F32()[i] *= 4
		}
		ids := [][]int32{{1, 2, 3}, {514}, nil, {7, 7}}
		for _, o := range []sampling.Options{
			{},
			{RepetitionPenalty: 1.4, Suppress: true, Suppressed: 9},
			{Sample: true, TopP: 0.9, Seed: 3, Offset: 5, Subsequences: []uint64{4, 3, 2, 1}},
			{Sample: true, TopK: 12, TopP: 0.7, Temperature: 1.3, RepetitionPenalty: 1.1, Seed: 1 << 60,
				Subsequences: []uint64{0, 1, 2, 3}},
		} {
			want, err := sampling.Tokens(p.CPU, logits, ids, o)
			if err != nil {
				p.Fatal(err)
			}
			have, err := sampling.Tokens(p.GPU, p.GPU.PutAs(engine.F32, logits), ids, o)
			if err != nil {
				p.Fatal(err)
			}
			for i := range want {
				if have[i].ID != want[i].ID || math.Abs(have[i].LogProb-want[i].LogProb) > 1e-10 {
					p.Errorf("%+v, row %d: %+v, want %+v", o, i, have[i], want[i])
				}
			}
		}
		ids[2] = []int32{5}
		scores := []float64{-1, -2.5, 0, -1e9}
		for _, o := range []sampling.Options{{}, {RepetitionPenalty: 1.4, Suppress: true, Suppressed: 9}} {
			want, err := sampling.Continuations(p.CPU, logits, ids, scores, 2, o)
			if err != nil {
				p.Fatal(err)
			}
			have, err := sampling.Continuations(p.GPU, p.GPU.PutAs(engine.F32, logits), ids, scores, 2, o)
			if err != nil {
				p.Fatal(err)
			}
			for i := range want {
				if len(have[i]) != len(want[i]) {
					p.Fatalf("prompt %d: %d continuations, want %d", i, len(have[i]), len(want[i]))
				}
				for j, w := range want[i] {
					if h := have[i][j]; h.Beam != w.Beam || h.ID != w.ID || math.Abs(h.Score-w.Score) > 1e-6 {
						p.Errorf("%+v, prompt %d, place %d: %+v, want %+v", o, i, j, h, w)
					}
				}
			}
		}
	})
}

// TestBounds: what the kernels have no room for is an error of the operation.
func TestBounds(t *testing.T) {
	optest.Beside(t, func(p *optest.Pair) {
		for beams, want := range map[int]string{sampling.MaxBeams: "",
			sampling.MaxBeams + 1: "65 beams: at most 64 on " + p.GPU.Device().Name()} {
			s := engine.NewStream(t.Context(), p.GPU.Device())
			logits := s.PutAs(engine.F32, p.Normals(beams, 3))
			best, err := sampling.Continuations(s, logits, make([][]int32, beams), make([]float64, beams), beams, sampling.Options{})
			if want == "" && (err != nil || len(best[0]) != 2*beams) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				p.Errorf("%d beams: %v, want %q", beams, err, want)
			}
		}
		s := engine.NewStream(t.Context(), p.GPU.Device())
		// BLIP's vocabulary, and more beams than any device's shared memory has room for.
		const blip = 30524
		_, err := sampling.Continuations(s, s.New(engine.F32, 62, blip), make([][]int32, 62), make([]float64, 62), 62, sampling.Options{})
		if err == nil || !strings.Contains(err.Error(), "62 beams of a vocabulary of 30524: at most ") {
			p.Errorf("62 beams of BLIP's vocabulary: %v", err)
		}
		_, err = sampling.Tokens(s, s.New(engine.F32, 1, sampling.MaxVocab+1), [][]int32{{0}}, sampling.Options{})
		if err == nil || !strings.Contains(err.Error(), "a vocabulary of 2097153: at most 2097152 on "+p.GPU.Device().Name()) {
			p.Errorf("a vocabulary that is too large: %v", err)
		}
	})
}
