package score

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"text/tabwriter"

	"parley/bench/score/meteor"
	"parley/bench/score/ptb"
	"parley/bench/score/workers"
)

// Item is an image with a caption to be scored and the captions of people.
type Item struct {
	ID         string
	Caption    string
	References []string
}

// Metric is a score of all captions, and of each one, in the items' order; NaN where
// there is none.
type Metric struct {
	Name  string
	Value float64
	Each  []float64
}

// Mean is a metric of all captions that is the mean of each one's, and how many have
// none.
func Mean(name string, each []float64) (m Metric, missing int) {
	sum := 0.0
	for _, v := range each {
		if math.IsNaN(v) {
			missing++
		} else {
			sum += v
		}
	}
	return Metric{name, sum / float64(len(each)-missing), each}, missing
}

// Report holds the metrics of a set of captions.
type Report struct {
	IDs     []string // of the images
	Metrics []Metric
	// Notes say what a reader has to know: a metric that is left out or means
	// nothing.
	Notes []string
}

// Options are what Captions can be told.
type Options struct {
	// MeteorData is the folder of METEOR's data (meteor.Open). Without it METEOR
	// is left out.
	MeteorData string
	// Tokenized says that captions are tokens with a space between two already.
	Tokenized bool
}

// The names under which the COCO tools print their metrics, in their order;
// their CIDEr is CIDEr-D. The plain one of the paper is the last.
var names = [...]string{"Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "CIDEr_plain"}

// Captions scores captions as the COCO caption tools do: BLEU over all of them,
// METEOR likewise, ROUGE-L and CIDEr-D as means. Captions and references are
// tokenized as two documents, in the items' order.
func Captions(items []Item, o Options) (*Report, error) {
	captions, refs, err := Tokens(items, o)
	if err != nil {
		return nil, err
	}
	r, err := tokenized(captions, refs, o)
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		r.IDs = append(r.IDs, it.ID)
	}
	return r, nil
}

// Tokens are the captions and the references of items as Captions compares them:
// tokens with a space between two.
func Tokens(items []Item, o Options) (captions []string, refs [][]string, err error) {
	if len(items) == 0 {
		return nil, nil, errors.New("no captions")
	}
	captions, refs = make([]string, len(items)), make([][]string, len(items))
	var flat []string
	for i, it := range items {
		if len(it.References) == 0 {
			return nil, nil, fmt.Errorf("image %s: no references", it.ID)
		}
		captions[i] = it.Caption
		flat = append(flat, it.References...)
	}
	if !o.Tokenized {
		t := ptb.New()
		captions, flat = t.Captions(captions), t.Captions(flat)
	}
	for i, it := range items {
		refs[i], flat = flat[:len(it.References):len(it.References)], flat[len(it.References):]
	}
	return captions, refs, nil
}

func tokenized(captions []string, refs [][]string, o Options) (*Report, error) {
	cider := NewCIDErD(refs)
	n := len(captions)
	counts := make([]bleu, n)
	each := map[string][]float64{}
	for _, name := range names {
		each[name] = make([]float64, n)
	}
	numbering := sync.Pool{New: func() any { return cider.own() }}
	workers.Each(n, 64, &numbering, func(own *numbers, i int) {
		c := own.caption(captions[i])
		counts[i] = countBLEU(c, cider.refs[i])
		for k, v := range counts[i].score() {
			each[names[k]][i] = v
		}
		each["ROUGE_L"][i] = rougeL(c, cider.refs[i])
		each["CIDEr"][i], each["CIDEr_plain"][i] = cider.both(c, i)
	})
	value := map[string]float64{}
	for _, name := range []string{"ROUGE_L", "CIDEr", "CIDEr_plain"} {
		value[name] = mean(each[name])
	}
	var sum bleu
	for _, b := range counts {
		sum.add(b)
	}
	for k, v := range sum.score() {
		value[names[k]] = v
	}
	r := &Report{}
	if o.MeteorData == "" {
		delete(each, "METEOR")
		r.Notes = append(r.Notes, "METEOR is left out: it needs its data, the folder pycocoevalcap/meteor of PyPI's pycocoevalcap 1.2")
	} else {
		m, err := meteor.Open(o.MeteorData, append(refs[:n:n], captions))
		if err != nil {
			return nil, err
		}
		if value["METEOR"], each["METEOR"], err = m.Captions(captions, refs); err != nil {
			return nil, err
		}
	}
	if err := cider.Degenerate(); err != nil {
		r.Notes = append(r.Notes, "CIDEr: "+err.Error())
	}
	for _, name := range names {
		if list, ok := each[name]; ok {
			r.Metrics = append(r.Metrics, Metric{name, value[name], list})
		}
	}
	return r, nil
}

// Value is a metric's value, and whether it is there.
func (r *Report) Value(name string) (float64, bool) {
	for _, m := range r.Metrics {
		if m.Name == name {
			return m.Value, true
		}
	}
	return 0, false
}

// JSON is {"images", "scores": {name: value}, "notes"} and, if each is set,
// "each": [{"id", name: value}]; a score that is missing is null.
func (r *Report) JSON(each bool) any {
	scores := func(value func(Metric) float64) map[string]any {
		out := map[string]any{}
		for _, m := range r.Metrics {
			if v := value(m); math.IsNaN(v) {
				out[m.Name] = nil
			} else {
				out[m.Name] = v
			}
		}
		return out
	}
	out := struct {
		Images int              `json:"images"`
		Scores map[string]any   `json:"scores"`
		Notes  []string         `json:"notes"`
		Each   []map[string]any `json:"each,omitempty"`
	}{len(r.IDs), scores(func(m Metric) float64 { return m.Value }), append([]string{}, r.Notes...), nil}
	for i := range r.IDs {
		if !each {
			break
		}
		one := scores(func(m Metric) float64 { return m.Each[i] })
		one["id"] = r.IDs[i]
		out.Each = append(out.Each, one)
	}
	return out
}

// Table writes the metrics, a line each, and the notes.
func (r *Report) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, m := range r.Metrics {
		note := ""
		switch m.Name {
		case "CIDEr":
			note = "\tCIDEr-D, as the COCO tools print it"
		case "CIDEr_plain":
			note = "\tthe paper's equation: not clipped, no penalty"
		case "SBERT":
			note = "\tmean cosine with the references"
		case "WMD":
			note = "\tmean distance to the references: less is better"
		case "CLIPScore", "RefCLIPScore":
			note = "\tHessel et al.: 2.5 max(cos, 0), \"A photo depicts \" before captions"
		}
		value := "-"
		if !math.IsNaN(m.Value) {
			value = fmt.Sprintf("%.6f", m.Value)
		}
		fmt.Fprintf(t, "%s\t%s%s\n", m.Name, value, note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d images\n", len(r.IDs))
	for _, n := range r.Notes {
		if _, err := fmt.Fprintln(w, n); err != nil {
			return err
		}
	}
	return nil
}
