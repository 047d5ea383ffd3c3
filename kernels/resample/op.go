// Package resample moves feature maps about: parts of them, tiles, and the
// change between [N, H, W, C] and [N, C, H, W]; and it takes pictures from a
// decoder's output to the next net's input.
package resample

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Channels returns channels lo to hi of x [..., C].
func Channels(s *engine.Stream, x *engine.Tensor, lo, hi int) *engine.Tensor {
	c := x.Dim(-1)
	if lo < 0 || hi > c || lo > hi {
		s.Fail(fmt.Errorf("resample: %s: channels %d to %d of %v", s.Path(), lo, hi, x.Shape()))
		lo, hi = 0, c
	}
	dims := append([]int(nil), x.Shape()...)
	dims[len(dims)-1] = hi - lo
	y := s.New(x.DType(), dims...)
	return s.Do(engine.Work{Op: "channels", Out: y, Bytes: 2 * int64(y.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			channelsOnCUDA(g, s, x, y, lo)
			return
		}
		if _, ok := host.On(d); ok {
			xs, ys := x.F32(), y.F32()
			for i := range len(xs) / c {
				copy(ys[i*(hi-lo):(i+1)*(hi-lo)], xs[i*c+lo:])
			}
		}
	})
}

// Crop returns the h x w pixels of x [N, H, W, C] whose first is (top, left).
func Crop(s *engine.Stream, x *engine.Tensor, top, left, h, w int) *engine.Tensor {
	n, ih, iw, c := x.Dim(0), x.Dim(1), x.Dim(2), x.Dim(3)
	if top < 0 || left < 0 || h < 0 || w < 0 || top+h > ih || left+w > iw {
		s.Fail(fmt.Errorf("resample: %s: crop of %d x %d at %d, %d from %v", s.Path(), h, w, top, left, x.Shape()))
	}
	y := s.New(x.DType(), n, h, w, c)
	return s.Do(engine.Work{Op: "crop", Out: y, Bytes: 2 * int64(y.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			cropOnCUDA(g, s, x, y, top, left)
			return
		}
		if _, ok := host.On(d); ok {
			for b := range n {
				for r := range h {
					copy(y.F32()[(b*h+r)*w*c:(b*h+r+1)*w*c], x.F32()[((b*ih+top+r)*iw+left)*c:])
				}
			}
		}
	})
}

// Paste writes the upper left h x w pixels of x [N, ., ., C] to y [N, H, W, C],
// the first at (top, left).
func Paste(s *engine.Stream, y, x *engine.Tensor, top, left, h, w int) {
	if top < 0 || left < 0 || h > x.Dim(1) || w > x.Dim(2) || top+h > y.Dim(1) || left+w > y.Dim(2) || x.Dim(0) != y.Dim(0) || x.Dim(3) != y.Dim(3) {
		s.Fail(fmt.Errorf("resample: %s: %d x %d of %v at %d, %d of %v", s.Path(), h, w, x.Shape(), top, left, y.Shape()))
		return
	}
	n, c := x.Dim(0), x.Dim(3)
	s.Do(engine.Work{Op: "paste", Out: y, Bytes: 2 * int64(n*h*w*c*y.DType().Size())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			pasteOnCUDA(g, s, y, x, top, left, h, w)
			return
		}
		if _, ok := host.On(d); ok {
			for b := range n {
				for r := range h {
					copy(y.F32()[((b*y.Dim(1)+top+r)*y.Dim(2)+left)*c:][:w*c], x.F32()[(b*x.Dim(1)+r)*x.Dim(2)*c:])
				}
			}
		}
	})
}

// Fade blends the end of a into the beginning of b, in place, over so many rows
// (down) or columns: row t of b gets (1 - t/extent) of a's.
func Fade(s *engine.Stream, a, b *engine.Tensor, extent int, down bool) {
	axis := 2
	if down {
		axis = 1
	}
	if a.Dim(0) != b.Dim(0) || a.Dim(3) != b.Dim(3) || extent > min(a.Dim(axis), b.Dim(axis)) {
		s.Fail(fmt.Errorf("resample: %s: fade of %v into %v over %d", s.Path(), a.Shape(), b.Shape(), extent))
		return
	}
	s.Do(engine.Work{Op: "fade", Out: b, Bytes: 3 * int64(extent*b.Bytes()/max(b.Dim(axis), 1))}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			fadeOnCUDA(g, s, a, b, extent, down)
			return
		}
		if _, ok := host.On(d); !ok {
			return
		}
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
	})
}

// Upsample doubles the height and width of x [N, H, W, C]: each pixel four times,
// torch's "nearest". A convolution that follows can do it by itself
// (conv.Options).
func Upsample(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	n, h, w, c := x.Dim(0), x.Dim(1), x.Dim(2), x.Dim(3)
	y := s.New(x.DType(), n, 2*h, 2*w, c)
	return s.Do(engine.Work{Op: "upsample", Out: y, Bytes: int64(x.Bytes() + y.Bytes())}, func(d engine.Device) {
		if g, ok := cuda.On(d); ok {
			upsampleOnCUDA(g, s, x, y)
			return
		}
		if _, ok := host.On(d); ok {
			for i := range n * 2 * h * 2 * w {
				row, col := i/(2*w), i%(2*w)
				copy(y.F32()[i*c:(i+1)*c], x.F32()[(row/2*w+col/2)*c:])
			}
		}
	})
}

// ToNHWC turns a host tensor of [N, C, H, W] to [N, H, W, C].
func ToNHWC(x *engine.Tensor) *engine.Tensor {
	n, c, h, w := x.Dim(0), x.Dim(1), x.Dim(2), x.Dim(3)
	y := engine.FromF32(make([]float32, x.Elems()), n, h, w, c)
	transpose(y.F32(), x.F32(), n, c, h*w)
	return y
}

// ToNCHW turns a host tensor of [N, H, W, C] to [N, C, H, W].
func ToNCHW(x *engine.Tensor) *engine.Tensor {
	n, h, w, c := x.Dim(0), x.Dim(1), x.Dim(2), x.Dim(3)
	y := engine.FromF32(make([]float32, x.Elems()), n, c, h, w)
	transpose(y.F32(), x.F32(), n, h*w, c)
	return y
}

// transpose swaps the last two of [n, rows, cols].
func transpose(dst, src []float32, n, rows, cols int) {
	for b := range n {
		d, s := dst[b*rows*cols:], src[b*rows*cols:]
		for i := range rows {
			for j := range cols {
				d[j*rows+i] = s[i*cols+j]
			}
		}
	}
}
