package conv

import (
	"parley/engine/host"
	"parley/kernels/simd"
)

// Force has every convolution of d that w can do done by it; d is new.
func Force(d *host.Device, w *simd.Winograd) {
	host.Owned(d, func() chooser {
		return func(g *geometry, _, _ int) *simd.Winograd {
			if g.kh != 3 || g.kw != 3 || g.stride != 1 {
				return nil
			}
			return w
		}
	})
}
