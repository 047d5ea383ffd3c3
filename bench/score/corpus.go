// Package score holds captions against references, as the COCO caption tools
// (pycocoevalcap 1.2) do: BLEU 1 to 4, ROUGE-L, CIDEr-D and METEOR 1.5 on
// captions that its ptb has tokenized; besides, the plain CIDEr of the paper,
// the Fréchet distance of features (FID) and CLIPScore. meteor and wmd have rooms
// of their own.
package score

import (
	"cmp"
	"slices"
	"strings"

	"parley/bench/score/ptb"
)

// order is the longest n-gram.
const order = 4

// gram is an n-gram of a caption and how often it is there.
type gram struct {
	id    int32
	count int32
}

// caption is a tokenized caption, its words and n-grams numbered.
type caption struct {
	// words are the tokens where a space parts two: ROUGE's, of which an empty
	// caption has one, the empty one. "5 7/8" is one of them.
	words []int32
	// length counts the words of the n-grams, which any whitespace parts.
	length int
	grams  [order][]gram // by n-1, each by ascending id
}

// numbers gives words and n-grams numbers: an n-gram by the one before its last
// word and that word. Those that under has keep its numbers.
type numbers struct {
	under *numbers
	words map[string]int32
	grams [order]map[uint64]int32 // by n-1; words are the first
}

func newNumbers() *numbers {
	n := &numbers{words: map[string]int32{}}
	for i := range n.grams {
		n.grams[i] = map[uint64]int32{}
	}
	return n
}

func (n *numbers) word(w string) int32 {
	base := int32(0)
	if n.under != nil {
		if id, ok := n.under.words[w]; ok {
			return id
		}
		base = int32(len(n.under.words))
	}
	id, ok := n.words[w]
	if !ok {
		id = base + int32(len(n.words))
		n.words[strings.Clone(w)] = id
	}
	return id
}

func (n *numbers) gram(k int, before, word int32) int32 {
	key := uint64(before)<<32 | uint64(word)
	base := int32(0)
	if n.under != nil {
		if id, ok := n.under.grams[k][key]; ok {
			return id
		}
		base = int32(len(n.under.grams[k]))
	}
	id, ok := n.grams[k][key]
	if !ok {
		id = base + int32(len(n.grams[k]))
		n.grams[k][key] = id
	}
	return id
}

// caption numbers a caption whose tokens have a space between two.
func (n *numbers) caption(s string) caption {
	var c caption
	for w := range strings.SplitSeq(s, " ") {
		c.words = append(c.words, n.word(w))
	}
	split := c.words
	if s == "" {
		split = nil
	} else if strings.ContainsFunc(s, func(r rune) bool { return r != ' ' && ptb.Space(r) }) || strings.Contains(s, "  ") ||
		s[0] == ' ' || s[len(s)-1] == ' ' {
		split = nil
		for _, w := range strings.FieldsFunc(s, ptb.Space) {
			split = append(split, n.word(w))
		}
	}
	c.length = len(split)
	last := slices.Clone(split)
	for k := range order {
		if len(split) <= k {
			break
		}
		if k > 0 { // the n-gram that begins at i ends with the word at i+k
			for i := range len(split) - k {
				last[i] = n.gram(k, last[i], split[i+k])
			}
		}
		ids := slices.Clone(last[:len(split)-k])
		slices.Sort(ids)
		c.grams[k] = make([]gram, 0, len(ids))
		for i, id := range ids {
			if i > 0 && ids[i-1] == id {
				c.grams[k][len(c.grams[k])-1].count++
			} else {
				c.grams[k] = append(c.grams[k], gram{id, 1})
			}
		}
	}
	return c
}

// find is how often an n-gram is there.
func find(list []gram, id int32) int32 {
	i, ok := slices.BinarySearchFunc(list, id, func(g gram, id int32) int { return cmp.Compare(g.id, id) })
	if !ok {
		return 0
	}
	return list[i].count
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}
