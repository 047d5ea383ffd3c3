// Package blip is BLIP as a captioner (arXiv 2201.12086; transformers'
// BlipForConditionalGeneration): a vision transformer and a text decoder with
// attention to the picture.
package blip

import (
	"fmt"
	"strconv"

	"parley/engine"
	"parley/kernels/embed"
	"parley/kernels/matmul"
	"parley/nets/layer"
	"parley/weights"
)

// Model is both halves.
type Model struct {
	Vision *Vision
	Text   *Text
}

// Load builds a model from config.json and transformers' tensor names.
func Load(c weights.Config, l *weights.Loader) (*Model, error) {
	config, err := ParseConfig(c)
	if err != nil {
		return nil, err
	}
	return New(config, l)
}

// New builds a model of a configuration.
func New(c Config, l *weights.Loader) (*Model, error) {
	m := &Model{}
	var err error
	if m.Vision, err = newVision(c.Vision, l); err != nil {
		return nil, err
	}
	if m.Text, err = newText(c.Text, c.Vision.Width, l); err != nil {
		return nil, err
	}
	l.Unread("a captioner of BLIP")
	return m, l.Err()
}

// Vision is the picture tower.
type Vision struct {
	patches layer.Patches
	blocks  []layer.Block
	post    layer.Norm
}

func newVision(c VisionConfig, l *weights.Loader) (*Vision, error) {
	width, inner, eps, act := c.Width, c.Inner, c.Eps, c.Act
	l = l.In("vision_model")
	v := &Vision{patches: layer.LoadPatches(l.In("embeddings"), "position_embedding", 3, c.Image, c.Patch, width),
		post: layer.LoadLayerNorm(l, "post_layernorm", width, eps)}
	for i := range c.Layers {
		p := l.In("encoder.layers." + strconv.Itoa(i))
		v.blocks = append(v.blocks, layer.Block{Name: strconv.Itoa(i), Act: act,
			Norm1: layer.LoadLayerNorm(p, "layer_norm1", width, eps),
			Attn:  layer.LoadPacked(p, "self_attn", width, c.Heads),
			Norm2: layer.LoadLayerNorm(p, "layer_norm2", width, eps),
			FC1:   layer.LoadLinear(p, "mlp.fc1", width, inner),
			FC2:   layer.LoadLinear(p, "mlp.fc2", inner, width)})
	}
	return v, l.Err()
}

// Size is the side of the pictures in pixels.
func (v *Vision) Size() int { return v.patches.Image }

// Forward encodes pictures [N, Size, Size, 3], normalised, to [N, 1+patches,
// width].
func (v *Vision) Forward(s *engine.Stream, x *engine.Tensor) (*engine.Tensor, error) {
	size := v.Size()
	if sh := x.Shape(); len(sh) != 4 || sh[1] != size || sh[2] != size || sh[3] != 3 {
		return nil, &layer.ShapeError{Net: "blip vision", Input: "pixels", Have: sh, Want: fmt.Sprintf("[N %d %d 3]", size, size)}
	}
	s.Enter("vision_model")
	h := v.patches.Forward(s, x)
	s.Enter("encoder.layers")
	for _, b := range v.blocks {
		y := b.Forward(s, h)
		s.Free(h)
		h = y
	}
	s.Leave(nil)
	y := v.post.Forward(s, h)
	s.Free(h)
	return s.Leave(y), s.Err()
}

// Text is the decoder.
type Text struct {
	Width, Length, Vocab int
	BOS, Sep, PadID      int32

	words, positions *engine.Tensor
	normIn           layer.Norm
	layers           []decoderLayer
	transform        layer.Linear
	act              matmul.Act
	normOut          layer.Norm
	head             layer.Linear
	encoderWidth     int
}

type decoderLayer struct {
	name                string
	self, cross         layer.Attention
	norm1, norm2, norm3 layer.Norm
	up, down            layer.Linear
}

var bert = layer.AttentionNames{Query: "self.query", Key: "self.key", Value: "self.value", Out: "output.dense"}

func newText(c TextConfig, encoder int, l *weights.Loader) (*Text, error) {
	t := &Text{Width: c.Width, Length: c.Length, Vocab: c.Vocab, BOS: int32(c.BOS), Sep: int32(c.Sep), PadID: int32(c.Pad),
		encoderWidth: encoder}
	heads, inner, eps, act := c.Heads, c.Inner, c.Eps, c.Act
	l = l.In("text_decoder")
	e := l.In("bert.embeddings")
	words := e.F32("word_embeddings.weight", t.Vocab, t.Width)
	t.words = e.Place(l.Device().Float(), words, t.Vocab, t.Width)
	t.positions = e.Table("position_embeddings.weight", t.Length, t.Width)
	t.normIn = layer.LoadLayerNorm(e, "LayerNorm", t.Width, eps)
	for i := range c.Layers {
		p := l.In("bert.encoder.layer." + strconv.Itoa(i))
		t.layers = append(t.layers, decoderLayer{name: strconv.Itoa(i),
			self:  layer.LoadSelf(p, "attention", bert, t.Width, t.Width, heads),
			norm1: layer.LoadLayerNorm(p, "attention.output.LayerNorm", t.Width, eps),
			cross: layer.LoadCross(p, "crossattention", bert, t.Width, encoder, t.Width, heads),
			norm2: layer.LoadLayerNorm(p, "crossattention.output.LayerNorm", t.Width, eps),
			up:    layer.LoadLinear(p, "intermediate.dense", t.Width, inner),
			down:  layer.LoadLinear(p, "output.dense", inner, t.Width),
			norm3: layer.LoadLayerNorm(p, "output.LayerNorm", t.Width, eps)})
	}
	h := l.In("cls.predictions")
	t.transform, t.act = layer.LoadLinear(h, "transform.dense", t.Width, t.Width), act
	t.normOut = layer.LoadLayerNorm(h, "transform.LayerNorm", t.Width, eps)
	// The head shares the word embeddings' matrix, unless it has its own.
	if h.Has("decoder.weight") {
		words = h.F32("decoder.weight", t.Vocab, t.Width)
	}
	bias := "bias"
	if h.Has("decoder.bias") {
		bias = "decoder.bias"
		h.Without("bias")
	}
	t.head = layer.NewLinear(h, "decoder", words, h.F32(bias, t.Vocab), t.Width, t.Vocab)
	return t, l.Err()
}

// Cache holds the keys and values of sequences that are being written: of the
// words so far, and of the picture, once for all sequences of a picture.
type Cache struct {
	text *Text
	rows int
	room int
	used int
	self []*engine.Tensor // keys and values of each layer, [rows, room, 2 Width]
	look []*engine.Tensor // [pictures, Lk, 2 Width]

	// One word more of each row: the words, how far behind base they stand, and
	// the operations, which a GPU records.
	words, more *engine.Tensor
	base        int
	next        layer.Recording
	logits      *engine.Tensor // of Next, where it is not next's
}

// Start prepares a cache for rows sequences of up to room words, about
// pictures [M, Lk, encoder width], where rows is a multiple of M.
func (t *Text) Start(s *engine.Stream, pictures *engine.Tensor, rows, room int) (*Cache, error) {
	if sh := pictures.Shape(); len(sh) != 3 || sh[2] != t.encoderWidth || sh[0] == 0 || rows%sh[0] != 0 {
		return nil, &layer.ShapeError{Net: "blip text", Input: "encoder_hidden_states", Have: sh, Want: fmt.Sprintf("[M L %d] with %d a multiple of M", t.encoderWidth, rows)}
	}
	if room > t.Length {
		return nil, fmt.Errorf("blip text: sequences of %d words, the model takes %d", room, t.Length)
	}
	c := &Cache{text: t, rows: rows, room: room}
	s.Enter("text_decoder.start")
	for _, l := range t.layers {
		c.look = append(c.look, l.cross.Keys(s, pictures))
		c.self = append(c.self, s.New(s.Float(), rows, room, 2*t.Width))
	}
	s.Leave(nil)
	return c, s.Err()
}

// Free gives the cache's memory back.
func (c *Cache) Free(s *engine.Stream) {
	c.next.Free(s)
	s.Free(c.words, c.more, c.logits)
	s.Free(c.self...)
	s.Free(c.look...)
}

// Select makes row i go on from what row from[i] has seen, as a beam search
// asks. Rows stay with their picture.
func (c *Cache) Select(s *engine.Stream, from []int32) {
	same := true
	for i, f := range from {
		same = same && int(f) == i
	}
	if same {
		return
	}
	rows := s.Put(engine.FromI32(from, len(from)))
	for _, cache := range c.self {
		// Back to where they were, which a recording knows.
		t := embed.Select(s, cache, rows, c.used)
		embed.Append(s, cache, t, 0, nil)
		s.Free(t)
	}
	s.Free(rows)
}

// Step reads L more words of each row and returns the logits [rows, L, Vocab]
// of the word behind each, f32.
func (c *Cache) Step(s *engine.Stream, ids [][]int32) (*engine.Tensor, error) {
	if err := c.check(ids); err != nil {
		return nil, err
	}
	return c.text.logits(s, c.readIDs(s, ids)), s.Err()
}

// Next reads L more words of each row and returns the logits [rows, Vocab] of
// the word behind the last, f32, which are good until the next call.
func (c *Cache) Next(s *engine.Stream, ids [][]int32) (*engine.Tensor, error) {
	if err := c.check(ids); err != nil {
		return nil, err
	}
	length := len(ids[0])
	if length == 1 {
		if c.words == nil {
			c.words, c.more, c.base = s.New(engine.I32, c.rows, 1), s.New(engine.I32, 1), c.used
			c.next = layer.Recording{Run: func() (*engine.Tensor, error) {
				x := c.read(s, c.words, c.base, c.more)
				return c.text.logits(s, x.Reshape(c.rows, c.text.Width)), s.Err()
			}}
		}
		s.Set(c.words, flat(ids))
		s.Set(c.more, engine.FromI32([]int32{int32(c.used - c.base)}, 1))
		c.used++
		return c.next.Next(s)
	}
	x := c.readIDs(s, ids)
	last := make([]int32, c.rows)
	for i := range last {
		last[i] = int32((i+1)*length - 1)
	}
	rows := s.Put(engine.FromI32(last, c.rows))
	y := embed.Rows(s, x.Reshape(c.rows*length, c.text.Width), rows)
	s.Free(rows, x, c.logits)
	c.logits = c.text.logits(s, y)
	return c.logits, s.Err()
}

// flat is rows of one length as a host tensor.
func flat(ids [][]int32) *engine.Tensor {
	all := make([]int32, 0, len(ids)*len(ids[0]))
	for _, row := range ids {
		all = append(all, row...)
	}
	return engine.FromI32(all, len(ids), len(ids[0]))
}

// check refuses what is not words of each row for which there is room.
func (c *Cache) check(ids [][]int32) error {
	if len(ids) != c.rows || len(ids[0]) == 0 {
		return fmt.Errorf("blip text: %d rows of ids, want %d", len(ids), c.rows)
	}
	length := len(ids[0])
	if c.used+length > c.room {
		return fmt.Errorf("blip text: %d words, there is room for %d", c.used+length, c.room)
	}
	for i, row := range ids {
		if len(row) != length {
			return fmt.Errorf("blip text: row %d has %d ids, row 0 has %d", i, len(row), length)
		}
		for _, id := range row {
			if id < 0 || int(id) >= c.text.Vocab {
				return fmt.Errorf("blip text: row %d has the id %d, the vocabulary has %d", i, id, c.text.Vocab)
			}
		}
	}
	return nil
}

// readIDs is read of words on the host, behind those that were read before.
func (c *Cache) readIDs(s *engine.Stream, ids [][]int32) *engine.Tensor {
	words := s.Put(flat(ids))
	x := c.read(s, words, c.used, nil)
	c.used += len(ids[0])
	s.Free(words)
	return x
}

// read runs the layers on words [rows, L], the first of which stands at `at`
// and, where more is not nil, as much further on: [rows, L, Width].
func (c *Cache) read(s *engine.Stream, words *engine.Tensor, at int, more *engine.Tensor) *engine.Tensor {
	t := c.text
	s.Enter("text_decoder.bert")
	e := embed.Tokens(s, t.words, words, t.positions, at, more)
	x := t.normIn.Forward(s, e)
	s.Free(e)
	for i, l := range t.layers {
		s.Enter("encoder.layer." + l.name)
		h := l.self.Write(s, x, c.self[i], x, at, more)
		y := l.norm1.Forward(s, h)
		s.Free(h, x)
		h = l.cross.Cross(s, y, c.look[i], y)
		z := l.norm2.Forward(s, h)
		s.Free(h, y)
		u := l.up.Fused(s, z, t.act, nil)
		h = l.down.Fused(s, u, matmul.None, z)
		s.Free(u, z)
		x = l.norm3.Forward(s, h)
		s.Free(h)
		s.Leave(x)
	}
	s.Leave(nil)
	return x
}

// logits maps hidden states x [..., Width] to [..., Vocab], and frees them.
func (t *Text) logits(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter("text_decoder.cls.predictions")
	h := t.transform.Fused(s, x, t.act, nil)
	n := t.normOut.Forward(s, h)
	y := t.head.Logits(s, n)
	s.Free(x, h, n)
	return s.Leave(y)
}
