package attention_test

import (
	"testing"

	"parley/engine/host"
	"parley/kernels/optest"
)

func TestAttend(t *testing.T)      { optest.Host(t, optest.Attend) }
func BenchmarkAttend(b *testing.B) { optest.BenchAttend(b, host.New(0)) }
