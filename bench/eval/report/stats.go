package report

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// How often items are drawn again, and signs are turned.
const (
	resamples = 2000
	flips     = 10_000
)

// chances are the same for every report.
func chances() *rand.Rand { return rand.New(rand.NewPCG(2212, 12249)) }

// Interval is an estimate with its 95 % interval.
type Interval struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	N     int     `json:"n"`
}

// Bootstrap is the mean of x with the interval of its percentiles over resamples of
// x (Efron and Tibshirani, 1993). Values that are no numbers are left out.
func Bootstrap(x []float64) Interval {
	x = numbers(x)
	i := Interval{Value: mean(x), N: len(x)}
	if i.Low, i.High = i.Value, i.Value; len(x) < 2 {
		return i
	}
	r, means := chances(), make([]float64, resamples)
	for b := range means {
		sum := 0.0
		for range x {
			sum += x[r.IntN(len(x))]
		}
		means[b] = sum / float64(len(x))
	}
	slices.Sort(means)
	i.Low, i.High = stat.Quantile(.025, stat.Empirical, means, nil), stat.Quantile(.975, stat.Empirical, means, nil)
	return i
}

// Paired is the two-sided p of the mean of differences being 0, by a permutation
// test: under it, each difference may as well have the other sign.
func Paired(d []float64) float64 {
	d = numbers(d)
	if len(d) == 0 {
		return 1
	}
	abs := math.Abs(mean(d)) * float64(len(d)) * (1 - 1e-12)
	r, as := chances(), 1
	for range flips {
		sum, bits := 0.0, uint64(0)
		for i, v := range d {
			if i%64 == 0 {
				bits = r.Uint64()
			}
			if bits&1 == 1 {
				v = -v
			}
			bits >>= 1
			sum += v
		}
		if math.Abs(sum) >= abs {
			as++
		}
	}
	return float64(as) / (flips + 1)
}

// numbers are the values of x that are numbers.
func numbers(x []float64) []float64 {
	return slices.DeleteFunc(slices.Clone(x), func(v float64) bool { return math.IsNaN(v) })
}

// mean of numbers; 0 of none.
func mean(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// Pearson's correlation; not a number where one of both is constant.
func Pearson(x, y []float64) float64 {
	if len(x) < 2 {
		return math.NaN()
	}
	return stat.Correlation(x, y, nil)
}

// Spearman's correlation: Pearson's of the ranks, the mean one of equal values.
func Spearman(x, y []float64) float64 { return Pearson(ranks(x), ranks(y)) }

func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	out := make([]float64, len(x))
	for lo, hi := 0, 0; lo < len(order); lo = hi {
		for hi = lo; hi < len(order) && x[order[hi]] == x[order[lo]]; {
			hi++
		}
		for _, i := range order[lo:hi] {
			out[i] = float64(lo+hi-1)/2 + 1
		}
	}
	return out
}

// Kendall's tau-b, in n log n (Knight, 1966).
func Kendall(x, y []float64) float64 {
	n := len(x)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(x[a], x[b]), cmp.Compare(y[a], y[b])) })
	pairs := func(same func(a, b int) bool) (sum float64) {
		for lo, hi := 0, 0; lo < n; lo = hi {
			for hi = lo; hi < n && same(order[lo], order[hi]); {
				hi++
			}
			sum += float64(hi-lo) * float64(hi-lo-1) / 2
		}
		return sum
	}
	tiedX := pairs(func(a, b int) bool { return x[a] == x[b] })
	tiedBoth := pairs(func(a, b int) bool { return x[a] == x[b] && y[a] == y[b] })
	sorted := make([]float64, n)
	for i, o := range order {
		sorted[i] = y[o]
	}
	swaps := inversions(sorted, make([]float64, n))
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(y[a], y[b]) })
	tiedY := pairs(func(a, b int) bool { return y[a] == y[b] })
	all := float64(n) * float64(n-1) / 2
	return (all - tiedX - tiedY + tiedBoth - 2*swaps) / math.Sqrt((all-tiedX)*(all-tiedY))
}

// inversions counts the pairs that are out of order, and sorts.
func inversions(x, spare []float64) float64 {
	if len(x) < 2 {
		return 0
	}
	half := len(x) / 2
	sum := inversions(x[:half], spare) + inversions(x[half:], spare)
	a, b, out := x[:half], x[half:], spare[:0]
	for len(a) > 0 && len(b) > 0 {
		if b[0] < a[0] {
			sum += float64(len(a))
			out, b = append(out, b[0]), b[1:]
		} else {
			out, a = append(out, a[0]), a[1:]
		}
	}
	out = append(append(out, a...), b...)
	copy(x, out)
	return sum
}

// Correlation is how a measure follows the choice's score.
type Correlation struct {
	Measure string `json:"measure"`
	// Of the candidates of an item, on average over the items where both differ.
	ItemSpearman Interval `json:"item_spearman"`
	ItemPearson  Interval `json:"item_pearson"`
	ItemKendall  Interval `json:"item_kendall"`
	// Of all candidates.
	Spearman float64 `json:"spearman"`
	Pearson  float64 `json:"pearson"`
	Kendall  float64 `json:"kendall"`
	N        int     `json:"n"`
	// Of the means of items.
	MeanSpearman float64 `json:"mean_spearman"`
	MeanPearson  float64 `json:"mean_pearson"`
	MeanKendall  float64 `json:"mean_kendall"`
}

// correlate takes scores and values by item and candidate.
func correlate(name string, scores, values [][]float64) Correlation {
	c := Correlation{Measure: name}
	var s, p, k, allX, allY, meanX, meanY []float64
	for i := range scores {
		var x, y []float64
		for j, v := range values[i] {
			if !math.IsNaN(v) && !math.IsNaN(scores[i][j]) {
				x, y = append(x, scores[i][j]), append(y, v)
			}
		}
		if len(x) == 0 {
			continue
		}
		allX, allY = append(allX, x...), append(allY, y...)
		meanX, meanY = append(meanX, mean(x)), append(meanY, mean(y))
		s, p, k = append(s, Spearman(x, y)), append(p, Pearson(x, y)), append(k, Kendall(x, y))
	}
	c.ItemSpearman, c.ItemPearson, c.ItemKendall = Bootstrap(s), Bootstrap(p), Bootstrap(k)
	c.Spearman, c.Pearson, c.Kendall, c.N = finite(Spearman(allX, allY)), finite(Pearson(allX, allY)), finite(Kendall(allX, allY)), len(allX)
	c.MeanSpearman, c.MeanPearson = finite(Spearman(meanX, meanY)), finite(Pearson(meanX, meanY))
	c.MeanKendall = finite(Kendall(meanX, meanY))
	return c
}

// finite is 0 for what is no number, which JSON does not have.
func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
