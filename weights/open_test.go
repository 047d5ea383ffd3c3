package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/weights/safetensors"
)

func TestVariants(t *testing.T) {
	for _, c := range []struct{ files, variant, want string }{
		{"model.safetensors model.fp16.safetensors", "", "model.safetensors"},
		{"model.safetensors model.fp16.safetensors", "fp16", "model.fp16.safetensors"},
		{"model.bf16.safetensors model.fp16.safetensors", "", "model.fp16.safetensors"},
		{"model.fp32.safetensors model.fp16.safetensors", "", "model.fp32.safetensors"},
		{"model.non_ema.safetensors", "", "model.non_ema.safetensors"},
		{"model.non_ema.safetensors model.ema.safetensors", "", "has the variants ema, non_ema: choose one"},
		{"diffusion_pytorch_model.non_ema.safetensors diffusion_pytorch_model.safetensors", "non_ema",
			"diffusion_pytorch_model.non_ema.safetensors"},
		{"diffusion_pytorch_model.fp16.bin diffusion_pytorch_model.fp16.safetensors", "", "diffusion_pytorch_model.fp16.safetensors"},
		{"pytorch_model.bin model.fp16.safetensors", "", "pytorch_model.bin"},
		{"model.safetensors", "fp16", "has no variant fp16; it has none"},
		{"v1-5.safetensors v1-5.fp16.safetensors", "fp16", "v1-5.fp16.safetensors"},
		{"v1-5.safetensors", "fp16", "no checkpoint in"},
		{"open_clip_model.safetensors open_clip_pytorch_model.bin", "", "open_clip_model.safetensors"},
		{"model.safetensors.index.fp16.json", "", "model.safetensors.index.fp16.json"},
		{"diffusion_pytorch_model.safetensors.fp16.index.json diffusion_pytorch_model.bin", "fp16",
			"diffusion_pytorch_model.safetensors.fp16.index.json"},
		{"model.gguf readme.md", "", "model.gguf is of a format that is not read"},
	} {
		dir := t.TempDir()
		for _, f := range strings.Fields(c.files) {
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := opener{fsys: os.DirFS(dir), dir: ".", variant: c.variant, shown: func(f string) string { return f }}
		have, err := o.choose()
		if have != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, variant %q: have %q, %v; want %s", c.files, c.variant, have, err, c.want)
		}
	}
}

// TestShardsOfHere: "./NAME" names a file of the index' own folder.
func TestShardsOfHere(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "m-1.bf16.safetensors"), one("a", "U8", "1", 1))
	index := filepath.Join(dir, "model.safetensors.index.bf16.json")
	for text, want := range map[string]string{
		"\xef\xbb\xbf" + `{"metadata":{"total_size":NaN},"weight_map":{"a":"./m-1.bf16.safetensors"}}`: "",
		`{"weight_map":{"a":"./../m-1.bf16.safetensors"}}`:                                             "is not a shard of this folder",
		`{"weight_map":{"a":7}}`:                     "weight_map: a: have 7, want the name of a file",
		`version https://git-lfs.github.com/spec/v1`: "is a Git LFS pointer",
	} {
		if err := os.WriteFile(index, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, variant := range []string{"", "bf16"} {
			s, err := OpenVariant(dir, variant)
			if want == "" && (err != nil || s.Len() != 1) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: have %v, want %s", text, err, want)
			}
		}
	}
}

// TestNamesOfFormats: the first bytes tell a format, whatever a file's ending and
// however long its header is.
func TestNamesOfFormats(t *testing.T) {
	for n := 1; n < 300; n += 7 { // 0x80 and "PK" begin lengths of headers, too
		dir := t.TempDir()
		path := filepath.Join(dir, "pytorch_model.bin")
		write(t, path, one(strings.Repeat("n", n), "U8", "1", 1))
		s, err := Open(path)
		if err != nil || s.Len() != 1 {
			t.Errorf("a name of %d bytes: %v", n, err)
		}
	}
}

// TestShardsChange: a shard that changes under the program is noticed, until the set
// is closed.
func TestShardsChange(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		write(t, filepath.Join(dir, name+".safetensors"), one(name, "U8", "1", 1))
	}
	index := filepath.Join(dir, "model.safetensors.index.json")
	if err := os.WriteFile(index, []byte(`{"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Unchanged(); err != nil {
		t.Error(err)
	}
	if err := os.Truncate(filepath.Join(dir, "b.safetensors"), 20); err != nil {
		t.Fatal(err)
	}
	if err := s.Unchanged(); err == nil || !strings.Contains(err.Error(), "b.safetensors") {
		t.Errorf("a shard was cut: %v", err)
	}
	if err := errors.Join(s.Close(), s.Unchanged()); err != nil {
		t.Errorf("of a closed set: %v", err)
	}
}

// TestHubCache: the root of a model in a hub's cache is its newest revision.
func TestHubCache(t *testing.T) {
	root := filepath.Join(t.TempDir(), "models--a--b")
	for i, rev := range []string{"old", "new", "main"} {
		dir := filepath.Join(root, "snapshots", rev)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "model.safetensors"), one(rev, "U8", "1", 1))
		when := time.Now().Add(time.Duration(i%2) * time.Hour)
		if err := os.Chtimes(dir, when, when); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want string) {
		t.Helper()
		s, err := Open(root)
		if err != nil || fmt.Sprint(s.Names()) != "["+want+"]" {
			t.Errorf("have %v, want %s", err, want)
		}
	}
	if _, err := Open(root); err == nil { // no refs: a folder of somebody's own
		t.Error("a folder without refs was taken for a cache")
	}
	if err := os.Mkdir(filepath.Join(root, "refs"), 0o700); err != nil {
		t.Fatal(err)
	}
	check("new")
	for ref, want := range map[string]string{"main\n": "main", "../../x": "new", "gone": "new"} {
		if err := os.WriteFile(filepath.Join(root, "refs", "main"), []byte(ref), 0o600); err != nil {
			t.Fatal(err)
		}
		check(want)
	}
	if err := os.RemoveAll(filepath.Join(root, "snapshots")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "snapshots"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root); err == nil || !strings.Contains(err.Error(), "without a revision in snapshots/") {
		t.Errorf("have %v", err)
	}
}

// TestForeign: what lies in the place of weights is named, whatever its ending.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n": "a Git LFS pointer",
		"  \r\n<!DOCTYPE html><html>":                                        "an HTML or XML page",
		"\xef\xbb\xbf<html lang=\"en\">":                                     "an HTML or XML page",
		"GGUF\x03\x00\x00\x00":                                               "a GGUF file",
		"\x89HDF\r\n\x1a\n":                                                  "an HDF5 file",
		"\x1f\x8b\x08":                                                       "compressed by gzip",
		"Entry not found":                                                    "a hub's answer",
		`{"error":"Repository is gated"}`:                                    `a server's error, not the file: {"error":"Repository is gated"}`,
		"":                                                                   "empty: a download that did not begin?",
	} {
		for _, ext := range append([]string{"txt"}, formats...) {
			path := filepath.Join(dir, "m."+ext)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path)
			var f *ForeignError
			if !errors.As(err, &f) || !strings.Contains(err.Error(), path+" is "+want) {
				t.Errorf("%.20q as .%s: have %v, want %s", text, ext, err, want)
			}
		}
		if strings.HasPrefix(text, "{") || text == "" {
			continue
		}
		if _, err := ParseConfig("config.json", []byte(text)); err == nil || !strings.Contains(err.Error(), "config.json is "+want) {
			t.Errorf("config.json %.20q: have %v", text, err)
		}
	}
}

// TestFloat8: the values that torch's float() gives of the formats of eight
// bits, at their ends and in their middle.
func TestFloat8(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	minus := float32(math.Copysign(0, -1))
	for dtype, want := range map[string]map[byte]float32{
		"F8_E4M3": {0: 0, 1: 1. / 512, 7: 7. / 512, 8: 1. / 64, 0x38: 1, 0x3c: 1.5, 0x78: 256, 0x7e: 448, 0x7f: nan, 0x80: minus,
			0xb8: -1, 0xfe: -448, 0xff: nan},
		"F8_E5M2": {0: 0, 1: 1. / 65536, 3: 3. / 65536, 4: 1. / 16384, 0x3c: 1, 0x3e: 1.5, 0x7b: 57344, 0x7c: inf, 0x7d: nan,
			0x80: minus, 0xbc: -1, 0xfb: -57344, 0xfc: -inf, 0xff: nan},
		"F8_E4M3FNUZ": {0: 0, 1: 1. / 1024, 8: 1. / 128, 0x40: 1, 0x7f: 240, 0x80: nan, 0xc0: -1, 0xff: -240},
		"F8_E5M2FNUZ": {0: 0, 1: 1. / 131072, 4: 1. / 32768, 0x40: 1, 0x7f: 57344, 0x80: nan, 0xc0: -1, 0xff: -57344},
	} {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		have, err := F32(Entry{Name: "x", DType: dtype, Shape: engine.Shape{2, 128}, Data: all})
		if err != nil {
			t.Fatal(err)
		}
		for b, w := range want {
			if math.Float32bits(have[b]) != math.Float32bits(w) && !(w != w && have[b] != have[b]) {
				t.Errorf("%s %#02x: have %v, want %v", dtype, b, have[b], w)
			}
		}
		// All of them: zlib.crc32 of torch.arange(256, dtype=torch.uint8).view(DTYPE)
		// .float().nan_to_num(12345., 1e30, -1e30), by torch 2.15.
		var bytes []byte
		for _, v := range have {
			switch {
			case v != v:
				v = 12345
			case v == inf:
				v = 1e30
			case v == -inf:
				v = -1e30
			}
			bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(v))
		}
		sum := map[string]uint32{"F8_E4M3": 1914574781, "F8_E5M2": 184155353, "F8_E4M3FNUZ": 4051282603, "F8_E5M2FNUZ": 174129533}[dtype]
		if c := crc32.ChecksumIEEE(bytes); c != sum {
			t.Errorf("%s: have %d of all values, want %d", dtype, c, sum)
		}
	}
}

type sink []byte

func (s *sink) Write(p []byte) (int, error) { *s = append(*s, p...); return len(p), nil }

// TestWriteAs: every format becomes every other that is asked for, and what is no
// number is refused rather than passed on.
func TestWriteAs(t *testing.T) {
	n := chunk + 3 // more than one chunk
	data := make([]byte, 0, 4*n)
	for i := range n {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(i%64)-20))
	}
	e := Entry{Name: "x", DType: "F32", Shape: engine.Shape{n}, Data: data}
	for _, dtype := range []string{"F16", "BF16", "F32"} {
		var out sink
		if err := WriteAs(&out, e, dtype); err != nil {
			t.Fatal(err)
		}
		e = Entry{Name: "x", DType: dtype, Shape: e.Shape, Data: out}
		values, err := F32(e)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			if v != float32(i%64)-20 {
				t.Fatalf("%s: element %d is %v", dtype, i, v)
			}
		}
	}
	var out sink
	if err := WriteAs(&out, Entry{Name: "x", DType: "F8_E5M2", Shape: engine.Shape{2}, Data: []byte{0x3c, 0xbc}}, "F16"); err != nil ||
		string(out) != "\x00\x3c\x00\xbc" {
		t.Errorf("have %q, %v", out, err)
	}
	for want, e := range map[string]Entry{
		"w: have I8, which is not converted to F16 (a quantised checkpoint?)": one("w", "I8", "1", 1),
		"F8_E8M0":               one("w", "F8_E8M0", "1", 1),
		"does not fill 1 bytes": one("w", "F32", "1", 1),
	} {
		if err := WriteAs(&out, e, "F16"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have %v, want %s", err, want)
		}
	}
}

// TestRounding: formats of two bytes take the nearest number, the even one of two
// that are equally near, and keep what is infinite or no number.
func TestRounding(t *testing.T) {
	nan := math.Float32bits(float32(math.NaN()))
	bits := map[string]map[uint32]uint16{ // f32 to
		"BF16": {0x3f800000: 0x3f80, 0x3f807fff: 0x3f80, 0x3f808000: 0x3f80, 0x3f808001: 0x3f81, 0x3f818000: 0x3f82, 0x3f81ffff: 0x3f82,
			0xbf818000: 0xbf82, 0x3fffffff: 0x4000, 0x7f7fffff: 0x7f80, 0x7f800000: 0x7f80, 0xff800000: 0xff80, nan: 0x7fc0, 0x7f800001: 0x7fc0,
			0xffffffff: 0xffff, 0x80000000: 0x8000, 0x00000001: 0},
		"F16": {0x3f800000: 0x3c00, 0x3f801000: 0x3c00, 0x3f803000: 0x3c02, 0x3f801001: 0x3c01, 0x477fefff: 0x7bff, 0x477ff000: 0x7c00,
			0x7f800000: 0x7c00, 0x33800000: 1, 0x33000000: 0, 0x33000001: 1, 0x80000000: 0x8000},
	}
	for dtype, pairs := range bits {
		for from, want := range pairs {
			var out sink
			e := Entry{Name: "x", DType: "F32", Shape: engine.Shape{1}, Data: binary.LittleEndian.AppendUint32(nil, from)}
			if err := WriteAs(&out, e, dtype); err != nil {
				t.Fatal(err)
			}
			if have := binary.LittleEndian.Uint16(out); have != want {
				t.Errorf("%s of %08x: %04x, want %04x", dtype, from, have, want)
			}
		}
	}
	// The ways there and back meet, and do not depend on where the bytes lie.
	for _, dtype := range []string{"F16", "BF16"} {
		data := make([]byte, 0, 1<<17+1)
		for v := range 1 << 16 {
			data = binary.LittleEndian.AppendUint16(data, uint16(v))
		}
		odd := append(make([]byte, 1, 1<<17+1), data...)[1:]
		a, err := F32(Entry{Name: "x", DType: dtype, Shape: engine.Shape{1 << 16}, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		b, err := F32(Entry{Name: "x", DType: dtype, Shape: engine.Shape{1 << 16}, Data: odd})
		if err != nil {
			t.Fatal(err)
		}
		wide := make([]byte, 0, 4<<16)
		for i, v := range a {
			if v != b[i] && v == v {
				t.Fatalf("%s %04x is %v or %v", dtype, i, v, b[i])
			}
			wide = binary.LittleEndian.AppendUint32(wide, math.Float32bits(v))
		}
		var out sink
		if err := WriteAs(&out, Entry{Name: "x", DType: "F32", Shape: engine.Shape{1 << 16}, Data: wide}, dtype); err != nil {
			t.Fatal(err)
		}
		for i, v := range a {
			if have := binary.LittleEndian.Uint16(out[2*i:]); v == v && int(have) != i {
				t.Fatalf("%s %04x comes back as %04x", dtype, i, have)
			}
		}
	}
}

// TestCutUnderALoader: a checkpoint that is cut or written to while a net is
// loaded is one error that names it; what was read before stays.
func TestCutUnderALoader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	big := Entry{Name: "big", DType: "F32", Shape: engine.Shape{1 << 20}, Data: make([]byte, 4<<20)}
	cut := false
	load := func(harm func()) ([]float32, error) {
		t.Helper()
		write(t, path, big, one("one", "F32", "\x00\x00\x80\x3f", 1))
		past := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		l := s.With(s.Entries()).Loader(host.New(4)).In("")
		first, matrix := l.F32("one", 1), l.Source("big", 1<<20)
		harm()
		l.F32("big", 1<<20)
		// Workers find the pages gone, each for itself.
		_, err = matmul.Pack(l.Device(), matrix, 1<<10, 1<<10)
		var fault *safetensors.FaultError
		if errors.As(err, &fault) != cut || !cut && err != nil {
			t.Errorf("packing, cut %t: %v", cut, err)
		}
		return first, l.Err()
	}
	if first, err := load(func() {}); err != nil || first[0] != 1 {
		t.Fatalf("have %v, %v", first, err)
	}
	cut = true
	first, err := load(func() {
		if err := os.Truncate(path, 64); err != nil {
			t.Fatal(err)
		}
	})
	var changed *safetensors.ChangedError
	if !errors.As(err, &changed) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), path) {
		t.Errorf("cut: have %v", err)
	}
	if first[0] != 1 {
		t.Errorf("what was read has become %v", first[0])
	}
	cut = false
	_, err = load(func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("garbage"), 200); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if !errors.As(err, &changed) || !strings.Contains(err.Error(), "written to while it was read") {
		t.Errorf("written: have %v", err)
	}
	// Another file of the name leaves the mapped one whole.
	if _, err = load(func() {
		if err := os.Rename(path, path+".old"); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Errorf("renamed: have %v", err)
	}
}
