package judge

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"sync"

	"parley/bench/coco"
	"parley/bench/score"
	"parley/bench/score/wmd"
	"parley/bench/score/workers"
	"parley/engine"
	"parley/nets/pixels"
	"parley/nets/pixels/batch"
)

// Options say who judges; the zero value nobody.
type Options struct {
	// SBERT adds "SBERT", the mean cosine with the references.
	SBERT Sentences
	// Vectors is a file of word vectors (wmd.Open), made unit vectors as gensim does:
	// "WMD". StopWords keeps the words that it leaves out.
	Vectors   string
	StopWords bool
	// CLIP adds "CLIPScore" and "RefCLIPScore" of the pictures that a data set names
	// (Dataset, a file that coco.Open reads) in the folder Images.
	CLIP            Pictures
	Dataset, Images string
	// Score is how the captions were tokenized.
	Score score.Options
}

// some is how many items are judged at once: 16 pictures, or the texts of as many.
const some = 16

// Add puts what the judges say of the report's items beside its metrics, in memory
// of a number for each. failed are pictures that could not be read: their items have
// no score, the others go on.
func Add(run engine.Run, r *score.Report, items []score.Item, o Options) (failed []error, err error) {
	if o.SBERT != nil {
		var each []float64
		for lo := 0; lo < len(items); lo += some {
			v, err := Similarity(run, o.SBERT, items[lo:min(lo+some, len(items))])
			if err != nil {
				return nil, err
			}
			each = append(each, v...)
		}
		add(r, "SBERT", each, "")
	}
	if o.Vectors != "" {
		each, err := Distances(items, o)
		if err != nil {
			return nil, err
		}
		add(r, "WMD", each, "no word with a vector")
	}
	if o.CLIP != nil {
		clip, ref, bad, err := pictures(run, items, o)
		if err != nil {
			return nil, err
		}
		failed = bad
		add(r, "CLIPScore", clip, "no picture that can be read")
		add(r, "RefCLIPScore", ref, "")
	}
	return failed, nil
}

// add notes how many items have no score, and why, where a reason is given.
func add(r *score.Report, name string, each []float64, why string) {
	m, missing := score.Mean(name, each)
	r.Metrics = append(r.Metrics, m)
	if missing > 0 && why != "" {
		r.Notes = append(r.Notes, fmt.Sprintf("%s leaves %d of %d captions out, which have %s", name, missing, len(each), why))
	}
}

// Distances are the word mover's of each item, by o.Vectors; NaN where a caption, or
// each of its references, has no word with a vector.
func Distances(items []score.Item, o Options) ([]float64, error) {
	captions, refs, err := score.Tokens(items, o.Score)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for i := range captions {
		for _, text := range append([]string{captions[i]}, refs[i]...) {
			for _, w := range strings.Fields(text) {
				there[w] = true
			}
		}
	}
	v, err := wmd.Open(o.Vectors, func(word string) bool { return there[word] })
	if err != nil {
		return nil, err
	}
	v.Normalize()
	mover := WordMover{Vectors: v, StopWords: o.StopWords}
	each, errs := make([]float64, len(items)), make([]error, len(items))
	own := sync.Pool{New: func() any { return struct{}{} }}
	workers.Each(len(items), 16, &own, func(_ struct{}, i int) {
		var tokens [][]string
		for _, r := range refs[i] {
			tokens = append(tokens, strings.Fields(r))
		}
		each[i], errs[i] = mover.Distance(strings.Fields(captions[i]), tokens)
		if errors.Is(errs[i], wmd.ErrNoWords) {
			each[i], errs[i] = math.NaN(), nil
		} else if errs[i] != nil {
			errs[i] = fmt.Errorf("image %s: %w", items[i].ID, errs[i])
		}
	})
	return each, errors.Join(errs...)
}

// pictures are CLIPScore and RefCLIPScore, NaN where a picture cannot be read.
func pictures(run engine.Run, items []score.Item, o Options) (clip, ref []float64, failed []error, err error) {
	set, err := coco.Open(o.Dataset, coco.Options{Images: o.Images})
	if err != nil {
		return nil, nil, nil, err
	}
	named := map[string]coco.Item{}
	for it, err := range set.Items() {
		if err != nil {
			return nil, nil, nil, err
		}
		it.References = nil // items have them
		named[it.ID] = it
	}
	var sources iter.Seq[batch.Source] = func(yield func(batch.Source) bool) {
		for _, it := range items {
			p, ok := named[it.ID]
			source := batch.From(p.Image, p.Open)
			if !ok || p.Image == "" {
				source = batch.Source{Name: it.ID, Err: fmt.Errorf("%s names no picture", o.Dataset)}
			}
			if !yield(source) {
				return
			}
		}
	}
	ctx := run.Context
	if ctx == nil {
		ctx = context.Background()
	}
	done := 0
	for group := range batch.Groups(ctx, sources, some) {
		var there []score.Item
		var seen []pixels.Picture
		var at []int
		for i, p := range group {
			clip, ref = append(clip, math.NaN()), append(ref, math.NaN())
			if p.Err != nil {
				failed = append(failed, fmt.Errorf("image %s: %s: %w", items[done+i].ID, p.Name, p.Err))
				continue
			}
			there, seen, at = append(there, items[done+i]), append(seen, p.Picture), append(at, done+i)
		}
		if len(there) > 0 {
			c, r, err := CLIPScores(run, o.CLIP, there, seen)
			if err != nil {
				return nil, nil, nil, err
			}
			for k, i := range at {
				clip[i], ref[i] = c[k], r[k]
			}
		}
		done += len(group)
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, err
	}
	return clip, ref, failed, nil
}
