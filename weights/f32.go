package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"github.com/x448/float16"

	"parley/kernels/simd"
	"parley/weights/safetensors"
)

// F32 converts an entry to f32. An f32 entry is not copied where the host is
// little-endian and the data are aligned: it is only to be read.
func F32(e Entry) ([]float32, error) {
	size, ok := safetensors.Size(e.DType, e.Shape)
	if !ok || safetensors.Width(e.DType) == 0 || size != len(e.Data) {
		return nil, fmt.Errorf("%s: %s %v does not fill %d bytes%s", e.Name, e.DType, e.Shape, len(e.Data), in(e.File))
	}
	n := size / safetensors.Width(e.DType)
	d := e.Data
	if e.DType == "F32" && n > 0 && littleEndian && uintptr(unsafe.Pointer(&d[0]))%4 == 0 {
		return unsafe.Slice((*float32)(unsafe.Pointer(&d[0])), n), nil
	}
	out := make([]float32, n)
	if halves := e.DType == "F16" || e.DType == "BF16"; halves && n > 0 && littleEndian && uintptr(unsafe.Pointer(&d[0]))%2 == 0 {
		from := simd.FromF16
		if e.DType == "BF16" {
			from = simd.FromBF16
		}
		from(out, unsafe.Slice((*uint16)(unsafe.Pointer(&d[0])), n))
		return out, nil
	}
	switch e.DType {
	case "F32":
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(d[4*i:]))
		}
	case "F16":
		for i := range out {
			out[i] = float16.Frombits(binary.LittleEndian.Uint16(d[2*i:])).Float32()
		}
	case "BF16":
		for i := range out {
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(d[2*i:])) << 16)
		}
	case "F64":
		for i := range out {
			out[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(d[8*i:])))
		}
	default:
		return nil, fmt.Errorf("%s: have %s, want a floating-point tensor%s", e.Name, e.DType, in(e.File))
	}
	return out, nil
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// toBF16 rounds to the nearest bf16, ties to even.
func toBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// To converts a floating-point entry to another dtype, "F32", "F16" or "BF16".
// Entries of integers, and those that have the dtype, are returned as they are.
func To(e Entry, dtype string) (Entry, error) {
	switch e.DType {
	case dtype:
		return e, nil
	case "F32", "F16", "BF16", "F64":
	default:
		return e, nil
	}
	v, err := F32(e)
	if err != nil {
		return e, err
	}
	var out []byte
	switch dtype {
	case "F32":
		out = make([]byte, 0, 4*len(v))
		for _, f := range v {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(f))
		}
	case "F16":
		out = make([]byte, 0, 2*len(v))
		for _, f := range v {
			out = binary.LittleEndian.AppendUint16(out, float16.Fromfloat32(f).Bits())
		}
	case "BF16":
		out = make([]byte, 0, 2*len(v))
		for _, f := range v {
			out = binary.LittleEndian.AppendUint16(out, toBF16(f))
		}
	default:
		return e, fmt.Errorf("%s: no conversion to %q", e.Name, dtype)
	}
	e.DType, e.Data = dtype, out
	return e, nil
}
