package models_test

import (
	"fmt"
	"slices"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/diffusion"
	"parley/nets/models"
)

// TestBitsOfABatch: on the CPU a drawing is to the bit what it is alone, whatever is
// drawn beside it, with the fast methods too, and at sizes whose smallest maps have
// fewer pixels than a panel of the product has rows.
func TestBitsOfABatch(t *testing.T) {
	for _, precision := range []host.Precision{host.Exact, host.F32} {
		dev := host.NewWith(host.Options{Workers: 2, Precision: precision})
		p, err := models.OpenStableDiffusion(models.Embedded("sd"), dev)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range [][2]int{{8, 12}, {32, 32}, {40, 28}} {
			for _, guidance := range []float64{1, 4} {
				o := p.Defaults.Options
				o.Width, o.Height, o.Steps, o.Guidance = size[0], size[1], 1, guidance
				plan, err := p.Pipeline.Plan(o)
				if err != nil {
					t.Fatal(err)
				}
				var want [][]float32
				for _, n := range []int{5, 1, 3} {
					s := engine.NewStream(t.Context(), dev)
					b := diffusion.Batch{}
					var seeds []uint64
					for i := range n {
						b.IDs = append(b.IDs, p.Encode([]string{fmt.Sprintf("%d red apples", i)})...)
						b.Negative = append(b.Negative, p.Encode([]string{""})...)
						seeds = append(seeds, uint64(i))
					}
					b.Noise = diffusion.Generators(seeds)
					z, _, err := plan.Latents(s, b)
					if err != nil {
						t.Fatal(err)
					}
					for i := range n {
						row := slices.Clone(z.Rows(i, i+1).F32())
						if n == 5 {
							want = append(want, row)
						} else if !slices.Equal(row, want[i]) {
							t.Errorf("%v, %v, guidance %v: drawing %d of %d has other bits than of 5 (%.2g off)", precision, size, guidance, i, n,
								far(row, want[i]))
							break
						}
					}
					s.Close()
				}
			}
		}
		p.Close()
	}
}
