package vae

import (
	"fmt"

	"parley/engine"
	"parley/kernels/tiles"
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
	out := s.New(s.Float(), n, h*m.Factor, w*m.Factor, 3)
	var above []*engine.Tensor // the row of tiles over this one, already blended
	for i := 0; i < h; i += step {
		var row []*engine.Tensor
		for j := 0; j < w; j += step {
			part := tiles.Crop(s, z, i, j, min(tile, h-i), min(tile, w-j))
			x, err := m.Decode(s, part)
			if err != nil {
				return nil, err
			}
			s.Free(part)
			c := j / step
			if above != nil {
				tiles.Fade(s, above[c], x, min(blend, above[c].Dim(1), x.Dim(1)), true)
			}
			if c > 0 {
				tiles.Fade(s, row[c-1], x, min(blend, row[c-1].Dim(2), x.Dim(2)), false)
			}
			row = append(row, x)
			top, left := i/step*keep, j/step*keep
			tiles.Paste(s, out, x, top, left, min(keep, x.Dim(1), out.Dim(1)-top), min(keep, x.Dim(2), out.Dim(2)-left))
		}
		s.Free(above...)
		above = row
	}
	s.Free(above...)
	return out, s.Err()
}
