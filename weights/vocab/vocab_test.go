package vocab

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"parley/weights/mini"
)

type golden struct {
	IDs     [][]int32
	Decoded []string
}

type goldens struct {
	Texts    []string
	CLIP     golden `json:"clip"`
	BERT     golden `json:"bert"`
	MiniCLIP golden `json:"mini-clip"`
	MiniBERT golden `json:"mini-bert"`
	CLIP77   [][]int32
}

func read(t testing.TB) (g goldens) {
	unpack(t, "goldens.json.gz", &g)
	if len(g.Texts) < 2000 {
		t.Fatalf("only %d texts", len(g.Texts))
	}
	return g
}

// unpack reads a golden file of JSON.
func unpack(t testing.TB, name string, into any) {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// both are the embedded tokenizers.
func both(t testing.TB) (*CLIP, *BERT) {
	t.Helper()
	c, err := DefaultCLIP(PadCLIP)
	if err != nil {
		t.Fatal(err)
	}
	b, err := DefaultBERT()
	if err != nil {
		t.Fatal(err)
	}
	return c, b
}

func hold(t *testing.T, texts []string, g golden, encode func(string) []int32, decode func([]int32) string) {
	t.Helper()
	wrong := 0
	for i, want := range g.IDs {
		if got := encode(texts[i]); !slices.Equal(got, want) {
			if wrong++; wrong <= 12 {
				t.Errorf("%.80q: ids %v, want %v", texts[i], got, want)
			}
		}
	}
	bad := 0
	for i, ids := range g.IDs {
		if got := decode(ids); got != g.Decoded[i] {
			if bad++; bad <= 12 {
				t.Errorf("%.60v decodes to %.80q, want %.80q", ids, got, g.Decoded[i])
			}
		}
	}
	if wrong+bad > 0 {
		t.Errorf("%d of %d texts have other ids, %d decode otherwise", wrong, len(g.IDs), bad)
	}
}

func TestCLIPAsTransformers(t *testing.T) {
	g := read(t)
	c, err := DefaultCLIP(PadCLIP)
	if err != nil {
		t.Fatal(err)
	}
	hold(t, g.Texts, g.CLIP, func(s string) []int32 { return c.Encode(s, 0) }, c.Decode)
	for i, want := range g.CLIP77 {
		if got := c.Encode(g.Texts[i], 77); !slices.Equal(got, want) {
			t.Errorf("%.80q at 77: %v, want %v", g.Texts[i], got, want)
		}
	}
	m, err := LoadCLIP(mini.FS(), "clip")
	if err != nil {
		t.Fatal(err)
	}
	hold(t, g.Texts, g.MiniCLIP, func(s string) []int32 { return m.Encode(s, 0) }, m.Decode)
}

func TestBERTAsTransformers(t *testing.T) {
	g := read(t)
	b, err := DefaultBERT()
	if err != nil {
		t.Fatal(err)
	}
	hold(t, g.Texts, g.BERT, b.Encode, b.Decode)
	m, err := LoadBERT(mini.FS(), "blip")
	if err != nil {
		t.Fatal(err)
	}
	hold(t, g.Texts, g.MiniBERT, m.Encode, m.Decode)
}

// TestPairs: what Unicode composes, and what only the lower 16 bits of two
// characters would.
func TestPairs(t *testing.T) {
	for _, c := range []struct{ a, b, want rune }{
		{'e', 0x301, 'é'}, {'G', 0x30c, 0x1e6}, {0x1100, 0x1161, 0xac00}, {0x11099, 0x110ba, 0x1109a},
		{'e', 'e', 0}, {0xe0047, 0x30c, 0}, {0x10047, 0x30c, 0}, {0x21099, 0x110ba, 0}, {'G', 0x1030c, 0},
	} {
		r, ok := pair(c.a, c.b)
		if ok != (c.want != 0) || ok && r != c.want {
			t.Errorf("%U %U: have %U %v, want %U", c.a, c.b, r, ok, c.want)
		}
	}
}

// TestLongWords: a word of up to 100 characters, which may have more bytes, is cut
// into pieces; a longer one is unknown, as in transformers. Neighbours are whole.
func TestLongWords(t *testing.T) {
	b, err := DefaultBERT()
	if err != nil {
		t.Fatal(err)
	}
	for _, letter := range []string{"a", "é", "я"} { // é loses its accent
		for _, n := range []int{99, 100, 101, 250} {
			ids := b.Encode("x " + strings.Repeat(letter, n) + " y")
			if unknown := slices.Contains(ids, b.Unk); unknown != (n > 100) || unknown && len(ids) != 5 {
				t.Errorf("%d of %q: %v", n, letter, ids)
			}
			if text := b.Decode(ids); !strings.HasPrefix(text, "x ") || !strings.HasSuffix(text, " y") || n <= 100 && letter == "a" &&
				text != "x "+strings.Repeat("a", n)+" y" {
				t.Errorf("%d of %q decode to %q", n, letter, text)
			}
		}
	}
	// A vocabulary that would know the word has no say.
	long := strings.Repeat("z", 101)
	fsys := fstest.MapFS{"vocab.txt": {Data: []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n" + long + "\n" + long[:100] + "\n")}}
	if b, err = LoadBERT(fsys, "."); err != nil {
		t.Fatal(err)
	}
	if ids := b.Encode(long + " " + long[:100]); !slices.Equal(ids, []int32{2, 1, 5, 3}) {
		t.Errorf("words of 101 and of 100 characters that are in the vocabulary: %v", ids)
	}
}

// TestEnds: a text stands between its two tokens, whatever it is cut or padded to.
func TestEnds(t *testing.T) {
	clip, err := DefaultCLIP(PadCLIP)
	if err != nil {
		t.Fatal(err)
	}
	zero, err := DefaultCLIP("!") // Stable Diffusion 2 pads with it
	if err != nil {
		t.Fatal(err)
	}
	bert, err := DefaultBERT()
	if err != nil {
		t.Fatal(err)
	}
	if clip.Pad != clip.EOS || clip.BOS != 49406 || clip.EOS != 49407 || zero.Pad != 0 || zero.EOS != clip.EOS {
		t.Errorf("CLIP begins with %d, ends with %d, pads with %d, of SD 2 with %d", clip.BOS, clip.EOS, clip.Pad, zero.Pad)
	}
	if bert.CLS != 101 || bert.SEP != 102 || bert.Pad != 0 || bert.Unk != 100 {
		t.Errorf("BERT: %d %d %d %d", bert.CLS, bert.SEP, bert.Pad, bert.Unk)
	}
	const text = "a photo of two cats on the grass"
	tokenize := map[string]func(length int) (*Encoding, error){
		"CLIP":   func(n int) (*Encoding, error) { return clip.Tokenize(t.Context(), text, n) },
		"CLIP 2": func(n int) (*Encoding, error) { return zero.Tokenize(t.Context(), text, n) },
		"BERT":   func(n int) (*Encoding, error) { return bert.Tokenize(t.Context(), text, n) },
	}
	ends := map[string][3]int32{"CLIP": {clip.BOS, clip.EOS, clip.EOS}, "CLIP 2": {clip.BOS, clip.EOS, 0}, "BERT": {101, 102, 0}}
	for name, f := range tokenize {
		whole, err := f(0)
		if err != nil || len(whole.IDs) != 10 || whole.Tokens != 10 || whole.Kept != len(text) {
			t.Fatalf("%s: %+v, %v", name, whole, err)
		}
		for _, n := range []int{1, 2, 3, 9, 10, 11, 16} {
			e, err := f(n)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(whole.IDs)
			if n < len(want) {
				want = append(want[:max(n-1, 0)], ends[name][1])
			}
			for len(want) < n {
				want = append(want, ends[name][2])
			}
			if !slices.Equal(e.IDs, want) || e.Tokens != 10 || n > 1 && e.IDs[0] != ends[name][0] || (e.Kept == len(text)) != (n >= 10) {
				t.Errorf("%s at %d: %+v, want %v", name, n, e, want)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	words := func(config, tokenizer string) fstest.MapFS {
		return fstest.MapFS{"d/vocab.json": file(`{"a":0,"<|startoftext|>":1,"<|endoftext|>":2}`), "d/merges.txt": file("#version: 0.2\n"),
			"d/tokenizer_config.json": file(config), "d/tokenizer.json": file(tokenizer)}
	}
	for name, c := range map[string]struct {
		fsys fstest.MapFS
		want string
	}{
		"nothing":     {fstest.MapFS{"d/x": file("")}, "d"},
		"vocab":       {fstest.MapFS{"d/vocab.json": file("{"), "d/merges.txt": file("")}, "vocab.json"},
		"no specials": {fstest.MapFS{"d/vocab.json": file(`{"a":0}`), "d/merges.txt": file("#version: 0.2\n")}, "vocab.json"},
		"merges": {fstest.MapFS{"d/vocab.json": file(`{"a":0,"<|startoftext|>":1,"<|endoftext|>":2}`),
			"d/merges.txt": file("#version: 0.2\na b c\n")}, "merges.txt"},
		"no merges": {fstest.MapFS{"d/vocab.json": file(`{"a":0}`)}, "merges.txt"},
		"negative ids": {fstest.MapFS{"d/vocab.json": file(`{"a":-1,"<|startoftext|>":1,"<|endoftext|>":2}`),
			"d/merges.txt": file("#version: 0.2\na a\n")}, "vocab.json"},
		"tokenizer":           {fstest.MapFS{"d/tokenizer.json": file(`{"model":7}`)}, "tokenizer.json"},
		"tokenizer and words": {words(`{}`, `{"added_tokens":[{"content":"x"}]}`), "added_tokens"},
		"padded before":       {words(`{"padding_side":"left"}`, `{}`), "padding_side"},
		"cut before":          {words(`{"truncation_side":"left"}`, `{}`), "truncation_side"},
		"split":               {words(`{"split_special_tokens":true}`, `{}`), "split_special_tokens"},
		"short":               {words(`{"model_max_length":2}`, `{}`), "model_max_length"},
	} {
		if _, err := LoadCLIP(c.fsys, "d"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("CLIP, %s: error %v, want one with %q", name, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		fsys fstest.MapFS
		want string
	}{
		"nothing":     {fstest.MapFS{"d/x": file("")}, "d"},
		"no specials": {fstest.MapFS{"d/vocab.txt": file("a\nb\n")}, "vocab.txt"},
		"config": {fstest.MapFS{"d/vocab.txt": file("[PAD]\n[UNK]\n[CLS]\n[SEP]\n"), "d/tokenizer_config.json": file("[")},
			"tokenizer_config.json"},
		"tokenizer": {fstest.MapFS{"d/tokenizer.json": file(`{}`)}, "tokenizer.json"},
		"split": {fstest.MapFS{"d/vocab.txt": file("[PAD]\n[UNK]\n[CLS]\n[SEP]\n"),
			"d/tokenizer_config.json": file(`{"split_special_tokens":true}`)}, "split_special_tokens"},
	} {
		if _, err := LoadBERT(c.fsys, "d"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("BERT, %s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "a cat", "don't 123 ½", "İ漢字😀\x00\xff", "<|endoftext|>[SEP]"} {
		f.Add(s)
	}
	c, err := DefaultCLIP(PadCLIP)
	if err != nil {
		f.Fatal(err)
	}
	b, err := DefaultBERT()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ids := c.Encode(s, 77)
		if len(ids) != 77 || ids[0] != c.BOS || !slices.Contains(ids, c.EOS) {
			t.Fatalf("%q: %v", s, ids)
		}
		_ = c.Decode(ids)
		if ids = b.Encode(s); ids[0] != b.CLS || ids[len(ids)-1] != b.SEP {
			t.Fatalf("%q: %v", s, ids)
		}
		_ = b.Decode(ids)
	})
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{"a":0,"a</w>":1,"<|startoftext|>":2,"<|endoftext|>":3}`), []byte("#version: 0.2\na a</w>\n"), []byte(`{"pad_token":"a"}`))
	f.Add([]byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\n"), []byte(`{"model":{"type":"WordPiece","vocab":{"a":0}}}`),
		[]byte(`{"do_lower_case":false}`))
	f.Fuzz(func(t *testing.T, a, b, config []byte) {
		fsys := fstest.MapFS{"vocab.json": {Data: a}, "merges.txt": {Data: b}, "vocab.txt": {Data: a}, "tokenizer_config.json": {Data: config}}
		if c, err := LoadCLIP(fsys, "."); err == nil {
			_ = c.Encode("a cat", 8)
		}
		if w, err := LoadBERT(fsys, "."); err == nil {
			_ = w.Encode("a cat")
		}
		only := fstest.MapFS{"tokenizer.json": {Data: b}}
		_, _ = LoadCLIP(only, ".")
		_, _ = LoadBERT(only, ".")
	})
}

func BenchmarkLoadCLIP(b *testing.B) {
	for b.Loop() {
		if _, err := DefaultCLIP(PadCLIP); err != nil {
			b.Fatal(err)
		}
	}
}
