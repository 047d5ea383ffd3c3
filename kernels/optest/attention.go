package optest

import (
	"fmt"
	"math"
	"testing"

	"parley/engine"
	"parley/kernels/attention"
)

// Attend is the suite of attention.Attend.
func Attend(t *testing.T, dev engine.Device) {
	u := products(t, dev)
	type shape struct {
		name                        string
		n, m, lq, lk, heads, dim    int
		causal                      bool
		keys                        int
		scale, spread, more, values float64 // spread multiplies q, values is added to v
	}
	cases := []shape{
		{name: "one of each", n: 1, m: 1, lq: 1, lk: 1, heads: 1, dim: 1},
		{name: "one key", n: 2, m: 2, lq: 9, lk: 1, heads: 3, dim: 5},
		{name: "one query", n: 2, m: 2, lq: 1, lk: 33, heads: 3, dim: 7},
		{name: "two queries", n: 2, m: 2, lq: 2, lk: 300, heads: 2, dim: 64},
		{name: "two causal queries", n: 1, m: 1, lq: 2, lk: 9, heads: 2, dim: 8, causal: true},
		{name: "three queries", n: 1, m: 1, lq: 3, lk: 13, heads: 2, dim: 9},
		{name: "few keys", n: 1, m: 1, lq: 50, lk: 7, heads: 2, dim: 16},
		{name: "one head", n: 1, m: 1, lq: 70, lk: 70, heads: 1, dim: 24},
		{name: "many heads", n: 2, m: 2, lq: 17, lk: 19, heads: 20, dim: 3},
		{name: "clip text", n: 2, m: 2, lq: 77, lk: 77, heads: 3, dim: 64, causal: true},
		{name: "causal, more keys", n: 2, m: 2, lq: 5, lk: 12, heads: 2, dim: 8, causal: true},
		{name: "causal, one query", n: 2, m: 2, lq: 1, lk: 12, heads: 2, dim: 8, causal: true},
		{name: "causal, three queries", n: 1, m: 1, lq: 3, lk: 3, heads: 2, dim: 8, causal: true},
		{name: "causal across blocks", n: 1, m: 1, lq: 300, lk: 300, heads: 1, dim: 20, causal: true},
		{name: "causal, blocks of more keys", n: 1, m: 1, lq: 130, lk: 530, heads: 2, dim: 8, causal: true},
		{name: "cache", n: 3, m: 3, lq: 1, lk: 40, heads: 2, dim: 16, causal: true, keys: 11},
		{name: "cache, five words", n: 3, m: 3, lq: 5, lk: 40, heads: 2, dim: 16, causal: true, keys: 11},
		{name: "cache, first words", n: 3, m: 3, lq: 7, lk: 40, heads: 2, dim: 16, causal: true, keys: 7},
		{name: "cache across blocks", n: 2, m: 2, lq: 30, lk: 600, heads: 2, dim: 8, keys: 270},
		{name: "beams, one query", n: 6, m: 2, lq: 1, lk: 37, heads: 3, dim: 8},
		{name: "beams, one causal query", n: 6, m: 2, lq: 1, lk: 37, heads: 3, dim: 8, causal: true},
		{name: "beams", n: 6, m: 2, lq: 9, lk: 37, heads: 3, dim: 8},
		{name: "one context for all", n: 4, m: 1, lq: 20, lk: 7, heads: 2, dim: 5, keys: 6},
		{name: "cross", n: 2, m: 2, lq: 192, lk: 77, heads: 8, dim: 5},
		{name: "a block of keys", n: 1, m: 1, lq: 40, lk: 256, heads: 2, dim: 40},
		{name: "a block and one", n: 1, m: 1, lq: 40, lk: 257, heads: 2, dim: 40},
		{name: "many blocks", n: 1, m: 1, lq: 65, lk: 1100, heads: 1, dim: 33},
		{name: "wide head", n: 1, m: 1, lq: 60, lk: 90, heads: 1, dim: 512},
		{name: "scale", n: 1, m: 1, lq: 10, lk: 30, heads: 2, dim: 8, scale: 0.07},
		// A score's rounding grows with it, and exp makes it relative.
		{name: "peaks", n: 1, m: 1, lq: 30, lk: 600, heads: 2, dim: 16, spread: 20, more: 20},
		{name: "peaks, one query", n: 1, m: 1, lq: 1, lk: 600, heads: 2, dim: 16, spread: 20, more: 20},
		{name: "shifted values", n: 1, m: 1, lq: 30, lk: 400, heads: 2, dim: 16, values: 100},
	}
	for _, dim := range []int{1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 40, 47, 63, 64, 65, 80, 97, 128, 160} {
		cases = append(cases, shape{name: "head", n: 1, m: 1, lq: 29, lk: 35, heads: 2, dim: dim},
			shape{name: "head, one query", n: 1, m: 1, lq: 1, lk: 35, heads: 2, dim: dim})
	}
	for _, lq := range []int{4, 6, 13, 14, 15, 23, 24, 25, 55, 56, 57, 113} {
		cases = append(cases, shape{name: "length", n: 1, m: 1, lq: lq, lk: lq, heads: 1, dim: 8, causal: true})
	}
	for _, c := range cases {
		width := c.heads * c.dim
		q, k, v := u.random(c.n, c.lq, width), u.random(c.m, c.lk, width), u.random(c.m, c.lk, width)
		if c.spread != 0 {
			for i := range q.F32() {
				q.F32()[i] *= float32(c.spread)
			}
			q = u.round(q)
		}
		for i := range v.F32() {
			v.F32()[i] += float32(c.values)
		}
		v = u.round(v)
		keys := c.lk
		if c.keys > 0 {
			keys = c.keys
		}
		scale := c.scale
		if scale == 0 {
			scale = 1 / math.Sqrt(float64(c.dim))
		}
		y := zeros(c.n, c.lq, width)
		for b := range c.n {
			kv := b / (c.n / c.m) * c.lk
			for h := range c.heads {
				for i := range c.lq {
					seen := keys
					if c.causal {
						seen = keys - c.lq + i + 1
					}
					at := (b*c.lq+i)*width + h*c.dim
					score := make([]float64, seen)
					top := math.Inf(-1)
					for j := range score {
						for d := range c.dim {
							score[j] += float64(q.F32()[at+d]) * float64(k.F32()[(kv+j)*width+h*c.dim+d])
						}
						score[j] *= scale
						top = max(top, score[j])
					}
					var sum float64
					for j := range score {
						score[j] = math.Exp(score[j] - top)
						sum += score[j]
					}
					for j, p := range score {
						for d := range c.dim {
							y.v[at+d] += p / sum * float64(v.F32()[(kv+j)*width+h*c.dim+d])
						}
					}
				}
			}
		}
		// What lies behind the first keys is not to be looked at.
		for b := range c.m {
			for i := (b*c.lk + keys) * width; i < (b+1)*c.lk*width; i++ {
				k.F32()[i], v.F32()[i] = float32(math.NaN()), float32(math.NaN())
			}
		}
		name := fmt.Sprintf("%s: q [%d %d], k [%d %d], %d heads of %d", c.name, c.n, c.lq, c.m, c.lk, c.heads, c.dim)
		u.want(name, y, max(c.more, 1), func(s *engine.Stream) *engine.Tensor {
			return attention.Attend(s, s.Put(q), s.Put(k), s.Put(v), attention.Options{Heads: c.heads, Scale: c.scale, Causal: c.causal,
				Keys: c.keys})
		})
		o := attention.Options{Heads: c.heads, Scale: c.scale, Causal: c.causal, Keys: c.keys}
		u.want(name+", keys beside values", y, max(c.more, 1), func(s *engine.Stream) *engine.Tensor {
			return attention.PackedKeys(s, s.Put(q), s.Put(columns(k, v)), o)
		})
		if c.n == c.m && c.lq == c.lk {
			u.want(name+", packed", y, max(c.more, 1), func(s *engine.Stream) *engine.Tensor {
				return attention.Packed(s, s.Put(columns(q, k, v)), o)
			})
		}
		if c.n == c.m {
			u.want(name+", packed queries, a cache", y, max(c.more, 1), func(s *engine.Stream) *engine.Tensor {
				return attention.Cached(s, s.Put(columns(q, q, q)), s.Put(columns(k, v)), o)
			})
		}
		if c.keys > 2 && c.lq == 1 && c.dim%8 == 0 {
			u.want(name+", two of them counted on the device", y, max(c.more, 1), func(s *engine.Stream) *engine.Tensor {
				return attention.Attend(s, s.Put(q), s.Put(k), s.Put(v), attention.Options{Heads: c.heads, Scale: c.scale, Causal: c.causal,
					Keys: c.keys - 2, Offset: ids(s, []int32{2}, 1)})
			})
		}
	}

	run := func(q, k, v []int, o attention.Options) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			return attention.Attend(s, s.New(engine.F32, q...), s.New(engine.F32, k...), s.New(engine.F32, v...), o)
		}
	}
	u.refuses([]refusal{
		{"width", "attention: net: q [1 2 8], k [1 3 6], v [1 3 6], 2 heads",
			run([]int{1, 2, 8}, []int{1, 3, 6}, []int{1, 3, 6}, attention.Options{Heads: 2})},
		{"values", "attention: net: q [1 2 8], k [1 3 8], v [1 4 8], 2 heads",
			run([]int{1, 2, 8}, []int{1, 3, 8}, []int{1, 4, 8}, attention.Options{Heads: 2})},
		{"heads", "attention: net: q [1 2 8], k [1 3 8], v [1 3 8], 3 heads",
			run([]int{1, 2, 8}, []int{1, 3, 8}, []int{1, 3, 8}, attention.Options{Heads: 3})},
		{"no heads", "attention: net: q [1 2 8], k [1 3 8], v [1 3 8], 0 heads",
			run([]int{1, 2, 8}, []int{1, 3, 8}, []int{1, 3, 8}, attention.Options{})},
		{"samples", "attention: net: q [3 2 8], k [2 3 8], v [2 3 8], 2 heads",
			run([]int{3, 2, 8}, []int{2, 3, 8}, []int{2, 3, 8}, attention.Options{Heads: 2})},
		{"four dimensions", "attention: net: q [1 2 2 8], k [1 3 8], v [1 3 8], 2 heads",
			run([]int{1, 2, 2, 8}, []int{1, 3, 8}, []int{1, 3, 8}, attention.Options{Heads: 2})},
		{"thirds", "attention: net: queries, keys and values in [1 2 8]", func(s *engine.Stream) *engine.Tensor {
			return attention.Packed(s, s.New(s.Float(), 1, 2, 8), attention.Options{Heads: 2})
		}},
		{"halves", "attention: net: q [1 2 8], keys and values [1 3 8], 2 heads", func(s *engine.Stream) *engine.Tensor {
			return attention.PackedKeys(s, s.New(s.Float(), 1, 2, 8), s.New(s.Float(), 1, 3, 8), attention.Options{Heads: 2})
		}},
		{"cache", "attention: net: queries, keys and values in [1 2 12], a cache of [1 3 12]", func(s *engine.Stream) *engine.Tensor {
			return attention.Cached(s, s.New(s.Float(), 1, 2, 12), s.New(s.Float(), 1, 3, 12), attention.Options{Heads: 2})
		}},
		{"no keys", "attention: net: q [1 2 8], k [1 0 8], v [1 0 8], 2 heads",
			run([]int{1, 2, 8}, []int{1, 0, 8}, []int{1, 0, 8}, attention.Options{Heads: 2})},
		{"more keys than there are", "attention: net: 4 keys of k [1 3 8] for q [1 2 8], causal false",
			run([]int{1, 2, 8}, []int{1, 3, 8}, []int{1, 3, 8}, attention.Options{Heads: 2, Keys: 4})},
		{"a query without keys", "attention: net: 3 keys of k [1 3 8] for q [1 4 8], causal true",
			run([]int{1, 4, 8}, []int{1, 3, 8}, []int{1, 3, 8}, attention.Options{Heads: 2, Causal: true})},
	})
}

// columns puts tensors [N, L, C] side by side.
func columns(ts ...*engine.Tensor) *engine.Tensor {
	c := ts[0].Dim(2)
	var all []float32
	for i := range ts[0].Elems() / c {
		for _, t := range ts {
			all = append(all, t.F32()[i*c:(i+1)*c]...)
		}
	}
	return engine.FromF32(all, ts[0].Dim(0), ts[0].Dim(1), len(ts)*c)
}
