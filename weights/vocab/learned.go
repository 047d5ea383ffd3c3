package vocab

import (
	"fmt"
	"maps"
	"slices"
)

// Learned is a name in prompts that stands for vectors of textual inversion
// instead of words.
type Learned struct {
	Names   []string // any of them; as they are typed, but for case
	Vectors int      // how many rows of the text encoder's embedding it takes
	First   int32    // the id of the first; With sets it

	Spelled [][]int32 // the ids of the words that each name is without it; With sets it
}

// With is the tokenizer with names of textual inversion, which take the ids from
// the given one on: the rows that are put behind those of the text encoder's
// embedding. As diffusers, it finds a name wherever it stands, and knows the
// second and further vectors of NAME as NAME_1, NAME_2 also.
func (c *CLIP) With(first int32, learned ...Learned) (*CLIP, error) {
	if int(first) < len(c.t.words) {
		return nil, fmt.Errorf("textual inversion: ids from %d on are words of the vocabulary, which has %d", first, len(c.t.words))
	}
	t := *c.t
	t.words, t.added = slices.Clone(t.words), slices.Clone(t.added)
	t.index, t.vectors = maps.Clone(t.index), maps.Clone(t.vectors)
	if t.vectors == nil {
		t.vectors = map[int32]int{}
	}
	out := *c
	out.t, out.learned = &t, slices.Clone(c.learned)
	if out.plain == nil {
		out.plain = c
	}
	for _, l := range learned {
		if l.Vectors < 1 || len(l.Names) == 0 {
			return nil, fmt.Errorf("textual inversion %q: %d vectors, want a name and at least one", l.Names, l.Vectors)
		}
		l.First, l.Names, l.Spelled = first, slices.Clone(l.Names), nil
		for _, name := range l.Names {
			ids := out.plain.Encode(name, 0)
			ids = ids[1 : len(ids)-1]
			if len(ids) == 0 {
				return nil, fmt.Errorf("textual inversion: the name %q has no words", name)
			}
			l.Spelled = append(l.Spelled, ids)
			for k := range l.Vectors {
				text := name
				if k > 0 {
					text = fmt.Sprintf("%s_%d", name, k)
				}
				if _, ok := t.id(text); ok {
					return nil, fmt.Errorf("textual inversion: the vocabulary has %q already; give it another name", text)
				}
				t.learn(text, first+int32(k))
			}
		}
		t.vectors[first] = l.Vectors
		out.learned = append(out.learned, l)
		first += int32(l.Vectors)
	}
	t.build(out.patterns())
	return &out, nil
}

// learn adds a token with an id of its own.
func (t *table) learn(text string, id int32) {
	for int(id) >= len(t.words) {
		t.words = append(t.words, absent)
	}
	if t.words[id] == absent {
		t.words[id] = text
	}
	t.index[text] = len(t.added)
	t.added = append(t.added, token{text: text, id: id, normalized: true})
}

// Learned are the names of textual inversion that the tokenizer knows.
func (c *CLIP) Learned() []Learned { return c.learned }

// Plain is the tokenizer without names of textual inversion.
func (c *CLIP) Plain() *CLIP {
	if c.plain != nil {
		return c.plain
	}
	return c
}

// ID is the id of a word as the vocabulary spells it.
func (c *CLIP) ID(word string) (int32, bool) { return c.t.id(word) }

// Size is how many ids the vocabulary has, absent ones between them included.
func (c *CLIP) Size() int { return len(c.t.words) }
