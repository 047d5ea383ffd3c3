package pixels

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image/color"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/rgb"
	"parley/weights"
	"parley/weights/mini"
)

func goldens(t *testing.T) *weights.Set {
	s, err := weights.Open("testdata/goldens.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func picture(t *testing.T, s *weights.Set, name string) *Image {
	e, ok := s.Entry(name)
	if !ok {
		t.Fatalf("no golden %s", name)
	}
	return &Image{e.Shape[1], e.Shape[0], e.Data}
}

// differ returns the largest and the mean difference.
func differ(a, b []uint8) (top int, mean float64) {
	for i, v := range a {
		d := int(v) - int(b[i])
		if d < 0 {
			d = -d
		}
		top = max(top, d)
		mean += float64(d)
	}
	return top, mean / float64(len(a))
}

func TestDecodeAsPillow(t *testing.T) {
	s := goldens(t)
	n := 0
	for _, name := range s.Names() {
		file, ok := strings.CutPrefix(name, "file.")
		if !ok {
			continue
		}
		n++
		want := picture(t, s, name)
		got, err := Read(filepath.Join("testdata", file))
		if err != nil {
			t.Error(err)
			continue
		}
		if got.W != want.W || got.H != want.H {
			t.Errorf("%s: %d x %d, want %d x %d", file, got.W, got.H, want.W, want.H)
			continue
		}
		if top, mean := differ(got.Pix, want.Pix); top > 0 {
			t.Errorf("%s: differs by up to %d, %.3f on average", file, top, mean)
		}
	}
	if n < 25 {
		t.Errorf("only %d files", n)
	}
}

func TestResizeAsPillow(t *testing.T) {
	testResize(t, func(m *Image, w, h int, f Filter) (*Image, error) { return m.Resize(w, h, f), nil })
}

func testResize(t *testing.T, resize func(m *Image, w, h int, f Filter) (*Image, error)) {
	s := goldens(t)
	n := 0
	for _, name := range s.Names() {
		if !strings.HasPrefix(name, "resize.") {
			continue
		}
		n++
		var sw, sh, f, w, h int
		if _, err := fmt.Sscanf(name, "resize.%dx%d.%d.%dx%d", &sw, &sh, &f, &w, &h); err != nil {
			t.Fatal(err)
		}
		want := picture(t, s, name)
		got, err := resize(picture(t, s, fmt.Sprintf("source.%dx%d", sw, sh)), w, h, Filter(f))
		if err != nil {
			t.Fatal(err)
		}
		if top, mean := differ(got.Pix, want.Pix); top > 0 {
			t.Errorf("%s: differs by up to %d, %.4f on average", name, top, mean)
		}
	}
	if n < 60 {
		t.Errorf("only %d resizes", n)
	}
}

func f32(t *testing.T, s *weights.Set, name string) []float32 {
	e, ok := s.Entry(name)
	if !ok {
		t.Fatalf("no golden %s", name)
	}
	v, err := weights.F32(e)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestProcessorsAsTransformers(t *testing.T) { testProcessors(t, host.New(2)) }

func testProcessors(t *testing.T, dev engine.Device) {
	s := goldens(t)
	run := engine.NewStream(t.Context(), dev)
	defer run.Close()
	fsys := fstest.MapFS{
		"clip": {Data: []byte(`{"size":{"shortest_edge":24},"crop_size":{"height":24,"width":24},"do_center_crop":true,"resample":3}`)},
		"old": {Data: []byte(`{"size":24,"crop_size":24,"feature_extractor_type":"CLIPFeatureExtractor",` +
			`"image_mean":[0.48145466,0.4578275,0.40821073]}`)},
		"wide": {Data: []byte(`{"size":{"shortest_edge":18},"crop_size":{"height":21,"width":25},"resample":2}`)},
		"blip": {Data: []byte(`{"size":{"height":32,"width":32},"image_processor_type":"BlipImageProcessor"}`)},
	}
	for file, golden := range map[string]string{"clip": "clip", "old": "clip", "wide": "wide", "blip": "blip"} {
		p, err := ParseProcessor(fsys, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []string{"64x48", "40x43", "24x24", "15x9"} {
			y, err := p.Apply(run, []Picture{picture(t, s, "picture."+size)})
			if err != nil {
				t.Fatal(err)
			}
			x, err := run.Get(y)
			if err != nil {
				t.Fatal(err)
			}
			e, _ := s.Entry(golden + "." + size)
			want := f32(t, s, golden+"."+size) // [3, H, W]
			h, w := e.Shape[1], e.Shape[2]
			if x.Dim(1) != h || x.Dim(2) != w {
				t.Errorf("%s %s: %v, want %d x %d", file, size, x.Shape(), h, w)
				continue
			}
			for i, v := range x.F32() {
				bound := 1e-6
				if dev.Float() == engine.F16 {
					bound += 0x1p-11 * math.Abs(float64(v))
				}
				if d := math.Abs(float64(v - want[i%3*h*w+i/3])); d > bound {
					t.Errorf("%s %s: element %d is %v, want %v", file, size, i, v, want[i%3*h*w+i/3])
					break
				}
			}
		}
	}
	for _, file := range []string{"clip/preprocessor_config.json", "blip/preprocessor_config.json"} {
		p, err := ParseProcessor(mini.FS(), file)
		if err != nil {
			t.Error(err)
		} else if w, h, fixed := p.Size(); w != 64 || h != 64 || !fixed {
			t.Errorf("%s: %d x %d", file, w, h)
		}
	}
}

func TestTensorsAndBack(t *testing.T) {
	m := picture(t, goldens(t), "picture.40x43")
	s := engine.NewStream(t.Context(), host.New(2))
	for _, got := range Images(rgb.Bytes(s, Signed(s, m.On(s)))) {
		if !bytes.Equal(got.Pix, m.Pix) || got.W != m.W {
			t.Error("a picture does not come back from a tensor")
		}
	}
	p := &Processor{Shortest: 20, Filter: Bicubic, Scale: 1, Std: [3]float64{1, 1, 1}}
	for want, list := range map[string][]Picture{
		"no pictures":                     nil,
		"picture 1 is 0 x 3":              {m, &Image{W: 0, H: 3}},
		"picture 1 is 20 x 20 after":      {m, New(1, 1, color.RGBA{})},
		"resize: ":                        {New(1, 1<<22, color.RGBA{})}, // 84 million rows of 20 pixels
		"the drawing has left its device": {&Drawn{h: 2, w: 2}},
	} {
		if _, err := p.Apply(engine.NewStream(t.Context(), host.New(1)), list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	path := filepath.Join(t.TempDir(), "x.png")
	if err := m.SavePNG(path); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path); err != nil || !bytes.Equal(got.Pix, m.Pix) {
		t.Errorf("a picture does not come back from a file: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	huge := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), 0, 1, 0, 0, 0, 1, 0, 0, 8, 2, 0, 0, 0)
	crc := make([]byte, 4)
	binary.BigEndian.PutUint32(crc, 0x2439cd61)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty": {nil, "not a picture"}, "text": {[]byte("hello, world"), "not a picture"}, "cut": {[]byte("\x89PNG\r\n\x1a\n"), "PNG"},
		"jpeg": {[]byte("\xff\xd8\xff"), "JPEG"}, "huge": {append(huge, crc...), "PNG"},
	} {
		if _, err := Decode(bytes.NewReader(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	for config, want := range map[string]string{
		`{`: "p.json", `{"resample":9}`: "resample", `{"size":{"height":-1,"width":3}}`: "size.height", `{"size":"x"}`: "size",
		`{"image_mean":[1]}`: "image_mean", `{"image_std":[0,1,1]}`: "image_std", `{"do_resize":false}`: "do_resize",
	} {
		if _, err := ParseProcessor(fstest.MapFS{"p.json": {Data: []byte(config)}}, "p.json"); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", config, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	files, err := fs.Glob(os.DirFS("testdata"), "*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		if data, err := os.ReadFile(filepath.Join("testdata", name)); err == nil && !strings.HasSuffix(name, ".zst") {
			f.Add(data, len(data)%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, icc bool) {
		m, err := Options{MaxPixels: 1 << 18, ICC: icc}.Decode(bytes.NewReader(data))
		if err == nil && (m.W < 1 || m.H < 1 || len(m.Pix) != 3*m.W*m.H) {
			t.Fatalf("%d x %d with %d bytes", m.W, m.H, len(m.Pix))
		}
	})
}

func FuzzParseProcessor(f *testing.F) {
	f.Add([]byte(`{"size":{"shortest_edge":24},"crop_size":{"height":24,"width":24},"do_center_crop":true,"resample":3}`))
	f.Add([]byte(`{"size":24,"image_mean":[1,2,3],"rescale_factor":0.1,"do_normalize":false}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseProcessor(fstest.MapFS{"p.json": {Data: data}}, "p.json")
		if err == nil && p.Shortest == 0 && (p.Width < 1 || p.Height < 1) {
			t.Fatalf("%+v", p)
		}
	})
}
