package mini

import (
	"bytes"
	"encoding/binary"
	"image/png"
	"io/fs"
	"testing"

	"parley/weights"
)

func TestScenes(t *testing.T) {
	scenes, err := Test()
	if err != nil {
		t.Fatal(err)
	}
	if len(scenes) != 200 {
		t.Errorf("%d scenes, want 200", len(scenes))
	}
	for _, s := range scenes {
		if m, err := png.DecodeConfig(bytes.NewReader(s.PNG)); err != nil || m.Width != 64 || m.Height != 64 {
			t.Errorf("%s: %v, %d x %d", s.File, err, m.Width, m.Height)
		}
		if len(s.Captions) != 5 {
			t.Errorf("%s: %d captions, want 5", s.File, len(s.Captions))
		}
	}
}

func TestModelsAreSmall(t *testing.T) {
	total := int64(0)
	err := fs.WalkDir(FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		i, err := d.Info()
		total += i.Size()
		return err
	})
	if err != nil || total > 18e6 || total < 1<<20 {
		t.Errorf("the models take %d bytes, want at most 18 MB: %v", total, err)
	}
}

// TestModelsAreRounded: the embedded files are those of train/pack.py, matrices of 6
// significant bits and vectors of all 11.
func TestModelsAreRounded(t *testing.T) {
	for _, dir := range []string{"blip", "clip", "sd/text_encoder", "sd/unet", "sd/vae"} {
		set, err := weights.OpenFS(FS(), dir)
		if err != nil {
			t.Fatal(err)
		}
		var bits [2]uint16 // that are set: of vectors, of matrices
		for _, e := range set.Entries() {
			if e.DType != "F16" {
				t.Errorf("%s: %s is %s", dir, e.Name, e.DType)
			}
			matrix := 0
			if len(e.Shape) > 1 {
				matrix = 1
			}
			for i := 0; i < len(e.Data); i += 2 {
				bits[matrix] |= binary.LittleEndian.Uint16(e.Data[i:])
			}
		}
		if bits[0]&0x3ff != 0x3ff || bits[1]&0x3ff != 0x3e0 {
			t.Errorf("%s: mantissas of vectors have the bits %#x, of matrices %#x", dir, bits[0]&0x3ff, bits[1]&0x3ff)
		}
	}
}
