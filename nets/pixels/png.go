package pixels

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"image/png"
	"io"
	"strings"
)

// textBytes is the longest compressed text that is looked into.
const textBytes = 1 << 20

// readPNG gives image/png what Pillow looks at: it is stricter with what does
// not matter to the picture.
func readPNG(f *file) (*raster, about, error) {
	var a about
	sig := f.data[:8]
	parts := []io.Reader{bytes.NewReader(sig)}
	keep := func(name string, data []byte) {
		head := append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), name...)
		sum := crc32.Update(crc32.ChecksumIEEE([]byte(name)), crc32.IEEETable, data)
		parts = append(parts, bytes.NewReader(head), bytes.NewReader(data), bytes.NewReader(binary.BigEndian.AppendUint32(nil, sum)))
	}
	colour, colours := byte(0), 0
	pixels := false
	for p := f.data[8:]; len(p) >= 8; {
		n, name := int64(binary.BigEndian.Uint32(p)), string(p[4:8])
		data := p[8:][:min(n, int64(len(p)-8))]
		p = p[8+min(n+4, int64(len(p)-8)):]
		switch {
		case name == "IHDR":
			if len(data) < 13 {
				return nil, a, errShort
			}
			if err := f.fits(int(binary.BigEndian.Uint32(data)), int(binary.BigEndian.Uint32(data[4:]))); err != nil {
				return nil, a, err
			}
			colour = data[9]
			colours = 1 << min(data[8], 8)
			keep(name, data)
		case name == "PLTE" && colour == 3:
			data = append(bytes.Clone(data), make([]byte, max(3*colours-len(data), 0))...) // the rest is black
			keep(name, data[:3*colours])
		case name == "tRNS" && colour < 4 && !pixels:
			if colour == 3 {
				data = data[:min(len(data), colours)]
			}
			keep(name, data)
		case name == "IDAT":
			pixels = true
			keep(name, data)
		case name == "eXIf":
			a.exif = data
		case name == "iCCP":
			if _, z, ok := bytes.Cut(data, []byte{0}); ok && len(z) > 1 {
				a.icc = inflate(z[1:])
			}
		case name == "tEXt", name == "zTXt", name == "iTXt":
			a.text(name, data)
		}
	}
	keep("IEND", nil)
	m, err := png.Decode(io.MultiReader(parts...))
	var bad png.FormatError
	switch {
	case err == nil:
	case errors.As(err, &bad) && bad == "not enough pixel data":
		return nil, a, errShort
	default: // which says again that it is a PNG
		return nil, a, errors.New(strings.TrimPrefix(err.Error(), "png: "))
	}
	return fromGo(m), a, nil
}

// text looks for what programs keep in a PNG's texts: XMP, and ImageMagick's
// EXIF.
func (a *about) text(name string, data []byte) {
	key, data, _ := bytes.Cut(data, []byte{0})
	switch {
	case name == "zTXt" && len(data) > 1:
		data = inflate(data[1:])
	case name == "iTXt" && len(data) > 2:
		packed := data[0] == 1
		_, data, _ = bytes.Cut(data[2:], []byte{0}) // the language
		_, data, _ = bytes.Cut(data, []byte{0})     // the key in it
		if packed {
			data = inflate(data)
		}
	}
	switch string(key) {
	case "XML:com.adobe.xmp":
		a.xmp = data
	case "Raw profile type exif": // a line of its name, one of its length, hexadecimal digits
		lines := strings.SplitN(string(data), "\n", 4)
		if len(lines) < 4 || a.exif != nil {
			return
		}
		if t, err := hex.DecodeString(strings.ReplaceAll(lines[3], "\n", "")); err == nil {
			a.exif = t
		}
	}
}

func inflate(data []byte) []byte {
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	out, err := io.ReadAll(io.LimitReader(z, textBytes))
	if err != nil {
		return nil
	}
	return out
}
