// Package clip is CLIP, which embeds pictures and texts in one space
// (arXiv 2103.00020; transformers' CLIPModel), and the text encoder of Stable
// Diffusion.
package clip

import (
	"fmt"
	"strconv"

	"parley/engine"
	"parley/kernels/embed"
	"parley/kernels/matmul"
	"parley/kernels/norm"
	"parley/kernels/resample"
	"parley/nets/layer"
	"parley/weights"
)

// Model is both towers with their projections.
type Model struct {
	Text       *Text // nil where there is the picture tower alone
	Vision     *Vision
	Projection int // width of the common space
}

// Load builds a model from config.json and tensors named as transformers'.
func Load(c weights.Config, l *weights.Loader) (*Model, error) {
	config, err := ParseConfig(c)
	if err != nil {
		return nil, err
	}
	return New(config, l)
}

// New builds a model of a configuration. A checkpoint of the picture tower alone
// has no Text.
func New(c Config, l *weights.Loader) (*Model, error) {
	m := &Model{Projection: c.Projection}
	var err error
	if l.HasIn("text_model") || !l.HasIn("vision_model") {
		if m.Text, err = NewText(c.Text, l); err != nil {
			return nil, err
		}
		text := layer.LoadLinear(l, "text_projection", c.Text.Width, c.Projection)
		m.Text.projection = &text
	}
	if m.Vision, err = NewVision(c.Vision, c.Projection, l); err != nil {
		return nil, err
	}
	l.Without("logit_scale") // scores are cosines
	l.Unread("a CLIP")
	return m, l.Err()
}

// Text is the text tower.
type Text struct {
	Width, Length, Vocab, EOS int

	tokens, positions *engine.Tensor
	blocks            []layer.Block
	final             layer.Norm
	projection        *layer.Linear
	bidirectional     bool
}

// TextOutput is what the text tower gives for [N, L] ids.
type TextOutput struct {
	Hidden *engine.Tensor // [N, L, Width], after the final norm
	Pooled *engine.Tensor // [N, Width], at the end of the text
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

// NewText builds the text tower of a configuration, without a projection.
func NewText(c TextConfig, l *weights.Loader) (*Text, error) {
	t := &Text{Width: c.Width, Length: c.Length, Vocab: c.Vocab, EOS: c.EOS}
	if l.HasIn("text_model") {
		l = l.In("text_model")
	}
	e := l.In("embeddings")
	t.tokens = e.Table("token_embedding.weight", t.Vocab, t.Width)
	t.positions = e.Table("position_embedding.weight", t.Length, t.Width)
	t.blocks = loadBlocks(l, c.Layers, c.Heads, t.Width, c.Inner, c.Eps, c.Act, !c.Bidirectional)
	t.final = layer.LoadLayerNorm(l, "final_layer_norm", t.Width, c.Eps)
	t.bidirectional = c.Bidirectional
	return t, l.Err()
}

func loadBlocks(l *weights.Loader, layers, heads, width, inner int, eps float64, act matmul.Act, causal bool) []layer.Block {
	var blocks []layer.Block
	for i := range layers {
		p := l.In("encoder.layers").In(strconv.Itoa(i))
		blocks = append(blocks, layer.Block{Name: strconv.Itoa(i), Act: act, Causal: causal,
			Norm1: layer.LoadLayerNorm(p, "layer_norm1", width, eps),
			Attn:  layer.LoadSelf(p, "self_attn", layer.CLIPNames, width, width, heads),
			Norm2: layer.LoadLayerNorm(p, "layer_norm2", width, eps),
			FC1:   layer.LoadLinear(p, "mlp.fc1", width, inner),
			FC2:   layer.LoadLinear(p, "mlp.fc2", inner, width)})
	}
	return blocks
}

// Forward encodes texts: rows of ids of one length, at most Length.
func (t *Text) Forward(s *engine.Stream, ids [][]int32) (TextOutput, error) {
	words, ends, err := t.Words(ids)
	if err != nil {
		return TextOutput{}, err
	}
	w, e := s.Put(words), s.Put(ends)
	defer s.Free(w, e)
	return t.Run(s, w, e), s.Err()
}

// Trim cuts what stands behind the ends of all texts, in place: no id sees those
// behind it, and a text is pooled at its end. Rows have a multiple of eight ids
// afterwards, so that there are few lengths, or as many as before.
func (t *Text) Trim(ids [][]int32) {
	if t.bidirectional {
		return // all of a row is seen
	}
	keep := 0
	for _, row := range ids {
		keep = max(keep, t.end(row)+1)
	}
	for i, row := range ids {
		ids[i] = row[:min(len(row), (keep+7)/8*8)]
	}
}

// Words checks rows of ids and returns them as host tensors: [N, L], and [N],
// where in all of them each text is pooled.
func (t *Text) Words(ids [][]int32) (words, ends *engine.Tensor, err error) {
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

// Run encodes what Words returns, brought to the device.
func (t *Text) Run(s *engine.Stream, words, ends *engine.Tensor) TextOutput {
	n, length := words.Dim(0), words.Dim(1)
	s.Enter("text_model")
	x := embed.Tokens(s, t.tokens, words, t.positions, 0, nil)
	s.Enter("encoder.layers")
	for _, b := range t.blocks {
		y := b.Forward(s, x)
		s.Free(x)
		x = y
	}
	s.Leave(nil)
	out := TextOutput{Hidden: t.final.Forward(s, x)}
	s.Free(x)
	out.Pooled = embed.Rows(s, out.Hidden.Reshape(n*length, t.Width), ends)
	s.Leave(nil)
	if t.projection != nil {
		p := t.projection.Forward(s, out.Pooled)
		out.Embeds = norm.L2(s, p)
		s.Free(p)
	}
	return out
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

// Vision is the picture tower.
type Vision struct {
	patches    layer.Patches
	pre, post  layer.Norm
	blocks     []layer.Block
	projection *layer.Linear
}

// VisionOutput is what the picture tower gives for N pictures.
type VisionOutput struct {
	Hidden *engine.Tensor // [N, 1+patches, Width], before the last norm
	Pooled *engine.Tensor // [N, Width], the class token after it
	Embeds *engine.Tensor // [N, Projection], of length 1
}

// LoadVision builds the picture tower of a config.json of a whole CLIP or of the
// tower alone, and reads nothing of the text tower, not its configuration.
func LoadVision(c weights.Config, l *weights.Loader) (*Vision, error) {
	r := c.Reader()
	projection, sub := r.Size("projection_dim", 512), c
	if err := r.Err(); err != nil {
		return nil, err
	}
	if c.Has("vision_config") || c.Has("vision_config_dict") {
		var err error
		if sub, err = tower(c, "vision_config"); err != nil {
			return nil, err
		}
	}
	config, err := ParseVisionConfig(sub)
	if err != nil {
		return nil, err
	}
	return NewVision(config, projection, l)
}

// NewVision builds the picture tower of a configuration, with its projection.
func NewVision(c VisionConfig, projection int, l *weights.Loader) (*Vision, error) {
	p := layer.LoadLinear(l, "visual_projection", c.Width, projection)
	l = l.In("vision_model")
	v := &Vision{
		patches:    layer.LoadPatches(l.In("embeddings"), "position_embedding.weight", c.Channels, c.Image, c.Patch, c.Width),
		pre:        layer.LoadLayerNorm(l, "pre_layrnorm", c.Width, c.Eps),
		blocks:     loadBlocks(l, c.Layers, c.Heads, c.Width, c.Inner, c.Eps, c.Act, false),
		post:       layer.LoadLayerNorm(l, "post_layernorm", c.Width, c.Eps),
		projection: &p,
	}
	return v, l.Err()
}

// Size is the side of the pictures in pixels.
func (v *Vision) Size() int { return v.patches.Image }

// Forward encodes pictures [N, Size, Size, 3], normalised.
func (v *Vision) Forward(s *engine.Stream, x *engine.Tensor) (VisionOutput, error) {
	size := v.Size()
	if sh := x.Shape(); len(sh) != 4 || sh[1] != size || sh[2] != size || sh[3] != 3 {
		return VisionOutput{}, &layer.ShapeError{Net: "clip image", Input: "pixels", Have: sh, Want: fmt.Sprintf("[N %d %d 3]", size, size)}
	}
	s.Enter("vision_model")
	e := v.patches.Forward(s, x)
	h := v.pre.Forward(s, e)
	s.Free(e)
	s.Enter("encoder.layers")
	for _, b := range v.blocks {
		y := b.Forward(s, h)
		s.Free(h)
		h = y
	}
	s.Leave(nil)
	out := VisionOutput{Hidden: h}
	n, rows, width := h.Dim(0), h.Dim(1), h.Dim(2)
	// The class token of each picture is the first of its rows.
	c := resample.Crop(s, h.Reshape(n, rows, 1, width), 0, 0, 1, 1).Reshape(n, width)
	out.Pooled = v.post.Forward(s, c)
	s.Free(c)
	s.Leave(nil)
	if v.projection != nil {
		p := v.projection.Forward(s, out.Pooled)
		out.Embeds = norm.L2(s, p)
		s.Free(p)
	}
	return out, s.Err()
}
