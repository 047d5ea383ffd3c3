package score

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/bench/score/ptb"
)

func value(t *testing.T, r *Report, name string) float64 {
	t.Helper()
	v, ok := r.Value(name)
	if !ok || math.IsNaN(v) || math.IsInf(v, 0) {
		t.Fatalf("%s: %v, %v", name, v, ok)
	}
	return v
}

// TestOdd: what no data set should hold gives numbers, those of the reference.
func TestOdd(t *testing.T) {
	const meteorData = "testdata/meteor"
	for _, c := range []struct {
		name   string
		items  []Item
		metric string
		want   float64
	}{
		{"an empty caption", []Item{{"1", "", []string{"a cat"}}, {"2", "a dog", []string{"a dog"}}}, "ROUGE_L", 0.5},
		{"two empty captions", []Item{{"1", "", []string{""}},
			{"2", "a dog", []string{"a dog"}}}, "ROUGE_L", 1}, // '' is a token to the reference
		{"all empty", []Item{{"1", "", []string{"", ""}}, {"2", " ", []string{"."}}}, "CIDEr", 0},
		{"punctuation", []Item{{"1", "...", []string{"a cat"}}, {"2", "?!", []string{"a dog"}}}, "METEOR", 0},
		{"one image", []Item{{"1", "a cat", []string{"a cat"}}}, "CIDEr", 0},
		{"one image", []Item{{"1", "a cat sat on it", []string{"a cat sat on it"}}}, "Bleu_4", 1},
		{"Unicode", []Item{{"1", "日本 の 猫 ünï", []string{"日本 の 猫 ünï"}},
			{"2", "собака и кот", []string{"собака и кот"}}}, "CIDEr", 8.75},
		{"broken UTF-8", []Item{{"1", "a\xff cat", []string{"a cat"}}, {"2", "x", []string{"y"}}}, "ROUGE_L", 0.5},
	} {
		r, err := Captions(c.items, Options{MeteorData: meteorData})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, m := range r.Metrics {
			value(t, r, m.Name)
			for _, v := range m.Each {
				if math.IsNaN(v) || v < 0 {
					t.Errorf("%s: %s %v", c.name, m.Name, m.Each)
				}
			}
		}
		if got := value(t, r, c.metric); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%s: %s is %v, want %v", c.name, c.metric, got, c.want)
		}
		if said := slices.ContainsFunc(r.Notes, func(s string) bool {
			return strings.Contains(s,
				"degenerate")
		}); said != (len(c.items) == 1) {
			t.Errorf("%s: notes %q", c.name, r.Notes)
		}
	}
	for name, items := range map[string][]Item{"no captions": nil, "image b: no references": {{"a", "x", []string{"x"}}, {"b", "x", nil}}} {
		if _, err := Captions(items, Options{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
	if _, err := Captions([]Item{{"1", "a", []string{"a"}}}, Options{MeteorData: "nowhere"}); err == nil ||
		!strings.Contains(err.Error(), "nowhere") {
		t.Errorf("no METEOR data: %v", err)
	}
}

// TestLong: captions of 100,000 words, the same ones and all different.
func TestLong(t *testing.T) {
	for name, word := range map[string]func(i int) string{"one word": func(int) string { return "cat" },
		"all different": func(i int) string { return fmt.Sprint("w", i) }} {
		var b strings.Builder
		for i := range 100_000 {
			b.WriteString(word(i) + " ")
		}
		start := time.Now()
		r, err := Captions([]Item{{"1", b.String(), []string{b.String(), "a cat"}}, {"2", "a", []string{"a"}}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if v := value(t, r, "ROUGE_L"); math.Abs(v-1) > 1e-9 {
			t.Errorf("%s: %v", name, v)
		}
		if d := time.Since(start); d > time.Minute {
			t.Errorf("%s took %v", name, d)
		}
	}
}

// TestLCS holds the bits against the table of the definition.
func TestLCS(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		a, b := make([]int32, rng.IntN(200)), make([]int32, rng.IntN(200))
		for _, s := range [][]int32{a, b} {
			for i := range s {
				s[i] = rng.Int32N(12)
			}
		}
		row := make([]int, len(b)+1)
		for _, x := range a {
			diagonal := 0
			for j, y := range b {
				above := row[j+1]
				if row[j+1] = max(above, row[j]); x == y {
					row[j+1] = diagonal + 1
				}
				diagonal = above
			}
		}
		var l lcs
		l.take(a)
		if got := l.length(b); got != row[len(b)] {
			t.Fatalf("%v and %v: %d, want %d", a, b, got, row[len(b)])
		}
	}
}

// TestCIDErD holds single captions against the Python of
// weights/mini/train/evaluate.py.
func TestCIDErD(t *testing.T) {
	c := NewCIDErD([][]string{{"a cat on the grass", "one cat on a green field"},
		{"a dog at night", "a dog under the stars"},
		{"two owls in the snow", "two owls on white snow"}})
	for _, x := range []struct {
		caption string
		i       int
		want    float64
	}{
		{"a cat on the grass", 0, 5.7790709569677645},
		{"a dog on the grass", 0, 1.849375145665054},
		{"a dog at night", 1, 5.802480817949651},
		{"nothing of it", 2, 0},
		{"two owls two owls", 2, 1.4157620417549595}, {"", 0, 0},
	} {
		if got := c.Score(x.caption, x.i); math.Abs(got-x.want) > 1e-9 {
			t.Errorf("%q: %v, want %v", x.caption, got, x.want)
		}
	}
}

// TestTogether holds single captions against all of them scored together.
func TestTogether(t *testing.T) {
	items := karpathy(t)[:300]
	r, err := Captions(items, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var captions, flat []string
	for _, it := range items {
		captions, flat = append(captions, it.Caption), append(flat, it.References...)
	}
	tk := ptb.New()
	captions, flat = tk.Captions(captions), tk.Captions(flat)
	refs := make([][]string, len(items))
	for i, it := range items {
		refs[i], flat = flat[:len(it.References)], flat[len(it.References):]
	}
	c := NewCIDErD(refs)
	for _, m := range r.Metrics {
		for i, v := range m.Each {
			if m.Name == "CIDEr" && c.Score(captions[i], i) != v || m.Name == "CIDEr_plain" && c.Plain(captions[i], i) != v {
				t.Errorf("%s of %q is %v", m.Name, captions[i], v)
			}
		}
	}
	if err := c.Degenerate(); err != nil {
		t.Error(err)
	}
	if one := NewCIDErD([][]string{{"a cat"}}); !errors.Is(one.Degenerate(), ErrDegenerate) || one.Score("a cat", 0) != 0 {
		t.Error("a single image is not degenerate")
	}
	if none := NewCIDErD([][]string{{}, {"a"}}); none.Score("a", 0) != 0 {
		t.Error("an image without references")
	}
}

func BenchmarkBLEU(b *testing.B) { each(b, func(c caption, refs []caption) { countBLEU(c, refs) }) }

func BenchmarkROUGE(b *testing.B) { each(b, func(c caption, refs []caption) { rougeL(c, refs) }) }

func BenchmarkCIDEr(b *testing.B) {
	var refs [][]string
	for _, it := range karpathy(b) {
		refs = append(refs, it.References)
	}
	for b.Loop() {
		NewCIDErD(refs).Score("a man on a horse", 0)
	}
}

// each runs f for each of the Karpathy captions.
func each(b *testing.B, f func(c caption, refs []caption)) {
	n := newNumbers()
	var captions []caption
	var refs [][]caption
	for _, it := range karpathy(b) {
		captions = append(captions, n.caption(it.Caption))
		var list []caption
		for _, r := range it.References {
			list = append(list, n.caption(r))
		}
		refs = append(refs, list)
	}
	for b.Loop() {
		for i, c := range captions {
			f(c, refs[i])
		}
	}
}
