package sample

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/simd"
)

// Choice says how the next word of a text is chosen from a model's logits. The
// zero value takes the likeliest.
type Choice struct {
	RepetitionPenalty float64 // above 1 makes words that are there already less likely; 0 is 1
	Bar               bool    // the word Barred cannot come
	Barred            int32

	// By chance: from the TopK likeliest words (0: all), and of those from the
	// likeliest that together have the probability TopP (0 and 1: all).
	Sample      bool
	Temperature float64 // 0 is 1
	TopP        float64
	TopK        int
	Seed        uint64
	Streams     []uint64 // row i draws from stream Streams[i] of Philox,
	Offset      uint64   // at this place
}

// Word is a choice and the log of its probability by the logits alone.
type Word struct {
	ID  int32
	Log float64
}

// Words chooses a word for each row of logits [rows, V], f32, behind the ids
// that the row has already. A row whose ids are nil is passed over.
func Words(s *engine.Stream, logits *engine.Tensor, ids [][]int32, c Choice) ([]Word, error) {
	if logits.Dim(0) != len(ids) || len(logits.Shape()) != 2 || logits.DType() != engine.F32 || c.Sample && len(c.Streams) != len(ids) {
		return nil, fmt.Errorf("sample: %s: logits %v %v, %d rows of ids, %d streams", s.Path(), logits.Shape(), logits.DType(), len(ids), len(c.Streams))
	}
	out := make([]Word, len(ids))
	s.Do(engine.Work{Op: "words", Out: logits, Bytes: int64(logits.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			wordsOnCUDA(g, s, logits, ids, c, out)
			return
		}
		if h, ok := host.On(d); ok {
			vocab := logits.Dim(1)
			h.For(len(ids), func(i int) {
				if ids[i] == nil {
					return
				}
				row := logits.F32()[i*vocab : (i+1)*vocab]
				own := slices.Clone(row)
				c.adjust(own, ids[i])
				var id int32
				if c.Sample {
					id = c.pick(own, Uniform(c.Seed, c.Streams[i], c.Offset))
				} else {
					id = int32(argmax(own))
				}
				out[i] = Word{id, float64(row[id]) - logSum(row)}
			})
		}
	})
	return out, s.Err()
}

// Next is a continuation of a beam: the beam's number among its prompt's, the
// word, and the sum of log probabilities with it.
type Next struct {
	Beam  int
	ID    int32
	Score float64
}

// Continuations returns for each prompt the best 2·beams words behind its
// beams, the best first; equal ones in the order of beams and ids. logits
// [prompts·beams, V] are f32, ids and scores those of the beams. Of c, the
// penalty and the barred word count.
func Continuations(s *engine.Stream, logits *engine.Tensor, ids [][]int32, scores []float64, beams int, c Choice) ([][]Next, error) {
	if logits.Dim(0) != len(ids) || len(ids) != len(scores) || beams < 1 || len(ids)%beams != 0 || len(logits.Shape()) != 2 || logits.DType() != engine.F32 {
		return nil, fmt.Errorf("sample: %s: logits %v %v, %d rows of ids, %d scores, %d beams", s.Path(), logits.Shape(), logits.DType(), len(ids), len(scores), beams)
	}
	out := make([][]Next, len(ids)/beams)
	s.Do(engine.Work{Op: "continuations", Out: logits, Bytes: int64(logits.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			continuationsOnCUDA(g, s, logits, ids, scores, beams, c, out)
			return
		}
		if h, ok := host.On(d); ok {
			vocab := logits.Dim(1)
			best := make([][]Next, len(ids))
			h.For(len(ids), func(i int) {
				row := logits.F32()[i*vocab : (i+1)*vocab]
				best[i] = c.best(row, ids[i], scores[i], i%beams, 2*beams)
			})
			for p := range out {
				all := slices.Concat(best[p*beams : (p+1)*beams]...)
				slices.SortStableFunc(all, func(a, b Next) int { return cmp.Compare(b.Score, a.Score) })
				out[p] = all[:min(len(all), 2*beams)]
			}
		}
	})
	return out, s.Err()
}

// best are the n best words behind one beam.
func (c Choice) best(row []float32, ids []int32, score float64, beam, n int) []Next {
	own := slices.Clone(row)
	norm := logSum(row)
	for i := range own {
		own[i] = float32(float64(own[i]) - norm)
	}
	c.adjust(own, ids)
	keep := make([]Next, 0, n+1) // falling
	for id, v := range own {
		sum := float64(v) + score
		if len(keep) == n && sum <= keep[n-1].Score {
			continue
		}
		at, _ := slices.BinarySearchFunc(keep, sum, func(e Next, s float64) int {
			if e.Score >= s {
				return -1
			}
			return 1
		})
		keep = slices.Insert(keep, at, Next{beam, int32(id), sum})
		keep = keep[:min(len(keep), n)]
	}
	return keep
}

// adjust applies the repetition penalty and bars a word, in this order.
func (c Choice) adjust(scores []float32, ids []int32) {
	if p := float32(c.RepetitionPenalty); p > 0 && p != 1 {
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
	if c.Bar {
		scores[c.Barred] = float32(math.Inf(-1))
	}
}

// logSum is log(sum(exp(x))).
func logSum(x []float32) float64 {
	top, sum := float64(simd.MaxVal(x)), 0.
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
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

// pick draws a word by u in [0, 1), as if all were sorted from the likeliest
// down and their probabilities laid end to end. Only the words around the
// places that matter are sorted: those of one of many ranges of scores each.
func (c Choice) pick(scores []float32, u float64) int32 {
	if t := c.Temperature; t != 0 && t != 1 {
		for i, v := range scores {
			scores[i] = float32(float64(v) / t)
		}
	}
	r := newRanges(scores)
	keep, sum := r.first[len(r.first)-1], 0.0
	if c.TopK > 0 {
		keep = min(keep, c.TopK)
	}
	sum = r.sum(keep)
	if c.TopP > 0 && c.TopP < 1 {
		// A word stays while those before it have less than TopP.
		n, before := r.find(c.TopP*sum, keep)
		if n < keep && before < c.TopP*sum {
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

// ranges are words by ranges of falling scores, each listed and sorted when it
// is looked into.
type ranges struct {
	scores []float32 // by id
	p      []float32 // likewise: probabilities, but for their sum
	first  []int     // place of a range's first word, the likeliest range first; and the end
	mass   []float64 // of a range
	ids    [][]int32 // of a range, or nil
	shift  int       // of a score's bits to its range
}

// newRanges is for a row of scores: few are sorted as a whole.
func newRanges(scores []float32) *ranges {
	buckets, shift := 1, 32
	if len(scores) > 1024 {
		buckets, shift = 4096, 20
	}
	r := &ranges{scores: scores, p: make([]float32, len(scores)), first: make([]int, buckets+1), mass: make([]float64, buckets), ids: make([][]int32, buckets), shift: shift}
	simd.ExpSub(r.p, scores, simd.MaxVal(scores))
	for i, p := range r.p {
		if p > 0 {
			b := r.bucket(scores[i])
			r.mass[b] += float64(p)
			r.first[b+1]++
		}
	}
	for b := range r.mass {
		r.first[b+1] += r.first[b]
	}
	return r
}

// bucket is a score's range: the first bits of the number that falls as the
// score grows.
func (r *ranges) bucket(v float32) int {
	k := math.Float32bits(v + 0) // -0 is 0
	if k>>31 == 0 {
		k = ^k & 0x7fffffff
	}
	return int(uint64(k) >> r.shift)
}

// of is the range of the n-th word; the last one for n beyond.
func (r *ranges) of(n int) int {
	b, _ := slices.BinarySearchFunc(r.first[1:], n, func(end, n int) int {
		if end <= n {
			return -1
		}
		return 1
	})
	return min(b, len(r.mass)-1)
}

// id is the n-th likeliest word, whose range is listed afterwards.
func (r *ranges) id(n int) int32 {
	b := r.of(n)
	if r.ids[b] == nil {
		ids := make([]int32, 0, r.first[b+1]-r.first[b])
		for i, v := range r.scores {
			if r.bucket(v) == b && r.p[i] > 0 {
				ids = append(ids, int32(i))
			}
		}
		slices.SortStableFunc(ids, func(x, y int32) int { return cmp.Compare(r.scores[y], r.scores[x]) })
		r.ids[b] = ids
	}
	return r.ids[b][n-r.first[b]]
}

// at is its probability.
func (r *ranges) at(n int) float64 { return float64(r.p[r.id(n)]) }

// sum is the probability of the n likeliest words.
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

// find is the first word, of the first keep, before which there is not less
// than mass less the word's own: the place of mass; and what lies before it.
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
