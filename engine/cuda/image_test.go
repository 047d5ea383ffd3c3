package cuda

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestImage(t *testing.T) {
	i := Image{PTX: ".version 8.4\n", Cubins: map[int]string{80: "a", 86: "b\x00c", 90: strings.Repeat("d", 5000)}}
	data, err := i.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := i.Pack(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("one image gives two files: %v", err)
	}
	back, err := ReadImage(string(data))
	if err != nil || back.PTX != i.PTX || !maps.Equal(back.Cubins, i.Cubins) {
		t.Errorf("%+v: %v", back, err)
	}
	if text, err := ReadImage(i.PTX); err != nil || text.PTX != i.PTX || text.Cubins != nil {
		t.Errorf("text of PTX: %+v, %v", text, err)
	}
	if _, err := ReadImage(string(data[:len(data)/2])); err == nil {
		t.Error("half of an image is taken")
	}
	if data, err = (Image{}).Pack(); err == nil {
		if _, err = ReadImage(string(data)); err == nil {
			_, err = NewModule("none", string(data)).Image()
		}
	}
	if err == nil || !strings.Contains(err.Error(), "no op.ptx") {
		t.Errorf("an image without PTX: %v", err)
	}
	// Machine code runs on its own architecture and on later ones of its major
	// number; for others there is PTX.
	for _, c := range []struct{ major, minor, want int }{
		{8, 0, 80}, {8, 6, 86}, {8, 7, 86}, {8, 9, 86}, {9, 0, 90}, {10, 0, 0}, {7, 5, 0}, {12, 1, 0},
	} {
		if _, sm := i.cubin(c.major, c.minor); sm != c.want {
			t.Errorf("sm_%d%d gets sm_%d, want %d", c.major, c.minor, sm, c.want)
		}
	}
}

// TestRooms: every room has machine code for the architectures that ptx.py names.
func TestRooms(t *testing.T) {
	files, err := filepath.Glob("../../kernels/*/op.cu")
	if err != nil || len(files) < 5 {
		t.Fatalf("rooms %v, %v", files, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(f), "op.tar.zst"))
		if err != nil {
			t.Error(err)
			continue
		}
		i, err := ReadImage(string(data))
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if have := fmt.Sprint(slices.Sorted(maps.Keys(i.Cubins))); have != "[80 86 89 90]" || !strings.Contains(i.PTX, ".visible .entry") {
			t.Errorf("%s: cubins %s, %d bytes of PTX", f, have, len(i.PTX))
		}
		for sm, c := range i.Cubins {
			if !strings.HasPrefix(c, "\x7fELF") {
				t.Errorf("%s: sm_%d is no ELF file", f, sm)
			}
		}
	}
}

// TestTextFor: PTX for sm_90 has what stands in it as comments, and older PTX stays
// what it is.
func TestTextFor(t *testing.T) {
	const text = ".target sm_80\n//sm_90 griddepcontrol.wait;\n// a comment\n"
	for major, want := range map[int]string{8: text, 9: ".target sm_90\ngriddepcontrol.wait;\n// a comment\n",
		10: ".target sm_90\ngriddepcontrol.wait;\n// a comment\n"} {
		if have := (Image{PTX: text}).TextFor(major); have != want {
			t.Errorf("for %d: %q", major, have)
		}
	}
	if have := (Image{PTX: ".target sm_80\n"}).TextFor(9); have != ".target sm_80\n" {
		t.Errorf("without such instructions: %q", have)
	}
}
