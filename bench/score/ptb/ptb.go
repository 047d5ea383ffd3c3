// Package ptb splits captions into tokens as CoreNLP 3.4.1's PTBTokenizer does
// when the COCO caption tools start it: Penn Treebank tokens in lower case,
// without punctuation.
package ptb

import (
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"parley/bench/score/workers"
)

// punctuation is what the COCO tools drop. They compare after lower-casing, so
// that brackets ("-lrb-") stay, and so do they here.
var punctuation = [...]string{"''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"}

// foresight is how many UTF-16 units of the captions behind one are looked at:
// the longest context of a rule is an acronym's, some spaces and a word.
const foresight = 64

// Tokenizer splits captions. It may be used by several goroutines.
type Tokenizer struct{ free sync.Pool }

// New makes a tokenizer.
func New() *Tokenizer {
	g, err := newGrammar(rules(), sets())
	if err != nil {
		panic(err) // the rules are constants
	}
	t := &Tokenizer{}
	t.free.New = func() any { return &reader{lexer: newLexer(g)} }
	return t
}

// Caption returns a caption's tokens with a space between two. It is tokenized
// for itself: as the last line of a file.
func (t *Tokenizer) Caption(s string) string { return t.Captions([]string{s})[0] }

// Captions returns the tokens of each caption with a space between two, as the
// COCO tools give them, who write all captions to one file, a line each: whether
// "plan B." ends a sentence depends on the line that follows. A token never
// reaches into the next caption.
func (t *Tokenizer) Captions(captions []string) []string {
	out := make([]string, len(captions))
	workers.Each(len(captions), 512, &t.free, func(r *reader, i int) { out[i] = r.read(captions, i) })
	return out
}

// reader holds what tokenizing a caption needs.
type reader struct {
	lexer *lexer
	text  []uint16
	line  []byte
}

// appendUTF16 appends s, about most units of it at most.
func appendUTF16(to []uint16, s string, most int) []uint16 {
	if len(s) > 4*most {
		s = s[:4*most]
	}
	for i := 0; i < len(s) && most > 0; most-- {
		c := s[i]
		if c >= utf8.RuneSelf {
			u, n := utf8.DecodeRuneInString(s[i:])
			to = utf16.AppendRune(to, u)
			i += n
			continue
		}
		if c == '\n' {
			c = ' '
		}
		to = append(to, uint16(c))
		i++
	}
	return to
}

func (r *reader) read(captions []string, i int) string {
	r.text = appendUTF16(r.text[:0], captions[i], len(captions[i]))
	end := len(r.text)
	for j := i + 1; j < len(captions) && len(r.text) < end+foresight; j++ {
		r.text = appendUTF16(append(r.text, '\n'), captions[j], end+foresight-len(r.text))
	}
	l := r.lexer
	clear(l.dead)
	r.line = r.line[:0]
	for at := 0; at < end; {
		which, n := l.match(r.text, at, end)
		if which < 0 { // the last rule takes anything
			at++
			continue
		}
		rule := &l.rules[which]
		if rule.drop {
			at += n
			continue
		}
		token := r.text[at : at+n]
		switch {
		case rule.split && n == 2:
			token, n = token[:1], 1
		case rule.split:
			n -= rule.back
		case rule.back > 1: // cannot: can not
			n -= rule.back
			token = token[:n]
		case rule.back == 1: // etc. at the end of a sentence: "etc." and "."
			n--
		}
		at += n
		r.write(token, rule.emit)
	}
	return strings.TrimRightFunc(string(r.line), Space)
}

// write appends a token in lower case unless it is punctuation.
func (r *reader) write(token []uint16, emit func(string) string) {
	start := len(r.line)
	if start > 0 {
		r.line = append(r.line, ' ')
	}
	from, plain := len(r.line), emit == nil
	ascii := true
	for _, u := range token {
		if u >= 0x80 || !plain && !('a' <= u|0x20 && u|0x20 <= 'z') {
			ascii = false
			break
		}
		if 'A' <= u && u <= 'Z' {
			u += 'a' - 'A'
		}
		r.line = append(r.line, byte(u))
	}
	if !ascii {
		s := string(utf16.Decode(token))
		if emit != nil {
			s = emit(s)
		}
		r.line = append(r.line[:from], lower(s)...)
	}
	if t := r.line[from:]; len(t) == 0 || len(t) < 4 && slices.Contains(punctuation[:], string(t)) {
		r.line = r.line[:start]
	}
}

// lower is Java's: a capital sigma at the end of a word becomes ς, and İ keeps
// its dot.
func lower(s string) string {
	if !strings.ContainsAny(s, "\u03A3\u0130") {
		return strings.ToLower(s)
	}
	in := []rune(s)
	var b strings.Builder
	for i, u := range in {
		switch {
		case u == 'İ':
			b.WriteString("i\u0307")
		case u == 'Σ' && cased(in[:i], -1) && !cased(in[i+1:], 1):
			b.WriteRune('ς')
		default:
			b.WriteRune(unicode.ToLower(u))
		}
	}
	return b.String()
}

// cased reports whether the word that goes on from here, read forward (1) or
// backward (-1), has a letter with a case.
func cased(in []rune, step int) bool {
	for i := range in {
		if step < 0 {
			i = len(in) - 1 - i
		}
		switch u := in[i]; {
		case unicode.IsUpper(u) || unicode.IsLower(u) || unicode.IsTitle(u):
			return true
		case !unicode.In(u, unicode.L, unicode.M, unicode.Nd, unicode.Cf) && !strings.ContainsRune("-'._", u):
			return false
		}
	}
	return false
}

// Space reports whether Python's str.split splits at r.
func Space(r rune) bool { return unicode.IsSpace(r) || 0x1C <= r && r <= 0x1F }
