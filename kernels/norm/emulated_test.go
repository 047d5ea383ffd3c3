//go:build cuda

package norm_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestNormEmulated(t *testing.T) { optest.Emulated(t, optest.Norm) }
