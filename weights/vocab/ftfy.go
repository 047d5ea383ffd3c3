package vocab

import (
	"html"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"
)

// fixer is ftfy.fix_text of version 6.3.1 with its defaults, which CLIP's texts
// went through in training: it undoes UTF-8 that was read as another encoding,
// entities of HTML, curly quotes, ligatures, wide letters and control
// characters. Patterns and tables are ftfy's; where it looks behind a match or
// works on bytes, a loop does so here.
type fixer struct {
	bad, altered, lossy, entity, again, terminal *regexp.Regexp
	codecs                                       []codec
	strict                                       map[rune]bool    // that mojibake does not begin behind
	first                                        [5]map[rune]bool // of 2, 3 and 4 bytes
	more                                         map[rune]bool
	letters                                      *strings.Replacer
}

// codec is an encoding of one byte, byte by byte as a character below 0x100.
type codec struct {
	name   string
	sloppy bool
	encode map[rune]rune
}

// Bytes are written as the characters of their values, so that patterns of
// bytes are patterns of text.
const (
	alteredUTF8 = `[\x{c2}\x{c3}\x{c5}\x{ce}\x{d0}\x{d9}] ` +
		`|[\x{e2}\x{e3}] [\x{80}-\x{84}\x{86}-\x{9f}\x{a1}-\x{bf}]` +
		`|[\x{e0}-\x{e3}][\x{80}-\x{84}\x{86}-\x{9f}\x{a1}-\x{bf}] ` +
		`|\x{f0} [\x{80}-\x{bf}][\x{80}-\x{bf}]` +
		`|\x{f0}[\x{80}-\x{bf}] [\x{80}-\x{bf}]` +
		`|\x{f0}[\x{80}-\x{bf}][\x{80}-\x{bf}] `
	lossyUTF8 = `[\x{c2}-\x{df}]\x1a|[\x{c2}-\x{c3}]\?` +
		`|\x{ed}[\x{a0}-\x{af}][\x1a?]\x{ed}[\x{b0}-\x{bf}][\x1a?\x{80}-\x{bf}]` +
		`|\x{ed}[\x{a0}-\x{af}][\x1a?\x{80}-\x{bf}]\x{ed}[\x{b0}-\x{bf}][\x1a?]` +
		`|[\x{e0}-\x{ef}][\x1a?][\x1a\x{80}-\x{bf}]` +
		`|[\x{e0}-\x{ef}][\x1a\x{80}-\x{bf}][\x1a?]` +
		`|[\x{f0}-\x{f4}][\x1a?][\x1a\x{80}-\x{bf}][\x1a\x{80}-\x{bf}]` +
		`|[\x{f0}-\x{f4}][\x1a\x{80}-\x{bf}][\x1a?][\x1a\x{80}-\x{bf}]` +
		`|[\x{f0}-\x{f4}][\x1a\x{80}-\x{bf}][\x1a\x{80}-\x{bf}][\x1a?]` +
		`|\x1a`
)

var theFixer = sync.OnceValue(func() *fixer {
	set := func(s string) map[rune]bool {
		m := map[rune]bool{}
		for _, r := range s {
			m[r] = true
		}
		return m
	}
	f := &fixer{
		bad: regexp.MustCompile(badness), altered: regexp.MustCompile(alteredUTF8), lossy: regexp.MustCompile(lossyUTF8),
		entity: regexp.MustCompile(`&#?[0-9A-Za-z]{1,24};`), again: regexp.MustCompile(`&(?:(?:amp|AMP|#0{0,21}38|#[xX]0{0,20}26);){2,}`),
		terminal: regexp.MustCompile(`\x1b\[[\p{Nd};]*[a-zA-Z]`),
		strict:   set(continuationStrict), more: set(continuation),
		first:   [5]map[rune]bool{2: set(firstOf2), 3: set(firstOf3), 4: set(firstOf4)},
		letters: strings.NewReplacer(ligatures...),
	}
	for _, c := range codecs {
		k := codec{c.name, c.sloppy, map[rune]rune{}}
		for b := range rune(0x80) {
			k.encode[b] = b
		}
		if c.sloppy {
			delete(k.encode, 0x1a)
			k.encode[utf8.RuneError] = 0x1a
		}
		b := rune(0x80)
		for _, r := range c.high {
			k.encode[r] = b
			b++
		}
		f.codecs = append(f.codecs, k)
	}
	return f
})

// fixText is ftfy.fix_text: line by line, and no entities from the first line on
// that has a "<".
func fixText(p *pace, text string) string {
	const longest = 1_000_000 // characters of a line that are seen at once
	f := theFixer()
	var out strings.Builder
	entities := true
	for text != "" && !p.ended() {
		n := strings.IndexByte(text, '\n') + 1
		if n == 0 {
			n = len(text)
		}
		if n > longest {
			count := 0
			for i := range text[:n] {
				if count == longest {
					n = i
					break
				}
				count++
			}
		}
		entities = entities && !strings.Contains(text[:n], "<")
		out.WriteString(f.line(p, text[:n], entities))
		text = text[n:]
	}
	return out.String()
}

func (f *fixer) line(p *pace, text string, entities bool) string {
	for !p.ended() {
		was := text
		if entities && strings.Contains(text, "&") {
			// Ampersands that were escaped many times take many rounds otherwise.
			text = f.again.ReplaceAllString(text, "&amp;")
			text = f.entity.ReplaceAllStringFunc(text, unescapeEntity)
		}
		text = f.encoding(p, text)
		if ascii(text) && strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }) < 0 {
			if text == was {
				return text
			}
			continue
		}
		text = fixC1(text)
		text = f.letters.Replace(text)
		text = strings.Map(straighten, width(text))
		text = lineBreaks.Replace(text)
		text = f.terminal.ReplaceAllString(text, "")
		text = strings.Map(dropControl, text)
		if text = nfc(p, text); text == was {
			return text
		}
	}
	return text
}

// unescapeEntity is the text of an entity that ends in a semicolon, one that
// was made upper case also.
func unescapeEntity(s string) string {
	if s[1] == '#' {
		if out := unescapeHTML(s); !strings.Contains(out, ";") {
			return out
		}
		return s
	}
	// Entities are of one character or two; those that only begin as one leave
	// letters and the semicolon.
	exact := func(s string) (string, bool) {
		out := html.UnescapeString(s)
		return out, out != s && utf8.RuneCountInString(out) <= 2
	}
	if out, ok := exact(s); ok {
		return out
	}
	if s == strings.ToUpper(s) && unescapeHTML(s) == s {
		if out, ok := exact(strings.ToLower(s)); ok {
			return cases.Upper(language.Und).String(out)
		}
	}
	return s
}

// encoding undoes wrong encodings until there are none left.
func (f *fixer) encoding(p *pace, text string) string {
	for !p.ended() {
		was := text
		if text = f.encodingOnce(p, text); text == was {
			return text
		}
	}
	return text
}

func (f *fixer) encodingOnce(p *pace, text string) string {
	if ascii(text) || !f.bad.MatchString(text) {
		return text
	}
	latin := false
	for i, c := range f.codecs {
		bytes, ok := c.bytes(text)
		if !ok {
			continue
		}
		latin = latin || i == 0
		if c.name != "macroman" && f.altered.MatchString(bytes) {
			bytes = f.restoreA0(bytes)
		}
		if c.sloppy {
			bytes = f.lossy.ReplaceAllString(bytes, "\u00ef\u00bf\u00bd")
		}
		if fixed, ok := decodeUTF8(bytes); ok {
			return fixed
		}
	}
	if fixed := f.inconsistent(p, text); fixed != text {
		return fixed
	}
	if latin { // C1 controls were meant to be Windows-1252
		if strings.IndexFunc(text, func(r rune) bool { return strings.ContainsRune("\u0081\u008d\u008f\u0090\u009d", r) }) < 0 {
			if fixed := fixC1(text); fixed != text {
				return fixed
			}
		}
	}
	return fixC1(text)
}

// bytes are the text in the encoding, where it has all its characters.
func (c *codec) bytes(text string) (string, bool) {
	var out strings.Builder
	for _, r := range text {
		b, ok := c.encode[r]
		if !ok {
			return "", false
		}
		out.WriteRune(b)
	}
	return out.String(), true
}

// restoreA0 puts back bytes 0xa0 that became spaces.
func (f *fixer) restoreA0(bytes string) string {
	const grave = "\u00c3 "
	var out strings.Builder
	for {
		i := strings.Index(bytes, grave)
		if i < 0 {
			break
		}
		i += len(grave)
		out.WriteString(bytes[:i-len(grave)])
		rest := bytes[i:]
		word := true // "à" as a word of its own keeps the space
		for _, s := range []string{" ", "quele", "quela", "quilo", "s "} {
			word = word && !strings.HasPrefix(rest, s)
		}
		if word {
			out.WriteString("\u00c3\u00a0 ")
		} else {
			out.WriteString(grave)
		}
		bytes = rest
	}
	out.WriteString(bytes)
	return f.altered.ReplaceAllStringFunc(out.String(), func(s string) string { return strings.ReplaceAll(s, " ", "\u00a0") })
}

// decodeUTF8 reads UTF-8, and where bytes 0xed or 0xc0 are in it also Java's NUL
// and pairs of surrogates.
func decodeUTF8(bytes string) (string, bool) {
	b := make([]byte, 0, len(bytes))
	variants := false
	for _, r := range bytes {
		b = append(b, byte(r))
		variants = variants || r == 0xed || r == 0xc0
	}
	if !variants {
		return string(b), utf8.Valid(b)
	}
	out := make([]byte, 0, len(b))
	within := func(c, lo, hi byte) bool { return c >= lo && c <= hi }
	for i := 0; i < len(b); {
		switch r, n := utf8.DecodeRune(b[i:]); {
		case b[i] == 0xc0 && i+1 < len(b) && b[i+1] == 0x80:
			out = append(out, 0)
			i += 2
		case i+6 <= len(b) && b[i] == 0xed && b[i+3] == 0xed && within(b[i+1], 0xa0, 0xaf) && within(b[i+2], 0x80, 0xbf) &&
			within(b[i+4], 0xb0, 0xbf) && within(b[i+5], 0x80, 0xbf):
			s := b[i:]
			out = utf8.AppendRune(out, rune(s[1]&0xf)<<16+rune(s[2]&0x3f)<<10+rune(s[4]&0xf)<<6+rune(s[5]&0x3f)+0x10000)
			i += 6
		case r == utf8.RuneError && n == 1:
			return "", false
		default:
			out = append(out, b[i:i+n]...)
			i += n
		}
	}
	return string(out), true
}

// inconsistent undoes mojibake in parts of a text.
func (f *fixer) inconsistent(p *pace, text string) string {
	rs := []rune(text)
	var out strings.Builder
	for i := 0; i < len(rs) && !p.ended(); {
		end := i
		if i == 0 || !f.strict[rs[i-1]] {
			end = f.mojibake(rs, i)
		}
		if end == i {
			out.WriteRune(rs[i])
			i++
			continue
		}
		part := string(rs[i:end])
		if end-i < len(rs) && f.bad.MatchString(part) {
			part = f.encoding(p, part)
		}
		out.WriteString(part)
		i = end
	}
	return out.String()
}

// mojibake is where characters that look like bytes of UTF-8 end.
func (f *fixer) mojibake(rs []rune, i int) int {
next:
	for i < len(rs) {
		for n := 2; n <= 4; n++ {
			if !f.first[n][rs[i]] || i+n > len(rs) {
				continue
			}
			k := 1
			for k < n && f.more[rs[i+k]] {
				k++
			}
			if k == n {
				i += n
				continue next
			}
		}
		break
	}
	return i
}

// fixC1 reads C1 controls as Windows-1252, as browsers do.
func fixC1(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return r >= 0x80 && r <= 0x9f }) < 0 {
		return text
	}
	high := []rune(codecs[1].high)
	return strings.Map(func(r rune) rune {
		if r >= 0x80 && r <= 0x9f {
			return high[r-0x80]
		}
		return r
	}, text)
}

// width makes wide and half-width forms ordinary ones.
func width(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return r == 0x3000 || r >= 0xff01 && r < 0xfff0 }) < 0 {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == 0x3000:
			out.WriteByte(' ')
		case r >= 0xff01 && r < 0xfff0:
			out.WriteString(norm.NFKC.String(string(r)))
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// straighten makes curly quotes straight ones.
func straighten(r rune) rune {
	switch {
	case r == 0x2bc || r >= 0x2018 && r <= 0x201b:
		return '\''
	case r >= 0x201c && r <= 0x201f:
		return '"'
	}
	return r
}

var lineBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n", "\u0085", "\n")

func dropControl(r rune) rune {
	switch {
	case r <= 0x08, r == 0x0b, r >= 0x0e && r < 0x20, r == 0x7f, r >= 0x206a && r < 0x2070, r == 0xfeff, r >= 0xfff9 && r < 0xfffd:
		return -1
	}
	return r
}

// nfc is the canonical composition, with no joiners in long runs of marks.
func nfc(p *pace, s string) string {
	run := 0
	for _, r := range s {
		if run++; !unicode.Is(unicode.M, r) {
			run = 0
		}
		if run > 28 {
			cs := compose(p, decompose(p, chars(p, s)))
			var out strings.Builder
			for _, c := range cs {
				out.WriteRune(c.r)
			}
			return out.String()
		}
	}
	return norm.NFC.String(s)
}

var reference = regexp.MustCompile(`&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)`)

// unescapeHTML is Python's html.unescape.
func unescapeHTML(s string) string {
	if !strings.Contains(s, "&") {
		return s
	}
	return reference.ReplaceAllStringFunc(s, func(s string) string {
		if s[1] != '#' {
			return html.UnescapeString(s)
		}
		n, base, digits := 0, 10, strings.TrimSuffix(s[2:], ";")
		if digits[0]|0x20 == 'x' {
			base, digits = 16, digits[1:]
		}
		for _, d := range digits {
			n = min(n*base+digit(d), 0x110000)
		}
		switch {
		case n == '\r':
			return "\r"
		case n == 0, n >= 0xd800 && n <= 0xdfff, n > 0x10ffff:
			return "\ufffd"
		case n >= 0x80 && n <= 0x9f:
			return fixC1(string(rune(n)))
		case n <= 8, n == 0xb, n >= 0xe && n < 0x20, n == 0x7f, n >= 0xfdd0 && n <= 0xfdef, n&0xfffe == 0xfffe:
			return ""
		}
		return string(rune(n))
	})
}

func digit(r rune) int {
	if r <= '9' {
		return int(r - '0')
	}
	return int(r|0x20-'a') + 10
}
