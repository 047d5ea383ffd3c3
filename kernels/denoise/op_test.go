package denoise_test

import (
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/denoise"
)

// TestBounds: what op.cu has no parameters for is an error on every device.
func TestBounds(t *testing.T) {
	s := engine.NewStream(t.Context(), host.New(1))
	x := engine.FromF32([]float32{1, 2}, 2)
	past := []*engine.Tensor{x, x, x, x}
	denoise.Step(s, denoise.Coefficients{Past: []float64{1, 1, 1, 1}}, x, x, past, nil, nil)
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "4 earlier predictions: at most 3") {
		t.Errorf("a step over four earlier predictions: %v", err)
	}
	s = engine.NewStream(t.Context(), host.New(1))
	denoise.Step(s, denoise.Coefficients{Past: []float64{1}}, x, x, nil, nil, nil)
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "0 of 1 earlier predictions") {
		t.Errorf("a step without its earlier prediction: %v", err)
	}
}
