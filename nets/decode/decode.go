// Package decode writes texts with a language model, word by word: greedily,
// by beam search and by sampling, with the semantics of transformers' generate.
package decode

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"parley/engine"
	"parley/kernels/sample"
)

// Writer is a model that has read some words of every row (blip.Cache).
type Writer interface {
	// Step reads more words of each row: the logits [rows, L, vocabulary] of
	// the word behind each.
	Step(s *engine.Stream, ids [][]int32) (*engine.Tensor, error)
	// Select makes row i go on from what row from[i] has read.
	Select(s *engine.Stream, from []int32)
}

// Options say how to choose words. Zero values are transformers' defaults.
type Options struct {
	Beams             int     // 0 or 1: no beam search
	Keep              int     // the best texts of each prompt's beams that are returned; 0: one
	Sample            bool    // by chance, else the likeliest
	TopP              float64 // nucleus: the likeliest words that together have this probability; 0 and 1: all
	TopK              int     // the K likeliest words; 0: all
	Temperature       float64 // 0 is 1
	RepetitionPenalty float64 // above 1 makes words that are there already less likely; 0 is 1
	LengthPenalty     float64 // of beams: the exponent of the length that a score is divided by
	NoLengthPenalty   bool    // LengthPenalty 0 is meant
	EarlyStopping     bool    // beams: stop with as many texts as beams
	MaxLength         int     // in ids, the prompt's included
	MinLength         int     // likewise
	Seed              uint64  // of Sample
	Streams           []int   // of Sample: row i draws from stream Streams[i]; nil: from stream i
	End, Pad          int32   // the id that ends a text; the one that fills rows up
}

// Text is one result.
type Text struct {
	IDs []int32 // the prompt's, the text's and End, where it got there
	// Score is the mean log probability of a word by the model itself; of beam
	// search, the sum over the length to the power of the penalty, as
	// transformers' sequences_scores.
	Score float64
}

// Check fails where options contradict each other or the prompts.
func (o Options) Check(prompts [][]int32) error {
	switch {
	case len(prompts) == 0 || len(prompts[0]) == 0:
		return fmt.Errorf("decode: no rows")
	case o.MaxLength <= len(prompts[0]):
		return fmt.Errorf("decode: max length %d leaves no room behind the prompt's %d ids", o.MaxLength, len(prompts[0]))
	case o.MinLength > o.MaxLength:
		return fmt.Errorf("decode: min length %d is above max length %d", o.MinLength, o.MaxLength)
	case o.Temperature < 0 || o.TopP < 0 || o.TopP > 1 || o.TopK < 0 || o.RepetitionPenalty < 0 || o.Beams < 0:
		return fmt.Errorf("decode: temperature %v, top p %v, top k %d, repetition penalty %v, beams %d: none may be negative, top p at most 1", o.Temperature, o.TopP, o.TopK, o.RepetitionPenalty, o.Beams)
	case o.Sample && o.Beams > 1:
		return fmt.Errorf("decode: sampling and beam search exclude each other")
	case o.Keep > max(1, o.Beams):
		return fmt.Errorf("decode: %d texts of %d beams", o.Keep, o.Beams)
	}
	for i, p := range prompts {
		if len(p) != len(prompts[0]) {
			return fmt.Errorf("decode: prompt %d has %d ids, prompt 0 has %d", i, len(p), len(prompts[0]))
		}
	}
	return nil
}

// Rows is how many rows a writer needs for n prompts.
func (o Options) Rows(n int) int { return n * max(1, o.Beams) }

// Generate writes on behind prompts, which are of one length. w is fresh, with
// Rows(len(prompts)) rows, those of a prompt side by side. There is one text a
// prompt, or Keep of beam search, the best first.
func Generate(s *engine.Stream, w Writer, prompts [][]int32, o Options) ([]Text, error) {
	if err := o.Check(prompts); err != nil {
		return nil, err
	}
	if o.Beams > 1 {
		return beam(s, w, prompts, o)
	}
	return rows(s, w, prompts, o)
}

// read runs the model on ids and returns the last word's scores of each row.
func read(s *engine.Stream, w Writer, ids [][]int32) ([][]float32, error) {
	t, err := w.Step(s, ids)
	if err != nil {
		return nil, err
	}
	defer s.Free(t)
	h, err := s.Get(t)
	if err != nil {
		return nil, err
	}
	n, length, vocab := t.Dim(0), t.Dim(1), t.Dim(2)
	out := make([][]float32, n)
	for i := range out {
		out[i] = h.F32()[(i*length+length-1)*vocab : (i*length+length)*vocab]
	}
	return out, nil
}

// adjust applies the repetition penalty and the minimal length, in this order.
func (o Options) adjust(scores []float32, ids []int32) {
	if p := float32(o.RepetitionPenalty); p > 0 && p != 1 {
		seen := make(map[int32]bool, len(ids))
		for _, id := range ids {
			if seen[id] || int(id) >= len(scores) {
				continue
			}
			seen[id] = true
			if scores[id] < 0 {
				scores[id] *= p
			} else {
				scores[id] /= p
			}
		}
	}
	if len(ids) < o.MinLength {
		scores[o.End] = float32(math.Inf(-1))
	}
}

// logSum is log(sum(exp(x))).
func logSum(x []float32) float64 {
	top := float64(slices.Max(x))
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}

func rows(s *engine.Stream, w Writer, prompts [][]int32, o Options) ([]Text, error) {
	out := make([]Text, len(prompts))
	done := make([]bool, len(prompts))
	for i, p := range prompts {
		out[i].IDs = slices.Clone(p)
	}
	next := prompts
	prompt := len(prompts[0])
	for length := prompt; length < o.MaxLength; length++ {
		scores, err := read(s, w, next)
		if err != nil {
			return nil, err
		}
		next = make([][]int32, len(prompts))
		open := false
		for i, row := range scores {
			if done[i] {
				next[i] = []int32{o.Pad}
				continue
			}
			own := slices.Clone(row)
			o.adjust(own, out[i].IDs)
			var id int32
			if o.Sample {
				stream := i
				if o.Streams != nil {
					stream = o.Streams[i]
				}
				id = o.pick(own, sample.Uniform(o.Seed, uint64(stream), uint64(length-prompt)))
			} else {
				id = int32(argmax(own))
			}
			out[i].IDs = append(out[i].IDs, id)
			out[i].Score += float64(row[id]) - logSum(row)
			next[i] = []int32{id}
			done[i] = id == o.End
			open = open || !done[i]
		}
		if !open {
			break
		}
	}
	for i := range out {
		out[i].Score /= float64(len(out[i].IDs) - prompt)
	}
	return out, nil
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

// pick draws a word by u in [0, 1).
func (o Options) pick(scores []float32, u float64) int32 {
	type word struct {
		id int32
		p  float64
	}
	t := o.Temperature
	if t == 0 {
		t = 1
	}
	top := float64(slices.Max(scores)) / t
	words := make([]word, 0, len(scores))
	for i, v := range scores {
		if p := math.Exp(float64(v)/t - top); p > 0 {
			words = append(words, word{int32(i), p})
		}
	}
	slices.SortStableFunc(words, func(a, b word) int { return cmp.Compare(b.p, a.p) })
	if o.TopK > 0 && o.TopK < len(words) {
		words = words[:o.TopK]
	}
	sum := 0.0
	for _, w := range words {
		sum += w.p
	}
	if o.TopP > 0 && o.TopP < 1 {
		// A word stays while those before it have less than TopP.
		before := 0.0
		for i, w := range words {
			if i > 0 && before >= o.TopP*sum {
				words = words[:i]
				break
			}
			before += w.p
		}
		sum = 0
		for _, w := range words {
			sum += w.p
		}
	}
	u *= sum
	for _, w := range words {
		if u -= w.p; u < 0 {
			return w.id
		}
	}
	return words[len(words)-1].id
}

// never is the score of what cannot be, as in transformers.
const never = -1e9

type candidate struct {
	ids   []int32
	score float64
	from  int // the row that it goes on from
	done  bool
}

// search is the state of one prompt.
type search struct {
	running, finished []candidate
	hopeful           bool // a running beam can still become one of the best
}

// beam is transformers' vectorised beam search, prompt by prompt but for the
// model's steps, which all prompts take together.
func beam(s *engine.Stream, w Writer, prompts [][]int32, o Options) ([]Text, error) {
	k, prompt := o.Beams, len(prompts[0])
	penalty := o.LengthPenalty
	if penalty == 0 && !o.NoLengthPenalty {
		penalty = 1
	}
	all := make([]search, len(prompts))
	var next [][]int32
	for i, p := range prompts {
		all[i].hopeful = true
		for b := range k {
			c := candidate{ids: slices.Clone(p)}
			if b > 0 {
				c.score = never // all beams are alike at first: only one counts
			}
			all[i].running = append(all[i].running, c)
			all[i].finished = append(all[i].finished, candidate{ids: p, score: never})
			next = append(next, p)
		}
	}
	for length := prompt; ; {
		scores, err := read(s, w, next)
		if err != nil {
			return nil, err
		}
		from := make([]int32, 0, len(next))
		next = next[:0:0]
		hopeful, open, going := false, false, false
		for i := range all {
			q := &all[i]
			top := o.expand(q.running, scores[i*k:(i+1)*k])
			last := length+1 >= o.MaxLength
			for j := range top {
				top[j].done = last || top[j].ids[length] == o.End
				going = going || !top[j].done
			}
			// The best that go on; those that ended come last.
			live := slices.Clone(top)
			for j := range live {
				if live[j].done {
					live[j].score += never
				}
			}
			slices.SortStableFunc(live, func(a, b candidate) int { return cmp.Compare(b.score, a.score) })
			// The best that ended, of the first k.
			full := o.EarlyStopping && !slices.ContainsFunc(q.finished, func(c candidate) bool { return !c.done })
			ended := slices.Clone(q.finished)
			for j, c := range top {
				if c.done && j < k && !full && q.hopeful {
					c.score /= math.Pow(float64(length+1-prompt), penalty)
					ended = append(ended, c)
				}
			}
			slices.SortStableFunc(ended, func(a, b candidate) int { return cmp.Compare(b.score, a.score) })
			q.running, q.finished = live[:k], ended[:k]
			for _, c := range q.running {
				from = append(from, int32(i*k+c.from))
				next = append(next, c.ids[length:])
			}
			// Could the best running beam become better than the worst text?
			best := q.running[0].score / math.Pow(float64(length+1-prompt), penalty)
			worst := q.finished[k-1].score
			better := false
			for _, c := range q.finished {
				if c.done && best > worst || !c.done && best > never {
					better = true
				}
				open = open || !c.done
			}
			q.hopeful = q.hopeful && better
			hopeful = hopeful || q.hopeful
		}
		length++
		if !hopeful || o.EarlyStopping && !open || !going {
			break
		}
		w.Select(s, from)
	}
	var out []Text
	for _, q := range all {
		for _, c := range q.finished[:max(1, o.Keep)] {
			out = append(out, Text{c.ids, c.score})
		}
	}
	return out, nil
}

// expand returns the 2k best continuations of k beams.
func (o Options) expand(running []candidate, scores [][]float32) []candidate {
	type entry struct {
		beam, id int
		score    float64
	}
	k := len(running)
	keep := make([]entry, 0, 2*k+1) // falling
	for b, row := range scores {
		own := slices.Clone(row)
		norm := logSum(row)
		for i := range own {
			own[i] = float32(float64(own[i]) - norm)
		}
		o.adjust(own, running[b].ids)
		for id, v := range own {
			score := float64(v) + running[b].score
			if len(keep) == 2*k && score <= keep[2*k-1].score {
				continue
			}
			at, _ := slices.BinarySearchFunc(keep, score, func(e entry, s float64) int {
				if e.score >= s {
					return -1
				}
				return 1
			})
			keep = slices.Insert(keep, at, entry{b, id, score})
			keep = keep[:min(len(keep), 2*k)]
		}
	}
	out := make([]candidate, len(keep))
	for i, e := range keep {
		c := running[e.beam]
		out[i] = candidate{ids: append(slices.Clone(c.ids), int32(e.id)), score: e.score, from: e.beam}
	}
	return out
}
