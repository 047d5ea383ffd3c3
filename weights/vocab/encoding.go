package vocab

import (
	"context"
	"fmt"
	"strings"
)

// Encoding is what became of a text.
type Encoding struct {
	IDs    []int32 // with the tokens that begin and end a text, cut or padded to the length that was asked for
	Tokens int     // how many the whole text has, with the two at its ends
	Text   string  // what was tokenized: the text as valid UTF-8, cleaned where the tokenizer cleans
	Kept   int     // how many bytes of Text the ids stand for; len(Text) where nothing is lost
}

// Lost is the part of the text that was cut off.
func (e *Encoding) Lost() string { return e.Text[e.Kept:] }

// longestText is how many bytes of a text places in it are counted to; cleaning
// may make it a little longer.
const longestText = 1 << 30

// sink takes tokens as they are found.
type sink struct {
	pace
	ids   []int32
	at    []int32 // where in the text each begins
	limit int     // how many are kept, or -1
	count int
	kept  int // where the first that is not kept begins, or -1
}

func newSink(ctx context.Context, text string, limit int) *sink {
	s := &sink{pace: pace{ctx: ctx, err: ctx.Err()}, limit: limit, kept: -1}
	if len(text) > longestText && s.err == nil {
		s.err = fmt.Errorf("a text of %d bytes: want %d at most", len(text), longestText)
	}
	return s
}

func (s *sink) add(id int32, at int) {
	s.count++
	switch {
	case s.limit < 0 || len(s.ids) < s.limit:
		s.ids, s.at = append(s.ids, id), append(s.at, int32(at))
	case s.kept < 0:
		s.kept = at
	}
}

// encode is the text's tokens without those at its ends. normalize is what the
// normalized tokens and the model see; pieces are the model's tokens of a part
// of it, from a byte to another.
func (t *table) encode(s *sink, text string, pieces func(s *sink, a *aligned, text string, from, to, base int)) {
	t.raw.split(&s.pace, text, func(from, to int, id int32) {
		if id >= 0 {
			t.token(s, id, from)
			return
		}
		base := from
		a := t.normalize(&s.pace, text[from:to])
		normal := string(a.text)
		t.normal.split(&s.pace, normal, func(from, to int, id int32) {
			if id >= 0 {
				t.token(s, id, base+int(a.at[from]))
				return
			}
			pieces(s, a, normal, from, to, base)
		})
	})
}

// token adds an added token, or the vectors that it stands for.
func (t *table) token(s *sink, id int32, at int) {
	for k := range max(1, t.vectors[id]) {
		s.add(id+int32(k), at)
	}
}

// finish puts the tokens between the two at a text's ends, cut to a length or
// padded to it where that is more than 0.
func (s *sink) finish(text string, first, last, pad int32, length int) (*Encoding, error) {
	if s.err != nil {
		return nil, s.err
	}
	e := &Encoding{IDs: make([]int32, 0, max(len(s.ids)+2, length)), Tokens: s.count + 2, Text: text, Kept: len(text)}
	if s.kept >= 0 {
		e.Kept = s.kept
	}
	if length != 1 {
		e.IDs = append(e.IDs, first)
	}
	e.IDs = append(append(e.IDs, s.ids...), last)
	for len(e.IDs) < length {
		e.IDs = append(e.IDs, pad)
	}
	return e, nil
}

// room is how many tokens of a text a length has room for, or -1.
func room(length int) int {
	if length <= 0 {
		return -1
	}
	return max(0, length-2)
}

// valid is the text with one U+FFFD for each run of bytes that are not UTF-8.
func valid(text string) string { return strings.ToValidUTF8(text, "\ufffd") }
