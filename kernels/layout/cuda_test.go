package layout_test

import (
	_ "embed"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/kernels/optest/kernel"
)

//go:embed op.tar.zst
var image string

func TestKernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, f16 := range []bool{true, false} {
		for _, c := range []struct{ n, width, at, stride, blocks int }{
			{1, 1, 0, 1, 1}, {6, 3, 2, 7, 1}, {6, 8, 16, 24, 3}, {6, 8, 3, 24, 2}, {300, 16, 0, 64, 2}, {5, 7, 0, 7, 1},
		} {
			x := kernel.Normals(rng, c.at+c.n*c.stride, 1)
			xs, y := r.Float(f16, x), r.New(c.n*c.width, kernel.Size(f16))
			var want []float32
			for i := range c.n {
				want = append(want, x[c.at+i*c.stride:][:c.width]...)
			}
			r.Run("rows_"+kernel.Type(f16), kernel.Dim{c.blocks}, kernel.Dim{256}, 0, xs, y, c.n, c.width, int64(c.at), int64(c.stride))
			if have := r.Floats(y); !slices.Equal(have, want) {
				t.Errorf("rows %+v, f16 %t: have %v, want %v", c, f16, have, want)
			}
		}
	}
}
