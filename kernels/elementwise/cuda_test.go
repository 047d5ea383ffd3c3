package elementwise

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"parley/kernels/optest/kernel"
)

func TestMixAndScaleKernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(1, 1))
	x, y := kernel.Normals(rng, 777, 1), kernel.Normals(rng, 777, 1)
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
			name := fmt.Sprintf("scale_%s_%s", kernel.Type(from), kernel.Type(to))
			r.Run(name, kernel.Dim{3}, kernel.Dim{256}, 0, xs, ys, int64(len(x)), float32(0.18215))
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
	for _, f16 := range []bool{true, false} {
		for _, n := range []int{1, 9, 2051} {
			for _, bad := range []float32{0, 65504, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())} {
				for _, at := range []int{0, n / 2, n - 1} {
					x := make([]float32, n)
					x[at] = bad
					xs, flag := r.Float(f16, x), r.Put([]int32{0})
					r.Run("finite_"+kernel.Type(f16), kernel.Dim{2}, kernel.Dim{256}, 0, xs, flag, int64(n))
					got := []int32{-1}
					r.Get(flag, got)
					if want := int32(0); got[0] != want && (bad == 0 || bad == 65504) || got[0] != 1 && bad != 0 && bad != 65504 {
						t.Errorf("%g at %d of %d, f16 %t: flag %d", bad, at, n, f16, got[0])
					}
				}
			}
		}
	}
}
