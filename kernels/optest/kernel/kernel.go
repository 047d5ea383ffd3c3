// Package kernel launches one kernel of a room's PTX on the interpreter, with
// its sanitizer and its counters, for the tests beside the kernel. Nothing
// between the test and the kernel is the engine's.
package kernel

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/x448/float16"

	"parley/engine/cuda"
	"parley/engine/cuda/ptx"
)

// Room is a module on a machine of its own.
type Room struct {
	t   testing.TB
	m   *ptx.Machine
	mod *ptx.Module
}

// Array is memory of the machine: of that many elements of so many bytes.
type Array struct {
	addr  uint64
	n     int
	bytes int // of an element
}

// At is the array from element i on.
func (a Array) At(i int) Array {
	a.addr += uint64(i * a.bytes)
	a.n -= i
	return a
}

// Open loads the kernels of a room's op.tar.zst.
func Open(t testing.TB, image string) *Room {
	t.Helper()
	code, err := cuda.ReadImage(image)
	if err != nil {
		t.Fatal(err)
	}
	m := ptx.New(ptx.Options{Check: true, Count: true})
	mod, err := m.Load([]byte(code.PTX))
	if err != nil {
		t.Fatal(err)
	}
	return &Room{t, m, mod}
}

func (r *Room) array(data []byte, n int) Array {
	r.t.Helper()
	a := Array{n: n, bytes: len(data) / max(n, 1)}
	var err error
	if a.addr, err = r.m.Alloc(uint64(max(len(data), 1))); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.m.Free(a.addr) })
	if err = r.m.Write(a.addr, data); err != nil {
		r.t.Fatal(err)
	}
	return a
}

// New is memory that nobody has written.
func (r *Room) New(n, bytes int) Array {
	r.t.Helper()
	addr, err := r.m.Alloc(uint64(max(n*bytes, 1)))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.m.Free(addr) })
	return Array{addr, n, bytes}
}

// F16 brings values as f16, which are rounded to it in place: what the kernel
// sees is what the test computes with.
func (r *Room) F16(v []float32) Array {
	r.t.Helper()
	var b []byte
	for i := range v {
		h := float16.Fromfloat32(v[i])
		v[i] = h.Float32()
		b = binary.LittleEndian.AppendUint16(b, h.Bits())
	}
	return r.array(b, len(v))
}

// Float brings values as f16 or f32.
func (r *Room) Float(f16 bool, v []float32) Array {
	r.t.Helper()
	if f16 {
		return r.F16(v)
	}
	return r.Put(v)
}

// Put brings a slice of numbers of fixed size.
func (r *Room) Put(v any) Array {
	r.t.Helper()
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		r.t.Fatal(err)
	}
	n := len(b)
	switch v := v.(type) {
	case []float32:
		n = len(v)
	case []int32:
		n = len(v)
	case []float64:
		n = len(v)
	case []uint64:
		n = len(v)
	}
	return r.array(b, n)
}

// Get reads an array into a slice of numbers of fixed size.
func (r *Room) Get(a Array, v any) {
	r.t.Helper()
	b := make([]byte, binary.Size(v))
	if err := r.m.Read(b, a.addr); err != nil {
		r.t.Fatal(err)
	}
	if _, err := binary.Decode(b, binary.LittleEndian, v); err != nil {
		r.t.Fatal(err)
	}
}

// Floats reads an array of f16 (2 bytes an element) or f32.
func (r *Room) Floats(a Array) []float32 {
	r.t.Helper()
	out := make([]float32, a.n)
	if a.bytes == 4 {
		r.Get(a, out)
		return out
	}
	bits := make([]uint16, a.n)
	r.Get(a, bits)
	for i, h := range bits {
		out[i] = float16.Frombits(h).Float32()
	}
	return out
}

// Dim counts blocks or threads in up to three directions.
type Dim []int

func (d Dim) three() (out [3]uint32) {
	for i := range out {
		out[i] = 1
		if i < len(d) {
			out[i] = uint32(d[i])
		}
	}
	return out
}

// Run launches a kernel and waits. Arguments: Array is its address, nil a null
// pointer, int and int32 are s32, int64 is s64, float32 and float64 are what
// they are.
func (r *Room) Run(name string, grid, block Dim, shared int, args ...any) ptx.Counts {
	r.t.Helper()
	return r.run(name, ptx.Launch{Grid: grid.three(), Block: block.three(), Shared: uint32(shared)}, args)
}

// Together is Run of a kernel whose blocks wait for each other.
func (r *Room) Together(name string, grid, block Dim, shared int, args ...any) ptx.Counts {
	r.t.Helper()
	return r.run(name, ptx.Launch{Grid: grid.three(), Block: block.three(), Shared: uint32(shared), Cooperative: true}, args)
}

func (r *Room) run(name string, l ptx.Launch, args []any) ptx.Counts {
	r.t.Helper()
	f, ok := r.mod.Function(name)
	if !ok {
		r.t.Fatalf("no kernel %s", name)
	}
	params := f.Params()
	if len(params) != len(args) {
		r.t.Fatalf("%s: %d arguments for %d parameters", name, len(args), len(params))
	}
	buf := make([]byte, f.ParamBytes())
	for i, a := range args {
		var b []byte
		switch v := a.(type) {
		case Array:
			b = binary.LittleEndian.AppendUint64(nil, v.addr)
		case nil:
			b = make([]byte, 8)
		case int:
			b = binary.LittleEndian.AppendUint32(nil, uint32(int32(v)))
		case int32:
			b = binary.LittleEndian.AppendUint32(nil, uint32(v))
		case int64:
			b = binary.LittleEndian.AppendUint64(nil, uint64(v))
		case float32:
			b = binary.LittleEndian.AppendUint32(nil, math.Float32bits(v))
		case float64:
			b = binary.LittleEndian.AppendUint64(nil, math.Float64bits(v))
		default:
			r.t.Fatalf("%s: argument %d is a %T", name, i, a)
		}
		if len(b) != params[i].Size {
			r.t.Fatalf("%s: argument %d is %T, the parameter has %d bytes", name, i, a, params[i].Size)
		}
		copy(buf[params[i].Offset:], b)
	}
	if shared := int(l.Shared); shared > f.MaxDynamicShared() {
		if err := f.SetMaxDynamicShared(shared); err != nil {
			r.t.Fatal(err)
		}
	}
	r.m.ResetCounts()
	l.Params = buf
	if err := r.m.Launch(f, l); err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	counts := r.m.Counts()
	return counts[len(counts)-1]
}

// Relative is ‖a-b‖ / ‖b‖.
func Relative(a []float32, b []float64) float64 {
	var diff, sum float64
	for i, v := range b {
		d := float64(a[i]) - v
		diff += d * d
		sum += v * v
	}
	if diff == 0 {
		return 0
	}
	return math.Sqrt(diff / sum)
}

// Close fails a test where a result is too far from the one in float64: 2e-3
// for f16, 2e-6 for f32, times more.
func (r *Room) Close(name string, have []float32, want []float64, f16 bool, more float64) {
	r.t.Helper()
	if len(have) != len(want) {
		r.t.Errorf("%s: %d values, want %d", name, len(have), len(want))
		return
	}
	bound := 2e-6 * more
	if f16 {
		bound = 2e-3 * more
	}
	if e := Relative(have, want); !(e <= bound) {
		worst := 0
		for i := range want {
			if !(math.Abs(float64(have[i])-want[i]) <= math.Abs(float64(have[worst])-want[worst])) {
				worst = i
			}
		}
		r.t.Errorf("%s: relative error %.3g, at most %.3g; element %d of %d is %g, want %g", name, e, bound, worst, len(want), have[worst],
			want[worst])
	}
}

// Type is the suffix of a kernel's name.
func Type(f16 bool) string {
	if f16 {
		return "f16"
	}
	return "f32"
}

// Size is the bytes of an element.
func Size(f16 bool) int {
	if f16 {
		return 2
	}
	return 4
}

// Blocks is how many blocks of so many cover n.
func Blocks(n, size int) int { return max(1, (n+size-1)/size) }

// Normals are n normal numbers of that standard deviation.
func Normals(rng *rand.Rand, n int, deviation float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(deviation * rng.NormFloat64())
	}
	return v
}
