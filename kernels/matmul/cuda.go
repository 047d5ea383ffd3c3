package matmul

import (
	_ "embed"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("matmul", image)

// onCUDA launches the kernel of a plan for m rows of x and rows of weights of
// length depth, or for that many products beside each other. shares has its Shares.
func onCUDA(d *cuda.Device, s *engine.Stream, p Plan, products, m, depth int, x, rows, y *engine.Tensor, e Epilogue, shares *engine.Tensor) {
	n, eachRows, logits := y.Dim(-1), 1, 0
	if e.Each != nil {
		eachRows = m * n / e.Each.Elems()
	}
	if e.Logits {
		logits = 1
	}
	d.Launch(s, module, p.Kernel, cuda.Dim{X: p.Blocks, Y: p.Splits, Z: products}, cuda.Dim{X: p.Threads}, p.Shared,
		y, x, rows, e.Bias, e.Each, eachRows, e.Residual, shares, m, n, depth, float32(e.scale()), int(e.Act), logits)
}
