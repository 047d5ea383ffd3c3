package tiles

import (
	_ "embed"
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("tiles", image)

const threads = 256 // of a block

// strided says where the rows of a box lie in an array, in elements.
type strided struct{ at, sample, row int }

// boxOnCUDA copies n x h rows of width elements from x to y.
func boxOnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor, n, h, width int, from, to strided) {
	if n*h*width == 0 {
		return
	}
	if n*h*width > cuda.MaxIndex {
		s.Fail(fmt.Errorf("tiles: %s: %d elements of %v: at most %d at a time on %s",
			s.Path(), n*h*width, x.Shape(), cuda.MaxIndex, d.Name()))
		return
	}
	d.Launch(s, module, "box_"+x.DType().String(), cuda.Blocks(n*h*width, threads), cuda.Dim{X: threads}, 0, x, y, n, h, width,
		int64(from.at), int64(from.sample), int64(from.row), int64(to.at), int64(to.sample), int64(to.row))
}

func cropOnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor, top, left int) {
	w, c := x.Dim(2), x.Dim(3)
	row := y.Dim(2) * c
	boxOnCUDA(d, s, x, y, y.Dim(0), y.Dim(1), row,
		strided{(top*w + left) * c, x.Dim(1) * w * c, w * c}, strided{0, y.Dim(1) * row, row})
}

func pasteOnCUDA(d *cuda.Device, s *engine.Stream, y, x *engine.Tensor, top, left, h, w int) {
	c := x.Dim(3)
	boxOnCUDA(d, s, x, y, x.Dim(0), h, w*c, strided{0, x.Dim(1) * x.Dim(2) * c, x.Dim(2) * c},
		strided{(top*y.Dim(2) + left) * c, y.Dim(1) * y.Dim(2) * c, y.Dim(2) * c})
}

func fadeOnCUDA(d *cuda.Device, s *engine.Stream, a, b *engine.Tensor, extent int, down bool) {
	across, flag := min(a.Dim(1), b.Dim(1)), 0
	if down {
		across, flag = min(a.Dim(2), b.Dim(2)), 1
	}
	elems := b.Dim(0) * extent * across * b.Dim(3)
	if elems == 0 {
		return
	}
	if elems > cuda.MaxIndex {
		s.Fail(fmt.Errorf("tiles: %s: fade of %d elements of %v: at most %d on %s", s.Path(), elems, b.Shape(), cuda.MaxIndex, d.Name()))
		return
	}
	d.Launch(s, module, "fade_"+b.DType().String(), cuda.Blocks(elems, threads), cuda.Dim{X: threads}, 0,
		a, b, a.Dim(0), a.Dim(1), a.Dim(2), b.Dim(1), b.Dim(2), b.Dim(3), extent, flag)
}
