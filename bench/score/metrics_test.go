package score

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/bench/score/ptb"
)

func unzip(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// karpathy is the first caption of each image of the Karpathy test split, the
// others its references.
func karpathy(t testing.TB) (items []Item) {
	t.Helper()
	for line := range strings.Lines(string(unzip(t, "karpathy.tsv.gz"))) {
		c := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		items = append(items, Item{Caption: c[0], References: c[1:]})
	}
	if len(items) != 5000 {
		t.Fatalf("%d images", len(items))
	}
	return items
}

func golden(t testing.TB) map[string]any {
	t.Helper()
	data, err := os.ReadFile("testdata/karpathy.json")
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestKarpathy holds all metrics against the reference implementation, the
// whole and image by image. METEOR is among them where PARLEY_METEOR_DATA names
// the folder of its data.
func TestKarpathy(t *testing.T) {
	data := os.Getenv("PARLEY_METEOR_DATA")
	r, err := Captions(karpathy(t), Options{MeteorData: data})
	if err != nil {
		t.Fatal(err)
	}
	want, raw := golden(t), unzip(t, "karpathy.bin.gz")
	each := map[string][]byte{}
	for i, name := range []string{"Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr", "METEOR"} {
		each[name] = raw[8*5000*i:]
	}
	compared := 0
	for _, m := range r.Metrics {
		compared++
		if w := want[m.Name].(float64); !(math.Abs(m.Value-w) <= 1e-9) {
			t.Errorf("%s: %v, want %v", m.Name, m.Value, w)
		}
		if each[m.Name] == nil { // of the plain CIDEr there is the mean only
			continue
		}
		worst, at := 0.0, 0
		for i, v := range m.Each {
			if d := math.Abs(v - math.Float64frombits(binary.LittleEndian.Uint64(each[m.Name][8*i:]))); !(d <= worst) {
				worst, at = d, i
			}
		}
		if !(worst <= 1e-9) {
			t.Errorf("%s of image %d is off by %g", m.Name, at, worst)
		}
	}
	if least := 7; data != "" && compared != least+1 || data == "" && compared != least {
		t.Errorf("compared %d metrics", compared)
	}
}

// TestFrequenciesOfParts: CIDEr-D of parts of a data set, of the sizes of NoCaps' domains,
// is another with document frequencies of their own than with those of the whole.
func TestFrequenciesOfParts(t *testing.T) {
	cider := func(items []Item) Metric {
		r, err := Captions(items, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Metrics[slices.IndexFunc(r.Metrics, func(m Metric) bool { return m.Name == "CIDEr" })]
	}
	items := karpathy(t)[:4500]
	whole, own, at := cider(items), 0.0, 0
	for _, n := range []int{651, 2938, 911} {
		part := cider(items[at : at+n]).Value
		t.Logf("of %d: %.3f by its own frequencies, %.3f by those of all", n, part, mean(whole.Each[at:at+n]))
		own += part * float64(n) / 4500
		at += n
	}
	if t.Logf("of all: %.3f, of the parts by their own frequencies %.3f", whole.Value, own); own < whole.Value+.01 {
		t.Error("frequencies of parts make no difference")
	}
}

// TestKarpathyTokens holds the tokens of all captions against CoreNLP's.
func TestKarpathyTokens(t *testing.T) {
	var captions, refs []string
	for _, it := range karpathy(t) {
		captions, refs = append(captions, it.Caption), append(refs, it.References...)
	}
	tokenizer, h := ptb.New(), sha256.New()
	for _, list := range [][]string{refs, captions} {
		for _, c := range tokenizer.Captions(list) {
			io.WriteString(h, c+"\n")
		}
	}
	if got, want := hex.EncodeToString(h.Sum(nil)), golden(t)["tokens_sha256"]; got != want {
		t.Errorf("tokens %s, want %s", got, want)
	}
}

func TestTable(t *testing.T) {
	r, err := Captions([]Item{{ID: "1", Caption: "A cat.", References: []string{"a cat"}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.Table(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Bleu_4", "CIDEr-D", "METEOR is left out", "idf is degenerate", "1 images"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func BenchmarkKarpathy(b *testing.B) {
	items := karpathy(b)
	for b.Loop() {
		if _, err := Captions(items, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
