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
	if len(g.Texts) < 2000 {
		t.Fatalf("only %d texts", len(g.Texts))
	}
	return g
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

func TestRefusals(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for name, c := range map[string]struct {
		fsys fstest.MapFS
		want string
	}{
		"nothing":      {fstest.MapFS{"d/x": file("")}, "d"},
		"vocab":        {fstest.MapFS{"d/vocab.json": file("{"), "d/merges.txt": file("")}, "vocab.json"},
		"no specials":  {fstest.MapFS{"d/vocab.json": file(`{"a":0}`), "d/merges.txt": file("#version: 0.2\n")}, "vocab.json"},
		"merges":       {fstest.MapFS{"d/vocab.json": file(`{"a":0,"<|startoftext|>":1,"<|endoftext|>":2}`), "d/merges.txt": file("#version: 0.2\na b c\n")}, "merges.txt"},
		"no merges":    {fstest.MapFS{"d/vocab.json": file(`{"a":0}`)}, "merges.txt"},
		"negative ids": {fstest.MapFS{"d/vocab.json": file(`{"a":-1,"<|startoftext|>":1,"<|endoftext|>":2}`), "d/merges.txt": file("#version: 0.2\na a\n")}, "vocab.json"},
		"tokenizer":    {fstest.MapFS{"d/tokenizer.json": file(`{"model":7}`)}, "tokenizer.json"},
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
		"config":      {fstest.MapFS{"d/vocab.txt": file("[PAD]\n[UNK]\n[CLS]\n[SEP]\n"), "d/tokenizer_config.json": file("[")}, "tokenizer_config.json"},
		"tokenizer":   {fstest.MapFS{"d/tokenizer.json": file(`{}`)}, "tokenizer.json"},
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
	f.Add([]byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\n"), []byte(`{"model":{"type":"WordPiece","vocab":{"a":0}}}`), []byte(`{"do_lower_case":false}`))
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
