package cosine

import (
	"math"

	"parley/engine"
)

func onHost(x, y *engine.Tensor, scores []float64) (best int) {
	d, top := x.Dim(-1), math.Inf(-1)
	for i := range scores {
		for j, v := range y.F32() {
			scores[i] += float64(v) * float64(x.F32()[i*d+j])
		}
		if scores[i] > top {
			top, best = scores[i], i
		}
	}
	return best
}
