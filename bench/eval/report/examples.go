package report

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"image/jpeg"
	"math"
	"path/filepath"
	"slices"

	"parley/bench/coco"
	"parley/bench/eval"
	"parley/nets/pixels"
)

// Example is an item of Figure 5.
type Example struct {
	Why        string
	ID, Image  string
	Text       string // that was drawn
	Picture    string // as a data URI; "" where it is not at hand
	Difference float64
	Candidates []Shown // from the best to the worst
}

// Shown is a candidate of an example.
type Shown struct {
	Rank        int
	Text        string
	Score       float64
	Value       float64
	HasValue    bool
	Pruned      int
	Undrawn     bool
	Picture     string
	pictureFile string
}

// rule says how examples are chosen.
const rule = "the two items where the selected candidate is most above the mean of its item's candidates, " +
	"the two where the difference is nearest " +
	"the median, and the two where it is most below"

// examples chooses Figure 5 by the rule, with the first of the figures' measures.
func (r *run) examples() ([]Example, error) {
	list := r.primary()
	if len(list) == 0 || len(r.items) == 0 {
		return nil, nil
	}
	m := list[0]
	type gain struct {
		item int
		by   float64
	}
	var gains []gain
	for i, it := range r.items {
		if v := m.values[i][it.selected]; !math.IsNaN(v) {
			gains = append(gains, gain{i, v - mean(numbers(m.values[i]))})
		}
	}
	slices.SortStableFunc(gains, func(a, b gain) int { return cmp.Compare(b.by, a.by) })
	if len(gains) == 0 {
		return nil, nil
	}
	median := gains[len(gains)/2].by
	middle := slices.Clone(gains)
	slices.SortStableFunc(middle, func(a, b gain) int { return cmp.Compare(math.Abs(a.by-median), math.Abs(b.by-median)) })
	worst := slices.Clone(gains)
	slices.Reverse(worst)
	used := map[int]bool{}
	var out []Example
	for _, part := range []struct {
		why  string
		from []gain
	}{{"a large gain", gains}, {"the usual", middle}, {"a large loss", worst}} {
		n := 0
		for _, g := range part.from {
			if n == 2 || used[g.item] {
				if n == 2 {
					break
				}
				continue
			}
			used[g.item] = true
			n++
			out = append(out, r.example(part.why, g.item, g.by, m))
		}
	}
	return out, r.pictures(out)
}

func (r *run) example(why string, i int, by float64, m *measure) Example {
	it := r.items[i]
	e := Example{Why: why, ID: it.id, Image: it.image, Text: it.source, Difference: by}
	for j := range it.captions {
		s := Shown{Rank: it.rank[j], Text: it.captions[j], Score: it.score[j], Value: m.values[i][j], Pruned: it.pruned[j],
			Undrawn:     it.undrawn[j],
			pictureFile: it.pictures[j]}
		s.HasValue = !math.IsNaN(s.Value)
		e.Candidates = append(e.Candidates, s)
	}
	slices.SortStableFunc(e.Candidates, func(a, b Shown) int {
		return cmp.Compare(cmp.Or(a.Rank, math.MaxInt), cmp.Or(b.Rank, math.MaxInt))
	})
	return e
}

// side is the longest side of an example's pictures.
const side = 192

// thumbnail is a picture as a data URI: small ones as they are, large ones as JPEG.
func thumbnail(m *pixels.Image) (string, error) {
	var b bytes.Buffer
	if max(m.W, m.H) <= side {
		err := m.EncodePNG(&b)
		return "data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes()), err
	}
	long := max(m.W, m.H)
	m = m.Resize(max(1, m.W*side/long), max(1, m.H*side/long), pixels.Lanczos)
	err := jpeg.Encode(&b, m.Go(), &jpeg.Options{Quality: 88})
	return "data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(b.Bytes()), err
}

// pictures reads the drawings that were kept, and the true pictures where the data
// set is at hand.
func (r *run) pictures(list []Example) (err error) {
	want := map[string][]int{}
	for i := range list {
		want[list[i].ID] = append(want[list[i].ID], i)
		for j := range list[i].Candidates {
			c := &list[i].Candidates[j]
			if c.pictureFile == "" || !eval.IsPicture(c.pictureFile) {
				continue
			}
			m, err := pixels.Read(filepath.Join(r.dir, filepath.FromSlash(c.pictureFile)))
			if err != nil {
				r.note("A drawing that was kept cannot be read: " + err.Error())
				continue
			}
			if c.Picture, err = thumbnail(m); err != nil {
				return err
			}
		}
	}
	d := r.settings.Data
	set, err := coco.Open(d.Name, coco.Options{Images: d.Images, Split: d.Split, Domain: d.Domain})
	if err != nil {
		r.note("The pictures of the data set are not at hand: " + err.Error())
		return nil
	}
	for it, err := range set.Items() {
		if err != nil {
			r.note(fmt.Sprintf("The data set cannot be read: %v", err))
			return nil
		}
		for _, i := range want[it.ID] {
			m, err := it.Picture()
			if err != nil {
				r.note("A picture cannot be read: " + err.Error())
				continue
			}
			if list[i].Picture, err = thumbnail(m); err != nil {
				return err
			}
		}
		if delete(want, it.ID); len(want) == 0 {
			break
		}
	}
	return nil
}

func (r *run) note(s string) {
	if !slices.Contains(r.notes, s) {
		r.notes = append(r.notes, s)
	}
}
