package vocab

import (
	"slices"
	"unicode/utf8"
)

// finder finds tokens in a text: an Aho-Corasick automaton of the tokens read
// backwards. Run over a text from its end it tells, for each byte, the longest
// token that begins there, in time that grows with the text alone.
type finder struct {
	toks []token
	edge map[uint64]int32 // from a state by a byte
	fail []int32          // the state of the longest proper suffix
	tok  []int32          // the longest token that ends in a state, or -1
}

// newFinder takes tokens with the texts that are looked for, none empty. Of two
// that are equal the first counts.
func newFinder(toks []token) *finder {
	if len(toks) == 0 {
		return nil
	}
	f := &finder{toks: toks, edge: map[uint64]int32{}, fail: []int32{0}, tok: []int32{-1}}
	from, by := []int32{0}, []byte{0} // how each state is reached
	for i, t := range toks {
		s := int32(0)
		for j := len(t.text) - 1; j >= 0; j-- {
			key := edgeKey(s, t.text[j])
			next, ok := f.edge[key]
			if !ok {
				next = int32(len(f.tok))
				f.edge[key] = next
				f.tok, from, by = append(f.tok, -1), append(from, s), append(by, t.text[j])
			}
			s = next
		}
		if f.tok[s] < 0 {
			f.tok[s] = int32(i)
		}
	}
	depth := make([]int32, len(f.tok))
	order := make([]int32, len(f.tok))
	for s := range order {
		order[s] = int32(s)
		if s > 0 {
			depth[s] = depth[from[s]] + 1
		}
	}
	slices.SortStableFunc(order, func(a, b int32) int { return int(depth[a] - depth[b]) })
	f.fail = make([]int32, len(f.tok))
	for _, s := range order[1:] {
		if from[s] != 0 {
			f.fail[s] = f.next(f.fail[from[s]], by[s])
		}
		if f.tok[s] < 0 {
			f.tok[s] = f.tok[f.fail[s]]
		}
	}
	return f
}

func edgeKey(state int32, b byte) uint64 { return uint64(state)<<8 | uint64(b) }

func (f *finder) next(s int32, b byte) int32 {
	for {
		if n, ok := f.edge[edgeKey(s, b)]; ok {
			return n
		}
		if s == 0 {
			return 0
		}
		s = f.fail[s]
	}
}

// split hands out the text between the tokens and the tokens, the leftmost
// first and of these the longest. What lies between comes with id -1. A nil
// finder has no tokens.
func (f *finder) split(p *pace, text string, part func(from, to int, id int32)) {
	done := 0 // what was handed out
	if f != nil {
		longest := make([]int32, len(text))
		for i, s := len(text)-1, int32(0); i >= 0; i-- {
			s = f.next(s, text[i])
			longest[i] = f.tok[s]
			if p.stop() {
				return
			}
		}
		spaces := [2]int{-1, -1} // the last run of spaces behind a token
		for pos := 0; pos < len(text); {
			if longest[pos] < 0 {
				pos++
				continue
			}
			if p.stop() {
				return
			}
			t := f.toks[longest[pos]]
			from, to := pos, pos+len(t.text)
			pos = to
			if t.single && !single(text, from, to) {
				continue
			}
			if t.lstrip {
				for from > done {
					r, n := utf8.DecodeLastRuneInString(text[done:from])
					if !isSpace(r) {
						break
					}
					from -= n
				}
			}
			if t.rstrip {
				if to < spaces[0] || to > spaces[1] {
					spaces = [2]int{to, to + spaceLen(text[to:])}
				}
				to = spaces[1]
			}
			if done < from {
				part(done, from, -1)
			}
			part(from, to, t.id)
			done = to
		}
	}
	if done < len(text) {
		part(done, len(text), -1)
	}
}

// single is whether no word goes on beyond a part of the text.
func single(text string, from, to int) bool {
	before, n := utf8.DecodeLastRuneInString(text[:from])
	after, m := utf8.DecodeRuneInString(text[to:])
	return (n == 0 || !isWord(before)) && (m == 0 || !isWord(after))
}

func spaceLen(s string) int {
	for i, r := range s {
		if !isSpace(r) {
			return i
		}
	}
	return len(s)
}
