package pixels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// readBMP reads Windows' and OS/2's bitmaps: 1, 2, 4 and 8 bits by a palette,
// 16, 24 and 32 by bit fields, and both kinds of runs.
func readBMP(f *file) (*raster, about, error) {
	var a about
	le, d := binary.LittleEndian, f.data
	if len(d) < 18 {
		return nil, a, errShort
	}
	offset, size := int64(le.Uint32(d[10:])), int64(le.Uint32(d[14:]))
	if size > 124 || size < 12 || size > 12 && size < 16 {
		return nil, a, fmt.Errorf("a header of %d bytes", size)
	}
	if int64(len(d)) < 14+size {
		return nil, a, errShort
	}
	var head [124]byte // what a shorter one leaves away is 0
	copy(head[:], d[14:14+size])
	var w, h, depth, compression int
	down, entry := false, int64(4)
	colours := 0
	if size == 12 {
		w, h, depth, entry = int(le.Uint16(head[4:])), int(le.Uint16(head[6:])), int(le.Uint16(head[10:])), 3
	} else {
		w, h, depth = int(int32(le.Uint32(head[4:]))), int(int32(le.Uint32(head[8:]))), int(le.Uint16(head[14:]))
		compression, colours = int(le.Uint32(head[16:])), int(min(le.Uint32(head[32:]), 1<<16))
		if h < 0 {
			h, down = -h, true
		}
	}
	if err := f.fits(w, h); err != nil {
		return nil, a, err
	}
	if colours == 0 && depth <= 8 {
		colours = 1 << depth
	}
	const raw, rle8, rle4, fields, fieldsAlpha = 0, 1, 2, 3, 6
	at := 14 + size
	masks := [4]uint32{}
	switch {
	case compression == raw && depth == 16:
		masks = [4]uint32{0x7c00, 0x3e0, 0x1f}
	case compression == raw && depth >= 24:
		masks = [4]uint32{0xff0000, 0xff00, 0xff}
	case compression == fields || compression == fieldsAlpha:
		n := 3
		if size > 52 || compression == fieldsAlpha {
			n = 4
		}
		from := head[40:]
		if size < 52 { // they follow the header
			if int64(len(d)) < at+int64(4*n) {
				return nil, a, errShort
			}
			from = d[at:]
			at += int64(4 * n)
		}
		for i := range n {
			masks[i] = le.Uint32(from[4*i:])
		}
		if masks == [4]uint32{} {
			masks = [4]uint32{0xff0000, 0xff00, 0xff, 0xff000000}
		}
		if depth != 16 && depth != 24 && depth != 32 {
			return nil, a, fmt.Errorf("bit fields of %d bits", depth)
		}
	case compression == rle8 && depth == 8, compression == rle4 && depth == 4, compression == raw && depth <= 8:
	default:
		return nil, a, fmt.Errorf("compression %d of %d bits a pixel", compression, depth)
	}
	var table palette
	if depth <= 8 {
		if offset == 14+size { // a writer that forgets its palette
			offset += 4 * int64(colours)
		}
		if int64(len(d)) < at+entry*int64(colours) {
			return nil, a, errShort
		}
		for i := range min(colours, 256) {
			p := d[at+entry*int64(i):]
			table[i] = [3]uint8{p[2], p[1], p[0]}
		}
		at += entry * int64(colours)
	}
	if offset == 0 {
		offset = at
	}
	if offset > int64(len(d)) {
		return nil, a, errShort
	}
	d = d[offset:]
	row := func(y int) int { // where the file's row y lies in the picture
		if down {
			return y
		}
		return h - 1 - y
	}
	if compression == rle8 || compression == rle4 {
		index := make([]byte, w*h)
		runs(d, w, h, compression == rle4, func(x, y int, v byte) { index[row(y)*w+x] = v })
		return table.colours(w, h, index, -1), a, nil
	}
	stride := (w*depth + 31) / 32 * 4
	if len(d) < stride*(h-1)+(w*depth+7)/8 {
		return nil, a, errShort
	}
	switch depth {
	case 1, 2, 4, 8:
		index := make([]byte, w*h)
		for y := range h {
			unpack(index[row(y)*w:][:w], d[y*stride:], depth)
		}
		return table.colours(w, h, index, -1), a, nil
	case 16, 24, 32:
		r := newRaster(w, h, 3)
		if masks[3] != 0 {
			r.alpha = make([]uint8, w*h)
		}
		var of [4]field
		for i, m := range masks {
			of[i] = newField(m)
		}
		for y := range h {
			p, i := d[y*stride:], row(y)*w
			for range w {
				var v uint32
				switch depth {
				case 16:
					v = uint32(le.Uint16(p))
				case 24:
					v = uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16
				case 32:
					v = le.Uint32(p)
				}
				p = p[depth/8:]
				for c := range 3 {
					r.pix[3*i+c] = of[c].of(v)
				}
				if r.alpha != nil {
					r.alpha[i] = of[3].of(v)
				}
				i++
			}
		}
		return r, a, nil
	}
	return nil, a, errors.New("no depth that BMP has")
}

// unpack takes samples of 1, 2, 4 or 8 bits apart, the first in the upper bits.
func unpack(out, packed []byte, depth int) {
	if depth == 8 {
		copy(out, packed)
		return
	}
	each := 8 / depth
	mask := byte(1<<depth - 1)
	for i := range out {
		out[i] = packed[i/each] >> (8 - depth - i%each*depth) & mask
	}
}

// field is a bit field of a pixel.
type field struct {
	mask, most uint32
	shift      int
}

func newField(mask uint32) field {
	shift := bits.TrailingZeros32(mask) & 31
	return field{mask, max(mask>>shift, 1), shift}
}

func (f field) of(v uint32) uint8 {
	return uint8(uint64((v&f.mask)>>f.shift) * 255 / uint64(f.most))
}

// runs decodes run lengths; rows are counted as the file has them. What is left
// out stays as it is, what lies outside is dropped.
func runs(d []byte, w, h int, half bool, put func(x, y int, v byte)) {
	x, y := 0, 0
	dot := func(v byte) {
		if x < w && y < h {
			put(x, y, v)
		}
		x++
	}
	for len(d) >= 2 && y < h {
		n, v := int(d[0]), d[1]
		d = d[2:]
		if n > 0 {
			for i := range min(n, max(w-x, 0)) {
				switch {
				case !half:
					dot(v)
				case i%2 == 0:
					dot(v >> 4)
				default:
					dot(v & 15)
				}
			}
			continue
		}
		switch v {
		case 0:
			x, y = 0, y+1
		case 1:
			return
		case 2:
			if len(d) < 2 {
				return
			}
			x, y, d = x+int(d[0]), y+int(d[1]), d[2:]
		default:
			bytes := int(v)
			if half {
				bytes = (bytes + 1) / 2
			}
			if len(d) < bytes {
				return
			}
			for i := range int(v) {
				switch {
				case !half:
					dot(d[i])
				case i%2 == 0:
					dot(d[i/2] >> 4)
				default:
					dot(d[i/2] & 15)
				}
			}
			d = d[min(bytes+bytes&1, len(d)):]
		}
	}
}
