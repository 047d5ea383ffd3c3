package embed_test

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"testing"

	"parley/kernels/optest/kernel"
)

//go:embed op.tar.zst
var image string

func TestKernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(1, 1))
	randoms := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		return v
	}
	picks := func(n, below int) []int32 {
		v := make([]int32, n)
		for i := range v {
			v[i] = int32(rng.IntN(below))
		}
		return v
	}
	exact := func(name string, have []float32, want []float32) {
		t.Helper()
		for i, v := range have {
			if v != want[i] {
				t.Fatalf("%s: element %d is %g, want %g", name, i, v, want[i])
			}
		}
	}
	more := r.Put([]int32{2})
	for _, f16 := range []bool{true, false} {
		typ, size := kernel.Type(f16), kernel.Size(f16)
		// n elements of rows of `stride`.
		for _, c := range []struct{ rows, n, stride, ids, share int }{{1, 1, 1, 1, 1}, {11, 7, 7, 6, 1}, {5, 64, 64, 9, 1},
			{3, 1031, 1031, 4, 3}, {4, 24, 40, 7, 2}, {4, 25, 40, 7, 1}} {
			table, ids := randoms(c.rows*c.stride), picks(c.ids, c.rows)
			ts, is, y := r.Float(f16, table), r.Put(ids), r.New(c.ids*c.n, size)
			var want []float32
			for _, id := range ids {
				want = append(want, table[int(id)*c.stride:int(id)*c.stride+c.n]...)
			}
			r.Run("rows_"+typ, kernel.Dim{c.ids, c.share}, kernel.Dim{128}, 0, ts, is, y, c.n, int64(c.stride), int64(c.n))
			exact(fmt.Sprintf("rows %+v", c), r.Floats(y), want)
		}
		for _, c := range []struct{ n, length, c, offset int }{{1, 1, 1, 0}, {3, 5, 7, 1}, {2, 9, 96, 0}, {4, 1, 768, 3}} {
			table, positions, ids := randoms(13*c.c), randoms((c.length+c.offset+2)*c.c), picks(c.n*c.length, 13)
			ts, ps, is, y := r.Float(f16, table), r.Float(f16, positions), r.Put(ids), r.New(len(ids)*c.c, size)
			for _, extra := range []int{0, 2} {
				want := make([]float64, len(ids)*c.c)
				for i := range want {
					want[i] = float64(table[int(ids[i/c.c])*c.c+i%c.c]) + float64(positions[(c.offset+extra+i/c.c%c.length)*c.c+i%c.c])
				}
				at := any(nil)
				if extra > 0 {
					at = more
				}
				r.Run("tokens_"+typ, kernel.Dim{len(ids)}, kernel.Dim{128}, 0, ts, is, ps, y, c.length, c.c, c.offset, at)
				r.Close(fmt.Sprintf("tokens %+v", c), r.Floats(y), want, f16, 1)
			}
		}
		for _, c := range []struct{ n, patches, c int }{{1, 1, 1}, {2, 9, 7}, {3, 16, 64}, {1, 4, 772}} {
			grid, first, position := randoms(c.n*c.patches*c.c), randoms(c.c), randoms((c.patches+1)*c.c)
			gs, fs, ps, y := r.Float(f16, grid), r.Float(f16, first), r.Float(f16, position), r.New(c.n*(c.patches+1)*c.c, size)
			var want []float64
			for n := range c.n {
				for p := range c.patches + 1 {
					for k := range c.c {
						v := first[k]
						if p > 0 {
							v = grid[(n*c.patches+p-1)*c.c+k]
						}
						want = append(want, float64(v)+float64(position[p*c.c+k]))
					}
				}
			}
			r.Run("patches_"+typ, kernel.Dim{c.n * (c.patches + 1)}, kernel.Dim{128}, 0, gs, fs, ps, y, c.patches+1, c.c)
			r.Close(fmt.Sprintf("patches %+v", c), r.Floats(y), want, f16, 1)
		}
		for _, c := range []struct{ rows, length, width, stride, capacity, used int }{
			{1, 1, 1, 1, 1, 0}, {3, 2, 24, 72, 9, 4}, {3, 2, 24, 24, 9, 7}, {2, 1, 7, 7, 5, 2},
			{2, 3, 7, 8, 6, 1}, {10, 1, 768, 2304, 4, 1},
		} {
			rows, cache := randoms(c.rows*c.length*c.stride), randoms(c.rows*c.capacity*c.width)
			rs, cs := r.Float(f16, rows), r.Float(f16, cache)
			for row := range c.rows {
				for l := range c.length {
					copy(cache[(row*c.capacity+c.used+l)*c.width:][:c.width], rows[(row*c.length+l)*c.stride:])
				}
			}
			at, used := any(nil), c.used
			if c.used >= 2 {
				at, used = more, c.used-2
			}
			for _, device := range []bool{true, false} { // where the number of used rows is
				if !device {
					at, used = nil, c.used
				}
				r.Run("append_"+typ, kernel.Dim{c.rows * c.length}, kernel.Dim{128}, 0,
					rs, cs, c.length, c.width, c.stride, c.capacity, used, at)
				exact(fmt.Sprintf("append %+v, on the device %t", c, device), r.Floats(cs), cache)
			}
		}
	}
}
