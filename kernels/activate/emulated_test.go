//go:build cuda

package activate_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestActivateEmulated(t *testing.T) { optest.Emulated(t, optest.Activate) }
