package pixels

import (
	"context"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/resize"
)

// Filter is how a picture is resized; the numbers are Pillow's.
type Filter = resize.Filter

// Pillow's filters.
const (
	Nearest  = resize.Nearest
	Lanczos  = resize.Lanczos
	Bilinear = resize.Bilinear
	Bicubic  = resize.Bicubic
	Box      = resize.Box
)

// Resize scales to w x h as Pillow's Image.resize (resize.Resize), on the CPU.
// What has no pixels stays black.
func (m *Image) Resize(w, h int, f Filter) *Image {
	if w < 1 || h < 1 || m.W < 1 || m.H < 1 {
		return &Image{max(w, 0), max(h, 0), make([]uint8, 3*max(w, 0)*max(h, 0))}
	}
	s := engine.NewStream(context.Background(), host.New(0))
	return Images(resize.Resize(s, m.On(s), h, w, f, resize.Window{H: h, W: w}))[0]
}
