// Package storage says how the weights of a net are kept, apart from the type of
// its activations: the formats, panels of them, and what they are packed from.
package storage

import (
	"fmt"
	"unsafe"

	"parley/engine"
)

// Format is how the elements of weights lie in memory.
type Format uint8

// The formats. One of blocks (int8 with scales, GGUF's) is one more here, with its
// bytes in Size, and a kernel that reads its panels.
const (
	F32 Format = iota
	F16
	BF16
	BF16x3 // of each number the nearest bf16 and that of what is lost by it
)

// Of is the format of what a GPU with activations of a type stores.
func Of(d engine.DType) Format {
	if d == engine.F16 {
		return F16
	}
	return F32
}

func (f Format) String() string { return [...]string{"f32", "f16", "bf16", "bf16x3"}[f] }

// Size is how many bytes n elements take.
func (f Format) Size(n int) int {
	if f == F16 || f == BF16 {
		return 2 * n
	}
	return 4 * n
}

// Panels are weights in the order in which a kernel reads them.
type Panels struct {
	Format Format
	Data   []byte
}

// NewPanels has room for n elements, aligned for words of 32 bits.
func NewPanels(f Format, n int) Panels {
	words := make([]float32, (f.Size(n)+3)/4)
	return Panels{f, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), f.Size(n))}
}

// Words is Data as the kernels of package simd take it, four bytes at a time
// whatever the format.
func (p Panels) Words() []float32 { return engine.Memory{Host: p.Data}.F32() }

// Source is a tensor of weights to pack, row-major: an entry of a checkpoint's file,
// of which a part is converted at a time, or values in memory.
type Source interface {
	Name() string        // for messages
	DType() string       // as a file has it: "BF16"
	Shape() engine.Shape // in a dry run all that is asked for
	// F32 converts the elements from at on, as many as dst has. Several goroutines
	// may call it at a time.
	F32(dst []float32, at int) error
}

// Fits is an error where a source has not so many elements.
func Fits(s Source, elems int) error {
	if s.Shape().Elems() == elems {
		return nil
	}
	return fmt.Errorf("%s: %s %v has not the %d elements of the weights", s.Name(), s.DType(), s.Shape(), elems)
}

// Values are numbers in memory as a Source.
type Values []float32

// Name implements Source.
func (Values) Name() string { return "values" }

// DType implements Source.
func (Values) DType() string { return "F32" }

// Shape implements Source.
func (v Values) Shape() engine.Shape { return engine.Shape{len(v)} }

// F32 implements Source.
func (v Values) F32(dst []float32, at int) error {
	copy(dst, v[at:at+len(dst)])
	return nil
}

// Concat is sources one behind the other: matrices of one width by rows.
type Concat []Source

// Name implements Source.
func (c Concat) Name() string { return c[0].Name() + " and those beside it" }

// DType implements Source.
func (c Concat) DType() string { return c[0].DType() }

// Shape implements Source.
func (c Concat) Shape() engine.Shape {
	n := 0
	for _, s := range c {
		n += s.Shape().Elems()
	}
	return engine.Shape{n}
}

// F32 implements Source.
func (c Concat) F32(dst []float32, at int) error {
	for _, s := range c {
		n := s.Shape().Elems()
		if at < n && len(dst) > 0 {
			now := dst[:min(len(dst), n-at)]
			if err := s.F32(now, at); err != nil {
				return err
			}
			dst, at = dst[len(now):], n
		}
		at -= n
	}
	return nil
}
