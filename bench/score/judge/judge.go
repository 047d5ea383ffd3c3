// Package judge scores captions by what embeds them: sentences by SBERT or by CLIP's
// text tower, pictures beside captions by CLIP, words by vectors. Its functions take
// some items at a time; Add runs them over all of a report's.
package judge

import (
	"errors"
	"fmt"
	"math"

	"gorgonia.org/tensor"

	"parley/bench/score"
	"parley/bench/score/wmd"
	"parley/engine"
	"parley/nets/models"
	"parley/nets/pixels"
)

// Sentences embeds texts, rows [N, D] of length 1: models.SBERT, or CLIP's judge.
type Sentences interface {
	EmbedTexts(run engine.Run, texts []string) (*tensor.Dense, error)
}

// Pictures embeds pictures and texts in one space: CLIP's judge.
type Pictures interface {
	Sentences
	EmbedImages(run engine.Run, pictures []pixels.Picture) (*tensor.Dense, error)
}

// embedded are the embeddings of captions and of all references, which follow each
// other, of texts that have prefix before them. What is there twice is embedded once.
func embedded(run engine.Run, m Sentences, prefix string, items []score.Item) (captions [][]float32, refs [][][]float32, err error) {
	var texts []string
	at := map[string]int{}
	find := func(text string) int {
		i, ok := at[text]
		if !ok {
			i = len(texts)
			at[text], texts = i, append(texts, prefix+text)
		}
		return i
	}
	for _, it := range items {
		find(it.Caption)
		for _, r := range it.References {
			find(r)
		}
	}
	x, err := m.EmbedTexts(run, texts)
	if err != nil {
		return nil, nil, err
	}
	rows := models.Rows(x)
	for _, it := range items {
		captions = append(captions, rows[find(it.Caption)])
		var own [][]float32
		for _, r := range it.References {
			own = append(own, rows[find(r)])
		}
		refs = append(refs, own)
	}
	return captions, refs, nil
}

// Similarity is of each item the mean cosine of its caption with its references.
func Similarity(run engine.Run, m Sentences, items []score.Item) ([]float64, error) {
	captions, refs, err := embedded(run, m, "", items)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(items))
	for i, c := range captions {
		if len(refs[i]) == 0 {
			return nil, fmt.Errorf("image %s: no references", items[i].ID)
		}
		for _, r := range refs[i] {
			v, err := score.Cosine(c, r)
			if err != nil {
				return nil, fmt.Errorf("image %s: %w", items[i].ID, err)
			}
			out[i] += v / float64(len(refs[i]))
		}
	}
	return out, nil
}

// Prefix is what CLIPScore's authors put before each text.
const Prefix = "A photo depicts "

// CLIPScores are CLIPScore and RefCLIPScore (score.CLIPScore) of each item, beside
// its picture. An item without references has no RefCLIPScore: NaN.
func CLIPScores(run engine.Run, m Pictures, items []score.Item, pictures []pixels.Picture) (clip, ref []float64, err error) {
	if len(items) != len(pictures) {
		return nil, nil, fmt.Errorf("%d captions and %d pictures", len(items), len(pictures))
	}
	captions, refs, err := embedded(run, m, Prefix, items)
	if err != nil {
		return nil, nil, err
	}
	images, err := m.EmbedImages(run, pictures)
	if err != nil {
		return nil, nil, err
	}
	for i, image := range models.Rows(images) {
		c, err := score.CLIPScore(image, captions[i])
		r := math.NaN()
		if err == nil && len(refs[i]) > 0 {
			r, err = score.RefCLIPScore(image, captions[i], refs[i])
		}
		if err != nil {
			return nil, nil, fmt.Errorf("image %s: %w", items[i].ID, err)
		}
		clip, ref = append(clip, c), append(ref, r)
	}
	return clip, ref, nil
}

// WordMover is the word mover's distance of captions to references.
type WordMover struct {
	Vectors *wmd.Vectors
	// StopWords are kept; the zero value leaves them out (wmd.Stop).
	StopWords bool
}

// Distance is the mean distance of a caption to those of its references that have a
// word with a vector, all of them tokens with spaces between two. wmd.ErrNoWords says
// that the caption, or each of its references, has none.
func (w WordMover) Distance(caption []string, references [][]string) (float64, error) {
	own := w.words(caption)
	sum, n := 0.0, 0
	for _, r := range references {
		d, err := w.Vectors.Distance(own, w.words(r))
		switch {
		case errors.Is(err, wmd.ErrNoWords):
		case err != nil:
			return 0, err
		default:
			sum, n = sum+d, n+1
		}
	}
	if n == 0 {
		return 0, wmd.ErrNoWords
	}
	return sum / float64(n), nil
}

func (w WordMover) words(tokens []string) []string {
	if w.StopWords {
		return tokens
	}
	var out []string
	for _, t := range tokens {
		if !wmd.Stop(t) {
			out = append(out, t)
		}
	}
	return out
}
