//go:build cuda

package conv_test

import (
	"math"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/conv"
	"parley/kernels/optest"
	"parley/kernels/storage"
)

func TestConv2DEmulated(t *testing.T) { optest.Emulated(t, optest.Conv2D) }

func TestDependent(t *testing.T) {
	optest.Dependent(t, image, func(s *engine.Stream) {
		x := s.Put(engine.FromF32(make([]float32, 6*5*8), 1, 6, 5, 8))
		w, err := conv.Pack(s.Device(), storage.Values(make([]float32, 8*8*9)), 8, 8, 3, 3)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			x = conv.Conv2D(s, x, w, conv.Options{Pad: conv.Same(3)})
		}
	})
}

// TestLongest: the longest side that the kernels have a number for is convolved to its
// end, and a longer one is refused.
func TestLongest(t *testing.T) {
	const c = 8
	values := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(i%7 - 3)
		}
		return v
	}
	convolve := func(d engine.Device, side int, o conv.Options) ([]float32, error) {
		s := engine.NewStream(t.Context(), d)
		defer s.Close()
		w, err := conv.Pack(d, storage.Values(values(c*c*3)), c, c, 1, 3)
		if err != nil {
			t.Fatal(err)
		}
		y, err := s.Get(conv.Conv2D(s, s.Put(engine.FromF32(values(side*c), 1, 1, side, c)), w, o))
		if err != nil {
			return nil, err
		}
		return y.F32(), nil
	}
	gpu, cpu := optest.GPU(t, false), host.New(1)
	o := conv.Options{Pad: conv.Pad{Right: 1}}
	have, err := convolve(gpu, math.MaxInt16-1, o)
	if err != nil {
		t.Fatal(err)
	}
	want, err := convolve(cpu, math.MaxInt16-1, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range want {
		if have[i] != v {
			t.Fatalf("pixel %d, channel %d: %v, want %v", i/c, i%c, have[i], v)
		}
	}
	for side, o := range map[int]conv.Options{math.MaxInt16: o, 1 << 14: {Upsample: true}} {
		if _, err := convolve(gpu, side, o); err == nil || !strings.Contains(err.Error(), "a side has at most 32767") {
			t.Errorf("%d pixels: %v", side, err)
		}
		if _, err := convolve(cpu, side, o); err != nil {
			t.Errorf("%d pixels on the CPU: %v", side, err)
		}
	}
}
