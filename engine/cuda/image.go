package cuda

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Image is what the kernels of a room were compiled to: PTX, which the driver
// compiles for any device when it loads it, and machine code (a cubin) for some
// architectures, which it only copies.
type Image struct {
	PTX    string
	Cubins map[int]string // by compute capability: 80 is sm_80
}

// zstdMagic begins a frame of Zstandard; no PTX begins with it.
const zstdMagic = "\x28\xb5\x2f\xfd"

var cubinName = regexp.MustCompile(`^op\.sm_(\d+)\.cubin$`)

// ReadImage reads a tar of op.ptx and op.sm_NN.cubin compressed with Zstandard,
// as kernels/cuda/ptx.py writes it, or the text of PTX alone.
func ReadImage(data string) (Image, error) {
	if !strings.HasPrefix(data, zstdMagic) {
		return Image{PTX: data}, nil
	}
	d, err := zstd.NewReader(strings.NewReader(data), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return Image{}, err
	}
	defer d.Close()
	i := Image{Cubins: map[int]string{}}
	for t := tar.NewReader(d); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return Image{}, err
		}
		content, err := io.ReadAll(t)
		if err != nil {
			return Image{}, fmt.Errorf("%s: %w", h.Name, err)
		}
		if m := cubinName.FindStringSubmatch(h.Name); m != nil {
			sm, err := strconv.Atoi(m[1])
			if err != nil {
				return Image{}, err
			}
			i.Cubins[sm] = string(content)
		} else if h.Name == "op.ptx" {
			i.PTX = string(content)
		} else {
			return Image{}, fmt.Errorf("%s is neither op.ptx nor op.sm_NN.cubin", h.Name)
		}
	}
	if i.PTX == "" {
		return Image{}, errors.New("no op.ptx in it")
	}
	return i, nil
}

// cubin is the machine code for a device: of its own architecture, or of an
// older one of the same major number, which it runs too. Empty where there is
// none.
func (i Image) cubin(major, minor int) (code string, sm int) {
	for s, c := range i.Cubins {
		if s/10 == major && s%10 <= minor && s > sm {
			code, sm = c, s
		}
	}
	return code, sm
}

// TextFor is the PTX for devices of a compute capability, 9 for sm_90: from there on
// with the instructions that stand in it as comments behind //sm_90, which an older
// device's PTX cannot have.
func (i Image) TextFor(major int) string {
	if major < 9 || !strings.Contains(i.PTX, "//sm_90 ") {
		return i.PTX
	}
	return strings.NewReplacer("//sm_90 ", "", ".target sm_80", ".target sm_90").Replace(i.PTX)
}

// Pack writes the image as ReadImage reads it, with nothing of the moment in it:
// one image gives one file.
func (i Image) Pack() ([]byte, error) {
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(zstd.MaxWindowSize>>6),
		zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(z)
	add := func(name, content string) {
		if err == nil {
			err = t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatUSTAR})
		}
		if err == nil {
			_, err = io.WriteString(t, content)
		}
	}
	add("op.ptx", i.PTX)
	for sm := range 1000 {
		if c, ok := i.Cubins[sm]; ok {
			add(fmt.Sprintf("op.sm_%d.cubin", sm), c)
		}
	}
	err = errors.Join(err, t.Close(), z.Close())
	return out.Bytes(), err
}

// Module is the kernels of a room. A device loads it when it first launches one
// of them.
type Module struct{ name, data string }

// NewModule names the kernels of a text of PTX, or of an image that Image.Pack
// made; it is read at the first launch.
func NewModule(name, data string) *Module { return &Module{name, data} }

// Name is what NewModule was given.
func (m *Module) Name() string { return m.name }

// Image unpacks the module's code.
func (m *Module) Image() (Image, error) {
	i, err := ReadImage(m.data)
	if err != nil {
		err = fmt.Errorf("the image of the module %s: %w", m.name, err)
	}
	return i, err
}
