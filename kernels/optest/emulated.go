//go:build cuda

package optest

import (
	"fmt"
	"os"
	"testing"

	"parley/engine"
	"parley/engine/cuda"
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
