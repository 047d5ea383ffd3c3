package embed_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestEmbed(t *testing.T) { optest.Host(t, optest.Embed) }

func BenchmarkEmbed(b *testing.B) { optest.BenchHost(b, optest.BenchEmbed) }
