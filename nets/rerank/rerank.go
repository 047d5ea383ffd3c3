// Package rerank lets a captioner, a painter and a judge choose for each other
// (arXiv 2212.12249): the best of K captions of a picture is the one whose
// drawing comes closest to the picture, the best of K drawings of a text the
// one whose caption comes closest to the text.
package rerank

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/nets/pixels"
)

// Caption is a description of a picture, and how likely its model finds it.
type Caption struct {
	Text  string
	Score float64 // mean log probability of a token; higher is likelier
	Err   error   // why there is none; the others of the picture go on
}

// Drawing is a finished picture of a text.
type Drawing struct {
	// Picture lies on the painter's device until who has been given it returns;
	// what Host has copied stays. nil where Err is not.
	Picture pixels.Picture
	Err     error
	Time    time.Duration // of its batch, divided by the batch's drawings
}

// Captioner describes pictures, k times each.
type Captioner interface {
	// Caption samples each picture's captions from a seed of its own. The first
	// of k captions do not depend on k.
	Caption(run engine.Run, pictures []pixels.Picture, k int, seeds []uint64) ([][]Caption, error)
}

// Painter draws texts.
type Painter interface {
	// Draw draws each text from its seed and hands each drawing on, where it
	// lies.
	Draw(run engine.Run, texts []string, seeds []uint64, each func(i int, d Drawing)) error
}

// Judge embeds pictures and texts, rows of length 1, and says how close others
// come to them: cosines with a source's embedding [1, D].
type Judge interface {
	EmbedImages(run engine.Run, pictures []pixels.Picture) (*tensor.Dense, error)
	EmbedTexts(run engine.Run, texts []string) (*tensor.Dense, error)
	ScoreImages(run engine.Run, source *tensor.Dense, pictures []pixels.Picture) ([]float64, error)
	ScoreTexts(run engine.Run, source *tensor.Dense, texts []string) ([]float64, error)
}

// Candidate is one of K: a caption with the drawing of it, or a drawing with
// the caption of it.
type Candidate struct {
	Text      string
	Picture   *pixels.Image
	Score     float64   // cosine with the source
	Rank      int       // 1 is the best; 0: failed, or not drawn
	Seed      uint64    // of the drawing
	Duplicate int       // the earlier candidate with the same text, whose drawing it shares; -1: its own
	Embedding []float32 // the judge's, of what the score compares; nil unless Loop.Embeddings
	// Pruned is the step after which the drawing was given up; 0: it was finished. The
	// picture and the score of a pruned one are of what it would have become.
	Pruned int
	// Undrawn says that it was given up before it was drawn: it has a text, and neither
	// a picture nor a rank.
	Undrawn bool
	Time    Timing
	Err     error
}

// drawn is how far a drawing came.
func (c *Candidate) drawn() int {
	if c.Pruned == 0 {
		return math.MaxInt
	}
	return c.Pruned
}

// Timing is what the stages of a candidate took: its share of what was done for
// several at once.
type Timing struct{ Caption, Draw, Judge time.Duration }

// Total is all of it.
func (t Timing) Total() time.Duration { return t.Caption + t.Draw + t.Judge }

// Result is a source with its candidates, in the order in which they were made.
type Result struct {
	Source     Source
	Candidates []Candidate
	Selected   int // index of the best candidate; -1: every candidate failed
}

// Ranked are the candidates from the best to the worst; failed ones last.
func (r *Result) Ranked() []Candidate {
	out := slices.Clone(r.Candidates)
	slices.SortStableFunc(out, func(a, b Candidate) int {
		if (a.Rank == 0) != (b.Rank == 0) {
			return cmp.Compare(b.Rank, a.Rank)
		}
		return cmp.Compare(a.Rank, b.Rank)
	})
	return out
}

// Source is what is reconstructed: a picture, or a text where there is none.
type Source struct {
	Name    string // what a picture is called, or the text
	Picture *pixels.Image
	Seed    uint64 // of all that is random about it
}

// SourceSeed is the seed of the i-th source of a run, from 0: a million from its
// neighbours', so that the seeds of their drawings do not meet.
func SourceSeed(seed uint64, i int) uint64 { return seed + 1_000_000*uint64(i) }

// Loop runs both reconstructions. The same source gives the same result. It is
// immutable while it runs.
type Loop struct {
	Captioner Captioner // of pictures, K times each
	Describer Captioner // of drawings, once each; nil: the Captioner
	Painter   Painter
	Judge     Judge
	K         int // candidates of each source
	// RedrawDuplicates draws a caption again that an earlier candidate has too, as
	// the paper does.
	RedrawDuplicates bool
	// Drawings of each caption, of which the one closest to the picture counts;
	// 0 means 1, as in the paper. The painter's randomness weighs less with more.
	Drawings int
	// Embeddings keeps the judge's embedding of each candidate.
	Embeddings bool
	// Prune gives drawings up on their way, round by round. The painter has to be a
	// Pruner, and Drawings 1.
	Prune []Round
	// Report, if any, is told of each candidate as soon as it has its score; ranks
	// are known at the end.
	Report func(i int, c Candidate)
}

// Run reconstructs sources as they come, one after the other, and hands each
// result on: memory is that of one source. A source that cannot be had (the
// sequence gives its name and an error) or that fails is handed on with its error,
// beside what candidates there are, and the others follow. Run ends when each
// returns an error, or the run is cancelled.
func (l *Loop) Run(run engine.Run, sources iter.Seq2[Source, error], each func(r *Result, err error) error) error {
	for s, err := range sources {
		r := &Result{Source: s, Selected: -1}
		if err == nil {
			r, err = l.One(run, s)
		}
		if err := each(r, err); err != nil {
			return err
		}
		if err := run.Err(); err != nil {
			return err
		}
	}
	return nil
}

// One reconstructs one source. An error comes with the candidates that were done
// before it.
func (l *Loop) One(run engine.Run, s Source) (*Result, error) {
	if l.K < 1 {
		return &Result{Source: s, Selected: -1}, fmt.Errorf("k is %d: at least one candidate is needed", l.K)
	}
	g := newGroup(l, run, []Source{s}, 1)
	return l.finish(g.results[0], g.work())
}

func (l *Loop) report(i int, c Candidate) {
	if l.Report != nil {
		l.Report(i, c)
	}
}

// finish ranks what there is. An error of the whole (a cancelled context, a
// wrong option) comes with the candidates that were done before it.
func (l *Loop) finish(r *Result, err error) (*Result, error) {
	var order []int
	for i, c := range r.Candidates {
		if c.Err == nil && c.Picture != nil {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := &r.Candidates[i], &r.Candidates[j]
		return cmp.Or(cmp.Compare(b.drawn(), a.drawn()), cmp.Compare(b.Score, a.Score))
	})
	for rank, i := range order {
		r.Candidates[i].Rank = rank + 1
	}
	if len(order) > 0 {
		r.Selected = order[0]
	}
	if err == nil && len(order) == 0 {
		var why error
		for _, c := range r.Candidates {
			why = cmp.Or(why, c.Err)
		}
		err = fmt.Errorf("every candidate failed: %w", why)
	}
	return r, err
}
