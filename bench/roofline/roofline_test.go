//go:build cuda

package roofline

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/bench/random"
)

// TestRoofline holds the tables to what is known of a guided step of Stable
// Diffusion 1.5 at 512 x 512, and to the chips' bounds.
func TestRoofline(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "kernels", "RESOURCES.md"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ReadResources(text)
	if err != nil {
		t.Fatal(err)
	}
	size := random.SD15()
	ops, err := DryStep(size, 1, 132)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range ops {
		if o.Out == nil || o.In[0] == nil || o.Dims[0].Name == "" || o.Kernel == "" || o.Bytes <= 0 {
			t.Errorf("%s: in %v, %v, kernel %q, %d bytes", o.Path, o.In, o.Dims, o.Kernel, o.Bytes)
		}
	}
	times := map[string]float64{}
	for _, c := range Chips() {
		var all sum
		for _, o := range ops {
			for i := range o.Launches {
				f, err := c.Predict(r, o, i)
				if err != nil {
					t.Fatal(err)
				}
				if !(f.Time > f.Ideal) || f.Resident < 1 || f.Bound == "" {
					t.Errorf("%s: %s %s: %+v", c.Name, f.Kernel, f.What, f)
				}
				all.add(f)
			}
		}
		times[c.Name] = all.time
		// diffusers' UNet has 803 GFLOPs of products for a sample, guidance makes
		// it two; keys and values of the text are not computed in a step.
		if g := all.flops / 1e9; g < 1500 || g > 1650 {
			t.Errorf("%s: %.0f GFLOPs", c.Name, g)
		}
		// Each of the UNet's 860 million weights is read.
		if all.bytes < 1.7e9 {
			t.Errorf("%s: %.2f GB", c.Name, all.bytes/1e9)
		}
		if least := all.flops / (c.MMA * c.Clock * float64(c.SMs) * 1e3); all.time < least {
			t.Errorf("%s: %.0f us, the tensor cores alone take %.0f", c.Name, all.time, least)
		}
	}
	if h, a := times["H100 SXM"], times["A100 SXM 80 GB"]; h == 0 || a == 0 || h >= a {
		t.Errorf("an H100 takes %.0f us, an A100 %.0f", h, a)
	}
	tables, err := Tables(r, size, 1)
	if err != nil || !strings.Contains(tables, "H100 SXM, 1 guided") || !strings.Contains(tables, "`attention_f16_d40_m2`") {
		t.Errorf("tables, %v:\n%s", err, tables)
	}
}
