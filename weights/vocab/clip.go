package vocab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nlpodyssey/gotokenizers/models/bpemodel"
	"github.com/nlpodyssey/gotokenizers/vocabulary"
)

// CLIP is the tokenizer of CLIP's text models.
type CLIP struct {
	BOS, EOS, Pad int32

	t   *table
	bpe *bpemodel.BPEModel
}

const wordEnd = "</w>"

var clipTokens = map[string]string{
	"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
	"unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
}

// LoadCLIP reads vocab.json and merges.txt of a folder, or its tokenizer.json
// where it has neither.
func LoadCLIP(fsys fs.FS, dir string) (*CLIP, error) {
	file, mfile := path.Join(dir, "vocab.json"), path.Join(dir, "merges.txt")
	data, err := fs.ReadFile(fsys, file)
	mdata, merr := fs.ReadFile(fsys, mfile)
	if errors.Is(err, fs.ErrNotExist) && errors.Is(merr, fs.ErrNotExist) {
		return loadCLIPJSON(fsys, dir)
	}
	if err := errors.Join(err, merr); err != nil {
		return nil, err
	}
	var ids map[string]int32
	if err := json.Unmarshal(data, &ids); err != nil {
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
		return nil, fmt.Errorf("%s: no vocab.json and merges.txt, and no tokenizer.json: %w", dir, fs.ErrNotExist)
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
	v := vocabulary.NewVocabulary()
	for i, w := range t.words {
		if w == absent {
			w = fmt.Sprint(absent, i)
		}
		v.AddTerm(w)
	}
	if v.Size() != len(t.words) {
		return nil, fmt.Errorf("%s: a word begins with NUL", file)
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
	if _, err := s.need(t, "unk_token"); err != nil {
		return nil, err
	}
	c := &CLIP{t: t, bpe: bpemodel.New(v, &mm, 0, 0, s.token["unk_token"].text, "", wordEnd, false)}
	if c.BOS, err = s.need(t, "bos_token"); err != nil {
		return nil, err
	}
	if c.EOS, err = s.need(t, "eos_token"); err != nil {
		return nil, err
	}
	s.apply(t)
	c.Pad, _ = t.id(s.token["pad_token"].text)
	return c, nil
}

// Encode is the ids of the text between BOS and EOS. Where the length is more
// than 0 they are cut to it, EOS kept, or padded to it.
func (c *CLIP) Encode(text string, length int) []int32 {
	out := []int32{c.BOS}
	text = strings.ToValidUTF8(text, "\ufffd")
	c.t.split(text, false, func(gap string, id int32) {
		if id >= 0 {
			out = append(out, id)
			return
		}
		c.t.split(lower(compose(gap)), true, func(gap string, id int32) {
			if id >= 0 {
				out = append(out, id)
				return
			}
			out = c.pieces(out, gap)
		})
	})
	if length > 0 && len(out) >= length {
		out = out[:length-1]
	}
	out = append(out, c.EOS)
	for len(out) < length {
		out = append(out, c.Pad)
	}
	return out
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

// pieces are the ids of normalized text.
func (c *CLIP) pieces(out []int32, s string) []int32 {
	for s != "" {
		n, word := piece(s)
		if !word {
			s = s[n:]
			continue
		}
		p := s[:n]
		s = s[n:]
		if len(p) > 3 && strings.HasPrefix(p, "<|") && strings.HasSuffix(p, "|>") && isLetter(rune(p[2])) {
			out = c.word(out, "<|")
			out = c.word(out, p[2:len(p)-2])
			p = "|>"
		}
		out = c.word(out, p)
	}
	return out
}

var literals = []string{"<|startoftext|>", "<|endoftext|>", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// piece is the length of the first piece, which is a word or white space.
func piece(s string) (int, bool) {
	if s[0] == '<' || s[0] == '\'' {
		for _, l := range literals {
			if strings.HasPrefix(s, l) {
				return len(l), true
			}
		}
	}
	r, n := utf8.DecodeRuneInString(s)
	kind := kindOf(r)
	if kind == number {
		return n, true
	}
	for n < len(s) {
		r, m := utf8.DecodeRuneInString(s[n:])
		if kindOf(r) != kind {
			break
		}
		n += m
	}
	return n, kind != space
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

func (c *CLIP) word(out []int32, p string) []int32 {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		b.WriteRune(byteRunes[p[i]])
	}
	toks, err := c.bpe.Tokenize(b.String())
	if err != nil { // only where the vocabulary has no unknown token
		return out
	}
	for _, t := range toks {
		out = append(out, int32(t.ID))
	}
	return out
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
