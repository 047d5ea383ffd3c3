//go:build cuda

package norm_test

import (
	"parley/engine"
	"parley/kernels/norm"
	"testing"

	"parley/kernels/optest"
)

func TestNormEmulated(t *testing.T) { optest.Emulated(t, optest.Norm) }

func TestDependent(t *testing.T) {
	optest.Dependent(t, image, func(s *engine.Stream) {
		x := s.Put(engine.FromF32(make([]float32, 4*4*64), 1, 4, 4, 64))
		gamma, beta := s.PutAs(engine.F32, engine.FromF32(make([]float32, 64), 64)), s.PutAs(engine.F32, engine.FromF32(make([]float32, 64), 64))
		x = norm.Group(s, norm.Layer(s, x, gamma, beta, 1e-5), nil, 8, gamma, beta, 1e-5, true)
		norm.L2(s, norm.Layer(s, x, gamma, beta, 1e-5))
	})
}
