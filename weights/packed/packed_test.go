package packed

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 2, 3, 7, 8, 1000, 100_001} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(rng.Uint32())
			if i%2 == 1 {
				data[i] %= 3
			}
		}
		for width := 1; width <= 8; width++ {
			p, err := Pack(data, width)
			if err != nil {
				t.Fatal(err)
			}
			if !Is(p) || n == 100_001 && width == 2 && len(p) > n*65/100 {
				t.Errorf("%d bytes of width %d take %d", n, width, len(p))
			}
			if back, err := Unpack(p); err != nil || !bytes.Equal(back, data) {
				t.Errorf("%d bytes of width %d come back as %d: %v", n, width, len(back), err)
			}
		}
	}
	if _, err := Pack(nil, 0); err == nil {
		t.Error("a width of 0 is taken")
	}
}

// What others compressed has no planes, and what was made to fill memory is
// refused.
func TestOthers(t *testing.T) {
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	plain := []byte("eight bytes and a header, not shuffled")
	if back, err := Unpack(z.EncodeAll(plain, nil)); err != nil || !bytes.Equal(back, plain) {
		t.Errorf("%q: %v", back, err)
	}
	bomb := z.EncodeAll(make([]byte, 64<<20), nil)
	if _, err := Unpack(bomb); err == nil || !strings.Contains(err.Error(), "more than 64 times") {
		t.Errorf("%d bytes that stand for 64 MiB: %v", len(bomb), err)
	}
	for _, bad := range []string{"shuffle", "shuffle\x00abc", "shuffle\x09abc"} {
		if _, err := Unpack(z.EncodeAll([]byte(bad), nil)); err == nil || !strings.Contains(err.Error(), "width") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	p, err := Pack([]byte("some bytes of weights"), 2)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Add([]byte(frame))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := Unpack(data)
		if err == nil && len(out) > most*len(data)+1<<20 {
			t.Errorf("%d bytes of %d", len(out), len(data))
		}
	})
}
