package conv_test

import (
	"testing"

	"parley/engine/host"
	"parley/kernels/optest"
)

func TestConv2D(t *testing.T)      { optest.Host(t, optest.Conv2D) }
func BenchmarkConv2D(b *testing.B) { optest.BenchConv2D(b, host.New(0)) }
