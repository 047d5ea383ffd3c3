package matmul

import (
	_ "embed"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.ptx
var ptx string

var module = cuda.NewModule("matmul", ptx)

// onCUDA launches the kernel of a plan for m rows of x. shares has its Shares.
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
}
