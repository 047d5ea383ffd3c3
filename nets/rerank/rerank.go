// Package rerank lets a captioner, a painter and a judge choose for each other
// (arXiv 2212.12249): the best of K captions of a picture is the one whose
// drawing comes closest to the picture, the best of K drawings of a text the
// one whose caption comes closest to the text.
package rerank

import (
	"cmp"
	"fmt"
	"iter"
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
	Rank      int       // 1 is the best; 0: failed
	Seed      uint64    // of the drawing
	Duplicate int       // the earlier candidate with the same text, whose drawing it shares; -1: its own
	Embedding []float32 // the judge's, of what the score compares; nil unless Loop.Embeddings
	Time      Timing
	Err       error
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
	if s.Picture != nil {
		return l.image(run, s)
	}
	return l.text(run, s)
}

func (l *Loop) report(i int, c Candidate) {
	if l.Report != nil {
		l.Report(i, c)
	}
}

// image describes a picture K times and draws each description.
func (l *Loop) image(run engine.Run, src Source) (*Result, error) {
	r := &Result{Source: src, Selected: -1}
	picture := []pixels.Picture{src.Picture}
	start := time.Now()
	captions, err := l.Captioner.Caption(run.In("caption"), picture, l.K, []uint64{src.Seed})
	if err != nil {
		return r, fmt.Errorf("caption %s: %w", src.Name, err)
	}
	took := time.Since(start) / time.Duration(max(1, len(captions[0])))
	source, err := l.Judge.EmbedImages(run.In("judge"), picture)
	if err != nil {
		return r, fmt.Errorf("embed %s: %w", src.Name, err)
	}
	r.Candidates = make([]Candidate, len(captions[0]))
	first := map[string]int{}
	var texts []string
	var seeds []uint64
	var own []int // the candidates that are drawn
	drawings := max(l.Drawings, 1)
	left := make([]int, len(captions[0])) // drawings that are to come
	for i, c := range captions[0] {
		r.Candidates[i] = Candidate{Text: c.Text, Seed: src.Seed + uint64(i), Duplicate: -1, Time: Timing{Caption: took}, Err: c.Err}
		if c.Err != nil {
			l.report(i, r.Candidates[i])
			continue
		}
		if j, ok := first[c.Text]; ok && !l.RedrawDuplicates {
			r.Candidates[i].Duplicate, r.Candidates[i].Seed = j, r.Candidates[j].Seed
			continue
		}
		first[c.Text], left[i] = i, drawings
		for d := range drawings {
			texts, seeds, own = append(texts, c.Text), append(seeds, src.Seed+uint64(d*l.K+i)), append(own, i)
		}
	}
	err = l.Painter.Draw(run.In("draw"), texts, seeds, func(n int, d Drawing) {
		c := &r.Candidates[own[n]]
		c.Time.Draw += d.Time
		if err := l.compare(run, c, source, d, seeds[n]); err != nil && c.Picture == nil {
			c.Err = err
		}
		if left[own[n]]--; left[own[n]] > 0 {
			return
		}
		l.report(own[n], *c)
		for i := range r.Candidates {
			if t := &r.Candidates[i]; t.Duplicate == own[n] {
				t.Picture, t.Err, t.Score, t.Seed, t.Embedding = c.Picture, c.Err, c.Score, c.Seed, c.Embedding
				l.report(i, *t)
			}
		}
	})
	return l.finish(r, err)
}

// compare scores a drawing of a candidate, which keeps it where none came closer.
// It is copied to the host then.
func (l *Loop) compare(run engine.Run, c *Candidate, source *tensor.Dense, d Drawing, seed uint64) error {
	if d.Err != nil {
		return d.Err
	}
	start := time.Now()
	defer func() { c.Time.Judge += time.Since(start) }()
	score, embedding, err := l.score(source, func() (*tensor.Dense, error) {
		return l.Judge.EmbedImages(run.In("judge"), []pixels.Picture{d.Picture})
	}, func() ([]float64, error) {
		return l.Judge.ScoreImages(run.In("judge"), source, []pixels.Picture{d.Picture})
	})
	if err != nil || c.Picture != nil && !(score > c.Score) {
		return err
	}
	m, err := d.Picture.Host()
	if err == nil {
		c.Picture, c.Score, c.Seed, c.Embedding, c.Err = m, score, seed, embedding, nil
	}
	return err
}

// score is the cosine of one embedding with the source's. Where embeddings are
// kept, they are what is compared; elsewhere only the cosine leaves the device.
func (l *Loop) score(source *tensor.Dense, embed func() (*tensor.Dense, error), score func() ([]float64, error)) (float64, []float32,
	error) {
	if !l.Embeddings {
		scores, err := score()
		if err != nil {
			return 0, nil, err
		}
		return scores[0], nil, nil
	}
	e, err := embed()
	if err != nil {
		return 0, nil, err
	}
	x, y, sum := source.Data().([]float32), e.Data().([]float32), 0.0
	for i, v := range x {
		sum += float64(v) * float64(y[i])
	}
	return sum, y, nil
}

// text draws a text K times and describes each drawing.
func (l *Loop) text(run engine.Run, src Source) (*Result, error) {
	r := &Result{Source: src, Selected: -1}
	source, err := l.Judge.EmbedTexts(run.In("judge"), []string{src.Name})
	if err != nil {
		return r, fmt.Errorf("embed %q: %w", src.Name, err)
	}
	r.Candidates = make([]Candidate, l.K)
	texts, seeds := make([]string, l.K), make([]uint64, l.K)
	for i := range l.K {
		texts[i], seeds[i] = src.Name, src.Seed+uint64(i)
		r.Candidates[i] = Candidate{Seed: seeds[i], Duplicate: -1}
	}
	err = l.Painter.Draw(run.In("draw"), texts, seeds, func(i int, d Drawing) {
		c := &r.Candidates[i]
		c.Time.Draw = d.Time
		c.Err = l.describe(run, c, source, d, src.Seed)
		l.report(i, *c)
	})
	return l.finish(r, err)
}

// describe has a drawing captioned and the caption scored. The drawing is copied
// to the host at the end, also where it could not be described.
func (l *Loop) describe(run engine.Run, c *Candidate, source *tensor.Dense, d Drawing, seed uint64) (err error) {
	if d.Err != nil {
		return d.Err
	}
	defer func() {
		m, e := d.Picture.Host()
		if c.Picture = m; err == nil {
			err = e
		}
	}()
	describer := l.Describer
	if describer == nil {
		describer = l.Captioner
	}
	start := time.Now()
	captions, err := describer.Caption(run.In("caption"), []pixels.Picture{d.Picture}, 1, []uint64{seed})
	c.Time.Caption = time.Since(start)
	if err == nil {
		err = captions[0][0].Err
	}
	if err != nil {
		return err
	}
	c.Text = captions[0][0].Text
	start = time.Now()
	c.Score, c.Embedding, err = l.score(source, func() (*tensor.Dense, error) {
		return l.Judge.EmbedTexts(run.In("judge"), []string{c.Text})
	}, func() ([]float64, error) {
		return l.Judge.ScoreTexts(run.In("judge"), source, []string{c.Text})
	})
	c.Time.Judge = time.Since(start)
	return err
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
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(r.Candidates[b].Score, r.Candidates[a].Score)
	})
	for rank, i := range order {
		r.Candidates[i].Rank = rank + 1
	}
	if len(order) > 0 {
		r.Selected = order[0]
	}
	if err == nil && len(order) == 0 {
		err = fmt.Errorf("every candidate failed: %w", r.Candidates[0].Err)
	}
	return r, err
}
