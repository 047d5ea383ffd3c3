package elementwise

import (
	_ "embed"
	"math"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("elementwise", image)

const threads = 256 // of a block

// double is an argument of 8 bytes, where a float64 would be rounded.
func double(v float64) uint64 { return math.Float64bits(v) }

func mixOnCUDA(d *cuda.Device, s *engine.Stream, a float64, x *engine.Tensor, b float64, y, out *engine.Tensor) {
	if x.Elems() > 0 {
		d.LaunchDependent(s, module, "mix_f32", cuda.Blocks(x.Elems(), threads), cuda.Dim{X: threads}, 0,
			x, y, out, int64(x.Elems()), double(a), double(b))
	}
}

func scaleOnCUDA(d *cuda.Device, s *engine.Stream, dst, x *engine.Tensor, a float64) {
	if x.Elems() > 0 {
		d.LaunchDependent(s, module, "scale_"+x.DType().String()+"_"+dst.DType().String(), cuda.Blocks(x.Elems(), threads),
			cuda.Dim{X: threads}, 0,
			x, dst, int64(x.Elems()), float32(a))
	}
}

func reluOnCUDA(d *cuda.Device, s *engine.Stream, x *engine.Tensor) {
	if x.Elems() > 0 {
		d.LaunchDependent(s, module, "relu_"+x.DType().String(), cuda.Blocks(x.Elems(), threads), cuda.Dim{X: threads}, 0,
			x, int64(x.Elems()))
	}
}

func finiteOnCUDA(d *cuda.Device, s *engine.Stream, x *engine.Tensor) bool {
	if x.Elems() == 0 {
		return true
	}
	flag := s.Put(engine.FromI32([]int32{0}, 1))
	grid := cuda.Dim{X: min(4*d.SMs(), (x.Elems()+threads-1)/threads)}
	d.LaunchDependent(s, module, "finite_"+x.DType().String(), grid, cuda.Dim{X: threads}, 0, x, flag, int64(x.Elems()))
	host, err := s.Get(flag)
	s.Free(flag)
	if err != nil {
		s.Fail(err)
		return true
	}
	return host.I32()[0] == 0
}
