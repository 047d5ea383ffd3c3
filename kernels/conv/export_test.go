package conv

import (
	"testing"

	"parley/kernels/simd"
)

// Force has every convolution that w can do done by it.
func Force(t *testing.T, w *simd.Winograd) {
	choose = func(_ int, g *geometry, _, _ int) *simd.Winograd {
		if g.kh != 3 || g.kw != 3 || g.stride != 1 {
			return nil
		}
		return w
	}
	t.Cleanup(func() { choose = plan })
}
