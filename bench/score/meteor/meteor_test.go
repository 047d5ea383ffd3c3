package meteor

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kljensen/snowball/english"
)

const small = "../testdata/meteor"

// TestReference holds scores over a language of few words, where much competes,
// against METEOR 1.5's (testdata/reference.py).
func TestReference(t *testing.T) {
	data, err := os.ReadFile(small + "/scores.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Corpus float64
		Items  []struct {
			Caption    string
			References []string
			Score      float64
		}
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	var captions []string
	var refs, all [][]string
	for _, it := range want.Items {
		captions, refs = append(captions, it.Caption), append(refs, it.References)
	}
	all = append(append(all, refs...), captions)
	if len(captions) < 600 {
		t.Fatalf("%d captions", len(captions))
	}
	for name, keep := range map[string][][]string{"all paraphrases": nil, "those that may come": all} {
		s, err := Open(small, keep)
		if err != nil {
			t.Fatal(err)
		}
		corpus, each, err := s.Captions(captions, refs)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(corpus-want.Corpus) > 1e-12 {
			t.Errorf("%s: %v, want %v", name, corpus, want.Corpus)
		}
		for i, v := range each {
			if !(math.Abs(v-want.Items[i].Score) <= 1e-12) {
				t.Errorf("%s: %q against %q: %v, want %v", name, captions[i], refs[i], v, want.Items[i].Score)
			}
		}
	}
}

// TestStems holds the stemmer against METEOR's Snowball English.
func TestStems(t *testing.T) {
	f, err := os.Open("../testdata/stems.tsv.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(b.String()) {
		word, want, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if got := english.Stem(word, true); got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
		n++
	}
	if n < 20000 {
		t.Errorf("%d words", n)
	}
}

func TestOddCaptions(t *testing.T) {
	s, err := Open(small, nil)
	if err != nil {
		t.Fatal(err)
	}
	corpus, each, err := s.Captions([]string{"", "cat", "", "日本 ünï 😀"}, [][]string{{"cat"}, {""}, {""}, {"日本 ünï 😀"}})
	if err != nil || each[0] != 0 || each[1] != 0 || each[2] != 0 || each[3] != 1 || math.IsNaN(corpus) {
		t.Errorf("%v %v %v", corpus, each, err)
	}
	if corpus, each, err = s.Captions(nil, nil); err != nil || corpus != 0 || len(each) != 0 {
		t.Errorf("of nothing: %v %v %v", corpus, each, err)
	}
	if _, _, err := s.Captions([]string{"a"}, nil); err == nil {
		t.Error("a caption without references")
	}
}

// TestLong: what would take for ever is refused.
func TestLong(t *testing.T) {
	s, err := Open(small, nil)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for _, c := range []struct{ caption, want string }{
		{strings.Repeat("cat ", 100_000), "100000 words"},
		{strings.Repeat("cat ", MaxWords), "matches of words"},
	} {
		_, _, err := s.Captions([]string{"cat", c.caption}, [][]string{{"cat"}, {strings.Repeat("cat ", MaxWords-1)}})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "caption 2") {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestMissing(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	dir := t.TempDir()
	var missing *MissingError
	if _, err := Open(dir, nil); !errors.As(err, &missing) || missing.Dir != dir {
		t.Errorf("an empty folder: %v", err)
	}
	if err := os.CopyFS(dir, os.DirFS(small)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(paraphraseFile, "no gzip")
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), paraphraseFile) {
		t.Errorf("broken paraphrases: %v", err)
	}
	write(synsetFile, "cat\nx\n")
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), "english.synsets: line 2") {
		t.Errorf("broken synsets: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, exceptionFile)); err != nil {
		t.Fatal(err)
	}
	write(synsetFile, "cat\n1\n")
	if _, err := Open(dir, nil); !errors.As(err, &missing) || missing.File != exceptionFile {
		t.Errorf("no exceptions: %v", err)
	}
}

func FuzzParaphrases(f *testing.F) {
	f.Add("0.5\na cat\nthe cat\n0.1\na\nthe\n", "a cat")
	f.Add("0.5\n\n\n", "")
	f.Add("1\na", "a a")
	f.Fuzz(func(t *testing.T, file, line string) {
		var p table
		if err := p.read(newLines(strings.NewReader(file)), nil); err != nil {
			return
		}
		var words []int32
		for _, w := range strings.Fields(line) {
			n, ok := p.words[w]
			if !ok {
				n = -1
			}
			words = append(words, n)
		}
		p.paraphrases(words, func(n int, par []int32) {
			if n < 1 || n > len(words) {
				t.Errorf("%d of %d words", n, len(words))
			}
		})
	})
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"U.S. -- it's", "a.. b... c", "1,000 'n' ``x''", "DOTMULTI. DOTDOTMULTI"} {
		f.Add(s)
	}
	n := newNormalizer(map[string]bool{"vs": false, "pp": true})
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1000 {
			return
		}
		for _, w := range n.words(s) {
			if w == "" || strings.ContainsAny(w, " \n\t") {
				t.Errorf("%q gives %q", s, w)
			}
		}
	})
}

// BenchmarkOpen reads METEOR's own data, from the folder that PARLEY_METEOR_DATA
// names, for any captions and for those of the Karpathy test split.
func BenchmarkOpen(b *testing.B) {
	dir := os.Getenv("PARLEY_METEOR_DATA")
	if dir == "" {
		b.Skip("PARLEY_METEOR_DATA names no folder")
	}
	f, err := os.Open("../testdata/karpathy.tsv.gz")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(z); err != nil {
		b.Fatal(err)
	}
	for name, captions := range map[string][][]string{"all": nil, "Karpathy": {strings.Split(strings.ReplaceAll(text.String(), "\t",
		"\n"), "\n")}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s, err := Open(dir, captions)
				if err != nil {
					b.Fatal(err)
				}
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				a := s.free.Get().(*aligner)
				b.ReportMetric(float64(len(a.paraphrase.start)), "pairs")
				b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB")
			}
		})
	}
}

func BenchmarkCaptions(b *testing.B) {
	s, err := Open(small, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := s.Captions([]string{"the big cat looked at a red mouse on the sea"},
			[][]string{{"a large kitty looking at the mice in the ocean", "a hound in the red sea"}}); err != nil {
			b.Fatal(err)
		}
	}
}
