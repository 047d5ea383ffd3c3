package embed_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestEmbed(t *testing.T) { optest.Host(t, optest.Embed) }
