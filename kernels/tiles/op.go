// Package tiles cuts feature maps [N, H, W, C] into tiles and puts them together
// again: crop, paste, and the blending of neighbours where they overlap.
package tiles

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Crop returns the h x w pixels of x [N, H, W, C] whose first is (top, left).
func Crop(s *engine.Stream, x *engine.Tensor, top, left, h, w int) *engine.Tensor {
	n, ih, iw, c := x.Dim(0), x.Dim(1), x.Dim(2), x.Dim(3)
	if top < 0 || left < 0 || h < 0 || w < 0 || top+h > ih || left+w > iw {
		s.Fail(fmt.Errorf("tiles: %s: crop of %d x %d at %d, %d from %v", s.Path(), h, w, top, left, x.Shape()))
	}
	y := s.New(x.DType(), n, h, w, c)
	work := engine.Work{Op: "crop", Out: y, In: engine.Inputs{x}, Dims: engine.Dims{{Name: "n", Size: n}, {Name: "h", Size: h}, {Name: "w", Size: w}, {Name: "channels", Size: c}},
		Bytes: 2 * int64(y.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			cropOnCUDA(g, s, x, y, top, left)
			return
		}
		if _, ok := host.On(d); ok {
			s.Took("copy")
			cropOnHost(x, y, top, left)
		}
	})
}

// Paste writes the upper left h x w pixels of x [N, ., ., C] to y [N, H, W, C],
// the first at (top, left).
func Paste(s *engine.Stream, y, x *engine.Tensor, top, left, h, w int) {
	inside := top >= 0 && left >= 0 && h <= x.Dim(1) && w <= x.Dim(2) && top+h <= y.Dim(1) && left+w <= y.Dim(2)
	if !inside || x.Dim(0) != y.Dim(0) || x.Dim(3) != y.Dim(3) {
		s.Fail(fmt.Errorf("tiles: %s: %d x %d of %v at %d, %d of %v", s.Path(), h, w, x.Shape(), top, left, y.Shape()))
		return
	}
	n, c := x.Dim(0), x.Dim(3)
	work := engine.Work{Op: "paste", Out: y, In: engine.Inputs{x}, Dims: engine.Dims{{Name: "n", Size: n}, {Name: "h", Size: h}, {Name: "w", Size: w}, {Name: "channels", Size: c}},
		Bytes: 2 * int64(n*h*w*c*y.DType().Size())}
	s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			pasteOnCUDA(g, s, y, x, top, left, h, w)
			return
		}
		if _, ok := host.On(d); ok {
			s.Took("copy")
			pasteOnHost(y, x, top, left, h, w)
		}
	})
}

// Fade blends the end of a into the beginning of b, in place, over so many rows
// (down) or columns: row t of b gets (1 - t/extent) of a's.
func Fade(s *engine.Stream, a, b *engine.Tensor, extent int, down bool) {
	axis := 2
	if down {
		axis = 1
	}
	if a.Dim(0) != b.Dim(0) || a.Dim(3) != b.Dim(3) || extent > min(a.Dim(axis), b.Dim(axis)) {
		s.Fail(fmt.Errorf("tiles: %s: fade of %v into %v over %d", s.Path(), a.Shape(), b.Shape(), extent))
		return
	}
	elements := extent * b.Elems() / max(b.Dim(axis), 1)
	work := engine.Work{Op: "fade", Out: b, In: engine.Inputs{a, b}, Dims: engine.Dims{{Name: "elements", Size: elements}, {Name: "extent", Size: extent}},
		FLOPs: 3 * int64(elements), Bytes: 3 * int64(elements*b.DType().Size())}
	s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			fadeOnCUDA(g, s, a, b, extent, down)
			return
		}
		if _, ok := host.On(d); ok {
			s.Took("loop")
			fadeOnHost(a, b, extent, down)
		}
	})
}
