package pixels

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// Options say how picture files are read. The zero value reads as Pillow does.
type Options struct {
	// MaxPixels is the largest picture that is decoded: what a header claims is
	// checked before anything is allocated. 0 is DefaultMaxPixels.
	MaxPixels int
	// ICC converts the colours of a picture with a profile to sRGB. transformers,
	// diffusers and open_clip do not, and nets were trained on such pictures.
	ICC bool
	// Alpha gives how opaque each pixel is, as grey, in place of its colours.
	Alpha bool
}

// DefaultMaxPixels is where Pillow refuses too: some 179 million.
const DefaultMaxPixels = 2 * 89478485

// MaxScans is how many scans a JPEG may have. Encoders write about ten; each
// costs time by the picture's area, and may take a few bytes of the file.
const MaxScans = 32

func (o Options) pixels() int {
	if o.MaxPixels > 0 {
		return o.MaxPixels
	}
	return DefaultMaxPixels
}

// LimitError is a picture beyond Options.MaxPixels, or a file of more bytes than
// such a picture can have.
type LimitError struct {
	What string
	Most int64
}

func (e *LimitError) Error() string { return fmt.Sprintf("%s, at most %d are read", e.What, e.Most) }

// bytes is the largest file that is read: 16 bits a sample, 4 samples a pixel,
// and what lies beside them.
func (o Options) bytes() int64 { return 8*int64(o.pixels()) + 64<<20 }

// Read decodes a picture file with the zero Options.
func Read(path string) (*Image, error) { return Options{}.Read(path) }

// Decode is Options.Decode with the zero Options.
func Decode(r io.Reader) (*Image, error) { return Options{}.Decode(r) }

// Read decodes a picture file: the head says whether it is one, then its size is
// looked at, then it is read. A pipe is read as Decode does, a device is refused.
func (o Options) Read(path string) (*Image, error) {
	m, err := o.read(path)
	if pe := (*os.PathError)(nil); err != nil && !errors.As(err, &pe) {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return m, err
}

func (o Options) read(path string) (*Image, error) {
	f, size, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return o.decode(f, size)
}

// Decode reads a PNG, JPEG, GIF, WebP, BMP or TIFF, of moving ones the first
// frame on its canvas, of several ones the first. It is turned as its
// orientation says (Pillow's ImageOps.exif_transpose); transparent pixels lie
// over white. Of what is no picture only the head is read.
func (o Options) Decode(r io.Reader) (*Image, error) { return o.decode(r, -1) }

// HeadBytes is what kinds of files are told by.
const HeadBytes = 64

// decode reads a picture of size bytes, -1 where nobody knows.
func (o Options) decode(r io.Reader, size int64) (*Image, error) {
	head := make([]byte, HeadBytes)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, err
	}
	head = head[:n]
	f, err := formatOf(head)
	if err != nil {
		return nil, err
	}
	most := o.bytes()
	if size > most {
		return nil, fmt.Errorf("%s: %w", f.name, &LimitError{fmt.Sprintf("the file has %d bytes", size), most})
	}
	all := bytes.NewBuffer(make([]byte, 0, max(size, int64(n))+bytes.MinRead))
	all.Write(head)
	if _, err := all.ReadFrom(io.LimitReader(r, most-int64(n)+1)); err != nil {
		return nil, err
	}
	if int64(all.Len()) > most {
		return nil, fmt.Errorf("%s: %w", f.name, &LimitError{"the file has more bytes", most})
	}
	m, err := f.decode(&file{all.Bytes(), o})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return m, nil
}

// decode turns a file into a picture. A panic of a decoder is an error of the
// file.
func (f format) decode(in *file) (m *Image, err error) {
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("damaged: the decoder stopped at it (%v)", p)
		}
	}()
	r, about, err := f.read(in)
	if err != nil {
		return nil, err
	}
	out, err := r.image(in.Options, about.icc)
	if err != nil {
		return nil, err
	}
	return out.oriented(about.orientation()), nil
}

// file is a picture file in memory.
type file struct {
	data []byte
	Options
}

// fits says whether a picture of w x h may be decoded.
func (f *file) fits(w, h int) error {
	if w < 1 || h < 1 {
		return fmt.Errorf("%d x %d pixels", w, h)
	}
	if most := f.pixels(); w > most/h {
		return &LimitError{fmt.Sprintf("%d x %d pixels", w, h), int64(most)}
	}
	return nil
}

// format is a kind of picture file.
type format struct {
	name string
	read func(*file) (*raster, about, error)
}

// errShort is a file that ends too early.
var errShort = errors.New("the file is cut short")
