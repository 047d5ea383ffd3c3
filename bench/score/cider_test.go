package score

import (
	"math"
	"testing"
)

func TestCIDErD(t *testing.T) {
	refs := [][]string{{"a cat on the grass", "one cat on a green field"}, {"a dog at night", "a dog under the stars"}, {"two owls in the snow", "two owls on white snow"}}
	c := NewCIDErD(refs)
	// By the Python of weights/mini/train/evaluate.py.
	for _, x := range []struct {
		caption string
		i       int
		want    float64
	}{
		{"a cat on the grass", 0, 5.7790709569677645}, {"a dog on the grass", 0, 1.849375145665054}, {"a dog at night", 1, 5.802480817949651}, {"nothing of it", 2, 0},
		{"two owls two owls", 2, 1.4157620417549595}, {"", 0, 0},
	} {
		if got := c.Score(x.caption, x.i); math.Abs(got-x.want) > 1e-9 {
			t.Errorf("%q: %v, want %v", x.caption, got, x.want)
		}
	}
}
