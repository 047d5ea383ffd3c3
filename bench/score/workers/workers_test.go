package workers

import (
	"sync"
	"testing"
)

func TestEach(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 1000} {
		pool := sync.Pool{New: func() any { return new(int) }}
		out := make([]int, n)
		Each(n, 8, &pool, func(own *int, i int) {
			*own++ // the race detector sees two at a time
			out[i] += i
		})
		for i, v := range out {
			if v != i {
				t.Fatalf("%d of %d: %d", i, n, v)
			}
		}
	}
}
