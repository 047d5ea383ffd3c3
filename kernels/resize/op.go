// Package resize scales 8-bit pictures as Pillow does, bit for bit, on every
// device.
package resize

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Filter is how a picture is resized; the numbers are Pillow's.
type Filter int

// Pillow's filters.
const (
	Nearest Filter = iota
	Lanczos
	Bilinear
	Bicubic
	Box
)

// Window is a part of a picture: H rows of W pixels, the first at (Top, Left).
type Window struct{ Top, Left, H, W int }

// Resize scales pictures x [N, H, W, 3] of u8 to h x w pixels as Pillow's
// Image.resize, and returns a window of them, [N, part.H, part.W, 3]. Rows come
// first, then columns, each rounded to 8 bits. (Pillow 13 takes the columns first
// for some shapes, which changes a few values by the rounding.)
func Resize(s *engine.Stream, x *engine.Tensor, h, w int, f Filter, part Window) *engine.Tensor {
	inside := part.Top >= 0 && part.Left >= 0 && part.H >= 1 && part.W >= 1 && part.Top+part.H <= h && part.Left+part.W <= w
	if x.DType() != engine.U8 || x.Elems() == 0 || x.Dim(-1) != 3 || !inside || !countable(x.Dim(0), part.H, part.W) {
		s.Fail(fmt.Errorf("resize: %s: %+v of pictures %v %v at %d x %d", s.Path(), part, x.Shape(), x.DType(), h, w))
		return s.New(engine.U8, x.Dim(0), 1, 1, 3)
	}
	n := x.Dim(0)
	rows, columns := weigh(f, x.Dim(2), w, part.Left, part.Left+part.W), weigh(f, x.Dim(1), h, part.Top, part.Top+part.H)
	// Of the rows only those that the columns' taps reach.
	last := len(columns.first) - 1
	lo, hi := int(columns.first[0]), int(columns.first[last]+columns.count[last])
	for i := range columns.first {
		columns.first[i] -= int32(lo)
	}
	if !countable(n, hi-lo, part.W) {
		s.Fail(fmt.Errorf("resize: %s: pictures %v at %d x %d: %d rows of %d pixels between", s.Path(), x.Shape(), h, w, hi-lo, part.W))
	}
	between, y := s.New(engine.U8, n, hi-lo, part.W, 3), s.New(engine.U8, n, part.H, part.W, 3)
	defer s.Free(between)
	work := engine.Work{Op: "resize", Out: y, In: engine.Inputs{x},
		Dims:  engine.Dims{{Name: "n", Size: n}, {Name: "h", Size: part.H}, {Name: "w", Size: part.W}},
		Bytes: int64(x.Bytes() + 2*between.Bytes() + y.Bytes())}
	return s.Do(work, func(d engine.Device) {
		s.Uses(between.Bytes())
		if g, ok := cuda.On(d); ok {
			resizeOnCUDA(g, s, x, between, y, lo, rows, columns)
			return
		}
		if d, ok := host.On(d); ok {
			s.Took("loop")
			rowsOnHost(d, x, between, lo, rows)
			columnsOnHost(d, between, y, columns)
		}
	})
}

// countable reports whether the kernels' indices of 32 bits reach all bytes.
func countable(n, h, w int) bool { return 3*n*h*w <= math.MaxUint32 }
