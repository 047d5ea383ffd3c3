package elementwise_test

import (
	"math"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/elementwise"
)

// TestFinite: one value that is no number, or infinite, wherever it lies.
func TestFinite(t *testing.T) {
	s := engine.NewStream(t.Context(), host.New(2))
	defer s.Close()
	for _, n := range []int{1, 7, 5000} {
		x := s.New(engine.F32, n)
		for _, bad := range []float64{0, math.MaxFloat32, -math.SmallestNonzeroFloat32, math.Inf(1), math.Inf(-1), math.NaN()} {
			for _, at := range []int{0, n / 2, n - 1} {
				clear(x.F32())
				x.F32()[at] = float32(bad)
				if want := !math.IsInf(bad, 0) && !math.IsNaN(bad); elementwise.Finite(s, x) != want {
					t.Errorf("%v at %d of %d: finite is %v", bad, at, n, !want)
				}
			}
		}
	}
}

// TestReLU: what is below zero is zero, a NaN stays one.
func TestReLU(t *testing.T) {
	s := engine.NewStream(t.Context(), host.New(3))
	defer s.Close()
	for _, n := range []int{0, 1, 7, 50_000} {
		x := s.New(engine.F32, n)
		for i := range n {
			x.F32()[i] = []float32{-1, 2, float32(math.NaN()), float32(math.Inf(-1)), float32(math.Inf(1))}[i%5]
		}
		elementwise.ReLU(s, x)
		for i, v := range x.F32() {
			if want := []float64{0, 2, math.NaN(), 0, math.Inf(1)}[i%5]; float64(v) != want && (v == v || want == want) {
				t.Fatalf("element %d of %d is %v, want %v", i, n, v, want)
			}
		}
	}
}
