package vae

import (
	"fmt"

	"parley/engine"
	"parley/engine/host"
)

// DecodeTiled is Decode in square tiles of so many latents, which overlap by a
// quarter and are blended there, as diffusers' enable_tiling: the memory is
// that of one tile. Norms and the attention see a tile only, so that the
// picture is close to Decode's, not equal.
func (m *Model) DecodeTiled(s *engine.Stream, z *engine.Tensor, tile int) (*engine.Tensor, error) {
	if tile < 8 {
		return nil, fmt.Errorf("vae: tiles of %d latents, at least 8 are needed", tile)
	}
	n, h, w := z.Dim(0), z.Dim(1), z.Dim(2)
	if h <= tile && w <= tile {
		return m.Decode(s, z)
	}
	step := tile * 3 / 4
	side, blend := tile*m.Factor, tile*m.Factor/4
	keep := side - blend
	out := s.New(engine.F32, n, h*m.Factor, w*m.Factor, 3)
	var above []*engine.Tensor // the row of tiles over this one, already blended
	for i := 0; i < h; i += step {
		var row []*engine.Tensor
		for j := 0; j < w; j += step {
			part := cut(s, z, i, j, min(tile, h-i), min(tile, w-j))
			x, err := m.Decode(s, part)
			if err != nil {
				return nil, err
			}
			s.Free(part)
			c := j / step
			if above != nil {
				mix(s, above[c], x, blend, true)
			}
			if c > 0 {
				mix(s, row[c-1], x, blend, false)
			}
			row = append(row, x)
			place(s, out, x, i/step*keep, j/step*keep, keep)
		}
		s.Free(above...)
		above = row
	}
	s.Free(above...)
	return out, s.Err()
}

// cut copies rows i.. and columns j.. of z [N, H, W, C].
func cut(s *engine.Stream, z *engine.Tensor, i, j, h, w int) *engine.Tensor {
	n, H, W, c := z.Dim(0), z.Dim(1), z.Dim(2), z.Dim(3)
	y := s.New(engine.F32, n, h, w, c)
	return s.Do(engine.Work{Op: "cut", Out: y, Bytes: 8 * int64(y.Elems())}, func(d engine.Device) {
		if _, ok := host.On(d); ok {
			for b := range n {
				for r := range h {
					copy(y.F32()[(b*h+r)*w*c:(b*h+r+1)*w*c], z.F32()[((b*H+i+r)*W+j)*c:])
				}
			}
		}
	})
}

// mix fades from the end of a into the beginning of b, over so many pixels.
func mix(s *engine.Stream, a, b *engine.Tensor, extent int, down bool) {
	axis := 2
	if down {
		axis = 1
	}
	extent = min(extent, a.Dim(axis), b.Dim(axis))
	s.Do(engine.Work{Op: "mix", Out: b, Bytes: 8 * int64(b.Elems())}, func(d engine.Device) {
		if _, ok := host.On(d); !ok {
			return
		}
		n, ah, aw, bh, bw := a.Dim(0), a.Dim(1), a.Dim(2), b.Dim(1), b.Dim(2)
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
					p, q := a.F32()[((i*ah+ay)*aw+ax)*3:], b.F32()[((i*bh+by)*bw+bx)*3:]
					for c := range 3 {
						q[c] = p[c]*(1-f) + q[c]*f
					}
				}
			}
		}
	})
}

// place writes the upper left of a tile, at most keep pixels a side.
func place(s *engine.Stream, out, x *engine.Tensor, top, left, keep int) {
	s.Do(engine.Work{Op: "place", Out: out, Bytes: 8 * int64(x.Elems())}, func(d engine.Device) {
		if _, ok := host.On(d); !ok {
			return
		}
		n, H, W, h, w := out.Dim(0), out.Dim(1), out.Dim(2), x.Dim(1), x.Dim(2)
		for i := range n {
			for r := range min(keep, h, H-top) {
				cols := min(keep, w, W-left)
				copy(out.F32()[((i*H+top+r)*W+left)*3:((i*H+top+r)*W+left+cols)*3], x.F32()[(i*h+r)*w*3:])
			}
		}
	})
}
