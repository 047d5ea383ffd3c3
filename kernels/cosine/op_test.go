package cosine

import (
	"math"
	"testing"

	"parley/engine"
	"parley/engine/host"
)

func TestSimilarity(t *testing.T) {
	s := engine.NewStream(t.Context(), host.New(1))
	x := engine.FromF32([]float32{0, 1, 0.8, 0.6, 0.8, 0.6, -1, 0}, 4, 2)
	scores, best, err := Similarity(s, x, engine.FromF32([]float32{1, 0}, 1, 2))
	if err != nil || best != 1 || scores[0] != 0 || math.Abs(scores[2]-0.8) > 1e-7 || scores[3] != -1 {
		t.Errorf("scores %v, best %d: %v", scores, best, err)
	}
	if scores, _, err := Similarity(s, engine.FromF32(nil, 0, 2), engine.FromF32([]float32{1, 0}, 2)); err != nil || len(scores) != 0 {
		t.Errorf("of nothing: %v, %v", scores, err)
	}
	if _, _, err := Similarity(s, x, engine.FromF32([]float32{1, 0, 0}, 1, 3)); err == nil {
		t.Error("embeddings of 2 and 3 numbers were compared")
	}
}
