package pixels

import (
	"image"
	"image/color"
)

// raster is what a file's samples say, before they become red, green and blue
// over white.
type raster struct {
	w, h  int
	n     int     // samples a pixel: 1 is grey, 3 is RGB, 4 is CMYK, where 0 is no ink
	pix   []uint8 // [h, w, n]
	alpha []uint8 // [h, w], not multiplied into pix; nil where all is opaque
}

func newRaster(w, h, n int) *raster { return &raster{w, h, n, make([]uint8, w*h*n), nil} }

// image is a raster as a picture. Its memory is the raster's where it can be.
func (r *raster) image(o Options, icc []byte) (*Image, error) {
	m := &Image{r.w, r.h, r.pix}
	if o.Alpha {
		m = New(r.w, r.h, color.RGBA{255, 255, 255, 255})
		for i, a := range r.alpha {
			m.Pix[3*i], m.Pix[3*i+1], m.Pix[3*i+2] = a, a, a
		}
		return m, nil
	}
	switch {
	case o.ICC && len(icc) > 0:
		var err error
		if m.Pix, err = toSRGB(icc, r); err != nil {
			return nil, err
		}
	case r.n == 1:
		m.Pix = make([]uint8, 3*r.w*r.h)
		for i, v := range r.pix {
			m.Pix[3*i], m.Pix[3*i+1], m.Pix[3*i+2] = v, v, v
		}
	case r.n == 4:
		m.Pix = make([]uint8, 3*r.w*r.h)
		for i := range r.w * r.h {
			k := int(255 - r.pix[4*i+3])
			for c := range 3 { // Pillow's cmyk2rgb
				t := int(255-r.pix[4*i+c])*k + 128
				m.Pix[3*i+c] = uint8((t + t>>8) >> 8)
			}
		}
	}
	for i, a := range r.alpha {
		if a == 255 {
			continue
		}
		for c := range 3 {
			p := &m.Pix[3*i+c]
			*p = uint8((int(*p)*int(a) + 255*(255-int(a)) + 127) / 255)
		}
	}
	return m, nil
}

// split takes four bytes a pixel apart: colours, and alpha unless all is opaque.
func split(w, h int, rgba []uint8, alpha bool) *raster {
	r := newRaster(w, h, 3)
	if alpha {
		r.alpha = make([]uint8, w*h)
	}
	for i := range w * h {
		p := rgba[4*i : 4*i+4 : 4*i+4]
		r.pix[3*i], r.pix[3*i+1], r.pix[3*i+2] = p[0], p[1], p[2]
		if alpha {
			r.alpha[i] = p[3]
		}
	}
	return r
}

// FromGo converts a decoded picture; transparent pixels lie over white.
func FromGo(src image.Image) *Image {
	m, err := fromGo(src).image(Options{}, nil)
	if err != nil {
		panic(err) // there is no profile that could fail
	}
	return m
}

// fromGo takes the upper 8 bits of samples of 16.
func fromGo(src image.Image) *raster {
	b := src.Bounds()
	w, h := b.Dx(), b.Dy()
	switch s := src.(type) {
	case *image.Gray:
		r := newRaster(w, h, 1)
		for y := range h {
			copy(r.pix[y*w:][:w], s.Pix[y*s.Stride:])
		}
		return r
	case *image.Gray16: // Pillow clips such pictures rather than scaling them
		r := newRaster(w, h, 1)
		for y := range h {
			for x := range w {
				r.pix[y*w+x] = s.Pix[y*s.Stride+2*x]
			}
		}
		return r
	}
	r := newRaster(w, h, 3)
	r.alpha = make([]uint8, w*h)
	at := 0
	put := func(red, green, blue, a uint8) {
		r.pix[3*at], r.pix[3*at+1], r.pix[3*at+2], r.alpha[at] = red, green, blue, a
		at++
	}
	switch s := src.(type) {
	case *image.NRGBA:
		for y := range h {
			for p := s.Pix[y*s.Stride:][:4*w]; len(p) > 0; p = p[4:] {
				put(p[0], p[1], p[2], p[3])
			}
		}
	case *image.NRGBA64:
		for y := range h {
			for p := s.Pix[y*s.Stride:][:8*w]; len(p) > 0; p = p[8:] {
				put(p[0], p[2], p[4], p[6])
			}
		}
	case *image.RGBA:
		if !s.Opaque() {
			break
		}
		for y := range h {
			for p := s.Pix[y*s.Stride:][:4*w]; len(p) > 0; p = p[4:] {
				put(p[0], p[1], p[2], 255)
			}
		}
	case *image.RGBA64:
		if !s.Opaque() {
			break
		}
		for y := range h {
			for p := s.Pix[y*s.Stride:][:8*w]; len(p) > 0; p = p[8:] {
				put(p[0], p[2], p[4], 255)
			}
		}
	case *image.Paletted:
		var table [256]color.NRGBA
		for i, c := range s.Palette {
			table[i] = color.NRGBAModel.Convert(c).(color.NRGBA)
		}
		for y := range h {
			for _, i := range s.Pix[y*s.Stride:][:w] {
				c := table[i]
				put(c.R, c.G, c.B, c.A)
			}
		}
	}
	if at == 0 {
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				c := color.NRGBA64Model.Convert(src.At(x, y)).(color.NRGBA64)
				put(uint8(c.R>>8), uint8(c.G>>8), uint8(c.B>>8), uint8(c.A>>8))
			}
		}
	}
	return r
}

// palette is what indices mean, black where a file does not say.
type palette [256][3]uint8

// colours turns indices into colours; those of transparent are transparent, if
// it is one.
func (p *palette) colours(w, h int, index []uint8, transparent int) *raster {
	r := newRaster(w, h, 3)
	if transparent >= 0 {
		r.alpha = make([]uint8, w*h)
	}
	for i, v := range index {
		copy(r.pix[3*i:3*i+3], p[v][:])
		if r.alpha != nil && int(v) != transparent {
			r.alpha[i] = 255
		}
	}
	return r
}
