package resize

import (
	"parley/engine"
	"parley/engine/host"
)

func clip(v int32) uint8 { return uint8(min(max(v>>precision, 0), 255)) }

// rowsOnHost writes the rows of x [N, H, W, 3] from lo on to y [N, h, w, 3].
func rowsOnHost(d *host.Device, x, y *engine.Tensor, lo int, t taps) {
	h, in, out := y.Dim(1), 3*x.Dim(2), 3*y.Dim(2)
	d.Range(y.Dim(0)*h, 16, func(from, to int) {
		for i := from; i < to; i++ {
			row, sums := x.U8()[(i/h*x.Dim(1)+lo+i%h)*in:][:in], y.U8()[i*out:][:out]
			if t.moved {
				copy(sums, row[3*t.first[0]:])
				continue
			}
			for c := range t.first {
				first, weights := t.of(c)
				r, g, b := int32(1<<(precision-1)), int32(1<<(precision-1)), int32(1<<(precision-1))
				p := row[3*first:]
				for j, k := range weights {
					r += int32(p[3*j]) * k
					g += int32(p[3*j+1]) * k
					b += int32(p[3*j+2]) * k
				}
				o := sums[3*c : 3*c+3]
				o[0], o[1], o[2] = clip(r), clip(g), clip(b)
			}
		}
	})
}

// columnsOnHost sums rows of x [N, h, W, 3] to those of y [N, H, W, 3].
func columnsOnHost(d *host.Device, x, y *engine.Tensor, t taps) {
	h, w := y.Dim(1), 3*y.Dim(2)
	d.Range(y.Dim(0)*h, 16, func(from, to int) {
		sums := make([]int32, w)
		for i := from; i < to; i++ {
			first, weights := t.of(i % h)
			row := func(j int) []uint8 { return x.U8()[(i/h*x.Dim(1)+first+j)*w:][:w] }
			if t.moved {
				copy(y.U8()[i*w:][:w], row(0))
				continue
			}
			for c := range sums {
				sums[c] = 1 << (precision - 1)
			}
			for j, k := range weights {
				for c, v := range row(j) {
					sums[c] += int32(v) * k
				}
			}
			out := y.U8()[i*w:][:w]
			for c, v := range sums {
				out[c] = clip(v)
			}
		}
	})
}
