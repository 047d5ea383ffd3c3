//go:build cuda

package resize_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestResizeEmulated(t *testing.T) { optest.Emulated(t, optest.Resize) }
