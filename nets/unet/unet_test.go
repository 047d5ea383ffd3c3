package unet_test

import (
	"fmt"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/unet"
	"parley/weights"
	"parley/weights/mini"
)

// TestAllocations: a step of the miniature UNet makes next to no garbage. Most of
// what is left are blocks of engine.Stream's tensors.
func TestAllocations(t *testing.T) {
	const bound = 100
	set, err := weights.OpenFS(mini.FS(), "sd/unet")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	cfg, err := weights.ReadConfig(mini.FS(), "sd/unet/config.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []host.Options{{Workers: 1}, {Workers: 2}, {Workers: 2, Precision: host.F32}, {Workers: 2, Precision: host.Fast}} {
		t.Run(fmt.Sprintf("%v/%d", o.Precision, o.Workers), func(t *testing.T) {
			dev := host.NewWith(o)
			m, err := unet.Load(cfg, set.Loader(dev))
			if err != nil {
				t.Fatal(err)
			}
			s := engine.NewStream(t.Context(), dev)
			defer s.Close()
			c, err := m.Condition(s, []float64{900, 500, 100}, s.New(engine.F32, 2, 77, m.Cross), unet.Embeddings{})
			if err != nil {
				t.Fatal(err)
			}
			index := func(i ...int32) *engine.Tensor { return s.Put(engine.FromI32(i, len(i))) }
			one := unet.Input{Latents: s.New(engine.F32, 1, 16, 16, 4), Step: index(1)}
			each := unet.Input{Latents: s.New(engine.F32, 2, 16, 16, 4), Step: index(1, 2)}
			for name, in := range map[string]unet.Input{"one step for all": one, "a step for each": each} {
				step := func() {
					y, err := m.Step(s, c, in)
					if err != nil {
						t.Fatal(err)
					}
					s.Free(y)
				}
				n := testing.AllocsPerRun(10, step)
				t.Logf("%s: %v allocations", name, n)
				if n >= bound {
					t.Errorf("%s: %v allocations, want fewer than %d", name, n, bound)
				}
			}
		})
	}
}
