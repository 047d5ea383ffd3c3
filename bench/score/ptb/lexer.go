package ptb

import (
	"encoding/binary"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
)

// rule is one kind of token. Its pattern is a Go regular expression over UTF-16
// code units, in which letters outside of brackets stand for both cases.
type rule struct {
	pattern string
	context string                   // what has to follow, but is not of the token
	emit    func(text string) string // the token's text; nil: as it stands
	back    int                      // code units of the text to be read again
	split   bool                     // a one-letter acronym gives its period back
	drop    bool                     // whitespace and what no token may hold
}

// grammar is what all lexers share: the NFA of the rules, and of patterns and
// contexts apart, over classes of code units that no rule tells apart.
type grammar struct {
	rules  []rule
	inst   []inst
	starts []uint32    // of each rule
	halves [][2]uint32 // of each rule with a context: of its pattern and its context
	class  [1 << 16]uint16
	member [][]bool // by set and class
}

type inst struct {
	op       syntax.InstOp
	out, arg uint32
	set      int // InstRune and its kin: the set of code units
	accept   int // InstMatch: the rule
}

// lexer finds the longest match of all rules, contexts included, and of equally
// long ones the first rule's. It is a DFA whose states are made when they are
// first met; it is not safe for concurrent use.
type lexer struct {
	*grammar
	classes int
	next    []int32    // by state and class: unknown, none or a state
	accept  []int32    // by state: the first rule that matches here, or none
	pcs     [][]uint32 // by state: the NFA's instructions
	known   map[string]int32
	start   int32
	halves  [][2]int32        // by rule: the states in which its pattern and its context start
	dead    map[position]bool // of the text that is being read
	scanned int               // code units read since the lexer was made, all looks of scans together
	scratch []uint32
	mark    []bool
}

type position struct{ state, at int32 }

const (
	unknown = -1
	none    = -2

	// maxStates bounds the memory; ordinary text makes some hundreds of states.
	maxStates = 20000
	// longRun is how far a scan runs beyond the last match before its states are
	// remembered as hopeless (Reps, "Maximal-munch tokenization in linear time",
	// 1998). Without it "a,a,a,…" would be read to its end for each token.
	longRun = 64
	// firstSet and those behind it stand in patterns for sets of code units that
	// occur often and are large, so that each is parsed once.
	firstSet = 0xF0000
	lastSet  = 0xF00FF
)

// caseless writes a letter outside of brackets as both its cases and what folds to them.
func caseless(p string) string {
	var b strings.Builder
	class := false
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '\\':
			j := i + 2
			if i+2 < len(p) && p[i+2] == '{' && p[i+1] != '\\' {
				j = i + strings.IndexByte(p[i:], '}') + 1
			}
			b.WriteString(p[i:j])
			i = j - 1
			continue
		case c == '[':
			class = true
		case c == ']':
			class = false
		}
		if lower := c | 0x20; !class && 'a' <= lower && lower <= 'z' {
			b.WriteString("[" + string(lower-32) + string(lower))
			switch lower {
			case 's':
				b.WriteString("\u017f") // ſ
			case 'k':
				b.WriteString("\u212a") // the sign of kelvin
			}
			b.WriteByte(']')
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// newGrammar compiles rules; named are the sets from firstSet on, as bracket
// expressions.
func newGrammar(rules []rule, named []string) (*grammar, error) {
	g := &grammar{rules: rules, halves: make([][2]uint32, len(rules))}
	sets := map[string]int{}
	var ranges [][]rune
	var expand [][]rune
	for _, n := range named {
		re, err := syntax.Parse(n, syntax.Perl)
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", n, err)
		}
		expand = append(expand, re.Rune)
	}
	add := func(pattern string, accept int) (uint32, error) {
		re, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			return 0, fmt.Errorf("rule %d: %w", accept, err)
		}
		prog, err := syntax.Compile(re.Simplify())
		if err != nil {
			return 0, fmt.Errorf("rule %d: %w", accept, err)
		}
		base := uint32(len(g.inst))
		for _, in := range prog.Inst {
			n := inst{op: in.Op, out: in.Out + base, arg: in.Arg + base, accept: accept}
			switch in.Op {
			case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
				units := unitsOf(&in, expand)
				key := fmt.Sprint(units)
				set, ok := sets[key]
				if !ok {
					set = len(ranges)
					sets[key], ranges = set, append(ranges, units)
				}
				n.op, n.set = syntax.InstRune, set
			case syntax.InstEmptyWidth:
				return 0, fmt.Errorf("rule %d: an assertion", accept)
			}
			g.inst = append(g.inst, n)
		}
		return base + uint32(prog.Start), nil
	}
	for i, r := range rules {
		pattern := caseless(r.pattern)
		whole := "(?:" + pattern + ")"
		if r.context != "" {
			context := caseless(r.context)
			whole += "(?:" + context + ")"
			for j, half := range []string{pattern, context} {
				pc, err := add(half, i)
				if err != nil {
					return nil, err
				}
				g.halves[i][j] = pc
			}
		}
		pc, err := add(whole, i)
		if err != nil {
			return nil, err
		}
		g.starts = append(g.starts, pc)
	}
	g.classify(ranges)
	return g, nil
}

// unitsOf is what an instruction takes, as pairs of first and last, with the
// named sets in place of what stands for them.
func unitsOf(in *syntax.Inst, named [][]rune) []rune {
	var out []rune
	switch {
	case in.Op == syntax.InstRuneAny:
		return []rune{0, 0xFFFF}
	case in.Op == syntax.InstRuneAnyNotNL:
		return []rune{0, '\n' - 1, '\n' + 1, 0xFFFF}
	case len(in.Rune) == 1:
		out = []rune{in.Rune[0], in.Rune[0]}
		if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
			for f := unicode.SimpleFold(in.Rune[0]); f != in.Rune[0]; f = unicode.SimpleFold(f) {
				out = append(out, f, f)
			}
		}
	default:
		out = slices.Clone(in.Rune)
	}
	if !in.MatchRune(lastSet) { // else it is a negated class, which names none
		for i, set := range named {
			if in.MatchRune(firstSet + rune(i)) {
				out = append(out, set...)
			}
		}
	}
	return out
}

// classify joins code units that the same sets hold.
func (g *grammar) classify(sets [][]rune) {
	cuts := map[rune]bool{0: true}
	for _, s := range sets {
		for i, r := range s {
			cuts[r+rune(i%2)] = true
		}
	}
	var bounds []rune
	for r := range cuts {
		if r <= 0xFFFF {
			bounds = append(bounds, r)
		}
	}
	slices.Sort(bounds)
	inside := make([][]byte, len(bounds)) // by interval and set
	for i := range inside {
		inside[i] = make([]byte, len(sets))
	}
	for j, s := range sets {
		for k := 0; k < len(s); k += 2 {
			i, _ := slices.BinarySearch(bounds, s[k])
			for ; i < len(bounds) && bounds[i] <= s[k+1]; i++ {
				inside[i][j] = 1
			}
		}
	}
	g.member = make([][]bool, len(sets))
	classes := map[string]uint16{}
	for i, lo := range bounds {
		hi := rune(0x10000)
		if i+1 < len(bounds) {
			hi = bounds[i+1]
		}
		c, ok := classes[string(inside[i])]
		if !ok {
			c = uint16(len(classes))
			classes[string(inside[i])] = c
			for j, b := range inside[i] {
				g.member[j] = append(g.member[j], b == 1)
			}
		}
		for r := lo; r < hi; r++ {
			g.class[r] = c
		}
	}
}

func newLexer(g *grammar) *lexer {
	l := &lexer{grammar: g, classes: len(g.member[0]), mark: make([]bool, len(g.inst))}
	l.forget()
	return l
}

// forget drops all states but those in which scans start.
func (l *lexer) forget() {
	l.next, l.accept, l.pcs, l.known, l.dead = nil, nil, nil, map[string]int32{}, map[position]bool{}
	l.start = l.state(l.starts)
	l.halves = make([][2]int32, len(l.rules))
	for i, r := range l.rules {
		if h := l.grammar.halves[i]; r.context != "" {
			l.halves[i] = [2]int32{l.state(h[:1]), l.state(h[1:])}
		}
	}
}

// state is the DFA's state of these instructions and what they lead to without
// reading anything.
func (l *lexer) state(pcs []uint32) int32 {
	stack, set := append(l.scratch[:0], pcs...), []uint32(nil)
	var seen []uint32
	accept := int32(none)
	for len(stack) > 0 {
		pc := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if l.mark[pc] {
			continue
		}
		l.mark[pc] = true
		seen = append(seen, pc)
		switch in := l.inst[pc]; in.op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, in.out, in.arg)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, in.out)
		case syntax.InstMatch:
			if a := int32(in.accept); accept == none || a < accept {
				accept = a
			}
		case syntax.InstRune:
			set = append(set, pc)
		}
	}
	l.scratch = stack[:0]
	for _, pc := range seen {
		l.mark[pc] = false
	}
	if len(set) == 0 && accept == none {
		return none
	}
	slices.Sort(set)
	key := make([]byte, 0, 4*len(set)+4)
	key = binary.LittleEndian.AppendUint32(key, uint32(accept))
	for _, pc := range set {
		key = binary.LittleEndian.AppendUint32(key, pc)
	}
	if s, ok := l.known[string(key)]; ok {
		return s
	}
	s := int32(len(l.accept))
	l.known[string(key)] = s
	l.accept, l.pcs = append(l.accept, accept), append(l.pcs, set)
	for range l.classes {
		l.next = append(l.next, unknown)
	}
	return s
}

// step is the state after reading a unit.
func (l *lexer) step(s int32, unit uint16) int32 {
	c := int(l.class[unit])
	if n := l.next[int(s)*l.classes+c]; n != unknown {
		return n
	}
	return l.grow(s, c)
}

func (l *lexer) grow(s int32, c int) int32 {
	var pcs []uint32
	for _, pc := range l.pcs[s] {
		if in := l.inst[pc]; l.member[in.set][c] {
			pcs = append(pcs, in.out)
		}
	}
	n := l.state(pcs)
	l.next[int(s)*l.classes+c] = n
	return n
}

// match is the rule and the length of the token that begins at text[at]. It
// ends at or before end; contexts may look beyond.
func (l *lexer) match(text []uint16, at, end int) (rule, length int) {
	if len(l.accept) > maxStates {
		l.forget()
	}
	rule = -1
	stop := at // where the best match ends, its context included
	i := at
	for s := l.start; i < len(text); {
		if s = l.step(s, text[i]); s == none {
			break
		}
		i++
		if a := l.accept[s]; a >= 0 {
			rule, stop = int(a), i
		}
		if i-stop > longRun && len(l.dead) > 0 && l.dead[position{s, int32(i)}] {
			break
		}
	}
	l.scanned += i - at
	if i-stop > 2*longRun {
		l.bury(text, at, stop, i)
	}
	if rule < 0 {
		return rule, 0
	}
	if length = l.length(rule, text[at:stop], end-at); length == 0 {
		return l.match(text[:end], at, end)
	}
	return rule, length
}

// bury remembers the states between the best match and the end of a scan that
// found no better one.
func (l *lexer) bury(text []uint16, at, stop, end int) {
	s := l.start
	for i := at; i < end; {
		if s = l.step(s, text[i]); s == none {
			return
		}
		if i++; i > stop+longRun {
			l.dead[position{s, int32(i)}] = true
		}
	}
}

// length is how much of a rule's match is the token: with a context, the most
// that leaves one. A token that would end behind most is none: 0.
func (l *lexer) length(rule int, text []uint16, most int) int {
	if l.rules[rule].context == "" {
		if len(text) > most {
			return 0
		}
		return len(text)
	}
	best := 0
	s := l.halves[rule][0]
	for i := 0; i < len(text) && i < most; {
		if s = l.step(s, text[i]); s == none {
			break
		}
		if i++; l.accept[s] >= 0 && l.whole(l.halves[rule][1], text[i:]) {
			best = i
		}
	}
	return best
}

// whole reports whether all of text takes state s to an accepting one.
func (l *lexer) whole(s int32, text []uint16) bool {
	for _, u := range text {
		if s = l.step(s, u); s == none {
			return false
		}
	}
	return l.accept[s] >= 0
}
