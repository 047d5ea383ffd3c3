//go:build cuda

package rgb_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestRGBEmulated(t *testing.T) { optest.Emulated(t, optest.RGB) }
