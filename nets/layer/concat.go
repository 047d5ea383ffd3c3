package layer

import (
	"fmt"

	"parley/engine"
	"parley/kernels/embed"
)

// Concat lays the channels of tensors [..., C] of one shape but for C side by side,
// in their order. It frees nothing.
func Concat(s *engine.Stream, parts ...*engine.Tensor) *engine.Tensor {
	dims := append([]int(nil), parts[0].Shape()...)
	last := len(dims) - 1
	width, unit := 0, 0
	for _, p := range parts {
		if sh := p.Shape(); len(sh) != len(dims) || !sh[:last].Equal(parts[0].Shape()[:last]) {
			s.Fail(fmt.Errorf("%s: channels of %v beside those of %v", s.Path(), sh, parts[0].Shape()))
			return s.New(parts[0].DType(), dims...)
		}
		width += p.Dim(-1)
		for a, b := p.Dim(-1), unit; ; a, b = b, a%b { // the greatest common divisor
			if b == 0 {
				unit = a
				break
			}
		}
	}
	dims[last] = width
	if width == 0 {
		return s.New(parts[0].DType(), dims...)
	}
	rows := parts[0].Elems() / max(parts[0].Dim(-1), 1)
	y := s.New(parts[0].DType(), rows, width/unit, unit)
	at := 0
	for _, p := range parts {
		embed.Append(s, y, s.View(p, rows, p.Dim(-1)/unit, unit), at, nil)
		at += p.Dim(-1) / unit
	}
	return s.View(y, dims...)
}
