package pixels

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"parley/weights"
)

// TestFilesAsPillow: every file is what Pillow makes of it, to the bit; with its
// profile, what Pillow's ImageCms does.
func TestFilesAsPillow(t *testing.T) {
	s, err := weights.Open("testdata/files.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	for _, name := range s.Names() {
		kind, file, _ := strings.Cut(name, ".")
		n++
		want := picture(t, s, name)
		got, err := Options{ICC: kind == "icc"}.Read(filepath.Join("testdata/files", file))
		if err != nil {
			t.Error(err)
			continue
		}
		if got.W != want.W || got.H != want.H {
			t.Errorf("%s: %d x %d, want %d x %d", name, got.W, got.H, want.W, want.H)
		} else if top, mean := differ(got.Pix, want.Pix); top > 0 {
			t.Errorf("%s: differs by up to %d, %.3f on average", name, top, mean)
		}
	}
	if n < 190 {
		t.Errorf("only %d pictures", n)
	}
}

// TestOddFiles: small files of kinds that writers seldom make, and what Pillow 12.1 makes
// of them: pixels over white.
func TestOddFiles(t *testing.T) {
	le := binary.LittleEndian
	bmp := func(w, h, compression int, colours string, body string) []byte {
		b := append([]byte("BM"), make([]byte, 12)...)
		le.PutUint32(b[10:], 54) // where a palette would be
		for _, v := range []int{40, w, h, 1 | 8<<16, compression, len(body), 0, 0, len(colours) / 4, 0} {
			b = le.AppendUint32(b, uint32(v))
		}
		return append(b, colours+body...)
	}
	tiff := func(samples string, tags ...[4]uint32) []byte { // tag, kind, count, value
		at := 8 + 2 + 12*(len(tags)+1) + 4
		b := append([]byte("II*\x00\b\x00\x00\x00"), byte(len(tags)+1), 0)
		for _, e := range append([][4]uint32{{tagStripOffsets, 4, 1, uint32(at)}}, tags...) {
			b = le.AppendUint16(le.AppendUint16(b, uint16(e[0])), uint16(e[1]))
			b = le.AppendUint32(le.AppendUint32(b, e[2]), e[3])
		}
		return append(append(b, 0, 0, 0, 0), samples...)
	}
	var many bytes.Buffer
	two := image.NewPaletted(image.Rect(0, 0, 2, 1), color.Palette{color.RGBA{10, 20, 30, 255}, color.RGBA{40, 50, 60, 255}})
	two.Pix[1] = 1
	if err := png.Encode(&many, two); err != nil {
		t.Fatal(err)
	}
	clear := append([]byte("\x00\x00\x00\x04tRNS\xff\x00\x09\x09"), 0, 0, 0, 0) // of more colours than there are
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	dense := string(z.EncodeAll([]byte{7, 99}, nil))
	jpg := data(t, "444.jpg")
	turned := append([]byte("\xff\xe1\x00\x2aExif\x00\x00II*\x00\b\x00\x00\x00\x01\x00\x12\x01\x05\x00\x01\x00\x00\x00\x1a"),
		"\x00\x00\x00\x00\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x00"...)
	plain, err := Decode(bytes.NewReader(jpg))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		data []byte
		w, h int
		want []uint8
	}{
		{"BMP whose palette is forgotten", bmp(2, 1, 0, "\x0a\x14\x1e\x00\x28\x32\x3c\x00", "\x01\x00\x00\x00"), 2, 1,
			[]uint8{60, 50, 40, 30, 20, 10}},
		{"BMP of runs of odd lengths", bmp(3, 2, 1, "\x0a\x14\x1e\x00\x28\x32\x3c\x00",
			"\x00\x03\x00\x01\x01\x00\x00\x00\x00\x03\x01\x00\x01\x00\x00\x01"), 3, 2,
			[]uint8{60, 50, 40, 30, 20, 10, 60, 50, 40, 30, 20, 10, 60, 50, 40, 60, 50, 40}},
		{"TIFF with alpha in its colours", tiff("\x40\x20\x10\x80\x09\x08\x07\x00", [4]uint32{tagWidth, 3, 1, 2}, [4]uint32{tagHeight, 3, 1, 1},
			[4]uint32{tagBits, 3, 1, 8}, [4]uint32{tagPhotometric, 3, 1, 2}, [4]uint32{tagSamples, 3, 1, 4},
			[4]uint32{tagStripBytes, 4, 1, 8}, [4]uint32{tagExtraSamples, 3, 1, 1}), 2, 1, []uint8{191, 159, 143, 255, 255, 255}},
		{"TIFF of 16 bits whose zero is white", tiff("\x00\x40", [4]uint32{tagWidth, 3, 1, 1}, [4]uint32{tagHeight, 3, 1, 1},
			[4]uint32{tagBits, 3, 1, 16}, [4]uint32{tagPhotometric, 3, 1, 0}, [4]uint32{tagStripBytes, 4, 1, 2}), 1, 1, []uint8{64, 64, 64}},
		{"TIFF of Zstandard", tiff(dense, [4]uint32{tagWidth, 3, 1, 1}, [4]uint32{tagHeight, 3, 1, 2}, [4]uint32{tagBits, 3, 1, 8},
			[4]uint32{tagCompression, 3, 1, 50000}, [4]uint32{tagPhotometric, 3, 1, 1}, [4]uint32{tagStripBytes, 4, 1, uint32(len(dense))}),
			1, 2, []uint8{7, 7, 7, 99, 99, 99}},
		{"PNG with too many alphas", bytes.Replace(many.Bytes(), []byte("\x00\x00\x00\x0eIDAT"), append(clear, "\x00\x00\x00\x0eIDAT"...), 1),
			2, 1, []uint8{10, 20, 30, 255, 255, 255}},
		{"JPEG turned by 13/2", append(append(bytes.Clone(jpg[:2]), turned...), jpg[2:]...), plain.W, plain.H, plain.Pix},
	} {
		m, err := Decode(bytes.NewReader(c.data))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if m.W != c.w || m.H != c.h || !bytes.Equal(m.Pix, c.want) {
			t.Errorf("%s: %d x %d, %.60v, want %d x %d, %.60v", c.name, m.W, m.H, m.Pix, c.w, c.h, c.want)
		}
	}
	// A profile of which a part is missing is none.
	wide := bytes.Clone(data(t, "files/wide.jpg"))
	at := bytes.Index(wide, []byte("ICC_PROFILE\x00\x01\x01"))
	wide[at+13] = 2
	with, err1 := Options{ICC: true}.Decode(bytes.NewReader(wide))
	without, err2 := Decode(bytes.NewReader(wide))
	if err := errors.Join(err1, err2); err != nil || !bytes.Equal(with.Pix, without.Pix) {
		t.Errorf("half a profile: %v", err)
	}
}

func data(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestUnread: what is not read is told by its name.
func TestUnread(t *testing.T) {
	long := func(kind int, b []byte) []byte { // with other bytes at the first SHORT tag of a kind
		for i := 8; i+12 <= len(b); i++ {
			if int(binary.LittleEndian.Uint16(b[i:])) == kind && binary.LittleEndian.Uint16(b[i+2:]) == 3 {
				b = bytes.Clone(b)
				binary.LittleEndian.PutUint16(b[i+8:], 0xffff)
				return b
			}
		}
		t.Fatalf("no tag %d", kind)
		return nil
	}
	twelve := bytes.Clone(data(t, "444.jpg"))
	twelve[bytes.Index(twelve, []byte("\xff\xc0"))+4] = 12
	jpg, gif, bmp := data(t, "files/restart.jpg"), data(t, "files/offset.gif"), data(t, "files/24.bmp")
	png := data(t, "files/colour2-16.png")
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "no bytes"},
		{"PDF", []byte("%PDF-1.7"), "a PDF"},
		{"page", []byte("<!DOCTYPE html>"), "an HTML page"},
		{"LFS", []byte("version https://git-lfs.github.com/spec/v1"), "git lfs pull"},
		{"film", []byte("\x00\x00\x00\x20ftypisom0000"), "ISO media"},
		{"JPEG XL", []byte("\xff\x0a1234"), "JPEG XL"},
		{"JPEG 2000", []byte("\x00\x00\x00\x0cjP  \r\n\x87\n"), "JPEG 2000"},
		{"12 bits", twelve, "more than 8 bits"},
		{"PNG cut", png[:len(png)/2], "PNG: the file is cut short"},
		{"PNG's bits", slices.Replace(bytes.Clone(png), 24, 25, 5), "PNG: unsupported feature: bit depth 5"},
		{"JPEG cut", jpg[:len(jpg)/2], "JPEG: the file is cut short"},
		{"GIF cut", gif[:60], "GIF: the file is cut short"},
		{"GIF of nothing", append(bytes.Clone(gif[:37]), ';'), "GIF: there is no frame"},
		{"WebP cut", data(t, "files/lossy-80.webp")[:90], "WebP: "},
		{"BMP cut", bmp[:len(bmp)-9], "BMP: the file is cut short"},
		{"TIFF cut", data(t, "files/rgb-raw.tif")[:60], "TIFF: "},
		{"TIFF's packing", long(tagCompression, data(t, "files/rgb-raw.tif")), "compression 65535"},
		{"TIFF's colours", long(tagPhotometric, data(t, "files/rgb-raw.tif")), "photometric interpretation 65535"},
		{"TIFF's width", long(tagBits, data(t, "files/l-raw.tif")), "samples of 65535 bits"},
	} {
		if m, err := Decode(bytes.NewReader(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, error %v, want one with %q", c.name, m, err, c.want)
		}
	}
	at := bytes.Index(data(t, "files/wide.jpg"), []byte("acsp"))
	profile := bytes.Clone(data(t, "files/wide.jpg"))
	copy(profile[at:], "xxxx")
	if _, err := (Options{ICC: true}).Decode(bytes.NewReader(profile)); err == nil || !strings.Contains(err.Error(), "ICC profile") {
		t.Errorf("a damaged profile: error %v", err)
	}
	if _, err := Decode(bytes.NewReader(profile)); err != nil {
		t.Errorf("a damaged profile that nobody asked for: %v", err)
	}
}

// TestKinds: what is no picture that is read is told by its name, in all of its
// brands.
func TestKinds(t *testing.T) {
	box := func(brands ...string) string { // an ftyp box: the major brand, a version, the others
		b := string(binary.BigEndian.AppendUint32(nil, uint32(12+4*len(brands)))) + "ftyp" + brands[0] + "\x00\x00\x00\x00"
		return b + strings.Join(brands[1:], "") + "\x00\x00\x01\x00meta"
	}
	const film = "a film or another ISO media file"
	for head, want := range map[string]string{
		box("avif", "mif1", "miaf"): "AVIF", box("avis", "msf1"): "AVIF", box("mif1", "miaf", "avif"): "AVIF", box("MA1B"): "AVIF",
		box("heic", "mif1"): "HEIC", box("heix"): "HEIC", box("hevc", "msf1"): "HEIC", box("heim"): "HEIC", box("heis"): "HEIC",
		box("hevm"): "HEIC", box("hevs"): "HEIC", box("hevx"): "HEIC", box("mif1", "heic"): "HEIC", box("msf1", "hevc"): "HEIC",
		box("mif1"): "HEIF", box("mif2", "vvic"): "HEIF", box("avci", "mif1"): "HEIF", box("mif1", "avci"): "HEIF",
		box("isom", "avc1", "mp41"): film, box("qt  "): film, box("crx "): "a camera's raw file", box("M4A "): film,
		"\x00\x00\x00\x08ftyp": film, "\x00\x00\x00\x0cJXL \r\n\x87\n": "JPEG XL", "\xff\x0a\x00": "JPEG XL", box("jxl "): "JPEG XL",
		"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG 2000", "\xff\x4f\xff\x51": "JPEG 2000", "II\xbc\x01": "JPEG XR",
		"\xff\xd8\xff\xf7": "JPEG-LS", "P6\n2 2\n255\n": "Netpbm", "P7\nWIDTH": "Netpbm", "qoif\x00": "QOI",
		"\x00\x00\x01\x00\x01": "an icon (ICO)", "\x00\x00\x02\x00\x01\x00": "a cursor (CUR)",
		"\x00\x00\x02\x00\x00\x00\x00\x00": "Targa", "v/1\x01": "OpenEXR", "8BPS": "a Photoshop file", "gimp xcf file": "a GIMP file",
		"%!PS-Adobe": "PostScript", "DDS |": "DDS",
		"\xef\xbb\xbf\n <svg xmlns": "SVG or XML", "<!DocType HTML>": "an HTML page", "RIFF\x00\x00\x00\x00WAVE": "sound or a film",
		"ID3\x03": "sound", "\x1aE\xdf\xa3": "a film", "PK\x03\x04": "an archive", "\x28\xb5\x2f\xfd": "an archive",
		"{\"error\":": "JSON", "BMW is a car, not a picture": "", "hello": "",
	} {
		if want = want + ", which is not read"; strings.HasPrefix(want, ",") {
			want = "not a picture"
		}
		if _, err := Decode(strings.NewReader(head)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", head, err, want)
		}
	}
}

// TestLimits: a header is believed only within the limit, which the option sets.
func TestLimits(t *testing.T) {
	huge := func(file string, at int, b ...byte) []byte {
		d := bytes.Clone(data(t, file))
		copy(d[at:], b)
		return d
	}
	sof := bytes.Index(data(t, "444.jpg"), []byte("\xff\xc0")) + 5
	for name, d := range map[string][]byte{
		"JPEG": huge("444.jpg", sof, 0xff, 0xdc, 0xff, 0xdc),
		"PNG":  huge("files/colour0-4.png", 16, 0, 1, 0, 0, 0, 1, 0, 0),
		"GIF":  huge("files/offset.gif", 6, 0xff, 0xff, 0xff, 0xff),
		"BMP":  huge("files/24.bmp", 18, 0, 0, 1, 0, 0, 0, 1, 0),
		"WebP": huge("files/offset-plain.webp", 24, 0xff, 0xff, 0, 0xff, 0x7f, 0),
	} {
		if _, err := Decode(bytes.NewReader(d)); err == nil || !strings.Contains(err.Error(), "at most 178956970") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	// A pipe has no size before it ends, and may not end.
	endless := io.MultiReader(strings.NewReader("\x89PNG\r\n\x1a\n"), rand.NewChaCha8([32]byte{}))
	if _, err := (Options{MaxPixels: 1}).Decode(endless); err == nil || !strings.Contains(err.Error(), "more bytes, at most 67108872") {
		t.Errorf("a pipe without end: %v", err)
	}
	whole := data(t, "files/restart.jpg") // 19 x 21
	if _, err := (Options{MaxPixels: 19*21 - 1}).Decode(bytes.NewReader(whole)); err == nil {
		t.Error("a picture beyond the limit is read")
	}
	if _, err := (Options{MaxPixels: 19 * 21}).Decode(bytes.NewReader(whole)); err != nil {
		t.Error(err)
	}
}

// scans repeats the last scan of a progressive JPEG.
func scans(t *testing.T, n int) []byte {
	d := data(t, "files/progressive-restart-2x2.jpg")
	last := bytes.LastIndex(d, []byte("\xff\xda"))
	head, scan := d[:last], d[last:len(d)-2]
	return append(append(bytes.Clone(head), bytes.Repeat(scan, n)...), 0xff, 0xd9)
}

// TestHostile: small files that would be much work, or that break a decoder.
func TestHostile(t *testing.T) {
	if _, err := Decode(bytes.NewReader(scans(t, MaxScans-9))); err != nil {
		t.Errorf("%d scans: %v", MaxScans, err)
	}
	if _, err := Decode(bytes.NewReader(scans(t, 1000))); err == nil || !strings.Contains(err.Error(), "1009 scans, at most 32") {
		t.Errorf("1009 scans: error %v", err)
	}
	// Strips that all are the file's bytes.
	tif := &bytes.Buffer{}
	const n = 1 << 16
	w := func(v ...any) {
		for _, x := range v {
			binary.Write(tif, binary.LittleEndian, x)
		}
	}
	w([]byte("II*\x00"), uint32(8), uint16(7))
	tag := func(tag, kind uint16, n, v uint32) { w(tag, kind, n, v) }
	tag(tagWidth, 4, 1, 64)
	tag(tagHeight, 4, 1, n)
	tag(tagBits, 3, 1, 8)
	tag(tagCompression, 3, 1, packDeflate)
	tag(tagStripOffsets, 4, n, 200)
	tag(tagRowsPerStrip, 4, 1, 1)
	tag(tagStripBytes, 4, n, 200+4*n)
	tif.Write(make([]byte, 200-tif.Len()))
	w(bytes.Repeat([]byte{8, 0, 0, 0}, n), bytes.Repeat([]byte{0xff, 0xff, 7, 0}, n))
	if _, err := Decode(tif); err == nil || !strings.Contains(err.Error(), "share their bytes") {
		t.Errorf("strips of the same bytes: error %v", err)
	}
	// No byte of a moving WebP makes the decoder panic, or the test would end.
	for _, file := range []string{
		"moving-alpha.webp", "files/cmyk-subsampled.jpg", "files/offset.gif", "files/rle4.bmp", "files/p-tiff_lzw.tif",
	} {
		whole := data(t, file)
		for i := range whole {
			d := bytes.Clone(whole)
			d[i] ^= 0xff
			m, err := Options{MaxPixels: 1 << 16, ICC: true}.Decode(bytes.NewReader(d))
			if err == nil && len(m.Pix) != 3*m.W*m.H {
				t.Fatalf("%s, byte %d: %d x %d with %d bytes", file, i, m.W, m.H, len(m.Pix))
			}
		}
	}
}

// TestPanicsAreErrors: whatever a decoder does.
func TestPanicsAreErrors(t *testing.T) {
	f := format{"none", func(*file) (*raster, about, error) { panic(errors.New("index out of range")) }}
	if _, err := f.decode(&file{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v", err)
	}
}

// noise is a picture that no format makes small.
func noise(side int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, side, side))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range m.Pix {
		m.Pix[i] = uint8(r.Uint32())
		if i%4 == 3 {
			m.Pix[i] = 255
		}
	}
	return m
}

// TestLinear: 64 times the pixels are about 64 times the work, by the best of some
// runs; what is quadratic needs 4096.
func TestLinear(t *testing.T) {
	for name, encode := range map[string]func(io.Writer, image.Image) error{
		"PNG":  png.Encode,
		"JPEG": func(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, nil) },
		"GIF":  func(w io.Writer, m image.Image) error { return gif.Encode(w, m, nil) },
		"PNG of many chunks": func(w io.Writer, m image.Image) error {
			var b bytes.Buffer
			err := png.Encode(&b, m)
			head := b.Next(33)
			w.Write(head)
			for range m.Bounds().Dx() * m.Bounds().Dy() / 16 {
				w.Write([]byte("\x00\x00\x00\x01teSt\x00\x00\x00\x00\x00"))
			}
			w.Write(b.Bytes())
			return err
		},
		"JPEG of many segments": func(w io.Writer, m image.Image) error {
			w.Write([]byte("\xff\xd8"))
			for range m.Bounds().Dx() * m.Bounds().Dy() / 16 {
				w.Write([]byte("\xff\xe1\x00\x0aExif\x00\x00II"))
			}
			var b bytes.Buffer
			err := jpeg.Encode(&b, m, nil)
			w.Write(b.Bytes()[2:])
			return err
		},
	} {
		took := func(side int) time.Duration {
			var b bytes.Buffer
			if err := encode(&b, noise(side)); err != nil {
				t.Fatal(err)
			}
			best := time.Hour
			for range 3 {
				start := time.Now()
				if m, err := Decode(bytes.NewReader(b.Bytes())); err != nil || m.W != side {
					t.Fatalf("%s: %v", name, err)
				}
				best = min(best, time.Since(start))
			}
			return best
		}
		// A machine that others use, too, may take a while to show it.
		for try := range 6 {
			small, large := took(100), took(800)
			if large <= 640*small {
				break
			}
			if try == 5 {
				t.Errorf("%s: %v, and %v for 1 in 64", name, large, small)
			}
		}
	}
}

// TestFromGo: the kinds of picture that Go has, transparent or not.
func TestFromGo(t *testing.T) {
	c := color.NRGBA{200, 100, 50, 128}
	over := [3]uint8{227, 177, 152} // half of it over white
	set := func(m interface {
		image.Image
		Set(int, int, color.Color)
	}, c color.Color) image.Image {
		m.Set(1, 0, c)
		return m
	}
	r := image.Rect(0, 0, 2, 1)
	for name, m := range map[string]struct {
		image.Image
		want [3]uint8
	}{
		"NRGBA":    {set(image.NewNRGBA(r), c), over},
		"NRGBA64":  {set(image.NewNRGBA64(r), c), over},
		"RGBA":     {set(image.NewRGBA(r), c), over},
		"RGBA64":   {set(image.NewRGBA64(r), c), over},
		"paletted": {set(image.NewPaletted(r, color.Palette{color.Black, c}), c), over},
		"grey":     {set(image.NewGray(r), color.Gray{7}), [3]uint8{7, 7, 7}},
		"grey 16":  {set(image.NewGray16(r), color.Gray16{0x0777}), [3]uint8{7, 7, 7}},
	} {
		if got := [3]uint8(FromGo(m).Pix[3:]); got != m.want {
			t.Errorf("%s: %v, want %v", name, got, m.want)
		}
	}
}

// FuzzOrientation: no EXIF block, XMP or chain of segments breaks the reader.
func FuzzOrientation(f *testing.F) {
	for _, file := range []string{"files/turn-big-rational.jpg", "files/turn-xmp-6.jpg", "files/turn-twice.jpg"} {
		f.Add(data(f, file))
	}
	f.Fuzz(func(t *testing.T, d []byte) {
		for _, a := range []about{{exif: d, xmp: d}, jpegAbout(d)} {
			if o := a.orientation(); o < 1 || o > 8 {
				t.Fatal(o)
			}
		}
	})
}

// TestAlpha: how opaque pixels are, of a file that says it and of one that does not.
func TestAlpha(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	copy(m.Pix, []uint8{9, 80, 7, 0, 3, 2, 1, 200})
	for want, src := range map[string]image.Image{"[0 0 0 200 200 200]": m,
		"[255 255 255 255 255 255]": image.NewGray(image.Rect(0, 0, 2, 1))} {
		var b bytes.Buffer
		if err := png.Encode(&b, src); err != nil {
			t.Fatal(err)
		}
		have, err := Options{Alpha: true}.Decode(&b)
		if err != nil || fmt.Sprint(have.Pix) != want {
			t.Errorf("have %v, %v, want %s", have, err, want)
		}
	}
}
