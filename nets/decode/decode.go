// Package decode generates texts with a language model, token by token: greedily,
// by beam search and by sampling, with the semantics of transformers' generate.
package decode

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"parley/engine"
	"parley/kernels/sampling"
	"parley/nets/finite"
)

// Model is a language model with a cache of what it has read (blip.Cache).
type Model interface {
	// Next reads more tokens of each row: the logits [rows, vocabulary] of the token
	// behind the last, f32, which are good until the next call.
	Next(s *engine.Stream, ids [][]int32) (*engine.Tensor, error)
	// Reorder makes row i go on from what row from[i] has read.
	Reorder(s *engine.Stream, from []int32)
}

// Options say how tokens are chosen. Zero values are transformers' defaults.
type Options struct {
	Beams             int      // 0 or 1: no beam search
	Keep              int      // how many of a prompt's beams are returned, the best first; 0: one
	Sample            bool     // draw from the distribution, else take the likeliest
	TopP              float64  // nucleus: the likeliest tokens that together have this probability; 0 and 1: all
	TopK              int      // the K likeliest tokens; 0: all
	Temperature       float64  // 0 is 1
	RepetitionPenalty float64  // above 1 makes tokens that are there already less likely; 0 is 1
	LengthPenalty     float64  // of beams: the exponent of the length that a score is divided by
	NoLengthPenalty   bool     // LengthPenalty 0 is meant
	EarlyStopping     bool     // beams: stop with as many texts as beams
	MaxLength         int      // in tokens, the prompt's included
	MinLength         int      // likewise; until then EOS is suppressed
	Seed              uint64   // of Sample
	Seeds             []uint64 // of Sample: row i draws from Seeds[i]; nil: every row from Seed
	Subsequences      []int    // of Sample: row i draws from subsequence Subsequences[i] of Philox; nil: from its own, i
	EOS, Pad          int32    // the token that ends a text; the one that fills rows up
}

// Text is one result.
type Text struct {
	IDs []int32 // the prompt's, the text's and EOS, where it got there
	// Score is the mean log probability of a token by the model itself; of beam
	// search, the sum over the length to the power of the penalty, as
	// transformers' sequences_scores.
	Score float64
	// Err is set where the model's logits were not finite: the rest means nothing
	// then.
	Err error
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
	// Written so that NaN fails.
	case !(o.Temperature >= 0) || !(o.TopP >= 0 && o.TopP <= 1) || o.TopK < 0 || !(o.RepetitionPenalty >= 0) || o.Beams < 0:
		return fmt.Errorf("decode: temperature %v, top p %v, top k %d, repetition penalty %v, beams %d: none may be negative, top p at most 1",
			o.Temperature, o.TopP, o.TopK, o.RepetitionPenalty, o.Beams)
	case math.IsInf(o.Temperature, 0) || math.IsInf(o.RepetitionPenalty, 0) || math.IsInf(o.LengthPenalty, 0) || math.IsNaN(o.LengthPenalty):
		return fmt.Errorf("decode: temperature %v, repetition penalty %v, length penalty %v: want finite numbers",
			o.Temperature, o.RepetitionPenalty, o.LengthPenalty)
	case o.Sample && o.Beams > 1:
		return fmt.Errorf("decode: sampling and beam search exclude each other")
	case o.Keep > max(1, o.Beams):
		return fmt.Errorf("decode: %d texts of %d beams", o.Keep, o.Beams)
	}
	if o.Seeds != nil && len(o.Seeds) != len(prompts) {
		return fmt.Errorf("decode: %d seeds for %d prompts", len(o.Seeds), len(prompts))
	}
	for i, p := range prompts {
		if len(p) != len(prompts[0]) {
			return fmt.Errorf("decode: prompt %d has %d ids, prompt 0 has %d", i, len(p), len(prompts[0]))
		}
	}
	return nil
}

// Rows is how many rows a model's cache needs for n prompts.
func (o Options) Rows(n int) int { return n * max(1, o.Beams) }

// Generate continues prompts, which are of one length. m has read nothing yet, and
// has Rows(len(prompts)) rows, those of a prompt side by side. There is one text a
// prompt, or Keep of beam search, the best first.
func Generate(s *engine.Stream, m Model, prompts [][]int32, o Options) ([]Text, error) {
	if err := o.Check(prompts); err != nil {
		return nil, err
	}
	if o.Beams > 1 {
		return beam(s, m, prompts, o)
	}
	return single(s, m, prompts, o)
}

// choice is how the token behind length others is chosen.
func (o Options) choice(length int) sampling.Options {
	return sampling.Options{RepetitionPenalty: o.RepetitionPenalty, Suppress: length < o.MinLength, Suppressed: o.EOS,
		Sample: o.Sample, Temperature: o.Temperature, TopP: o.TopP, TopK: o.TopK, Seed: o.Seed}
}

// single generates without beams: each row by itself, all in one batch.
func single(s *engine.Stream, m Model, prompts [][]int32, o Options) ([]Text, error) {
	out := make([]Text, len(prompts))
	done := make([]bool, len(prompts))
	for i, p := range prompts {
		out[i].IDs = slices.Clone(p)
	}
	subsequences := make([]uint64, len(prompts))
	for i := range subsequences {
		subsequences[i] = uint64(i)
		if o.Subsequences != nil {
			subsequences[i] = uint64(o.Subsequences[i])
		}
	}
	next := prompts
	prompt := len(prompts[0])
	for length := prompt; length < o.MaxLength; length++ {
		logits, err := m.Next(s, next)
		if err != nil {
			return nil, err
		}
		for _, i := range spoiled(s, logits) {
			if out[i].Err == nil && !done[i] {
				out[i].Err, done[i] = notFinite(), true
			}
		}
		ids := make([][]int32, len(out))
		for i := range out {
			if !done[i] {
				ids[i] = out[i].IDs
			}
		}
		c := o.choice(length)
		c.Subsequences, c.Offset = subsequences, uint64(length-prompt)
		tokens, err := o.tokens(s, logits, ids, c)
		if err != nil {
			return nil, err
		}
		next = make([][]int32, len(prompts))
		open := false
		for i, token := range tokens {
			if done[i] {
				next[i] = []int32{o.Pad}
				continue
			}
			out[i].IDs = append(out[i].IDs, token.ID)
			out[i].Score += token.LogProb
			next[i] = []int32{token.ID}
			done[i] = token.ID == o.EOS
			open = open || !done[i]
		}
		if !open {
			break
		}
	}
	for i := range out {
		out[i].Score /= float64(max(1, len(out[i].IDs)-prompt))
	}
	return out, nil
}

// spoiled are the rows of logits that are not finite. They are zeros afterwards, so
// that the rows beside them can be gone on with.
func spoiled(s *engine.Stream, logits *engine.Tensor) []int {
	bad := finite.Rows(s, logits)
	if bad != nil {
		zeros := engine.FromF32(make([]float32, logits.Dim(1)), 1, logits.Dim(1))
		for _, i := range bad {
			s.Set(logits.Rows(i, i+1), zeros)
		}
	}
	return bad
}

func notFinite() error { return &finite.Error{Net: "the language model"} }

// tokens chooses the next token of each row, those of one seed together.
func (o Options) tokens(s *engine.Stream, logits *engine.Tensor, ids [][]int32, c sampling.Options) ([]sampling.Token, error) {
	if o.Seeds == nil {
		return sampling.Tokens(s, logits, ids, c)
	}
	var out []sampling.Token
	all := c.Subsequences
	for lo := 0; lo < len(ids); {
		hi := lo + 1
		for hi < len(ids) && o.Seeds[hi] == o.Seeds[lo] {
			hi++
		}
		c.Seed, c.Subsequences = o.Seeds[lo], all[lo:hi]
		some, err := sampling.Tokens(s, logits.Rows(lo, hi), ids[lo:hi], c)
		if err != nil {
			return nil, err
		}
		out, lo = append(out, some...), hi
	}
	return out, nil
}

// never is the score of what cannot be, as in transformers.
const never = -1e9

type candidate struct {
	ids   []int32
	score float64
	from  int // the beam that it continues
	done  bool
}

// search is the state of one prompt.
type search struct {
	running, finished []candidate
	improvable        bool // a running beam can still become one of the best
	failed            error
}

// beam is transformers' vectorised beam search, prompt by prompt but for the
// model's steps, which all prompts take together.
func beam(s *engine.Stream, m Model, prompts [][]int32, o Options) ([]Text, error) {
	k, prompt := o.Beams, len(prompts[0])
	penalty := o.LengthPenalty
	if penalty == 0 && !o.NoLengthPenalty {
		penalty = 1
	}
	all := make([]search, len(prompts))
	var next [][]int32
	for i, p := range prompts {
		all[i].improvable = true
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
		logits, err := m.Next(s, next)
		if err != nil {
			return nil, err
		}
		for _, row := range spoiled(s, logits) {
			if q := &all[row/k]; q.improvable {
				q.failed, q.improvable = notFinite(), false
			}
		}
		var ids [][]int32
		var scores []float64
		for _, q := range all {
			for _, c := range q.running {
				ids, scores = append(ids, c.ids), append(scores, c.score)
			}
		}
		best, err := sampling.Continuations(s, logits, ids, scores, k, o.choice(length))
		if err != nil {
			return nil, err
		}
		from := make([]int32, 0, len(next))
		next = next[:0:0]
		improvable, unfilled, alive := false, false, false
		for i := range all {
			q := &all[i]
			var top []candidate
			last := length+1 >= o.MaxLength
			for _, e := range best[i] {
				c := candidate{ids: append(slices.Clone(q.running[e.Beam].ids), e.ID), score: e.Score, from: e.Beam,
					done: last || e.ID == o.EOS}
				top = append(top, c)
				alive = alive || !c.done
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
				if c.done && j < k && !full && q.improvable {
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
				unfilled = unfilled || !c.done
			}
			q.improvable = q.improvable && better
			improvable = improvable || q.improvable
		}
		length++
		if !improvable || o.EarlyStopping && !unfilled || !alive {
			break
		}
		m.Reorder(s, from)
	}
	var out []Text
	for _, q := range all {
		for _, c := range q.finished[:max(1, o.Keep)] {
			out = append(out, Text{c.ids, c.score, q.failed})
		}
	}
	return out, nil
}
