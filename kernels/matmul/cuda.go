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
// length k. partials is the workspace for its Partials.
func onCUDA(d *cuda.Device, s *engine.Stream, p Plan, m, k int, x, rows, y *engine.Tensor, e Epilogue, partials *engine.Tensor) {
	n, rowsPerSample, logits := y.Dim(-1), 1, 0
	if e.SampleBias != nil {
		rowsPerSample = m * n / e.SampleBias.Elems()
	}
	if e.Logits {
		logits = 1
	}
	d.LaunchDependent(s, module, p.Kernel, cuda.Dim{X: p.Blocks, Y: p.Splits}, cuda.Dim{X: p.Threads}, p.Shared,
		y, x, rows, e.Bias, e.SampleBias, rowsPerSample, e.Residual, partials, m, n, k, float32(e.scale()), int(e.Act), logits)
}
