// Package embed looks rows up: token embeddings, rows of a cache, and the
// sinusoids of a timestep.
package embed

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/activate"
)

// Rows returns table[ids] as [len(ids), C] for a table of [V, ...]. Every id
// has to be below V; nets check what users give.
func Rows(s *engine.Stream, table *engine.Tensor, ids []int32) *engine.Tensor {
	c := table.Elems() / table.Dim(0)
	for _, id := range ids {
		if id < 0 || int(id) >= table.Dim(0) {
			s.Fail(fmt.Errorf("embed: %s: row %d of %v", s.Path(), id, table.Shape()))
		}
	}
	dims := append([]int{len(ids)}, table.Shape()[1:]...)
	y := s.New(engine.F32, dims...)
	return s.Do(engine.Work{Op: "rows", Out: y, Bytes: 8 * int64(y.Elems())}, func(d engine.Device) {
		if _, ok := host.On(d); ok {
			ts, ys := table.F32(), y.F32()
			for i, id := range ids {
				copy(ys[i*c:(i+1)*c], ts[int(id)*c:(int(id)+1)*c])
			}
		}
	})
}

// Timesteps returns [len(ts), dim]: cosines of t times falling frequencies,
// then sines (diffusers' get_timestep_embedding with flip_sin_to_cos and
// downscale_freq_shift 0).
func Timesteps(s *engine.Stream, ts []float64, dim int) *engine.Tensor {
	y := s.New(engine.F32, len(ts), dim)
	return s.Do(engine.Work{Op: "timesteps", Out: y, Bytes: 4 * int64(y.Elems())}, func(d engine.Device) {
		if _, ok := host.On(d); ok {
			half := dim / 2
			ys := y.F32()
			clear(ys)
			for i, t := range ts {
				for j := range half {
					f := float64(float32(math.Exp(-math.Log(10000) * float64(j) / float64(half))))
					sin, cos := math.Sincos(float64(float32(t * f)))
					ys[i*dim+j], ys[i*dim+half+j] = float32(cos), float32(sin)
				}
			}
		}
	})
}

// Add returns table[ids] + positions as [n, L, C], for n rows of L ids and
// positions of [L, C].
func Add(s *engine.Stream, table *engine.Tensor, ids []int32, positions *engine.Tensor, n int) *engine.Tensor {
	if length := positions.Dim(0); len(ids) != n*length || table.Dim(-1) != positions.Dim(-1) {
		s.Fail(fmt.Errorf("embed: %s: %d ids in %d rows, table %v, positions %v", s.Path(), len(ids), n, table.Shape(), positions.Shape()))
		return s.New(engine.F32, n, length, table.Dim(-1))
	}
	rows := Rows(s, table, ids)
	y := activate.Add(s, rows, positions)
	s.Free(rows)
	return y.Reshape(n, len(ids)/n, table.Dim(-1))
}
