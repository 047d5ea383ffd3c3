// Package engine holds what every computation of Parley needs, and knows no
// operation: data types, shapes, tensors, devices and streams.
package engine

import (
	"fmt"
	"strings"
	"unsafe"
)

// DType is the type of a tensor's elements.
type DType uint8

// The element types a tensor can have.
const (
	F32 DType = iota
	F16
	BF16
	I32
	U8 // of pictures: 0 to 255
)

// Size is the number of bytes of one element.
func (d DType) Size() int {
	switch d {
	case F16, BF16:
		return 2
	case U8:
		return 1
	}
	return 4
}

func (d DType) String() string {
	switch d {
	case F32:
		return "f32"
	case F16:
		return "f16"
	case BF16:
		return "bf16"
	case I32:
		return "i32"
	case U8:
		return "u8"
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// Shape lists a tensor's dimensions, slowest first.
type Shape []int

// Elems is the number of elements, 1 for a scalar.
func (s Shape) Elems() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// Equal reports whether both shapes have the same dimensions.
func (s Shape) Equal(o Shape) bool {
	if len(s) != len(o) {
		return false
	}
	for i := range s {
		if s[i] != o[i] {
			return false
		}
	}
	return true
}

// String prints the shape as "[1 77 768]".
func (s Shape) String() string {
	var b strings.Builder
	b.WriteByte('[')
	for i, d := range s {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprint(&b, d)
	}
	b.WriteByte(']')
	return b.String()
}

// Tensor is a contiguous row-major array on one device. It has no strides;
// images and feature maps are [N, H, W, C].
type Tensor struct {
	rank  int
	dims  [4]int
	more  Shape // all dimensions, of more than four
	dtype DType
	mem   Memory
}

// set puts a shape over a block of memory.
func (t *Tensor) set(dtype DType, mem Memory, dims []int) {
	t.dtype, t.mem, t.rank = dtype, mem, len(dims)
	if copy(t.dims[:], dims) < len(dims) {
		t.more = append(Shape(nil), dims...)
	}
}

// Memory is a block of a device's memory: Host for the CPU, Addr elsewhere.
// On a device that only counts, a stream gives its tensors addresses that tell them
// apart, and other tensors have neither.
type Memory struct {
	Host []byte
	Addr uintptr
}

// F32 is a block on the host as numbers, for an operation's scratch.
func (m Memory) F32() []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(m.Host))), len(m.Host)/4)
}

// F64 is F32 for sums.
func (m Memory) F64() []float64 {
	return unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(m.Host))), len(m.Host)/8)
}

// at tells blocks apart; 0 is no block.
func (m Memory) at() uintptr {
	if len(m.Host) > 0 {
		return uintptr(unsafe.Pointer(&m.Host[0]))
	}
	return m.Addr
}

// NewTensor puts a shape over a block of memory.
func NewTensor(dtype DType, mem Memory, dims ...int) *Tensor {
	t := &Tensor{}
	t.set(dtype, mem, dims)
	return t
}

// FromF32 makes a host tensor that shares data. The product of dims has to be
// len(data).
func FromF32(data []float32, dims ...int) *Tensor { return from(F32, data, dims) }

// FromI32 makes a host tensor that shares data.
func FromI32(data []int32, dims ...int) *Tensor { return from(I32, data, dims) }

// FromF16 makes a host tensor that shares data, the bits of half floats.
func FromF16(data []uint16, dims ...int) *Tensor { return from(F16, data, dims) }

// FromU8 makes a host tensor that shares data.
func FromU8(data []uint8, dims ...int) *Tensor { return from(U8, data, dims) }

func from[T any](dtype DType, data []T, dims []int) *Tensor {
	t := NewTensor(dtype, Memory{}, dims...)
	if t.Elems() != len(data) {
		panic(fmt.Sprintf("engine: %d values do not fill the shape %v", len(data), t.Shape()))
	}
	if len(data) > 0 {
		t.mem.Host = unsafe.Slice((*byte)(unsafe.Pointer(&data[0])), t.Bytes())
	}
	return t
}

// Shape returns the dimensions; the caller does not change them.
func (t *Tensor) Shape() Shape {
	if t.more != nil {
		return t.more
	}
	return t.dims[:t.rank:t.rank]
}

// Dim is the i-th dimension, counted from the end when i is negative.
func (t *Tensor) Dim(i int) int {
	if i < 0 {
		i += t.rank
	}
	return t.Shape()[i]
}

// DType is the type of the elements.
func (t *Tensor) DType() DType { return t.dtype }

// Memory is the block the tensor lies in.
func (t *Tensor) Memory() Memory { return t.mem }

// Elems is the number of elements.
func (t *Tensor) Elems() int { return t.Shape().Elems() }

// Bytes is the size of the elements in memory.
func (t *Tensor) Bytes() int { return t.Elems() * t.dtype.Size() }

// F32 is the data of an f32 tensor on the host, not copied.
func (t *Tensor) F32() []float32 { return data[float32](t, F32) }

// I32 is the data of an i32 tensor on the host, not copied.
func (t *Tensor) I32() []int32 { return data[int32](t, I32) }

// U8 is the data of a u8 tensor on the host, not copied.
func (t *Tensor) U8() []uint8 { return data[uint8](t, U8) }

func data[T any](t *Tensor, dtype DType) []T {
	if t.dtype != dtype {
		panic(fmt.Sprintf("engine: %v of a tensor of %v", dtype, t.dtype))
	}
	if len(t.mem.Host) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&t.mem.Host[0])), t.Elems())
}

// Reshape views the same elements in another shape.
func (t *Tensor) Reshape(dims ...int) *Tensor {
	v := NewTensor(t.dtype, t.mem, dims...)
	if v.Elems() != t.Elems() {
		panic(fmt.Sprintf("engine: %v does not reshape to %v", t.Shape(), v.Shape()))
	}
	return v
}

// Rows views rows lo to hi of the first dimension.
func (t *Tensor) Rows(lo, hi int) *Tensor {
	v := &Tensor{}
	v.rows(t, lo, hi)
	return v
}

// rows makes v a view of rows of t.
func (v *Tensor) rows(t *Tensor, lo, hi int) {
	if lo < 0 || hi < lo || hi > t.Dim(0) {
		panic(fmt.Sprintf("engine: rows %d to %d of %v", lo, hi, t.Shape()))
	}
	row := t.Shape()[1:].Elems() * t.dtype.Size()
	m := t.mem
	if m.Host != nil {
		m.Host = m.Host[lo*row : hi*row : hi*row]
	}
	if m.Addr != 0 {
		m.Addr += uintptr(lo * row)
	}
	v.set(t.dtype, m, t.Shape())
	v.Shape()[0] = hi - lo
}
