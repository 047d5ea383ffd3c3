// Package inpaint makes of a picture and its mask what is drawn, and puts what was drawn
// back, as AUTOMATIC1111's web UI does: soft edges, fillings, and the masked part alone at
// full size. Its pixels are those of Pillow and OpenCV, which the web UI works with.
package inpaint

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/resize"
	"parley/nets/pixels"
)

// Options say how a mask is used.
type Options struct {
	W, H         int     // pixels that are drawn
	Latent       int     // pixels of a latent, along each side
	BlurX, BlurY float64 // standard deviations in pixels of the mask's edges
	Fill         bool    // puts blurred surroundings where the picture is drawn anew
	OnlyMasked   bool    // draws the masked part and Padding pixels around it alone, at full size
	Padding      int
	Fit          Fit // of the whole picture to W x H
}

// Fit is how a picture takes another shape.
type Fit int

// The web UI's ways, by their numbers.
const (
	Stretch Fit = iota
	Crop        // covers the new shape and is cut
	Pad         // lies within the new shape, its edges go on
)

// ErrBlank says that a mask has nothing that is drawn anew.
var ErrBlank = errors.New("nothing of it is white")

// Prepared is what is drawn from.
type Prepared struct {
	Init *pixels.Image // [H, W]
	Mask *pixels.Image // [H, W]: white where it is drawn anew, each latent one colour

	overlay *layer           // what stays, at the size of the result
	part    *image.Rectangle // where the drawing goes; nil is everywhere
}

// Prepare takes a picture and its mask, grey, white where it is drawn anew and of any size.
func Prepare(ctx context.Context, m, mask *pixels.Image, o Options) (*Prepared, error) {
	z := sizer{ctx: ctx}
	p := &Prepared{}
	if o.OnlyMasked {
		mask = z.stretch(mask, m.W, m.H, resize.Lanczos)
	}
	mask = z.blur(mask, o.BlurX, o.BlurY)
	if z.err != nil {
		return nil, z.err
	}
	if o.OnlyMasked {
		box := bounds(mask)
		if box.Empty() {
			return nil, ErrBlank
		}
		box = expand(box.Inset(-o.Padding).Intersect(image.Rect(0, 0, m.W, m.H)), o.W, o.H, m.W, m.H)
		p.part, p.overlay = &box, cut(m, mask)
		m, mask = z.fit(crop(m, box), o.W, o.H, Pad), z.fit(crop(mask, box), o.W, o.H, Pad)
	} else {
		m, mask = z.fit(m, o.W, o.H, o.Fit), z.fit(mask, o.W, o.H, o.Fit)
		if bounds(mask).Empty() {
			return nil, ErrBlank
		}
		p.overlay = cut(m, doubled(mask))
	}
	if o.Fill {
		m = fill(m, mask)
	}
	p.Init, p.Mask = m, z.latents(mask, o.Latent)
	return p, z.err
}

// Finish puts what was drawn in its place.
func (p *Prepared) Finish(ctx context.Context, drawn *pixels.Image) (*pixels.Image, error) {
	z := sizer{ctx: ctx}
	base := newLayer(p.overlay.w, p.overlay.h)
	box := image.Rect(0, 0, base.w, base.h)
	if p.part != nil {
		box = *p.part
		drawn = z.fit(drawn, box.Dx(), box.Dy(), Crop)
	}
	if z.err != nil {
		return nil, z.err
	}
	base.paste(drawn, box.Min)
	base.composite(p.overlay)
	return base.picture(), nil
}

// Resize fits a picture to a size, as the web UI's resize modes do.
func Resize(ctx context.Context, m *pixels.Image, w, h int, f Fit) (*pixels.Image, error) {
	z := sizer{ctx: ctx}
	m = z.fit(m, w, h, f)
	return m, z.err
}

// bounds is the least rectangle with all that is not black; of nothing, empty.
func bounds(m *pixels.Image) (box image.Rectangle) {
	for y := range m.H {
		row := m.Pix[3*y*m.W : 3*(y+1)*m.W]
		first, last := m.W, -1
		for x := range m.W {
			if row[3*x] != 0 {
				first, last = min(first, x), x
			}
		}
		if last >= 0 {
			box = box.Union(image.Rect(first, y, last+1, y+1))
		}
	}
	return box
}

// expand makes a part of a picture of w x h as near to the shape of a drawing as the
// picture lets it.
func expand(box image.Rectangle, drawnW, drawnH, w, h int) image.Rectangle {
	shape := float64(drawnW) / float64(drawnH)
	if float64(box.Dx())/float64(box.Dy()) > shape {
		box.Min.Y, box.Max.Y = widen(box.Min.Y, box.Max.Y, float64(box.Dx())/shape, h)
	} else {
		box.Min.X, box.Max.X = widen(box.Min.X, box.Max.X, float64(box.Dy())*shape, w)
	}
	return box
}

// widen makes an interval as long as wanted, within 0 to end.
func widen(lo, hi int, want float64, end int) (int, int) {
	more := int(want - float64(hi-lo))
	lo -= more / 2
	hi += more - more/2
	if over := hi - end; over > 0 {
		lo, hi = lo-over, end
	}
	if lo < 0 {
		lo, hi = 0, min(hi-lo, end)
	}
	return lo, hi
}

// doubled makes a soft mask's inner edge hard, so that what stays begins where half of
// the mask is reached.
func doubled(m *pixels.Image) *pixels.Image {
	out := &pixels.Image{W: m.W, H: m.H, Pix: make([]uint8, len(m.Pix))}
	for i, v := range m.Pix {
		out.Pix[i] = uint8(min(2*int(v), 255))
	}
	return out
}

func crop(m *pixels.Image, box image.Rectangle) *pixels.Image {
	out := &pixels.Image{W: box.Dx(), H: box.Dy(), Pix: make([]uint8, 0, 3*box.Dx()*box.Dy())}
	for y := box.Min.Y; y < box.Max.Y; y++ {
		out.Pix = append(out.Pix, m.Pix[3*(y*m.W+box.Min.X):3*(y*m.W+box.Max.X)]...)
	}
	return out
}

// sizer resizes, and keeps the first error.
type sizer struct {
	ctx context.Context
	err error
}

// stretch is Pillow's resize.
func (z *sizer) stretch(m *pixels.Image, w, h int, f resize.Filter) *pixels.Image {
	if m.W == w && m.H == h || z.err != nil {
		return m
	}
	s := engine.NewStream(z.ctx, host.New(1))
	defer s.Close()
	t, err := s.Get(resize.Resize(s, m.On(s), h, w, f, resize.Window{H: h, W: w}))
	if err != nil {
		z.err = fmt.Errorf("resize %dx%d to %dx%d: %w", m.W, m.H, w, h, err)
		return m
	}
	return pixels.Images(t)[0]
}

// fit gives a picture another shape.
func (z *sizer) fit(m *pixels.Image, w, h int, f Fit) *pixels.Image {
	if f == Stretch {
		return z.stretch(m, w, h, resize.Lanczos)
	}
	a, b := float64(w)/float64(h), float64(m.W)/float64(m.H)
	sw, sh := w, h
	if crop := f == Crop; crop && a <= b || !crop && a >= b {
		sw = max(m.W*h/m.H, 1)
	} else {
		sh = max(m.H*w/m.W, 1)
	}
	in := z.stretch(m, sw, sh, resize.Lanczos)
	out := pixels.New(w, h, color.RGBA{})
	left, top := w/2-sw/2, h/2-sh/2
	if f == Pad && a < b {
		for x := range w {
			first, last := edge(in, x, 0, x, 1), edge(in, x, sh-1, x, sh-2)
			for y := range top {
				set(out, x, y, first)
			}
			for y := top + sh; y < min(2*top+sh, h); y++ {
				set(out, x, y, last)
			}
		}
	}
	if f == Pad && a > b {
		for y := range h {
			first, last := edge(in, 0, y, 1, y), edge(in, sw-1, y, sw-2, y)
			for x := range left {
				set(out, x, y, first)
			}
			for x := left + sw; x < min(2*left+sw, w); x++ {
				set(out, x, y, last)
			}
		}
	}
	for y := max(top, 0); y < min(top+sh, h); y++ {
		lo, hi := max(left, 0), min(left+sw, w)
		copy(out.Pix[3*(y*w+lo):3*(y*w+hi)], in.Pix[3*((y-top)*sw+lo-left):])
	}
	return out
}

// edge is what Pillow's bicubic filter makes of the edge itself: nine eighths of its
// pixel less one of the next, if there is one.
func edge(m *pixels.Image, x, y, nextX, nextY int) (c [3]uint8) {
	a := m.Pix[3*(y*m.W+x):]
	if nextX < 0 || nextY < 0 || nextX >= m.W || nextY >= m.H {
		return [3]uint8(a[:3])
	}
	b := m.Pix[3*(nextY*m.W+nextX):]
	for i := range c {
		c[i] = uint8(min(max((9*int(a[i])-int(b[i])+4)>>3, 0), 255))
	}
	return c
}

func set(m *pixels.Image, x, y int, c [3]uint8) { copy(m.Pix[3*(y*m.W+x):], c[:]) }

// latents cuts a mask at the middle of each latent, and gives all of its pixels that.
func (z *sizer) latents(mask *pixels.Image, size int) *pixels.Image {
	small := z.stretch(mask, mask.W/size, mask.H/size, resize.Bicubic)
	out := pixels.New(mask.W, mask.H, color.RGBA{})
	if z.err != nil {
		return out
	}
	for y := range out.H {
		for x := range out.W {
			if small.Pix[3*(y/size*small.W+x/size)] > 127 {
				set(out, x, y, [3]uint8{255, 255, 255})
			}
		}
	}
	return out
}
