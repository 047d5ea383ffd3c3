// Package bert is BERT as an encoder of sentences (arXiv 1810.04805, 1908.10084;
// transformers' BertModel, sentence-transformers).
package bert

import (
	"fmt"
	"strconv"

	"parley/engine"
	"parley/kernels/embed"
	"parley/kernels/matmul"
	"parley/kernels/norm"
	"parley/kernels/pool"
	"parley/nets/layer"
	"parley/weights"
)

// Model is the encoder.
type Model struct {
	Width  int // of the hidden states
	Length int // tokens of a text at most
	Vocab  int // ids that it knows

	tokens, positions *engine.Tensor
	normIn            layer.Norm
	layers            []encoderLayer
	act               matmul.Act
}

type encoderLayer struct {
	path         string // "encoder.layer.3"
	self         layer.Attention
	norm1, norm2 layer.Norm
	up, down     layer.Linear
}

// Load builds the encoder from config.json and transformers' tensor names.
func Load(c weights.Config, l *weights.Loader) (*Model, error) {
	config, err := ParseConfig(c)
	if err != nil {
		return nil, err
	}
	return New(config, l)
}

// New builds the encoder of a configuration. The pooler over the first token is left
// out: sentences are pooled over all of theirs.
func New(c Config, l *weights.Loader) (*Model, error) {
	m := &Model{Width: c.Width, Length: c.Length, Vocab: c.Vocab, act: c.Act}
	e := l.In("embeddings")
	m.tokens = e.Table("word_embeddings.weight", c.Vocab, c.Width)
	// A text alone is of the first type at each of its positions.
	positions := e.F32("position_embeddings.weight", c.Length, c.Width)
	types := e.F32("token_type_embeddings.weight", c.Types, c.Width)
	if types != nil && !engine.IsDryRun(l.Device()) {
		for i := range positions {
			positions[i] += types[i%c.Width]
		}
	}
	m.positions = e.Place(l.Device().Float(), positions, c.Length, c.Width)
	m.normIn = layer.LoadLayerNorm(e, "LayerNorm", c.Width, c.Eps)
	names := layer.BERTNames()
	for i := range c.Layers {
		path := "encoder.layer." + strconv.Itoa(i)
		p := l.In(path)
		m.layers = append(m.layers, encoderLayer{path: path,
			self:  layer.LoadSelf(p, "attention", names, c.Width, c.Width, c.Heads),
			norm1: layer.LoadLayerNorm(p, "attention.output.LayerNorm", c.Width, c.Eps),
			up:    layer.LoadLinear(p, "intermediate.dense", c.Width, c.Inner),
			down:  layer.LoadLinear(p, "output.dense", c.Inner, c.Width),
			norm2: layer.LoadLayerNorm(p, "output.LayerNorm", c.Width, c.Eps)})
	}
	l.Without("pooler")
	l.Unread("a BERT that encodes sentences")
	return m, l.Err()
}

// Forward encodes texts, rows of ids of one length, to hidden states [N, L, Width].
// All tokens of a row see each other: texts of different lengths take a call each,
// which gives what a mask over padding would.
func (m *Model) Forward(s *engine.Stream, ids [][]int32) (*engine.Tensor, error) {
	tokens, err := m.rows(ids)
	if err != nil {
		return nil, err
	}
	x := s.Put(tokens)
	// 1. Token, position and type embeddings, normalised.
	s.Enter("embeddings")
	e := embed.Tokens(s, m.tokens, x, m.positions, 0, nil)
	h := m.normIn.Forward(s, e)
	s.Free(x, e)
	s.Leave(h)
	// 2. The layers; each norm comes behind its sum.
	for i := range m.layers {
		l := &m.layers[i]
		s.Enter(l.path)
		a := l.self.Self(s, h, h, false)
		y := l.norm1.Forward(s, a)
		s.Free(a, h)
		u := l.up.Fused(s, y, m.act, nil)
		d := l.down.Fused(s, u, matmul.None, y)
		s.Free(u, y)
		h = l.norm2.Forward(s, d)
		s.Free(d)
		s.Leave(h)
	}
	return h, s.Err()
}

// Embed gives an embedding of each text, [N, Width] in f32 and of length 1: the mean
// of its tokens' hidden states. Rows of ids have one length.
func (m *Model) Embed(s *engine.Stream, ids [][]int32) (*engine.Tensor, error) {
	h, err := m.Forward(s, ids)
	if err != nil {
		return nil, err
	}
	x := s.View(h, len(ids), len(ids[0]), 1, m.Width)
	s.Enter("pooling")
	mean := pool.Average(s, x, pool.All(x))
	y := norm.L2(s, s.View(mean, len(ids), m.Width))
	s.Free(h, mean)
	return s.Leave(y), s.Err()
}

// rows checks rows of ids and gives them as a host tensor [N, L] of i32.
func (m *Model) rows(ids [][]int32) (*engine.Tensor, error) {
	if len(ids) == 0 || len(ids[0]) == 0 {
		return nil, fmt.Errorf("bert: no ids")
	}
	length := len(ids[0])
	if length > m.Length {
		return nil, fmt.Errorf("bert: %d ids in a row, the model takes %d", length, m.Length)
	}
	flat := make([]int32, 0, len(ids)*length)
	for i, row := range ids {
		if len(row) != length {
			return nil, fmt.Errorf("bert: row %d has %d ids, row 0 has %d", i, len(row), length)
		}
		for _, id := range row {
			if id < 0 || int(id) >= m.Vocab {
				return nil, fmt.Errorf("bert: row %d has the id %d, the vocabulary has %d", i, id, m.Vocab)
			}
		}
		flat = append(flat, row...)
	}
	return engine.FromI32(flat, len(ids), length), nil
}
