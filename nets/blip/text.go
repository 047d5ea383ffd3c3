package blip

import (
	"fmt"
	"strconv"

	"parley/engine"
	"parley/kernels/matmul"
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

func loadText(c weights.Config, encoder int, l *weights.Loader) (*Text, error) {
	r := c.Reader()
	t := &Text{Width: r.Size("hidden_size", 768), Length: r.Size("max_position_embeddings", 512), Vocab: r.Size("vocab_size", 30524),
		BOS: int32(r.Int("bos_token_id", 30522)), Sep: int32(r.Int("sep_token_id", 102)),
		PadID: int32(r.Int("pad_token_id", 0)), encoderWidth: encoder}
	layers, heads := r.Layers("num_hidden_layers", 12), r.Size("num_attention_heads", 8)
	inner := r.Size("intermediate_size", 3072)
	eps := r.Epsilon("layer_norm_eps", 1e-12)
	act, err := matmul.ParseAct(r.String("hidden_act", "gelu"))
	if err != nil {
		r.Fail(fmt.Errorf("%s: hidden_act: %w", c.File(), err))
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	l = l.In("text_decoder")
	e := l.In("bert.embeddings")
	matrix := e.F32("word_embeddings.weight", t.Vocab, t.Width)
	t.tokens = e.Place(l.Device().Float(), matrix, t.Vocab, t.Width)
	t.positions = e.Table("position_embeddings.weight", t.Length, t.Width)
	t.normIn = layer.LoadLayerNorm(e, "LayerNorm", t.Width, eps)
	names := layer.BERTNames()
	for i := range layers {
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
	// The head shares the token embeddings' matrix, unless it has its own.
	if h.Has("decoder.weight") {
		matrix = h.F32("decoder.weight", t.Vocab, t.Width)
	}
	bias := "bias"
	if h.Has("decoder.bias") {
		bias = "decoder.bias"
	}
	t.head = layer.NewLinear(h, "decoder", matrix, h.F32(bias, t.Vocab), t.Width, t.Vocab)
	return t, l.Err()
}
