package resize

import (
	_ "embed"
	"slices"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("resize", image)

const threads = 256 // of a block

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
	d.Launch(s, module, "resize_rows_u8", cuda.Blocks(between.Elems(), threads), cuda.Dim{X: threads}, 0, x, between, first, count, weights,
		x.Dim(0), x.Dim(1), lo, between.Dim(1), x.Dim(2), y.Dim(2), rows.most)
	c, first, count, weights := columns.put(s)
	d.Launch(s, module, "resize_columns_u8", cuda.Blocks(y.Elems(), threads), cuda.Dim{X: threads}, 0, between, y, first, count, weights,
		x.Dim(0), 3*y.Dim(2), between.Dim(1), y.Dim(1), columns.most)
	s.Free(r, c)
}
