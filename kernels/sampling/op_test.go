package sampling

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/engine"
	"parley/engine/host"
)

// sorted is what pick means: all tokens from the likeliest down, cut, and laid
// end to end.
func (o Options) sorted(scores []float32, u float64) int32 {
	t := cmp.Or(o.Temperature, 1)
	type token struct {
		id int32
		p  float64
	}
	var tokens []token
	top := float64(slices.Max(scores)) / t
	for i, v := range scores {
		tokens = append(tokens, token{int32(i), math.Exp(float64(v)/t - top)})
	}
	slices.SortStableFunc(tokens, func(a, b token) int { return cmp.Compare(b.p, a.p) })
	if o.TopK > 0 && o.TopK < len(tokens) {
		tokens = tokens[:o.TopK]
	}
	sum := 0.0
	for _, w := range tokens {
		sum += w.p
	}
	if o.TopP > 0 && o.TopP < 1 {
		before := 0.0
		for i, w := range tokens {
			if i > 0 && before >= o.TopP*sum {
				tokens = tokens[:i]
				break
			}
			before += w.p
		}
		sum = 0
		for _, w := range tokens {
			sum += w.p
		}
	}
	at := u * sum
	for _, w := range tokens {
		if at -= w.p; at < 0 {
			return w.id
		}
	}
	return tokens[len(tokens)-1].id
}

func TestPickIsTheSortedDraw(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 2, 3, 17, 1000, 30524} {
		for _, spread := range []float64{0.01, 1, 8, 60} {
			scores := make([]float32, n)
			for i := range scores {
				scores[i] = float32(spread * rng.NormFloat64())
				if n > 2 && i%5 == 0 {
					scores[i] = float32(math.Round(float64(scores[i]))) // equal ones, and zeros of both signs
				}
			}
			if n > 3 {
				scores[n/2] = float32(math.Inf(-1))
			}
			for _, c := range []Options{{}, {TopP: 0.9}, {TopP: 0.3, Temperature: 0.7}, {TopK: 1}, {TopK: 5}, {TopK: 40, TopP: 0.5},
				{TopP: 1e-9}, {Temperature: 3}, {TopK: 1 << 20, TopP: 0.999}} {
				for i := range 12 {
					u := rng.Float64()
					if i == 0 {
						u = 0
					}
					if got, want := c.pick(slices.Clone(scores), u), c.sorted(scores, u); got != want {
						t.Errorf("%d tokens, spread %v, %+v, u %v: token %d, want %d", n, spread, c, u, got, want)
					}
				}
			}
		}
	}
}

func TestTokens(t *testing.T) {
	s := engine.NewStream(t.Context(), host.New(2))
	logits := s.PutAs(engine.F32, engine.FromF32([]float32{1, 3, 2, -1, 0, 5, 4, 4}, 2, 4))
	for _, c := range []struct {
		name string
		c    Options
		ids  [][]int32
		want []int32
	}{
		{"likeliest", Options{}, [][]int32{{0}, {0}}, []int32{1, 1}},
		{"penalty", Options{RepetitionPenalty: 2}, [][]int32{{1, 1}, {3}}, []int32{2, 1}},
		{"suppressed", Options{Suppress: true, Suppressed: 1}, [][]int32{{0}, {0}}, []int32{2, 2}},
		{"one row", Options{}, [][]int32{nil, {0}}, []int32{0, 1}},
		{"sampling, one left", Options{Sample: true, TopK: 1, Subsequences: []uint64{0, 1}}, [][]int32{{0}, {0}}, []int32{1, 1}},
	} {
		tokens, err := Tokens(s, logits, c.ids, c.c)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range tokens {
			if c.ids[i] != nil && (w.ID != c.want[i] || math.Abs(w.LogProb-math.Log(softmax(logits.F32()[4*i:4*i+4], w.ID))) > 1e-12) {
				t.Errorf("%s, row %d: %+v, want token %d", c.name, i, w, c.want[i])
			}
		}
	}
	best, err := Continuations(s, logits, [][]int32{{0}, {0}}, []float64{-1, -2}, 2, Options{Suppress: true, Suppressed: 1})
	if err != nil {
		t.Fatal(err)
	}
	// The first beam's tokens cost 1.42 and 2.42 beside its own 1, the second's
	// 1.56 each beside 2: probabilities are those before a token is suppressed.
	want := []string{"0/2", "0/0", "1/2", "1/3"}
	for i, n := range best[0] {
		if got := fmt.Sprintf("%d/%d", n.Beam, n.ID); got != want[i] {
			t.Errorf("continuation %d is %s, want %s (%v)", i, got, want[i], best[0])
		}
	}
	if _, err := Tokens(s, logits, [][]int32{{0}}, Options{}); err == nil {
		t.Error("one row of ids for two of logits")
	}
}

func softmax(x []float32, id int32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v))
	}
	return math.Exp(float64(x[id])) / sum
}

// TestSumExp holds the sum of exponentials against math.Exp's.
func TestSumExp(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for _, n := range []int{1, 2, 513, 1024, 30524} {
		for _, spread := range []float64{0, 1e-3, 0.1, 3, 50, 1e4} {
			for _, shift := range []float64{0, -300, 1e5} {
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(shift + spread*rng.NormFloat64())
				}
				top := float64(slices.Max(x))
				if have, want := sumExp(x, top), slowSumExp(x, top); !(math.Abs(have/want-1) < 1e-14) {
					t.Errorf("%d of %v around %v: %v, want %v", n, spread, shift, have, want)
				}
			}
		}
	}
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, x := range [][]float32{{inf, 1}, {nan, 1}, {1, nan}, {-inf, -inf}, {0, -inf}} {
		x = slices.Repeat(x, 1000)
		have, want := logSumExp(x), float64(slices.Max(x))+math.Log(slowSumExp(x, float64(slices.Max(x))))
		if math.IsNaN(have) != math.IsNaN(want) || math.Abs(have-want) > 1e-12 {
			t.Errorf("%v: %v, want %v", x, have, want)
		}
	}
}

func slowSumExp(x []float32, top float64) (sum float64) {
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return sum
}

func BenchmarkSumExp(b *testing.B) {
	x := make([]float32, 30524)
	for i := range x {
		x[i] = float32(i%97) / 10
	}
	for name, f := range map[string]func([]float32, float64) float64{"Exp": slowSumExp, "table": sumExp} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f(x, 9.6)
			}
		})
	}
}

func BenchmarkPick(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	row := make([]float32, 30524)
	for i := range row {
		row[i] = float32(rng.NormFloat64())
	}
	scores, o := slices.Clone(row), Options{Sample: true, TopP: 0.9}
	for b.Loop() {
		copy(scores, row)
		o.pick(scores, 0.5)
	}
}
