package vocab

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// pace asks the context now and then whether to go on.
type pace struct {
	ctx context.Context
	n   int
	err error
}

// stop is whether the work is to end, and err why.
func (p *pace) stop() bool {
	if p.n++; p.n&0xfff == 0 && p.err == nil {
		p.err = p.ctx.Err()
	}
	return p.err != nil
}

// ended asks at once.
func (p *pace) ended() bool {
	if p.err == nil {
		p.err = p.ctx.Err()
	}
	return p.err != nil
}

// char is a character on its way through the normal forms: its combining
// class, and the byte of the source that it comes from.
type char struct {
	r   rune
	at  int32
	ccc uint8
}

// aligned is normalized text, and for each of its bytes the byte of the source
// at which the character behind it begins.
type aligned struct {
	text []byte
	at   []int32
}

func (a *aligned) add(r rune, at int32) {
	a.text = utf8.AppendRune(a.text, r)
	for len(a.at) < len(a.text) {
		a.at = append(a.at, at)
	}
}

// addLower adds the lower case of each character by itself, with no rule for a
// final sigma.
func (a *aligned) addLower(r rune, at int32) {
	if r == 'İ' {
		a.add('i', at)
		r = '\u0307'
	}
	a.add(lowerRune(r), at)
}

func newAligned(n int) *aligned {
	return &aligned{make([]byte, 0, n+n/8), make([]int32, 0, n+n/8)}
}

// Hangul syllables compose by arithmetic.
const (
	hangulS, hangulL, hangulV, hangulT = 0xac00, 0x1100, 0x1161, 0x11a7
	countL, countV, countT             = 19, 21, 28
)

// late is a character of Unicode 13, which the tokenizers library neither takes
// apart nor puts together.
const late = 0x11938

func chars(p *pace, s string) []char {
	out := make([]char, 0, len(s))
	for i, r := range s {
		if p.stop() {
			break
		}
		out = append(out, char{r: r, at: int32(i)})
	}
	return out
}

// decompose is the canonical decomposition (NFD). Unlike norm.NFD it puts no
// grapheme joiner into long runs of marks.
func decompose(p *pace, cs []char) []char {
	out := make([]char, 0, len(cs)+len(cs)/8)
	first := 0 // of the run of marks at the end of out
	add := func(r rune, at int32) {
		c := class(r)
		if c == 0 {
			sortMarks(out[first:])
			first = len(out) + 1
		}
		out = append(out, char{r, at, c})
	}
	var buf [utf8.UTFMax]byte
	for _, c := range cs {
		if p.stop() {
			break
		}
		switch r := c.r; {
		case r < 0xc0 || r == late:
			add(r, c.at)
		case r >= hangulS && r < hangulS+countL*countV*countT:
			n := r - hangulS
			add(hangulL+n/(countV*countT), c.at)
			add(hangulV+n/countT%countV, c.at)
			if t := n % countT; t != 0 {
				add(hangulT+t, c.at)
			}
		default:
			d := norm.NFD.Properties(buf[:utf8.EncodeRune(buf[:], r)]).Decomposition()
			if d == nil {
				add(r, c.at)
			}
			for _, q := range string(d) {
				add(q, c.at)
			}
		}
	}
	if first < len(out) {
		sortMarks(out[first:])
	}
	return out
}

// sortMarks puts a run of marks into canonical order: by class, and those of
// one class as they were. Counting keeps long runs linear.
func sortMarks(run []char) {
	byClass := func(a, b char) int { return cmp.Compare(a.ccc, b.ccc) }
	if len(run) < 32 {
		slices.SortStableFunc(run, byClass)
		return
	}
	var place [256]int
	for _, c := range run {
		place[c.ccc]++
	}
	n := 0
	for k, count := range place {
		place[k] = n
		n += count
	}
	sorted := make([]char, len(run))
	for _, c := range run {
		sorted[place[c.ccc]] = c
		place[c.ccc]++
	}
	copy(run, sorted)
}

// compose puts decomposed characters together (NFC), in place.
func compose(p *pace, cs []char) []char {
	out := cs[:0]
	starter, last := -1, uint8(0)
	for _, c := range cs {
		if p.stop() {
			break
		}
		if starter >= 0 && (last < c.ccc || starter == len(out)-1 && last == 0) {
			if r, ok := pair(out[starter].r, c.r); ok {
				out[starter].r = r
				continue
			}
		}
		if c.ccc == 0 {
			starter = len(out)
		}
		last = c.ccc
		out = append(out, c)
	}
	return out
}

// class is the canonical combining class.
func class(r rune) uint8 {
	if r < 0x300 || in(unordered, r) {
		return 0
	}
	var buf [utf8.UTFMax]byte
	return norm.NFC.Properties(buf[:utf8.EncodeRune(buf[:], r)]).CCC()
}

// pair is the primary composite of two characters.
func pair(a, b rune) (rune, bool) {
	if b < 0x300 {
		return 0, false
	}
	switch {
	case a >= hangulL && a < hangulL+countL && b >= hangulV && b < hangulV+countV:
		return hangulS + ((a-hangulL)*countV+b-hangulV)*countT, true
	case a >= hangulS && a < hangulS+countL*countV*countT && (a-hangulS)%countT == 0 && b > hangulT && b < hangulT+countT:
		return a + b - hangulT, true
	}
	var buf [2 * utf8.UTFMax]byte
	two := utf8.AppendRune(utf8.AppendRune(buf[:0], a), b)
	if norm.NFC.IsNormal(two) {
		return 0, false
	}
	s := norm.NFC.Bytes(two)
	r, n := utf8.DecodeRune(s)
	if n != len(s) || r == late {
		return 0, false
	}
	// x/text looks pairs up by the lower 16 bits: it takes U+E0047 (a tag) for a G.
	if a > 0xffff || b > 0xffff {
		return r, norm.NFD.String(string(r)) == norm.NFD.String(string(a))+norm.NFD.String(string(b))
	}
	return r, true
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func lowerRune(r rune) rune {
	if r >= lowered[0][0] {
		if i, ok := slices.BinarySearchFunc(lowered, r, func(x [2]rune, r rune) int { return cmp.Compare(x[0], r) }); ok {
			return lowered[i][1]
		}
	}
	return unicode.ToLower(r)
}

// in is whether one of the ranges, which are in order, has the character.
func in(ranges [][2]rune, r rune) bool {
	i, j := 0, len(ranges)
	for i < j {
		h := (i + j) / 2
		if ranges[h][1] < r {
			i = h + 1
		} else {
			j = h
		}
	}
	return i < len(ranges) && ranges[i][0] <= r
}

func isLetter(r rune) bool {
	return r|0x20 >= 'a' && r|0x20 <= 'z' || r >= utf8.RuneSelf && in(letters, r)
}

func isNumber(r rune) bool {
	return r >= '0' && r <= '9' || r >= utf8.RuneSelf && in(numbers, r)
}

func isSpace(r rune) bool   { return unicode.IsSpace(r) }
func isControl(r rune) bool { return in(controls, r) }
func isAccent(r rune) bool  { return r >= 0x300 && in(accents, r) }
func isPunct(r rune) bool   { return in(punctuation, r) }

// isWord is what a token of a single word may not stand beside: \w of
// Unicode's regular expressions.
func isWord(r rune) bool {
	return isLetter(r) || r == '_' || r == '\u200c' || r == '\u200d' ||
		unicode.In(r, unicode.Nd, unicode.Nl, unicode.M, unicode.Pc, unicode.Other_Alphabetic)
}

// lossy is the text of bytes that may not be UTF-8, with one U+FFFD for each
// maximal part of a character.
func lossy(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	for len(b) > 0 {
		if r, n := utf8.DecodeRune(b); r != utf8.RuneError || n > 1 {
			out.Write(b[:n])
			b = b[n:]
			continue
		}
		out.WriteRune(utf8.RuneError)
		b = b[badLen(b):]
	}
	return out.String()
}

// badLen is the length of the longest prefix that begins a character, or 1.
func badLen(b []byte) int {
	lo, hi, want := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		want = 2
	case c >= 0xe0 && c <= 0xef:
		want = 3
		if c == 0xe0 {
			lo = 0xa0
		} else if c == 0xed {
			hi = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		want = 4
		if c == 0xf0 {
			lo = 0x90
		} else if c == 0xf4 {
			hi = 0x8f
		}
	}
	n := 1
	for n < want && n < len(b) && b[n] >= lo && b[n] <= hi {
		n++
		lo, hi = 0x80, 0xbf
	}
	return n
}
