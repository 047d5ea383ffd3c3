package weights

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"unsafe"

	"github.com/x448/float16"

	"parley/engine"
	"parley/kernels/simd"
	"parley/weights/safetensors"
)

// isFloat reports whether a dtype's elements are numbers that F32 reads.
func isFloat(dtype string) bool {
	switch dtype {
	case "F32", "F16", "BF16", "F64":
		return true
	}
	_, ok := float8s[dtype]
	return ok
}

// float8s are the formats of eight bits, by exponent bits and bias. Those of
// "FN" have no infinities: all bits set are NaN, in those of "FNUZ" the bits of
// -0 are (arXiv 2209.05433; torch's float8 types).
var float8s = map[string]struct {
	exponent, bias int
	infinite, fnuz bool
}{
	"F8_E4M3":     {4, 7, false, false},
	"F8_E5M2":     {5, 15, true, false},
	"F8_E4M3FNUZ": {4, 8, false, true},
	"F8_E5M2FNUZ": {5, 16, false, true},
}

// float8 are the values of the 256 patterns of a format.
func float8(dtype string) (table [256]float32) {
	f := float8s[dtype]
	mantissa := 7 - f.exponent
	for b := range table {
		e, m := b>>mantissa&(1<<f.exponent-1), b&(1<<mantissa-1)
		v := math.Ldexp(float64(m), 1-f.bias-mantissa)
		if e > 0 {
			v = math.Ldexp(float64(m+1<<mantissa), e-f.bias-mantissa)
		}
		switch {
		case f.fnuz && b == 0x80, !f.fnuz && !f.infinite && b&0x7f == 0x7f, f.infinite && e == 31 && m > 0:
			v = math.NaN()
		case f.infinite && e == 31:
			v = math.Inf(1)
		}
		if b >= 0x80 {
			v = math.Copysign(v, -1)
		}
		table[b] = float32(v)
	}
	return table
}

// source is an entry as kernels pack it.
type source struct{ e Entry }

// Name implements storage.Source, as do the others.
func (s source) Name() string { return s.e.Name }

// DType is the file's.
func (s source) DType() string { return s.e.DType }

// Shape is the file's.
func (s source) Shape() engine.Shape { return s.e.Shape }

// F32 converts a part of the tensor, which readable has looked at.
func (s source) F32(dst []float32, at int) error {
	part, width := s.e, safetensors.Width(s.e.DType)
	part.Data = part.Data[at*width : (at+len(dst))*width]
	return safetensors.Reading(part.File, func() error { return toF32(dst, part) })
}

// readable fails where F32 would, whatever becomes of the file.
func readable(e Entry) error {
	if err := fills(e); err != nil {
		return err
	}
	if !isFloat(e.DType) && e.Shape.Elems() > 0 {
		return fmt.Errorf("%s: have %s, want a floating-point tensor%s", e.Name, e.DType, in(e.File))
	}
	return nil
}

// F32 converts an entry to f32, a copy.
func F32(e Entry) ([]float32, error) {
	if err := readable(e); err != nil {
		return nil, err
	}
	out := make([]float32, e.Shape.Elems())
	if err := safetensors.Reading(e.File, func() error { return toF32(out, e) }); err != nil {
		return nil, err
	}
	return out, nil
}

// fills fails where an entry has not the bytes that its shape takes.
func fills(e Entry) error {
	size, ok := safetensors.Size(e.DType, e.Shape)
	if !ok || safetensors.Width(e.DType) == 0 || size != len(e.Data) {
		return fmt.Errorf("%s: %s %v does not fill %d bytes%s", e.Name, e.DType, e.Shape, len(e.Data), in(e.File))
	}
	return nil
}

// toF32 converts as many elements of e, which is readable, as out has.
func toF32(out []float32, e Entry) error {
	if len(out) == 0 {
		return nil
	}
	d := e.Data
	aligned := func(n uintptr) bool { return littleEndian && uintptr(unsafe.Pointer(&d[0]))%n == 0 }
	switch e.DType {
	case "F32":
		if aligned(4) {
			copy(out, unsafe.Slice((*float32)(unsafe.Pointer(&d[0])), len(out)))
			return nil
		}
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(d[4*i:]))
		}
	case "F16":
		if aligned(2) {
			simd.FromF16(out, unsafe.Slice((*uint16)(unsafe.Pointer(&d[0])), len(out)))
			return nil
		}
		for i := range out {
			out[i] = float16.Frombits(binary.LittleEndian.Uint16(d[2*i:])).Float32()
		}
	case "BF16":
		if aligned(2) {
			simd.FromBF16(out, unsafe.Slice((*uint16)(unsafe.Pointer(&d[0])), len(out)))
			return nil
		}
		for i := range out {
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(d[2*i:])) << 16)
		}
	case "F64":
		for i := range out {
			out[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(d[8*i:])))
		}
	default:
		table := float8(e.DType)
		for i := range out {
			out[i] = table[d[i]]
		}
	}
	return nil
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

// Convertible fails where WriteAs would.
func Convertible(e Entry, dtype string) error {
	if e.DType != dtype && !isFloat(e.DType) {
		return fmt.Errorf("%s: have %s, which is not converted to %s (a quantised checkpoint?)%s", e.Name, e.DType, dtype, in(e.File))
	}
	switch dtype {
	case "F32", "F16", "BF16":
		return fills(e)
	}
	return fmt.Errorf("%s: no conversion to %q", e.Name, dtype)
}

// chunk is how many elements WriteAs converts at a time.
const chunk = 1 << 20

// WriteAs writes the elements of a floating-point entry as another dtype, "F32",
// "F16" or "BF16", rounded to the nearest.
func WriteAs(w io.Writer, e Entry, dtype string) error {
	if err := Convertible(e, dtype); err != nil {
		return err
	}
	width, n := safetensors.Width(e.DType), e.Shape.Elems()
	values := make([]float32, min(chunk, n))
	out := make([]byte, 0, len(values)*safetensors.Width(dtype))
	for lo := 0; lo < n; lo += chunk {
		now := values[:min(chunk, n-lo)]
		part := e
		part.Data = e.Data[lo*width : (lo+len(now))*width]
		if err := safetensors.Reading(e.File, func() error { return toF32(now, part) }); err != nil {
			return err
		}
		out = out[:0]
		for _, f := range now {
			switch dtype {
			case "F32":
				out = binary.LittleEndian.AppendUint32(out, math.Float32bits(f))
			case "F16":
				out = binary.LittleEndian.AppendUint16(out, float16.Fromfloat32(f).Bits())
			default:
				out = binary.LittleEndian.AppendUint16(out, toBF16(f))
			}
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
	}
	return nil
}
