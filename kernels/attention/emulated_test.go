//go:build cuda

package attention_test

import (
	"parley/engine"
	"parley/kernels/attention"
	"testing"

	"parley/kernels/optest"
)

func TestAttendEmulated(t *testing.T) { optest.Emulated(t, optest.Attend) }

func TestDependent(t *testing.T) {
	optest.Dependent(t, image, func(s *engine.Stream) {
		few := s.Put(engine.FromF32(make([]float32, 3*80), 1, 3, 80))
		x := s.Put(engine.FromF32(make([]float32, 70*80), 1, 70, 80))
		x = attention.Attend(s, x, x, x, attention.Options{Heads: 2})
		x = attention.Attend(s, x, x, x, attention.Options{Heads: 1})
		attention.Attend(s, attention.Attend(s, few, x, x, attention.Options{Heads: 2}), x, x, attention.Options{Heads: 2})
	})
}
