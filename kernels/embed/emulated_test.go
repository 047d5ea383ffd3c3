//go:build cuda

package embed_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestEmbedEmulated(t *testing.T) { optest.Emulated(t, optest.Embed) }
