package serve

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"image/jpeg"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/HugoSmits86/nativewebp"

	"parley/cmd/serve/work"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/pixels/parameters"
)

// picture reads a picture that came as base64, perhaps as a data URL.
func (s *Server) picture(param, text string) (*pixels.Image, error) {
	data, err := encoded(param, text)
	if err != nil {
		return nil, err
	}
	return s.decodePicture(param, bytes.NewReader(data), pixels.Options{})
}

// encoded is the file that a text holds in base64.
func encoded(param, text string) ([]byte, error) {
	if strings.HasPrefix(text, "data:") {
		_, rest, ok := strings.Cut(text, ";base64,")
		if !ok {
			return nil, wrong(param, "want data:…;base64,…")
		}
		text = rest
	} else if strings.HasPrefix(text, "http:") || strings.HasPrefix(text, "https:") {
		return nil, wrong(param, "addresses are not fetched: send the picture as base64")
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		if data, err = base64.RawStdEncoding.DecodeString(strings.TrimSpace(text)); err != nil {
			return nil, wrong(param, "this is no base64")
		}
	}
	return data, nil
}

func (s *Server) decodePicture(param string, r io.Reader, o pixels.Options) (*pixels.Image, error) {
	o.MaxPixels = s.o.Pixels
	m, err := o.Decode(r)
	if large := (*pixels.LimitError)(nil); errors.As(err, &large) {
		return nil, &apiError{http.StatusRequestEntityTooLarge, "too_large", param, param + ": " + err.Error()}
	}
	if err != nil {
		return nil, wrong(param, "%v", err)
	}
	return m, nil
}

// opaque reports whether all of a picture of Options.Alpha is.
func opaque(m *pixels.Image) bool {
	return !slices.ContainsFunc(m.Pix, func(v uint8) bool { return v != 255 })
}

// invert turns white into black; of nil, nothing.
func invert(m *pixels.Image) {
	if m == nil {
		return
	}
	for i, v := range m.Pix {
		m.Pix[i] = 255 - v
	}
}

// format is a file format of pictures that are sent.
type format struct {
	name    string // png, jpeg, webp
	quality int    // of JPEG, 1 to 100
}

// encode writes a picture, as a PNG with how it was drawn.
func (f format) encode(m *pixels.Image, how parameters.Drawing) ([]byte, error) {
	var b bytes.Buffer
	if f.name == "webp" { // lossless
		err := nativewebp.Encode(&b, m.Go(), nil)
		return b.Bytes(), err
	}
	if f.name != "jpeg" {
		err := parameters.Encode(&b, m, how)
		return b.Bytes(), err
	}
	err := jpeg.Encode(&b, m.Go(), &jpeg.Options{Quality: f.quality})
	return b.Bytes(), err
}

// png is a picture as a PNG that tells nothing else.
func png(m *pixels.Image) ([]byte, error) {
	var b bytes.Buffer
	err := m.EncodePNG(&b)
	return b.Bytes(), err
}

func (f format) mime() string { return "image/" + f.name }

// newFormat checks a format's name; compression is OpenAI's output_compression.
func newFormat(name string, compression *int) (format, error) {
	f := format{name: name, quality: 100}
	switch name {
	case "":
		f.name = "png"
	case "png", "jpeg", "webp":
	case "jpg":
		f.name = "jpeg"
	default:
		return f, wrong("output_format", "%q is not written: png, jpeg or webp", name)
	}
	if compression != nil {
		if f.name != "jpeg" {
			return f, wrong("output_compression", "is for jpeg")
		}
		if *compression < 1 || *compression > 100 {
			return f, wrong("output_compression", "want 1 to 100")
		}
		f.quality = *compression
	}
	return f, nil
}

// how tells how a drawing was made.
func (s *Server) how(d work.Drawing) parameters.Drawing {
	p, err := s.work.SD.Parameters(models.DrawOptions{Options: d.Options, Negative: d.Negative, Chunks: d.Chunks, Init: d.Init})
	if err != nil { // it was checked before it was drawn
		return parameters.Drawing{Prompt: d.Prompt, Seed: d.Seed}
	}
	if p.Prompt, p.Seed = d.Prompt, d.Seed; d.Init != nil {
		p.Init = "of the request"
	}
	if d.Mask != nil {
		p.Mask = "of the request"
	}
	return p
}

// shelf keeps pictures that clients fetch by their address, for a time and up to a size.
type shelf struct {
	most int
	keep time.Duration

	mu    sync.Mutex
	bytes int
	order []string
	files map[string]shelved
}

type shelved struct {
	data []byte
	mime string
	till time.Time
}

// put gives a picture a name that nobody guesses.
func (s *shelf) put(data []byte, mime string) (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	name := hex.EncodeToString(b[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(data) > s.most {
		return "", errors.New("the picture is larger than what the server keeps")
	}
	if s.files == nil {
		s.files = map[string]shelved{}
	}
	s.order = append(s.order, name)
	s.files[name] = shelved{data, mime, time.Now().Add(s.keep)}
	s.bytes += len(data)
	for len(s.order) > 0 && (s.bytes > s.most || time.Now().After(s.files[s.order[0]].till)) {
		s.bytes -= len(s.files[s.order[0]].data)
		delete(s.files, s.order[0])
		s.order = s.order[1:]
	}
	return name, nil
}

func (s *shelf) get(name string) (shelved, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[name]
	return f, ok && time.Now().Before(f.till)
}
