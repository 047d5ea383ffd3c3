// Package prompt reads prompts as AUTOMATIC1111's stable-diffusion-webui does:
// weights of words, and prompts of any length in chunks of 77 ids. Reference:
// its parse_prompt_attention, tokenize_line and EmphasisOriginal of version
// 1.10.1, with their defaults. Its prompt editing ([a:b:0.5], [a|b]) and AND are
// no part of this; where they stand, [a:b:0.5] is a text with a weight.
package prompt

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"parley/weights/vocab"
)

// Size is how many tokens a chunk of CLIP has, with BOS and EOS.
const Size = 77

// backtrack is how far a comma may be from a chunk's end for what follows it to move
// to the next.
const backtrack = 20

// Part is text of one weight.
type Part struct {
	Text   string
	Weight float64
}

// chunkEnd is the part that ends a chunk: BREAK outside of brackets.
var chunkEnd = Part{"BREAK", -1}

const round, square = 1.1, 1 / 1.1

// deepest is how many brackets may be open at a time.
const deepest = 256

// number is the weight that a text begins with, ":1.3)" or ": 1.3 )", and the
// length of all that.
func number(text string) (weight string, n int) {
	rest := strings.TrimLeftFunc(text[1:], isSpace)
	i := 0
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		i++
	}
	digits := i
	for i < len(rest) && (rest[i] == '.' || rest[i] >= '0' && rest[i] <= '9') {
		i++
	}
	end := strings.TrimLeftFunc(rest[i:], isSpace)
	if i == digits || end == "" || end[0] != ')' {
		return "", 0
	}
	return rest[:i], len(text) - len(end) + 1
}

// Parse reads weights: (text) is 1.1 times as strong, (text:1.3) 1.3 times and
// [text] 1/1.1 times; brackets nest, those left open end with the text, and a
// backslash before a bracket or another one makes it a character. BREAK as a
// word of its own becomes a part "BREAK" of weight -1. Neighbours of one weight
// are one part.
func Parse(text string) ([]Part, error) {
	var out []Part
	var rounds, squares []int // where what is open begins
	times := func(from int, by float64) {
		for i := range out[from:] {
			out[from+i].Weight *= by
		}
	}
	pop := func(open *[]int) int {
		last := len(*open) - 1
		from := (*open)[last]
		*open = (*open)[:last]
		return from
	}
	for text != "" {
		n := 1
		switch c := text[0]; {
		case c == '\\':
			if len(text) > 1 && strings.IndexByte(`()[]\`, text[1]) >= 0 {
				n = 2
			}
			out = append(out, Part{text[1:n], 1})
		case c == '(':
			rounds = append(rounds, len(out))
		case c == '[':
			squares = append(squares, len(out))
		case c == ')' && len(rounds) > 0:
			times(pop(&rounds), round)
		case c == ']' && len(squares) > 0:
			times(pop(&squares), square)
		case c == ':':
			weight, size := number(text)
			if size == 0 {
				out = append(out, Part{":", 1})
				break
			}
			n = size
			if len(rounds) == 0 {
				out = append(out, Part{text[:n], 1})
				break
			}
			w, err := strconv.ParseFloat(weight, 64)
			if err != nil || math.Abs(w) > math.MaxFloat32 {
				return nil, fmt.Errorf("prompt: %q: %q is no weight, want a number such as 1.3", text[:n], weight)
			}
			times(pop(&rounds), w)
		default:
			if i := strings.IndexAny(text[n:], `\()[]:`); c != ')' && c != ']' {
				if n += i; i < 0 {
					n = len(text)
				}
			}
			for i, part := range splitBreaks(text[:n]) {
				if i > 0 {
					out = append(out, chunkEnd)
				}
				out = append(out, Part{part, 1})
			}
		}
		if len(rounds)+len(squares) > deepest {
			return nil, fmt.Errorf("prompt: more than %d brackets are open at a time; write \\( and \\[ for brackets that are no weights", deepest)
		}
		text = text[n:]
	}
	for _, from := range rounds {
		times(from, round)
	}
	for _, from := range squares {
		times(from, square)
	}
	if len(out) == 0 {
		return []Part{{"", 1}}, nil
	}
	return merge(out), nil
}

// merge joins neighbours of one weight.
func merge(parts []Part) []Part {
	var out []Part
	for i := 0; i < len(parts); {
		j := i
		var text strings.Builder
		for ; j < len(parts) && parts[j].Weight == parts[i].Weight; j++ {
			text.WriteString(parts[j].Text)
		}
		out = append(out, Part{text.String(), parts[i].Weight})
		i = j
	}
	return out
}

// splitBreaks cuts a text at the words BREAK, with the spaces about them.
func splitBreaks(text string) []string {
	const word = "BREAK"
	var out []string
	from := 0
	for at := 0; ; {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return append(out, text[from:])
		}
		i += at
		at = i + len(word)
		before, _ := utf8.DecodeLastRuneInString(text[:i])
		after, _ := utf8.DecodeRuneInString(text[at:])
		if i > 0 && isWord(before) || at < len(text) && isWord(after) {
			continue
		}
		out = append(out, strings.TrimRightFunc(text[from:i], isSpace))
		rest := strings.TrimLeftFunc(text[at:], isSpace)
		at = len(text) - len(rest)
		from = at
	}
}

// isSpace and isWord are Python's \s and \w.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
func isWord(r rune) bool  { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

// Chunk is what the text encoder takes at once, and the weight of each token's
// state.
type Chunk struct {
	IDs     []int32   // BOS, tokens, EOS, padding
	Weights []float32 // as many
}

// Chunks are the chunks of a prompt, at least one, of size tokens each: what the text
// encoder takes, Size of CLIP's. A chunk ends where it is full, or behind a comma among its last 20 tokens; at BREAK; and before
// the vectors of a name of textual inversion that it has no room for. As in the
// webui, names are found by the ids of their words; unlike there, vectors move
// to the next chunk with the words about them.
func Chunks(ctx context.Context, words *vocab.CLIP, size int, text string) ([]Chunk, error) {
	parts, err := Parse(text)
	if err != nil {
		return nil, err
	}
	if size < 3 {
		return nil, fmt.Errorf("prompt: chunks of %d tokens, at least 3 are needed", size)
	}
	c := chunker{words: words, room: size - 2, comma: -1, lastComma: -1, learned: map[int32][]name{}}
	if id, ok := words.ID(",</w>"); ok {
		c.comma = id
	}
	for _, l := range words.Learned() {
		if l.Vectors > c.room {
			return nil, fmt.Errorf("textual inversion %q: %d vectors, and a chunk has room for %d", l.Names[0], l.Vectors, c.room)
		}
		for _, ids := range l.Spelled {
			c.learned[ids[0]] = append(c.learned[ids[0]], name{ids, l.First, l.Vectors})
		}
	}
	for _, names := range c.learned {
		slices.SortStableFunc(names, func(a, b name) int { return len(b.ids) - len(a.ids) })
	}
	for _, p := range parts {
		if p == chunkEnd {
			c.end()
			continue
		}
		if math.Abs(p.Weight) > math.MaxFloat32 {
			return nil, fmt.Errorf("prompt: the weights about %.40q multiply to %g", p.Text, p.Weight)
		}
		e, err := words.Plain().Tokenize(ctx, p.Text, 0)
		if err != nil {
			return nil, err
		}
		c.add(e.IDs[1:len(e.IDs)-1], float32(p.Weight))
	}
	if len(c.ids) > 0 || len(c.out) == 0 {
		c.end()
	}
	return c.out, nil
}

// name is a name of textual inversion: the ids of its words and of its vectors.
type name struct {
	ids     []int32
	first   int32
	vectors int
}

// chunker fills one chunk after the other.
type chunker struct {
	words     *vocab.CLIP
	room      int // tokens of a chunk, without BOS and EOS
	comma     int32
	learned   map[int32][]name // by the first id of their words, the longest first
	out       []Chunk
	ids       []int32 // of the chunk that is being filled, without BOS and EOS
	weights   []float32
	lastComma int // its last comma, or -1
}

func (c *chunker) add(ids []int32, weight float32) {
	for len(ids) > 0 {
		if ids[0] == c.comma {
			c.lastComma = len(c.ids)
		} else if len(c.ids) == c.room && c.lastComma >= 0 && c.room-c.lastComma <= backtrack {
			keep := c.lastComma + 1
			moved, weights := slices.Clone(c.ids[keep:]), slices.Clone(c.weights[keep:])
			c.ids, c.weights = c.ids[:keep], c.weights[:keep]
			c.end()
			c.ids, c.weights = moved, weights
		}
		if len(c.ids) == c.room {
			c.end()
		}
		i := slices.IndexFunc(c.learned[ids[0]], func(n name) bool { return len(n.ids) <= len(ids) && slices.Equal(n.ids, ids[:len(n.ids)]) })
		if i < 0 {
			c.ids, c.weights = append(c.ids, ids[0]), append(c.weights, weight)
			ids = ids[1:]
			continue
		}
		n := c.learned[ids[0]][i]
		if len(c.ids)+n.vectors > c.room {
			c.end()
		}
		for k := range n.vectors {
			c.ids, c.weights = append(c.ids, n.first+int32(k)), append(c.weights, weight)
		}
		ids = ids[len(n.ids):]
	}
}

// end puts the chunk that is being filled with the others.
func (c *chunker) end() {
	chunk := Empty(c.words, c.room+2)
	copy(chunk.IDs[1:], c.ids)
	copy(chunk.Weights[1:], c.weights)
	if len(c.ids) > 0 {
		chunk.IDs[1+len(c.ids)] = c.words.EOS
		for i := 2 + len(c.ids); i < len(chunk.IDs); i++ {
			chunk.IDs[i] = c.words.Pad
		}
	}
	c.out = append(c.out, chunk)
	c.ids, c.weights, c.lastComma = nil, nil, -1
}

// Empty is the chunk of an empty prompt, of size tokens.
func Empty(words *vocab.CLIP, size int) Chunk {
	c := Chunk{make([]int32, size), make([]float32, size)}
	for i := range c.IDs {
		c.IDs[i], c.Weights[i] = words.Pad, 1
	}
	c.IDs[0], c.IDs[1] = words.BOS, words.EOS
	return c
}

// Level puts empty chunks behind those of shorter prompts, so that all have as
// many: guidance needs a prompt and its negative one of the same length.
func Level(words *vocab.CLIP, prompts ...[]Chunk) [][]Chunk {
	n := 0
	for _, p := range prompts {
		n = max(n, len(p))
	}
	out := make([][]Chunk, len(prompts))
	for i, p := range prompts {
		out[i] = slices.Clone(p)
		for len(out[i]) < n {
			out[i] = append(out[i], Empty(words, len(p[0].IDs)))
		}
	}
	return out
}

// Weigh multiplies the text encoder's states of a prompt's chunks,
// [len(chunks)*size, D], by their weights, and then each chunk by what gives it
// the mean back that it had (the webui's emphasis "Original"). A chunk without
// weights stays as it is, bit by bit.
func Weigh(states []float32, chunks []Chunk) error {
	if len(chunks) == 0 || len(states)%(len(chunks)*len(chunks[0].IDs)) != 0 {
		return fmt.Errorf("prompt: %d states do not fit %d chunks", len(states), len(chunks))
	}
	n := len(states) / len(chunks)
	for i, c := range chunks {
		if !slices.ContainsFunc(c.Weights, func(w float32) bool { return w != 1 }) {
			continue
		}
		if back := weigh(states[i*n:(i+1)*n], c.Weights); math.IsInf(back, 0) || math.IsNaN(back) {
			return fmt.Errorf("prompt: chunk %d: its weights leave states without a mean that can be restored", i+1)
		}
	}
	return nil
}

// weigh returns what it multiplied all by in the end.
func weigh(z, weights []float32) float64 {
	d := len(z) / len(weights)
	before, after := 0.0, 0.0
	for t, w := range weights {
		row := z[t*d : (t+1)*d]
		for i, v := range row {
			before += float64(v)
			row[i] = v * w
			after += float64(row[i])
		}
	}
	back := before / after
	for i := range z {
		z[i] *= float32(back)
	}
	return back
}
