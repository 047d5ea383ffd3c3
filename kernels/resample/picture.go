package resample

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

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

// precision is of the fixed-point weights, as Pillow's for 8 bits.
const precision = 32 - 8 - 2

// taps are the source pixels of target pixels and their weights: target i is the
// sum of weights[i*most+j] times pixel first[i]+j for j below count[i].
type taps struct {
	first, count, weights []int32
	most                  int
	moved                 bool // nothing is summed: target i is source first[0]+i
}

// weigh gives the taps of target pixels lo to hi where in pixels become out.
func weigh(f Filter, in, out, lo, hi int) taps {
	scale := float64(in) / float64(out)
	if f == Nearest || in == out {
		t := taps{most: 1, moved: in == out}
		// Pillow adds the steps up, with their rounding.
		for i, at := 0, scale/2; i < hi; i, at = i+1, at+scale {
			if i >= lo {
				t.first, t.count, t.weights = append(t.first, int32(min(int(at), in-1))), append(t.count, 1), append(t.weights, 1<<precision)
			}
		}
		return t
	}
	stretch := max(scale, 1)
	support := f.support() * stretch
	t := taps{first: make([]int32, hi-lo), count: make([]int32, hi-lo), most: int(math.Ceil(support))*2 + 1}
	t.weights = make([]int32, (hi-lo)*t.most)
	w := make([]float64, t.most)
	for i := range t.first {
		center := (float64(lo+i) + 0.5) * scale
		from := max(int(center-support+0.5), 0)
		to := min(int(center+support+0.5), in)
		w = w[:to-from]
		sum := 0.0
		for j := range w {
			w[j] = f.at((float64(j+from) - center + 0.5) * (1 / stretch))
			sum += w[j]
		}
		t.first[i], t.count[i] = int32(from), int32(len(w))
		for j := range w {
			if sum != 0 {
				w[j] /= sum
			}
			v := w[j] * (1 << precision)
			if v < 0 {
				t.weights[i*t.most+j] = int32(v - 0.5)
			} else {
				t.weights[i*t.most+j] = int32(v + 0.5)
			}
		}
	}
	return t
}

// of are the taps of target i.
func (t taps) of(i int) (first int, weights []int32) {
	return int(t.first[i]), t.weights[i*t.most:][:t.count[i]]
}

// Window is a part of a picture: H rows of W pixels, the first at (Top, Left).
type Window struct{ Top, Left, H, W int }

// Resize scales pictures x [N, H, W, 3] of u8 to h x w pixels as Pillow's
// Image.resize, and returns a window of them, [N, part.H, part.W, 3]. Rows come
// first, then columns, each rounded to 8 bits. (Pillow 13 takes the columns first
// for some shapes, which changes a few values by the rounding.)
func Resize(s *engine.Stream, x *engine.Tensor, h, w int, f Filter, part Window) *engine.Tensor {
	if x.DType() != engine.U8 || x.Elems() == 0 || x.Dim(-1) != 3 || part.Top < 0 || part.Left < 0 || part.H < 1 || part.W < 1 || part.Top+part.H > h || part.Left+part.W > w || !countable(x.Dim(0), part.H, part.W) {
		s.Fail(fmt.Errorf("resample: %s: %+v of pictures %v %v at %d x %d", s.Path(), part, x.Shape(), x.DType(), h, w))
		return s.New(engine.U8, x.Dim(0), 1, 1, 3)
	}
	n := x.Dim(0)
	rows, columns := weigh(f, x.Dim(2), w, part.Left, part.Left+part.W), weigh(f, x.Dim(1), h, part.Top, part.Top+part.H)
	// Of the rows only those that the columns' taps reach.
	last := len(columns.first) - 1
	lo, hi := int(columns.first[0]), int(columns.first[last]+columns.count[last])
	for i := range columns.first {
		columns.first[i] -= int32(lo)
	}
	if !countable(n, hi-lo, part.W) {
		s.Fail(fmt.Errorf("resample: %s: pictures %v at %d x %d: %d rows of %d pixels between", s.Path(), x.Shape(), h, w, hi-lo, part.W))
	}
	between, y := s.New(engine.U8, n, hi-lo, part.W, 3), s.New(engine.U8, n, part.H, part.W, 3)
	defer s.Free(between)
	return s.Do(engine.Work{Op: "resize", Out: y, Bytes: int64(x.Bytes() + 2*between.Bytes() + y.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			resizeOnCUDA(g, s, x, between, y, lo, rows, columns)
			return
		}
		if d, ok := host.On(d); ok {
			rowsOnHost(d, x, between, lo, rows)
			columnsOnHost(d, between, y, columns)
		}
	})
}

// countable reports whether the kernels' indices of 32 bits reach all bytes.
func countable(n, h, w int) bool { return 3*n*h*w <= math.MaxUint32 }

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

// Levels are what the bytes of a picture mean to a net: of red, green and blue.
type Levels [3][256]float32

// Normalise cuts windows out of pictures x [N, H, W, 3] of u8, black where there
// is none, and writes the levels of their bytes to y [N, part.H, part.W, 3].
func Normalise(s *engine.Stream, y, x *engine.Tensor, part Window, levels *Levels) {
	if x.DType() != engine.U8 || x.Dim(-1) != 3 || !y.Shape().Equal(engine.Shape{x.Dim(0), part.H, part.W, 3}) {
		s.Fail(fmt.Errorf("resample: %s: %+v of pictures %v %v in %v", s.Path(), part, x.Shape(), x.DType(), y.Shape()))
		return
	}
	s.Do(engine.Work{Op: "normalise", Out: y, Bytes: int64(x.Bytes() + y.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			normaliseOnCUDA(g, s, y, x, part, levels)
			return
		}
		cpu, ok := host.On(d)
		if !ok {
			return
		}
		h, w := x.Dim(1), x.Dim(2)
		cpu.Range(x.Dim(0)*part.H, 16, func(from, to int) {
			for i := from; i < to; i++ {
				out := y.F32()[3*i*part.W:][:3*part.W]
				sy := part.Top + i%part.H
				for c := range part.W {
					r, g, b := uint8(0), uint8(0), uint8(0)
					if sx := part.Left + c; sx >= 0 && sx < w && sy >= 0 && sy < h {
						p := x.U8()[3*((i/part.H*h+sy)*w+sx):][:3]
						r, g, b = p[0], p[1], p[2]
					}
					o := out[3*c : 3*c+3]
					o[0], o[1], o[2] = levels[0][r], levels[1][g], levels[2][b]
				}
			}
		})
	})
}

// Bytes returns activations x of -1 to 1 as u8 of 0 to 255, those between two
// rounded to the even one, those outside clipped.
func Bytes(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	y := s.New(engine.U8, x.Shape()...)
	return s.Do(engine.Work{Op: "bytes", Out: y, FLOPs: 3 * int64(x.Elems()), Bytes: int64(x.Bytes() + y.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			bytesOnCUDA(g, s, x, y)
			return
		}
		if d, ok := host.On(d); ok {
			xs, ys := x.F32(), y.U8()
			d.Range(len(xs), 16384, func(lo, hi int) {
				for i, v := range xs[lo:hi] {
					ys[lo+i] = uint8(math.RoundToEven(float64(min(max(v/2+0.5, 0), 1) * 255)))
				}
			})
		}
	})
}
