// Package resample moves feature maps about: concatenation and the change
// between [N, H, W, C] and [N, C, H, W].
package resample

import (
	"fmt"

	"parley/engine"
	"parley/engine/host"
)

// Concat joins a [..., A] and b [..., B] to [..., A+B].
func Concat(s *engine.Stream, a, b *engine.Tensor) *engine.Tensor {
	ca, cb := a.Dim(-1), b.Dim(-1)
	if la, lb := len(a.Shape())-1, len(b.Shape())-1; !a.Shape()[:la].Equal(b.Shape()[:lb]) {
		s.Fail(fmt.Errorf("resample: %s: concat %v and %v", s.Path(), a.Shape(), b.Shape()))
	}
	dims := append([]int(nil), a.Shape()...)
	dims[len(dims)-1] = ca + cb
	y := s.New(engine.F32, dims...)
	return s.Do(engine.Work{Op: "concat", Out: y, Bytes: 8 * int64(y.Elems())}, func(d engine.Device) {
		if h, ok := host.On(d); ok {
			as, bs, ys := a.F32(), b.F32(), y.F32()
			h.Range(len(as)/ca, 64, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					row := ys[i*(ca+cb) : (i+1)*(ca+cb)]
					copy(row, as[i*ca:(i+1)*ca])
					copy(row[ca:], bs[i*cb:(i+1)*cb])
				}
			})
		}
	})
}

// ToNHWC turns a host tensor of [N, C, H, W] to [N, H, W, C].
func ToNHWC(x *engine.Tensor) *engine.Tensor {
	n, c, h, w := x.Dim(0), x.Dim(1), x.Dim(2), x.Dim(3)
	y := engine.FromF32(make([]float32, x.Elems()), n, h, w, c)
	transpose(y.F32(), x.F32(), n, c, h*w)
	return y
}

// ToNCHW turns a host tensor of [N, H, W, C] to [N, C, H, W].
func ToNCHW(x *engine.Tensor) *engine.Tensor {
	n, h, w, c := x.Dim(0), x.Dim(1), x.Dim(2), x.Dim(3)
	y := engine.FromF32(make([]float32, x.Elems()), n, c, h, w)
	transpose(y.F32(), x.F32(), n, h*w, c)
	return y
}

// transpose swaps the last two of [n, rows, cols].
func transpose(dst, src []float32, n, rows, cols int) {
	for b := range n {
		d, s := dst[b*rows*cols:], src[b*rows*cols:]
		for i := range rows {
			for j := range cols {
				d[j*rows+i] = s[i*cols+j]
			}
		}
	}
}
