package simd

import "math"

// Winograd holds the one-dimensional transforms of minimal filtering F(M, 3)
// (Lavin and Gray, arXiv 1509.09308): M neighbouring results of a filter of
// three taps are Output(Filter(g) Input(d)), with M+2 products. The points of
// interpolation are 0, some ±p and infinity, so that rows come in pairs, an
// even part plus and minus an odd one.
type Winograd struct {
	M      int
	points []float32
	even   []float32   // Π (x²-p²), coefficients of 1, x², ...
	others [][]float32 // for each p the product over the others
	powers [][]float32 // of each p, M of them
	first  float32     // 1 / even[0]
	outer  []float32   // for each p: of g0 in its rows of the filter's transform,
	inner  []float32   // of ±g1,
	square []float32   // of g2
}

// The tiles of 4 and of 6. Points around 1 lose the fewest digits: with
// 1/√2 and √2, F(4, 3) of two dimensions has half the error that it has with
// Lavin and Gray's 1 and 2.
var (
	Winograd4 = newWinograd(math.Sqrt2/2, math.Sqrt2)
	Winograd6 = newWinograd(1./2, 1, 2)
)

func newWinograd(points ...float64) *Winograd {
	w := &Winograd{M: 2 * len(points)}
	product := func(skip int) []float64 {
		c := []float64{1}
		for j, p := range points {
			if j == skip {
				continue
			}
			next := make([]float64, len(c)+1)
			for k, v := range c {
				next[k+1] += v
				next[k] -= p * p * v
			}
			c = next
		}
		return c
	}
	narrow := func(x []float64) []float32 {
		y := make([]float32, len(x))
		for i, v := range x {
			y[i] = float32(v)
		}
		return y
	}
	all := product(-1)
	w.even, w.first = narrow(all), float32(1/all[0])
	for j, p := range points {
		scale := 2 * p * p
		powers := make([]float64, w.M)
		for i := range powers {
			powers[i] = math.Pow(p, float64(i))
		}
		for k, o := range points {
			if k != j {
				scale *= p*p - o*o
			}
		}
		w.points = append(w.points, float32(p))
		w.others = append(w.others, narrow(product(j)))
		w.powers = append(w.powers, narrow(powers))
		w.outer = append(w.outer, float32(1/scale))
		w.inner = append(w.inner, float32(p/scale))
		w.square = append(w.square, float32(p*p/scale))
	}
	return w
}

// Lines are vectors in a slice: line k of repetition r begins at r Step + k
// Stride.
type Lines struct {
	Data         []float32
	Stride, Step int
}

// check panics where lines of n elements leave their slice.
func (l Lines) check(lines, n, count int) {
	if l.Stride < 0 || l.Step < 0 || (count-1)*l.Step+(lines-1)*l.Stride+n > len(l.Data) {
		panic("simd: lines outside of their slice")
	}
}

// AddLines sets lines of dst, n elements of each repetition, to the sum of those of x
// and of y, which may be dst's own.
func AddLines(dst, x, y Lines, n, count int) {
	if n > 0 && count > 0 {
		dst.check(1, n, count)
		x.check(1, n, count)
		y.check(1, n, count)
		addLines(dst, x, y, n, count)
	}
}

func addLinesGo(dst, x, y Lines, n, count int) {
	for r := range count {
		addGo(dst.Data[r*dst.Step:][:n], x.Data[r*x.Step:], y.Data[r*y.Step:])
	}
}

// Input transforms M+2 lines of n pixels' values to as many, count times.
// Neither it nor its like work in place.
func (w *Winograd) Input(dst, src Lines, n, count int) {
	if n > 0 && count > 0 {
		dst.check(w.M+2, n, count)
		src.check(w.M+2, n, count)
		w.input(dst, src, n, count)
	}
}

// Filter transforms three lines of taps to M+2.
func (w *Winograd) Filter(dst, src Lines, n, count int) {
	if n > 0 && count > 0 {
		dst.check(w.M+2, n, count)
		src.check(3, n, count)
		w.filter(dst, src, n, count)
	}
}

// FilterRow is line row of Filter's result alone.
func (w *Winograd) FilterRow(row int, dst, src Lines, n, count int) {
	if n > 0 && count > 0 {
		dst.check(1, n, count)
		src.check(3, n, count)
		c := [3]float32{}
		j := (row - 1) / 2
		switch {
		case row == 0:
			c[0] = w.first
		case row == w.M+1:
			c[2] = 1
		case row%2 == 1:
			c = [3]float32{w.outer[j], w.inner[j], w.square[j]}
		default:
			c = [3]float32{w.outer[j], -w.inner[j], w.square[j]}
		}
		combine(dst, src, c, n, count)
	}
}

// Output transforms M+2 lines of products to M of results.
func (w *Winograd) Output(dst, src Lines, n, count int) {
	if n > 0 && count > 0 {
		dst.check(w.M, n, count)
		src.check(w.M+2, n, count)
		w.output(dst, src, n, count)
	}
}

func (w *Winograd) inputGo(dst, src Lines, n, count int) {
	var d [8]float32
	last := len(w.points) // of even's coefficients, which is 1
	for r := range count {
		from, to := src.Data[r*src.Step:], dst.Data[r*dst.Step:]
		for j := range n {
			for k := range w.M + 2 {
				d[k] = from[k*src.Stride+j]
			}
			zero, inf := d[2*last], d[2*last+1]
			for k, c := range w.even[:last] {
				zero += c * d[2*k]
				inf += c * d[2*k+1]
			}
			to[j], to[(w.M+1)*dst.Stride+j] = zero, inf
			for i, p := range w.points {
				even, odd := d[2*last], d[2*last-1]
				for k, c := range w.others[i][:last-1] {
					even += c * d[2*k+2]
					odd += c * d[2*k+1]
				}
				to[(2*i+1)*dst.Stride+j] = even + p*odd
				to[(2*i+2)*dst.Stride+j] = even - p*odd
			}
		}
	}
}

func (w *Winograd) filterGo(dst, src Lines, n, count int) {
	for r := range count {
		from, to := src.Data[r*src.Step:], dst.Data[r*dst.Step:]
		for j := range n {
			g0, g1, g2 := from[j], from[src.Stride+j], from[2*src.Stride+j]
			to[j], to[(w.M+1)*dst.Stride+j] = w.first*g0, g2
			for i := range w.points {
				even, odd := w.outer[i]*g0+w.square[i]*g2, w.inner[i]*g1
				to[(2*i+1)*dst.Stride+j] = even + odd
				to[(2*i+2)*dst.Stride+j] = even - odd
			}
		}
	}
}

func combineGo(dst, src Lines, c [3]float32, n, count int) {
	for r := range count {
		from, to := src.Data[r*src.Step:], dst.Data[r*dst.Step:]
		for j := range n {
			to[j] = c[0]*from[j] + c[1]*from[src.Stride+j] + c[2]*from[2*src.Stride+j]
		}
	}
}

func (w *Winograd) outputGo(dst, src Lines, n, count int) {
	var sum, diff [3]float32
	for r := range count {
		from, to := src.Data[r*src.Step:], dst.Data[r*dst.Step:]
		for j := range n {
			for i := range w.points {
				a, b := from[(2*i+1)*src.Stride+j], from[(2*i+2)*src.Stride+j]
				sum[i], diff[i] = a+b, a-b
			}
			for k := 0; k < w.M; k += 2 {
				var even, odd float32
				if k == 0 {
					even = from[j]
				}
				if k == w.M-2 {
					odd = from[(w.M+1)*src.Stride+j]
				}
				for i := range w.points {
					even += w.powers[i][k] * sum[i]
					odd += w.powers[i][k+1] * diff[i]
				}
				to[k*dst.Stride+j], to[(k+1)*dst.Stride+j] = even, odd
			}
		}
	}
}
