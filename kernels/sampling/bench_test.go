package sampling_test

import (
	"testing"

	"parley/engine/host"
	"parley/kernels/optest"
)

func BenchmarkSampling(b *testing.B) { optest.BenchSampling(b, host.New(0)) }
