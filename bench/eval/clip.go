package eval

import (
	"fmt"

	"parley/bench/score"
	"parley/bench/score/judge"
	"parley/engine"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
)

// CLIP's scores of candidates; cosines are of embeddings after its projection.
const (
	// Of captions, in the image task.
	CLIPText     = "clip_text"    // the cosine with a reference, on average
	CLIPCaption  = "clip_caption" // the cosine with the picture: what CLIP alone would choose by
	CLIPScore    = "clipscore"    // with its authors' words before each text, as parley metrics has it
	RefCLIPScore = "refclipscore"
	// Of drawings, in the text task.
	CLIPImage   = "clip_image"   // the cosine with the true picture
	CLIPDrawing = "clip_drawing" // the cosine with the text: what CLIP alone would choose by
)

const prefix = judge.Prefix

// CLIP gives the candidates of a task CLIP's scores.
func CLIP(task string, judge rerank.Judge) Scorer {
	if task == Text {
		return func(run engine.Run, items []*Scored) error { return clipDrawings(run.In("score"), judge, items) }
	}
	return func(run engine.Run, items []*Scored) error { return clipCaptions(run.In("score"), judge, items) }
}

// clipCaptions scores captions by the picture and its references.
func clipCaptions(run engine.Run, judge rerank.Judge, items []*Scored) error {
	var pictures []pixels.Picture
	texts := newTexts()
	for _, x := range items {
		pictures = append(pictures, x.Picture)
		for _, c := range x.captions() {
			texts.add(c.Text)
			texts.add(prefix + c.Text)
		}
		for _, r := range x.Record.References {
			texts.add(r)
			texts.add(prefix + r)
		}
	}
	images, err := judge.EmbedImages(run, pictures)
	if err != nil {
		return fmt.Errorf("CLIP's scores: %w", err)
	}
	if err := texts.embed(run, judge); err != nil {
		return fmt.Errorf("CLIP's scores: %w", err)
	}
	for i, image := range models.Rows(images) {
		x := items[i]
		var refs [][]float32
		for _, r := range x.Record.References {
			refs = append(refs, texts.of(prefix+r))
		}
		for _, c := range x.captions() {
			e, prefixed := texts.of(c.Text), texts.of(prefix+c.Text)
			s, err := score.CLIPScore(image, prefixed)
			if err != nil {
				return err
			}
			c.put(CLIPCaption, dot(image, e))
			c.put(CLIPScore, s)
			if len(refs) == 0 {
				continue
			}
			sum := 0.0
			for _, r := range x.Record.References {
				sum += dot(e, texts.of(r))
			}
			c.put(CLIPText, sum/float64(len(refs)))
			if s, err = score.RefCLIPScore(image, prefixed, refs); err != nil {
				return err
			}
			c.put(RefCLIPScore, s)
		}
	}
	return nil
}

// captions are those of an item that are scored.
func (x *Scored) captions() (list []*Candidate) {
	for i := range x.Record.Candidates {
		if c := &x.Record.Candidates[i]; c.Text != "" {
			list = append(list, c)
		}
	}
	if x.Record.Beam != nil && x.Record.Beam.Text != "" {
		list = append(list, x.Record.Beam)
	}
	return list
}

// clipDrawings scores drawings by the true picture and by their text.
func clipDrawings(run engine.Run, judge rerank.Judge, items []*Scored) error {
	var pictures []pixels.Picture
	texts := newTexts()
	for _, x := range items {
		pictures = append(pictures, x.Picture)
		texts.add(x.Record.Source)
		for _, c := range x.Result.Candidates {
			if c.Picture != nil {
				pictures = append(pictures, c.Picture)
			}
		}
	}
	embedded, err := judge.EmbedImages(run, pictures)
	if err == nil {
		err = texts.embed(run, judge)
	}
	if err != nil {
		return fmt.Errorf("CLIP's scores: %w", err)
	}
	rows := models.Rows(embedded)
	for _, x := range items {
		truth, text := rows[0], texts.of(x.Record.Source)
		rows = rows[1:]
		for i, c := range x.Result.Candidates {
			if c.Picture == nil {
				continue
			}
			x.Record.Candidates[i].put(CLIPImage, dot(truth, rows[0]))
			x.Record.Candidates[i].put(CLIPDrawing, dot(text, rows[0]))
			rows = rows[1:]
		}
	}
	return nil
}

func (c *Candidate) put(name string, v float64) {
	if c.Scores == nil {
		c.Scores = map[string]float64{}
	}
	c.Scores[name] = v
}

// dot is the cosine of embeddings of length 1.
func dot(x, y []float32) (sum float64) {
	for i, v := range x {
		sum += float64(v) * float64(y[i])
	}
	return sum
}

// texts are embedded once each.
type texts struct {
	at   map[string]int
	list []string
	rows [][]float32
}

func newTexts() *texts { return &texts{at: map[string]int{}} }

func (t *texts) add(s string) {
	if _, ok := t.at[s]; !ok {
		t.at[s] = len(t.list)
		t.list = append(t.list, s)
	}
}

func (t *texts) embed(run engine.Run, judge rerank.Judge) error {
	if len(t.list) == 0 {
		return nil
	}
	x, err := judge.EmbedTexts(run, t.list)
	if err == nil {
		t.rows = models.Rows(x)
	}
	return err
}

func (t *texts) of(s string) []float32 { return t.rows[t.at[s]] }
