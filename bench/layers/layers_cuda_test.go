//go:build cuda

package layers

import (
	"math"
	"slices"
	"testing"

	"parley/bench/workload"
	"parley/engine/cuda"
)

// TestCounts: on the interpreter the numbers are counts, the same in every round, and
// the layers' sum is the whole, which is a graph there; the work is the CPU's, in f16.
func TestCounts(t *testing.T) {
	d, err := cuda.Open(cuda.Options{Emulated: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	r := measure(t, d, "clip-image", 1)[0]
	if r.Unit != Counts || r.Seconds < 1000 || r.Seconds != math.Trunc(r.Seconds) || len(r.Rates) != 0 || r.Peak != (Peak{}) {
		t.Errorf("%v %s, rates %v, peak %v", r.Seconds, r.Unit, r.Rates, r.Peak)
	}
	if slices.Max(r.Rounds) != slices.Min(r.Rounds) || math.Abs(r.Difference) > 0.001 {
		t.Errorf("rounds %v, difference %v", r.Rounds, r.Difference)
	}
	for _, l := range r.Layers {
		if slices.Max(l.Rounds) != slices.Min(l.Rounds) || l.Roof != 0 || l.OfRoof != 0 || !(l.Seconds > 0) {
			t.Errorf("%+v", l)
		}
	}
}

// TestRepeat: launches that are repeated by themselves count as much as in a pass.
func TestRepeat(t *testing.T) {
	d, err := cuda.Open(cuda.Options{Emulated: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	set, err := workload.Open(workload.Options{Net: "clip-image", Preset: "small"}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	m, err := begin(t.Context(), d, set.Of(1), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.round(); err != nil {
			t.Fatal(err)
		}
	}
	before := map[string]float64{}
	launched := 0
	for _, l := range m.rec.layers {
		before[l.Path] = l.Rounds[0]
	}
	if err := m.repeat(d, 2); err != nil {
		t.Fatal(err)
	}
	for _, l := range m.rec.layers {
		if len(l.Rounds) != 2 || math.Abs(l.Rounds[1]/before[l.Path]-1) > 0.02 {
			t.Errorf("%s: %v, in a pass %v", l.Path, l.Rounds, before[l.Path])
		}
		if l.Rounds[1] > 0 {
			launched++
		}
	}
	m.close()
	if launched < 10 || d.Usage().Events != 0 {
		t.Errorf("%d layers, %d events are left", launched, d.Usage().Events)
	}
}
