package resample_test

import (
	_ "embed"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"parley/kernels/optest/kernel"
)

//go:embed op.tar.zst
var image string

func TestMapKernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(1, 1))
	randoms := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		return v
	}
	same := func(name string, have, want []float32) {
		t.Helper()
		for i, v := range have {
			if v != want[i] {
				t.Fatalf("%s: element %d of %d is %g, want %g", name, i, len(have), v, want[i])
			}
		}
	}
	for _, half := range []bool{true, false} {
		typ, size := kernel.Type(half), kernel.Size(half)
		for _, c := range []struct{ n, h, w, ih, iw, ch, top, left, blocks int }{
			{1, 1, 1, 1, 1, 1, 0, 0, 1}, {2, 3, 4, 5, 6, 3, 1, 2, 1}, {2, 3, 4, 5, 6, 8, 2, 0, 3}, {1, 8, 8, 16, 16, 4, 6, 6, 2}, {3, 2, 7, 2, 7, 5, 0, 0, 1},
		} {
			x := randoms(c.n * c.ih * c.iw * c.ch)
			xs, y := r.Float(half, x), r.New(c.n*c.h*c.w*c.ch, size)
			var want []float32
			for b := range c.n {
				for i := range c.h {
					want = append(want, x[((b*c.ih+c.top+i)*c.iw+c.left)*c.ch:][:c.w*c.ch]...)
				}
			}
			r.Run("box_"+typ, kernel.Dim{c.blocks}, kernel.Dim{256}, 0, xs, y, c.n, c.h, c.w*c.ch, int64((c.top*c.iw+c.left)*c.ch), int64(c.ih*c.iw*c.ch), int64(c.iw*c.ch), int64(0), int64(c.h*c.w*c.ch), int64(c.w*c.ch))
			same(fmt.Sprintf("crop %+v", c), r.Floats(y), want)
			// And back in its place.
			copyOf := randoms(len(x))
			z := r.Float(half, copyOf)
			for b := range c.n {
				for i := range c.h {
					copy(copyOf[((b*c.ih+c.top+i)*c.iw+c.left)*c.ch:][:c.w*c.ch], want[(b*c.h+i)*c.w*c.ch:])
				}
			}
			r.Run("box_"+typ, kernel.Dim{c.blocks}, kernel.Dim{256}, 0, y, z, c.n, c.h, c.w*c.ch, int64(0), int64(c.h*c.w*c.ch), int64(c.w*c.ch), int64((c.top*c.iw+c.left)*c.ch), int64(c.ih*c.iw*c.ch), int64(c.iw*c.ch))
			same(fmt.Sprintf("paste %+v", c), r.Floats(z), copyOf)

			want = want[:0]
			for b := range c.n {
				for i := range 2 * c.ih {
					for j := range 2 * c.iw {
						want = append(want, x[((b*c.ih+i/2)*c.iw+j/2)*c.ch:][:c.ch]...)
					}
				}
			}
			y = r.New(len(want), size)
			r.Run("nearest_"+typ, kernel.Dim{c.blocks}, kernel.Dim{256}, 0, xs, y, c.n, c.ih, c.iw, c.ch)
			same(fmt.Sprintf("nearest %+v", c), r.Floats(y), want)
		}
		for _, c := range []struct{ n, ah, aw, bh, bw, ch, extent, down int }{{1, 4, 4, 4, 4, 3, 2, 1}, {2, 5, 6, 4, 7, 3, 3, 0}, {2, 5, 6, 4, 7, 3, 4, 1}, {1, 2, 9, 3, 9, 1, 9, 0}} {
			a, b := randoms(c.n*c.ah*c.aw*c.ch), randoms(c.n*c.bh*c.bw*c.ch)
			as, bs := r.Float(half, a), r.Float(half, b)
			across := min(c.aw, c.bw)
			if c.down == 0 {
				across = min(c.ah, c.bh)
			}
			want := make([]float64, len(b))
			for i, v := range b {
				want[i] = float64(v)
			}
			for i := range c.n {
				for e := range c.extent {
					f := float64(e) / float64(c.extent)
					for u := range across {
						ay, ax, by, bx := c.ah-c.extent+e, u, e, u
						if c.down == 0 {
							ay, ax, by, bx = u, c.aw-c.extent+e, u, e
						}
						for k := range c.ch {
							q := ((i*c.bh+by)*c.bw+bx)*c.ch + k
							want[q] = float64(a[((i*c.ah+ay)*c.aw+ax)*c.ch+k])*(1-f) + float64(b[q])*f
						}
					}
				}
			}
			r.Run("fade_"+typ, kernel.Dim{2}, kernel.Dim{256}, 0, as, bs, c.n, c.ah, c.aw, c.bh, c.bw, c.ch, c.extent, c.down)
			r.Close(fmt.Sprintf("fade %+v", c), r.Floats(bs), want, half, 1)
		}
	}
}

func TestPictureKernels(t *testing.T) {
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
		r.Run("resize_rows_u8", kernel.Dim{2}, kernel.Dim{256}, 0, r.Put(x), y, r.Put(first), r.Put(count), r.Put(weights), c.n, c.h, from, rows, c.w, c.out, c.taps)
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
		r.Run("resize_columns_u8", kernel.Dim{3}, kernel.Dim{256}, 0, r.Put(x), y, r.Put(first), r.Put(count), r.Put(weights), c.n, 3*c.w, c.h, c.out, c.taps)
		if r.Get(y, got); string(got) != string(want) {
			t.Errorf("columns of %+v differ", c)
		}
		table := make([]float32, 768)
		for i := range table {
			table[i] = float32(rng.NormFloat64())
		}
		ts := r.Put(table)
		for _, half := range []bool{true, false} {
			for _, cut := range [][4]int{{0, 0, c.h, c.w}, {-1, 2, c.h + 3, 4}, {c.h / 2, -3, 2, c.w + 5}} {
				top, left, oh, ow := cut[0], cut[1], cut[2], cut[3]
				out := r.New(c.n*oh*ow*3, kernel.Size(half))
				r.Run("normalise_"+kernel.Type(half), kernel.Dim{2}, kernel.Dim{256}, 0, r.Put(x), ts, out, c.n, c.h, c.w, top, left, oh, ow)
				for i, v := range r.Floats(out) {
					ch, sx, sy, b := i%3, i/3%ow+left, i/3/ow%oh+top, i/3/ow/oh
					level := uint8(0)
					if sx >= 0 && sx < c.w && sy >= 0 && sy < c.h {
						level = x[((b*c.h+sy)*c.w+sx)*3+ch]
					}
					w := []float32{table[ch*256+int(level)]}
					if half {
						r.F16(w)
					}
					if v != w[0] {
						t.Fatalf("normalise %+v, cut %v, half %t: element %d is %g, want %g", c, cut, half, i, v, w[0])
					}
				}
			}
		}
	}
	for _, half := range []bool{true, false} {
		var x []float32
		for i := range 256 {
			x = append(x, float32(i)/127.5-1, float32(i)/128-1, (float32(i)+0.5)/127.5-1, float32(3*rng.NormFloat64()))
		}
		xs, y, got := r.Float(half, x), r.New(len(x), 1), make([]uint8, len(x))
		r.Run("bytes_"+kernel.Type(half), kernel.Dim{3}, kernel.Dim{256}, 0, xs, y, int64(len(x)))
		r.Get(y, got)
		for i, v := range x {
			if want := uint8(math.RoundToEven(float64(min(max(v/2+0.5, 0), 1) * 255))); got[i] != want {
				t.Errorf("bytes, half %t: %g is %d, want %d", half, v, got[i], want)
			}
		}
	}
}
