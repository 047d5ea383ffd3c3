//go:build cuda

package optest

import (
	"testing"

	"parley/engine"
	"parley/engine/cuda"
)

// Emulated runs a suite on the interpreter of PTX, behind the driver's
// functions and with its sanitizer: in f16, and in f32.
func Emulated(t *testing.T, suite func(*testing.T, engine.Device)) {
	for _, f32 := range []bool{false, true} {
		d, err := cuda.Open(cuda.Options{Emulated: true, Check: true, Float32: f32})
		if err != nil {
			t.Fatal(err)
		}
		t.Run(d.Float().String(), func(t *testing.T) { suite(t, d) })
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
