package pixels

import (
	"errors"

	"parley/engine"
)

// Picture is what a net looks at: an Image, or what a painter has Drawn and left
// on its device.
type Picture interface {
	// Host is the picture in the host's memory.
	Host() (*Image, error)
	// On is the picture on a stream's device, [1, H, W, 3] of u8. It is good as
	// long as both are there. Where it does not lie there already, it is copied,
	// and s.Free gives the copy back.
	On(s *engine.Stream) *engine.Tensor
}

// Host implements Picture.
func (m *Image) Host() (*Image, error) { return m, nil }

// On implements Picture.
func (m *Image) On(s *engine.Stream) *engine.Tensor {
	t := engine.FromU8(m.Pix, 1, m.H, m.W, 3)
	if s.Device().Local() {
		return t
	}
	return s.Put(t)
}

// Images are the pictures of a host tensor [N, H, W, 3] of u8, whose memory is
// theirs.
func Images(t *engine.Tensor) []*Image {
	out := make([]*Image, t.Dim(0))
	for i := range out {
		out[i] = &Image{t.Dim(2), t.Dim(1), t.Rows(i, i+1).U8()}
	}
	return out
}

// Drawn is a picture in a device's memory. It is copied to the host when somebody
// asks for it there, and only then.
type Drawn struct {
	dev  engine.Device
	t    *engine.Tensor // nil when its memory is given back
	h, w int
	host *Image
}

// NewDrawn takes the bytes of a picture, [1, H, W, 3] of u8.
func NewDrawn(dev engine.Device, t *engine.Tensor) *Drawn {
	return &Drawn{dev: dev, t: t, h: t.Dim(1), w: t.Dim(2)}
}

// Release says that the memory is somebody else's again. What Host has copied
// stays.
func (d *Drawn) Release() { d.t = nil }

// ErrReleased is a drawing that nobody copied to the host while it was there.
var ErrReleased = errors.New("the drawing has left its device's memory")

// Host implements Picture.
func (d *Drawn) Host() (*Image, error) {
	if d.host == nil {
		if d.t == nil {
			return nil, ErrReleased
		}
		m := &Image{d.w, d.h, make([]uint8, d.t.Bytes())}
		if err := d.dev.Download(m.Pix, d.t); err != nil {
			return nil, err
		}
		d.host = m
	}
	return d.host, nil
}

// On implements Picture.
func (d *Drawn) On(s *engine.Stream) *engine.Tensor {
	if d.t != nil && engine.SameMemory(d.dev, s.Device()) {
		return d.t.Reshape(1, d.h, d.w, 3) // a view, which s.Free lets go
	}
	m, err := d.Host()
	if err != nil {
		s.Fail(err)
		return s.New(engine.U8, 1, d.h, d.w, 3)
	}
	return m.On(s)
}
