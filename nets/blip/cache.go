package blip

import (
	"fmt"

	"parley/engine"
	"parley/kernels/embed"
	"parley/kernels/matmul"
	"parley/nets/layer"
)

// Cache holds the keys and values of rows of tokens that are being written: of the
// tokens so far, and of the picture, once for all rows of a picture.
type Cache struct {
	text *Text
	rows int
	room int // tokens of a row
	used int // of room

	self  []*engine.Tensor // by layer, self-attention's keys and values, [rows, room, 2 Width]
	cross []*engine.Tensor // by layer, cross-attention's, [pictures, Lk, 2 Width]

	// What one reads: a token of each row, how far behind base they stand, and the
	// operations.
	tokens, offset *engine.Tensor
	base           int
	next           engine.Graphed
	logits         *engine.Tensor // of Next, where it is not next's
}

// Start prepares a cache for so many rows of up to room tokens, about pictures
// [M, Lk, encoder width], where rows is a multiple of M: rows/M of a picture, side
// by side.
func (t *Text) Start(s *engine.Stream, pictures *engine.Tensor, rows, room int) (*Cache, error) {
	if sh := pictures.Shape(); len(sh) != 3 || sh[2] != t.encoderWidth || sh[0] == 0 || rows%sh[0] != 0 {
		return nil, &layer.ShapeError{Net: "blip text", Input: "encoder_hidden_states", Have: sh,
			Want: fmt.Sprintf("[M L %d] with %d a multiple of M", t.encoderWidth, rows)}
	}
	if room > t.Length {
		return nil, fmt.Errorf("blip text: sequences of %d tokens, the model takes %d", room, t.Length)
	}
	c := &Cache{text: t, rows: rows, room: room}
	s.Enter("text_decoder.start")
	for i := range t.layers {
		c.cross = append(c.cross, t.layers[i].cross.KeysValues(s, pictures))
		c.self = append(c.self, s.New(s.Float(), rows, room, 2*t.Width))
	}
	s.Leave(nil)
	return c, s.Err()
}

// Free gives the cache's memory back.
func (c *Cache) Free(s *engine.Stream) {
	c.next.Free(s)
	s.Free(c.tokens, c.offset, c.logits)
	s.Free(c.self...)
	s.Free(c.cross...)
}

// Reorder makes row i go on from what row from[i] has read, as a beam search asks
// (transformers' reorder_cache). Rows stay with their picture.
func (c *Cache) Reorder(s *engine.Stream, from []int32) {
	same := true
	for i, f := range from {
		same = same && int(f) == i
	}
	if same {
		return
	}
	rows := s.Put(engine.FromI32(from, len(from)))
	for _, cache := range c.self {
		// Back to the same memory, which a captured graph has the address of.
		t := embed.Select(s, cache, rows, c.used)
		embed.Append(s, cache, t, 0, nil)
		s.Free(t)
	}
	s.Free(rows)
}

// Step reads L more tokens of each row and returns the logits [rows, L, Vocab] of
// the token behind each, f32.
func (c *Cache) Step(s *engine.Stream, ids [][]int32) (*engine.Tensor, error) {
	if err := c.check(ids); err != nil {
		return nil, err
	}
	return c.text.logits(s, c.readIDs(s, ids)), s.Err()
}

// Next reads L more tokens of each row and returns the logits [rows, Vocab] of the
// token behind the last, f32, which are good until the next call.
func (c *Cache) Next(s *engine.Stream, ids [][]int32) (*engine.Tensor, error) {
	if err := c.check(ids); err != nil {
		return nil, err
	}
	if len(ids[0]) == 1 {
		return c.one(s, ids)
	}
	length := len(ids[0])
	x := c.readIDs(s, ids)
	last := make([]int32, c.rows)
	for i := range last {
		last[i] = int32((i+1)*length - 1)
	}
	rows := s.Put(engine.FromI32(last, c.rows))
	y := embed.Rows(s, s.View(x, c.rows*length, c.text.Width), rows)
	s.Free(rows, x, c.logits)
	c.logits = c.text.logits(s, y)
	return c.logits, s.Err()
}

// one is Next of a token of each row: the same operations on the same tensors each
// time, which a GPU captures as a graph.
func (c *Cache) one(s *engine.Stream, ids [][]int32) (*engine.Tensor, error) {
	if c.tokens == nil {
		c.tokens, c.offset, c.base = s.New(engine.I32, c.rows, 1), s.New(engine.I32, 1), c.used
		c.next = engine.Graphed{Run: func() (*engine.Tensor, error) {
			x := c.read(s, c.tokens, c.base, c.offset)
			return c.text.logits(s, s.View(x, c.rows, c.text.Width)), s.Err()
		}}
	}
	s.Set(c.tokens, flat(ids))
	s.Set(c.offset, engine.FromI32([]int32{int32(c.used - c.base)}, 1))
	c.used++
	return c.next.Next(s)
}

// flat is rows of one length as a host tensor.
func flat(ids [][]int32) *engine.Tensor {
	all := make([]int32, 0, len(ids)*len(ids[0]))
	for _, row := range ids {
		all = append(all, row...)
	}
	return engine.FromI32(all, len(ids), len(ids[0]))
}

// check refuses what is not tokens of each row for which there is room.
func (c *Cache) check(ids [][]int32) error {
	if len(ids) != c.rows || len(ids[0]) == 0 {
		return fmt.Errorf("blip text: %d rows of ids, want %d", len(ids), c.rows)
	}
	length := len(ids[0])
	if c.used+length > c.room {
		return fmt.Errorf("blip text: %d tokens, there is room for %d", c.used+length, c.room)
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

// readIDs is read of tokens on the host, behind those that were read before.
func (c *Cache) readIDs(s *engine.Stream, ids [][]int32) *engine.Tensor {
	tokens := s.Put(flat(ids))
	x := c.read(s, tokens, c.used, nil)
	c.used += len(ids[0])
	s.Free(tokens)
	return x
}

// read runs the layers on tokens [rows, L], the first of which stands at position
// `at` plus offset, an i32 on the device, unless that is nil: [rows, L, Width].
func (c *Cache) read(s *engine.Stream, tokens *engine.Tensor, at int, offset *engine.Tensor) *engine.Tensor {
	t := c.text
	s.Enter("text_decoder.bert")
	// 1. Token and position embeddings, normalised.
	e := embed.Tokens(s, t.tokens, tokens, t.positions, at, offset)
	x := t.normIn.Forward(s, e)
	s.Free(e)
	// 2. The layers; each norm comes behind its sum.
	for i := range t.layers {
		l := &t.layers[i]
		s.Enter(l.path)
		// 2.1. Self-attention.
		h := l.self.Cached(s, x, c.self[i], x, at, offset)
		y := l.norm1.Forward(s, h)
		s.Free(h, x)
		// 2.2. Cross-attention to the picture.
		h = l.cross.Cross(s, y, c.cross[i], y)
		z := l.norm2.Forward(s, h)
		s.Free(h, y)
		// 2.3. Feed-forward.
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
