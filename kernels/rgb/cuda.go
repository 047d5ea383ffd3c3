package rgb

import (
	_ "embed"
	"fmt"
	"slices"

	"parley/engine"
	"parley/engine/cuda"
	"parley/kernels/resize"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("rgb", image)

const threads = 256 // of a block

func normaliseOnCUDA(d *cuda.Device, s *engine.Stream, y, x *engine.Tensor, part resize.Window, levels *Levels) {
	if y.Elems() == 0 {
		return
	}
	if y.Elems() > cuda.MaxIndex {
		s.Fail(fmt.Errorf("rgb: %s: %v: at most %d elements on %s", s.Path(), y.Shape(), cuda.MaxIndex, d.Name()))
		return
	}
	table := s.PutAs(engine.F32, engine.FromF32(slices.Concat(levels[0][:], levels[1][:], levels[2][:]), 3, 256))
	d.Launch(s, module, "normalise_"+y.DType().String(), cuda.Blocks(y.Elems(), threads), cuda.Dim{X: threads}, 0, x, table, y,
		x.Dim(0), x.Dim(1), x.Dim(2), part.Top, part.Left, part.H, part.W)
	s.Free(table)
}

func bytesOnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor) {
	if x.Elems() > 0 {
		d.Launch(s, module, "bytes_"+x.DType().String(), cuda.Blocks(x.Elems(), threads), cuda.Dim{X: threads}, 0, x, y, int64(x.Elems()))
	}
}
