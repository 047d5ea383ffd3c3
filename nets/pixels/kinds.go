package pixels

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// formats are the kinds of files that are read.
var formats = []format{{"PNG", readPNG}, {"JPEG", readJPEG}, {"GIF", readGIF}, {"WebP", readWebP}, {"BMP", readBMP}, {"TIFF", readTIFF}}

// formatOf is the format of a file with this head.
func formatOf(head []byte) (format, error) {
	kind := Kind(head)
	if i := slices.IndexFunc(formats, func(f format) bool { return f.name == kind }); i >= 0 {
		return formats[i], nil
	}
	const want = "want PNG, JPEG, GIF, WebP, BMP or TIFF"
	switch {
	case len(head) == 0:
		return format{}, errors.New("not a picture: there are no bytes")
	case kind == "":
		return format{}, errors.New("not a picture: " + want)
	}
	return format{}, fmt.Errorf("%s, which is not read: %s", kind, want)
}

// magic is what files of a kind have at an offset.
type magic struct {
	kind  string
	at    int
	bytes string
}

// magics tell kinds; those of several lines are told by any of them.
var magics = []magic{
	{"PNG", 0, "\x89PNG\r\n\x1a\n"},
	{"JPEG", 0, "\xff\xd8\xff"},
	{"GIF", 0, "GIF87a"}, {"GIF", 0, "GIF89a"},
	{"TIFF", 0, "II*\x00"}, {"TIFF", 0, "MM\x00*"}, {"TIFF", 0, "II+\x00"}, {"TIFF", 0, "MM\x00+"},
	// Pictures that are not read.
	{"JPEG XL", 0, "\xff\x0a"}, {"JPEG XL", 4, "JXL \r\n\x87\n"},
	{"JPEG 2000", 4, "jP  \r\n\x87\n"}, {"JPEG 2000", 0, "\xff\x4f\xff\x51"},
	{"JPEG XR", 0, "II\xbc"},
	{"a Photoshop file", 0, "8BPS"}, {"a GIMP file", 0, "gimp xcf"},
	{"an icon (ICO)", 0, "\x00\x00\x01\x00"}, {"a cursor (CUR)", 0, "\x00\x00\x02\x00"}, {"an icon (ICNS)", 0, "icns"},
	{"OpenEXR", 0, "v/1\x01"}, {"Radiance HDR", 0, "#?RADIANCE"}, {"Radiance HDR", 0, "#?RGBE"},
	{"DDS", 0, "DDS |"}, {"QOI", 0, "qoif"}, {"FITS", 0, "SIMPLE  ="}, {"MNG", 0, "\x8aMNG"}, {"JNG", 0, "\x8bJNG"},
	{"FLIF", 0, "FLIF"}, {"BPG", 0, "BPG\xfb"}, {"DjVu", 0, "AT&TFORM"}, {"farbfeld", 0, "farbfeld"}, {"DPX", 0, "SDPX"}, {"DPX", 0, "XPDS"},
	{"a Sun raster", 0, "\x59\xa6\x6a\x95"}, {"a camera's raw file", 0, "FUJIFILMCCD-RAW"}, {"a camera's raw file", 0, "IIRO"},
	{"a camera's raw file", 0, "IIRS"}, {"a camera's raw file", 0, "IIU\x00"},
	{"PostScript", 0, "%!PS"}, {"PostScript", 0, "\xc5\xd0\xd3\xc6"},
	// Other files that come with a picture's name.
	{"a PDF", 0, "%PDF"}, {"SVG or XML", 0, "<svg"}, {"SVG or XML", 0, "<?xml"}, {"an HTML page", 0, "<!doctype html"},
	{"an HTML page", 0, "<html"}, {"an HTML page", 0, "<head"}, {"JSON", 0, "{\""},
	{"a pointer of Git LFS (git lfs pull fetches the file)", 0, "version https://git-lfs"},
	{"a film", 0, "\x1aE\xdf\xa3"}, {"sound or a film", 0, "RIFF"}, {"sound", 0, "ID3"}, {"sound or a film", 0, "OggS"}, {"sound", 0, "fLaC"},
	{"an archive", 0, "PK\x03\x04"}, {"an archive", 0, "\x1f\x8b"}, {"an archive", 0, "7z\xbc\xaf\x27\x1c"}, {"an archive", 0, "Rar!\x1a"},
	{"an archive", 0, "\x28\xb5\x2f\xfd"}, {"an archive", 0, "\xfd7zXZ"},
}

// Kind names what a file's first HeadBytes bytes tell that it is, a picture or
// not; "" where nobody knows.
func Kind(head []byte) string {
	has := func(at int, s string) bool { return len(head) >= at+len(s) && string(head[at:at+len(s)]) == s }
	switch {
	case has(0, "RIFF") && has(8, "WEBP"):
		return "WebP"
	case has(0, "BM") && len(head) >= 18 && binary.LittleEndian.Uint32(head[14:]) < 256: // its header's size
		return "BMP"
	case has(0, "\x00\x00\x02\x00\x00\x00"): // a cursor's file has one at least
		return "Targa"
	case has(0, "\xff\xd8\xff\xf7"): // before JPEG
		return "JPEG-LS"
	case has(4, "ftyp"):
		return mediaKind(head)
	case len(head) > 3 && head[0] == 'P' && head[1] >= '1' && head[1] <= '7' && (head[2] == '\n' || head[2] == ' ' || head[2] == '\r'):
		return "Netpbm"
	}
	text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n"))
	for _, m := range magics {
		if has(m.at, m.bytes) || m.bytes[0] == '<' && bytes.HasPrefix(text, []byte(m.bytes)) {
			return m.kind
		}
	}
	return ""
}

// brandsOf are ISO/IEC 23008-12's and AVIF's brands by what codes the picture;
// HEIF's leave that to the others of a file.
func brandsOf() map[string][]string {
	return map[string][]string{
		"AVIF":                {"avif", "avis", "avio", "MA1A", "MA1B"},
		"HEIC":                {"heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs"},
		"HEIF":                {"mif1", "mif2", "msf1", "miaf", "avci", "avcs", "jpeg", "jpgs", "vvic", "vvis", "evbi", "evbs"},
		"JPEG 2000":           {"jp2 ", "jpx ", "jpm ", "j2ki", "j2is"},
		"JPEG XL":             {"jxl "},
		"a camera's raw file": {"crx "},
	}
}

// mediaKind is what an ISO media file is by its brands: the major one, and where
// that leaves it open, the first compatible one that does not.
func mediaKind(head []byte) string {
	kind := ""
	for at := 8; at+4 <= min(len(head), int(min(binary.BigEndian.Uint32(head), HeadBytes))); at += 4 {
		if at == 12 { // the version
			continue
		}
		for of, names := range brandsOf() {
			if slices.Contains(names, string(head[at:at+4])) && (kind == "" || kind == "HEIF" && of != "HEIF") {
				kind = of
			}
		}
		if kind != "HEIF" {
			break
		}
	}
	if kind == "" {
		return "a film or another ISO media file"
	}
	return kind
}
