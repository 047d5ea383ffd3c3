//go:build cuda

package optest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// GPU opens the device that tests of the GPU's side run on: the interpreter of
// PTX, behind the driver's functions and with its sanitizer, or the hardware
// that the environment's PARLEY_DEVICE names ("cuda:0"). It is closed with the
// test.
func GPU(t testing.TB, float32 bool) *cuda.Device {
	t.Helper()
	o := cuda.Options{Emulated: true, Check: true, Float32: float32}
	if name := os.Getenv("PARLEY_DEVICE"); name != "" {
		o.Emulated = false
		if _, err := fmt.Sscanf(name, "cuda:%d", &o.Ordinal); err != nil {
			t.Fatalf("PARLEY_DEVICE is %q, want cuda:N", name)
		}
	}
	d, err := cuda.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Emulated runs a suite on GPU's device: in f16, and in f32.
func Emulated(t *testing.T, suite func(*testing.T, engine.Device)) {
	for _, f32 := range []bool{false, true} {
		name := engine.F16
		if f32 {
			name = engine.F32
		}
		t.Run(name.String(), func(t *testing.T) { suite(t, GPU(t, f32)) })
	}
}

// Pair is a GPU and a CPU that a test runs the same operation on.
type Pair struct {
	*testing.T
	GPU, CPU *engine.Stream
	rng      *rand.Rand
}

// Beside runs a test on GPU's device beside the CPU: in f16, and in f32.
func Beside(t *testing.T, test func(*Pair)) {
	for _, f32 := range []bool{false, true} {
		t.Run(fmt.Sprintf("f32 %t", f32), func(t *testing.T) {
			p := &Pair{
				T:   t,
				GPU: engine.NewStream(t.Context(), GPU(t, f32)),
				CPU: engine.NewStream(t.Context(), host.New(1)),
				rng: rand.New(rand.NewPCG(1, 2)),
			}
			test(p)
			if err := p.GPU.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Normals is a host tensor of normal numbers.
func (p *Pair) Normals(dims ...int) *engine.Tensor {
	v := make([]float32, engine.Shape(dims).Elems())
	for i := range v {
		v[i] = float32(p.rng.NormFloat64())
	}
	return engine.FromF32(v, dims...)
}

// Rounded is what the GPU sees of activations x.
func (p *Pair) Rounded(x *engine.Tensor) *engine.Tensor {
	return engine.Convert(engine.F32, engine.Convert(p.GPU.Float(), x))
}

// Near compares a tensor on the GPU with the CPU's, element by element, by a
// bound relative to each.
func (p *Pair) Near(name string, have, want *engine.Tensor, bound float64) {
	p.Helper()
	h, err := p.GPU.Get(have)
	if err != nil {
		p.Fatalf("%s: %v", name, err)
	}
	for i, v := range want.F32() {
		if d := math.Abs(float64(h.F32()[i] - v)); !(d <= bound*math.Abs(float64(v))+1e-12) {
			p.Fatalf("%s: element %d is %g, want %g", name, i, h.F32()[i], v)
		}
	}
}
