package work

import (
	"sync"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
)

// Told is told of what a reconstruction does before a candidate has its score. Its
// functions return at once, and may be nil.
type Told struct {
	Captions func([]rerank.Caption)                                    // of the source
	Step     func(seed uint64, step, steps int, preview *pixels.Image) // of the drawing with this seed
}

// Loop is a reconstruction whose captions, drawings and scores are made in batches with
// what other clients want. options are those of its drawings.
func (s *Scheduler) Loop(client Client, captions models.CaptionOptions, options Drawing, told Told) rerank.Loop {
	return rerank.Loop{
		Captioner: captioner{s, client, captions, told.Captions},
		Describer: captioner{s, client, models.Beam(), nil},
		Painter:   painter{s, client, options, told.Step},
		Judge:     judge{s, client},
	}
}

type captioner struct {
	s      *Scheduler
	client Client
	o      models.CaptionOptions
	told   func([]rerank.Caption)
}

// Caption implements rerank.Captioner.
func (c captioner) Caption(run engine.Run, pictures []pixels.Picture, k int, seeds []uint64) ([][]rerank.Caption, error) {
	out := make([][]rerank.Caption, len(pictures))
	err := all(len(pictures), func(i int) error {
		m, err := pictures[i].Host()
		if err == nil {
			out[i], err = c.s.Caption(run.Context, c.client, m, k, seeds[i], c.o)
		}
		if err == nil && c.told != nil {
			c.told(out[i])
		}
		return err
	})
	return out, err
}

type painter struct {
	s      *Scheduler
	client Client
	o      Drawing
	step   func(seed uint64, step, steps int, preview *pixels.Image)
}

// Draw implements rerank.Painter.
func (p painter) Draw(run engine.Run, texts []string, seeds []uint64, each func(i int, d rerank.Drawing)) error {
	list := make([]Drawing, len(texts))
	for i := range texts {
		list[i] = p.o
		list[i].Prompt, list[i].Seed = texts[i], seeds[i]
		if p.step != nil {
			list[i].Step = func(step, steps int, preview *pixels.Image) { p.step(seeds[i], step, steps, preview) }
		}
	}
	return p.s.Draw(run.Context, p.client, list, func(i int, m *pixels.Image, err error) {
		d := rerank.Drawing{Err: err}
		if err == nil {
			d.Picture = m
		}
		each(i, d)
	})
}

type judge struct {
	s      *Scheduler
	client Client
}

// EmbedImages implements rerank.Judge.
func (j judge) EmbedImages(run engine.Run, pictures []pixels.Picture) (*tensor.Dense, error) {
	rows := make([][]float32, len(pictures))
	err := all(len(pictures), func(i int) error {
		m, err := pictures[i].Host()
		if err == nil {
			rows[i], err = j.s.EmbedPicture(run.Context, j.client, m)
		}
		return err
	})
	return dense(rows), err
}

// EmbedTexts implements rerank.Judge.
func (j judge) EmbedTexts(run engine.Run, texts []string) (*tensor.Dense, error) {
	rows, err := j.s.EmbedTexts(run.Context, j.client, texts)
	return dense(rows), err
}

// ScoreImages implements rerank.Judge.
func (j judge) ScoreImages(run engine.Run, source *tensor.Dense, pictures []pixels.Picture) ([]float64, error) {
	x, err := j.EmbedImages(run, pictures)
	if err != nil {
		return nil, err
	}
	return models.Cosines(source, x)[0], nil
}

// ScoreTexts implements rerank.Judge.
func (j judge) ScoreTexts(run engine.Run, source *tensor.Dense, texts []string) ([]float64, error) {
	x, err := j.EmbedTexts(run, texts)
	if err != nil {
		return nil, err
	}
	return models.Cosines(source, x)[0], nil
}

// dense is a matrix of rows; nil of none.
func dense(rows [][]float32) *tensor.Dense {
	if len(rows) == 0 || rows[0] == nil {
		return nil
	}
	data := make([]float32, 0, len(rows)*len(rows[0]))
	for _, r := range rows {
		data = append(data, r...)
	}
	return tensor.New(tensor.WithShape(len(rows), len(rows[0])), tensor.WithBacking(data))
}

// all does n things at once and gives the first error.
func all(n int, do func(i int) error) error {
	errs := make([]error, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { errs[i] = do(i) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
