package clip

import (
	"fmt"

	"parley/engine"
	"parley/kernels/embed"
	"parley/nets/layer"
	"parley/weights"
)

// Text is the text tower: a causal transformer whose last norm comes behind all
// layers.
type Text struct {
	Width  int // of the hidden states
	Length int // tokens that it takes at most
	Vocab  int // ids that it knows
	EOS    int // the token that ends a text

	tokens, positions *engine.Tensor
	blocks            []layer.Block
	final             layer.Norm
	projection        *layer.Linear
	bidirectional     bool
}

// TextOptions say which hidden states are wanted. The zero value is the last
// layer's, after the final norm.
type TextOptions struct {
	// Skip is how many of the last layers Hidden leaves out, diffusers' clip_skip: 1
	// is the penultimate layer's output.
	Skip int
	// NoNorm leaves out Hidden's final norm, as SDXL does.
	NoNorm bool
	// HiddenOnly leaves out Pooled, Embeds and the layers that only they need.
	HiddenOnly bool
}

// TextOutput is what the text tower gives for [N, L] ids.
type TextOutput struct {
	Hidden *engine.Tensor // [N, L, Width]
	Pooled *engine.Tensor // [N, Width], of the last layer after the final norm, at the end of the text
	Embeds *engine.Tensor // [N, Projection], of length 1; nil without a projection
}

// LoadText builds the text tower from its configuration and from tensors
// named with or without "text_model.": Stable Diffusion's text encoder, or
// that of a whole CLIP.
func LoadText(c weights.Config, l *weights.Loader) (*Text, error) {
	config, err := ParseTextConfig(c)
	if err != nil {
		return nil, err
	}
	t, err := NewText(config, l)
	if err != nil {
		return nil, err
	}
	// The encoder of Stable Diffusion ends before the projection.
	for _, other := range []string{"text_projection", "visual_projection", "vision_model", "logit_scale"} {
		l.Without(other)
	}
	l.Unread("CLIP's text tower")
	return t, l.Err()
}

// LoadProjected builds the text tower of a config.json of a whole CLIP, or of
// CLIPTextModelWithProjection, with its projection, and reads nothing of the picture
// tower, not its configuration.
func LoadProjected(c weights.Config, l *weights.Loader) (*Text, error) {
	r := c.Reader()
	r.Unquantised()
	alone := r.String("model_type", "clip") == "clip_text_model"
	if !alone {
		r.Only("model_type", "clip", "only CLIP is read here")
	}
	projection, sub := r.Size("projection_dim", 512), c
	if err := r.Err(); err != nil {
		return nil, err
	}
	if !alone {
		var err error
		if sub, err = tower(c, "text_config"); err != nil {
			return nil, err
		}
	}
	config, err := ParseTextConfig(sub)
	if err != nil {
		return nil, err
	}
	t, err := newProjected(config, projection, l)
	if err != nil {
		return nil, err
	}
	for _, other := range []string{"visual_projection", "vision_model", "logit_scale"} {
		l.Without(other)
	}
	l.Unread("CLIP's text tower")
	return t, l.Err()
}

// newProjected is NewText with a projection.
func newProjected(c TextConfig, projection int, l *weights.Loader) (*Text, error) {
	t, err := NewText(c, l)
	if err != nil {
		return nil, err
	}
	p := layer.LoadLinear(l, "text_projection", c.Width, projection)
	t.projection = &p
	return t, l.Err()
}

// NewText builds the text tower of a configuration, without a projection.
func NewText(c TextConfig, l *weights.Loader) (*Text, error) {
	t := &Text{Width: c.Width, Length: c.Length, Vocab: c.Vocab, EOS: c.EOS, bidirectional: c.Bidirectional}
	if l.HasIn("text_model") {
		l = l.In("text_model")
	}
	e := l.In("embeddings")
	t.tokens = e.Table("token_embedding.weight", t.Vocab, t.Width)
	t.positions = e.Table("position_embedding.weight", t.Length, t.Width)
	t.blocks = loadBlocks(l, c.Layers, c.Heads, t.Width, c.Inner, c.Eps, c.Act, !c.Bidirectional)
	t.final = layer.LoadLayerNorm(l, "final_layer_norm", t.Width, c.Eps)
	return t, l.Err()
}

// Forward encodes texts: rows of ids of one length, at most Length.
func (t *Text) Forward(s *engine.Stream, ids [][]int32, o TextOptions) (TextOutput, error) {
	tokens, ends, err := t.Tokens(ids)
	if err != nil {
		return TextOutput{}, err
	}
	x, e := s.Put(tokens), s.Put(ends)
	defer s.Free(x, e)
	return t.Run(s, x, e, o)
}

// Truncate cuts off, in place, the tokens behind the ends of all texts: attention is
// causal and a text is pooled at its end, so that they change nothing. Rows have a
// multiple of eight tokens afterwards, so that there are few lengths, or as many as
// before.
func (t *Text) Truncate(ids [][]int32) {
	if t.bidirectional {
		return // all of a row is seen
	}
	length := 0
	for _, row := range ids {
		length = max(length, t.end(row)+1)
	}
	for i, row := range ids {
		ids[i] = row[:min(len(row), (length+7)/8*8)]
	}
}

// Tokens checks rows of ids and returns them as host tensors of i32: the tokens
// [N, L], and ends [N], where in all of them each text is pooled.
func (t *Text) Tokens(ids [][]int32) (tokens, ends *engine.Tensor, err error) {
	if len(ids) == 0 || len(ids[0]) == 0 {
		return nil, nil, fmt.Errorf("clip text: no ids")
	}
	n, length := len(ids), len(ids[0])
	if length > t.Length {
		return nil, nil, fmt.Errorf("clip text: %d ids in a row, the model takes %d", length, t.Length)
	}
	flat, last := make([]int32, 0, n*length), make([]int32, n)
	for i, row := range ids {
		if len(row) != length {
			return nil, nil, fmt.Errorf("clip text: row %d has %d ids, row 0 has %d", i, len(row), length)
		}
		for _, id := range row {
			if id < 0 || int(id) >= t.Vocab {
				return nil, nil, fmt.Errorf("clip text: row %d has the id %d, the vocabulary has %d", i, id, t.Vocab)
			}
		}
		end := t.end(row)
		flat = append(flat, row...)
		if t.bidirectional { // all of a row is seen: open_clip has zeros behind the end
			clear(flat[i*length+end+1:])
		}
		last[i] = int32(i*length + end)
	}
	return engine.FromI32(flat, n, length), engine.FromI32(last, n), nil
}

// Run encodes what Tokens returns, brought to the device.
func (t *Text) Run(s *engine.Stream, tokens, ends *engine.Tensor, o TextOptions) (TextOutput, error) {
	if o.Skip < 0 || o.Skip >= len(t.blocks) {
		return TextOutput{}, fmt.Errorf("clip text: clip skip %d: want 0 to %d, of %d layers", o.Skip, len(t.blocks)-1, len(t.blocks))
	}
	n, length := tokens.Dim(0), tokens.Dim(1)
	s.Enter("text_model")
	// 1. Token and position embeddings.
	x := embed.Tokens(s, t.tokens, tokens, t.positions, 0, nil)
	// 2. The layers up to the one whose hidden states are wanted, and the others.
	s.Enter("encoder.layers")
	last := len(t.blocks) - o.Skip
	x = runBlocks(s, t.blocks[:last], x)
	hidden := x
	if !o.HiddenOnly && o.Skip > 0 {
		x = t.blocks[last].Forward(s, hidden)
		x = runBlocks(s, t.blocks[last+1:], x)
	}
	s.Leave(nil)
	// 3. The final norm; where both come from one layer, once.
	var out TextOutput
	final := func(x *engine.Tensor) *engine.Tensor {
		y := t.final.Forward(s, x)
		s.Free(x)
		return y
	}
	out.Hidden = hidden
	if !o.NoNorm {
		out.Hidden = final(hidden)
	}
	if o.HiddenOnly {
		s.Leave(nil)
		return out, s.Err()
	}
	normed := out.Hidden
	switch {
	case x != hidden:
		normed = final(x)
	case o.NoNorm:
		normed = t.final.Forward(s, x)
	}
	// 4. Pooled at the end of each text, and projected.
	out.Pooled = embed.Rows(s, s.View(normed, n*length, t.Width), ends)
	if normed != out.Hidden {
		s.Free(normed)
	}
	s.Leave(nil)
	out.Embeds = project(s, t.projection, out.Pooled)
	return out, s.Err()
}

// Concat lays hidden states of several text towers [N, L, ...] side by side, in
// their order: the context [N, L, sum of widths] of a net that listens to all of
// them, as SDXL's. It frees nothing.
func Concat(s *engine.Stream, hidden ...*engine.Tensor) (*engine.Tensor, error) {
	if len(hidden) == 0 {
		return nil, fmt.Errorf("clip text: no hidden states to concatenate")
	}
	for _, h := range hidden {
		if sh := h.Shape(); len(sh) != 3 || !sh[:2].Equal(hidden[0].Shape()[:2]) {
			return nil, &layer.ShapeError{Net: "clip text", Input: "hidden states", Have: sh,
				Want: fmt.Sprintf("%v with another width", hidden[0].Shape())}
		}
	}
	return layer.Concat(s, hidden...), s.Err()
}

// end is where a text is pooled: the first eos. Old configurations say that
// eos is 2, where OpenAI's weights mean the highest id.
func (t *Text) end(row []int32) int {
	at := 0
	for i, id := range row {
		if t.EOS == 2 {
			if id > row[at] {
				at = i
			}
		} else if int(id) == t.EOS {
			return i
		}
	}
	return at
}
