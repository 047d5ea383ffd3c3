// Package matmul multiplies activations with weights: linear layers and, with
// another way to gather rows, convolutions.
package matmul

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/simd"
	"parley/kernels/storage"
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

// Weights is a matrix on a device, in the order in which its kernel reads it:
// on the host panels of NR columns of the output, [In, NR] each (simd.Kernel);
// elsewhere rows of the output, [Out, In rounded up to a multiple of 8].
type Weights struct {
	Out, In int
	Format  storage.Format
	elems   int // with those that panels and rows are filled up with
	panels  storage.Panels
	gemm    simd.Kernel
	rows    *engine.Tensor
}

// Pack brings a row-major matrix of [out, in], as linear layers store it, to a
// device, a part at a time.
func Pack(d engine.Device, w storage.Source, out, in int) (*Weights, error) {
	return PackFor(d, Gemm(d), w, out, in)
}

// PackFor is Pack for a kernel of the host's. w is read by whole rows.
func PackFor(d engine.Device, g simd.Kernel, w storage.Source, out, in int) (*Weights, error) {
	p := &Weights{Out: out, In: in, Format: storage.Of(d.Float()), elems: out * width(in), gemm: g}
	if d.Local() {
		p.Format, p.elems = formats()[g.Format], (out+g.NR-1)/g.NR*g.NR*((in+g.KR-1)/g.KR*g.KR)
	}
	if err := storage.Fits(w, out*in); err != nil {
		return p, err
	}
	var err error
	switch {
	case engine.IsDryRun(d):
		_, err = d.Alloc(p.Bytes())
	case d.Local():
		p.panels, err = packPanels(d, p, w)
	default:
		p.rows, err = place(d, p.Format, w, out, in)
	}
	return p, err
}

// formats are those of the kernels' panels of weights.
func formats() [3]storage.Format {
	return [...]storage.Format{simd.F32: storage.F32, simd.BF16x3: storage.BF16x3, simd.BF16: storage.BF16}
}

// width is In with what a device that is not the CPU has behind it, so that rows can
// be read 16 bytes at a time.
func width(in int) int { return (in + 7) / 8 * 8 }

// Bytes is what the weights take on their device, in their format and packed, or
// would take.
func (w *Weights) Bytes() int { return w.Format.Size(w.elems) }

// Rows is the matrix on a device that is not the CPU, its rows filled up to a
// multiple of 8 elements.
func (w *Weights) Rows() *engine.Tensor { return w.rows }

// place brings rows of a matrix to a device that is not the CPU, each filled up
// with zeros.
func place(d engine.Device, f storage.Format, w storage.Source, out, in int) (*engine.Tensor, error) {
	wide := width(in)
	var f32 []float32
	var f16 []uint16
	if f == storage.F16 {
		f16 = make([]uint16, out*wide)
	} else {
		f32 = make([]float32, out*wide)
	}
	part := make([]float32, min(out, 1+1<<20/max(wide, 1))*wide)
	for i := 0; i < out; {
		rows := min(out-i, len(part)/max(wide, 1))
		now := part[:rows*in]
		if err := w.F32(now, i*in); err != nil {
			return nil, err
		}
		if wide != in { // from the last row on, each moves behind its place
			now = part[:rows*wide]
			for r := rows - 1; r >= 0; r-- {
				copy(now[r*wide:], now[r*in:(r+1)*in])
				clear(now[r*wide+in : (r+1)*wide])
			}
		}
		if f == storage.F16 {
			simd.ToF16(f16[i*wide:][:len(now)], now)
		} else {
			copy(f32[i*wide:], now)
		}
		i += rows
	}
	if f == storage.F16 {
		return engine.Place(d, engine.F16, engine.FromF16(f16, out, wide))
	}
	return engine.Place(d, engine.F32, engine.FromF32(f32, out, wide))
}

// Epilogue is what happens to the product before it is written: y = act(xw scale +
// bias + sample bias) + residual.
type Epilogue struct {
	Bias *engine.Tensor // [Out], f32
	// SampleBias is a bias for each sample, [N, Out] in the type of activations:
	// the first of N even parts of the result's rows gets its first row.
	SampleBias *engine.Tensor
	Act        Act
	Residual   *engine.Tensor // the shape of the result
	// GEGLU halves the width: the first half of the product times gelu of the
	// second (arXiv 2002.05202). It stands alone with a bias.
	GEGLU bool
	// Logits are f32 on every device.
	Logits bool
	// Scale multiplies the product before anything is added; 0 means 1.
	Scale float64
}

func (e Epilogue) scale() float64 {
	if e.Scale == 0 {
		return 1
	}
	return e.Scale
}

// Bytes is what the epilogue reads.
func (e Epilogue) Bytes() int64 {
	n := 0
	for _, t := range [...]*engine.Tensor{e.Bias, e.SampleBias, e.Residual} {
		if t != nil {
			n += t.Bytes()
		}
	}
	return int64(n)
}

// Fits says what of the epilogue does not fit a result, if anything. It keeps no y,
// which can be its caller's array.
func (e Epilogue) Fits(y engine.Shape) error {
	width := y[len(y)-1]
	if e.GEGLU {
		if e.Act != None || e.Residual != nil || e.SampleBias != nil {
			return fmt.Errorf("geglu with another activation or a sum")
		}
		width *= 2
	}
	if e.Bias != nil && e.Bias.Elems() != width {
		return fmt.Errorf("a bias of %v for a result of %v", e.Bias.Shape(), y.String())
	}
	if e.Residual != nil && e.Residual.Elems() != y.Elems() {
		return fmt.Errorf("a residual of %v for a result of %v", e.Residual.Shape(), y.String())
	}
	if b := e.SampleBias; b != nil && (b.Dim(-1) != width || b.Elems() == 0 || y.Elems()%b.Elems() != 0) {
		return fmt.Errorf("a sample bias of %v for a result of %v", b.Shape(), y.String())
	}
	return nil
}

// Linear multiplies x [..., In] with w and returns [..., Out], or [..., Out/2]
// with GEGLU.
func Linear(s *engine.Stream, x *engine.Tensor, w *Weights, e Epilogue) *engine.Tensor {
	if x.Dim(-1) != w.In {
		s.Fail(fmt.Errorf("matmul: %s: x %v, weights [%d %d]", s.Path(), x.Shape(), w.Out, w.In))
	}
	var room [8]int
	dims := append(room[:0], x.Shape()...)
	dims[len(dims)-1] = w.Out
	if e.GEGLU {
		if w.Out%2 != 0 {
			s.Fail(fmt.Errorf("matmul: %s: weights [%d %d] have no two halves", s.Path(), w.Out, w.In))
		}
		dims[len(dims)-1] /= 2
	}
	if err := e.Fits(dims); err != nil {
		s.Fail(fmt.Errorf("matmul: %s: %w", s.Path(), err))
	}
	dtype := s.Float()
	if e.Logits {
		dtype = engine.F32
	}
	y := s.New(dtype, dims...)
	m := x.Elems() / w.In
	work := engine.Work{Op: "linear", Out: y, In: engine.Inputs{x, e.SampleBias, e.Residual},
		Dims:  engine.Dims{{Name: "m", Size: m}, {Name: "n", Size: w.Out}, {Name: "k", Size: w.In}},
		FLOPs: 2 * int64(m) * int64(w.In) * int64(w.Out),
		Bytes: int64(x.Bytes()+w.Bytes()+y.Bytes()) + e.Bytes()}
	var p Plan
	var partials *engine.Tensor
	if !s.Device().Local() && m > 0 {
		p = plan(m, y.Dim(-1), w.In, s.Float(), e.GEGLU)
		if p.Splits > 1 {
			partials = s.New(engine.F32, p.Partials)
		}
	}
	s.Do(work, func(d engine.Device) {
		if partials != nil {
			s.Uses(partials.Bytes())
		}
		if h, ok := host.On(d); ok {
			s.Took(w.gemm.String())
			if e.GEGLU {
				s.Took("gate")
			}
			s.Uses(onHost(h, m, x.F32(), w, y.F32(), e))
		}
		if c, ok := cuda.On(d); ok && m > 0 {
			onCUDA(c, s, p, m, w.In, x, w.rows, y, e, partials)
		}
	})
	s.Free(partials)
	return y
}
