package vocab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"
)

// BERT is the tokenizer of BERT's text models, BLIP's among them.
type BERT struct {
	CLS, SEP, Pad, Unk int32

	t                      *table
	longest                int // of the model's words, in bytes
	lower, accents, spaced bool
	tidy                   bool
}

var bertTokens = map[string]string{
	"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]",
}

// bertWords is the size of the vocabulary of bert-base-uncased, to which BLIP
// adds two tokens.
const bertWords = 30522

// LoadBERT reads vocab.txt of a folder, or its tokenizer.json. A vocabulary of
// 30522 words gets BLIP's [DEC] and [ENC].
func LoadBERT(fsys fs.FS, dir string) (*BERT, error) { return loadBERT(fsys, dir, true) }

// LoadSBERT is LoadBERT without BLIP's tokens, which a BERT does not know.
func LoadSBERT(fsys fs.FS, dir string) (*BERT, error) { return loadBERT(fsys, dir, false) }

func loadBERT(fsys fs.FS, dir string, blip bool) (*BERT, error) {
	file := path.Join(dir, "vocab.txt")
	data, err := fs.ReadFile(fsys, file)
	if errors.Is(err, fs.ErrNotExist) {
		return loadBERTJSON(fsys, dir, blip)
	}
	if err != nil {
		return nil, err
	}
	t, err := parseWords(file, data)
	if err != nil {
		return nil, err
	}
	s, err := readSettings(fsys, dir, nil, bertTokens)
	if err != nil {
		return nil, err
	}
	return newBERT(t, s, nil, blip)
}

func loadBERTJSON(fsys fs.FS, dir string, blip bool) (*BERT, error) {
	file := path.Join(dir, "tokenizer.json")
	js, err := readTokenizerJSON(fsys, file, "WordPiece")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no vocab.txt and no tokenizer.json: %w", dir, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	t, err := newTable(file, js.Model.Vocab)
	if err != nil {
		return nil, err
	}
	s, err := readSettings(fsys, dir, js, bertTokens)
	if err != nil {
		return nil, err
	}
	return newBERT(t, s, js, blip)
}

// parseWords reads a word a line; of words that are there twice the last counts.
func parseWords(file string, data []byte) (*table, error) {
	ls, err := lines(file, data)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]int32, len(ls))
	for i, l := range ls {
		ids[l] = int32(i)
	}
	t := &table{file: file, ids: ids, words: ls, index: map[string]int{}, skip: map[int32]bool{}}
	for i, l := range ls {
		if ids[l] != int32(i) {
			ls[i] = absent
		}
	}
	return t, nil
}

// newBERT adds BLIP's tokens where they are asked for and missing.
func newBERT(t *table, s *settings, js *tokenizerJSON, blip bool) (*BERT, error) {
	b := &BERT{t: t, lower: true, spaced: true}
	var strip *bool
	if js != nil && len(js.Normalizer) > 0 {
		n := struct {
			Type      string
			Lowercase *bool
			Strip     *bool `json:"strip_accents"`
			Chinese   *bool `json:"handle_chinese_chars"`
		}{}
		if err := json.Unmarshal(js.Normalizer, &n); err != nil {
			return nil, fmt.Errorf("%s: normalizer: %w", t.file, err)
		}
		if n.Lowercase != nil {
			b.lower = *n.Lowercase
		}
		if n.Chinese != nil {
			b.spaced = *n.Chinese
		}
		strip = n.Strip
	}
	var err error
	get := func(key string, def bool) bool {
		if !s.config.Has(key) { // null leaves strip_accents to do_lower_case
			return def
		}
		v, e := s.config.Bool(key, def)
		err = errors.Join(err, e)
		return v
	}
	b.lower = get("do_lower_case", b.lower)
	b.spaced = get("tokenize_chinese_chars", b.spaced)
	b.accents = !b.lower
	if strip != nil {
		b.accents = !*strip
	}
	b.accents = !get("strip_accents", !b.accents)
	b.tidy = get("clean_up_tokenization_spaces", false)
	r := s.config.Reader()
	if !blip { // whose prompts are not cut
		r.Only("truncation_side", "right", "texts are cut at their end")
	}
	if err = errors.Join(err, r.Err()); err != nil {
		return nil, err
	}
	for key, id := range map[string]*int32{"cls_token": &b.CLS, "sep_token": &b.SEP, "pad_token": &b.Pad, "unk_token": &b.Unk} {
		if *id, err = s.need(t, key); err != nil {
			return nil, err
		}
	}
	for w := range t.ids {
		b.longest = max(b.longest, len(w))
	}
	t.normalize = b.normalize
	blip = blip && len(t.words) == bertWords
	s.apply(t)
	if blip {
		for _, w := range []string{"[DEC]", "[ENC]"} {
			if _, ok := t.id(w); !ok {
				t.add(token{text: w, special: true})
			}
		}
	}
	t.build(b.normalize)
	return b, nil
}

// Encode is the ids of the text between [CLS] and [SEP].
func (b *BERT) Encode(text string) []int32 {
	e, err := b.Tokenize(context.Background(), text, 0)
	if err != nil { // the background is never done
		panic(err)
	}
	return e.IDs
}

// Tokenize is Encode that, where the length is more than 0, cuts to it, [SEP]
// kept, or pads to it; it tells what was cut and ends with the context's error
// when the context does.
func (b *BERT) Tokenize(ctx context.Context, text string, length int) (*Encoding, error) {
	s := newSink(ctx, text, room(length))
	if s.err != nil {
		return nil, s.err
	}
	text = valid(text)
	b.t.encode(s, text, b.pieces)
	return s.finish(text, b.CLS, b.SEP, b.Pad, length)
}

// Tokens is the text's tokens as the vocabulary spells them, [CLS] and [SEP] too.
func (b *BERT) Tokens(text string) []string { return b.t.names(b.Encode(text)) }

// steps are what tidy replaces, in order.
var steps = [][2]string{{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"},
	{" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}}

func tidy(s string) string {
	for _, r := range steps {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s
}

// Decode is the text of ids. Special tokens are left out.
func (b *BERT) Decode(ids []int32) string {
	var out strings.Builder
	first := true
	for _, id := range ids {
		w, ok := b.t.word(id)
		if !ok || b.t.skip[id] {
			continue
		}
		if !first {
			if p, ok := strings.CutPrefix(w, "##"); ok {
				w = p
			} else {
				w = " " + w
			}
		}
		first = false
		out.WriteString(tidy(w))
	}
	if b.tidy {
		return tidy(out.String())
	}
	return out.String()
}

// normalize drops control characters, sets Chinese characters apart, and drops
// accents and case.
func (b *BERT) normalize(p *pace, s string) *aligned {
	cs := make([]char, 0, len(s))
	for i, r := range s {
		at := int32(i)
		switch {
		case p.stop():
		case isSpace(r) && (r <= '\r' && r != '\v' && r != '\f' || r > 0x85):
			cs = append(cs, char{r: ' ', at: at})
		case isControl(r):
		case b.spaced && isChinese(r):
			cs = append(cs, char{r: ' ', at: at}, char{r: r, at: at}, char{r: ' ', at: at})
		default:
			cs = append(cs, char{r: r, at: at})
		}
	}
	accents := b.accents || ascii(s)
	if !accents {
		cs = decompose(p, cs)
	}
	a := newAligned(len(s))
	for _, c := range cs {
		switch {
		case p.stop() || !accents && isAccent(c.r):
		case b.lower:
			a.addLower(c.r, c.at)
		default:
			a.add(c.r, c.at)
		}
	}
	return a
}

func isChinese(r rune) bool {
	return r >= 0x4e00 && r <= 0x9fff || r >= 0x3400 && r <= 0x4dbf ||
		r >= 0x20000 && r <= 0x2a6df || r >= 0x2a700 && r <= 0x2b73f ||
		r >= 0x2b740 && r <= 0x2b81f || r >= 0x2b920 && r <= 0x2ceaf ||
		r >= 0xf900 && r <= 0xfaff || r >= 0x2f800 && r <= 0x2fa1f
}

// pieces are the tokens of normalized text: words at white space, punctuation
// by itself.
func (b *BERT) pieces(s *sink, a *aligned, text string, from, to, base int) {
	start := from
	for i, r := range text[from:to] {
		space, punct := isSpace(r), isPunct(r)
		if !space && !punct || s.stop() {
			continue
		}
		i += from
		if start < i {
			b.word(s, a, start, i, base)
		}
		start = i + utf8.RuneLen(r)
		if punct {
			b.word(s, a, i, start, base)
		}
	}
	if start < to {
		b.word(s, a, start, to, base)
	}
}

// maxWord is the longest word, in characters, that is cut into pieces.
const maxWord = 100

// word adds the longest pieces from the left. (The model of gotokenizers misses
// pieces beyond ASCII.)
func (b *BERT) word(s *sink, a *aligned, from, to, base int) {
	type piece struct {
		id int32
		at int
	}
	var out []piece
	buf := make([]byte, 0, b.longest)
	long := to-from > maxWord && utf8.RuneCount(a.text[from:to]) > maxWord
	for pos := from; pos < to && !long; {
		buf = buf[:0]
		if pos > from {
			buf = append(buf, "##"...)
		}
		head := len(buf)
		buf = append(buf, a.text[pos:min(to, pos+b.longest)]...)
		id, ok := int32(0), false
		for len(buf) > head {
			if id, ok = b.t.ids[string(buf)]; ok {
				break
			}
			_, size := utf8.DecodeLastRune(buf)
			buf = buf[:len(buf)-size]
		}
		if !ok {
			break
		}
		out = append(out, piece{id, pos})
		pos += len(buf) - head
		if pos == to {
			for _, p := range out {
				s.add(p.id, base+int(a.at[p.at]))
			}
			return
		}
	}
	s.add(b.Unk, base+int(a.at[from]))
}
