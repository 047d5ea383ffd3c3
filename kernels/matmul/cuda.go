package matmul

import (
	_ "embed"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.ptx
var ptx string

var module = cuda.NewModule("matmul", ptx)

// onCUDA launches the kernels of a plan for m rows of x. shares is [Splits, m,
// the width of y] where there are several.
func onCUDA(d *cuda.Device, s *engine.Stream, p Plan, m int, x *engine.Tensor, w *Weights, y *engine.Tensor, e Epilogue, shares *engine.Tensor) {
	n, eachRows, logits := y.Dim(-1), 1, 0
	if e.Each != nil {
		eachRows = m * n / e.Each.Elems()
	}
	if e.Logits {
		logits = 1
	}
	d.Launch(s, module, p.Kernel, cuda.Dim{X: p.Blocks, Y: p.Splits}, cuda.Dim{X: p.Threads}, p.Shared,
		y, x, w.rows, e.Bias, e.Each, eachRows, e.Residual, shares, m, n, w.In, float32(1), int(e.Act), logits)
	if p.Splits > 1 {
		d.Launch(s, module, "linear_"+x.DType().String()+"_finish", cuda.Dim{X: ceil(m*ceil(n, 4), 256)}, cuda.Dim{X: 256}, 0,
			y, shares, e.Bias, e.Each, eachRows, e.Residual, m, n, p.Splits, float32(1), int(e.Act), logits)
	}
}
