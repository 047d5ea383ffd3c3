// Package rgb takes 8-bit pictures to a net's input and a decoder's output back
// to 8 bits.
package rgb

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/resize"
)

// Levels are what the bytes of a picture mean to a net: of red, green and blue.
type Levels [3][256]float32

// Normalise cuts a window out of each of the pictures x [N, H, W, 3] of u8, black
// where there is none, and writes the levels of its bytes to y [N, part.H,
// part.W, 3].
func Normalise(s *engine.Stream, y, x *engine.Tensor, part resize.Window, levels *Levels) {
	if x.DType() != engine.U8 || x.Dim(-1) != 3 || !y.Shape().Equal(engine.Shape{x.Dim(0), part.H, part.W, 3}) {
		s.Fail(fmt.Errorf("rgb: %s: %+v of pictures %v %v in %v", s.Path(), part, x.Shape(), x.DType(), y.Shape()))
		return
	}
	work := engine.Work{Op: "normalise", Out: y, In: engine.Inputs{x}, Dims: engine.Dims{{Name: "n", Size: x.Dim(0)}, {Name: "h", Size: part.H}, {Name: "w", Size: part.W}},
		Bytes: int64(y.Elems() + y.Bytes())}
	s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			normaliseOnCUDA(g, s, y, x, part, levels)
			return
		}
		if h, ok := host.On(d); ok {
			s.Took("table")
			normaliseOnHost(h, y, x, part, levels)
		}
	})
}

// Bytes returns activations x of -1 to 1 as u8 of 0 to 255, those between two
// rounded to the even one, those outside clipped.
func Bytes(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	y := s.New(engine.U8, x.Shape()...)
	work := engine.Work{Op: "bytes", Out: y, In: engine.Inputs{x}, Dims: engine.Dims{{Name: "elements", Size: x.Elems()}},
		FLOPs: 3 * int64(x.Elems()), Bytes: int64(x.Bytes() + y.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			bytesOnCUDA(g, s, x, y)
			return
		}
		if h, ok := host.On(d); ok {
			s.Took("loop")
			bytesOnHost(h, x, y)
		}
	})
}
