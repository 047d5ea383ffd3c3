package cosine

import (
	"math"
	"math/rand/v2"
	"testing"

	"parley/kernels/optest/kernel"
)

func TestCosineKernel(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(7, 7))
	for _, c := range [][2]int{{1, 1}, {3, 7}, {10, 512}, {40, 33}} {
		a, b := kernel.Normals(rng, c[0]*c[1], 1), kernel.Normals(rng, c[1], 1)
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
