package cosine

import (
	_ "embed"
	"math"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("cosine", image)

const threads = 512 // of the one block

// onCUDA reads k scores of 8 bytes and the best row's number in one download.
func onCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor, scores []float64) (best int) {
	k := len(scores)
	if k == 0 {
		return 0
	}
	answer := s.New(engine.I32, 2*k+1)
	d.Launch(s, module, "cosine_f32", cuda.Dim{X: 1}, cuda.Dim{X: threads}, 0, x, y, answer, answer.Rows(2*k, 2*k+1), k, x.Dim(-1))
	host, err := s.Get(answer)
	s.Free(answer)
	if err != nil {
		s.Fail(err)
		return 0
	}
	w := host.I32()
	for i := range scores {
		scores[i] = math.Float64frombits(uint64(uint32(w[2*i+1]))<<32 | uint64(uint32(w[2*i])))
	}
	return int(w[2*k])
}
