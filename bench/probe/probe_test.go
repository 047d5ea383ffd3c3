//go:build cuda

package probe

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"parley/engine"
	"parley/engine/cuda"
)

// TestProbe: all is read, as often as was asked for, and all is copied, with
// nothing beyond.
func TestProbe(t *testing.T) {
	d, err := cuda.Open(cuda.Options{Emulated: true, Check: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{4, 4 * 511, 4 * 5000} {
		for _, blocks := range []int{1, 3} {
			s := engine.NewStream(t.Context(), d)
			v, want := make([]int32, n), uint32(0)
			for i := range v {
				v[i] = int32(rng.Uint32())
			}
			for i := 0; i < n; i += 4 {
				want += uint32(v[i] ^ v[i+1] ^ v[i+2] ^ v[i+3])
			}
			x, y, sink := s.Put(engine.FromI32(v, n)), s.New(engine.I32, n), s.Put(engine.FromI32([]int32{0}, 1))
			Read(d, s, x, 3, blocks, sink)
			Copy(d, s, x, y, 1, blocks)
			sum, err := s.Get(sink)
			if err != nil {
				t.Fatal(err)
			}
			if have := uint32(sum.I32()[0]); have != 3*want {
				t.Errorf("%d words by %d blocks: %d, want %d", n, blocks, have, 3*want)
			}
			back, err := s.Get(y)
			if err != nil {
				t.Fatal(err)
			}
			have, err := binary.Append(nil, binary.LittleEndian, back.I32())
			all, err2 := binary.Append(nil, binary.LittleEndian, v)
			if err != nil || err2 != nil || !bytes.Equal(have, all) {
				t.Errorf("%d words by %d blocks: the copy is another", n, blocks)
			}
			s.Close()
		}
	}
}
