package prompt

import (
	"compress/gzip"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/weights/vocab"
)

type row struct {
	Prompt string
	Parts  [][2]any
	Chunks []struct {
		IDs     []int32
		Weights []float64
		Learned [][2]any
	}
}

func goldens(t *testing.T) (g struct {
	Vectors          map[string]int
	Prompts, Learned []row
}) {
	f, err := os.Open("testdata/goldens.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&g); err != nil {
		t.Fatal(err)
	}
	if len(g.Prompts) < 700 || len(g.Learned) < 40 {
		t.Fatalf("%d and %d prompts", len(g.Prompts), len(g.Learned))
	}
	return g
}

func words(t testing.TB, pad string) *vocab.CLIP {
	t.Helper()
	c, err := vocab.DefaultCLIP(pad)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseAsTheWebui(t *testing.T) {
	for _, r := range goldens(t).Prompts {
		have, err := Parse(r.Prompt)
		if err != nil {
			t.Errorf("%q: %v", r.Prompt, err)
			continue
		}
		want := make([]Part, len(r.Parts))
		for i, p := range r.Parts {
			want[i] = Part{p[0].(string), p[1].(float64)}
		}
		if !slices.Equal(have, want) {
			t.Errorf("%q:\nhave %v\nwant %v", r.Prompt, have, want)
		}
	}
}

func TestChunksAsTheWebui(t *testing.T) {
	g := goldens(t)
	plain := words(t, vocab.PadCLIP)
	var learned []vocab.Learned
	for name, n := range g.Vectors {
		learned = append(learned, vocab.Learned{Names: []string{name}, Vectors: n})
	}
	taught, err := plain.With(vocab.CLIPWords, learned...)
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]int32{}
	for _, l := range taught.Learned() {
		first[l.Names[0]] = l.First
	}
	for k, rows := range [][]row{g.Prompts, g.Learned} {
		for _, r := range rows {
			have, err := Chunks(t.Context(), [...]*vocab.CLIP{plain, taught}[k], Size, r.Prompt)
			if err != nil || len(have) != len(r.Chunks) {
				t.Errorf("%.100q: %d chunks, error %v; want %d", r.Prompt, len(have), err, len(r.Chunks))
				continue
			}
			for i, want := range r.Chunks {
				ids := slices.Clone(want.IDs)
				for _, l := range want.Learned { // zeros in the golden
					for j := range g.Vectors[l[1].(string)] {
						ids[1+int(l[0].(float64))+j] = first[l[1].(string)] + int32(j)
					}
				}
				same := func(a float32, b float64) bool { return a == float32(b) }
				if !slices.Equal(have[i].IDs, ids) || !slices.EqualFunc(have[i].Weights, want.Weights, same) {
					t.Errorf("%.100q, chunk %d:\nhave %v %v\nwant %v %v", r.Prompt, i, have[i].IDs, have[i].Weights, ids, want.Weights)
				}
			}
		}
	}
}

func TestWeightsThatAreNone(t *testing.T) {
	for _, p := range []string{"(a:1..5)", "(a:.)", "(a:+)b", "a (b:1.2.3)"} {
		_, err := Parse(p)
		if bad := !strings.Contains(p, "+)"); bad != (err != nil) {
			t.Errorf("%q: error %v", p, err)
		}
	}
}

// TestLargePrompts: a quarter of a megabyte of any sign is read or refused at once.
func TestLargePrompts(t *testing.T) {
	c := words(t, vocab.PadCLIP)
	for _, part := range []string{"(", "[", ")", ":", ": ", "\\", "(a)", "[(a:1.1)]", "(a", "BREAK", ":1.5)", "a:b "} {
		start := time.Now()
		_, err := Chunks(t.Context(), c, Size, strings.Repeat(part, 1<<18/len(part)))
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%q: %v", part, d)
		}
		if refused := part == "(" || part == "[" || part == "(a"; refused != (err != nil) {
			t.Errorf("%q: error %v", part, err)
		}
	}
	if _, err := Chunks(t.Context(), c, Size, strings.Repeat("(", 200)+strings.Repeat("a:9999)", 200)); err == nil {
		t.Error("a weight of 9999^200 is taken")
	}
}

// TestOtherPadding: Stable Diffusion 2 pads with another word than EOS.
func TestOtherPadding(t *testing.T) {
	c := words(t, vocab.PadOpenCLIP)
	for _, p := range []string{"", "a cat", "a BREAK", strings.Repeat("a ", 75)} {
		chunks, err := Chunks(t.Context(), c, Size, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, chunk := range chunks {
			end := slices.Index(chunk.IDs, c.EOS)
			for i, id := range chunk.IDs {
				if i > end && id != c.Pad || i == 0 && id != c.BOS {
					t.Errorf("%q: id %d is %d", p, i, id)
				}
			}
		}
	}
	if plain := c.Encode("a cat", Size); !slices.Equal(plain, first(t, c, "a cat").IDs) {
		t.Errorf("a short prompt is %v, want %v", first(t, c, "a cat").IDs, plain)
	}
}

func first(t *testing.T, c *vocab.CLIP, p string) Chunk {
	chunks, err := Chunks(t.Context(), c, Size, p)
	if err != nil {
		t.Fatal(err)
	}
	return chunks[0]
}

func TestLevel(t *testing.T) {
	c := words(t, vocab.PadCLIP)
	long, err := Chunks(t.Context(), c, Size, strings.Repeat("a ", 200))
	if err != nil {
		t.Fatal(err)
	}
	both := Level(c, long, []Chunk{first(t, c, "bad")})
	if len(both[0]) != 3 || len(both[1]) != 3 {
		t.Fatalf("%d and %d chunks, want 3", len(both[0]), len(both[1]))
	}
	if e := both[1][2]; !slices.Equal(e.IDs, c.Encode("", Size)) || slices.Max(e.Weights) != 1 || slices.Min(e.Weights) != 1 {
		t.Errorf("the chunk that was added is %v", e)
	}
}

// TestWeigh holds the states against the definition in float64: times the
// weight, then times old mean over new mean, chunk by chunk.
func TestWeigh(t *testing.T) {
	const d = 5
	c := words(t, vocab.PadCLIP)
	chunks, err := Chunks(t.Context(), c, Size, "a (cat:1.5) [on] "+strings.Repeat("x ", 80)+"(mat:-0.5) BREAK plain")
	if err != nil || len(chunks) != 3 {
		t.Fatal(len(chunks), err)
	}
	states := make([]float32, 3*Size*d)
	for i := range states {
		states[i] = float32(math.Sin(float64(i)*0.7) + 0.3)
	}
	have := slices.Clone(states)
	if err := Weigh(have, chunks); err != nil {
		t.Fatal(err)
	}
	for k, chunk := range chunks {
		z := states[k*Size*d : (k+1)*Size*d]
		var before, after float64
		for i, v := range z {
			before += float64(v)
			after += float64(v) * float64(chunk.Weights[i/d])
		}
		for i, v := range z {
			want := float64(v) * float64(chunk.Weights[i/d]) * before / after
			if h := float64(have[k*Size*d+i]); math.Abs(h-want) > 1e-6*(1+math.Abs(want)) {
				t.Fatalf("chunk %d, %d: %v, want %v", k, i, h, want)
			}
		}
	}
	if !slices.Equal(have[2*Size*d:], states[2*Size*d:]) {
		t.Error("a chunk without weights is not as it was")
	}
	if err := Weigh(have[1:], chunks); err == nil {
		t.Error("states that do not fit are taken")
	}
}

func FuzzChunks(f *testing.F) {
	for _, s := range []string{"", "(a:1.3) [b] BREAK c", `\(x\]`, "((((", ":1)", "a, b"} {
		f.Add(s)
	}
	c := words(f, vocab.PadCLIP)
	f.Fuzz(func(t *testing.T, s string) {
		chunks, err := Chunks(t.Context(), c, Size, s)
		if err != nil {
			return
		}
		for _, chunk := range chunks {
			if len(chunk.IDs) != Size || len(chunk.Weights) != Size || chunk.IDs[0] != c.BOS || !slices.Contains(chunk.IDs, c.EOS) {
				t.Fatalf("%q: %v", s, chunk)
			}
		}
	})
}
