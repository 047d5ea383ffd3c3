package layer

import (
	"parley/engine"
	"parley/kernels/attention"
	"parley/kernels/embed"
	"parley/kernels/matmul"
	"parley/weights"
)

// Attention is multi-head attention with its projections. Those of one input
// are one product: queries, keys and values side by side where all come from x,
// keys and values where they come from a context.
type Attention struct {
	scopes
	in    Linear // "qkv", or the queries alone
	kv    Linear // of a context, in a cross-attention
	out   Linear
	heads int
}

// AttentionNames are a checkpoint's names of the projections.
type AttentionNames struct{ Query, Key, Value, Out string }

// CLIPNames are transformers' names of CLIP's projections.
func CLIPNames() AttentionNames { return AttentionNames{"q_proj", "k_proj", "v_proj", "out_proj"} }

// DiffusersNames are those that diffusers uses.
func DiffusersNames() AttentionNames { return AttentionNames{"to_q", "to_k", "to_v", "to_out.0"} }

// BERTNames are those of transformers' BERT and of BLIP's text decoder.
func BERTNames() AttentionNames {
	return AttentionNames{"self.query", "self.key", "self.value", "output.dense"}
}

// LoadSelf reads projections of [inner, width] and the one back to [width,
// inner].
func LoadSelf(l *weights.Loader, name string, names AttentionNames, width, inner, heads int) Attention {
	p, heads := attentionIn(l, name, inner, heads)
	return Attention{scopes: scopesOf(name), heads: heads, out: LoadLinear(p, names.Out, inner, width),
		in: concatLinear(p, "qkv", width, inner, names.Query, names.Key, names.Value)}
}

// LoadCross reads projections of queries [inner, width], of keys and values
// [inner, context], and the one back to [width, inner].
func LoadCross(l *weights.Loader, name string, names AttentionNames, width, context, inner, heads int) Attention {
	p, heads := attentionIn(l, name, inner, heads)
	kv := concatLinear(p, "kv", context, inner, names.Key, names.Value)
	return Attention{scopes: scopesOf(name), heads: heads, in: LoadLinear(p, names.Query, width, inner), kv: kv,
		out: LoadLinear(p, names.Out, inner, width)}
}

// LoadPacked reads name.qkv of [3 width, width] and name.projection, as in
// BLIP's vision tower.
func LoadPacked(l *weights.Loader, name string, width, heads int) Attention {
	p, heads := attentionIn(l, name, width, heads)
	return Attention{scopes: scopesOf(name), heads: heads, in: LoadLinear(p, "qkv", width, 3*width),
		out: LoadLinear(p, "projection", width, width)}
}

func attentionIn(l *weights.Loader, name string, inner, heads int) (*weights.Loader, int) {
	if heads < 1 || inner%heads != 0 {
		l.Fail(&HeadsError{Layer: l.Prefix() + name, Width: inner, Heads: heads})
		heads = 1
	}
	return l.In(name), heads
}

// KeysValues projects a context [M, Lk, context] to the keys and values of a
// cross-attention side by side, [M, Lk, 2 inner].
func (a Attention) KeysValues(s *engine.Stream, context *engine.Tensor) *engine.Tensor {
	return a.kv.Forward(s, context)
}

// Cross attends from x [N, L, width] to what KeysValues gives, of M samples that
// serve N/M rows each, and adds residual [N, L, width] unless it is nil.
func (a Attention) Cross(s *engine.Stream, x, kv, residual *engine.Tensor) *engine.Tensor {
	s.Enter(a.fused(matmul.None, residual))
	q := a.in.Forward(s, x)
	y := attention.PackedKeys(s, q, kv, attention.Options{Heads: a.heads})
	s.Free(q)
	return s.Leave(a.back(s, y, residual))
}

// Self attends within x [N, L, width], and adds residual [N, L, width] unless it
// is nil.
func (a Attention) Self(s *engine.Stream, x, residual *engine.Tensor, causal bool) *engine.Tensor {
	s.Enter(a.fused(matmul.None, residual))
	qkv := a.in.Forward(s, x)
	y := attention.Packed(s, qkv, attention.Options{Heads: a.heads, Causal: causal})
	s.Free(qkv)
	return s.Leave(a.back(s, y, residual))
}

// Cached attends causally within a text of which x [N, L, width] are the tokens
// from position `at` on. cache [N, room, 2 inner] has the keys and values of those
// before, and gets theirs. offset, unless it is nil, is an i32 on the device that
// is added to `at`, so that one captured graph serves every position.
func (a Attention) Cached(s *engine.Stream, x, cache, residual *engine.Tensor, at int, offset *engine.Tensor) *engine.Tensor {
	s.Enter(a.fused(matmul.None, residual))
	qkv := a.in.Forward(s, x)
	embed.Append(s, cache, qkv, at, offset)
	y := attention.Cached(s, qkv, cache, attention.Options{Heads: a.heads, Causal: true, Keys: at + x.Dim(1), Offset: offset})
	s.Free(qkv)
	return s.Leave(a.back(s, y, residual))
}

// back projects what the heads give, and frees it.
func (a Attention) back(s *engine.Stream, y, residual *engine.Tensor) *engine.Tensor {
	z := a.out.Fused(s, y, matmul.None, residual)
	s.Free(y)
	return z
}
