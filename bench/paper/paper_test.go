package paper

import (
	"math"
	"testing"
)

func TestGain(t *testing.T) {
	c := Captions()[0]
	if len(c.Values) != K {
		t.Fatalf("%d ranks", len(c.Values))
	}
	// The page says 7.4 %.
	if g := c.Gain(); math.Abs(g-.074) > .0005 {
		t.Errorf("CIDEr of the first rank is %.2f %% over the mean", 100*g)
	}
	for _, s := range append(Captions(), Images()...) {
		if s.Gain() <= 0 {
			t.Errorf("%s: the first rank is not the best: %v", s.Score, s.Values)
		}
	}
}
