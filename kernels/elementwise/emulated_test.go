//go:build cuda

package elementwise_test

import (
	_ "embed"
	"testing"

	"parley/engine"
	"parley/kernels/elementwise"
	"parley/kernels/optest"
)

//go:embed op.tar.zst
var image string

// TestEmulated holds the operations on the GPU's device against the CPU's.
func TestEmulated(t *testing.T) {
	optest.Beside(t, func(p *optest.Pair) {
		x, y := p.Normals(3, 77), p.Normals(3, 77)
		mixed := elementwise.Mix(p.GPU, 0.3, p.GPU.PutAs(engine.F32, x), -1.7, p.GPU.PutAs(engine.F32, y))
		p.Near("mix", mixed, elementwise.Mix(p.CPU, 0.3, x, -1.7, y), 2e-7)
		scaled, want := p.GPU.New(p.GPU.Float(), 3, 77), p.CPU.New(engine.F32, 3, 77)
		elementwise.Scale(p.GPU, scaled, p.GPU.PutAs(engine.F32, x), 0.25)
		elementwise.Scale(p.CPU, want, x, 0.25)
		p.Near("scale", scaled, p.Rounded(want), 1e-7)
		positive := p.GPU.PutAs(p.GPU.Float(), x)
		elementwise.ReLU(p.GPU, positive)
		elementwise.ReLU(p.CPU, x)
		p.Near("relu", positive, p.Rounded(x), 1e-7)
	})
}

func TestDependent(t *testing.T) {
	optest.Dependent(t, image, func(s *engine.Stream) {
		x, y := s.Put(engine.FromF32(make([]float32, 500), 500)), s.New(s.Float(), 500)
		elementwise.Scale(s, y, x, 2)
		elementwise.Scale(s, x, y, 2)
	})
}
