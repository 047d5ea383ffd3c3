package pool

import (
	_ "embed"
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("pool", image)

const threads = 256 // of a block

func onCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor, w Window, average bool) {
	if y.Elems() > cuda.MaxIndex {
		s.Fail(fmt.Errorf("pool: %s: %v: at most %d elements on %s", s.Path(), y.Shape(), cuda.MaxIndex, d.Name()))
		return
	}
	name := "max_"
	if average {
		name = "average_"
	}
	d.LaunchDependent(s, module, name+x.DType().String(), cuda.Blocks(y.Elems(), threads), cuda.Dim{X: threads}, 0,
		x, y, x.Dim(0), x.Dim(1), x.Dim(2), y.Dim(1), y.Dim(2), x.Dim(3), w.H, w.W, w.Stride, w.Pad)
}
