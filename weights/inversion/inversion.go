// Package inversion reads files of textual inversion: vectors that a text
// encoder takes in place of a word's, learned for one thing or style. They come
// as AUTOMATIC1111's webui and the paper's authors save them (string_to_param,
// emb_params), and as diffusers does (learned_embeds), in pickles and in
// safetensors.
package inversion

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"parley/weights"
	"parley/weights/pickle"
	"parley/weights/safetensors"
)

// Embedding is the vectors that a name stands for.
type Embedding struct {
	File    string
	Names   []string  // what it is called in prompts, any of them
	Vectors []float32 // [Rows, Dim]
	Rows    int
	Dim     int
}

// MaxFile is the largest file that is read, in bytes, and MaxRows the most
// vectors of a name: a prompt's chunk has room for no more.
const (
	MaxFile = 64 << 20
	MaxRows = 75
)

// Open reads a file. The name, where it is not empty, is what the embedding is
// called instead of what the file says.
func Open(file, name string) (*Embedding, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > MaxFile {
		return nil, fmt.Errorf("%s: not a file of textual inversion, which is a regular file of %d MB at most", file, MaxFile>>20)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Read(file, name, data)
}

// Read is Open of a file's bytes.
//
// Without a name, diffusers' files are called by their token; those of the
// webui by the file's name without its ending, as there, and by the name inside.
func Read(file, name string, data []byte) (*Embedding, error) {
	var tensors []safetensors.Tensor
	var inner string
	var err error
	if len(data) >= 9 && data[8] == '{' {
		tensors, _, err = safetensors.Parse(file, data)
	} else {
		var c pickle.Checkpoint
		c, err = pickle.Read(file, data)
		tensors, inner = c.Tensors, c.Name
	}
	if err != nil {
		return nil, err
	}
	if len(tensors) != 1 {
		return nil, fmt.Errorf("%s: %w", file, other(tensors))
	}
	t := tensors[0]
	e := &Embedding{File: file, Rows: 1}
	switch len(t.Shape) {
	case 1:
		e.Dim = t.Shape[0]
	case 2:
		e.Rows, e.Dim = t.Shape[0], t.Shape[1]
	}
	floats := slices.Contains([]string{"F32", "F16", "BF16", "F64"}, t.DType)
	if e.Dim < 1 || e.Rows < 1 || e.Rows > MaxRows || !floats {
		return nil, fmt.Errorf("%s: %q is %s %v, want the vectors of a word as floating point numbers of [n, width], n at most %d",
			file, t.Name, t.DType, t.Shape, MaxRows)
	}
	if e.Vectors, err = weights.F32(t); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for i, v := range e.Vectors {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("%s: vector %d has %v", file, i/e.Dim+1, v)
		}
	}
	e.name(name, inner, t.Name)
	return e, nil
}

// name takes the name that was asked for, or those of the file.
func (e *Embedding) name(asked, inner, token string) {
	if asked != "" {
		e.Names = []string{asked}
		return
	}
	if token != "*" && token != "emb_params" && token != "" {
		e.Names = []string{token}
		return
	}
	base := filepath.Base(e.File)
	base = strings.TrimSuffix(base, filepath.Ext(base))
	if inner != "" && inner != "*" && !strings.EqualFold(inner, base) {
		e.Names = append(e.Names, inner)
	}
	e.Names = append(e.Names, base)
}

// other says what a file is that has not one tensor.
func other(tensors []safetensors.Tensor) error {
	names := make([]string, 0, 4)
	for _, t := range tensors {
		switch {
		case t.Name == "clip_g" || t.Name == "clip_l":
			return fmt.Errorf("textual inversion of Stable Diffusion XL (%s), which has two text encoders; want one of Stable Diffusion 1 or 2",
				t.Name)
		case strings.Contains(t.Name, "lora"):
			return fmt.Errorf("a LoRA (%s), not textual inversion", t.Name)
		}
		if len(names) < cap(names) {
			names = append(names, t.Name)
		}
	}
	return fmt.Errorf("%d tensors %q, where textual inversion has one", len(tensors), names)
}

// widths are what the text encoders of known models take.
var widths = map[int]string{768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 1280: "Stable Diffusion XL"}

// Fits is an error where a text encoder of another width than dim was learned
// for.
func (e *Embedding) Fits(dim int) error {
	if e.Dim == dim {
		return nil
	}
	of := func(d int) string {
		if name, ok := widths[d]; ok {
			return fmt.Sprintf("%d (%s)", d, name)
		}
		return fmt.Sprint(d)
	}
	return fmt.Errorf("%s: textual inversion %q has vectors of %s, and this text encoder takes %s", e.File, e.Names[0], of(e.Dim), of(dim))
}
