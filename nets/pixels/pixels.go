// Package pixels takes pictures from files to tensors and back: decoding,
// resizing as Pillow does, and the preprocessing that a checkpoint asks for.
package pixels

import (
	"image"
	"image/color"
	"image/png"
	"io"

	"parley/output"
)

// Image is a picture of H rows of W pixels, three bytes each: red, green, blue.
type Image struct {
	W, H int
	Pix  []uint8
}

// New is a picture of one colour.
func New(w, h int, c color.RGBA) *Image {
	m := &Image{w, h, make([]uint8, 3*w*h)}
	for i := 0; i < len(m.Pix); i += 3 {
		m.Pix[i], m.Pix[i+1], m.Pix[i+2] = c.R, c.G, c.B
	}
	return m
}

// oriented turns a picture upright.
func (m *Image) oriented(o int) *Image {
	if o <= 1 {
		return m
	}
	w, h := m.W, m.H
	if o >= 5 {
		w, h = h, w
	}
	out := &Image{w, h, make([]uint8, len(m.Pix))}
	for y := range h {
		for x := range w {
			sx, sy := x, y
			switch o {
			case 2:
				sx = w - 1 - x
			case 3:
				sx, sy = w-1-x, h-1-y
			case 4:
				sy = h - 1 - y
			case 5:
				sx, sy = y, x
			case 6:
				sx, sy = y, w-1-x
			case 7:
				sx, sy = h-1-y, w-1-x
			case 8:
				sx, sy = h-1-y, x
			}
			copy(out.Pix[3*(y*w+x):3*(y*w+x)+3], m.Pix[3*(sy*m.W+sx):])
		}
	}
	return out
}

// Grey is the picture without its colours, as Pillow makes it.
func (m *Image) Grey() *Image {
	out := &Image{m.W, m.H, make([]uint8, len(m.Pix))}
	for i := 0; i < len(m.Pix); i += 3 {
		v := Grey(m.Pix[i : i+3])
		out.Pix[i], out.Pix[i+1], out.Pix[i+2] = v, v, v
	}
	return out
}

// Grey is a pixel's, as Pillow makes it.
func Grey(rgb []uint8) uint8 {
	return uint8((19595*uint32(rgb[0]) + 38470*uint32(rgb[1]) + 7471*uint32(rgb[2]) + 1<<15) >> 16)
}

// Go is the picture for image/draw and the encoders.
func (m *Image) Go() *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, m.W, m.H))
	for i, j := 0, 0; i < len(m.Pix); i, j = i+3, j+4 {
		out.Pix[j], out.Pix[j+1], out.Pix[j+2], out.Pix[j+3] = m.Pix[i], m.Pix[i+1], m.Pix[i+2], 255
	}
	return out
}

// EncodePNG writes a PNG.
func (m *Image) EncodePNG(w io.Writer) error { return png.Encode(w, m.Go()) }

// SavePNG writes a PNG file, whole or not at all; a file of another kind is not
// replaced.
func (m *Image) SavePNG(path string) error {
	return output.Write(path, output.Options{Kind: output.PNG}, m.EncodePNG)
}
