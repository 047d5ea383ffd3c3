// Package attention is softmax(q kᵀ · scale) v over heads, without the matrix
// of all scores (Dao et al., FlashAttention, arXiv 2205.14135).
package attention

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/matmul"
)

// Options says how the width is cut and which keys a query sees.
type Options struct {
	Heads  int
	Scale  float64 // 0 means 1/sqrt(head dim)
	Causal bool    // the last query sees every key, the one before all but one; each sees one at least
	Keys   int     // only the first Keys rows of k and v; 0 means all
	// More, unless it is nil, is a number on the device that is added to Keys,
	// so that one captured graph serves every length. The caller sees to it that the
	// rows are there. An operation's record counts it on the host; elsewhere, where
	// the host does not know it, the record counts Keys alone.
	More *engine.Tensor
}

// pairs is how many pairs of a query and a key one head of one sample has, of lq
// queries and as many keys.
func (o Options) pairs(lq, keys int) int64 {
	n := int64(lq) * int64(keys)
	if o.Causal {
		n -= int64(lq) * int64(lq-1) / 2
	}
	return n
}

// part is columns of a tensor [N, L, C], from at on.
type part struct {
	t  *engine.Tensor
	at int
}

// row is the distance from row to row.
func (p part) row() int { return p.t.Dim(2) }

// Attend takes q [N, Lq, Heads*D] and k, v [M, Lk, Heads*D] and returns
// [N, Lq, Heads*D]. N is a multiple of M: each row of k and v serves N/M
// consecutive rows of q. The nets have projections that are packed; bench/gpu
// times this form, and a net whose key and value projections are apart takes it.
func Attend(s *engine.Stream, q, k, v *engine.Tensor, o Options) *engine.Tensor {
	if len(q.Shape()) != 3 || len(k.Shape()) != 3 || !k.Shape().Equal(v.Shape()) || q.Dim(2) != k.Dim(2) {
		s.Fail(fmt.Errorf("attention: %s: q %v, k %v, v %v, %d heads", s.Path(), q.Shape(), k.Shape(), v.Shape(), o.Heads))
		return s.New(s.Float(), q.Shape()...)
	}
	return attend(s, part{q, 0}, part{k, 0}, part{v, 0}, q.Dim(2), o)
}

// Packed is Attend within one tensor [N, L, 3*Heads*D], where each row has its
// query, its key and its value.
func Packed(s *engine.Stream, qkv *engine.Tensor, o Options) *engine.Tensor {
	if len(qkv.Shape()) != 3 || qkv.Dim(2)%3 != 0 {
		s.Fail(fmt.Errorf("attention: %s: queries, keys and values in %v", s.Path(), qkv.Shape()))
		return s.New(s.Float(), qkv.Shape()...)
	}
	w := qkv.Dim(2) / 3
	return attend(s, part{qkv, 0}, part{qkv, w}, part{qkv, 2 * w}, w, o)
}

// PackedKeys is Attend with keys and values in one tensor [M, Lk, 2*Heads*D].
func PackedKeys(s *engine.Stream, q, kv *engine.Tensor, o Options) *engine.Tensor {
	if len(q.Shape()) != 3 || len(kv.Shape()) != 3 || kv.Dim(2) != 2*q.Dim(2) {
		s.Fail(fmt.Errorf("attention: %s: q %v, keys and values %v, %d heads", s.Path(), q.Shape(), kv.Shape(), o.Heads))
		return s.New(s.Float(), q.Shape()...)
	}
	return attend(s, part{q, 0}, part{kv, 0}, part{kv, q.Dim(2)}, q.Dim(2), o)
}

// Cached is Attend with the queries of packed rows [N, Lq, 3*Heads*D], and the
// keys and values of a cache [N, room, 2*Heads*D] that has theirs already.
func Cached(s *engine.Stream, qkv, cache *engine.Tensor, o Options) *engine.Tensor {
	if len(qkv.Shape()) != 3 || len(cache.Shape()) != 3 || 2*qkv.Dim(2) != 3*cache.Dim(2) || cache.Dim(2)%2 != 0 {
		s.Fail(fmt.Errorf("attention: %s: queries, keys and values in %v, a cache of %v", s.Path(), qkv.Shape(), cache.Shape()))
		return s.New(s.Float(), qkv.Shape()...)
	}
	w := cache.Dim(2) / 2
	return attend(s, part{qkv, 0}, part{cache, 0}, part{cache, w}, w, o)
}

// attend's record has batch, heads, queries, keys, head dim, and the pairs of a
// query and a key that a head attends to: fewer than queries times keys under a
// causal mask. The FLOPs are those of the two products of these pairs.
func attend(s *engine.Stream, q, k, v part, width int, o Options) *engine.Tensor {
	n, lq, m, room := q.t.Dim(0), q.t.Dim(1), k.t.Dim(0), k.t.Dim(1)
	if m*room == 0 || o.Heads < 1 || width%o.Heads != 0 || n%m != 0 {
		s.Fail(fmt.Errorf("attention: %s: q %v, k %v, v %v, %d heads", s.Path(), q.t.Shape(), k.t.Shape(), v.t.Shape(), o.Heads))
		return s.New(s.Float(), n, lq, width)
	}
	keys := room
	if o.Keys > 0 {
		keys = o.Keys
	}
	if keys > room || o.Causal && lq > keys {
		s.Fail(fmt.Errorf("attention: %s: %d keys of k %v for q %v, causal %t", s.Path(), keys, k.t.Shape(), q.t.Shape(), o.Causal))
	}
	if o.Scale == 0 {
		o.Scale = 1 / math.Sqrt(float64(width/o.Heads))
	}
	y := s.New(s.Float(), n, lq, width)
	if _, ok := host.On(s.Device()); ok && o.More != nil && s.Err() == nil {
		keys += int(o.More.I32()[0])
	}
	in := engine.Inputs{q.t, nil, nil, o.More}
	if k.t != q.t {
		in[1] = k.t
	}
	if v.t != k.t {
		in[2] = v.t
	}
	work := engine.Work{Op: "attention", Out: y, In: in,
		Dims: engine.Dims{{Name: "batch", Size: n}, {Name: "heads", Size: o.Heads}, {Name: "queries", Size: lq}, {Name: "keys", Size: keys},
			{Name: "head dim", Size: width / o.Heads}, {Name: "pairs", Size: int(o.pairs(lq, keys))}},
		FLOPs: 4 * int64(n) * int64(width) * o.pairs(lq, keys),
		Bytes: int64(s.Float().Size()) * (2*int64(y.Elems()) + 2*int64(m)*int64(keys)*int64(width))}
	return s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			onCUDA(g, s, q, k, v, y, o, keys)
			return
		}
		if h, ok := host.On(d); ok && y.Elems() > 0 {
			a := host.Scratch[attn](h)
			*a = attn{
				d: h, q: q.t.F32()[q.at:], k: k.t.F32()[k.at:], v: v.t.F32()[v.at:], y: y.F32(), qRow: q.row(), kvRow: k.row(),
				n: n, lq: lq, share: n / m, room: room, keys: keys, heads: o.Heads, dim: width / o.Heads,
				scale: float32(o.Scale), causal: o.Causal, gemm: matmul.Gemm(h),
			}
			s.Took(a.method())
			if a.lq > 2 {
				s.Took(a.gemm.String())
			}
			s.Uses(a.run())
			*a = attn{}
			host.Recycle(h, a)
		}
	})
}
