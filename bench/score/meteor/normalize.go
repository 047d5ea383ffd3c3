package meteor

import (
	"regexp"
	"strings"
)

// normalizer is what -norm does to English: Moses' tokenizer with more quotes,
// dashes and abbreviations.
type normalizer struct {
	prefixes map[string]bool
	steps    []step
	spaces   *regexp.Regexp
	letter   *regexp.Regexp
}

type step struct {
	re *regexp.Regexp
	to string
}

const (
	letters = `A-Za-z\x{160}\x{17D}\x{161}\x{17E}\x{178}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{17E}\x{400}-\x{4FF}\x{500}-\x{527}` +
		`\x{A640}-\x{A66E}\x{A67E}-\x{A697}\x{1D00}-\x{1D7F}`
	alnums    = `0-9` + letters
	manyDots  = "DOTMULTI"
	otherDots = "DOTDOTMULTI"
)

func newNormalizer(prefixes map[string]bool) *normalizer {
	n := &normalizer{prefixes: prefixes, letter: regexp.MustCompile(`[` + letters + `]`),
		spaces: regexp.MustCompile(`[ \x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}\x{A0}]+`)}
	for _, s := range [][2]string{
		// Behind the dots, which are not done by one expression.
		{`([^0-9]),([^0-9])`, "$1 , $2"},
		{`([0-9]),([^0-9])`, "$1 , $2"},
		{`([^0-9]),([0-9])`, "$1 , $2"},
		{"[`\u2018\u2019]", "'"},
		{"[\u201C\u201D]|''", ` " `},
		{"\u2013", "-"},
		{"--", "-"},
		{`([` + alnums + `.])-([` + alnums + `])`, "$1 $2"},
		{`([^` + letters + `])'([^` + letters + `])`, "$1 ' $2"},
		{`([^` + letters + `0-9])'([` + letters + `])`, "$1 ' $2"},
		{`([` + letters + `])'([^` + letters + `])`, "$1 ' $2"},
		{`([` + letters + `])'([` + letters + `])`, "$1 '$2"},
		{`([0-9])'(s)`, "$1 '$2"},
	} {
		n.steps = append(n.steps, step{regexp.MustCompile(s[0]), s[1]})
	}
	return n
}

// plain reports whether a line has nothing to normalize.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == ' ') {
			return false
		}
	}
	return true
}

var (
	separate = regexp.MustCompile("([^" + alnums + "\\s\\x0B.'`,\\-\u2018\u2019])")
	dots     = regexp.MustCompile(`\.(\.+)`)
	dotsEnd  = regexp.MustCompile(manyDots + `\.([^.])`)
)

// words normalizes a line and splits it.
func (n *normalizer) words(s string) []string {
	if !plain(s) {
		s = strings.ToLower(n.line(s))
	}
	return strings.FieldsFunc(s, javaSpace)
}

// javaSpace are the delimiters of Java's StringTokenizer.
func javaSpace(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' && r != '\v' }

func (n *normalizer) line(s string) string {
	s = " " + s + " "
	s = separate.ReplaceAllString(s, " $1 ")
	s = dots.ReplaceAllString(s, " "+manyDots+"$1")
	for strings.Contains(s, manyDots+".") {
		s = dotsEnd.ReplaceAllString(s, otherDots+" $1")
		s = strings.ReplaceAll(s, manyDots+".", otherDots)
	}
	for _, t := range n.steps {
		s = t.re.ReplaceAllString(s, t.to)
	}
	words := strings.FieldsFunc(s, javaSpace)
	var b strings.Builder
	for i, w := range words {
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		n.dotted(&b, w, next)
		b.WriteByte(' ')
	}
	s = b.String()
	for strings.Contains(s, otherDots) {
		s = strings.ReplaceAll(s, otherDots, manyDots+".")
	}
	s = strings.ReplaceAll(s, manyDots, ".")
	return strings.TrimFunc(n.spaces.ReplaceAllString(s, " "), func(r rune) bool { return r <= ' ' })
}

// dotted writes a word, its dot cut off unless it is an abbreviation's.
func (n *normalizer) dotted(b *strings.Builder, w, next string) {
	pre, ok := strings.CutSuffix(w, ".")
	if !ok || pre == "" {
		b.WriteString(w)
		return
	}
	numeric, known := n.prefixes[pre]
	switch {
	case strings.Contains(pre, ".") && n.letter.MatchString(pre): // U.S. is US
		b.WriteString(strings.ReplaceAll(w, ".", ""))
	case known && !numeric, next != "" && 'a' <= next[0] && next[0] <= 'z', known && next != "" && '0' <= next[0] && next[0] <= '9':
		b.WriteString(w)
	default:
		b.WriteString(pre + " .")
	}
}
