package attention_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/attention"
	"parley/kernels/optest"
)

func TestAttend(t *testing.T) { optest.Host(t, optest.Attend) }

// TestPadding: a text has the same bits however long the longest text of its batch is.
func TestPadding(t *testing.T) {
	const heads, dim, longest = 2, 16, 80
	const width = heads * dim
	rng := rand.New(rand.NewPCG(1, 2))
	full := make([]float32, longest*3*width)
	for i := range full {
		full[i] = float32(rng.NormFloat64())
	}
	s := engine.NewStream(t.Context(), host.New(2))
	defer s.Close()
	var first []float32
	for length := 8; length <= longest; length += 8 {
		part := func(at int) *engine.Tensor {
			return s.Put(engine.FromF32(full[at*longest*width:][:length*width], 1, length, width))
		}
		y, err := s.Get(attention.Attend(s, part(0), part(1), part(2), attention.Options{Heads: heads, Scale: 0.25, Causal: true}))
		if err != nil {
			t.Fatal(err)
		}
		row := y.F32()[:8*width]
		if first == nil {
			first = row
		}
		if !slices.Equal(row, first) {
			t.Errorf("the first 8 of %d queries have other bits than alone", length)
		}
	}
}

func BenchmarkAttend(b *testing.B) { optest.BenchHost(b, optest.BenchAttend) }
