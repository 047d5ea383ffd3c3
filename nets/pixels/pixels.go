// Package pixels takes pictures from files to tensors and back: decoding,
// resizing as Pillow does, and the preprocessing that a checkpoint asks for.
package pixels

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"

	"golang.org/x/image/bmp"
	"golang.org/x/image/webp"

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

// maxPixels is the largest picture that is decoded: what a header claims is
// checked before anything is allocated.
const maxPixels = 1 << 26

// Read decodes a picture file.
func Read(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Decode reads a PNG, JPEG, WebP, GIF or BMP, of moving ones the first frame.
// It is turned as its EXIF orientation says; transparent pixels lie over white.
func Decode(r io.Reader) (*Image, error) {
	data, err := io.ReadAll(bufio.NewReader(r))
	if err != nil {
		return nil, err
	}
	if still, ok := firstFrame(data); ok {
		data = still
	}
	format, config, decode := sniff(data)
	if format == "" {
		return nil, errors.New("not a picture: want PNG, JPEG, WebP, GIF or BMP")
	}
	c, err := config(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", format, err)
	}
	if c.Width < 1 || c.Height < 1 || c.Width > maxPixels/c.Height {
		return nil, fmt.Errorf("%s: %d x %d pixels, at most %d million are read", format, c.Width, c.Height, maxPixels>>20)
	}
	m, err := decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", format, err)
	}
	out := convert(m, format == "WebP")
	return out.oriented(orientation(exif(format, data))), nil
}

func sniff(data []byte) (string, func(io.Reader) (image.Config, error), func(io.Reader) (image.Image, error)) {
	has := func(at int, s string) bool { return len(data) >= at+len(s) && string(data[at:at+len(s)]) == s }
	switch {
	case has(0, "\x89PNG\r\n\x1a\n"):
		return "PNG", png.DecodeConfig, png.Decode
	case has(0, "\xff\xd8"):
		return "JPEG", jpeg.DecodeConfig, jpeg.Decode
	case has(0, "GIF8"):
		return "GIF", gif.DecodeConfig, gif.Decode
	case has(0, "RIFF") && has(8, "WEBP"):
		return "WebP", webp.DecodeConfig, webp.Decode
	case has(0, "BM"):
		return "BMP", bmp.DecodeConfig, bmp.Decode
	}
	return "", nil, nil
}

// FromGo converts a decoded picture; transparent pixels lie over white.
func FromGo(src image.Image) *Image { return convert(src, false) }

// convert takes planes of luma and chroma as WebP's if studio says so.
func convert(src image.Image, studio bool) *Image {
	b := src.Bounds()
	m := &Image{b.Dx(), b.Dy(), make([]uint8, 3*b.Dx()*b.Dy())}
	i := 0
	put := func(r, g, b uint8) {
		m.Pix[i], m.Pix[i+1], m.Pix[i+2] = r, g, b
		i += 3
	}
	over := func(c, a uint8) uint8 { // c not multiplied by a
		return uint8((int(c)*int(a) + 255*(255-int(a)) + 127) / 255)
	}
	switch s := src.(type) {
	case *image.YCbCr:
		to := jfif
		if studio {
			to = bt601
		}
		upsample(s, studio, func(y, cb, cr int) { put(to(y, cb, cr)) })
	case *image.NYCbCrA: // WebP's with transparency
		j := 0
		upsample(&s.YCbCr, true, func(y, cb, cr int) {
			a := s.A[j/m.W*s.AStride+j%m.W]
			j++
			r, g, b := bt601(y, cb, cr)
			put(over(r, a), over(g, a), over(b, a))
		})
	case *image.Gray16: // Pillow clips such pictures rather than scaling them
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				v := uint8(s.Gray16At(x, y).Y >> 8)
				put(v, v, v)
			}
		}
	case *image.CMYK: // Go has undone Adobe's inversion
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				c := s.CMYKAt(x, y)
				mul := func(v uint8) uint8 { // Pillow's cmyk2rgb
					t := int(255-v)*int(255-c.K) + 128
					return uint8((t + t>>8) >> 8)
				}
				put(mul(c.C), mul(c.M), mul(c.Y))
			}
		}
	default:
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				c := color.NRGBA64Model.Convert(src.At(x, y)).(color.NRGBA64)
				a := uint8(c.A >> 8)
				put(over(uint8(c.R>>8), a), over(uint8(c.G>>8), a), over(uint8(c.B>>8), a))
			}
		}
	}
	return m
}

func clip(v int) uint8 { return uint8(min(max(v, 0), 255)) }

// jfif is JPEG's matrix, in libjpeg's fixed point.
func jfif(y, cb, cr int) (r, g, b uint8) {
	u, v := cb-128, cr-128
	return clip(y + (91881*v+32768)>>16), clip(y + (-22554*u-46802*v+32768)>>16), clip(y + (116130*u+32768)>>16)
}

// bt601 is WebP's, where black is 16 and white 235, in libwebp's fixed point.
func bt601(y, cb, cr int) (r, g, b uint8) {
	l := y * 19077 >> 8
	return clip((l + cr*26149>>8 - 14234) >> 6), clip((l - cb*6419>>8 - cr*13320>>8 + 8708) >> 6), clip((l + cb*33050>>8 - 17685) >> 6)
}

// upsample gives the values of each pixel from a JPEG's or WebP's planes, the
// chroma by libjpeg's triangle filter ("fancy upsampling"), which is libwebp's
// too, there at any width.
func upsample(s *image.YCbCr, video bool, put func(y, cb, cr int)) {
	b := s.Bounds()
	w, h := b.Dx(), b.Dy()
	sx, sy := 1, 1
	switch s.SubsampleRatio {
	case image.YCbCrSubsampleRatio420:
		sx, sy = 2, 2
	case image.YCbCrSubsampleRatio422:
		sx = 2
	case image.YCbCrSubsampleRatio440:
		sy = 2
	case image.YCbCrSubsampleRatio444:
	default: // rare: take the nearest
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				c := s.YCbCrAt(x, y)
				put(int(c.Y), int(c.Cb), int(c.Cr))
			}
		}
		return
	}
	cw, ch := (w+sx-1)/sx, (h+sy-1)/sy
	row := func(plane []uint8, y int, out []uint8) {
		at := func(r, x int) int { return int(plane[min(max(r, 0), ch-1)*s.CStride+x]) }
		// Vertically 3 parts of the near row and 1 of the far one, then the
		// same horizontally; libjpeg's rounding.
		if sx*sy == 1 {
			copy(out[:w], plane[y*s.CStride:y*s.CStride+w])
			return
		}
		if sx == 2 && cw <= 2 && !video { // too narrow for libjpeg to smooth
			for x := range w {
				out[x] = plane[y/sy*s.CStride+x/2]
			}
			return
		}
		sum := func(x int) int {
			if sy == 1 {
				return at(y, x)
			}
			near := y / 2
			far := near - 1
			if y%2 == 1 {
				far = near + 1
			}
			return 3*at(near, x) + at(far, x)
		}
		if sx == 1 {
			for x := range w {
				out[x] = uint8((sum(x) + 1 + y%2) >> 2)
			}
			return
		}
		for x := range w {
			c := x / 2
			var v int
			if sy == 1 {
				switch {
				case x == 0 || c == cw-1 && x%2 == 1:
					v = sum(c)
				case x%2 == 0:
					v = (3*sum(c) + sum(c-1) + 1) >> 2
				default:
					v = (3*sum(c) + sum(c+1) + 2) >> 2
				}
			} else {
				switch {
				case x == 0:
					v = (sum(0)*4 + 8) >> 4
				case c == cw-1 && x%2 == 1:
					v = (sum(c)*4 + 7) >> 4
				case x%2 == 0:
					v = (3*sum(c) + sum(c-1) + 8) >> 4
				default:
					v = (3*sum(c) + sum(c+1) + 7) >> 4
				}
			}
			out[x] = uint8(v)
		}
	}
	cb, cr := make([]uint8, w+1), make([]uint8, w+1)
	for y := range h {
		row(s.Cb, y, cb)
		row(s.Cr, y, cr)
		for x := range w {
			put(int(s.Y[y*s.YStride+x]), int(cb[x]), int(cr[x]))
		}
	}
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
