package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"parley/nets/pixels"
	"parley/nets/pixels/batch"
)

// TestEachAlone: where the work for several pictures fails, each is tried alone, and
// only those that fail then have failed.
func TestEachAlone(t *testing.T) {
	item := func(name string, width int) batch.Item {
		return batch.Item{Source: batch.Source{Name: name}, Picture: &pixels.Image{W: width}}
	}
	unread := errors.New("unread")
	calls := 0
	results, errs := workAll(context.Background(), []batch.Item{item("a", 1), {Source: batch.Source{Name: "b", Err: unread}}, item("c", 99),
		item("d", 3)}, func(pictures []pixels.Picture) ([]int, error) {
		calls++
		var out []int
		for _, p := range pictures {
			w := p.(*pixels.Image).W
			if w == 99 {
				return nil, errors.New("too wide")
			}
			out = append(out, w)
		}
		return out, nil
	})
	if calls != 4 || results[0] != 1 || results[3] != 3 || errs[0] != nil || errs[3] != nil || !errors.Is(errs[1], unread) || errs[2] == nil ||
		!strings.HasPrefix(errs[2].Error(), "c: too wide") {
		t.Errorf("%d calls: %v, %v", calls, results, errs)
	}
}
