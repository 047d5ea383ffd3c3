// Package cosine compares embeddings.
package cosine

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Similarity gives the cosine of each row of embeddings x [K, D] with y [1, D],
// all f32 and of length 1, and the first row with the largest.
func Similarity(s *engine.Stream, x, y *engine.Tensor) (scores []float64, best int, err error) {
	k, d := x.Dim(0), x.Dim(-1)
	if x.Elems() != k*d || y.Elems() != d || x.DType() != engine.F32 || y.DType() != engine.F32 {
		err := fmt.Errorf("cosine: %s: embeddings %v %v and %v %v do not fit", s.Path(), x.Shape(), x.DType(), y.Shape(), y.DType())
		s.Fail(err)
	}
	scores = make([]float64, k)
	work := engine.Work{Op: "cosine", Out: x, In: engine.Inputs{x, y}, Dims: engine.Dims{{Name: "rows", Size: k}, {Name: "channels", Size: d}},
		FLOPs: 2 * int64(x.Elems()), Bytes: int64(x.Bytes() + y.Bytes())}
	s.Do(work, func(dev engine.Device) {
		if g, ok := cuda.On(dev); ok {
			best = onCUDA(g, s, x, y, scores)
			return
		}
		if _, ok := host.On(dev); ok {
			s.Took("loop")
			best = onHost(x, y, scores)
		}
	})
	return scores, best, s.Err()
}
