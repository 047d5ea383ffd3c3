package engine

import (
	"fmt"
	"unsafe"

	"github.com/x448/float16"
)

// Place brings host values to a device to stay there, as the type: weights. A
// host tensor of that type is returned as it is where host memory is the device's.
func Place(d Device, dtype DType, t *Tensor) (*Tensor, error) {
	if IsDryRun(d) {
		out := NewTensor(dtype, Memory{}, t.Shape()...)
		_, err := d.Alloc(out.Bytes())
		return out, err
	}
	t = Convert(dtype, t)
	if d.Local() {
		return t, nil
	}
	mem, err := d.Alloc(t.Bytes())
	if err != nil {
		return nil, fmt.Errorf("weights of %v %v: %w", t.Shape(), dtype, err)
	}
	out := NewTensor(dtype, mem, t.Shape()...)
	if err := d.Upload(out, t.mem.Host); err != nil {
		return nil, fmt.Errorf("weights of %v %v: %w", t.Shape(), dtype, err)
	}
	return out, nil
}

// Convert returns a host tensor's values as another type: between F32 and F16,
// rounded to the nearest, ties to even, and from BF16 to F32. A tensor that has the type is
// returned as it is. Other pairs of types are a mistake of ours.
func Convert(dtype DType, t *Tensor) *Tensor {
	if t.dtype == dtype {
		return t
	}
	n := t.Elems()
	out := NewTensor(dtype, Memory{Host: make([]byte, n*dtype.Size())}, t.Shape()...)
	if n == 0 {
		return out
	}
	switch {
	case t.dtype == F32 && dtype == F16:
		dst := out.bits()
		for i, v := range t.F32() {
			dst[i] = float16.Fromfloat32(v).Bits()
		}
	case t.dtype == F16 && dtype == F32:
		dst := out.F32()
		for i, h := range t.bits() {
			dst[i] = float16.Frombits(h).Float32()
		}
	case t.dtype == BF16 && dtype == F32:
		dst := unsafe.Slice((*uint32)(unsafe.Pointer(&out.mem.Host[0])), n)
		for i, h := range t.bits() {
			dst[i] = uint32(h) << 16
		}
	default:
		panic(fmt.Sprintf("engine: no conversion from %v to %v", t.dtype, dtype))
	}
	return out
}

// bits is the data of a host tensor of two-byte elements.
func (t *Tensor) bits() []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(&t.mem.Host[0])), t.Elems())
}
