//go:build cuda

package conv_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestConv2DEmulated(t *testing.T) { optest.Emulated(t, optest.Conv2D) }
