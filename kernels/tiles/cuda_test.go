package tiles_test

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"testing"

	"parley/kernels/optest/kernel"
)

//go:embed op.tar.zst
var image string

func TestMapKernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(1, 1))
	same := func(name string, have, want []float32) {
		t.Helper()
		for i, v := range have {
			if v != want[i] {
				t.Fatalf("%s: element %d of %d is %g, want %g", name, i, len(have), v, want[i])
			}
		}
	}
	for _, f16 := range []bool{true, false} {
		typ, size := kernel.Type(f16), kernel.Size(f16)
		for _, c := range []struct{ n, h, w, ih, iw, ch, top, left, blocks int }{
			{1, 1, 1, 1, 1, 1, 0, 0, 1}, {2, 3, 4, 5, 6, 3, 1, 2, 1}, {2, 3, 4, 5, 6, 8, 2, 0, 3}, {1, 8, 8, 16, 16, 4, 6, 6, 2},
			{3, 2, 7, 2, 7, 5, 0, 0, 1},
		} {
			x := kernel.Normals(rng, c.n*c.ih*c.iw*c.ch, 1)
			xs, y := r.Float(f16, x), r.New(c.n*c.h*c.w*c.ch, size)
			var want []float32
			for b := range c.n {
				for i := range c.h {
					want = append(want, x[((b*c.ih+c.top+i)*c.iw+c.left)*c.ch:][:c.w*c.ch]...)
				}
			}
			r.Run("box_"+typ, kernel.Dim{c.blocks}, kernel.Dim{256}, 0, xs, y, c.n, c.h, c.w*c.ch,
				int64((c.top*c.iw+c.left)*c.ch), int64(c.ih*c.iw*c.ch), int64(c.iw*c.ch), int64(0), int64(c.h*c.w*c.ch), int64(c.w*c.ch))
			same(fmt.Sprintf("crop %+v", c), r.Floats(y), want)
			// And back in its place.
			copyOf := kernel.Normals(rng, len(x), 1)
			z := r.Float(f16, copyOf)
			for b := range c.n {
				for i := range c.h {
					copy(copyOf[((b*c.ih+c.top+i)*c.iw+c.left)*c.ch:][:c.w*c.ch], want[(b*c.h+i)*c.w*c.ch:])
				}
			}
			r.Run("box_"+typ, kernel.Dim{c.blocks}, kernel.Dim{256}, 0, y, z, c.n, c.h, c.w*c.ch,
				int64(0), int64(c.h*c.w*c.ch), int64(c.w*c.ch), int64((c.top*c.iw+c.left)*c.ch), int64(c.ih*c.iw*c.ch), int64(c.iw*c.ch))
			same(fmt.Sprintf("paste %+v", c), r.Floats(z), copyOf)
		}
		for _, c := range []struct{ n, ah, aw, bh, bw, ch, extent, down int }{{1, 4, 4, 4, 4, 3, 2, 1}, {2, 5, 6, 4, 7, 3, 3, 0},
			{2, 5, 6, 4, 7, 3, 4, 1}, {1, 2, 9, 3, 9, 1, 9, 0}} {
			a, b := kernel.Normals(rng, c.n*c.ah*c.aw*c.ch, 1), kernel.Normals(rng, c.n*c.bh*c.bw*c.ch, 1)
			as, bs := r.Float(f16, a), r.Float(f16, b)
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
			r.Close(fmt.Sprintf("fade %+v", c), r.Floats(bs), want, f16, 1)
		}
	}
}
