package tiles_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestTiles(t *testing.T) { optest.Host(t, optest.Tiles) }
