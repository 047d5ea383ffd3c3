package vocab

import (
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nlpodyssey/gotokenizers/models/bpemodel"
)

// CLIP is the tokenizer of CLIP's text models.
type CLIP struct {
	BOS, EOS, Pad int32
	Max           int // tokens of a text at most (model_max_length); 0 where nothing says

	t      *table
	merges bpemodel.MergeMap
	unk    int32
	bytes  [2][256]int32 // the model's words of one byte, inside a word and at its end

	clean   Cleaning // "" is that of transformers
	learned []Learned
	plain   *CLIP // without those; nil where there are none
}

const wordEnd = "</w>"

var clipTokens = map[string]string{
	"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
	"unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
}

// LoadCLIP reads vocab.json and merges.txt of a folder, or its tokenizer.json
// where it has not both.
func LoadCLIP(fsys fs.FS, dir string) (*CLIP, error) {
	file, mfile := path.Join(dir, "vocab.json"), path.Join(dir, "merges.txt")
	data, err := fs.ReadFile(fsys, file)
	mdata, merr := fs.ReadFile(fsys, mfile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(merr, fs.ErrNotExist) {
		return loadCLIPJSON(fsys, dir)
	}
	if err := errors.Join(err, merr); err != nil {
		return nil, err
	}
	var ids map[string]int32
	if err := json.Unmarshal(trimBOM(data), &ids); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s: empty", file)
	}
	s, err := readSettings(fsys, dir, nil, clipTokens)
	if err != nil {
		return nil, err
	}
	merges, err := parseMerges(mfile, mdata)
	if err != nil {
		return nil, err
	}
	return newCLIP(file, mfile, ids, merges, s)
}

func loadCLIPJSON(fsys fs.FS, dir string) (*CLIP, error) {
	file := path.Join(dir, "tokenizer.json")
	js, err := readTokenizerJSON(fsys, file, "BPE")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no vocab.json with merges.txt, and no tokenizer.json: %w", dir, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	s, err := readSettings(fsys, dir, js, clipTokens)
	if err != nil {
		return nil, err
	}
	merges := make([][2]string, len(js.Model.Merges))
	for i, raw := range js.Model.Merges {
		var one string
		var two []string
		if json.Unmarshal(raw, &one) == nil {
			two = strings.Split(one, " ")
		} else if err := json.Unmarshal(raw, &two); err != nil {
			return nil, fmt.Errorf("%s: model.merges[%d]: %w", file, i, err)
		}
		if len(two) != 2 {
			return nil, fmt.Errorf("%s: model.merges[%d]: want two parts", file, i)
		}
		merges[i] = [2]string{two[0], two[1]}
	}
	return newCLIP(file, file, js.Model.Vocab, merges, s)
}

func parseMerges(file string, data []byte) ([][2]string, error) {
	ls, err := lines(file, data)
	if err != nil {
		return nil, err
	}
	merges := make([][2]string, 0, len(ls))
	for i, l := range ls {
		if l == "" || strings.HasPrefix(l, "#version") {
			continue
		}
		a, b, ok := strings.Cut(l, " ")
		if !ok || a == "" || b == "" || strings.Contains(b, " ") {
			return nil, fmt.Errorf("%s: line %d: %q, want two parts", file, i+1, l)
		}
		merges = append(merges, [2]string{a, b})
	}
	return merges, nil
}

func newCLIP(file, mfile string, ids map[string]int32, merges [][2]string, s *settings) (*CLIP, error) {
	t, err := newTable(file, ids)
	if err != nil {
		return nil, err
	}
	mm := make(bpemodel.MergeMap, len(merges))
	for i, m := range merges {
		a, okA := ids[m[0]]
		b, okB := ids[m[1]]
		ab, ok := ids[m[0]+m[1]]
		if !okA || !okB || !ok {
			return nil, fmt.Errorf("%s: merge %d of %q and %q: not in %s", mfile, i+1, m[0], m[1], file)
		}
		mm.Set(int(a), int(b), bpemodel.MergeValue{Rank: i, ID: int(ab)})
	}
	c := &CLIP{t: t, merges: mm}
	r := s.config.Reader()
	r.Only("padding_side", "right", "texts are padded at their end")
	r.Only("truncation_side", "right", "texts are cut at their end")
	if n := r.Real("model_max_length", math.Inf(1)); n < 1<<20 { // transformers writes 10^30 for none
		c.Max = r.Within("model_max_length", 0, 3, 1<<20)
	}
	if r.Err() != nil {
		return nil, r.Err()
	}
	if c.unk, err = s.need(t, "unk_token"); err != nil {
		return nil, err
	}
	for b, r := range byteRunes {
		for end, suffix := range []string{"", wordEnd} {
			id, ok := ids[string(r)+suffix]
			if !ok {
				id = c.unk
			}
			c.bytes[end][b] = id
		}
	}
	if c.BOS, err = s.need(t, "bos_token"); err != nil {
		return nil, err
	}
	if c.EOS, err = s.need(t, "eos_token"); err != nil {
		return nil, err
	}
	t.normalize = normalizeCLIP
	s.apply(t)
	t.build(normalizeCLIP)
	c.Pad, _ = t.id(s.token["pad_token"].text)
	return c, nil
}

// Limit is how many tokens a text has for a net that takes so many at most.
func (c *CLIP) Limit(length int) int {
	if c.Max > 0 {
		return min(length, c.Max)
	}
	return length
}

// Encode is the ids of the text between BOS and EOS. Where the length is more
// than 0 they are cut to it, EOS kept, or padded to it.
func (c *CLIP) Encode(text string, length int) []int32 {
	e, err := c.Tokenize(context.Background(), text, length)
	if err != nil { // the background is never done
		panic(err)
	}
	return e.IDs
}

// Tokenize is Encode that tells what was cut, and that ends with the context's
// error when the context does.
func (c *CLIP) Tokenize(ctx context.Context, text string, length int) (*Encoding, error) {
	s := newSink(ctx, text, room(length))
	if s.err != nil {
		return nil, s.err
	}
	text = clean(&s.pace, c.clean, valid(text))
	c.t.encode(s, text, c.pieces)
	return s.finish(text, c.BOS, c.EOS, c.Pad, length)
}

// Tokens is the text's tokens as the vocabulary spells them, BOS and EOS too.
func (c *CLIP) Tokens(text string) []string { return c.t.names(c.Encode(text, 0)) }

// Decode is the text of ids. Special tokens are left out.
func (c *CLIP) Decode(ids []int32) string {
	var out []byte
	for _, id := range ids {
		w, ok := c.t.word(id)
		if !ok || c.t.skip[id] {
			continue
		}
		out = appendBytes(out, w)
	}
	s := strings.ReplaceAll(lossy(out), wordEnd, " ")
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f })
}

// normalizeCLIP composes, makes one space of white space and drops case.
func normalizeCLIP(p *pace, s string) *aligned {
	cs := chars(p, s)
	if !ascii(s) {
		cs = compose(p, decompose(p, cs))
	}
	a := newAligned(len(s))
	space := false
	for _, c := range cs {
		if p.stop() {
			break
		}
		was := space
		if space = isSpace(c.r); !space {
			a.addLower(c.r, c.at)
		} else if !was {
			a.add(' ', c.at)
		}
	}
	return a
}

// pieces are the tokens of normalized text.
func (c *CLIP) pieces(s *sink, a *aligned, text string, from, to, base int) {
	words := literals[:]
	simple := c.simple()
	if simple && c.clean != OpenAI {
		words = openLiterals[:]
	}
	for from < to && s.err == nil {
		n, word := piece(text[from:to], words, simple)
		p := text[from : from+n]
		switch {
		case !word:
		case simple:
			if id, ok := c.special(p); ok {
				s.add(id, base+int(a.at[from]))
				break
			}
			c.word(s, a, from, from+n, base)
		case p == literals[0] || p == literals[1]: // the library's byte level cuts these once more
			c.word(s, a, from, from+2, base)
			c.word(s, a, from+2, from+n-2, base)
			c.word(s, a, from+n-2, from+n, base)
		default:
			c.word(s, a, from, from+n, base)
		}
		from += n
	}
}

// The words that are whole pieces, in the order of the patterns of OpenAI and
// transformers, and of open_clip.
var (
	literals     = [...]string{"<|startoftext|>", "<|endoftext|>", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}
	openLiterals = [...]string{"<start_of_text>", "<end_of_text>", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}
)

// piece is the length of the first piece, which is a word or white space. The
// patterns of OpenAI and open_clip, unlike that of transformers, ignore case.
func piece(s string, words []string, fold bool) (int, bool) {
	if s[0] == '<' || s[0] == '\'' {
		for _, w := range words {
			if strings.HasPrefix(s, w) {
				return len(w), true
			}
			if n, ok := foldedPrefix(s, w); fold && ok {
				return n, true
			}
		}
	}
	kind := kindOf
	if fold {
		kind = newKindOf
	}
	r, n := utf8.DecodeRuneInString(s)
	first := kind(r)
	if first == number {
		return n, true
	}
	for n < len(s) {
		r, m := utf8.DecodeRuneInString(s[n:])
		if kind(r) != first {
			break
		}
		n += m
	}
	return n, first != space
}

// newKindOf is kindOf by Python's regex and without regard to case: in its newer
// Unicode, and with a mark whose other case is a letter, iota, in no class.
func newKindOf(r rune) int {
	switch {
	case r == 0x345:
		return space
	case r >= newLetters[0][0] && in(newLetters, r):
		return letter
	case r >= newNumbers[0][0] && in(newNumbers, r):
		return number
	}
	return kindOf(r)
}

// foldedPrefix is the length of the beginning of s that is the word but for
// case.
func foldedPrefix(s, word string) (int, bool) {
	n := 0
	for range word {
		_, m := utf8.DecodeRuneInString(s[n:])
		n += m
	}
	return n, strings.EqualFold(s[:n], word)
}

const (
	other = iota
	letter
	number
	space
)

func kindOf(r rune) int {
	switch {
	case isLetter(r):
		return letter
	case isNumber(r):
		return number
	case isSpace(r):
		return space
	}
	return other
}

// symbol is a part of a word that is being merged, linked to its neighbours.
type symbol struct {
	id         int32
	from       int32 // its first byte
	prev, next int32 // -1 at the ends
	gone       bool
}

// word adds the tokens of one word: neighbours are merged, the first rule of
// the vocabulary first and of equal ones the leftmost. Rules and queue are those
// of gotokenizers, whose own loop drops what was merged in quadratic time.
func (c *CLIP) word(s *sink, a *aligned, from, to, base int) {
	n := to - from
	syms := make([]symbol, n)
	var queue bpemodel.WordMergeHeap
	push := func(left, right int32) {
		if m, ok := c.merges.Get(int(syms[left].id), int(syms[right].id)); ok {
			heap.Push(&queue, bpemodel.WordMerge{MergeValue: m, Pos: int(left)})
		}
	}
	for i := range syms {
		end := 0
		if i == n-1 {
			end = 1
		}
		syms[i] = symbol{c.bytes[end][a.text[from+i]], int32(from + i), int32(i) - 1, int32(i) + 1, false}
		if i > 0 {
			push(int32(i)-1, int32(i))
		}
	}
	syms[n-1].next = -1
	for len(queue) > 0 {
		if s.stop() {
			return
		}
		m := heap.Pop(&queue).(bpemodel.WordMerge)
		left := &syms[m.Pos]
		if left.gone || left.next < 0 {
			continue
		}
		right := &syms[left.next]
		// The pair may have become another one since it was queued.
		if v, ok := c.merges.Get(int(left.id), int(right.id)); !ok || v.ID != m.ID {
			continue
		}
		left.id, left.next, right.gone = int32(m.ID), right.next, true
		if left.next >= 0 {
			syms[left.next].prev = int32(m.Pos)
			push(int32(m.Pos), left.next)
		}
		if left.prev >= 0 {
			push(left.prev, int32(m.Pos))
		}
	}
	for i := int32(0); i >= 0; i = syms[i].next {
		s.add(syms[i].id, base+int(a.at[syms[i].from]))
	}
}

// byteRunes are the characters that stand for bytes, and runeBytes the way
// back. alphabet has them in the order of the vocabulary.
var (
	byteRunes [256]rune
	runeBytes = map[rune]byte{}
	alphabet  = func() []rune {
		var out []rune
		for _, r := range [][2]int{{'!', '~'}, {'¡', '¬'}, {'®', 'ÿ'}} {
			for b := r[0]; b <= r[1]; b++ {
				byteRunes[b] = rune(b)
				out = append(out, rune(b))
			}
		}
		n := rune(256)
		for b := range byteRunes {
			if byteRunes[b] == 0 {
				byteRunes[b] = n
				out = append(out, n)
				n++
			}
			runeBytes[byteRunes[b]] = byte(b)
		}
		return out
	}()
)

// appendBytes appends the bytes that a token stands for, or the token itself
// where it has other characters.
func appendBytes(out []byte, w string) []byte {
	n := len(out)
	for _, r := range w {
		b, ok := runeBytes[r]
		if !ok {
			return append(out[:n], w...)
		}
		out = append(out, b)
	}
	return out
}
