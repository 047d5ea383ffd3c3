package resample

import (
	_ "embed"
	"slices"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("resample", image)

// threads of a block.
const threads = 256

func blocks(elems int) cuda.Dim { return cuda.Dim{X: max(1, min(1<<16, (elems+threads-1)/threads))} }

// span says where rows of a box lie in an array, in elements.
type span struct{ at, sample, row int }

// boxOnCUDA copies n x h rows of width elements from x to y.
func boxOnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor, n, h, width int, from, to span) {
	if n*h*width == 0 {
		return
	}
	d.Launch(s, module, "box_"+x.DType().String(), blocks(n*h*width), cuda.Dim{X: threads}, 0, x, y, n, h, width,
		int64(from.at), int64(from.sample), int64(from.row), int64(to.at), int64(to.sample), int64(to.row))
}

func channelsOnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor, lo int) {
	if y.Elems() == 0 {
		return
	}
	c, own := x.Dim(-1), y.Dim(-1)
	boxOnCUDA(d, s, x, y, 1, x.Elems()/c, own, span{lo, 0, c}, span{0, 0, own})
}

func cropOnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor, top, left int) {
	w, c := x.Dim(2), x.Dim(3)
	row := y.Dim(2) * c
	boxOnCUDA(d, s, x, y, y.Dim(0), y.Dim(1), row, span{(top*w + left) * c, x.Dim(1) * w * c, w * c}, span{0, y.Dim(1) * row, row})
}

func pasteOnCUDA(d *cuda.Device, s *engine.Stream, y, x *engine.Tensor, top, left, h, w int) {
	c := x.Dim(3)
	boxOnCUDA(d, s, x, y, x.Dim(0), h, w*c, span{0, x.Dim(1) * x.Dim(2) * c, x.Dim(2) * c},
		span{(top*y.Dim(2) + left) * c, y.Dim(1) * y.Dim(2) * c, y.Dim(2) * c})
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
	d.Launch(s, module, "fade_"+b.DType().String(), blocks(elems), cuda.Dim{X: threads}, 0,
		a, b, a.Dim(0), a.Dim(1), a.Dim(2), b.Dim(1), b.Dim(2), b.Dim(3), extent, flag)
}

func upsampleOnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor) {
	if y.Elems() > 0 {
		d.Launch(s, module, "nearest_"+x.DType().String(), blocks(y.Elems()), cuda.Dim{X: threads}, 0, x, y, x.Dim(0), x.Dim(1), x.Dim(2), x.Dim(3))
	}
}

// put brings taps to the device in one upload: first, count and weights.
func (t taps) put(s *engine.Stream) (all, first, count, weights *engine.Tensor) {
	n := len(t.first)
	all = s.Put(engine.FromI32(slices.Concat(t.first, t.count, t.weights), (2+t.most)*n))
	return all, all.Rows(0, n), all.Rows(n, 2*n), all.Rows(2*n, (2+t.most)*n)
}

// resizeOnCUDA makes rows of x from lo on those of between, whose columns are
// summed to y's.
func resizeOnCUDA(d *cuda.Device, s *engine.Stream, x, between, y *engine.Tensor, lo int, rows, columns taps) {
	r, first, count, weights := rows.put(s)
	d.Launch(s, module, "resize_rows_u8", blocks(between.Elems()), cuda.Dim{X: threads}, 0, x, between, first, count, weights,
		x.Dim(0), x.Dim(1), lo, between.Dim(1), x.Dim(2), y.Dim(2), rows.most)
	c, first, count, weights := columns.put(s)
	d.Launch(s, module, "resize_columns_u8", blocks(y.Elems()), cuda.Dim{X: threads}, 0, between, y, first, count, weights,
		x.Dim(0), 3*y.Dim(2), between.Dim(1), y.Dim(1), columns.most)
	s.Free(r, c)
}

func normaliseOnCUDA(d *cuda.Device, s *engine.Stream, y, x *engine.Tensor, part Window, levels *Levels) {
	if y.Elems() == 0 {
		return
	}
	table := s.PutAs(engine.F32, engine.FromF32(slices.Concat(levels[0][:], levels[1][:], levels[2][:]), 3, 256))
	d.Launch(s, module, "normalise_"+y.DType().String(), blocks(y.Elems()), cuda.Dim{X: threads}, 0, x, table, y,
		x.Dim(0), x.Dim(1), x.Dim(2), part.Top, part.Left, part.H, part.W)
	s.Free(table)
}

func bytesOnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor) {
	if x.Elems() > 0 {
		d.Launch(s, module, "bytes_"+x.DType().String(), blocks(x.Elems()), cuda.Dim{X: threads}, 0, x, y, int64(x.Elems()))
	}
}
