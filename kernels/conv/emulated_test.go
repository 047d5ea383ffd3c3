//go:build cuda

package conv_test

import (
	"parley/engine"
	"parley/kernels/conv"
	"parley/kernels/storage"
	"testing"

	"parley/kernels/optest"
)

func TestConv2DEmulated(t *testing.T) { optest.Emulated(t, optest.Conv2D) }

func TestDependent(t *testing.T) {
	optest.Dependent(t, image, func(s *engine.Stream) {
		x := s.Put(engine.FromF32(make([]float32, 6*5*8), 1, 6, 5, 8))
		w, err := conv.Pack(s.Device(), storage.Values(make([]float32, 8*8*9)), 8, 8, 3, 3)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			x = conv.Conv2D(s, x, w, conv.Options{Pad: conv.Same(3)})
		}
	})
}
