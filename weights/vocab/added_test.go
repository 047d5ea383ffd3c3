package vocab

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
	"testing/fstest"
)

// TestAddedTokensAsTransformers: tokens with each of the flags, from
// tokenizer_config.json and from added_tokens.json.
func TestAddedTokensAsTransformers(t *testing.T) {
	data, err := os.ReadFile("testdata/added.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Kind  string
		Files map[string]string
		Texts []string
		IDs   [][]int32
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 6 {
		t.Fatalf("%d cases", len(cases))
	}
	for k, c := range cases {
		fsys := fstest.MapFS{}
		for name, text := range c.Files {
			fsys[name] = &fstest.MapFile{Data: []byte(text)}
		}
		var encode func(string) []int32
		if c.Kind == "clip" {
			w, err := LoadCLIP(fsys, ".")
			if err != nil {
				t.Fatal(err)
			}
			encode = func(s string) []int32 { return w.Encode(s, 0) }
		} else {
			w, err := LoadBERT(fsys, ".")
			if err != nil {
				t.Fatal(err)
			}
			encode = w.Encode
		}
		for i, text := range c.Texts {
			if have := encode(text); !slices.Equal(have, c.IDs[i]) {
				t.Errorf("case %d, %s, %+q: ids %v, want %v", k, c.Kind, text, have, c.IDs[i])
			}
		}
	}
}

// TestTokenizerBesideWords: the added tokens of a tokenizer.json count beside the words
// of another file, as transformers 5.23 takes them.
func TestTokenizerBesideWords(t *testing.T) {
	added := &fstest.MapFile{Data: []byte(`{"added_tokens": [{"id": 6, "content": "abab", "special": false, "normalized": false}]}`)}
	b, err := LoadBERT(fstest.MapFS{"vocab.txt": {Data: []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\n")}, "tokenizer.json": added}, ".")
	if err != nil {
		t.Fatal(err)
	}
	if have := b.Encode("ab abab a"); !slices.Equal(have, []int32{2, 4, 5, 6, 4, 3}) {
		t.Errorf("BERT: %v", have)
	}
	c, err := LoadCLIP(fstest.MapFS{"vocab.json": {Data: []byte(`{"a":0,"a</w>":1,"b":2,"b</w>":3,"<|startoftext|>":4,"<|endoftext|>":5}`)},
		"merges.txt": {Data: []byte("#version: 0.2\n")}, "tokenizer.json": added}, ".")
	if err != nil {
		t.Fatal(err)
	}
	if have := c.Encode("ab abab a", 0); !slices.Equal(have, []int32{4, 0, 3, 6, 1, 5}) {
		t.Errorf("CLIP: %v", have)
	}
}

// TestWhatIsLost: the bytes that the ids do not stand for.
func TestWhatIsLost(t *testing.T) {
	c, b := both(t)
	cleaned, err := c.Cleaned(OpenAI)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		name, text string
		length     int
		lost       string
		tokens     int
	}{
		{"fits", "a cat", 4, "", 4},
		{"fits with spaces behind", "a cat  \n", 4, "", 4},
		{"one word", "a cat on", 4, "on", 5},
		{"spaces between", "a  cat   On the", 4, "On the", 6},
		{"in a word", "a catzzqqxx", 4, "", 0},
		{"composed", "A e\u0301 CAFE\u0301 b", 4, "CAFE\u0301 b", 0},
		{"special", "a cat<|endoftext|> b", 4, "<|endoftext|> b", 6},
		{"no room", "a cat", 2, "a cat", 4},
		{"no text", "", 77, "", 2},
		{"any length", "a cat", 0, "", 4},
		{"bad UTF-8", "\xffa cat on", 6, "", 6},
	} {
		e, err := c.Tokenize(t.Context(), k.text, k.length)
		if err != nil {
			t.Fatal(err)
		}
		if k.tokens == 0 {
			if e.Tokens <= k.length || e.Lost() == "" || k.lost != "" && e.Lost() != k.lost {
				t.Errorf("%s: lost %q of %d tokens", k.name, e.Lost(), e.Tokens)
			}
			continue
		}
		if e.Lost() != k.lost || e.Tokens != k.tokens || k.length > 0 && len(e.IDs) != k.length {
			t.Errorf("%s: lost %q, %d tokens, ids %v; want %q and %d", k.name, e.Lost(), e.Tokens, e.IDs, k.lost, k.tokens)
		}
	}
	e, err := b.Tokenize(t.Context(), "A Cat, on the mat", 6)
	if err != nil || e.Lost() != "the mat" || len(e.IDs) != 6 || e.Tokens != 8 {
		t.Errorf("BERT: %+v, error %v", e, err)
	}
	e, err = cleaned.Tokenize(t.Context(), "caf\u00c3\u00a9 &amp; bar stool", 5)
	if err != nil || e.Lost() != "stool" || e.Text != "caf\u00e9 & bar stool" {
		t.Errorf("cleaned: %+v, error %v", e, err)
	}
}

// TestWith: names of textual inversion in the tokenizer.
func TestWith(t *testing.T) {
	c, err := DefaultCLIP(PadCLIP)
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.With(CLIPWords, Learned{Names: []string{"<toy>", "My Toy"}, Vectors: 3}, Learned{Names: []string{"<x>"}, Vectors: 1})
	if err != nil {
		t.Fatal(err)
	}
	n := int32(CLIPWords)
	cat := c.Encode("cat", 0)[1]
	for text, want := range map[string][]int32{
		"cat <toy> cat": {cat, n, n + 1, n + 2, cat}, "MY  toy<X>": {n, n + 1, n + 2, n + 3}, "<toy>_1": {n + 1}, "cat": {cat},
	} {
		ids := w.Encode(text, 0)
		if have := ids[1 : len(ids)-1]; !slices.Equal(have, want) {
			t.Errorf("%q: %v, want %v", text, have, want)
		}
	}
	if w.Plain() != c || w.Size() != CLIPWords+4 || c.Size() != CLIPWords {
		t.Error("the tokenizer without the names is another one")
	}
	k, err := w.Cleaned(OpenCLIP)
	if err != nil {
		t.Fatal(err)
	}
	if ids := k.Encode("\u201cMy\u201d &lt;Toy&gt;", 0); !slices.Equal(ids[len(ids)-4:len(ids)-1], []int32{n, n + 1, n + 2}) {
		t.Errorf("cleaned: %v", ids)
	}
	for _, l := range []Learned{
		{}, {Names: []string{"x"}}, {Names: []string{"cat"}, Vectors: 1}, {Names: []string{"<toy>"}, Vectors: 1},
		{Names: []string{" "}, Vectors: 1},
	} {
		if _, err := w.With(n+4, l); err == nil {
			t.Errorf("%+v is taken", l)
		}
	}
	if _, err := c.With(n-1, Learned{Names: []string{"<y>"}, Vectors: 1}); err == nil {
		t.Error("an id of a word is taken")
	}
}

// TestNormalForms: a normalized token is its normal form from then on, as in
// tokenizers 0.23, and of two that have the same one the first counts.
func TestNormalForms(t *testing.T) {
	b, err := LoadBERT(fstest.MapFS{
		"vocab.txt":         {Data: []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")},
		"added_tokens.json": {Data: []byte(`{"ZORP": 6, "Zorp": 7}`)},
	}, ".")
	if err != nil {
		t.Fatal(err)
	}
	ids := b.Encode("a zorp")
	if want := []int32{2, 5, 6, 3}; !slices.Equal(ids, want) || b.Tokens("a ZORP")[2] != "zorp" || b.Decode(ids) != "a zorp" {
		t.Errorf("ids %v, want %v; tokens %v; %q", ids, want, b.Tokens("a ZORP"), b.Decode(ids))
	}
}
