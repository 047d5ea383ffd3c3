// Package results keeps what reconstructions give: as JSON, as a folder of
// pictures and contact sheets that grows with each source, and as tables.
package results

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"unicode/utf8"

	"parley/nets/rerank"
)

// Entry is the JSON form of a result.
type Entry struct {
	Source      string      `json:"source"`
	SourceBytes []byte      `json:"source_bytes,omitempty"` // in base64, of a name that is not UTF-8
	Seed        uint64      `json:"seed"`
	Selected    int         `json:"selected"` // index in Candidates; -1: none
	Candidates  []Candidate `json:"candidates"`
	Error       string      `json:"error,omitempty"` // of the source; its candidates have their own
}

// Candidate is the JSON form of one.
type Candidate struct {
	Text       string    `json:"text"`
	Image      string    `json:"image"`
	ImageBytes []byte    `json:"image_bytes,omitempty"` // as SourceBytes
	Score      float64   `json:"score"`
	Rank       int       `json:"rank"`
	Seed       uint64    `json:"seed"`
	Seconds    float64   `json:"seconds"`
	Timing     Timing    `json:"timing"`
	Embedding  []float32 `json:"embedding,omitempty"`
	Error      string    `json:"error,omitempty"`
}

// Timing is what the stages of a candidate took, in seconds.
type Timing struct {
	Caption float64 `json:"caption"`
	Draw    float64 `json:"draw"`
	Judge   float64 `json:"judge"`
}

// errNotDrawn is a candidate that the work ended before.
var errNotDrawn = errors.New("not drawn")

// NewEntry is the JSON form of a result and its error. image gives the file of a
// candidate's picture.
func NewEntry(r *rerank.Result, err error, image func(candidate int) string) Entry {
	e := Entry{Source: r.Source.Name, SourceBytes: raw(r.Source.Name), Seed: r.Source.Seed, Selected: r.Selected, Candidates: []Candidate{}}
	if err != nil {
		e.Error = err.Error()
	}
	for i, c := range r.Candidates {
		o := Candidate{Text: c.Text, Score: c.Score, Rank: c.Rank, Seed: c.Seed, Embedding: c.Embedding, Seconds: c.Time.Total().Seconds(),
			Timing: Timing{c.Time.Caption.Seconds(), c.Time.Draw.Seconds(), c.Time.Judge.Seconds()}}
		switch {
		case c.Err != nil:
			o.Error = c.Err.Error()
		case c.Picture == nil:
			o.Error = errNotDrawn.Error()
		default:
			o.Image = image(i)
			o.ImageBytes = raw(o.Image)
		}
		e.Candidates = append(e.Candidates, o)
	}
	return e
}

// raw are the bytes of a name that JSON would change; nil where it does not.
func raw(name string) []byte {
	if utf8.ValidString(name) {
		return nil
	}
	return []byte(name)
}

// Table prints a result, its candidates from the best to the worst. quote makes a
// text fit to be shown.
func Table(w io.Writer, r *rerank.Result, quote func(string) string) error {
	fmt.Fprintf(w, "\n%s\n", quote(r.Source.Name))
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "  rank\tscore\tseed\tcaption")
	for _, c := range r.Ranked() {
		switch {
		case c.Err != nil:
			fmt.Fprintf(t, "  failed\t\t%d\t%s: %s\n", c.Seed, quote(c.Text), quote(c.Err.Error()))
		case c.Picture == nil:
			fmt.Fprintf(t, "  %v\t\t%d\t%s\n", errNotDrawn, c.Seed, quote(c.Text))
		default:
			fmt.Fprintf(t, "  %d\t%.3f\t%d\t%s\n", c.Rank, c.Score, c.Seed, quote(c.Text))
		}
	}
	return t.Flush()
}
