package sampling

import (
	"cmp"
	"math"
	"slices"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/random"
	"parley/kernels/simd"
)

func tokensOnHost(h *host.Device, logits *engine.Tensor, ids [][]int32, o Options, out []Token) {
	vocab := logits.Dim(1)
	h.For(len(ids), func(i int) {
		if ids[i] == nil {
			return
		}
		row := logits.F32()[i*vocab : (i+1)*vocab]
		scores := slices.Clone(row)
		o.adjust(scores, ids[i])
		var id int32
		if o.Sample {
			id = o.pick(scores, random.Uniform(o.Seed, o.Subsequences[i], o.Offset))
		} else {
			id = int32(argmax(scores))
		}
		out[i] = Token{id, float64(row[id]) - logSumExp(row)}
	})
}

func continuationsOnHost(h *host.Device, logits *engine.Tensor, ids [][]int32, scores []float64, beams int, o Options,
	out [][]Continuation) {
	vocab := logits.Dim(1)
	best := make([][]Continuation, len(ids))
	h.For(len(ids), func(i int) {
		row := logits.F32()[i*vocab : (i+1)*vocab]
		best[i] = o.best(row, ids[i], scores[i], i%beams, 2*beams)
	})
	for p := range out {
		all := slices.Concat(best[p*beams : (p+1)*beams]...)
		slices.SortStableFunc(all, func(a, b Continuation) int { return cmp.Compare(b.Score, a.Score) })
		out[p] = all[:min(len(all), 2*beams)]
	}
}

// best are the n best tokens behind one beam.
func (o Options) best(row []float32, ids []int32, score float64, beam, n int) []Continuation {
	own := slices.Clone(row)
	norm := logSumExp(row)
	for i := range own {
		own[i] = float32(float64(own[i]) - norm)
	}
	o.adjust(own, ids)
	keep := make([]Continuation, 0, n+1) // falling
	for id, v := range own {
		sum := float64(v) + score
		if len(keep) == n && sum <= keep[n-1].Score {
			continue
		}
		at, _ := slices.BinarySearchFunc(keep, sum, func(e Continuation, s float64) int {
			if e.Score >= s {
				return -1
			}
			return 1
		})
		keep = slices.Insert(keep, at, Continuation{beam, int32(id), sum})
		keep = keep[:min(len(keep), n)]
	}
	return keep
}

// adjust applies the repetition penalty and suppresses a token, in this order.
func (o Options) adjust(scores []float32, ids []int32) {
	if p := float32(o.RepetitionPenalty); p > 0 && p != 1 {
		for i, id := range ids {
			if int(id) >= len(scores) || slices.Contains(ids[:i], id) {
				continue
			}
			if scores[id] < 0 {
				scores[id] *= p
			} else {
				scores[id] /= p
			}
		}
	}
	if o.Suppress {
		scores[o.Suppressed] = float32(math.Inf(-1))
	}
}

// logSumExp is log(sum(exp(x))), in float64.
func logSumExp(x []float32) float64 {
	top := float64(simd.MaxVal(x))
	return top + math.Log(sumExp(x, top))
}

// Exponentials are the most of a token's work. Of numbers that are not above 0, one is
// a power of two by 1/steps, from a table, and a polynomial's of what is left: to
// 1e-15, without the cases that math.Exp has to tell apart.
const steps = 64

func powers() (t [steps]float64) {
	for i := range t {
		t[i] = math.Exp2(float64(i) / steps)
	}
	return t
}

// sumExp is the sum of exp(x-top), where top is the largest of x.
func sumExp(x []float32, top float64) float64 {
	const few = 1024 // for which the table does not pay
	sum := 0.0
	if len(x) < few || top-top != 0 { // or not finite
		for _, v := range x {
			sum += math.Exp(float64(v) - top)
		}
		return sum
	}
	const (
		scale = steps * math.Log2E
		step  = math.Ln2 / steps
		round = 3 << 51 // added, it leaves whole numbers
	)
	table := powers()
	for _, v := range x {
		d := float64(v) - top
		if !(d > -708) { // below the least normal number, or no number
			if d != d {
				return d
			}
			continue
		}
		k := d*scale + round
		n := int64(math.Float64bits(k)) << 12 >> 12
		n -= 1 << 51 // of the constant
		r := d - (k-round)*step
		p := 1 + r*(1+r*(0.5+r*(1./6+r*(1./24+r*(1./120)))))
		sum += p * table[n&(steps-1)] * math.Float64frombits(uint64(n>>6+1023)<<52)
	}
	return sum
}

func argmax(x []float32) int {
	at := 0
	for i, v := range x {
		if v > x[at] {
			at = i
		}
	}
	return at
}

// pick draws a token by u in [0, 1), as if all were sorted from the likeliest
// down and their probabilities laid end to end. Only the tokens around the
// places that matter are sorted: those of one of many ranges of scores each.
func (o Options) pick(scores []float32, u float64) int32 {
	if t := o.Temperature; t != 0 && t != 1 {
		for i, v := range scores {
			scores[i] = float32(float64(v) / t)
		}
	}
	r := newRanges(scores)
	keep, sum := r.first[len(r.first)-1], 0.0
	if o.TopK > 0 {
		keep = min(keep, o.TopK)
	}
	sum = r.sum(keep)
	if o.TopP > 0 && o.TopP < 1 {
		// A token stays while those before it have less than TopP.
		n, before := r.find(o.TopP*sum, keep)
		if n < keep && before < o.TopP*sum {
			before += r.at(n)
			n++
		}
		keep, sum = max(n, 1), before
		if n == 0 {
			sum = r.at(0)
		}
	}
	n, before := r.find(u*sum, keep)
	for n < keep-1 && u*sum >= before+r.at(n) {
		before += r.at(n)
		n++
	}
	return r.id(n)
}

// ranges are tokens by ranges of falling scores, each listed and sorted when it
// is looked into.
type ranges struct {
	scores []float32 // by id
	p      []float32 // likewise: probabilities, but for their sum
	in     []uint16  // likewise: the range
	first  []int     // place of a range's first token, the likeliest range first; and the end
	mass   []float64 // of a range
	ids    [][]int32 // of a range, or nil
}

// newRanges is for a row of scores: few are sorted as a whole.
func newRanges(scores []float32) *ranges {
	buckets, shift := 1, 32
	if len(scores) > 1024 {
		buckets, shift = 4096, 20
	}
	r := &ranges{
		scores: scores,
		p:      make([]float32, len(scores)),
		in:     make([]uint16, len(scores)),
		first:  make([]int, buckets+1),
		mass:   make([]float64, buckets),
		ids:    make([][]int32, buckets),
	}
	simd.ExpSub(r.p, scores, simd.MaxVal(scores))
	for i, p := range r.p {
		if p > 0 {
			b := bucket(scores[i], shift)
			r.in[i] = uint16(b)
			r.mass[b] += float64(p)
			r.first[b+1]++
		}
	}
	for b := range r.mass {
		r.first[b+1] += r.first[b]
	}
	return r
}

// bucket is a score's range: the first bits of the number that falls as the score grows.
// Without a branch on the sign, of which half would be mispredicted.
func bucket(v float32, shift int) int {
	k := math.Float32bits(v + 0) // -0 is 0
	k ^= (k>>31 - 1) & 0x7fffffff
	return int(uint64(k) >> shift)
}

// of is the range of the n-th token; the last one for n beyond.
func (r *ranges) of(n int) int {
	b, _ := slices.BinarySearchFunc(r.first[1:], n, func(end, n int) int {
		if end <= n {
			return -1
		}
		return 1
	})
	return min(b, len(r.mass)-1)
}

// id is the n-th likeliest token, whose range is listed afterwards.
func (r *ranges) id(n int) int32 {
	b := r.of(n)
	if r.ids[b] == nil {
		ids := make([]int32, 0, r.first[b+1]-r.first[b])
		for i, in := range r.in {
			if int(in) == b && r.p[i] > 0 {
				ids = append(ids, int32(i))
			}
		}
		slices.SortFunc(ids, func(x, y int32) int { // equals by their ids
			if a, b := r.scores[x], r.scores[y]; a != b {
				return cmp.Compare(b, a)
			}
			return int(x - y)
		})
		r.ids[b] = ids
	}
	return r.ids[b][n-r.first[b]]
}

// at is its probability.
func (r *ranges) at(n int) float64 { return float64(r.p[r.id(n)]) }

// sum is the probability of the n likeliest tokens.
func (r *ranges) sum(n int) float64 {
	s := 0.0
	for b := range r.mass {
		if r.first[b+1] > n {
			for i := r.first[b]; i < n; i++ {
				s += r.at(i)
			}
			break
		}
		s += r.mass[b]
	}
	return s
}

// find is the first token, of the first keep, before which there is not less
// than mass less the token's own: the place of mass; and what lies before it.
func (r *ranges) find(mass float64, keep int) (n int, before float64) {
	for b := range r.mass {
		if r.first[b+1] > r.first[b] && (before+r.mass[b] >= mass || r.first[b+1] >= keep) {
			for n = r.first[b]; n < min(r.first[b+1], keep)-1 && before+r.at(n) < mass; n++ {
				before += r.at(n)
			}
			return n, before
		}
		before += r.mass[b]
	}
	return max(0, keep-1), before
}
