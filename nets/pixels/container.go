package pixels

import (
	"bytes"
	"encoding/binary"
)

// exif is the EXIF block of a picture file, from the TIFF header on; nil where
// there is none.
func exif(format string, data []byte) []byte {
	switch format {
	case "JPEG":
		for i := 2; i+4 <= len(data) && data[i] == 0xff; {
			kind, n := data[i+1], int(binary.BigEndian.Uint16(data[i+2:]))
			if kind == 0xda || n < 2 || i+2+n > len(data) {
				break
			}
			seg := data[i+4 : i+2+n]
			i += 2 + n
			if t, ok := bytes.CutPrefix(seg, []byte("Exif\x00\x00")); ok && kind == 0xe1 {
				return t
			}
		}
	case "PNG":
		for i := 8; i+12 <= len(data); {
			n := int64(binary.BigEndian.Uint32(data[i:]))
			if n > int64(len(data)-i-12) {
				break
			}
			if string(data[i+4:i+8]) == "eXIf" {
				return data[i+8 : i+8+int(n)]
			}
			i += 12 + int(n)
		}
	case "WebP":
		for c := range chunks(data) {
			if c.name == "EXIF" {
				t, _ := bytes.CutPrefix(c.data, []byte("Exif\x00\x00")) // some writers copy a JPEG's
				return t
			}
		}
	}
	return nil
}

// orientation is what an EXIF block says of it, 1 to 8; 1 where it does not.
func orientation(t []byte) int {
	if len(t) < 8 {
		return 1
	}
	var o binary.ByteOrder = binary.LittleEndian
	if t[0] == 'M' {
		o = binary.BigEndian
	}
	at := int64(o.Uint32(t[4:]))
	if at+2 > int64(len(t)) {
		return 1
	}
	entries := int64(o.Uint16(t[at:]))
	for e := range entries {
		p := at + 2 + 12*e
		if p+12 > int64(len(t)) {
			break
		}
		if o.Uint16(t[p:]) == 0x0112 {
			if v := int(o.Uint16(t[p+8:])); v >= 1 && v <= 8 {
				return v
			}
		}
	}
	return 1
}

// chunk is a part of a RIFF file.
type chunk struct {
	name string
	data []byte
}

// chunks are a WebP's.
func chunks(data []byte) func(yield func(chunk) bool) {
	return func(yield func(chunk) bool) {
		if len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP" {
			inner(data[12:])(yield)
		}
	}
}

func inner(data []byte) func(yield func(chunk) bool) {
	return func(yield func(chunk) bool) {
		for len(data) >= 8 {
			n := int64(binary.LittleEndian.Uint32(data[4:]))
			if n > int64(len(data)-8) || !yield(chunk{string(data[:4]), data[8 : 8+n]}) {
				return
			}
			data = data[8+min(n+n&1, int64(len(data)-8)):]
		}
	}
}

// firstFrame makes a still WebP, which x/image reads, of a moving one whose
// first frame fills the picture, as encoders write it.
func firstFrame(data []byte) ([]byte, bool) {
	var out, head []byte
	add := func(name string, d []byte) {
		out = append(out, name...)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(d)))
		out = append(append(out, d...), make([]byte, len(d)&1)...)
	}
	var after [][]byte
	for c := range chunks(data) {
		switch {
		case c.name == "VP8X" && len(c.data) == 10 && c.data[0]&2 != 0:
			head = bytes.Clone(c.data)
			head[0] &^= 2
		case c.name == "ANMF" && head != nil && out == nil && len(c.data) > 16:
			// Offsets of 0, and the canvas' width and height.
			if f := c.data; !bytes.Equal(f[:6], make([]byte, 6)) || !bytes.Equal(f[6:12], head[4:10]) {
				return nil, false
			}
			frame := false
			for p := range inner(c.data[16:]) {
				switch p.name {
				case "ALPH":
					add("VP8X", head)
					add(p.name, p.data)
				case "VP8 ", "VP8L":
					add(p.name, p.data)
					frame = true
				}
				if frame {
					break
				}
			}
			if !frame {
				return nil, false
			}
		case c.name == "EXIF":
			after = append(after, c.data)
		}
	}
	if out == nil {
		return nil, false
	}
	for _, d := range after {
		add("EXIF", d)
	}
	file := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(out)+4))
	return append(append(file, "WEBP"...), out...), true
}
