package activate

import (
	_ "embed"

	"parley/engine"
	"parley/engine/cuda"
	"parley/kernels/matmul"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("activate", image)

// threads of a block; each takes 16 bytes at a time.
const threads = 256

func blocks(x *engine.Tensor) cuda.Dim {
	return cuda.Dim{X: max(1, (x.Bytes()+16*threads-1)/(16*threads))}
}

func actOnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor, a matmul.Act) {
	if y.Elems() > 0 {
		d.Launch(s, module, "act_"+x.DType().String(), blocks(y), cuda.Dim{X: threads}, 0, x, y, int64(y.Elems()), int(a))
	}
}

func addOnCUDA(d *cuda.Device, s *engine.Stream, x, b, y *engine.Tensor) {
	if y.Elems() > 0 {
		d.Launch(s, module, "add_"+x.DType().String(), blocks(y), cuda.Dim{X: threads}, 0, x, b, y, int64(y.Elems()), int64(b.Elems()))
	}
}
