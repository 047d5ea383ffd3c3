package norm_test

import (
	"testing"

	"parley/engine/host"
	"parley/kernels/optest"
)

func TestNorm(t *testing.T)      { optest.Host(t, optest.Norm) }
func BenchmarkNorm(b *testing.B) { optest.BenchNorm(b, host.New(0)) }
