package ptx

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
)

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// load loads a PTX file of testdata into a machine.
func loadFile(t testing.TB, m *Machine, name string) *Module {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	must(t, err)
	mod, err := m.Load(text)
	must(t, err)
	return mod
}

func kernel(t testing.TB, mod *Module, name string) *Function {
	t.Helper()
	f, ok := mod.Function(name)
	if !ok {
		t.Fatalf("no kernel %s", name)
	}
	return f
}

// upload puts data (a slice of fixed-size values) into a new allocation.
func upload(t testing.TB, m *Machine, data any) uint64 {
	t.Helper()
	b, err := binary.Append(nil, binary.LittleEndian, data)
	must(t, err)
	addr, err := m.Alloc(uint64(len(b)))
	must(t, err)
	must(t, m.Write(addr, b))
	return addr
}

// download fills data from the device.
func download(t testing.TB, m *Machine, addr uint64, data any) {
	t.Helper()
	b := make([]byte, binary.Size(data))
	must(t, m.Read(b, addr))
	_, err := binary.Decode(b, binary.LittleEndian, data)
	must(t, err)
}

// args lays parameters out as a kernel wants them.
func args(t testing.TB, f *Function, vals ...any) []byte {
	t.Helper()
	b := make([]byte, f.ParamBytes())
	if len(vals) != len(f.Params()) {
		t.Fatalf("%s has %d parameters", f.Name(), len(f.Params()))
	}
	for i, p := range f.Params() {
		switch v := vals[i].(type) {
		case int:
			putUint(b[p.Offset:], uint64(p.Size), uint64(v))
		case uint64:
			putUint(b[p.Offset:], uint64(p.Size), v)
		case uint32:
			putUint(b[p.Offset:], uint64(p.Size), uint64(v))
		case float32:
			putUint(b[p.Offset:], 4, uint64(math.Float32bits(v)))
		default:
			t.Fatalf("argument of type %T", v)
		}
	}
	return b
}

func TestAxpy(t *testing.T) {
	for _, check := range []bool{false, true} {
		m := New(Options{Check: check})
		f := kernel(t, loadFile(t, m, "vecadd.ptx"), "axpy")
		for _, n := range []int{1, 31, 32, 33, 1000} {
			x, y := make([]float32, n), make([]float32, n)
			for i := range x {
				x[i], y[i] = float32(i)*0.5, float32(-i)
			}
			px, py := upload(t, m, x), upload(t, m, y)
			pz, err := m.Alloc(uint64(4 * n))
			must(t, err)
			must(t, m.Launch(f, Launch{Grid: [3]uint32{uint32(n+127) / 128}, Block: [3]uint32{128}, Params: args(t, f, pz, px, py, float32(3), n)}))
			z := make([]float32, n)
			download(t, m, pz, z)
			for i := range z {
				if want := 3*x[i] + y[i]; z[i] != want {
					t.Fatalf("n %d: z[%d] = %v, want %v", n, i, z[i], want)
				}
			}
			for _, p := range []uint64{px, py, pz} {
				must(t, m.Free(p))
			}
		}
		if l := m.Allocations(); len(l) != 0 {
			t.Errorf("left over: %v", l)
		}
	}
}

func TestBlockSum(t *testing.T) {
	for _, check := range []bool{false, true} {
		m := New(Options{Check: check})
		f := kernel(t, loadFile(t, m, "vecadd.ptx"), "sum")
		for _, n := range []int{1, 255, 1000} {
			x := make([]uint16, n)
			want := 0.0
			for i := range x {
				x[i] = uint16(floatF16(float32(i % 64)))
				want += float64(i % 64)
			}
			px := upload(t, m, x)
			out, err := m.Alloc(4)
			must(t, err)
			must(t, m.Launch(f, Launch{Block: [3]uint32{256}, Params: args(t, f, out, px, n)}))
			var got [1]float32
			download(t, m, out, got[:])
			if float64(got[0]) != want {
				t.Errorf("check %v, n %d: %v, want %v", check, n, got[0], want)
			}
		}
	}
}

func TestDivergentLoops(t *testing.T) {
	m := New(Options{Check: true})
	f := kernel(t, loadFile(t, m, "vecadd.ptx"), "collatz")
	const n = 1000
	p, err := m.Alloc(4 * n)
	must(t, err)
	must(t, m.Launch(f, Launch{Grid: [3]uint32{8}, Block: [3]uint32{128}, Params: args(t, f, p, n)}))
	got := make([]int32, n)
	download(t, m, p, got)
	for i, g := range got {
		want := int32(0)
		for v := i + 1; v != 1; want++ {
			if v%2 == 1 {
				v = 3*v + 1
			} else {
				v /= 2
			}
		}
		if g != want {
			t.Fatalf("steps of %d: %d, want %d", i+1, g, want)
		}
	}
}

// runGemm runs testdata/gemm.cu on random matrices and compares it with float64.
func runGemm(t testing.TB, m *Machine, M, N, K int) {
	f := kernel(t, loadFile(t, m, "gemm.ptx"), "gemm")
	rng := rand.New(rand.NewSource(1))
	matrix := func(n int) ([]uint16, []float64) {
		h, v := make([]uint16, n), make([]float64, n)
		for i := range h {
			x := float32(rng.Intn(2001)-1000) / 1024 // exact in f16
			h[i], v[i] = uint16(floatF16(x)), float64(x)
		}
		return h, v
	}
	ha, a := matrix(M * K)
	hb, b := matrix(N * K)
	pa, pb := upload(t, m, ha), upload(t, m, hb)
	pc, err := m.Alloc(uint64(4 * M * N))
	must(t, err)
	grid := [3]uint32{uint32(N+63) / 64, uint32(M+63) / 64}
	must(t, m.Launch(f, Launch{Grid: grid, Block: [3]uint32{128}, Params: args(t, f, pc, pa, pb, M, N, K)}))
	c := make([]float32, M*N)
	download(t, m, pc, c)
	for i := range M {
		for j := range N {
			want, size := 0.0, 0.0
			for k := range K {
				p := a[i*K+k] * b[j*K+k]
				want += p
				size += math.Abs(p)
			}
			if got := float64(c[i*N+j]); math.Abs(got-want) > size*1e-6 {
				t.Fatalf("C[%d,%d] = %v, want %v", i, j, got, want)
			}
		}
	}
}

func TestGemm(t *testing.T) {
	for _, s := range [][3]int{{64, 64, 32}, {64, 64, 64}, {128, 64, 96}, {1, 1, 8}, {65, 70, 40}} {
		for _, check := range []bool{false, true} {
			t.Run(fmt.Sprintf("%dx%dx%d check %v", s[0], s[1], s[2], check), func(t *testing.T) {
				m := New(Options{Check: check, Count: true})
				runGemm(t, m, s[0], s[1], s[2])
				c := m.Counts()[0]
				if c.SharedLoad.Conflicts() != 0 || c.SharedStore.Conflicts() != 0 {
					t.Errorf("bank conflicts: %+v %+v", c.SharedLoad, c.SharedStore)
				}
				blocks := (s[0] + 63) / 64 * ((s[1] + 63) / 64)
				if want := uint64(blocks * 2 * 64 * 64 * ((s[2] + 31) / 32 * 32)); c.MMAFLOPs != want {
					t.Errorf("%d mma FLOPs, want %d", c.MMAFLOPs, want)
				}
			})
		}
	}
}

func BenchmarkGemm(b *testing.B) {
	m := New(Options{Workers: 1})
	f := kernel(b, loadFile(b, m, "gemm.ptx"), "gemm")
	const n = 256
	h := make([]uint16, n*n)
	for i := range h {
		h[i] = uint16(floatF16(float32(i%100) / 100))
	}
	pa, pb := upload(b, m, h), upload(b, m, h)
	pc, err := m.Alloc(4 * n * n)
	must(b, err)
	l := Launch{Grid: [3]uint32{n / 64, n / 64}, Block: [3]uint32{128}, Params: args(b, f, pc, pa, pb, n, n, n)}
	for b.Loop() {
		must(b, m.Launch(f, l))
	}
	b.ReportMetric(2*n*n*n*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOPS")
}
