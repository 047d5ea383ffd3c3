package vocab

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Hangul syllables compose by arithmetic.
const (
	hangulS, hangulL, hangulV, hangulT = 0xac00, 0x1100, 0x1161, 0x11a7
	countL, countV, countT             = 19, 21, 28
)

// decompose is the canonical decomposition (NFD). Unlike norm.NFD it puts no
// grapheme joiner into long runs of marks.
func decompose(s string) []rune {
	out := make([]rune, 0, len(s)+8)
	var ccc []uint8
	mark := -1 // start of the run of marks
	var buf [utf8.UTFMax]byte
	add := func(r rune) {
		var c uint8
		if r >= 0x300 {
			c = norm.NFD.Properties(buf[:utf8.EncodeRune(buf[:], r)]).CCC()
		}
		if c == 0 {
			sortMarks(out, ccc, mark)
			mark = -1
		} else if mark < 0 {
			mark = len(out)
		}
		out, ccc = append(out, r), append(ccc, c)
	}
	for _, r := range s {
		switch {
		case r < 0xc0:
			add(r)
		case r >= hangulS && r < hangulS+countL*countV*countT:
			n := r - hangulS
			add(hangulL + n/(countV*countT))
			add(hangulV + n/countT%countV)
			if t := n % countT; t != 0 {
				add(hangulT + t)
			}
		default:
			d := norm.NFD.Properties(buf[:utf8.EncodeRune(buf[:], r)]).Decomposition()
			if d == nil {
				add(r)
			}
			for _, q := range string(d) {
				add(q)
			}
		}
	}
	sortMarks(out, ccc, mark)
	return out
}

// sortMarks puts the marks from the index on into canonical order.
func sortMarks(out []rune, ccc []uint8, from int) {
	if from < 0 || len(out)-from < 2 {
		return
	}
	type mark struct {
		r rune
		c uint8
	}
	run := make([]mark, 0, len(out)-from)
	for i, r := range out[from:] {
		run = append(run, mark{r, ccc[from+i]})
	}
	slices.SortStableFunc(run, func(a, b mark) int { return int(a.c) - int(b.c) })
	for i, m := range run {
		out[from+i], ccc[from+i] = m.r, m.c
	}
}

// compose is the canonical composition (NFC), with no joiners either.
func compose(s string) string {
	if ascii(s) {
		return s
	}
	rs := decompose(s)
	out := rs[:0]
	starter, last := -1, uint8(0)
	for i, r := range rs {
		c := class(r)
		if starter >= 0 && (last < c || starter == len(out)-1 && last == 0) {
			if p, ok := pair(out[starter], r); ok {
				out[starter] = p
				continue
			}
		}
		if c == 0 {
			starter = len(out)
		}
		last = c
		out = append(out, rs[i])
	}
	return string(out)
}

func class(r rune) uint8 {
	if r < 0x300 {
		return 0
	}
	return norm.NFC.PropertiesString(string(r)).CCC()
}

// pair is the primary composite of two characters.
func pair(a, b rune) (rune, bool) {
	if a < 0x300 && b < 0x300 {
		return 0, false
	}
	switch {
	case a >= hangulL && a < hangulL+countL && b >= hangulV && b < hangulV+countV:
		return hangulS + ((a-hangulL)*countV+b-hangulV)*countT, true
	case a >= hangulS && a < hangulS+countL*countV*countT && (a-hangulS)%countT == 0 && b > hangulT && b < hangulT+countT:
		return a + b - hangulT, true
	}
	s := norm.NFC.String(string([]rune{a, b}))
	r, n := utf8.DecodeRuneInString(s)
	if n != len(s) {
		return 0, false
	}
	// x/text looks pairs up by the lower 16 bits: it takes U+E0047 (a tag) for a G.
	if a > 0xffff || b > 0xffff {
		return r, norm.NFD.String(s) == norm.NFD.String(string(a))+norm.NFD.String(string(b))
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

// lower maps each character by itself, with no rule for a final sigma.
func lower(s string) string {
	if ascii(s) || !strings.ContainsRune(s, 'İ') {
		return strings.Map(lowerRune, s)
	}
	return strings.Map(lowerRune, strings.ReplaceAll(s, "İ", "i\u0307"))
}

func lowerRune(r rune) rune { return unicode.ToLower(r) }

func isLetter(r rune) bool { return unicode.IsLetter(r) || r > unicode.MaxLatin1 && in(newLetters, r) }
func isNumber(r rune) bool { return unicode.IsNumber(r) || r > unicode.MaxLatin1 && in(newNumbers, r) }

// Letters and numbers of Unicode 15.1 and 16, which the tokenizers library
// knows and Go's tables of Unicode 15 do not.
var (
	newLetters = [][2]rune{{0x1c89, 0x1c8a}, {0xa7cb, 0xa7cd}, {0xa7da, 0xa7dc}, {0x105c0, 0x105f3}, {0x10d4a, 0x10d65}, {0x10d6f, 0x10d85},
		{0x10ec2, 0x10ec4}, {0x11380, 0x11389}, {0x1138b, 0x1138b}, {0x1138e, 0x1138e}, {0x11390, 0x113b5}, {0x113b7, 0x113b7}, {0x113d1, 0x113d1},
		{0x113d3, 0x113d3}, {0x11bc0, 0x11be0}, {0x13460, 0x143fa}, {0x16100, 0x1611d}, {0x16d40, 0x16d6c}, {0x18cff, 0x18cff}, {0x1e5d0, 0x1e5ed},
		{0x1e5f0, 0x1e5f0}, {0x2ebf0, 0x2ee5d}}
	newNumbers = [][2]rune{{0x10d40, 0x10d49}, {0x116d0, 0x116e3}, {0x11bf0, 0x11bf9}, {0x16130, 0x16139}, {0x16d70, 0x16d79}, {0x1ccf0, 0x1ccf9},
		{0x1e5f1, 0x1e5fa}}
)

func in(ranges [][2]rune, r rune) bool {
	for _, x := range ranges {
		if r <= x[1] {
			return r >= x[0]
		}
	}
	return false
}

func isSpace(r rune) bool { return unicode.IsSpace(r) }

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

// isControl leaves unassigned characters out: Go's category C has them from 1.25
// on.
func isControl(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co) }
func isAccent(r rune) bool  { return unicode.Is(unicode.Mn, r) }
func isPunct(r rune) bool {
	return r < 0x80 && r > ' ' && r < 0x7f && !isLetter(r) && !isNumber(r) || unicode.IsPunct(r)
}
