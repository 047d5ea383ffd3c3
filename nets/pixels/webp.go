package pixels

import (
	"encoding/binary"

	"parley/nets/pixels/libwebp"
)

func readWebP(f *file) (*raster, about, error) {
	var w, h int
	var alpha bool
	a := webpAbout(f.data)
	rgba, err := libwebp.Decode(f.data, func(width, height int, has bool) error {
		w, h, alpha = width, height, has
		return f.fits(w, h)
	})
	if err != nil {
		return nil, a, err
	}
	return split(w, h, rgba, alpha), a, nil
}

// webpAbout reads the chunks of the RIFF file.
func webpAbout(data []byte) (a about) {
	for data = data[12:]; len(data) >= 8; {
		n := int64(binary.LittleEndian.Uint32(data[4:]))
		if n > int64(len(data)-8) {
			break
		}
		for name, to := range map[string]*[]byte{"EXIF": &a.exif, "XMP ": &a.xmp, "ICCP": &a.icc} {
			if string(data[:4]) == name && *to == nil {
				*to = data[8:][:n]
			}
		}
		data = data[8+min(n+n&1, int64(len(data)-8)):]
	}
	return a
}
