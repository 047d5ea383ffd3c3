package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"parley/bench/eval"
	"parley/bench/score"
	"parley/bench/score/ptb"
)

// measure is a quality of candidates: of captions in the image task, of drawings in
// the text task.
type measure struct {
	name, label string
	digits      int
	lower       bool        // less is better
	figures     bool        // figures are about it
	values      [][]float64 // by item and candidate; not a number where there is none
	beam        []float64   // by item; nil: none
	// corpus, if any, scores one candidate (place -1 is beam's) of each of some items as a
	// set; elsewhere it is the mean. choice is of all items.
	corpus func(choice, of []int) (float64, error)
	sets   *sets // of a measure that has no values of candidates
}

// known are measures in the order of the table.
var known = []struct {
	name, label string
	digits      int
	lower       bool // less is better
	figures     bool // figures are about it
}{
	{"Bleu_1", "BLEU-1", 3, false, false}, {"Bleu_2", "BLEU-2", 3, false, false}, {"Bleu_3", "BLEU-3", 3, false, false},
	{"Bleu_4", "BLEU-4", 3, false, false}, {"METEOR", "METEOR", 3, false, false}, {"ROUGE_L", "ROUGE-L", 3, false, false},
	{"CIDEr", "CIDEr-D", 3, false, true}, {measureWMD, "WMD", 3, true, true}, {eval.CLIPText, "CLIP text", 3, false, true},
	{measureSBERT, "SBERT", 3, false, true}, {eval.CLIPScore, "CLIPScore", 3, false, false},
	{eval.RefCLIPScore, "RefCLIPScore", 3, false, false}, {eval.CLIPImage, "CLIP image", 3, false, true},
	{measureDINO, "DINO", 3, false, true}, {measureFID, "FID", 1, true, true},
}

// item is what is kept of a record.
type item struct {
	index               int
	id, image, source   string
	domain              string
	captions            []string
	beam                string
	hasBeam             bool
	score               []float64
	rank, pruned, steps []int
	undrawn             []bool
	pictures            []string
	selected            int
}

// problem is an item without a result.
type problem struct{ Name, Error string }

// run is what a report is made of: of each item its captions and numbers.
type run struct {
	dir      string
	settings *eval.Settings
	total    int // items of the shard
	done     int
	items    []item
	refs     [][]string
	tokens   []tokens // by item, of those with references, once their captions have metrics
	problems []problem
	failed   int
	measures []*measure
	direct   []int // by item, CLIP's direct choice; -1: none
	notes    []string
}

// tokens are an item's captions and references as the caption metrics compare them,
// with a space between two.
type tokens struct {
	captions []string
	beam     string
	refs     []string
}

// maxProblems is how many items without a result are named.
const maxProblems = 20

// read reads a folder's lines, once.
func read(dir string) (*run, error) {
	s, err := eval.ReadSettings(dir)
	if err != nil {
		return nil, err
	}
	r := &run{dir: dir, settings: s}
	if r.total, err = s.Size(); err != nil {
		return nil, err
	}
	scores := map[string]*measure{}
	direct := eval.CLIPCaption
	if s.Task == eval.Text {
		direct = eval.CLIPDrawing
	}
	err = eval.Records(dir, func(rec *eval.Record) error {
		r.done++
		if rec.Error != "" || rec.Selected < 0 {
			if r.failed++; len(r.problems) < maxProblems {
				r.problems = append(r.problems, problem{rec.Name(), rec.Error})
			}
			return nil
		}
		n, it := len(r.items), item{index: rec.Index, id: rec.ID, image: rec.Image, source: rec.Source, domain: rec.Domain,
			selected: rec.Selected}
		choice, best := -1, math.Inf(-1)
		for j, c := range rec.Candidates {
			v := math.NaN()
			if c.Rank > 0 && c.Pruned == 0 {
				v = c.Score
			}
			it.captions, it.score, it.rank = append(it.captions, c.Text), append(it.score, v), append(it.rank, c.Rank)
			it.pruned, it.steps, it.pictures = append(it.pruned, c.Pruned), append(it.steps, c.Steps), append(it.pictures, c.Picture)
			it.undrawn = append(it.undrawn, c.Undrawn)
			for name, v := range c.Scores {
				m := scores[name]
				if m == nil {
					m = &measure{name: name}
					scores[name] = m
				}
				m.set(n, j, len(rec.Candidates), v)
			}
			if v, ok := c.Scores[direct]; ok && v > best {
				choice, best = j, v
			}
		}
		if rec.Beam != nil {
			it.beam, it.hasBeam = rec.Beam.Text, true
			for name, v := range rec.Beam.Scores {
				if m := scores[name]; m != nil {
					m.beam = append(fill(m.beam, n), v)
				}
			}
		}
		r.items, r.refs, r.direct = append(r.items, it), append(r.refs, rec.References), append(r.direct, choice)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, m := range scores {
		for len(m.values) < len(r.items) {
			m.values = append(m.values, nil)
		}
		for i := range m.values {
			m.values[i] = fill(m.values[i], len(r.items[i].captions))
		}
		if m.beam != nil {
			m.beam = fill(m.beam, len(r.items))
		}
	}
	switch {
	case r.done > 0 && len(r.items) == 0:
		r.notes = append(r.notes, "No item has a result.")
	case len(r.items) == 1:
		r.notes = append(r.notes, "Of one item there are no intervals and no tests: those here say nothing.")
	}
	if s.K == 1 {
		r.notes = append(r.notes, "Of one candidate there is no choice: the selected is the mean.")
	}
	delete(scores, direct) // what is chosen by is no quality
	r.measures = slices.Collect(maps.Values(scores))
	r.order()
	return r, nil
}

func (m *measure) set(item, candidate, of int, v float64) {
	for len(m.values) <= item {
		m.values = append(m.values, nil)
	}
	m.values[item] = fill(m.values[item], of)
	m.values[item][candidate] = v
}

// fill makes a list n long.
func fill(x []float64, n int) []float64 {
	for len(x) < n {
		x = append(x, math.NaN())
	}
	return x
}

// order puts the measures in the table's order, others behind by their names.
func (r *run) order() {
	place := func(m *measure) int {
		for i, k := range known {
			if k.name == m.name {
				return i
			}
		}
		return len(known)
	}
	for _, m := range r.measures {
		m.label, m.digits = m.name, 3
		if i := place(m); i < len(known) {
			k := known[i]
			m.label, m.digits, m.lower, m.figures = k.label, k.digits, k.lower, k.figures
		}
	}
	slices.SortFunc(r.measures, func(a, b *measure) int { return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a.name, b.name)) })
}

// captionMetrics adds what the COCO tools say of captions: each place of the K is
// scored as a set of captions.
func (r *run) captionMetrics(meteor string) error {
	with := slices.DeleteFunc(seq(len(r.items)), func(i int) bool { return len(r.refs[i]) == 0 })
	if len(with) == 0 {
		r.notes = append(r.notes, "The data set has no texts: captions are held against none.")
		return nil
	}
	if len(with) < len(r.items) {
		r.notes = append(r.notes, "Pictures without texts count for nothing in the metrics of captions.")
	}
	t := ptb.New()
	var flat []string
	for _, i := range with {
		flat = append(flat, r.refs[i]...)
	}
	flat = t.Captions(flat)
	items := make([]score.Item, len(with))
	for n, i := range with {
		refs := len(r.refs[i])
		items[n], flat = score.Item{ID: r.items[i].id, References: flat[:refs:refs]}, flat[refs:]
	}
	k := 0
	for _, it := range r.items {
		k = max(k, len(it.captions))
	}
	// By place, -1 is beam's; captions' tokens by item.
	split := map[int][]string{}
	for j := -1; j < k; j++ {
		list := make([]string, len(with))
		for n, i := range with {
			if it := r.items[i]; j < 0 {
				list[n] = it.beam
			} else if j < len(it.captions) {
				list[n] = it.captions[j]
			}
		}
		split[j] = t.Captions(list)
	}
	r.tokens = make([]tokens, len(r.items))
	for n, i := range with {
		own := tokens{beam: split[-1][n], refs: items[n].References}
		for j := range r.items[i].captions {
			own.captions = append(own.captions, split[j][n])
		}
		r.tokens[i] = own
	}
	corpus := func(choice, of []int) (*score.Report, error) {
		var list []score.Item
		for _, i := range of {
			if n, ok := slices.BinarySearch(with, i); ok {
				it := items[n]
				it.Caption = split[choice[i]][n]
				list = append(list, it)
			}
		}
		return score.Captions(list, score.Options{Tokenized: true, MeteorData: meteor})
	}
	// BLEU and METEOR are asked for the same sets one after the other.
	reports := map[[sha256.Size]byte]*score.Report{}
	value := func(name string, choice, of []int) (float64, error) {
		var key []byte
		for _, i := range of {
			key = binary.AppendVarint(binary.AppendVarint(key, int64(i)), int64(choice[i]))
		}
		hash := sha256.Sum256(key)
		if reports[hash] == nil {
			rep, err := corpus(choice, of)
			if err != nil {
				return 0, err
			}
			for i := range rep.Metrics {
				rep.Metrics[i].Each = nil
			}
			reports[hash] = rep
		}
		v, _ := reports[hash].Value(name)
		return v, nil
	}
	found := map[string]*measure{}
	for j := -1; j < k; j++ {
		choice := make([]int, len(r.items))
		for i := range choice {
			choice[i] = j
		}
		rep, err := corpus(choice, with)
		if err != nil {
			return err
		}
		if j == 0 {
			r.notes = append(r.notes, rep.Notes...)
		}
		for _, x := range rep.Metrics {
			if x.Name == "CIDEr_plain" {
				continue
			}
			m := found[x.Name]
			if m == nil {
				m = &measure{name: x.Name, values: make([][]float64, len(r.items)), beam: fill(nil, len(r.items))}
				for i := range m.values {
					m.values[i] = fill(nil, len(r.items[i].captions))
				}
				if x.Name == "METEOR" || len(x.Name) > 5 && x.Name[:5] == "Bleu_" {
					m.corpus = func(choice, of []int) (float64, error) { return value(x.Name, choice, of) }
				}
				found[x.Name] = m
			}
			for n, i := range with {
				switch it := r.items[i]; {
				case j < 0 && it.hasBeam:
					m.beam[i] = x.Each[n]
				case j >= 0 && j < len(it.captions) && it.captions[j] != "":
					m.values[i][j] = x.Each[n]
				}
			}
		}
	}
	r.measures = append(slices.DeleteFunc(r.measures, func(m *measure) bool { return found[m.name] != nil }),
		slices.Collect(maps.Values(found))...)
	r.order()
	return nil
}

func seq(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// primary are the measures that figures are about.
func (r *run) primary() (out []*measure) {
	for _, m := range r.measures {
		if m.figures {
			out = append(out, m)
		}
	}
	return out
}
