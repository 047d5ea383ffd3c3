package matmul_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestLinear(t *testing.T) { optest.Host(t, optest.Linear) }

func BenchmarkLinear(b *testing.B) { optest.BenchHost(b, optest.BenchLinear) }
