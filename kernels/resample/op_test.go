package resample_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestResample(t *testing.T) { optest.Host(t, optest.Resample) }
