// Package matmul multiplies activations with weights: linear layers and, with
// another way to gather rows, convolutions.
package matmul

import (
	"fmt"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/simd"
)

// Act is the activation of an epilogue.
type Act uint8

// The activations that nets name in hidden_act.
const (
	None Act = iota
	SiLU
	GELU      // exact, by erf
	QuickGELU // x sigmoid(1.702 x)
	GELUTanh
	Tanh
)

// ParseAct reads the value of hidden_act.
func ParseAct(name string) (Act, error) {
	switch name {
	case "gelu":
		return GELU, nil
	case "quick_gelu":
		return QuickGELU, nil
	case "gelu_new", "gelu_pytorch_tanh":
		return GELUTanh, nil
	case "silu", "swish":
		return SiLU, nil
	}
	return None, fmt.Errorf("activation %q: want gelu, quick_gelu, gelu_new or silu", name)
}

// Weights is a matrix in the order in which the kernel reads it: strips of
// columns of the output, each [In, strip].
type Weights struct {
	Out, In int
	packed  []float32
}

// Pack orders a row-major matrix w of [out, in], as linear layers store it.
func Pack(w []float32, out, in int) *Weights {
	nr := simd.Gemm().NR
	p := &Weights{Out: out, In: in, packed: make([]float32, simd.PackedLen(out, in, nr))}
	simd.PackRows(p.packed, w, in, out, in, nr)
	return p
}

// Epilogue is what happens to the product before it is written: y = act(xw +
// bias) + residual.
type Epilogue struct {
	Bias     *engine.Tensor // [Out]
	Act      Act
	Residual *engine.Tensor // the shape of the result
}

// Fits says what of the epilogue does not fit a result, if anything.
func (e Epilogue) Fits(y engine.Shape) error {
	if e.Bias != nil && e.Bias.Elems() != y[len(y)-1] {
		return fmt.Errorf("a bias of %v for a result of %v", e.Bias.Shape(), y)
	}
	if e.Residual != nil && e.Residual.Elems() != y.Elems() {
		return fmt.Errorf("a residual of %v for a result of %v", e.Residual.Shape(), y)
	}
	return nil
}

// Linear multiplies x [..., In] with w and returns [..., Out].
func Linear(s *engine.Stream, x *engine.Tensor, w *Weights, e Epilogue) *engine.Tensor {
	if x.Dim(-1) != w.In {
		s.Fail(fmt.Errorf("matmul: %s: x %v, weights [%d %d]", s.Path(), x.Shape(), w.Out, w.In))
	}
	dims := append([]int(nil), x.Shape()...)
	dims[len(dims)-1] = w.Out
	if err := e.Fits(dims); err != nil {
		s.Fail(fmt.Errorf("matmul: %s: %w", s.Path(), err))
	}
	y := s.New(engine.F32, dims...)
	m := x.Elems() / w.In
	work := engine.Work{Op: "linear", Out: y, FLOPs: 2 * int64(m) * int64(w.In) * int64(w.Out),
		Bytes: 4 * (int64(m)*int64(w.In+w.Out) + int64(w.In)*int64(w.Out))}
	return s.Do(work, func(d engine.Device) {
		if h, ok := host.On(d); ok {
			a, in := x.F32(), w.In
			mr := simd.Gemm().MR
			Run(h, m, w, y.F32(), e, func(dst []float32, row, rows, k, kc int) {
				simd.PackRows(dst, a[row*in+k:], in, rows, kc, mr)
			})
		}
	})
}
