package conv_test

import (
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/conv"
	"parley/kernels/optest"
	"parley/kernels/simd"
)

func TestConv2D(t *testing.T) { optest.Host(t, optest.Conv2D) }

// The suite's small convolutions, too, are done by minimal filtering here.
func TestWinograd4(t *testing.T) { winograd(t, simd.Winograd4) }
func TestWinograd6(t *testing.T) { winograd(t, simd.Winograd6) }

func winograd(t *testing.T, w *simd.Winograd) {
	suite := func(t *testing.T, dev engine.Device) {
		conv.Force(dev.(*host.Device), w)
		optest.Conv2D(t, dev)
	}
	optest.HostWith(t, suite, host.Options{Workers: 2, Precision: host.F32})
}

func BenchmarkConv2D(b *testing.B) { optest.BenchHost(b, optest.BenchConv2D) }
