package score

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
)

func rows(n, d int, k float64) *mat.Dense {
	x := mat.NewDense(n, d, nil)
	for i := range n {
		for j := range d {
			x.Set(i, j, math.Sin(1.7*float64(i)*float64(j+1)+k)+.1*k*float64(j))
		}
	}
	return x
}

// TestFID holds it against numpy (testdata/reference.py), in one batch and in
// many.
func TestFID(t *testing.T) {
	data, err := os.ReadFile("testdata/fid.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		N   [2]int
		D   int
		FID float64
	}
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) < 3 {
		t.Fatalf("%v, %d cases", err, len(cases))
	}
	for _, c := range cases {
		for _, size := range []int{1, 7, 1000} {
			var f [2]*Features
			for k := range f {
				x := rows(c.N[k], c.D, float64(k+1))
				f[k] = NewFeatures(c.D)
				for lo := 0; lo < c.N[k]; lo += size {
					if err := f[k].Add(x.Slice(lo, min(lo+size, c.N[k]), 0, c.D)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if size == 1 { // one vector at a time, as float32
				for k := range f {
					f[k] = NewFeatures(c.D)
					for i := range c.N[k] {
						var row []float32
						for _, v := range rows(c.N[k], c.D, float64(k+1)).RawRowView(i) {
							row = append(row, float32(v))
						}
						if err := f[k].AddRow(row); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			got, err := FID(f[0], f[1])
			if err != nil || math.Abs(got-c.FID) > 1e-6*max(1, c.FID) {
				t.Errorf("%v x %d by %d: %v, want %v (%v)", c.N, c.D, size, got, c.FID, err)
			}
			if same, err := FID(f[0], f[0]); err != nil || math.Abs(same) > 1e-6 {
				t.Errorf("of the same: %v, %v", same, err)
			}
		}
	}
	one := NewFeatures(3)
	if err := one.Add(rows(1, 3, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := FID(one, one); err == nil || !strings.Contains(err.Error(), "two at least") {
		t.Errorf("of one vector: %v", err)
	}
	if err := one.AddRow(make([]float32, 4)); err == nil || !strings.Contains(err.Error(), "4 values, want 3") {
		t.Errorf("a row of another size: %v", err)
	}
	if err := one.Add(rows(1, 4, 1)); err == nil || !strings.Contains(err.Error(), "4 values, want 3") {
		t.Errorf("of another size: %v", err)
	}
	if err := one.Add(mat.NewDense(1, 3, []float64{1, math.NaN(), 1})); err == nil || !strings.Contains(err.Error(),
		"feature 1 of vector 1") {
		t.Errorf("of no number: %v", err)
	}
	if _, err := FID(one, NewFeatures(4)); err == nil {
		t.Error("of two sizes")
	}
}

func TestCLIPScore(t *testing.T) {
	image, caption := []float32{1, 0, 0}, []float32{3, 4, 0}
	if s, err := CLIPScore(image, caption); err != nil || math.Abs(s-2.5*.6) > 1e-9 {
		t.Errorf("%v %v", s, err)
	}
	if s, err := CLIPScore(image, []float32{-1, 0, 0}); err != nil || s != 0 {
		t.Errorf("behind: %v %v", s, err)
	}
	// The harmonic mean of 1.5 and of the larger of .6 and .8.
	if s, err := RefCLIPScore(image, caption, [][]float32{{1, 0, 0}, {0, 1, 0}}); err != nil || math.Abs(s-2*1.5*.8/2.3) > 1e-9 {
		t.Errorf("with references: %v %v", s, err)
	}
	if s, err := RefCLIPScore(image, caption, [][]float32{{-1, 0, 0}}); err != nil || s != 0 {
		t.Errorf("a reference behind: %v %v", s, err)
	}
	for _, bad := range [][2][]float32{{{1}, {1, 2}}, {{}, {}}, {{0, 0}, {1, 0}}, {{float32(math.NaN()), 0}, {1, 0}}} {
		if s, err := CLIPScore(bad[0], bad[1]); err == nil {
			t.Errorf("%v: %v", bad, s)
		}
	}
	if _, err := RefCLIPScore(image, caption, nil); err == nil {
		t.Error("no references")
	}
	if _, err := RefCLIPScore(image, caption, [][]float32{caption, {1}}); err == nil || !strings.Contains(err.Error(), "reference 2") {
		t.Errorf("a short reference: %v", err)
	}
}

func BenchmarkFID(b *testing.B) {
	x, y := NewFeatures(256), NewFeatures(256)
	if x.Add(rows(500, 256, 1)) != nil || y.Add(rows(500, 256, 2)) != nil {
		b.Fatal("features")
	}
	for b.Loop() {
		if _, err := FID(x, y); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCLIPScore(b *testing.B) {
	x := make([]float32, 512)
	for i := range x {
		x[i] = float32(i)
	}
	for b.Loop() {
		if _, err := RefCLIPScore(x, x, [][]float32{x, x, x, x, x}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMean: what has no score does not count, and is counted.
func TestMean(t *testing.T) {
	if m, missing := Mean("x", []float64{1, math.NaN(), 4}); m.Value != 2.5 || missing != 1 || m.Name != "x" || len(m.Each) != 3 {
		t.Errorf("%+v, %d missing", m, missing)
	}
	for n, want := range map[int]bool{2: false, 3: false, 4: true} {
		if FullRank(n, 3) != want {
			t.Errorf("%d vectors of 3 values are of full rank: %v", n, !want)
		}
	}
}
