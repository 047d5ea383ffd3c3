package eval

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/output"
)

// Record is a line of items.jsonl: an item with what its candidates came to. With
// the settings it has all that is needed to compute it again, and nothing that
// another run of the same settings would have different.
type Record struct {
	Index      int         `json:"index"` // in the whole data set, from 0
	ID         string      `json:"id"`
	Image      string      `json:"image"`
	Domain     string      `json:"domain,omitempty"`
	Source     string      `json:"source,omitempty"` // the text that is drawn
	References []string    `json:"references,omitempty"`
	Seed       uint64      `json:"seed"`
	Pixels     string      `json:"pixels_sha256,omitempty"` // of the picture: width and height as u32, then RGB
	Selected   int         `json:"selected"`                // index in Candidates; -1: none
	Candidates []Candidate `json:"candidates"`
	Beam       *Candidate  `json:"beam,omitempty"` // the caption of beam search, which takes no part
	Error      string      `json:"error,omitempty"`
}

// Candidate is one of K. One that failed has rank 0 and an error, one that was not
// drawn rank 0.
type Candidate struct {
	Text      string             `json:"text"`
	Score     float64            `json:"score"` // cosine of CLIP's embeddings with the source; of a pruned one, its preview's
	Rank      int                `json:"rank"`  // 1 is the best
	Seed      uint64             `json:"seed"`
	Duplicate *int               `json:"duplicate,omitempty"` // the earlier candidate of the same text whose drawing it shares
	Steps     int                `json:"steps"`               // runs of the UNet for it, a guided pair being one
	Pruned    int                `json:"pruned,omitempty"`    // the step after which it was given up
	Undrawn   bool               `json:"undrawn,omitempty"`   // it was given up before it was drawn
	Scores    map[string]float64 `json:"scores,omitempty"`    // what Scorers give
	Embedding string             `json:"embedding_sha256,omitempty"`
	Picture   string             `json:"picture,omitempty"` // the file that keeps it
	Error     string             `json:"error,omitempty"`
}

// Name is the item's id and its picture's file as a line of text has them.
func (r *Record) Name() string {
	plain := func(s string) string {
		if q := strconv.Quote(s); q != `"`+s+`"` {
			return q
		}
		return s
	}
	if r.Image == "" || r.Image == r.ID {
		return plain(r.ID)
	}
	return fmt.Sprintf("%s (%s)", plain(r.ID), plain(r.Image))
}

// failed reports whether the item, or a candidate of it, has no result.
func (r *Record) failed() bool {
	return r.Error != "" || slices.ContainsFunc(r.Candidates, func(c Candidate) bool { return c.Error != "" })
}

// plain is JSON that leaves <, > and & as they are.
func plain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// fill takes what a loop came to. steps is how often the UNet runs for a drawing.
func (r *Record) fill(res *rerank.Result, steps, drawings int) {
	r.Selected, r.Candidates = res.Selected, []Candidate{}
	for _, c := range res.Candidates {
		o := Candidate{Text: c.Text, Seed: c.Seed, Score: c.Score, Rank: c.Rank, Pruned: c.Pruned, Undrawn: c.Undrawn,
			Steps:     steps * max(1, drawings),
			Embedding: hashFloats(c.Embedding)}
		switch {
		case c.Undrawn:
			o.Steps = 0
		case c.Duplicate >= 0:
			o.Duplicate, o.Steps = &c.Duplicate, 0
		case c.Pruned > 0:
			o.Steps = c.Pruned
		}
		switch {
		case c.Err != nil:
			o.Error = c.Err.Error()
		case c.Rank == 0 && !c.Undrawn:
			o.Error = "not drawn"
		}
		r.Candidates = append(r.Candidates, o)
	}
}

// Evaluations is how often the UNet ran for an item, a guided pair being one.
func (r *Record) Evaluations() (n int) {
	for _, c := range r.Candidates {
		n += c.Steps
	}
	return n
}

// hashFloats is the SHA-256 of numbers, little-endian; "" of none.
func hashFloats(x []float32) string {
	if x == nil {
		return ""
	}
	b := make([]byte, 0, 4*len(x))
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func hashPicture(m *pixels.Image) string {
	h := sha256.New()
	h.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(m.W)), uint32(m.H)))
	h.Write(m.Pix)
	return hex.EncodeToString(h.Sum(nil))
}

// Records hands on the records of a folder's whole lines, one at a time, also while
// a run writes them.
func Records(dir string, use func(*Record) error) error {
	path, n := itemsFile(dir), 0
	return output.ReadLines(path, func(line []byte) error {
		n++
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		return use(&r)
	})
}
