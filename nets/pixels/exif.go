package pixels

import (
	"bytes"
	"encoding/binary"
	"math"
	"regexp"
)

// about is what a file says of its picture beside the samples.
type about struct {
	exif []byte // from the TIFF header on, or "Exif\0\0" before it
	xmp  []byte
	icc  []byte
}

// xmpOrientation is Pillow's pattern.
var xmpOrientation = regexp.MustCompile(`tiff:Orientation(?:="|>)([0-9])`)

// orientation is 1 to 8, as Pillow's Image.getexif finds it: EXIF's, and where
// that has none, XMP's.
func (a about) orientation() int {
	v, ok := exifOrientation(a.exif)
	if !ok {
		if m := xmpOrientation.FindSubmatch(a.xmp); m != nil {
			v = float64(m[1][0] - '0')
		}
	}
	if v >= 1 && v <= 8 && v == math.Trunc(v) {
		return int(v)
	}
	return 1
}

// exifOrientation looks for the tag in the first directory of an EXIF block.
func exifOrientation(t []byte) (float64, bool) {
	for bytes.HasPrefix(t, []byte("Exif\x00\x00")) {
		t = t[6:]
	}
	d, at, err := newDirectory(t)
	if err != nil {
		return 0, false
	}
	v := math.NaN()
	d.entries(at, func(e entry) {
		if e.tag == tagOrientation {
			if list := e.numbers(1); len(list) > 0 {
				v = list[0]
			}
		}
	})
	return v, !math.IsNaN(v)
}

// directory reads the tags of TIFF and EXIF: TIFF 6.0, and BigTIFF.
type directory struct {
	data []byte
	binary.ByteOrder
	big bool
}

const tagOrientation = 274

// newDirectory reads the header and says where the first directory lies.
func newDirectory(t []byte) (*directory, uint64, error) {
	if len(t) < 8 {
		return nil, 0, errShort
	}
	d := &directory{data: t}
	switch {
	case bytes.HasPrefix(t, []byte("MM")):
		d.ByteOrder = binary.BigEndian
	case bytes.HasPrefix(t, []byte("II")):
		d.ByteOrder = binary.LittleEndian
	default:
		return nil, 0, errShort
	}
	if d.Uint16(t[2:]) == 43 {
		if len(t) < 16 {
			return nil, 0, errShort
		}
		d.big = true
		return d, d.Uint64(t[8:]), nil
	}
	return d, uint64(d.Uint32(t[4:])), nil
}

// entry is a tag and its values' bytes.
type entry struct {
	*directory
	tag, kind uint16
	data      []byte
}

// kindBytes is how long a value of each kind is; 0 where nobody knows it.
var kindBytes = [19]uint64{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8}

// entries calls visit with the tags of the directory at at; what is cut off ends
// it.
func (d *directory) entries(at uint64, visit func(entry)) {
	size := uint64(len(d.data))
	if at > size {
		return
	}
	var n uint64
	word, head := uint64(4), uint64(2)
	if d.big {
		word, head = 8, 8
	}
	if size-at < head {
		return
	}
	if d.big {
		n = d.Uint64(d.data[at:])
	} else {
		n = uint64(d.Uint16(d.data[at:]))
	}
	at += head
	for ; n > 0 && size-at >= 4+2*word; n-- {
		e := entry{directory: d, tag: d.Uint16(d.data[at:]), kind: d.Uint16(d.data[at+2:])}
		count, value := d.word(at+4), at+4+word
		at += 4 + 2*word
		if int(e.kind) >= len(kindBytes) || kindBytes[e.kind] == 0 || count == 0 {
			continue
		}
		unit := kindBytes[e.kind]
		if count > size/unit {
			return
		}
		if count*unit > word {
			if value = d.word(value); value > size || size-value < count*unit {
				return
			}
		}
		e.data = d.data[value:][:count*unit]
		visit(e)
	}
}

// word is a count or an offset.
func (d *directory) word(at uint64) uint64 {
	if d.big {
		return d.Uint64(d.data[at:])
	}
	return uint64(d.Uint32(d.data[at:]))
}

// numbers are an entry's first values, most at most, if they are numbers.
func (e entry) numbers(most int) []float64 {
	unit := int(kindBytes[e.kind])
	list := make([]float64, 0, min(most, len(e.data)/unit))
	for p := e.data; len(p) >= unit && len(list) < most; p = p[unit:] {
		var v float64
		switch e.kind {
		case 3:
			v = float64(e.Uint16(p))
		case 4, 13:
			v = float64(e.Uint32(p))
		case 5:
			v = float64(e.Uint32(p)) / float64(e.Uint32(p[4:]))
		case 6:
			v = float64(int8(p[0]))
		case 8:
			v = float64(int16(e.Uint16(p)))
		case 9:
			v = float64(int32(e.Uint32(p)))
		case 10:
			v = float64(int32(e.Uint32(p))) / float64(int32(e.Uint32(p[4:])))
		case 11:
			v = float64(math.Float32frombits(e.Uint32(p)))
		case 12:
			v = math.Float64frombits(e.Uint64(p))
		case 16, 18:
			v = float64(e.Uint64(p))
		case 17:
			v = float64(int64(e.Uint64(p)))
		default:
			return nil
		}
		list = append(list, v)
	}
	return list
}
