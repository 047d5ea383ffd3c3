// Package sampling chooses tokens from a language model's logits: the likeliest
// one, one drawn from the distribution that temperature, top-k and top-p leave,
// and the continuations that a beam search goes on from.
package sampling

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Options say how the next token of a sequence is chosen from a model's logits.
// The zero value takes the likeliest one.
type Options struct {
	RepetitionPenalty float64 // above 1 makes tokens that the sequence has less likely; 0 is 1
	Suppress          bool    // the token Suppressed cannot come
	Suppressed        int32

	// Sampling: from the TopK likeliest tokens (0: all), and of those from the
	// likeliest that together have the probability TopP (0 and 1: all).
	Sample       bool
	Temperature  float64 // 0 is 1
	TopP         float64
	TopK         int
	Seed         uint64
	Subsequences []uint64 // row i draws from Philox' subsequence Subsequences[i],
	Offset       uint64   // at this offset
}

// perLogit is what the log of a probability takes for each logit: the maximum, a
// difference, an exponential, a sum.
const perLogit = 4

// method names how a token is chosen on the host.
func method(o Options) string {
	if o.Sample {
		return "sampling"
	}
	return "argmax"
}

// Token is a chosen token and the log of its probability by the logits alone.
type Token struct {
	ID      int32
	LogProb float64
}

// Tokens chooses a token for each row of logits [rows, V], f32, given the ids
// that the row has already. A row whose ids are nil is passed over.
func Tokens(s *engine.Stream, logits *engine.Tensor, ids [][]int32, o Options) ([]Token, error) {
	fits := len(logits.Shape()) == 2 && logits.DType() == engine.F32 && logits.Dim(0) == len(ids)
	if !fits || o.Sample && len(o.Subsequences) != len(ids) {
		return nil, fmt.Errorf("sampling: %s: logits %v %v, %d rows of ids, %d subsequences",
			s.Path(), logits.Shape(), logits.DType(), len(ids), len(o.Subsequences))
	}
	if err := o.check(s, logits.Dim(1)); err != nil {
		return nil, err
	}
	out := make([]Token, len(ids))
	work := engine.Work{Op: "tokens", Out: logits, In: engine.Inputs{logits},
		Dims:  engine.Dims{{Name: "rows", Size: len(ids)}, {Name: "vocab", Size: logits.Dim(1)}},
		FLOPs: perLogit * int64(logits.Elems()), Bytes: int64(logits.Bytes())}
	s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			tokensOnCUDA(g, s, logits, ids, o, out)
			return
		}
		if h, ok := host.On(d); ok {
			s.Took(method(o))
			tokensOnHost(h, logits, ids, o, out)
		}
	})
	return out, s.Err()
}

// What the kernels of op.cu have room for; the CPU takes any number.
const (
	MaxBeams = 64      // beams of a prompt: kMaxBeams
	MaxVocab = 1 << 21 // tokens of a vocabulary: an id has 21 bits of a sort key
)

// check says what of the options or the vocabulary an operation cannot take.
func (o Options) check(s *engine.Stream, vocab int) error {
	switch {
	case o.Suppress && (o.Suppressed < 0 || int(o.Suppressed) >= vocab):
		return fmt.Errorf("sampling: %s: the suppressed token %d is outside of a vocabulary of %d", s.Path(), o.Suppressed, vocab)
	case !s.Device().Local() && vocab > MaxVocab:
		return fmt.Errorf("sampling: %s: a vocabulary of %d: at most %d on %s", s.Path(), vocab, MaxVocab, s.Device().Name())
	}
	return nil
}

// Continuation is a beam with one more token: the beam's number among its
// prompt's, the token, and the sum of log probabilities with it.
type Continuation struct {
	Beam  int
	ID    int32
	Score float64
}

// Continuations returns for each prompt the best 2·beams continuations of its
// beams, the best first; equal ones in the order of beams and ids. logits
// [prompts·beams, V] are f32, ids and scores those of the beams. Of the options,
// the repetition penalty and the suppressed token count.
func Continuations(s *engine.Stream, logits *engine.Tensor, ids [][]int32, scores []float64, beams int, o Options) ([][]Continuation,
	error) {
	fits := len(logits.Shape()) == 2 && logits.DType() == engine.F32 && logits.Dim(0) == len(ids)
	if !fits || len(ids) != len(scores) || beams < 1 || len(ids)%beams != 0 {
		return nil, fmt.Errorf("sampling: %s: logits %v %v, %d rows of ids, %d scores, %d beams",
			s.Path(), logits.Shape(), logits.DType(), len(ids), len(scores), beams)
	}
	if err := o.check(s, logits.Dim(1)); err != nil {
		return nil, err
	}
	if !s.Device().Local() && beams > MaxBeams {
		return nil, fmt.Errorf("sampling: %s: %d beams: at most %d on %s", s.Path(), beams, MaxBeams, s.Device().Name())
	}
	if g, ok := cuda.On(s.Device()); ok {
		if most := mostBeams(g, logits.Dim(1)); beams > most {
			return nil, fmt.Errorf("sampling: %s: %d beams of a vocabulary of %d: at most %d on %s", s.Path(), beams, logits.Dim(1), most, g.Name())
		}
	}
	out := make([][]Continuation, len(ids)/beams)
	work := engine.Work{Op: "continuations", Out: logits, In: engine.Inputs{logits},
		Dims:  engine.Dims{{Name: "rows", Size: len(ids)}, {Name: "vocab", Size: logits.Dim(1)}, {Name: "beams", Size: beams}},
		FLOPs: perLogit * int64(logits.Elems()), Bytes: int64(logits.Bytes())}
	s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			continuationsOnCUDA(g, s, logits, ids, scores, beams, o, out)
			return
		}
		if h, ok := host.On(d); ok {
			s.Took("beam search")
			continuationsOnHost(h, logits, ids, scores, beams, o, out)
		}
	})
	return out, s.Err()
}
