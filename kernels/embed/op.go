// Package embed looks rows up: token embeddings, rows of a cache, and the
// sinusoids of a timestep.
package embed

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/simd"
)

// Rows returns table[ids] as [len(ids), ...] for a table of [V, ...] and ids of
// any shape, i32. Every id has to be below V; nets check what users give.
func Rows(s *engine.Stream, table, ids *engine.Tensor) *engine.Tensor {
	c := table.Elems() / max(table.Dim(0), 1)
	dims := append([]int{ids.Elems()}, table.Shape()[1:]...)
	y := s.New(table.DType(), dims...)
	work := engine.Work{Op: "rows", Out: y, In: engine.Inputs{ids}, Dims: engine.Dims{{Name: "rows", Size: ids.Elems()}, {Name: "channels", Size: c}},
		Bytes: int64(ids.Bytes() + 2*y.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			rowsOnCUDA(g, s, table, ids, y)
			return
		}
		if _, ok := host.On(d); ok && inside(s, table, ids) {
			s.Took("copy")
			ts, ys := table.F32(), y.F32()
			for i, id := range ids.I32() {
				copy(ys[i*c:(i+1)*c], ts[int(id)*c:(int(id)+1)*c])
			}
		}
	})
}

// inside fails the stream where an id is outside of the table.
func inside(s *engine.Stream, table, ids *engine.Tensor) bool {
	for _, id := range ids.I32() {
		if id < 0 || int(id) >= table.Dim(0) {
			s.Fail(fmt.Errorf("embed: %s: row %d of %v", s.Path(), id, table.Shape()))
			return false
		}
	}
	return true
}

// Tokens returns table[ids] + positions from row at on as [N, L, C], for ids of
// [N, L] and positions of [P, C]. more, unless it is nil, is a number on the
// device that is added to at, so that one captured graph serves every
// position; the caller sees to it that the rows are there.
func Tokens(s *engine.Stream, table, ids, positions *engine.Tensor, at int, more *engine.Tensor) *engine.Tensor {
	c := table.Dim(-1)
	if len(ids.Shape()) != 2 || at < 0 || at+ids.Dim(1) > positions.Dim(0) || positions.Dim(-1) != c {
		s.Fail(fmt.Errorf("embed: %s: ids %v at %d, table %v, positions %v", s.Path(), ids.Shape(), at, table.Shape(), positions.Shape()))
		return s.New(s.Float(), 1, 1, c)
	}
	y := s.New(s.Float(), ids.Dim(0), ids.Dim(1), c)
	work := engine.Work{Op: "tokens", Out: y, In: engine.Inputs{ids, more},
		Dims:  engine.Dims{{Name: "n", Size: ids.Dim(0)}, {Name: "tokens", Size: ids.Dim(1)}, {Name: "channels", Size: c}},
		FLOPs: int64(y.Elems()), Bytes: int64(ids.Bytes()+ids.Dim(1)*c*positions.DType().Size()) + 2*int64(y.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			tokensOnCUDA(g, s, table, ids, positions, y, at, more)
			return
		}
		if _, ok := host.On(d); ok && inside(s, table, ids) {
			s.Took(simd.Vector())
			ts, ps, ys := table.F32(), positions.F32()[plus(at, more)*c:], y.F32()
			for i, id := range ids.I32() {
				simd.Add(ys[i*c:(i+1)*c], ts[int(id)*c:(int(id)+1)*c], ps[i%ids.Dim(1)*c:][:c])
			}
		}
	})
}

// plus is at with a number of the host's memory; nil is none.
func plus(at int, more *engine.Tensor) int {
	if more != nil {
		at += int(more.I32()[0])
	}
	return at
}

// Patches puts a class token [C] before the patches [N, ..., C] of each picture
// and adds positions [1+patches, C]: [N, 1+patches, C].
func Patches(s *engine.Stream, patches, class, positions *engine.Tensor) *engine.Tensor {
	n, c, rows := patches.Dim(0), patches.Dim(-1), positions.Dim(0)
	if class.Elems() != c || positions.Dim(-1) != c || patches.Elems() != n*(rows-1)*c {
		s.Fail(fmt.Errorf("embed: %s: patches %v, class %v, positions %v", s.Path(), patches.Shape(), class.Shape(), positions.Shape()))
	}
	y := s.New(s.Float(), n, rows, c)
	work := engine.Work{Op: "patches", Out: y, In: engine.Inputs{patches},
		Dims:  engine.Dims{{Name: "n", Size: n}, {Name: "tokens", Size: rows}, {Name: "channels", Size: c}},
		FLOPs: int64(y.Elems()), Bytes: int64(patches.Bytes() + class.Bytes() + positions.Bytes() + y.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			patchesOnCUDA(g, s, patches, class, positions, y)
			return
		}
		if _, ok := host.On(d); ok {
			s.Took(simd.Vector())
			ys, xs, ps := y.F32(), patches.F32(), positions.F32()
			for b := range n {
				out := ys[b*rows*c : (b+1)*rows*c]
				simd.Add(out[:c], class.F32(), ps[:c])
				simd.Add(out[c:], xs[b*(rows-1)*c:(b+1)*(rows-1)*c], ps[c:])
			}
		}
	})
}

// Append writes the last C columns of rows [N, L, C or more] to a cache [N,
// capacity, C], from row at of each sample on. more is as in Tokens.
func Append(s *engine.Stream, cache, rows *engine.Tensor, at int, more *engine.Tensor) {
	n, capacity, c, length, wide := cache.Dim(0), cache.Dim(1), cache.Dim(2), rows.Dim(1), rows.Dim(2)
	if rows.Dim(0) != n || wide < c || at < 0 || at+length > capacity {
		s.Fail(fmt.Errorf("embed: %s: rows %v at %d of a cache of %v", s.Path(), rows.Shape(), at, cache.Shape()))
		return
	}
	work := engine.Work{Op: "append", Out: cache, In: engine.Inputs{rows, more},
		Dims:  engine.Dims{{Name: "n", Size: n}, {Name: "tokens", Size: length}, {Name: "channels", Size: c}},
		Bytes: 2 * int64(n*length*c*cache.DType().Size())}
	s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			appendOnCUDA(g, s, cache, rows, at, more)
			return
		}
		if _, ok := host.On(d); ok {
			s.Took("copy")
			at := plus(at, more)
			for b := range n {
				for i := range length {
					copy(cache.F32()[(b*capacity+at+i)*c:][:c], rows.F32()[(b*length+i+1)*wide-c:])
				}
			}
		}
	})
}

// Select returns the first used rows of samples ids [M] of a cache [N, capacity, C]:
// [M, used, C].
func Select(s *engine.Stream, cache, ids *engine.Tensor, used int) *engine.Tensor {
	capacity, c := cache.Dim(1), cache.Dim(2)
	if used < 0 || used > capacity {
		s.Fail(fmt.Errorf("embed: %s: %d rows of a cache of %v", s.Path(), used, cache.Shape()))
		used = 0
	}
	y := s.New(cache.DType(), ids.Elems(), used, c)
	work := engine.Work{Op: "select", Out: y, In: engine.Inputs{cache, ids},
		Dims:  engine.Dims{{Name: "n", Size: ids.Elems()}, {Name: "tokens", Size: used}, {Name: "channels", Size: c}},
		Bytes: int64(ids.Bytes() + 2*y.Bytes())}
	return s.Do(work, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			selectOnCUDA(g, s, cache, ids, y)
			return
		}
		if _, ok := host.On(d); ok && inside(s, cache, ids) {
			s.Took("copy")
			for i, id := range ids.I32() {
				copy(y.F32()[i*used*c:(i+1)*used*c], cache.F32()[int(id)*capacity*c:])
			}
		}
	})
}

// Sinusoids are the two ways in which Timesteps can differ.
type Sinusoids struct {
	SineFirst bool    // diffusers' flip_sin_to_cos is false
	Shift     float64 // diffusers' downscale_freq_shift
}

// Timesteps returns [len(ts), dim]: cosines of t times falling frequencies,
// then sines (diffusers' get_timestep_embedding). They are few, and computed on the host. The
// frequencies are float32 where torch's are: t multiplies their rounding.
func Timesteps(s *engine.Stream, ts []float64, dim int, o Sinusoids) *engine.Tensor {
	half := dim / 2
	y := engine.FromF32(make([]float32, len(ts)*dim), len(ts), dim)
	for i, t := range ts {
		row := y.F32()[i*dim : (i+1)*dim]
		for j := range half {
			exponent := float32(-math.Log(10000)) * float32(j) / float32(float64(half)-o.Shift)
			sin, cos := math.Sincos(float64(float32(t) * float32(math.Exp(float64(exponent)))))
			if o.SineFirst {
				sin, cos = cos, sin
			}
			row[j], row[half+j] = float32(cos), float32(sin)
		}
	}
	return s.Put(y)
}
