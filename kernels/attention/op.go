// Package attention is softmax(q kᵀ · scale) v over heads, without the matrix
// of all scores (Dao et al., FlashAttention, arXiv 2205.14135).
package attention

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Options says how the width is cut and which keys a query sees.
type Options struct {
	Heads  int
	Scale  float64 // 0 means 1/sqrt(head dim)
	Causal bool    // the last query sees every key, the one before all but one; each sees one at least
	Keys   int     // only the first Keys rows of k and v; 0 means all
	// More, unless it is nil, is a number on the device that is added to Keys,
	// so that one recording serves every length: for a query or few, of heads
	// of a multiple of 8. The caller sees to it that the rows are there.
	More *engine.Tensor
}

// Attend takes q [N, Lq, Heads*D] and k, v [M, Lk, Heads*D] and returns
// [N, Lq, Heads*D]. N is a multiple of M: each row of k and v serves N/M
// consecutive rows of q.
func Attend(s *engine.Stream, q, k, v *engine.Tensor, o Options) *engine.Tensor {
	if len(q.Shape()) != 3 || len(k.Shape()) != 3 || !k.Shape().Equal(v.Shape()) || k.Elems() == 0 ||
		q.Dim(2) != k.Dim(2) || o.Heads < 1 || q.Dim(2)%o.Heads != 0 || q.Dim(0)%k.Dim(0) != 0 {
		s.Fail(fmt.Errorf("attention: %s: q %v, k %v, v %v, %d heads", s.Path(), q.Shape(), k.Shape(), v.Shape(), o.Heads))
		return s.New(s.Float(), q.Shape()...)
	}
	width, keys := q.Dim(2), k.Dim(1)
	if o.Keys > 0 {
		keys = o.Keys
	}
	if keys > k.Dim(1) || o.Causal && q.Dim(1) > keys {
		s.Fail(fmt.Errorf("attention: %s: %d keys of k %v for q %v, causal %t", s.Path(), keys, k.Shape(), q.Shape(), o.Causal))
	}
	if o.Scale == 0 {
		o.Scale = 1 / math.Sqrt(float64(width/o.Heads))
	}
	y := s.New(s.Float(), q.Shape()...)
	work := engine.Work{Op: "attention", Out: y, FLOPs: 4 * int64(q.Elems()) * int64(keys),
		Bytes: int64(s.Float().Size()) * (2*int64(q.Elems()) + 2*int64(k.Dim(0))*int64(keys)*int64(width))}
	return s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			onCUDA(g, s, q, k, v, y, o, keys)
			return
		}
		if h, ok := host.On(d); ok {
			if o.More != nil {
				keys += int(o.More.I32()[0])
			}
			a := attn{d: h, q: q.F32(), k: k.F32(), v: v.F32(), y: y.F32(), n: q.Dim(0), lq: q.Dim(1),
				share: q.Dim(0) / k.Dim(0), room: k.Dim(1), keys: keys, heads: o.Heads, dim: width / o.Heads,
				scale: float32(o.Scale), causal: o.Causal}
			a.run()
		}
	})
}
