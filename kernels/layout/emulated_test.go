//go:build cuda

package layout_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestLayoutEmulated(t *testing.T) { optest.Emulated(t, optest.Layout) }
