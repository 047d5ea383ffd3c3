package resize

import "math"

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
				t.first = append(t.first, int32(min(int(at), in-1)))
				t.count, t.weights = append(t.count, 1), append(t.weights, 1<<precision)
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
