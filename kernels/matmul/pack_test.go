package matmul_test

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/conv"
	"parley/kernels/matmul"
	"parley/kernels/simd"
	"parley/kernels/storage"
)

// reads is a source whose element i is i modulo 2039, and that remembers the largest read.
type reads struct {
	elems int
	fail  int // the element that cannot be read, from 1 on
	mu    sync.Mutex
	most  int
}

func (r *reads) Name() string        { return "net.weight" }
func (r *reads) DType() string       { return "F32" }
func (r *reads) Shape() engine.Shape { return engine.Shape{r.elems} }

var errGone = errors.New("the disk is gone")

func (r *reads) F32(dst []float32, at int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.most = max(r.most, len(dst))
	if r.fail > at && r.fail <= at+len(dst) {
		return errGone
	}
	for i := range dst {
		dst[i] = float32((at + i) % 2039)
	}
	return nil
}

// TestPackReadsParts: what is packed a part at a time is what is packed at once, in
// each format, and no part is the whole.
func TestPackReadsParts(t *testing.T) {
	for _, precision := range []host.Precision{host.Exact, host.F32, host.Fast} {
		d := host.NewWith(host.Options{Workers: 2, Precision: precision})
		for _, f := range []simd.Format{simd.F32, simd.BF16x3, simd.BF16} {
			g := simd.Gemm(f)
			const out, in = 1037, 1003
			r := &reads{elems: out * in}
			w, err := matmul.PackFor(d, g, r, out, in)
			if err != nil {
				t.Fatal(err)
			}
			if r.most > out*in/3 {
				t.Errorf("%v: a part of %d elements of %d", f, r.most, out*in)
			}
			whole := make([]float32, out*in)
			if err := r.F32(whole, 0); err != nil {
				t.Fatal(err)
			}
			want := make([]float32, g.SizeB(in, out))
			g.PackBT(want, whole, in, out, in)
			for p := range (out + g.NR - 1) / g.NR {
				for i, v := range w.Panel(p) {
					if math.Float32bits(v) != math.Float32bits(want[p*g.LenB(in)+i]) {
						t.Fatalf("%v: panel %d has %v at %d, want %v", f, p, v, i, want[p*g.LenB(in)+i])
					}
				}
			}
			if w.Bytes() != 4*len(want) || w.Format.String() != f.String() {
				t.Errorf("%v: %d bytes of %v, want %d", f, w.Bytes(), w.Format, 4*len(want))
			}
		}
	}
}

// TestPackFails: a source that breaks off, or has another size, is an error.
func TestPackFails(t *testing.T) {
	d := host.New(2)
	if _, err := matmul.Pack(d, &reads{elems: 1 << 20, fail: 1 << 19}, 1<<10, 1<<10); !errors.Is(err, errGone) {
		t.Errorf("%v, want %v", err, errGone)
	}
	if _, err := conv.Pack(d, &reads{elems: 9 << 12, fail: 77}, 1<<6, 1<<6, 3, 3); !errors.Is(err, errGone) {
		t.Errorf("%v, want %v", err, errGone)
	}
	for _, dev := range []engine.Device{d, engine.DryRun{}} {
		if _, err := matmul.Pack(dev, &reads{elems: 15}, 4, 4); err == nil || !strings.Contains(err.Error(), "net.weight: F32 [15]") {
			t.Errorf("15 elements for 4 x 4: %v", err)
		}
	}
}

// TestSources: a part of what lies one behind the other may begin and end in any.
func TestSources(t *testing.T) {
	c := storage.Concat{storage.Values{0, 1, 2}, storage.Values{}, storage.Values{3}, storage.Values{4, 5, 6, 7}}
	for at := range 8 {
		for n := range 9 - at {
			part := make([]float32, n)
			if err := c.F32(part, at); err != nil {
				t.Fatal(err)
			}
			for i, v := range part {
				if v != float32(at+i) {
					t.Errorf("%d from %d on: %v", n, at, part)
				}
			}
		}
	}
	if n := c.Shape().Elems(); n != 8 {
		t.Errorf("%d elements", n)
	}
}
