package pixels

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"parley/nets/pixels/libjpeg"
)

func readJPEG(f *file) (*raster, about, error) {
	var r *raster
	at := 0
	d := libjpeg.Decoder{
		Scans: MaxScans,
		Size: func(w, h, n int) error {
			if err := f.fits(w, h); err != nil {
				return err
			}
			r = newRaster(w, h, n)
			return nil
		},
		Row: func(samples []byte) { at += copy(r.pix[at:], samples) },
	}
	a := jpegAbout(f.data)
	if n := jpegScans(f.data); n > MaxScans { // before the work of the first ones
		return nil, a, fmt.Errorf("%d scans, at most %d are read", n, MaxScans)
	}
	if err := d.Decode(f.data); err != nil {
		return nil, a, err
	}
	if r.n == 4 { // Adobe's files hold the inverse, and Pillow takes every file for Adobe's
		for i, v := range r.pix {
			r.pix[i] = 255 - v
		}
	}
	return r, a, nil
}

// jpegAbout reads the segments before the first scan, with Pillow's tolerance:
// fill bytes before a marker (T.81 B.1.1.2), and bytes that belong to none.
func jpegAbout(data []byte) (a about) {
	var parts map[byte][]byte // of a profile, by their number
	total := 0
	for i := 2; i+4 <= len(data); {
		if data[i] != 0xff || data[i+1] == 0xff || data[i+1] == 0 {
			i++
			continue
		}
		kind := data[i+1]
		if kind == 0xda || kind == 0xd9 {
			break
		}
		if kind >= 0xd0 && kind <= 0xd8 || kind == 0x01 { // no length follows
			i += 2
			continue
		}
		n := int(binary.BigEndian.Uint16(data[i+2:]))
		if n < 2 || i+2+n > len(data) {
			break
		}
		seg := data[i+4 : i+2+n]
		i += 2 + n
		if kind == 0xe1 {
			if t, ok := bytes.CutPrefix(seg, []byte("Exif\x00\x00")); ok {
				a.exif = append(a.exif, t...) // a long one comes in several
			} else if t, ok := bytes.CutPrefix(seg, []byte("http://ns.adobe.com/xap/1.0/\x00")); ok {
				a.xmp = t
			}
		}
		if t, ok := bytes.CutPrefix(seg, []byte("ICC_PROFILE\x00")); ok && kind == 0xe2 && len(t) > 2 {
			if parts == nil {
				parts = map[byte][]byte{}
			}
			parts[t[0]], total = t[2:], int(t[1])
		}
	}
	if len(parts) == total {
		for k := 1; k <= total; k++ {
			a.icc = append(a.icc, parts[byte(k)]...)
		}
	}
	return a
}

// jpegScans counts a file's scans up to its end.
func jpegScans(data []byte) (n int) {
	for i := 2; i+4 <= len(data); {
		kind := data[i+1]
		switch {
		case data[i] != 0xff || kind == 0xff:
			i++
		case kind == 0xd9:
			return n
		case kind == 0 || kind == 0x01 || kind >= 0xd0 && kind <= 0xd8: // within a scan, or of no length
			i += 2
		default:
			if kind == 0xda {
				n++
			}
			i += 2 + max(int(binary.BigEndian.Uint16(data[i+2:])), 2)
		}
	}
	return n
}
