package report

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"path/filepath"
	"slices"

	"gorgonia.org/tensor"

	"parley/bench/coco"
	"parley/bench/eval"
	"parley/bench/score"
	"parley/bench/score/judge"
	"parley/engine"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/pixels/batch"
)

// Judges say of candidates what the caption metrics and CLIP do not, from a run's
// captions and the drawings that it has kept. They keep what they have said of an item,
// so that a report that is written again has them judge new items only: one value is
// for one run's folder.
type Judges struct {
	// Of captions, against their references.
	SBERT     judge.Sentences // the mean cosine
	Vectors   string          // a file of word vectors (wmd.Open): the mean word mover's distance
	StopWords bool            // which keeps the words that wmd.Stop names
	// Of drawings, against the true pictures.
	DINO      Pictures // the cosine
	Inception Features // the Fréchet distance between all true pictures and a drawing of each (score.FID)

	said map[string]map[int]verdict // by measure, and by the item's index
}

// Pictures embeds pictures, rows [N, D] of length 1: models.DINO.
type Pictures interface {
	EmbedImages(run engine.Run, pictures []pixels.Picture) (*tensor.Dense, error)
}

// Features gives what the Fréchet distance compares, [N, D]: models.Inception.
type Features interface {
	Features(run engine.Run, pictures []pixels.Picture) (*tensor.Dense, error)
}

// verdict is what a judge says of an item's candidates, and of beam search's caption.
type verdict struct {
	values []float64
	beam   float64
}

// sets is a measure of whole sets, of one candidate of each item: by the candidates'
// places and by their ranks, and of those that CLIP alone would choose.
type sets struct {
	places, ranks []float64
	direct        float64
}

// The names of their measures.
const (
	measureSBERT = "SBERT"
	measureWMD   = "WMD"
	measureDINO  = "DINO"
	measureFID   = "FID"
)

// judge adds the judges' measures to a run's.
func (j *Judges) judge(run engine.Run, r *run) error {
	captions, drawings := j.SBERT != nil || j.Vectors != "", j.DINO != nil || j.Inception != nil
	switch {
	case captions && r.settings.Task == eval.Text:
		return fmt.Errorf("SBERT and word vectors (--sbert, --vectors) judge captions, and the candidates of %s are drawings of texts", r.dir)
	case drawings && r.settings.Task == eval.Image:
		return fmt.Errorf("DINO and Inception (--dino, --inception) judge drawings, and the candidates of %s are captions of pictures", r.dir)
	case drawings && r.settings.Keep == "":
		return fmt.Errorf("DINO and Inception (--dino, --inception) look at drawings, and the run in %s has kept none: "+
			"eval text --keep png does", r.dir)
	}
	if j.said == nil {
		j.said = map[string]map[int]verdict{}
	}
	if j.SBERT != nil {
		if err := j.add(r, measureSBERT, func(items []int) error { return j.sentences(run, r, items) }); err != nil {
			return err
		}
	}
	if j.Vectors != "" {
		if err := j.add(r, measureWMD, func(items []int) error { return j.words(r, items) }); err != nil {
			return err
		}
	}
	if j.DINO != nil {
		if err := j.add(r, measureDINO, func(items []int) error { return j.pictures(run, r, items) }); err != nil {
			return err
		}
	}
	if j.Inception != nil {
		if err := j.distances(run, r); err != nil {
			return err
		}
	}
	r.order()
	return nil
}

// add has a judge look at the items that it has not seen, and makes a measure of what
// it says.
func (j *Judges) add(r *run, name string, look func(items []int) error) error {
	if j.said[name] == nil {
		j.said[name] = map[int]verdict{}
	}
	said := j.said[name]
	fresh := slices.DeleteFunc(seq(len(r.items)), func(i int) bool {
		_, ok := said[r.items[i].index]
		return ok
	})
	if len(fresh) > 0 {
		if err := look(fresh); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	m := &measure{name: name}
	missing, all := 0, 0
	for _, it := range r.items {
		v := said[it.index]
		m.values = append(m.values, fill(v.values, len(it.captions)))
		all += len(it.captions)
		missing += len(it.captions) - len(numbers(v.values))
		if r.settings.Task == eval.Image {
			m.beam = append(m.beam, v.beam)
		}
	}
	if missing > 0 {
		r.note(fmt.Sprintf("%s leaves out %d of %d candidates, which have nothing that it can judge.", name, missing, all))
	}
	r.measures = append(r.measures, m)
	return nil
}

// put keeps what is said of an item's candidate; -1 is beam's caption.
func (j *Judges) put(r *run, name string, item, candidate int, value float64) {
	it := r.items[item]
	v, ok := j.said[name][it.index]
	if !ok {
		v = verdict{fill(nil, len(it.captions)), math.NaN()}
	}
	if candidate < 0 {
		v.beam = value
	} else {
		v.values[candidate] = value
	}
	j.said[name][it.index] = v
}

// listed are the captions of items that are judged, and where each belongs.
func (r *run) listed(items []int, caption func(item, candidate int) score.Item) (list []score.Item, at [][2]int) {
	for _, i := range items {
		it := r.items[i]
		if len(r.refs[i]) == 0 {
			continue
		}
		for c, text := range it.captions {
			if text != "" {
				list, at = append(list, caption(i, c)), append(at, [2]int{i, c})
			}
		}
		if it.hasBeam && it.beam != "" {
			list, at = append(list, caption(i, -1)), append(at, [2]int{i, -1})
		}
	}
	return list, at
}

// sentences has SBERT judge captions, those of some items at a time.
func (j *Judges) sentences(run engine.Run, r *run, items []int) error {
	const some = 8
	for part := range slices.Chunk(items, some) {
		list, at := r.listed(part, func(i, c int) score.Item {
			it := score.Item{ID: r.items[i].id, Caption: r.items[i].beam, References: r.refs[i]}
			if c >= 0 {
				it.Caption = r.items[i].captions[c]
			}
			return it
		})
		values, err := judge.Similarity(run, j.SBERT, list)
		if err != nil {
			return err
		}
		for n, v := range values {
			j.put(r, measureSBERT, at[n][0], at[n][1], v)
		}
	}
	return nil
}

// words has the word mover judge captions, of the tokens that the caption metrics compare.
func (j *Judges) words(r *run, items []int) error {
	list, at := r.listed(items, func(i, c int) score.Item {
		it := score.Item{ID: r.items[i].id, Caption: r.tokens[i].beam, References: r.tokens[i].refs}
		if c >= 0 {
			it.Caption = r.tokens[i].captions[c]
		}
		return it
	})
	if len(list) == 0 {
		return nil
	}
	values, err := judge.Distances(list, judge.Options{Vectors: j.Vectors, StopWords: j.StopWords, Score: score.Options{Tokenized: true}})
	if err != nil {
		return err
	}
	for n, v := range values {
		j.put(r, measureWMD, at[n][0], at[n][1], v)
	}
	return nil
}

// pictures has DINO judge drawings beside the true pictures.
func (j *Judges) pictures(run engine.Run, r *run, items []int) error {
	var truth []float32
	return r.seen(run, items, func(list []sight) error {
		embedded, err := j.DINO.EmbedImages(run, pictures(list))
		if err != nil {
			return err
		}
		for n, row := range models.Rows(embedded) {
			if s := list[n]; s.candidate < 0 {
				truth = row
			} else {
				v, err := score.Cosine(truth, row)
				if err != nil {
					return fmt.Errorf("item %s: %w", r.items[s.item].id, err)
				}
				j.put(r, measureDINO, s.item, s.candidate, v)
			}
		}
		return nil
	})
}

// distances adds FID. Its memory is a mean and a covariance (33 MB of Inception's
// features) for the true pictures, for each place and for each rank.
func (j *Judges) distances(run engine.Run, r *run) error {
	if r.done < r.total {
		r.note("FID is of whole sets: it is left out until the run is complete.")
		return nil
	}
	k := 0
	for _, it := range r.items {
		k = max(k, len(it.captions))
	}
	var truth, direct *score.Features
	places, ranks := make([]*score.Features, k), make([]*score.Features, k)
	add := func(f **score.Features, row []float32) error {
		if *f == nil {
			*f = score.NewFeatures(len(row))
		}
		return (*f).AddRow(row)
	}
	n := 0
	err := r.seen(run, seq(len(r.items)), func(list []sight) error {
		x, err := j.Inception.Features(run, pictures(list))
		if err != nil {
			return err
		}
		for i, row := range models.Rows(x) {
			s := list[i]
			if s.candidate < 0 {
				n++
				if err := add(&truth, row); err != nil {
					return err
				}
				continue
			}
			err := add(&places[s.candidate], row)
			if rank := r.items[s.item].rank[s.candidate]; rank > 0 {
				err = cmp.Or(err, add(&ranks[rank-1], row))
			}
			if s.candidate == r.direct[s.item] {
				err = cmp.Or(err, add(&direct, row))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("FID: %w", err)
	}
	distance := func(f *score.Features) float64 {
		if f == nil || err != nil {
			return math.NaN()
		}
		var d float64
		d, err = score.FID(truth, f)
		return d
	}
	all := func(list []*score.Features) (out []float64) {
		for _, f := range list {
			out = append(out, distance(f))
		}
		return out
	}
	s := &sets{all(places), all(ranks), distance(direct)}
	if err != nil {
		return fmt.Errorf("FID: %w", err)
	}
	if width := truth.Width(); !score.FullRank(n, width) {
		r.note(fmt.Sprintf("FID: of %d pictures the covariance of %d features is not of full rank: compare it with distances of as many "+
			"pictures only.", n, width))
	}
	r.measures = append(r.measures, &measure{name: measureFID, sets: s})
	return nil
}

// sight is a picture of an item: the true one (candidate -1), or a drawing.
type sight struct {
	item, candidate int
	picture         pixels.Picture
}

func pictures(list []sight) (out []pixels.Picture) {
	for _, s := range list {
		out = append(out, s.picture)
	}
	return out
}

// seen hands on the pictures of items, some at a time: of each the true one, from the
// data set, and behind it the drawings that were kept. Of what cannot be read there is
// a note; drawings whose true picture cannot be read are left out.
func (r *run) seen(run engine.Run, items []int, use func([]sight) error) error {
	d := r.settings.Data
	set, err := coco.Open(d.Name, coco.Options{Images: d.Images, Split: d.Split, Domain: d.Domain})
	if err != nil {
		return fmt.Errorf("the data set is not at hand: %w", err)
	}
	items = slices.SortedFunc(slices.Values(items), func(a, b int) int { return cmp.Compare(r.items[a].index, r.items[b].index) })
	var order []sight // of the sources below
	for _, i := range items {
		order = append(order, sight{item: i, candidate: -1})
		for c, name := range r.items[i].pictures {
			if eval.IsPicture(name) {
				order = append(order, sight{item: i, candidate: c})
			}
		}
	}
	var changed error
	var sources iter.Seq[batch.Source] = func(yield func(batch.Source) bool) {
		index, left := -1, items
		for it, err := range set.Items() {
			if index++; err != nil {
				changed = err
				return
			}
			if len(left) == 0 {
				return
			}
			own := r.items[left[0]]
			if index != own.index {
				continue
			}
			if it.ID != own.id {
				changed = fmt.Errorf("%s has changed: item %d is %s, and was %s", d.Name, index+1, it.ID, own.id)
				return
			}
			if left = left[1:]; !yield(batch.From(it.Image, it.Open)) {
				return
			}
			for _, name := range own.pictures {
				if eval.IsPicture(name) && !yield(batch.Source{Name: filepath.Join(r.dir, filepath.FromSlash(name))}) {
					return
				}
			}
		}
		if len(left) > 0 {
			changed = fmt.Errorf("%s has changed: it has %d items", d.Name, index+1)
		}
	}
	ctx := run.Context
	if ctx == nil {
		ctx = context.Background()
	}
	lost := -1 // the item whose true picture cannot be read
	for group := range batch.Groups(ctx, sources, 16) {
		var list []sight
		for i, p := range group {
			s := order[i]
			switch {
			case p.Err != nil && s.candidate < 0:
				lost = s.item
				r.note(fmt.Sprintf("A picture cannot be read, and its drawings are not judged: %s: %v", p.Name, p.Err))
			case p.Err != nil:
				r.note("A drawing that was kept cannot be read: " + p.Err.Error())
			case s.item != lost:
				s.picture = p.Picture
				list = append(list, s)
			}
		}
		order = order[len(group):]
		if len(list) > 0 {
			if err := use(list); err != nil {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return changed // the sources have ended
}
