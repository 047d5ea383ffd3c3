package simd

import "testing"

func TestEnvironmentLowersTheLevel(t *testing.T) {
	for _, c := range []struct {
		env  string
		want Level
	}{{"", detect()}, {"go", Go}, {"avx2", min(AVX2, detect())}, {"avx512", min(AVX512, detect())}, {"amx", detect()}} {
		t.Setenv("PARLEY_SIMD", c.env)
		if have := Best(); have != c.want {
			t.Errorf("PARLEY_SIMD=%q: %v, want %v", c.env, have, c.want)
		}
	}
}

// TestShortSlicesPanic holds for every level: the assembly never sees a slice
// shorter than the first.
func TestShortSlicesPanic(t *testing.T) {
	long, short := make([]float32, 8), make([]float32, 7)
	g := Gemm(F32)
	for name, f := range map[string]func(){
		"Dot":        func() { Dot(long, short) },
		"Axpy":       func() { Axpy(1, long, short) },
		"ScaleShift": func() { ScaleShift(long, long, long, short) },
		"ExpSub":     func() { ExpSub(long, short, 0) },
		"FromF16":    func() { FromF16(long, make([]uint16, 7)) },
		"PackRows":   func() { PackRows(make([]float32, 15), make([]float32, 16), 4, 4, 4, 4) },
		"Tile of a":  func() { g.Tile(2, make([]float32, 2*g.MR-1), 0, make([]float32, 2*g.NR), 0, long, 8, 1, 8) },
		"Tile of c":  func() { g.Tile(1, make([]float32, g.MR), 0, make([]float32, g.NR), 0, short, 8, 1, 8) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}
