package matmul

import (
	"os"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/cuda"
)

// Every plan names a kernel that there is, covers the result, leaves no split
// empty and keeps the workspace small.
func TestPlan(t *testing.T) {
	have := map[string]bool{}
	for _, file := range []string{"op.tar.zst", "../conv/op.tar.zst"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code, err := cuda.ReadImage(string(data))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(code.PTX) {
			if name, ok := strings.CutPrefix(line, ".visible .entry "); ok {
				have[strings.TrimRight(name, "(\n")] = true
			}
		}
	}
	used := map[string]bool{}
	sizes := []int{1, 2, 16, 17, 48, 49, 64, 77, 320, 512, 1280, 4096, 32768, 262144}
	for _, m := range sizes {
		for _, n := range []int{1, 3, 4, 64, 320, 768, 1280, 5120, 30524} {
			for _, k := range []int{1, 4, 13, 27, 64, 320, 768, 1280, 2880, 11520} {
				for _, dtype := range []engine.DType{engine.F16, engine.F32} {
					chunk := 16 / dtype.Size()
					for _, p := range []Plan{
						plan(m, n, k, dtype, false), plan(m, n, k, dtype, true), NewPlan("conv", m, n, k, dtype, k%chunk == 0),
					} {
						used[p.Kernel] = true
						if !have[p.Kernel] {
							t.Fatalf("[%d %d] by [%d %d] %v: no kernel %s", m, k, n, k, dtype, p.Kernel)
						}
						kTiles := ceil(k*dtype.Size(), kTileBytes)
						per := ceil(kTiles, p.Splits)
						bad := p.Blocks < 1 || p.Splits < 1 || (p.Splits-1)*per >= kTiles
						bad = bad || 4*p.Partials > maxWorkspace || (p.Partials > 0) != (p.Splits > 1)
						if bad || p.Splits > 1 && (p.Blocks > maxTiles || p.Partials < p.Splits*m*n) {
							t.Errorf("[%d %d] by [%d %d] %v: %+v", m, k, n, k, dtype, p)
						}
					}
				}
			}
		}
	}
	for name := range have {
		if !used[name] {
			t.Errorf("no plan takes %s", name)
		}
	}
}
