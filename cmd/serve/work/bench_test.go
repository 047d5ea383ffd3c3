package work

import (
	"fmt"
	"testing"

	"parley/nets/pixels"
)

// BenchmarkDrawings is pictures a second of the miniature model, one after another and in
// batches.
func BenchmarkDrawings(b *testing.B) {
	for _, batch := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("%d at once", batch), func(b *testing.B) {
			s, _ := open(b, Limits{Waiting: 1000, Batch: batch})
			list := make([]Drawing, 16)
			for i := range list {
				list[i] = s.drawing("a cat on the grass", uint64(i))
				list[i].Options.Steps = s.SD.Defaults.Steps
			}
			for b.Loop() {
				err := s.Draw(b.Context(), "a", list, func(_ int, _ *pixels.Image, err error) {
					if err != nil {
						b.Error(err)
					}
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(list)*b.N)/b.Elapsed().Seconds(), "pictures/s")
		})
	}
}
