package inversion

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	data, err := os.ReadFile("testdata/want.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]struct {
		Names   []string
		Vectors [][]float32
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if len(want) < 10 {
		t.Fatalf("%d files", len(want))
	}
	for file, w := range want {
		e, err := Open(filepath.Join("testdata", file), "")
		if err != nil {
			t.Error(err)
			continue
		}
		if !slices.Equal(e.Names, w.Names) {
			t.Errorf("%s: names %q, want %q", file, e.Names, w.Names)
		}
		if e.Rows != len(w.Vectors) || e.Dim != len(w.Vectors[0]) || !slices.Equal(e.Vectors, slices.Concat(w.Vectors...)) {
			t.Errorf("%s: [%d, %d] %v, want %v", file, e.Rows, e.Dim, e.Vectors, w.Vectors)
		}
		if e, err = Open(filepath.Join("testdata", file), "other"); err != nil || !slices.Equal(e.Names, []string{"other"}) {
			t.Errorf("%s: renamed to %q, error %v", file, e.Names, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for file, want := range map[string]string{
		"xl.safetensors": "Stable Diffusion XL", "lora.safetensors": "LoRA", "nan.safetensors": "NaN", "cube.safetensors": "[2 2 2]",
		"int.safetensors": "I32", "two.pt": `["*" "+"]`, "goldens.py": "goldens.py", ".": "regular file", "none.pt": "none.pt",
	} {
		if _, err := Open(filepath.Join("testdata", file), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", file, err, want)
		}
	}
}

func TestFits(t *testing.T) {
	e := &Embedding{File: "a.pt", Names: []string{"style"}, Dim: 1024}
	if err := e.Fits(1024); err != nil {
		t.Error(err)
	}
	err := e.Fits(768)
	for _, want := range []string{"a.pt", "style", "1024 (Stable Diffusion 2)", "768 (Stable Diffusion 1)"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 1<<14 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := Read("x.pt", "", data); err == nil && (len(e.Vectors) != e.Rows*e.Dim || len(e.Names) == 0) {
			t.Fatalf("%+v", e)
		}
	})
}
