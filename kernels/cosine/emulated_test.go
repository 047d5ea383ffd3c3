//go:build cuda

package cosine_test

import (
	"math"
	"testing"

	"parley/engine"
	"parley/kernels/cosine"
	"parley/kernels/optest"
)

// TestEmulated holds the operation on the GPU's device against the CPU's.
func TestEmulated(t *testing.T) {
	optest.Beside(t, func(p *optest.Pair) {
		for _, c := range [][2]int{{1, 1}, {3, 32}, {40, 513}} {
			x, y := p.Normals(c[0], c[1]), p.Normals(1, c[1])
			copy(x.F32()[(c[0]-1)*c[1]:], x.F32()[:c[1]]) // a tie
			want, at, err := cosine.Similarity(p.CPU, x, y)
			if err != nil {
				p.Fatal(err)
			}
			have, best, err := cosine.Similarity(p.GPU, p.GPU.PutAs(engine.F32, x), p.GPU.PutAs(engine.F32, y))
			if err != nil || best != at {
				p.Fatalf("cosines of %v: row %d, want %d: %v", c, best, at, err)
			}
			for i, v := range want {
				if math.Abs(have[i]-v) > 1e-12 {
					p.Errorf("cosine %d of %v is %v, want %v", i, c, have[i], v)
				}
			}
		}
	})
}
