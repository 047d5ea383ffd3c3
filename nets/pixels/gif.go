package pixels

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"errors"
	"io"
)

// readGIF reads the first frame on its canvas. What the frame does not cover is
// transparent, or of the palette's first colour where nothing is; a canvas too
// small for it grows.
func readGIF(f *file) (*raster, about, error) {
	var a about
	d := f.data
	if len(d) < 13 {
		return nil, a, errShort
	}
	w, h := int(binary.LittleEndian.Uint16(d[6:])), int(binary.LittleEndian.Uint16(d[8:]))
	flags := d[10]
	d = d[13:]
	var colours palette
	for i := range colours { // without a table
		colours[i] = [3]uint8{uint8(i), uint8(i), uint8(i)}
	}
	table := func(flags byte) error {
		if flags&0x80 == 0 {
			return nil
		}
		n := 3 << (flags&7 + 1)
		if len(d) < n {
			return errShort
		}
		colours = palette{}
		for i := range n / 3 {
			copy(colours[i][:], d[3*i:])
		}
		d = d[n:]
		return nil
	}
	if err := table(flags); err != nil {
		return nil, a, err
	}
	// blocks takes the data of a chain of blocks.
	blocks := func() (out []byte) {
		for len(d) > 0 {
			n := int(d[0])
			d = d[1:]
			if n == 0 {
				break
			}
			n = min(n, len(d))
			out = append(out, d[:n]...)
			d = d[n:]
		}
		return out
	}
	transparent := -1
	for {
		if len(d) == 0 {
			return nil, a, errShort
		}
		kind := d[0]
		d = d[1:]
		switch kind {
		case '!':
			if len(d) == 0 {
				return nil, a, errShort
			}
			label := d[0]
			d = d[1:]
			if b := blocks(); label == 0xf9 && len(b) >= 4 && b[0]&1 != 0 {
				transparent = int(b[3])
			}
		case ';':
			return nil, a, errors.New("there is no frame in it")
		case ',':
			if len(d) < 10 {
				return nil, a, errShort
			}
			at := func(i int) int { return int(binary.LittleEndian.Uint16(d[i:])) }
			x, y, fw, fh, flags := at(0), at(2), at(4), at(6), d[8]
			w, h = max(w, x+fw), max(h, y+fh)
			if err := f.fits(w, h); err != nil {
				return nil, a, err
			}
			d = d[9:]
			if err := table(flags); err != nil {
				return nil, a, err
			}
			if len(d) == 0 {
				return nil, a, errShort
			}
			bits := int(d[0])
			d = d[1:]
			if bits < 2 || bits > 8 {
				return nil, a, errors.New("codes of no size that GIF has")
			}
			frame := make([]byte, fw*fh)
			z := lzw.NewReader(bytes.NewReader(blocks()), lzw.LSB, bits)
			if _, err := io.ReadFull(z, frame); err == io.EOF || err == io.ErrUnexpectedEOF {
				return nil, a, errShort
			} else if err != nil {
				return nil, a, err
			}
			index := make([]byte, w*h)
			if transparent > 0 {
				for i := range index {
					index[i] = byte(transparent)
				}
			}
			row := 0
			for _, pass := range interlace(flags&0x40 != 0) {
				for i := pass.first; i < fh; i += pass.step {
					copy(index[(y+i)*w+x:][:fw], frame[row*fw:])
					row++
				}
			}
			return colours.colours(w, h, index, transparent), a, nil
		}
		// Anything else is passed over, as Pillow does.
	}
}

// pass is a run over a GIF's rows.
type pass struct{ first, step int }

func interlace(on bool) []pass {
	if on {
		return []pass{{0, 8}, {4, 8}, {2, 4}, {1, 2}}
	}
	return []pass{{0, 1}}
}
