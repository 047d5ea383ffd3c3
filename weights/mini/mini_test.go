package mini

import (
	"bytes"
	"image/png"
	"io/fs"
	"testing"
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
	if err != nil || total > 32<<20 || total < 1<<20 {
		t.Errorf("the models take %d bytes, want at most 32 MB: %v", total, err)
	}
}
