package matmul_test

import (
	"testing"

	"parley/engine/host"
	"parley/kernels/optest"
)

func TestLinear(t *testing.T)      { optest.Host(t, optest.Linear) }
func BenchmarkLinear(b *testing.B) { optest.BenchLinear(b, host.New(0)) }
