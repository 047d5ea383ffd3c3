package rgb_test

import (
	_ "embed"
	"math"
	"math/rand/v2"
	"testing"

	"parley/kernels/optest/kernel"
)

//go:embed op.tar.zst
var image string

func TestKernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(2, 2))
	bytes := func(n int) []uint8 {
		v := make([]uint8, n)
		for i := range v {
			v[i] = uint8(rng.Uint32())
		}
		return v
	}
	for _, c := range []struct{ n, h, w int }{{1, 1, 1}, {2, 7, 9}, {1, 20, 33}} {
		x := bytes(c.n * c.h * c.w * 3)
		table := make([]float32, 768)
		for i := range table {
			table[i] = float32(rng.NormFloat64())
		}
		ts := r.Put(table)
		for _, f16 := range []bool{true, false} {
			for _, cut := range [][4]int{{0, 0, c.h, c.w}, {-1, 2, c.h + 3, 4}, {c.h / 2, -3, 2, c.w + 5}} {
				top, left, oh, ow := cut[0], cut[1], cut[2], cut[3]
				out := r.New(c.n*oh*ow*3, kernel.Size(f16))
				r.Run("normalise_"+kernel.Type(f16), kernel.Dim{2}, kernel.Dim{256}, 0, r.Put(x), ts, out, c.n, c.h, c.w, top, left, oh, ow)
				for i, v := range r.Floats(out) {
					ch, sx, sy, b := i%3, i/3%ow+left, i/3/ow%oh+top, i/3/ow/oh
					level := uint8(0)
					if sx >= 0 && sx < c.w && sy >= 0 && sy < c.h {
						level = x[((b*c.h+sy)*c.w+sx)*3+ch]
					}
					w := []float32{table[ch*256+int(level)]}
					if f16 {
						r.F16(w)
					}
					if v != w[0] {
						t.Fatalf("normalise %+v, cut %v, f16 %t: element %d is %g, want %g", c, cut, f16, i, v, w[0])
					}
				}
			}
		}
	}
	for _, f16 := range []bool{true, false} {
		var x []float32
		for i := range 256 {
			x = append(x, float32(i)/127.5-1, float32(i)/128-1, (float32(i)+0.5)/127.5-1, float32(3*rng.NormFloat64()))
		}
		xs, y, got := r.Float(f16, x), r.New(len(x), 1), make([]uint8, len(x))
		r.Run("bytes_"+kernel.Type(f16), kernel.Dim{3}, kernel.Dim{256}, 0, xs, y, int64(len(x)))
		r.Get(y, got)
		for i, v := range x {
			if want := uint8(math.RoundToEven(float64(min(max(v/2+0.5, 0), 1) * 255))); got[i] != want {
				t.Errorf("bytes, f16 %t: %g is %d, want %d", f16, v, got[i], want)
			}
		}
	}
}
