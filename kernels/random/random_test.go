package random

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

func TestTorchNormal(t *testing.T) {
	data, err := os.ReadFile("testdata/goldens.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Seed  uint64
		Draws [][]float32
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for _, c := range cases {
		g := NewTorch(c.Seed)
		for i, want := range c.Draws {
			got := make([]float32, len(want))
			g.Normal(got)
			for j, w := range want {
				d := math.Abs(float64(got[j] - w))
				if !(d <= 1e-6) {
					t.Fatalf("seed %d, draw %d of %d: element %d is %v, want %v", c.Seed, i, len(want), j, got[j], w)
				}
				worst = max(worst, d)
			}
		}
	}
	t.Logf("largest difference %.2g", worst)
}

// TestPhilox holds known answers of the reference implementation (Random123's
// kat_vectors).
func TestPhilox(t *testing.T) {
	if got, want := Philox(0, 0, 0), [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}; got != want {
		t.Errorf("zeros give %x, want %x", got, want)
	}
	if got, want := Philox(math.MaxUint64, math.MaxUint64, math.MaxUint64), [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}; got != want {
		t.Errorf("ones give %x, want %x", got, want)
	}
	if got, want := Philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88), [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}; got != want {
		t.Errorf("pi gives %x, want %x", got, want)
	}
}

func TestUniform(t *testing.T) {
	sum := 0.0
	for i := range 10000 {
		u := Uniform(7, uint64(i%10), uint64(i/10))
		if !(u >= 0 && u < 1) {
			t.Fatalf("uniform %d is %v", i, u)
		}
		sum += u
	}
	if m := sum / 10000; math.Abs(m-0.5) > 0.01 {
		t.Errorf("the mean is %v", m)
	}
}
