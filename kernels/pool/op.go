// Package pool is max and average pooling of feature maps [N, H, W, C].
package pool

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Window is what is pooled for one pixel of the result. What lies beyond the map,
// within Pad rows and columns on each side, counts for nothing: not in a maximum, nor
// in the number that a sum is divided by (torch's count_include_pad=False).
type Window struct {
	H, W   int
	Stride int // 0 means 1
	Pad    int // less than H and W
}

// All is the window that is the whole of a map x [N, H, W, C].
func All(x *engine.Tensor) Window { return Window{H: x.Dim(1), W: x.Dim(2)} }

// Max takes the largest number of each channel under a window: [N, H', W', C].
func Max(s *engine.Stream, x *engine.Tensor, w Window) *engine.Tensor {
	return pool(s, "max pool", x, w, false)
}

// Average takes the mean of each channel under a window: [N, H', W', C]. Sums are
// f32 on every device.
func Average(s *engine.Stream, x *engine.Tensor, w Window) *engine.Tensor {
	return pool(s, "average pool", x, w, true)
}

func pool(s *engine.Stream, op string, x *engine.Tensor, w Window, average bool) *engine.Tensor {
	w.Stride = max(w.Stride, 1)
	if len(x.Shape()) != 4 || w.Pad < 0 || min(w.H, w.W) <= w.Pad || x.Dim(1)+2*w.Pad < w.H || x.Dim(2)+2*w.Pad < w.W {
		s.Fail(fmt.Errorf("pool: %s: windows of %d x %d, %d beyond the edge, of %v", s.Path(), w.H, w.W, w.Pad, x.Shape()))
		return s.New(x.DType(), 1, 1, 1, x.Dim(-1))
	}
	y := s.New(x.DType(), x.Dim(0), (x.Dim(1)+2*w.Pad-w.H)/w.Stride+1, (x.Dim(2)+2*w.Pad-w.W)/w.Stride+1, x.Dim(3))
	work := engine.Work{Op: op, Out: y, In: engine.Inputs{x},
		Dims: engine.Dims{{Name: "n", Size: x.Dim(0)}, {Name: "h", Size: y.Dim(1)}, {Name: "w", Size: y.Dim(2)},
			{Name: "channels", Size: x.Dim(3)}, {Name: "kh", Size: w.H}, {Name: "kw", Size: w.W}, {Name: "stride", Size: w.Stride}},
		FLOPs: int64(y.Elems()) * int64(w.H*w.W), Bytes: int64(x.Bytes() + y.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if y.Elems() == 0 {
			return
		}
		if g, ok := cuda.On(d); ok {
			onCUDA(g, s, x, y, w, average)
			return
		}
		if h, ok := host.On(d); ok {
			s.Took("loop")
			onHost(h, x, y, w, average)
		}
	})
}
