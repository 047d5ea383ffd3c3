// Package optest is what every device has to pass: one suite for each
// operation, against loops in float64 that say what the operation means.
package optest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
)

// bounds are on |a-b| / |b| of an operation's result, by the type of the
// device's activations. The inputs are rounded to that type beforehand.
var bounds = map[engine.DType]float64{engine.F32: 2e-6, engine.F16: 2e-3}

// fastBounds are on products where the CPU may choose its method: by Winograd's
// transforms or with factors kept as pairs of bfloat16 (simd.BF16x3), and with
// factors rounded to bfloat16.
var fastBounds = map[host.Precision]float64{host.F32: 1e-5, host.Fast: 1e-2}

// exact reports whether a device sums as an operation is written.
func exact(d engine.Device) bool {
	h, ok := host.On(d)
	return !ok || h.Precision() == host.Exact
}

// Host runs a suite on the CPU: with one worker and with three, at the
// precisions f32 and fast, and once more at each lower instruction set, which takes a
// process of its own.
func Host(t *testing.T, suite func(*testing.T, engine.Device)) {
	HostWith(t, suite, host.Options{Workers: 1}, host.Options{Workers: 3}, host.Options{Workers: 2, Precision: host.F32}, host.Options{Workers: 2, Precision: host.Fast})
}

// HostWith is Host for these options.
func HostWith(t *testing.T, suite func(*testing.T, engine.Device), options ...host.Options) {
	for _, o := range options {
		t.Run(fmt.Sprintf("%v/%d", o.Precision, o.Workers), func(t *testing.T) { suite(t, host.NewWith(o)) })
	}
	if os.Getenv("PARLEY_SIMD") != "" {
		return
	}
	for level := simd.Go; level < simd.Active(); level++ {
		t.Run(level.String(), func(t *testing.T) {
			verbose := fmt.Sprintf("-test.v=%t", testing.Verbose())
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+strings.Split(t.Name(), "/")[0]+"$", verbose)
			cmd.Env = append(os.Environ(), "PARLEY_SIMD="+level.String())
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
				return
			}
			for line := range strings.Lines(string(out)) {
				if i := strings.Index(line, "worst"); i >= 0 {
					t.Log(strings.TrimSpace(line[i:]))
				}
			}
		})
	}
}

// suite runs cases and remembers the worst.
type suite struct {
	*testing.T
	dev   engine.Device
	bound float64
	rng   *rand.Rand
	worst float64
	at    string
	cases int
}

func start(t *testing.T, dev engine.Device) *suite {
	u := &suite{T: t, dev: dev, bound: bounds[dev.Float()], rng: rand.New(rand.NewPCG(1, 2))}
	// Scratch, too, is to be written before it is read.
	for n := 1 << 10; n <= 1<<18; n += n / 8 {
		u.poison(n, n)
	}
	t.Cleanup(func() {
		t.Logf("worst of %d cases: %.2g (%s)", u.cases, u.worst, u.at)
	})
	return u
}

// products is start for operations that multiply matrices.
func products(t *testing.T, dev engine.Device) *suite {
	u := start(t, dev)
	if h, ok := host.On(dev); ok && h.Precision() != host.Exact {
		u.bound = fastBounds[h.Precision()]
	}
	return u
}

// random is a host tensor of normal values that the device's activations can
// have.
func (u *suite) random(dims ...int) *engine.Tensor {
	x := make([]float32, engine.Shape(dims).Elems())
	for i := range x {
		x[i] = float32(u.rng.NormFloat64())
	}
	return u.round(engine.FromF32(x, dims...))
}

// round makes a host tensor's values such as the device's activations can have.
func (u *suite) round(x *engine.Tensor) *engine.Tensor {
	return engine.Convert(engine.F32, engine.Convert(u.dev.Float(), x))
}

// exact is what the bound is multiplied with where values are only moved.
func (u *suite) exact() float64 { return 1e-9 / u.bound }

// put brings a tensor to the device; nil stays nil.
func put(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	if x == nil {
		return nil
	}
	return s.Put(x)
}

// vector brings what belongs to channels to the device; nil stays nil.
func vector(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	if x == nil {
		return nil
	}
	return s.PutAs(engine.F32, x)
}

// ids brings row numbers to the device.
func ids(s *engine.Stream, v []int32, dims ...int) *engine.Tensor {
	return s.Put(engine.FromI32(v, dims...))
}

// must is for weights, which have room in a test.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// poison fills blocks of the device with NaN and gives them back: an
// operation that reads what nobody wrote will show it.
func (u *suite) poison(elems ...int) {
	s := engine.NewStream(u.Context(), u.dev)
	var blocks []*engine.Tensor
	for _, n := range elems {
		b := s.New(engine.F32, n)
		nan := make([]byte, 0, 4*n)
		for range n {
			nan = binary.LittleEndian.AppendUint32(nan, math.Float32bits(float32(math.NaN())))
		}
		if s.Err() == nil {
			s.Fail(u.dev.Upload(b, nan))
		}
		blocks = append(blocks, b)
	}
	s.Free(blocks...)
	if err := s.Err(); err != nil {
		u.Fatal(err)
	}
}

// result is what an operation has to give.
type result struct {
	dims engine.Shape
	v    []float64
}

func zeros(dims ...int) result {
	return result{append(engine.Shape(nil), dims...), make([]float64, engine.Shape(dims).Elems())}
}

// want runs an operation and compares; more is what the bound is multiplied
// with where the operation's inputs ask for it.
func (u *suite) want(name string, want result, more float64, op func(*engine.Stream) *engine.Tensor) {
	u.Helper()
	u.cases++
	u.poison(len(want.v), len(want.v))
	s := engine.NewStream(u.Context(), u.dev)
	y := op(s)
	have, err := s.Get(y)
	if err != nil {
		u.Errorf("%s: %v", name, err)
		return
	}
	if !have.Shape().Equal(want.dims) {
		u.Errorf("%s: shape %v, want %v", name, have.Shape(), want.dims)
		return
	}
	e := relative(values(have), want.v)
	if u.dev.Float() == engine.F16 && e <= grain(want.v) {
		e = 0
	}
	if !(e <= u.bound*more) {
		u.Errorf("%s: relative error %.3g, want at most %.3g", name, e, u.bound*more)
	}
	if e /= more; !(e <= u.worst) {
		u.worst, u.at = e, name
	}
	s.Free(y)
}

// values are a result's, those of bytes as numbers.
func values(t *engine.Tensor) []float32 {
	if t.DType() != engine.U8 {
		return t.F32()
	}
	v := make([]float32, t.Elems())
	for i, b := range t.U8() {
		v[i] = float32(b)
	}
	return v
}

// grain is the rounding of f16 where its steps are of one size, 2^-24: below
// its smallest normal number a relative error says nothing of the operation.
func grain(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x * x
	}
	if sum == 0 {
		return 0
	}
	return 0x1p-25 * math.Sqrt(float64(len(v))/sum)
}

func relative(a []float32, b []float64) float64 {
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

// norm2 is ‖x‖.
func norm2(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	return math.Sqrt(sum)
}

// refusal is a call that has to end in an error and not in a fault.
type refusal struct {
	name, want string
	op         func(*engine.Stream) *engine.Tensor
}

func (u *suite) refuses(list []refusal) {
	u.Helper()
	for _, r := range list {
		s := engine.NewStream(u.Context(), u.dev)
		s.Enter("net")
		y := r.op(s)
		err := s.Err()
		if err == nil || !strings.Contains(err.Error(), r.want) {
			u.Errorf("%s: have %v, want %s", r.name, err, r.want)
		}
		if y == nil {
			u.Errorf("%s: no tensor to go on with", r.name)
		}
	}
}

// epilogue is act(v + bias) + residual; v ends with the bias' dimension.
func epilogue(v []float64, bias *engine.Tensor, act matmul.Act, residual *engine.Tensor) {
	for i := range v {
		if bias != nil {
			b := bias.F32()
			v[i] += float64(b[i%len(b)])
		}
		v[i] = activation(act, v[i])
		if residual != nil {
			v[i] += float64(residual.F32()[i])
		}
	}
}

func activation(a matmul.Act, x float64) float64 {
	switch a {
	case matmul.SiLU:
		return x / (1 + math.Exp(-x))
	case matmul.GELU:
		return x / 2 * math.Erfc(-x/math.Sqrt2)
	case matmul.QuickGELU:
		return x / (1 + math.Exp(-1.702*x))
	case matmul.GELUTanh:
		return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	case matmul.Tanh:
		return math.Tanh(x)
	}
	return x
}

var acts = []struct {
	name string
	act  matmul.Act
}{{"none", matmul.None}, {"silu", matmul.SiLU}, {"gelu", matmul.GELU}, {"quick_gelu", matmul.QuickGELU}, {"gelu_tanh", matmul.GELUTanh}, {"tanh", matmul.Tanh}}
