package decode

import (
	"math"
	"testing"
)

// TestNoNumbers: what is no number is refused, as it has no order that sampling
// and beams could go by.
func TestNoNumbers(t *testing.T) {
	fine := Options{MaxLength: 3, Temperature: 1, TopP: 0.9, RepetitionPenalty: 1.1, LengthPenalty: -1}
	prompts := [][]int32{{1}}
	if err := fine.Check(prompts); err != nil {
		t.Fatal(err)
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for i, set := range []func(*Options){
			func(o *Options) { o.Temperature = v }, func(o *Options) { o.TopP = v },
			func(o *Options) { o.RepetitionPenalty = v }, func(o *Options) { o.LengthPenalty = v },
		} {
			o := fine
			if set(&o); o.Check(prompts) == nil {
				t.Errorf("option %d of %v passes", i, v)
			}
		}
	}
}
