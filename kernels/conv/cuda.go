package conv

import (
	_ "embed"
	"fmt"
	"math"

	"parley/engine"
	"parley/engine/cuda"
	"parley/kernels/matmul"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("conv", image)

// strided is a geometry as the kernels take it: with a stride along rows of its own,
// beside that of columns.
type strided struct {
	geometry
	strideW int
}

// The patches of a patch embedding are runs of a row: [h, w/kw, kw c] under filters
// of one column. Pixels of three channels are not aligned to 16 bytes, runs of
// sixteen of them are.
func (g geometry) strided() strided {
	if g.kw > 1 && g.stride == g.kw && g.pad == (Pad{}) && g.shift == 0 && g.c2 == 0 && g.w%g.kw == 0 {
		g.w, g.c, g.kw = g.w/g.kw, g.c*g.kw, 1
		return strided{g, 1}
	}
	return strided{g, g.stride}
}

// fits says what of n maps is beyond the kernels' numbers: a patch's corner has 16 bits for
// each side, a pixel's place in x 31.
func (g strided) fits(n int) error {
	h, w := g.h<<g.shift+g.pad.Top+g.pad.Bottom, g.w<<g.shift+g.pad.Left+g.pad.Right
	switch {
	case max(h, w) > math.MaxInt16:
		return fmt.Errorf("%d x %d pixels with what surrounds them: a side has at most %d", h, w, math.MaxInt16)
	case n*g.h*g.w > math.MaxInt32 || n*g.oh*g.ow > math.MaxInt32:
		return fmt.Errorf("%d maps have more than %d pixels", n, math.MaxInt32)
	}
	return nil
}

func (g strided) plan(m, n int, dtype engine.DType) matmul.Plan {
	chunk := 16 / dtype.Size()
	return matmul.NewPlan("conv", m, n, g.kh*g.kw*(g.c+g.c2), dtype, g.c%chunk == 0 && g.c2%chunk == 0)
}

// onCUDA launches the kernel of a plan for m output pixels. partials is the
// workspace for its Partials.
func (g strided) onCUDA(d *cuda.Device, s *engine.Stream, p matmul.Plan, m int,
	x, concat, w, y *engine.Tensor, e matmul.Epilogue, partials *engine.Tensor) {
	n, rowsPerSample := y.Dim(3), 1
	if e.SampleBias != nil {
		rowsPerSample = m * n / e.SampleBias.Elems()
	}
	d.LaunchDependent(s, module, p.Kernel, cuda.Dim{X: p.Blocks, Y: p.Splits}, cuda.Dim{X: p.Threads}, p.Shared,
		y, x, concat, w, e.Bias, e.SampleBias, rowsPerSample, e.Residual, partials, m, n, g.h, g.w, g.c, g.c2, g.oh, g.ow,
		g.kh, g.kw, g.stride, g.strideW, g.pad.Top, g.pad.Left, g.shift, int(e.Act))
}
