package pixels

import "math"

// Filter is how a picture is resized; the numbers are Pillow's.
type Filter int

// Pillow's filters.
const (
	Nearest Filter = iota
	Lanczos
	Bilinear
	Bicubic
	Box
)

func (f Filter) support() float64 {
	return [...]float64{0, 3, 1, 2, 0.5}[f]
}

func (f Filter) at(x float64) float64 {
	switch f {
	case Box:
		if x > -0.5 && x <= 0.5 {
			return 1
		}
		return 0
	case Bilinear:
		return max(0, 1-math.Abs(x))
	case Bicubic:
		const a = -0.5
		x = math.Abs(x)
		if x < 1 {
			return ((a+2)*x-(a+3))*x*x + 1
		}
		if x < 2 {
			return (((x-5)*x+8)*x - 4) * a
		}
		return 0
	}
	if x <= -3 || x >= 3 {
		return 0
	}
	sinc := func(x float64) float64 {
		if x == 0 {
			return 1
		}
		return math.Sin(x*math.Pi) / (x * math.Pi)
	}
	return sinc(x) * sinc(x/3)
}

// precision is of the fixed-point coefficients, as Pillow's for 8 bits.
const precision = 32 - 8 - 2

// taps are the source pixels of every target pixel, and their weights.
type taps struct {
	first   []int
	weights [][]int32
}

func weigh(f Filter, in, out int) taps {
	scale := float64(in) / float64(out)
	stretch := max(scale, 1)
	support := f.support() * stretch
	t := taps{make([]int, out), make([][]int32, out)}
	for i := range out {
		center := (float64(i) + 0.5) * scale
		lo := max(int(center-support+0.5), 0)
		hi := min(int(center+support+0.5), in)
		w := make([]float64, hi-lo)
		sum := 0.0
		for j := range w {
			w[j] = f.at((float64(j+lo) - center + 0.5) * (1 / stretch))
			sum += w[j]
		}
		t.first[i] = lo
		t.weights[i] = make([]int32, len(w))
		for j := range w {
			if sum != 0 {
				w[j] /= sum
			}
			v := w[j] * (1 << precision)
			if v < 0 {
				t.weights[i][j] = int32(v - 0.5)
			} else {
				t.weights[i][j] = int32(v + 0.5)
			}
		}
	}
	return t
}

// Resize scales to w x h as Pillow's Image.resize: first along the rows, then
// along the columns, each rounded to 8 bits. (Pillow 13 takes the columns first
// for some shapes, which changes a few values by the rounding.)
func (m *Image) Resize(w, h int, f Filter) *Image {
	if w < 1 || h < 1 || m.W < 1 || m.H < 1 {
		return &Image{max(w, 0), max(h, 0), make([]uint8, 3*max(w, 0)*max(h, 0))}
	}
	if w == m.W && h == m.H {
		return &Image{w, h, append([]uint8(nil), m.Pix...)}
	}
	if f == Nearest {
		out := &Image{w, h, make([]uint8, 3*w*h)}
		// Pillow adds the steps up, with their rounding.
		dx, dy := float64(m.W)/float64(w), float64(m.H)/float64(h)
		sy := dy / 2
		for y := range h {
			sx := dx / 2
			for x := range w {
				copy(out.Pix[3*(y*w+x):3*(y*w+x)+3], m.Pix[3*(min(int(sy), m.H-1)*m.W+min(int(sx), m.W-1)):])
				sx += dx
			}
			sy += dy
		}
		return out
	}
	clip := func(v int32) uint8 { return uint8(min(max(v>>precision, 0), 255)) }
	src := m
	if w != m.W {
		t := weigh(f, m.W, w)
		out := &Image{w, m.H, make([]uint8, 3*w*m.H)}
		for y := range m.H {
			row := m.Pix[3*y*m.W : 3*(y+1)*m.W]
			for x := range w {
				r, g, b := int32(1<<(precision-1)), int32(1<<(precision-1)), int32(1<<(precision-1))
				p := row[3*t.first[x]:]
				for j, k := range t.weights[x] {
					r += int32(p[3*j]) * k
					g += int32(p[3*j+1]) * k
					b += int32(p[3*j+2]) * k
				}
				o := out.Pix[3*(y*w+x) : 3*(y*w+x)+3]
				o[0], o[1], o[2] = clip(r), clip(g), clip(b)
			}
		}
		src = out
	}
	if h == m.H {
		return src
	}
	t := weigh(f, m.H, h)
	out := &Image{w, h, make([]uint8, 3*w*h)}
	sums := make([]int32, 3*w)
	for y := range h {
		for i := range sums {
			sums[i] = 1 << (precision - 1)
		}
		for j, k := range t.weights[y] {
			row := src.Pix[3*w*(t.first[y]+j) : 3*w*(t.first[y]+j+1)]
			for i, v := range row {
				sums[i] += int32(v) * k
			}
		}
		for i, v := range sums {
			out.Pix[3*w*y+i] = clip(v)
		}
	}
	return out
}
