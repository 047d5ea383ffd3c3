package ptb

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestReference holds tokens against CoreNLP 3.4.1's (testdata/reference.py): of lines
// made to break a tokenizer, and of each abbreviation that the kinds name.
func TestReference(t *testing.T) {
	for file, least := range map[string]int{"tokens": 15000, "abbreviations": 1500} {
		f, err := os.Open("../testdata/" + file + ".json.gz")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		var v [2][]string
		if err := json.NewDecoder(z).Decode(&v); err != nil {
			t.Fatal(err)
		}
		lines, want := v[0], v[1]
		if len(lines) < least || len(lines) != len(want) {
			t.Fatalf("%s: %d lines, %d of tokens", file, len(lines), len(want))
		}
		for i, got := range New().Captions(lines) {
			if got != want[i] {
				t.Errorf("%q: %q, want %q", lines[i], got, want[i])
			}
		}
	}
}

func TestCaption(t *testing.T) {
	tk := New()
	for _, c := range []struct{ in, want string }{
		{"", ""}, {"   ", ""}, {".", ""}, {"A man (with a hat).", "a man -lrb- with a hat -rrb-"},
		{"It's John's; don't!", "it 's john 's do n't"}, {"I cannot, 'tis", "i can not 't is"},
		{"5 7/8", "5\u00a07/8"}, {"a\nb", "a b"}, {"\xff\xfe cat", "cat"}, {"😀", ""}, {"a\rb\u2028c", "a b c"},
		{"B. tHE x", "b. the x"},
		{"U.S. Mr. x", "u.s. mr. x"},
		{"CO. LTD x", "co. ltd x"},
		{"A&amp;W., x", "a&w. x"},
		{"300&eacute;D.C x", "300&eacute;d.c x"},
		{"they've", "they ve"},
		{"they've x", "they 've x"},
		{"5.txt x", "5.txt x"},
		{"'90s '90 x", "'90s '90 x"},
		{"etc.  x etc. x", "etc. x etc. x"},
		{"http://a.b/c. www.a-b.cd", "http://a.b/c www.a-b.cd"},
		{"o'o d'Or C'mon-x", "o'o d'or c'mon x"},
		{"Eu-U.S. The x", "eu-u.s. the x"},
		{"(^_^) :-) x", "-lrb-^_^-rrb- :--rrb- x"},
	} {
		if got := tk.Caption(c.in); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

// TestNeighbours: the next line decides whether an acronym ends a sentence, as
// in the reference, and nothing else comes from it.
func TestNeighbours(t *testing.T) {
	tk := New()
	if got := tk.Captions([]string{"plan B.", "The man", "plan B.", "cats"}); !slices.Equal(got, []string{"plan b", "the man",
		"plan b.", "cats"}) {
		t.Errorf("%q", got)
	}
	if got := tk.Captions([]string{"<a b='", "' c>", "x"}); got[2] != "x" || !strings.Contains(got[1], "c") {
		t.Errorf("%q", got)
	}
}

// TestLinear: a lexer reads ten times as much of a caption that is ten times as
// long, whatever it holds.
func TestLinear(t *testing.T) {
	g, err := newGrammar(rules(), sets())
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{"a,", "word ", "a.c.", "<a b='", "x@", "don't", "1-2/", "www.a.", "a-", "I. ", ". ", "&amp;", "'",
		"A+B&", "((", "5 7", "é", "日", "I.\u00a0\u00a0", "A\u3000"} {
		scanned := func(n int) int {
			r := reader{lexer: newLexer(g)}
			r.read([]string{strings.Repeat(unit, n), "The end"}, 0)
			return r.lexer.scanned
		}
		if small, large := scanned(10_000), scanned(100_000); large > 11*small {
			t.Errorf("%q: %d units read of 10,000, %d of 100,000", unit, small, large)
		}
	}
	spaces := reader{lexer: newLexer(g)}
	spaces.read([]string{"U.S." + strings.Repeat(" ", 100_000) + "The U.S."}, 0)
	if n := spaces.lexer.scanned; n > 400_000 {
		t.Errorf("%d units read of 100,000 spaces", n)
	}
}

func FuzzCaption(f *testing.F) {
	for _, s := range []string{"A man's (5 7/8) U.S. <b>", "http://a.b/c", "\x00\xff", "<a b='\"", "a@b..c", "I. The"} {
		f.Add(s, s)
	}
	tk := New()
	f.Fuzz(func(t *testing.T, a, b string) {
		got := tk.Captions([]string{a, b})
		if got[1] != tk.Caption(b) {
			t.Errorf("the last of two: %q, alone %q", got[1], tk.Caption(b))
		}
		for _, s := range got {
			if !utf8.ValidString(s) || strings.Contains(s, "\n") || strings.HasPrefix(s, " ") || strings.Contains(s, "  ") {
				t.Errorf("%q gives %q", a, s)
			}
		}
	})
}

func BenchmarkCaptions(b *testing.B) {
	list := slices.Repeat([]string{"A man with a red helmet on a small moped on a dirt road. "}, 25000)
	tk := New()
	for b.Loop() {
		tk.Captions(list)
	}
}
