//go:build cuda

package matmul_test

import (
	"testing"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/cuda/ptx"
	"parley/kernels/matmul"
)

// TestPackPlacesParts: rows that are brought to a GPU in parts are whole, each with
// zeros behind it.
func TestPackPlacesParts(t *testing.T) {
	for _, float := range []engine.DType{engine.F16, engine.F32} {
		d, err := cuda.Emulate(ptx.New(ptx.Options{}), float)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		const out, in, wide = 1100, 1003, 1008
		r := &reads{elems: out * in}
		w, err := matmul.Pack(d, r, out, in)
		if err != nil {
			t.Fatal(err)
		}
		if r.most >= out*in {
			t.Errorf("%v: all %d elements at once", float, r.most)
		}
		if w.Bytes() != w.Rows().Bytes() || w.Format.String() != float.String() {
			t.Errorf("%v: %d bytes of %v, %d are taken", float, w.Bytes(), w.Format, w.Rows().Bytes())
		}
		s := engine.NewStream(t.Context(), d)
		defer s.Close()
		h, err := s.Get(w.Rows())
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range h.F32() {
			want := float32(0)
			if k := i % wide; k < in {
				want = float32((i/wide*in + k) % 2039)
			}
			if v != want {
				t.Fatalf("%v: element %d is %v, want %v", float, i, v, want)
			}
		}
	}
}
