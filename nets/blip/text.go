package blip

import (
	"strconv"

	"parley/engine"
	"parley/kernels/matmul"
	"parley/kernels/storage"
	"parley/nets/layer"
	"parley/weights"
)

// Text is the text decoder: a BERT with causal self-attention and attention to the
// picture.
type Text struct {
	Width           int   // of the hidden states
	Length          int   // tokens of a text at most
	Vocab           int   // ids that it knows
	BOS, Sep, PadID int32 // the tokens that begin a text, end it, and fill rows up

	tokens, positions *engine.Tensor
	normIn            layer.Norm
	layers            []decoderLayer
	transform         layer.Linear
	act               matmul.Act
	normOut           layer.Norm
	head              layer.Linear
	encoderWidth      int
}

type decoderLayer struct {
	path                string // "encoder.layer.3"
	self, cross         layer.Attention
	norm1, norm2, norm3 layer.Norm
	up, down            layer.Linear
}

func newText(c TextConfig, encoder int, l *weights.Loader) (*Text, error) {
	t := &Text{Width: c.Width, Length: c.Length, Vocab: c.Vocab, BOS: int32(c.BOS), Sep: int32(c.Sep), PadID: int32(c.Pad),
		encoderWidth: encoder}
	heads, inner, eps, act := c.Heads, c.Inner, c.Eps, c.Act
	l = l.In("text_decoder")
	e := l.In("bert.embeddings")
	t.tokens = e.Table("word_embeddings.weight", t.Vocab, t.Width)
	t.positions = e.Table("position_embeddings.weight", t.Length, t.Width)
	t.normIn = layer.LoadLayerNorm(e, "LayerNorm", t.Width, eps)
	names := layer.BERTNames()
	for i := range c.Layers {
		path := "encoder.layer." + strconv.Itoa(i)
		p := l.In("bert").In(path)
		t.layers = append(t.layers, decoderLayer{path: path,
			self:  layer.LoadSelf(p, "attention", names, t.Width, t.Width, heads),
			norm1: layer.LoadLayerNorm(p, "attention.output.LayerNorm", t.Width, eps),
			cross: layer.LoadCross(p, "crossattention", names, t.Width, encoder, t.Width, heads),
			norm2: layer.LoadLayerNorm(p, "crossattention.output.LayerNorm", t.Width, eps),
			up:    layer.LoadLinear(p, "intermediate.dense", t.Width, inner),
			down:  layer.LoadLinear(p, "output.dense", inner, t.Width),
			norm3: layer.LoadLayerNorm(p, "output.LayerNorm", t.Width, eps)})
	}
	h := l.In("cls.predictions")
	t.transform, t.act = layer.LoadLinear(h, "transform.dense", t.Width, t.Width), act
	t.normOut = layer.LoadLayerNorm(h, "transform.LayerNorm", t.Width, eps)
	// The head shares the token embeddings' matrix, unless it has its own
	// (tie_word_embeddings is false in both configurations).
	var matrix storage.Source
	switch {
	case h.Has("decoder.weight") || c.Untied:
		matrix = h.Source("decoder.weight", t.Vocab, t.Width)
	case e.Has("word_embeddings.weight"):
		matrix = e.Source("word_embeddings.weight", t.Vocab, t.Width)
	}
	bias := "bias"
	if h.Has("decoder.bias") {
		bias = "decoder.bias"
		h.Without("bias")
	}
	t.head = layer.NewLinear(h, "decoder", matrix, h.F32(bias, t.Vocab), t.Width, t.Vocab)
	return t, l.Err()
}
