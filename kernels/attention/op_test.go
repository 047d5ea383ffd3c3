package attention_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestAttend(t *testing.T) { optest.Host(t, optest.Attend) }

func BenchmarkAttend(b *testing.B) { optest.BenchHost(b, optest.BenchAttend) }
