package layout_test

import (
	"testing"

	"parley/engine"
	"parley/kernels/layout"
	"parley/kernels/optest"
)

func TestLayout(t *testing.T) { optest.Host(t, optest.Layout) }

func TestLayouts(t *testing.T) {
	for _, dims := range [][]int{{1, 1, 1, 1}, {2, 3, 5, 7}, {1, 4, 1, 9}, {3, 40, 16, 2}} {
		n, c, h, w := dims[0], dims[1], dims[2], dims[3]
		x := engine.FromF32(make([]float32, n*c*h*w), dims...)
		for i := range x.F32() {
			x.F32()[i] = float32(i)
		}
		y := layout.ToNHWC(x)
		if want := (engine.Shape{n, h, w, c}); !y.Shape().Equal(want) {
			t.Fatalf("%v to %v, want %v", dims, y.Shape(), want)
		}
		for i, v := range y.F32() {
			b, p, ch := i/(h*w*c), i/c%(h*w), i%c
			if want := float32((b*c+ch)*h*w + p); v != want {
				t.Fatalf("%v: sample %d, pixel %d, channel %d is %g, want %g", dims, b, p, ch, v, want)
			}
		}
		z := layout.ToNCHW(y)
		if !z.Shape().Equal(x.Shape()) {
			t.Fatalf("%v back to %v", dims, z.Shape())
		}
		for i, v := range z.F32() {
			if v != float32(i) {
				t.Fatalf("%v back: element %d is %g", dims, i, v)
			}
		}
	}
}
