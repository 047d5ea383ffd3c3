package tuning

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/bench/random"
	"parley/bench/workload"
	"parley/engine"
	"parley/engine/host"
	"parley/kernels/conv"
	"parley/kernels/matmul"
	"parley/kernels/simd"
	"parley/kernels/storage"
)

// TestJudge: the own method stays, unless another is faster by more than noise.
func TestJudge(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	make := func(name string, seconds float64) *runner {
		r := &runner{name: name}
		for range 7 {
			r.rounds = append(r.rounds, seconds*(1+0.01*rng.NormFloat64()))
		}
		return r
	}
	changed := 0
	for range 100 {
		all := []*runner{make("a", 1), make("own", 1), make("b", 1.001), make("c", 0.99)}
		if judge(Shape{}, "own", all, 0.05).Winner != "own" {
			changed++
		}
		all = append(all, make("fast", 0.8))
		if f := judge(Shape{}, "own", all, 0.05); f.Winner != "fast" || f.Methods[0].Name != "fast" || f.Gain() < 0.15 || f.Gain() > 0.25 {
			t.Errorf("%+v, gain %v", f, f.Gain())
		}
	}
	if changed > 0 {
		t.Errorf("noise won %d times", changed)
	}
}

// TestMeasure: every method of the shapes of a net is timed, and took what it is
// called.
func TestMeasure(t *testing.T) {
	works, err := Works([]string{"unet", "clip-image"}, "small", 0)
	if err != nil {
		t.Fatal(err)
	}
	shapes, err := Collect(t.Context(), works)
	if err != nil {
		t.Fatal(err)
	}
	nets := map[string]bool{}
	for _, v := range shapes {
		for _, n := range v.Nets {
			nets[n] = true
		}
	}
	if len(shapes) < 10 || len(nets) != 2 || shapes[0].flops() < shapes[len(shapes)-1].flops() {
		t.Errorf("%d shapes of %v", len(shapes), nets)
	}
	i := slices.IndexFunc(shapes, func(v Shape) bool { return v.Op == "conv" && v.Dims["h"] > 4 })
	j := slices.IndexFunc(shapes, func(v Shape) bool { return v.Op == "linear" })
	found, err := Measure(t.Context(), []Shape{shapes[i], shapes[j]}, Options{Workers: 2, Precision: host.F32, Rounds: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		want := matmul.Blockings()
		if f.Op == "conv" {
			want = conv.Methods()
		}
		if len(f.Methods) != len(want) || !slices.Contains(want, f.Own) {
			t.Errorf("%+v", f)
		}
		for _, m := range f.Methods {
			if !slices.Contains(want, m.Name) || !(m.Seconds > 0) {
				t.Errorf("%s: %+v", f.key, m)
			}
		}
	}
	if matmul.Gemm(host.NewWith(host.Options{Precision: host.F32})).Format == simd.F32 && len(found) != 2 {
		t.Errorf("%d found", len(found))
	}
	if _, err := Works([]string{"unet"}, "what", 0); err == nil {
		t.Error("a preset that nobody has")
	}
	if _, err := Collect(t.Context(), []workload.Options{{Net: "loop", Preset: "small", Steps: 2, Tokens: 8}}); err == nil {
		t.Error("a loop is no net")
	}
}

// took runs a convolution of 3 x 3 and a product, and returns what the first took and
// what both gave, with the bytes of the product's panels of rows.
func took(t *testing.T, choices map[string]string) (kernel string, workspace int, y, z []float32) {
	t.Helper()
	dev := host.NewWith(host.Options{Workers: 2, Precision: host.F32, Choices: choices})
	r := &runner{s: engine.NewStream(t.Context(), dev)}
	defer r.s.Close()
	w, err := conv.Pack(dev, storage.Values(random.Normal(1, 0.1, 64, 32, 3, 3).F32()), 64, 32, 3, 3)
	if err != nil {
		t.Fatal(err)
	}
	v, err := matmul.Pack(dev, storage.Values(random.Normal(2, 0.1, 96, 40).F32()), 96, 40)
	if err != nil {
		t.Fatal(err)
	}
	x := r.s.Put(random.Normal(3, 1, 1, 32, 32, 32))
	r.run = func(s *engine.Stream) *engine.Tensor { return conv.Conv2D(s, x, w, conv.Options{Pad: conv.Same(3)}) }
	a, err := r.s.Get(r.run(r.s))
	if err != nil {
		t.Fatal(err)
	}
	var panels panels
	left := r.s.Put(random.Normal(4, 1, 300, 40))
	r.s.Watch(&panels, nil)
	b, err := r.s.Get(matmul.Linear(r.s, left, v, matmul.Epilogue{}))
	r.s.Watch(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.once(); err != nil {
		t.Fatal(err)
	}
	return r.took, int(panels), a.F32(), b.F32()
}

// panels is the workspace of a product.
type panels int

func (p *panels) Record(s engine.Span) {
	if s.Op == "linear" {
		*p = panels(s.Workspace)
	}
}

// TestChoices: a device takes what is chosen for a shape, and its own way elsewhere;
// blocks change no bit, and what is no choice nothing.
func TestChoices(t *testing.T) {
	if matmul.Gemm(host.NewWith(host.Options{Precision: host.F32})).Format != simd.F32 {
		t.Skip("this CPU's convolutions are plain sums of bfloat16")
	}
	own, bytes, y, z := took(t, nil)
	for _, method := range conv.Methods() {
		kernel, _, _, _ := took(t, map[string]string{conv.Key(32, 32, 32, 64): method})
		if method == "sum" && strings.Contains(kernel, "winograd") || method != "sum" && kernel != method {
			t.Errorf("%s takes %s", method, kernel)
		}
	}
	for _, choices := range []map[string]string{{conv.Key(32, 32, 32, 65): "sum"}, {conv.Key(32, 32, 32, 64): "magic"},
		{matmul.Key(40, 96): "blocks 4x512"}, {matmul.Key(40, 96): "blocks 0x-3"}, {matmul.Key(40, 96): "blocks"}} {
		kernel, bytes2, y2, z2 := took(t, choices)
		if blocks := choices[matmul.Key(40, 96)] == "blocks 4x512"; blocks != (bytes2 < bytes) {
			t.Errorf("%v: panels of %d bytes, without a choice %d", choices, bytes2, bytes)
		}
		if kernel != own || !slices.Equal(y, y2) || !slices.Equal(z, z2) {
			t.Errorf("%v: takes %s instead of %s, or gives other numbers", choices, kernel, own)
		}
	}
}

// TestTable: a table is read on its machine, and refused on another or of another
// version, as no table is.
func TestTable(t *testing.T) {
	m := MachineOf(host.NewWith(host.Options{Workers: 2}))
	found := []Found{{Shape: Shape{key: "a"}, Own: "x", Winner: "sum"}, {Shape: Shape{key: "a"}, Own: "x", Winner: "z"},
		{Shape: Shape{key: "b"}, Own: "x", Winner: "x"}, {Shape: Shape{key: "b"}, Own: "x", Winner: "y"}}
	table := Choose(m, found)
	if len(table.Choices) != 1 || table.Choices["a"] != "sum" {
		t.Errorf("%+v", table)
	}
	path := filepath.Join(t.TempDir(), "t.json")
	write := func(v any) {
		t.Helper()
		data, err := json.Marshal(v)
		if err == nil {
			err = os.WriteFile(path, data, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(table)
	if c, err := Read(path, m); err != nil || c["a"] != "sum" {
		t.Errorf("%v, %v", c, err)
	}
	var stale *StaleError
	other := m
	other.Threads++
	if _, err := Read(path, other); !errors.As(err, &stale) || !strings.Contains(err.Error(), "3 threads") {
		t.Errorf("another machine: %v", err)
	}
	table.Version++
	write(table)
	if _, err := Read(path, m); !errors.As(err, &stale) || !strings.Contains(err.Error(), "version") {
		t.Errorf("another version: %v", err)
	}
	table.Version--
	unknown, nowhere := table, table
	unknown.Choices, nowhere.Machine = map[string]string{"a": "magic"}, Machine{}
	for _, v := range []any{3, map[string]int{}, []string{}, unknown, nowhere} {
		write(v)
		if _, err := Read(path, m); err == nil || errors.As(err, &stale) {
			t.Errorf("%v: %v", v, err)
		}
	}
}

// TestWrite: a winner is named where it is not the device's own method, and no line is
// longer than the table.
func TestWrite(t *testing.T) {
	found := []Found{
		{Shape: Shape{Op: "conv", key: "conv3x3 64x64 320>320", Uses: 4}, Own: "winograd f4", Winner: "winograd f6",
			Methods: []Method{{"winograd f6", 0.001}, {"winograd f4", 0.002}, {"sum", 0.004}}},
		{Shape: Shape{Op: "linear", key: "product 320>960", Uses: 8, Dims: map[string]int{"m": 4096}}, Own: "blocks 8x1024",
			Winner: "blocks 8x1024", Methods: []Method{{"blocks 8x1024", 0.003}, {"blocks 8x512", 0.003}}},
	}
	var b strings.Builder
	if err := Write(&b, found, 84); err != nil {
		t.Fatal(err)
	}
	const want = `  uses     own method  time       winner    gain  operation
     4    winograd f4  2 ms  winograd f6  50.0 %  conv3x3 64x64 320>320
     8  blocks 8x1024  3 ms                       product 320>960, 4096 rows
`
	if have := b.String(); have != want {
		t.Errorf("\n%swant\n%s", have, want)
	}
}

// TestSeveralNets: what runs more than one net is refused with the names of those that are
// one.
func TestSeveralNets(t *testing.T) {
	works, err := Works([]string{"blip-generate"}, "small", 0)
	if err == nil {
		_, err = Collect(t.Context(), works)
	}
	if err == nil || !strings.Contains(err.Error(), "blip-vision, clip-image") || strings.Contains(err.Error(), "such as blip-generate") {
		t.Errorf("%v", err)
	}
}
