// Package rerank lets a captioner, a painter and a judge choose for each other
// (arXiv 2212.12249): the best of K captions of a picture is the one whose
// drawing comes closest to the picture, the best of K drawings of a text the
// one whose caption comes closest to the text.
package rerank

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"gorgonia.org/tensor"

	"parley/nets/models"
	"parley/nets/pixels"
)

// Captioner describes pictures k times each (models.Captioner).
type Captioner interface {
	Captions(ctx context.Context, pictures []pixels.Picture, k int, seed uint64) ([][]models.Caption, error)
}

// Painter draws texts and hands each drawing on, where it lies (models.Painter).
type Painter interface {
	Paint(ctx context.Context, texts []string, seeds []uint64, each func(i int, d models.Painted)) error
}

// Judge embeds pictures and texts, rows of length 1, and says how close others
// come to them: cosines with a source's embedding (models.Judge).
type Judge interface {
	Images(ctx context.Context, pictures []pixels.Picture) (*tensor.Dense, error)
	Texts(ctx context.Context, texts []string) (*tensor.Dense, error)
	ScoreImages(ctx context.Context, source *tensor.Dense, pictures []pixels.Picture) ([]float64, error)
	ScoreTexts(ctx context.Context, source *tensor.Dense, texts []string) ([]float64, error)
}

// Candidate is one of K: a caption with the drawing of it, or a drawing with
// the caption of it.
type Candidate struct {
	Text    string
	Picture *pixels.Image
	Score   float64 // cosine with the source
	Rank    int     // 1 is the best; 0: failed
	Seed    uint64  // of the drawing
	Twin    int     // the earlier candidate with the same text, whose drawing it shares; -1: its own
	Time    time.Duration
	Err     error
}

// Result is a source with its candidates, in the order in which they were made.
type Result struct {
	Source     string // the text, or what a picture is called
	Picture    *pixels.Image
	Candidates []Candidate
	Selected   int // -1: every candidate failed
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

// Loop runs both reconstructions. The same seed gives the same results.
type Loop struct {
	Captioner Captioner
	Painter   Painter
	Judge     Judge
	Seed      uint64
	DrawTwins bool // draw a caption again that an earlier candidate has too
	// Drawings of each caption, of which the one closest to the picture counts;
	// 0 means 1, as in the paper. Chance in the painter weighs less with more.
	Drawings int
	// Report, if any, is told of each candidate as soon as it has its score;
	// ranks are known at the end.
	Report func(i int, c Candidate)
}

func (l *Loop) report(i int, c Candidate) {
	if l.Report != nil {
		l.Report(i, c)
	}
}

// Image describes a picture k times and draws each description.
func (l *Loop) Image(ctx context.Context, name string, picture *pixels.Image, k int) (*Result, error) {
	if k < 1 {
		return nil, fmt.Errorf("k is %d: at least one candidate is needed", k)
	}
	captions, err := l.Captioner.Captions(ctx, []pixels.Picture{picture}, k, l.Seed)
	if err != nil {
		return nil, fmt.Errorf("caption %s: %w", name, err)
	}
	source, err := l.Judge.Images(ctx, []pixels.Picture{picture})
	if err != nil {
		return nil, fmt.Errorf("embed %s: %w", name, err)
	}
	r := &Result{Source: name, Picture: picture, Candidates: make([]Candidate, len(captions[0]))}
	first := map[string]int{}
	var texts []string
	var seeds []uint64
	var own []int // the candidates that are drawn
	each := max(l.Drawings, 1)
	left := make([]int, len(captions[0])) // drawings that are to come
	for i, c := range captions[0] {
		r.Candidates[i] = Candidate{Text: c.Text, Seed: l.Seed + uint64(i), Twin: -1}
		if j, ok := first[c.Text]; ok && !l.DrawTwins {
			r.Candidates[i].Twin, r.Candidates[i].Seed = j, r.Candidates[j].Seed
			continue
		}
		first[c.Text], left[i] = i, each
		for d := range each {
			texts, seeds, own = append(texts, c.Text), append(seeds, l.Seed+uint64(d*k+i)), append(own, i)
		}
	}
	err = l.Painter.Paint(ctx, texts, seeds, func(n int, d models.Painted) {
		c := &r.Candidates[own[n]]
		c.Time += d.Time
		if err := l.compare(ctx, c, source, d, seeds[n]); err != nil && c.Picture == nil {
			c.Err = err
		}
		if left[own[n]]--; left[own[n]] > 0 {
			return
		}
		l.report(own[n], *c)
		for i := range r.Candidates {
			if t := &r.Candidates[i]; t.Twin == own[n] {
				t.Picture, t.Err, t.Score, t.Seed = c.Picture, c.Err, c.Score, c.Seed
				l.report(i, *t)
			}
		}
	})
	return l.finish(r, err)
}

// compare scores a drawing of a candidate, which keeps it where none came closer.
// It is copied to the host then.
func (l *Loop) compare(ctx context.Context, c *Candidate, source *tensor.Dense, d models.Painted, seed uint64) error {
	if d.Err != nil {
		return d.Err
	}
	scores, err := l.Judge.ScoreImages(ctx, source, []pixels.Picture{d.Picture})
	if err != nil || c.Picture != nil && !(scores[0] > c.Score) {
		return err
	}
	m, err := d.Picture.Host()
	if err == nil {
		c.Picture, c.Score, c.Seed, c.Err = m, scores[0], seed, nil
	}
	return err
}

// Text draws a text k times and describes each drawing.
func (l *Loop) Text(ctx context.Context, text string, k int) (*Result, error) {
	if k < 1 {
		return nil, fmt.Errorf("k is %d: at least one candidate is needed", k)
	}
	source, err := l.Judge.Texts(ctx, []string{text})
	if err != nil {
		return nil, fmt.Errorf("embed %q: %w", text, err)
	}
	r := &Result{Source: text, Candidates: make([]Candidate, k)}
	texts, seeds := make([]string, k), make([]uint64, k)
	for i := range k {
		texts[i], seeds[i] = text, l.Seed+uint64(i)
		r.Candidates[i] = Candidate{Seed: seeds[i], Twin: -1}
	}
	err = l.Painter.Paint(ctx, texts, seeds, func(i int, d models.Painted) {
		c := &r.Candidates[i]
		c.Time = d.Time
		c.Err = l.describe(ctx, c, source, d)
		l.report(i, *c)
	})
	return l.finish(r, err)
}

// describe has a drawing captioned and the caption scored. The drawing is copied
// to the host at the end, also where it could not be described.
func (l *Loop) describe(ctx context.Context, c *Candidate, source *tensor.Dense, d models.Painted) (err error) {
	if d.Err != nil {
		return d.Err
	}
	defer func() {
		m, e := d.Picture.Host()
		if c.Picture = m; err == nil {
			err = e
		}
	}()
	captions, err := l.Captioner.Captions(ctx, []pixels.Picture{d.Picture}, 1, l.Seed)
	if err != nil {
		return err
	}
	c.Text = captions[0][0].Text
	scores, err := l.Judge.ScoreTexts(ctx, source, []string{c.Text})
	if err == nil {
		c.Score = scores[0]
	}
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
	r.Selected = -1
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
