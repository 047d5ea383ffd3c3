package layout

import (
	_ "embed"
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("layout", image)

const threads = 256 // of a block

func rowsOnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor, n, at, stride int) {
	if y.Elems() > cuda.MaxIndex {
		s.Fail(fmt.Errorf("layout: %s: %v: at most %d elements on %s", s.Path(), y.Shape(), cuda.MaxIndex, d.Name()))
		return
	}
	d.Launch(s, module, "rows_"+x.DType().String(), cuda.Blocks(y.Elems(), threads), cuda.Dim{X: threads}, 0,
		x, y, n, y.Elems()/n, int64(at), int64(stride))
}
