//go:build cuda

package attention_test

import (
	"testing"

	"parley/engine"
	"parley/kernels/attention"
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

// TestWidest: a head that no kernel is made for is an error of the operation.
func TestWidest(t *testing.T) {
	for _, wide := range []bool{false, true} {
		d := optest.GPU(t, wide)
		for dim, want := range map[int]string{512: "", 520: "attention: : heads of 520: at most 512 on " + d.Name()} {
			s := engine.NewStream(t.Context(), d)
			x := s.Put(engine.FromF32(make([]float32, 5*dim), 1, 5, dim))
			attention.Attend(s, x, x, x, attention.Options{Heads: 1})
			if err := s.Err(); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
				t.Errorf("%v, %d: %v, want %q", d.Float(), dim, err, want)
			}
			s.Close()
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
