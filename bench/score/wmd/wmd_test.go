package wmd

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const file = "4 2\nking 0 3\nqueen 4 0\nman 0 0\n. . 1 1\n"

func TestRead(t *testing.T) {
	for name, text := range map[string]string{"word2vec": file, "GloVe": strings.TrimPrefix(file, "4 2\n"),
		"line ends": strings.ReplaceAll(file, "\n", " \r\n")} {
		v, err := read(strings.NewReader(text), nil)
		if err != nil || v.dim != 2 || len(v.words) != 4 || !slices.Equal(v.words["queen"], []float32{4, 0}) ||
			!slices.Equal(v.words[". ."], []float32{1, 1}) {
			t.Errorf("%s: %v %v", name, v, err)
		}
	}
	v, err := read(strings.NewReader(file), func(w string) bool { return w == "man" })
	if err != nil || len(v.words) != 1 {
		t.Errorf("kept %v, %v", v, err)
	}
	for text, want := range map[string]string{"": "no vectors", "a\n": "line 1", "1 3\na 1 2\n": "line 2: want a word and 3 values",
		"a 1 x\n": `line 1: a: "x"`, "a 1\nb nan\n": "line 2: b", "a 1 2\nb 3\n": "line 2"} {
		if _, err := read(strings.NewReader(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	path := filepath.Join(t.TempDir(), "v.txt.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	z.Write([]byte(file))
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if v, err := Open(path, nil); err != nil || len(v.words) != 4 {
		t.Errorf("%v %v", v, err)
	}
	if _, err := Open("wmd.go", nil); err == nil || !strings.Contains(err.Error(), "wmd.go: line") {
		t.Errorf("no vectors: %v", err)
	}
}

func TestDistance(t *testing.T) {
	v, err := read(strings.NewReader(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a, b string
		want float64
	}{
		{"king", "king", 0}, {"king", "queen", 5}, {"king queen", "queen king", 0}, {"king king man", "man", 2}, {"king unknown", "man", 3},
		{"king queen", "man", 3.5}, {"king man", "queen", 4.5}, {"king queen man", "king queen", 3.5 / 3},
	} {
		if got, err := v.Distance(strings.Fields(c.a), strings.Fields(c.b)); err != nil || math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s, %s: %v, want %v (%v)", c.a, c.b, got, c.want, err)
		}
	}
	for _, c := range [][2]string{{"", "man"}, {"man", "unknown"}} {
		if _, err := v.Distance(strings.Fields(c[0]), strings.Fields(c[1])); !errors.Is(err, ErrNoWords) {
			t.Errorf("%q: %v", c, err)
		}
	}
	v.Normalize()
	if got, err := v.Distance([]string{"king"}, []string{"queen"}); err != nil || math.Abs(got-math.Sqrt2) > 1e-6 {
		t.Errorf("of unit vectors: %v %v", got, err)
	}
}

// TestExact holds the distance against the best of all ways to pair the words
// of captions that are repeated to the same length.
func TestExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	v := &Vectors{dim: 3, words: map[string][]float32{}}
	for i := range 9 {
		v.words[fmt.Sprint(i)] = []float32{rng.Float32(), rng.Float32(), rng.Float32()}
	}
	caption := func(n int) (out []string) {
		for range n {
			out = append(out, fmt.Sprint(rng.IntN(9)))
		}
		return out
	}
	for range 300 {
		// 2 and 4 words, 7 and 7, 2 and 3 repeated to 6...
		lengths := [][3]int{{7, 7, 7}, {2, 4, 4}, {3, 6, 6}, {2, 3, 6}, {1, 5, 5}, {6, 4, 12}}[rng.IntN(5)]
		a, b, n := caption(lengths[0]), caption(lengths[1]), lengths[2]
		got, err := v.Distance(a, b)
		if err != nil {
			t.Fatal(err)
		}
		x, y := slices.Repeat(a, n/len(a)), slices.Repeat(b, n/len(b))
		best := math.Inf(1)
		var pair func(k int, sum float64)
		pair = func(k int, sum float64) {
			if k == n {
				best = min(best, sum)
				return
			}
			for j := k; j < n; j++ {
				y[k], y[j] = y[j], y[k]
				sum2 := 0.0
				for i := range 3 {
					d := float64(v.words[x[k]][i] - v.words[y[k]][i])
					sum2 += d * d
				}
				pair(k+1, sum+math.Sqrt(sum2))
				y[k], y[j] = y[j], y[k]
			}
		}
		pair(0, 0)
		if math.Abs(got-best/float64(n)) > 1e-6 {
			t.Fatalf("%v, %v: %v, want %v", a, b, got, best/float64(n))
		}
	}
}

func TestLong(t *testing.T) {
	v := &Vectors{dim: 1, words: map[string][]float32{}}
	var many []string
	for i := range MaxWords + 1 {
		w := fmt.Sprint(i)
		v.words[w], many = []float32{float32(i)}, append(many, w)
	}
	// 100,000 words of two kinds are no more than two.
	a, b := slices.Repeat([]string{"0", "10"}, 50_000), slices.Repeat([]string{"10"}, 99_999)
	if got, err := v.Distance(a, b); err != nil || math.Abs(got-5) > 1e-9 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := v.Distance(many, many); err == nil || !strings.Contains(err.Error(), "at most 2000") {
		t.Errorf("too many words: %v", err)
	}
}

func TestStop(t *testing.T) {
	if !slices.IsSorted(stopWords[:]) {
		t.Error("not sorted")
	}
	if !Stop("the") || Stop("cat") || Stop("") {
		t.Error("the, cat")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(file)
	f.Add("a 1\n")
	f.Add("9999999 2147483647\n")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := read(strings.NewReader(s), nil)
		if err != nil {
			return
		}
		for w, x := range v.words {
			if len(x) != v.dim {
				t.Errorf("%q has %d values of %d", w, len(x), v.dim)
			}
		}
	})
}

func BenchmarkDistance(b *testing.B) {
	rng := rand.New(rand.NewPCG(5, 6))
	v := &Vectors{dim: 200, words: map[string][]float32{}}
	var words []string
	for i := range 24 {
		x := make([]float32, 200)
		for j := range x {
			x[j] = rng.Float32()
		}
		words = append(words, fmt.Sprint(i))
		v.words[words[i]] = x
	}
	for b.Loop() {
		if _, err := v.Distance(words[:12], words[12:]); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPOT holds the distance against POT's network simplex (testdata/wmd.py), up to
// 60 different words a side, which are moved in parts.
func TestPOT(t *testing.T) {
	data, err := os.ReadFile("testdata/pairs.json")
	if err != nil {
		t.Fatal(err)
	}
	var pairs []struct {
		A, B           string
		Distance, Unit float64
	}
	if err := json.Unmarshal(data, &pairs); err != nil || len(pairs) < 36 {
		t.Fatalf("%d pairs, %v", len(pairs), err)
	}
	v, err := Open("testdata/vectors.txt", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range []bool{false, true} {
		if unit {
			v.Normalize()
		}
		for _, p := range pairs {
			want := p.Distance
			if unit {
				want = p.Unit
			}
			if got, err := v.Distance(strings.Fields(p.A), strings.Fields(p.B)); err != nil || !(math.Abs(got-want) <= 1e-6*want) {
				t.Errorf("unit %t, %.40s, %.40s: %v, want %v (%v)", unit, p.A, p.B, got, want, err)
			}
		}
	}
}
