package tiles

import "parley/engine"

func cropOnHost(x, y *engine.Tensor, top, left int) {
	n, h, w, c := y.Dim(0), y.Dim(1), y.Dim(2), y.Dim(3)
	for b := range n {
		for r := range h {
			copy(y.F32()[(b*h+r)*w*c:(b*h+r+1)*w*c], x.F32()[((b*x.Dim(1)+top+r)*x.Dim(2)+left)*c:])
		}
	}
}

func pasteOnHost(y, x *engine.Tensor, top, left, h, w int) {
	n, c := x.Dim(0), x.Dim(3)
	for b := range n {
		for r := range h {
			copy(y.F32()[((b*y.Dim(1)+top+r)*y.Dim(2)+left)*c:][:w*c], x.F32()[(b*x.Dim(1)+r)*x.Dim(2)*c:])
		}
	}
}

func fadeOnHost(a, b *engine.Tensor, extent int, down bool) {
	n, ah, aw, bh, bw, c := a.Dim(0), a.Dim(1), a.Dim(2), b.Dim(1), b.Dim(2), b.Dim(3)
	across := min(aw, bw)
	if !down {
		across = min(ah, bh)
	}
	for i := range n {
		for t := range extent {
			f := float32(t) / float32(extent)
			for u := range across {
				ay, ax, by, bx := ah-extent+t, u, t, u
				if !down {
					ay, ax, by, bx = u, aw-extent+t, u, t
				}
				p, q := a.F32()[((i*ah+ay)*aw+ax)*c:], b.F32()[((i*bh+by)*bw+bx)*c:]
				for ch := range c {
					q[ch] = p[ch]*(1-f) + q[ch]*f
				}
			}
		}
	}
}
