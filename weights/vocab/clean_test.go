package vocab

import (
	"slices"
	"strings"
	"testing"
	"time"
)

type cleaned struct {
	Texts, Fixed, Unescaped                 []string
	OpenAI, Lower, Whitespace, Canonicalize [][]int32
}

func readCleaned(t *testing.T) (g cleaned) {
	unpack(t, "clean.json.gz", &g)
	if len(g.Texts) < 1500 {
		t.Fatalf("%d texts", len(g.Texts))
	}
	return g
}

func TestFixedAsFtfy(t *testing.T) {
	g := readCleaned(t)
	p := &pace{ctx: t.Context()}
	wrong := 0
	for i, text := range g.Texts {
		if have := fixText(p, text); have != g.Fixed[i] {
			if wrong++; wrong <= 20 {
				t.Errorf("%+q is fixed to\n%+q, want\n%+q", text, have, g.Fixed[i])
			}
		}
		if have := unescapeHTML(text); have != g.Unescaped[i] {
			if wrong++; wrong <= 20 {
				t.Errorf("%+q is unescaped to\n%+q, want\n%+q", text, have, g.Unescaped[i])
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d are others", wrong, 2*len(g.Texts))
	}
}

func TestCleanedAsOpenAIAndOpenCLIP(t *testing.T) {
	g := readCleaned(t)
	c, err := DefaultCLIP(PadCLIP)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[Cleaning][][]int32{OpenAI: g.OpenAI, OpenCLIP: g.Lower, Whitespace: g.Whitespace, Canonicalize: g.Canonicalize}
	for how, want := range ids {
		k, err := c.Cleaned(how)
		if err != nil {
			t.Fatal(err)
		}
		wrong := 0
		for i, text := range g.Texts {
			ids := k.Encode(text, 0)
			if have := ids[1 : len(ids)-1]; !slices.Equal(have, want[i]) {
				if wrong++; wrong <= 8 {
					t.Errorf("%s: %+q has\n%v, want\n%v\n(%+q)", how, text, have, want[i], clean(&pace{ctx: t.Context()}, how, text))
				}
			}
		}
		if wrong > 0 {
			t.Errorf("%s: %d of %d have other ids", how, wrong, len(g.Texts))
		}
	}
	same, err := c.Cleaned(Transformers)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range g.Texts[:200] {
		if !slices.Equal(same.Encode(text, 77), c.Encode(text, 77)) {
			t.Errorf("%q has other ids with transformers' cleaning named", text)
		}
	}
	if _, err := c.Cleaned("soap"); err == nil || !strings.Contains(err.Error(), "canonicalize") {
		t.Errorf("an unknown cleaning: error %v", err)
	}
}

// TestLongTextsAreCleaned: what is escaped or damaged many times over is mended
// in few rounds.
func TestLongTextsAreCleaned(t *testing.T) {
	c, err := DefaultCLIP(PadCLIP)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"a", "é", "&", "&amp;", "amp;", "&#38;", "Ã©",
		"â€™", "Ã", " Ã ", "\u0301", "\n", "&lt;\n", "ﬁ", "\u0092"} {
		k, err := c.Cleaned(OpenCLIP)
		if err != nil {
			t.Fatal(err)
		}
		text := "&" + strings.Repeat(part, 1<<16/len(part))
		start := time.Now()
		if _, err := k.Tokenize(t.Context(), text, 77); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%q: 64 KB took %v", part, d)
		}
	}
}
