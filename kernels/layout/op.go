// Package layout moves numbers about without changing them: the change between
// [N, H, W, C] and [N, C, H, W], a range of channels, and one token of every
// sequence.
package layout

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Channels returns channels lo to hi of x [..., C].
func Channels(s *engine.Stream, x *engine.Tensor, lo, hi int) *engine.Tensor {
	c := x.Dim(-1)
	if lo < 0 || hi > c || lo > hi {
		s.Fail(fmt.Errorf("layout: %s: channels %d to %d of %v", s.Path(), lo, hi, x.Shape()))
		lo, hi = 0, c
	}
	dims := append([]int(nil), x.Shape()...)
	dims[len(dims)-1] = hi - lo
	y := s.New(x.DType(), dims...)
	work := engine.Work{Op: "channels", Out: y, In: engine.Inputs{x},
		Dims:  engine.Dims{{Name: "rows", Size: x.Elems() / max(c, 1)}, {Name: "channels", Size: hi - lo}},
		Bytes: 2 * int64(y.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if y.Elems() > 0 {
			rows(d, s, x, y, x.Elems()/c, lo, c)
		}
	})
}

// Token returns token i of every sequence of x [N, L, C]: [N, C]. A vision
// transformer's class token is token 0.
func Token(s *engine.Stream, x *engine.Tensor, i int) *engine.Tensor {
	if len(x.Shape()) != 3 || i < 0 || i >= x.Dim(1) {
		s.Fail(fmt.Errorf("layout: %s: token %d of %v", s.Path(), i, x.Shape()))
		return s.New(x.DType(), x.Dim(0), x.Dim(-1))
	}
	n, length, c := x.Dim(0), x.Dim(1), x.Dim(2)
	y := s.New(x.DType(), n, c)
	work := engine.Work{Op: "token", Out: y, In: engine.Inputs{x}, Dims: engine.Dims{{Name: "n", Size: n}, {Name: "channels", Size: c}},
		Bytes: 2 * int64(y.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if y.Elems() > 0 {
			rows(d, s, x, y, n, i*c, length*c)
		}
	})
}

// rows writes n rows to y, one behind the other, that begin stride elements
// apart in x, the first at element at.
func rows(d engine.Device, s *engine.Stream, x, y *engine.Tensor, n, at, stride int) {
	if g, ok := cuda.On(d); ok {
		rowsOnCUDA(g, s, x, y, n, at, stride)
		return
	}
	if _, ok := host.On(d); ok {
		s.Took("copy")
		rowsOnHost(x.F32(), y.F32(), n, at, stride)
	}
}

// ToNHWC turns a host tensor of [N, C, H, W] to [N, H, W, C].
func ToNHWC(x *engine.Tensor) *engine.Tensor {
	n, c, h, w := x.Dim(0), x.Dim(1), x.Dim(2), x.Dim(3)
	y := engine.FromF32(make([]float32, x.Elems()), n, h, w, c)
	transpose(y.F32(), x.F32(), n, c, h*w)
	return y
}

// ToNCHW turns a host tensor of [N, H, W, C] to [N, C, H, W].
func ToNCHW(x *engine.Tensor) *engine.Tensor {
	n, h, w, c := x.Dim(0), x.Dim(1), x.Dim(2), x.Dim(3)
	y := engine.FromF32(make([]float32, x.Elems()), n, c, h, w)
	transpose(y.F32(), x.F32(), n, h*w, c)
	return y
}
