package pixels

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/image/ccitt"
	"golang.org/x/image/tiff/lzw"

	"parley/nets/pixels/libjpeg"
)

// Tags of TIFF 6.0 and its supplements.
const (
	tagWidth, tagHeight, tagBits, tagCompression, tagPhotometric   = 256, 257, 258, 259, 262
	tagFillOrder, tagStripOffsets, tagSamples, tagRowsPerStrip     = 266, 273, 277, 278
	tagStripBytes, tagPlanar, tagT4Options, tagPredictor           = 279, 284, 292, 317
	tagColorMap, tagTileWidth, tagTileHeight, tagTileOffsets       = 320, 322, 323, 324
	tagTileBytes, tagExtraSamples, tagSampleFormat, tagJPEGTables  = 325, 338, 339, 347
	tagJPEGOffset, tagJPEGBytes, tagSubsampling, tagXMP, tagICC    = 513, 514, 530, 700, 34675
	whiteIsZero, blackIsZero, photoRGB, photoPalette               = 0, 1, 2, 3
	photoCMYK, photoYCbCr                                          = 5, 6
	packNone, packFax3, packFax4, packLZW, packOldJPEG, packJPEG   = 1, 3, 4, 5, 6, 7
	packDeflate, packBits, packOldDeflate, packZstandard           = 8, 32773, 32946, 50000
	extraPlain, extraAssociated, extraAlpha, extraCorel, maxPlanes = 0, 1, 2, 999, 8
)

// tiff is the first picture of a TIFF file.
type tiff struct {
	*file
	*directory
	tags                        map[uint16]entry
	w, h                        int
	pack, photo, samples, depth int
	kind, predictor             int // of a sample: 1 is unsigned, 2 signed, 3 a float
	planar                      bool
	tables                      []byte // of JPEG
	rows                        int    // of a strip or tile
	subX, subY                  int    // of YCbCr that JPEG has not turned to RGB
}

func (t *tiff) int(tag uint16, def int) int {
	if e, ok := t.tags[tag]; ok {
		if v := e.numbers(1); len(v) == 1 && v[0] >= 0 && v[0] < 1<<31 {
			return int(v[0])
		}
	}
	return def
}

// ints are the values of a tag, as far as they are good for offsets.
func (t *tiff) ints(tag uint16) []int {
	var out []int
	if e, ok := t.tags[tag]; ok {
		for _, v := range e.numbers(len(e.data)) {
			if v < 0 || v > 1<<53 {
				v = 1 << 53
			}
			out = append(out, int(v))
		}
	}
	return out
}

func readTIFF(f *file) (*raster, about, error) {
	var a about
	d, at, err := newDirectory(f.data)
	if err != nil {
		return nil, a, err
	}
	t := &tiff{file: f, directory: d, tags: map[uint16]entry{}}
	d.entries(at, func(e entry) { t.tags[e.tag] = e })
	a.icc, a.xmp = t.tags[tagICC].data, t.tags[tagXMP].data
	a.exif = f.data
	if err := t.header(); err != nil {
		return nil, a, err
	}
	r, err := t.raster()
	return r, a, err
}

// header reads what kind of samples there are.
func (t *tiff) header() error {
	t.w, t.h = t.int(tagWidth, 0), t.int(tagHeight, 0)
	if err := t.fits(t.w, t.h); err != nil {
		return err
	}
	t.pack, t.photo = t.int(tagCompression, packNone), t.int(tagPhotometric, whiteIsZero)
	t.samples, t.planar = t.int(tagSamples, 1), t.int(tagPlanar, 1) == 2
	t.kind, t.predictor = t.int(tagSampleFormat, 1), t.int(tagPredictor, 1)
	if t.samples < 1 || t.samples > maxPlanes {
		return fmt.Errorf("%d samples a pixel", t.samples)
	}
	t.depth = t.int(tagBits, 1)
	for _, v := range t.ints(tagBits) {
		if v != t.depth {
			return fmt.Errorf("samples of %d and of %d bits", t.depth, v)
		}
	}
	switch t.depth {
	case 1, 2, 4, 8, 12, 16, 32:
	default:
		return fmt.Errorf("samples of %d bits", t.depth)
	}
	if t.kind == 3 && t.depth != 32 || t.kind < 1 || t.kind > 3 {
		return fmt.Errorf("samples of %d bits and of format %d", t.depth, t.kind)
	}
	want := map[int]int{whiteIsZero: 1, blackIsZero: 1, photoRGB: 3, photoPalette: 1, photoCMYK: 4, photoYCbCr: 3}[t.photo]
	if want == 0 {
		name := map[int]string{
			4: " (a mask)", 8: " (CIE L*a*b*)", 9: " (CIE L*a*b*)", 32803: " (a camera's raw samples)", 32844: " (LogL)", 32845: " (LogLuv)",
		}[t.photo]
		return fmt.Errorf("photometric interpretation %d%s is not read", t.photo, name)
	}
	if t.photo == photoYCbCr && t.samples == 1 {
		t.photo, want = blackIsZero, 1
	}
	if t.samples < want {
		return fmt.Errorf("%d samples a pixel, photometric interpretation %d has %d", t.samples, t.photo, want)
	}
	if t.photo == photoYCbCr && t.pack != packJPEG && t.pack != packOldJPEG {
		t.subX, t.subY = 2, 2
		if v := t.ints(tagSubsampling); len(v) == 2 {
			t.subX, t.subY = v[0], v[1]
		}
		ok := func(v int) bool { return v == 1 || v == 2 || v == 4 }
		if t.depth != 8 || t.planar || t.samples != 3 || !ok(t.subX) || !ok(t.subY) || t.predictor != 1 {
			return errors.New("YCbCr of this kind")
		}
	}
	if (t.pack == packJPEG || t.pack == packOldJPEG) && t.depth != 8 {
		return fmt.Errorf("compression %d of samples of %d bits", t.pack, t.depth)
	}
	t.tables = t.tags[tagJPEGTables].data
	return nil
}

// raster puts strips or tiles together.
func (t *tiff) raster() (*raster, error) {
	if t.pack == packOldJPEG {
		return t.oldJPEG()
	}
	tw, th := t.w, min(t.int(tagRowsPerStrip, t.h), t.h)
	offsets, counts := t.ints(tagStripOffsets), t.ints(tagStripBytes)
	tiled := len(offsets) == 0
	if tiled {
		tw, th = t.int(tagTileWidth, 0), t.int(tagTileHeight, 0)
		offsets, counts = t.ints(tagTileOffsets), t.ints(tagTileBytes)
	}
	if err := t.fits(tw, th); err != nil {
		return nil, fmt.Errorf("tiles: %w", err)
	}
	t.rows = th
	across, down := (t.w+tw-1)/tw, (t.h+th-1)/th
	planes, each := 1, t.samples
	if t.planar {
		planes, each = t.samples, 1
	}
	if len(offsets) < across*down*planes {
		return nil, fmt.Errorf("%d strips or tiles of %d", len(offsets), across*down*planes)
	}
	if len(counts) == 0 && len(offsets) == 1 { // old writers leave it away
		counts = []int{max(len(t.data())-offsets[0], 0)}
	}
	if len(counts) < len(offsets) {
		return nil, errors.New("strips or tiles of no length")
	}
	// Each byte is there for one tile: a small file of tiles that share theirs
	// would be work without end.
	total := 0
	for _, n := range counts {
		total += min(n, len(t.data())) + len(t.tables)
	}
	if total > 16*len(t.data())+1<<20 {
		return nil, errors.New("its tiles share their bytes")
	}
	out := make([]uint8, t.w*t.h*t.samples)
	line := make([]uint8, tw*each)
	var block []byte
	for i := range across * down * planes {
		plane, x, y := i/(across*down), i%across*tw, i/across%down*th
		if offsets[i] > len(t.data()) {
			return nil, errShort
		}
		packed := t.data()[offsets[i]:]
		packed = packed[:min(counts[i], len(packed))]
		rows := th
		if !tiled {
			rows = min(th, t.h-y)
		}
		var err error
		if block, err = t.block(block, packed, tw, rows, each); err != nil {
			return nil, fmt.Errorf("strip or tile %d: %w", i, err)
		}
		stride := len(block) / rows
		for r := range min(rows, t.h-y) {
			if t.subX > 0 {
				t.ycbcr(line, block, tw, r)
			} else {
				t.sample(line, block[r*stride:][:stride])
			}
			if each == t.samples {
				copy(out[((y+r)*t.w+x)*each:][:min(tw, t.w-x)*each], line)
				continue
			}
			for c := range min(tw, t.w-x) {
				out[((y+r)*t.w+x+c)*t.samples+plane] = line[c]
			}
		}
	}
	return t.colours(out)
}

func (t *tiff) data() []byte { return t.file.data }

// zstdWindow is how far back a strip may refer, as zstd's own programs allow.
const zstdWindow = 1 << 27

// block unpacks a strip or tile of w x h pixels of n samples into out.
func (t *tiff) block(out, packed []byte, w, h, n int) ([]byte, error) {
	stride := (w*n*t.depth + 7) / 8
	if t.subX > 0 {
		stride = (w + t.subX - 1) / t.subX * (t.subX*t.subY + 2) // of a row of units
	}
	size := stride * h
	if t.subX > 0 {
		size = stride * ((h + t.subY - 1) / t.subY)
	}
	if t.int(tagFillOrder, 1) == 2 && t.pack != packJPEG {
		packed = bytes.Clone(packed)
		for i, v := range packed {
			packed[i] = bits.Reverse8(v)
		}
	}
	if cap(out) < size {
		out = make([]byte, size)
	}
	out = out[:size]
	var r io.Reader
	switch t.pack {
	case packNone:
		r = bytes.NewReader(packed)
	case packLZW:
		z := lzw.NewReader(bytes.NewReader(packed), lzw.MSB, 8)
		defer z.Close()
		r = z
	case packDeflate, packOldDeflate:
		z, err := zlib.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	case packZstandard:
		z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(zstdWindow))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	case packBits:
		r = bytes.NewReader(unpackBits(make([]byte, 0, size), packed))
	case packFax3, packFax4:
		if t.depth != 1 || n != 1 {
			return nil, errors.New("a fax of more than one bit a pixel")
		}
		form := ccitt.Group4
		if t.pack == packFax3 {
			if t.int(tagT4Options, 0)&5 != 0 {
				return nil, errors.New("a Group 3 fax in two dimensions or with fill bits is not read")
			}
			form = ccitt.Group3
		}
		r = ccitt.NewReader(bytes.NewReader(packed), ccitt.MSB, form, w, h, &ccitt.Options{Invert: true})
	case packJPEG:
		return out, t.jpeg(out, append(bytes.Clone(t.tables), packed...), w, h, n)
	default:
		name := map[int]string{
			2: " (fax without ends of lines)", 34712: " (JPEG 2000)", 34925: " (LZMA)", 50001: " (WebP)",
		}[t.pack]
		return nil, fmt.Errorf("compression %d%s is not read", t.pack, name)
	}
	if _, err := io.ReadFull(r, out); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, errShort
	} else if err != nil {
		return nil, err
	}
	return out, t.predict(out, stride, n)
}

func same(w, h, wantW, wantH int) error {
	if w != wantW || h != wantH {
		return fmt.Errorf("it holds %d x %d pixels, want %d x %d", w, h, wantW, wantH)
	}
	return nil
}

// jpeg reads a strip or tile; what is above what it holds stays 0.
func (t *tiff) jpeg(out, data []byte, w, h, n int) error {
	at := 0
	d := libjpeg.Decoder{
		Scans: MaxScans,
		Raw:   t.photo != photoYCbCr,
		Size: func(width, height, components int) error {
			if components != n {
				return fmt.Errorf("JPEG of %d samples a pixel, want %d", components, n)
			}
			if height > h && height <= t.rows { // the last strip may go on below
				height = h
			}
			return same(width, height, w, h)
		},
		Row: func(samples []byte) { at += copy(out[min(at, len(out)):], samples) },
	}
	return d.Decode(data)
}

// oldJPEG reads the JPEG that a file of the first kind holds whole.
func (t *tiff) oldJPEG() (*raster, error) {
	from, n := t.int(tagJPEGOffset, 0), t.int(tagJPEGBytes, 0)
	if from == 0 || from > len(t.data()) || n > len(t.data())-from || n == 0 {
		return nil, errors.New("compression 6, the first kind of JPEG, is read only where the file holds one whole")
	}
	r, _, err := readJPEG(&file{t.data()[from:][:n], t.Options})
	return r, err
}

// unpackBits decodes Apple's runs, as far as out has room.
func unpackBits(out, packed []byte) []byte {
	for len(packed) > 0 && len(out) < cap(out) {
		n := int(int8(packed[0]))
		packed = packed[1:]
		switch {
		case n >= 0:
			n = min(n+1, len(packed), cap(out)-len(out))
			out = append(out, packed[:n]...)
			packed = packed[n:]
		case n > -128 && len(packed) > 0:
			out = append(out, bytes.Repeat(packed[:1], min(1-n, cap(out)-len(out)))...)
			packed = packed[1:]
		}
	}
	return out
}

// predict undoes the differences between neighbours.
func (t *tiff) predict(out []byte, stride, n int) error {
	switch {
	case t.predictor == 1:
		return nil
	case t.predictor == 2 && t.depth == 8:
		for row := range rows(out, stride) {
			for i := n; i < len(row); i++ {
				row[i] += row[i-n]
			}
		}
	case t.predictor == 2 && t.depth == 16:
		for row := range rows(out, stride) {
			for i := 2 * n; i+2 <= len(row); i += 2 {
				t.PutUint16(row[i:], t.Uint16(row[i:])+t.Uint16(row[i-2*n:]))
			}
		}
	case t.predictor == 2 && t.depth == 32:
		for row := range rows(out, stride) {
			for i := 4 * n; i+4 <= len(row); i += 4 {
				t.PutUint32(row[i:], t.Uint32(row[i:])+t.Uint32(row[i-4*n:]))
			}
		}
	case t.predictor == 3 && t.kind == 3: // bytes by their weight, the upper first
		turned := make([]byte, stride)
		for row := range rows(out, stride) {
			for i := n; i < len(row); i++ {
				row[i] += row[i-n]
			}
			for i, quarter := 0, stride/4; i < quarter; i++ {
				t.PutUint32(turned[4*i:], binary.BigEndian.Uint32([]byte{row[i], row[i+quarter], row[i+2*quarter], row[i+3*quarter]}))
			}
			copy(row, turned)
		}
	default:
		return fmt.Errorf("predictor %d of samples of %d bits", t.predictor, t.depth)
	}
	return nil
}

func rows(data []byte, stride int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for ; len(data) >= stride && stride > 0; data = data[stride:] {
			if !yield(data[:stride]) {
				return
			}
		}
	}
}

// sample takes samples to 8 bits: indices stay, few bits are spread, of 16 the
// upper ones are taken, integers of 32 bits, signed ones and floats are clipped,
// as Pillow does.
func (t *tiff) sample(out, row []byte) {
	switch t.depth {
	case 1, 2, 4, 8:
		unpack(out, row, t.depth)
		if most := 1<<t.depth - 1; t.depth < 8 && t.photo != photoPalette {
			for i, v := range out {
				out[i] = uint8(int(v) * 255 / most)
			}
		}
	case 12:
		for i := range out {
			if p := row[i/2*3:]; i%2 == 0 {
				out[i] = p[0]
			} else {
				out[i] = p[1]<<4 | p[2]>>4
			}
		}
	case 16:
		for i := range out {
			v := t.Uint16(row[2*i:])
			if out[i] = uint8(v >> 8); t.kind == 2 {
				out[i] = clip(int(int16(v)))
			}
		}
	case 32:
		for i := range out {
			v := t.Uint32(row[4*i:])
			switch f := math.Float32frombits(v); {
			case t.kind != 3:
				out[i] = clip(int(int32(v)))
			case f >= 255:
				out[i] = 255
			case f > 0:
				out[i] = uint8(f)
			default:
				out[i] = 0
			}
		}
	}
}

func clip(v int) uint8 { return uint8(min(max(v, 0), 255)) }

// ycbcr turns row r of units of subX x subY lumas and a pair of chromas to RGB.
func (t *tiff) ycbcr(out, block []byte, w, r int) {
	unit := t.subX*t.subY + 2
	across := (w + t.subX - 1) / t.subX
	row := block[r/t.subY*across*unit:]
	for x := range w {
		u := row[x/t.subX*unit:][:unit]
		y, cb, cr := int(u[r%t.subY*t.subX+x%t.subX]), int(u[unit-2])-128, int(u[unit-1])-128
		out[3*x] = clip(y + (91881*cr+32768)>>16)
		out[3*x+1] = clip(y + (-22554*cb-46802*cr+32768)>>16)
		out[3*x+2] = clip(y + (116130*cb+32768)>>16)
	}
}

// colours says what samples [h, w, samples] mean.
func (t *tiff) colours(pix []uint8) (*raster, error) {
	n := map[int]int{photoRGB: 3, photoYCbCr: 3, photoCMYK: 4}[t.photo]
	if n == 0 {
		n = 1
	}
	extra := extraPlain
	if v := t.ints(tagExtraSamples); len(v) > 0 {
		extra = v[0]
	} else if t.photo == photoRGB && t.samples == 4 {
		extra = extraAlpha // writers forget to say so
	}
	r := &raster{t.w, t.h, n, pix, nil}
	if t.samples > n {
		r.pix = make([]uint8, t.w*t.h*n)
		if extra != extraPlain && n < 4 {
			r.alpha = make([]uint8, t.w*t.h)
		}
		for i := range t.w * t.h {
			p := pix[i*t.samples:][:t.samples]
			copy(r.pix[i*n:i*n+n], p)
			if r.alpha == nil {
				continue
			}
			a := p[n]
			r.alpha[i] = a
			if extra == extraAssociated {
				for c := range n {
					if v := &r.pix[i*n+c]; a == 0 {
						*v = 0
					} else {
						*v = clip(int(*v) * 255 / int(a))
					}
				}
			}
		}
	}
	switch {
	case t.photo == photoPalette:
		m := t.ints(tagColorMap)
		if len(m) < 3<<min(t.depth, 8) || t.depth > 8 {
			return nil, errors.New("no palette of its depth")
		}
		var table palette
		for i := range 1 << t.depth {
			for c := range 3 {
				table[i][c] = uint8(m[c<<t.depth+i] >> 8)
			}
		}
		alpha := r.alpha
		r = table.colours(t.w, t.h, r.pix, -1)
		r.alpha = alpha
	case t.photo == whiteIsZero && t.depth <= 8:
		for i, v := range r.pix {
			r.pix[i] = 255 - v
		}
	}
	return r, nil
}
