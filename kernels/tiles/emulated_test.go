//go:build cuda

package tiles_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestTilesEmulated(t *testing.T) { optest.Emulated(t, optest.Tiles) }
