package inpaint

import (
	"image"
	"image/color"

	"parley/nets/pixels"
)

// layer is a picture with alpha: four bytes a pixel, colours not multiplied.
type layer struct {
	w, h int
	pix  []uint8
}

func newLayer(w, h int) *layer { return &layer{w, h, make([]uint8, 4*w*h)} }

// by255 is Pillow's division of a product of two bytes, rounded.
func by255(v uint32) uint32 {
	v += 128
	return (v>>8 + v) >> 8
}

// held is what a mask leaves of a picture, its colours multiplied by how much.
func held(m, mask *pixels.Image) *layer {
	l := newLayer(m.W, m.H)
	for i := range m.W * m.H {
		keep := uint32(255 - mask.Pix[3*i])
		for c := range 3 {
			l.pix[4*i+c] = uint8(by255(uint32(m.Pix[3*i+c]) * keep))
		}
		l.pix[4*i+3] = uint8(keep)
	}
	return l
}

// divided divides colours by alpha again.
func (l *layer) divided() *layer {
	out := newLayer(l.w, l.h)
	copy(out.pix, l.pix)
	for i := 0; i < len(out.pix); i += 4 {
		if a := uint32(out.pix[i+3]); a != 0 && a != 255 {
			for c := range 3 {
				out.pix[i+c] = uint8(min(255*uint32(out.pix[i+c])/a, 255))
			}
		}
	}
	return out
}

// cut is a picture, transparent as far as a mask is white.
func cut(m, mask *pixels.Image) *layer { return held(m, mask).divided() }

// composite lays another layer over one, as Pillow's alpha_composite does.
func (l *layer) composite(over *layer) {
	const bits = 7
	for i := 0; i < len(l.pix); i += 4 {
		src, dst := over.pix[i:i+4], l.pix[i:i+4]
		a := uint32(src[3])
		if a == 0 {
			continue
		}
		alpha := a*255 + uint32(dst[3])*(255-a)
		own := a * 255 * 255 * (1 << bits) / alpha
		other := 255*(1<<bits) - own
		for c := range 3 {
			v := uint32(src[c])*own + uint32(dst[c])*other + 128<<bits
			dst[c] = uint8((v>>8 + v) >> 8 >> bits)
		}
		dst[3] = uint8(by255(alpha))
	}
}

// paste puts an opaque picture at a place.
func (l *layer) paste(m *pixels.Image, at image.Point) {
	for y := range m.H {
		for x := range m.W {
			p := l.pix[4*((at.Y+y)*l.w+at.X+x):]
			copy(p, m.Pix[3*(y*m.W+x):3*(y*m.W+x)+3])
			p[3] = 255
		}
	}
}

// picture drops alpha.
func (l *layer) picture() *pixels.Image {
	m := pixels.New(l.w, l.h, color.RGBA{})
	for i := range l.w * l.h {
		copy(m.Pix[3*i:3*i+3], l.pix[4*i:])
	}
	return m
}
