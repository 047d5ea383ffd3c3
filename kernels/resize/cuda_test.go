package resize_test

import (
	_ "embed"
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
	clip := func(v int32) uint8 { return uint8(min(max(v>>22, 0), 255)) }
	for _, c := range []struct{ n, h, w, out, taps int }{{1, 1, 1, 1, 1}, {2, 7, 9, 5, 4}, {1, 20, 33, 70, 6}} {
		x := bytes(c.n * c.h * c.w * 3)
		weigh := func(in int) (first, count, weights []int32) {
			for range c.out {
				n := 1 + rng.IntN(min(c.taps, in))
				first, count = append(first, int32(rng.IntN(in-n+1))), append(count, int32(n))
				for j := range c.taps {
					w := int32(0)
					if j < n {
						w = int32((rng.Float64()*1.5 - 0.3) * (1 << 22))
					}
					weights = append(weights, w)
				}
			}
			return
		}
		first, count, weights := weigh(c.w)
		from := c.h / 4
		rows := c.h - 2*from
		want := make([]uint8, c.n*rows*c.out*3)
		for i := range want {
			ch, col, row := i%3, i/3%c.out, i/3/c.out%rows+from+i/3/c.out/rows*c.h
			sum := int32(1 << 21)
			for j := range int(count[col]) {
				sum += int32(x[(row*c.w+int(first[col])+j)*3+ch]) * weights[col*c.taps+j]
			}
			want[i] = clip(sum)
		}
		y, got := r.New(len(want), 1), make([]uint8, len(want))
		r.Run("resize_rows_u8", kernel.Dim{2}, kernel.Dim{256}, 0,
			r.Put(x), y, r.Put(first), r.Put(count), r.Put(weights), c.n, c.h, from, rows, c.w, c.out, c.taps)
		if r.Get(y, got); string(got) != string(want) {
			t.Errorf("rows of %+v differ", c)
		}
		first, count, weights = weigh(c.h)
		want = make([]uint8, c.n*c.out*c.w*3)
		for i := range want {
			col, row, b := i%(3*c.w), i/(3*c.w)%c.out, i/(3*c.w)/c.out
			sum := int32(1 << 21)
			for j := range int(count[row]) {
				sum += int32(x[(b*c.h+int(first[row])+j)*3*c.w+col]) * weights[row*c.taps+j]
			}
			want[i] = clip(sum)
		}
		y, got = r.New(len(want), 1), make([]uint8, len(want))
		r.Run("resize_columns_u8", kernel.Dim{3}, kernel.Dim{256}, 0,
			r.Put(x), y, r.Put(first), r.Put(count), r.Put(weights), c.n, 3*c.w, c.h, c.out, c.taps)
		if r.Get(y, got); string(got) != string(want) {
			t.Errorf("columns of %+v differ", c)
		}
	}
}
