package meteor

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/kljensen/snowball/english"
)

// stages are exact, stem, synonym and paraphrase.
const stages = 4

// beam is how many partial alignments the search keeps.
const beam = 40

// gain is what a matched word counts in the search, by stage. The reference adds
// up whole numbers: half a word is dropped, two halves of one match are one.
var gain = [stages]float64{1, 0.5, 0.5, 0.5}

// word is what the aligner knows of a word.
type word struct {
	id, stem   int32
	synsets    []int32
	function   bool
	paraphrase int32 // its number in the table; -1: none
}

// match takes length words of the reference from start on for matchLength words
// of the hypothesis from matchStart on.
type match struct {
	start, length           int
	matchStart, matchLength int
	stage                   int
}

// path is a partial alignment of the reference's words up to index idx.
type path struct {
	last         *link // the matches chosen, the last one first
	used1, used2 bitset
	matches      int // the gain, of both sentences
	chunks       int
	idx          int
	end          int // where the last match ends in the hypothesis; -1: no chunk is open
	distance     int
}

type link struct {
	match *match
	prev  *link
}

type bitset []uint64

func newBitset(n int) bitset    { return make(bitset, (n+63)/64) }
func (b bitset) has(i int) bool { return b[i/64]>>(i%64)&1 != 0 }
func (b bitset) set(lo, n int) {
	b.each(lo, n, func(i int) bool { b[i/64] |= 1 << (i % 64); return true })
}
func (b bitset) any(lo, n int) bool { return !b.each(lo, n, func(i int) bool { return !b.has(i) }) }

func (b bitset) each(lo, n int, f func(int) bool) bool {
	for i := lo; i < lo+n; i++ {
		if !f(i) {
			return false
		}
	}
	return true
}

// aligner aligns sentences. It is not safe for concurrent use.
type aligner struct {
	*data
	known map[string]*word
	ids   map[string]int32
}

func newAligner(d *data) *aligner {
	return &aligner{data: d, known: map[string]*word{}, ids: map[string]int32{}}
}

func (a *aligner) id(s string) int32 {
	n, ok := a.ids[s]
	if !ok {
		n = int32(len(a.ids))
		a.ids[s] = n
	}
	return n
}

func (a *aligner) words(list []string) []*word {
	out := make([]*word, len(list))
	for i, s := range list {
		w, ok := a.known[s]
		if !ok {
			w = &word{id: a.id(s), stem: a.id(english.Stem(s, true)), synsets: a.synonyms(s), function: a.function[s], paraphrase: -1}
			if n, ok := a.paraphrase.words[s]; ok {
				w.paraphrase = n
			}
			a.known[s] = w
		}
		out[i] = w
	}
	return out
}

// maxMatches bounds what two long sentences of few words make.
const maxMatches = 1 << 18

// find collects all matches by the reference's word where they start, in the
// order of the stages.
func (a *aligner) find(w1, w2 []*word) ([][]match, error) {
	found, total := make([][]match, len(w2)), 0
	add := func(m match) {
		if total++; total <= maxMatches {
			found[m.start] = append(found[m.start], m)
		}
	}
	single := func(stage int, same func(x, y *word) bool) {
		for j, y := range w2 {
			for i, x := range w1 {
				if same(x, y) {
					add(match{j, 1, i, 1, stage})
				}
			}
		}
	}
	single(0, func(x, y *word) bool { return x.id == y.id })
	if slices.EqualFunc(w1, w2, func(x, y *word) bool { return x.id == y.id }) {
		if total > maxMatches {
			return nil, errMatches
		}
		return found, nil // the search could only err
	}
	single(1, func(x, y *word) bool { return x.stem == y.stem && x.id != y.id })
	single(2, func(x, y *word) bool { return x.id != y.id && meet(x.synsets, y.synsets) })
	p1, p2 := numbers(w1), numbers(w2)
	for j := range p2 {
		a.paraphrase.paraphrases(p2[j:], func(length int, p []int32) {
			for i := range p1 {
				if len(p1)-i >= len(p) && slices.Equal(p1[i:i+len(p)], p) {
					add(match{j, length, i, len(p), 3})
				}
			}
		})
	}
	for i := range p1 {
		a.paraphrase.paraphrases(p1[i:], func(length int, p []int32) {
			for j := range p2 {
				if len(p2)-j >= len(p) && slices.Equal(p2[j:j+len(p)], p) {
					add(match{j, len(p), i, length, 3})
				}
			}
		})
	}
	if total > maxMatches {
		return nil, errMatches
	}
	return found, nil
}

func numbers(words []*word) []int32 {
	out := make([]int32, len(words))
	for i, w := range words {
		out[i] = w.paraphrase
	}
	return out
}

// meet reports whether two ascending lists have a number in common.
func meet(a, b []int32) bool {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] < b[j]:
			i++
		case a[i] > b[j]:
			j++
		default:
			return true
		}
	}
	return false
}

// align is the best alignment that a beam search finds: the matches by the
// reference's word where they start, nil where none does.
func align(found [][]match, n1 int) []*match {
	n2 := len(found)
	cover1, cover2 := make([]int, n1), make([]int, n2)
	for _, list := range found {
		for _, m := range list {
			for k := range m.matchLength {
				cover1[m.matchStart+k]++
			}
			for k := range m.length {
				cover2[m.start+k]++
			}
		}
	}
	first := &path{used1: newBitset(n1), used2: newBitset(n2), end: -1}
	// What nothing else competes with is settled.
	fixed := make([]*match, n2)
	for i, list := range found {
		if len(list) != 1 {
			continue
		}
		m := &list[0]
		alone := true
		for k := range m.length {
			alone = alone && cover2[i+k] == 1
		}
		for k := range m.matchLength {
			alone = alone && cover1[m.matchStart+k] == 1
		}
		if alone {
			fixed[i] = m
			first.used2.set(i, m.length)
			first.used1.set(m.matchStart, m.matchLength)
		}
	}
	best := search(found, fixed, first)
	for l := best.last; l != nil; l = l.prev {
		fixed[l.match.start] = l.match
	}
	return fixed
}

// better orders paths: more matched, then fewer chunks, then less moved.
func better(x, y *path) int {
	return cmp.Or(cmp.Compare(y.matches, x.matches), cmp.Compare(x.chunks, y.chunks), cmp.Compare(x.distance, y.distance))
}

// search goes through the reference from left to right. Its order of paths, and
// what it adds to which path's distance, are the reference's: the choice among
// equals depends on them.
func search(found [][]match, fixed []*match, first *path) *path {
	var paths []*path
	next := []*path{first}
	for current := 0; current <= len(found); current++ {
		paths, next = next, nil
		slices.SortStableFunc(paths, better)
		for _, p := range paths[:min(beam, len(paths))] {
			if current == len(found) {
				if p.end != -1 {
					p.chunks++
				}
				next = append(next, p)
				continue
			}
			if p.used2.has(current) {
				if current < p.idx { // within a match
					next = append(next, p)
				} else if m := fixed[p.idx]; m != nil {
					p.take(m)
					p.distance += abs(m.start - m.matchStart)
					next = append(next, p)
				}
				continue
			}
			for i := range found[current] {
				m := &found[current][i]
				if p.used2.any(m.start, m.length) || p.used1.any(m.matchStart, m.matchLength) {
					continue
				}
				q := *p
				q.used1, q.used2 = slices.Clone(p.used1), slices.Clone(p.used2)
				q.used1.set(m.matchStart, m.matchLength)
				q.used2.set(m.start, m.length)
				q.last = &link{m, p.last}
				q.take(m)
				p.distance += abs(m.start - m.matchStart) // p's, not q's
				next = append(next, &q)
			}
			if p.end != -1 { // or skip this word
				p.chunks++
				p.end = -1
			}
			p.idx++
			next = append(next, p)
		}
		if len(next) == 0 {
			next = append(next, paths[0])
		}
	}
	slices.SortStableFunc(next, better)
	return next[0]
}

func (p *path) take(m *match) {
	p.matches += int(float64(m.matchLength)*gain[m.stage]) + int(float64(m.length)*gain[m.stage])
	if p.end != -1 && m.matchStart != p.end {
		p.chunks++
	}
	p.idx = m.start + m.length
	p.end = m.matchStart + m.matchLength
}

func abs(x int) int { return max(x, -x) }

// stats are what an alignment, or all, counts.
type stats struct {
	length, function [2]float64 // of the hypothesis and of the reference
	content, filler  [stages][2]float64
	chunks           float64
}

// count sums up an alignment.
func count(w1, w2 []*word, matches []*match) stats {
	var s stats
	for side, words := range [2][]*word{w1, w2} {
		s.length[side] = float64(len(words))
		for _, w := range words {
			if w.function {
				s.function[side]++
			}
		}
	}
	end := -1
	for i := 0; i < len(matches); {
		m := matches[i]
		if m == nil {
			if end != -1 {
				s.chunks++
				end = -1
			}
			i++
			continue
		}
		for side, words := range [2][]*word{w1[m.matchStart : m.matchStart+m.matchLength], w2[m.start : m.start+m.length]} {
			for _, w := range words {
				if w.function {
					s.filler[m.stage][side]++
				} else {
					s.content[m.stage][side]++
				}
			}
		}
		if end != -1 && m.matchStart != end {
			s.chunks++
		}
		i, end = m.start+m.length, m.matchStart+m.matchLength
	}
	if end != -1 {
		s.chunks++
	}
	return s
}

// total is how many words of a side are matched.
func (s *stats) total(side int) (n float64) {
	for i := range stages {
		n += s.content[i][side] + s.filler[i][side]
	}
	return n
}

// whole reports whether all words match in one chunk.
func (s *stats) whole() bool {
	return s.total(0) == s.length[0] && s.total(1) == s.length[1] && s.chunks == 1
}

func (s *stats) add(o stats) {
	for side := range 2 {
		s.length[side] += o.length[side]
		s.function[side] += o.function[side]
		for i := range stages {
			s.content[i][side] += o.content[i][side]
			s.filler[i][side] += o.filler[i][side]
		}
	}
	if !o.whole() {
		s.chunks += o.chunks
	}
}

// The parameters of -l en, tuned to rank translations.
const (
	alpha = 0.85 // recall's weight
	beta  = 0.20
	gamma = 0.60
	delta = 0.75 // content words' weight
)

var weight = [stages]float64{1, 0.6, 0.8, 0.6}

func (s *stats) score() float64 {
	var ratio [2]float64 // precision and recall
	for side := range 2 {
		matched := 0.0
		for i := range stages {
			matched += s.content[i][side] * weight[i] * delta
		}
		for i := range stages {
			matched += s.filler[i][side] * weight[i] * (1 - delta)
		}
		ratio[side] = matched / (delta*(s.length[side]-s.function[side]) + (1-delta)*s.function[side])
	}
	mean := 1 / ((1-alpha)/ratio[0] + alpha/ratio[1])
	fragments := 0.0
	if !s.whole() {
		fragments = s.chunks / ((s.total(0) + s.total(1)) / 2)
	}
	score := mean * (1 - gamma*math.Pow(fragments, beta))
	if math.IsNaN(score) {
		return 0
	}
	return max(score, 0)
}

var errMatches = fmt.Errorf("more than %d matches of words: two captions are too long for METEOR's aligner", maxMatches)
