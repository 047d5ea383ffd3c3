// Package probe measures what a GPU's memory and second-level cache give to plain
// reads and copies.
package probe

import (
	_ "embed"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("probe", image)

const threads = 512

// Read launches blocks that read x, of a multiple of 16 bytes, that many times, past
// the first-level cache. The sum of all its 32-bit words, each 16 bytes' combined by
// exclusive or, is added to sink [1] for every time.
func Read(d *cuda.Device, s *engine.Stream, x *engine.Tensor, rounds, blocks int, sink *engine.Tensor) {
	d.Launch(s, module, "probe_read", cuda.Dim{X: blocks}, cuda.Dim{X: threads}, 0, x, uint32(x.Bytes()/16), rounds, sink)
}

// Copy launches blocks that copy x to y that many times.
func Copy(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor, rounds, blocks int) {
	d.Launch(s, module, "probe_copy", cuda.Dim{X: blocks}, cuda.Dim{X: threads}, 0, x, y, uint32(x.Bytes()/16), rounds)
}
