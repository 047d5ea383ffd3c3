package bert

import (
	"parley/kernels/matmul"
	"parley/nets/layer"
	"parley/weights"
)

// Config is the configuration of an encoder (transformers' BertConfig).
type Config struct {
	Width, Layers, Heads, Inner int
	Length, Vocab, Types        int // positions, tokens, and types of tokens that there are
	Act                         matmul.Act
	Eps                         float64 // of layer norms
}

// MiniLM is all-MiniLM-L6-v2's.
func MiniLM() Config {
	return Config{Width: 384, Layers: 6, Heads: 12, Inner: 1536, Length: 512, Vocab: 30522, Types: 2, Act: matmul.GELU, Eps: 1e-12}
}

// ParseConfig reads a config.json of BertModel.
func ParseConfig(c weights.Config) (Config, error) {
	r := c.Reader()
	r.Unquantised()
	out := Config{Width: r.Size("hidden_size", 768), Layers: r.Layers("num_hidden_layers", 12), Heads: r.Size("num_attention_heads", 12),
		Inner: r.Size("intermediate_size", 3072), Length: r.Size("max_position_embeddings", 512), Vocab: r.Size("vocab_size", 30522),
		Types: r.Size("type_vocab_size", 2), Act: layer.Activation(r, "hidden_act", "gelu"), Eps: r.Epsilon("layer_norm_eps", 1e-12)}
	r.Only("model_type", "bert", "only BERT is read here")
	r.Only("is_decoder", false, "sentences are encoded by what sees all of them")
	r.Only("add_cross_attention", false, "sentences are encoded by themselves")
	r.Only("position_embedding_type", "absolute", "only positions of their own are read")
	return out, r.Err()
}
