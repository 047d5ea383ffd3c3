package judge

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gorgonia.org/tensor"

	"parley/bench/score"
	"parley/bench/score/wmd"
	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/weights/mini"
)

// toy embeds a text by how many of a few letters it has.
type toy struct{ texts *[]string }

func (m toy) EmbedTexts(_ engine.Run, texts []string) (*tensor.Dense, error) {
	*m.texts = append(*m.texts, texts...)
	var all []float32
	for _, t := range texts {
		for _, letter := range "abc" {
			all = append(all, float32(strings.Count(t, string(letter))))
		}
	}
	return tensor.New(tensor.WithShape(len(texts), 3), tensor.WithBacking(all)), nil
}

func TestSimilarity(t *testing.T) {
	var seen []string
	items := []score.Item{{ID: "1", Caption: "ab", References: []string{"a", "b", "c", "ab"}},
		{ID: "2", Caption: "a", References: []string{"a", "bbb"}}}
	got, err := Similarity(engine.NewRun(t.Context()), toy{&seen}, items)
	if err != nil || math.Abs(got[0]-(2*math.Sqrt2/2+1)/4) > 1e-9 || math.Abs(got[1]-.5) > 1e-9 {
		t.Errorf("%v, %v", got, err)
	}
	if fmt.Sprint(seen) != "[ab a b c bbb]" {
		t.Errorf("embedded %q: want each text once", seen)
	}
	for want, it := range map[string]score.Item{"image 3: an embedding is zero": {ID: "3", Caption: "x", References: []string{"a"}},
		"image 4: no references": {ID: "4", Caption: "a"}} {
		if _, err := Similarity(engine.NewRun(t.Context()), toy{&seen}, []score.Item{it}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestWordMover: the mean over references, without stop words unless they are kept.
func TestWordMover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.txt")
	if err := os.WriteFile(path, []byte("cat 0 3\ndog 4 0\nthe 0 0\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	v, err := wmd.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	caption := strings.Fields("the cat")
	refs := [][]string{strings.Fields("the dog"), {"cat"}, {"unknown"}}
	if got, err := (WordMover{Vectors: v}).Distance(caption, refs); err != nil || math.Abs(got-2.5) > 1e-9 {
		t.Errorf("%v, %v", got, err)
	}
	// "the" stays; "the" moves 3 to "cat", half of it.
	if got, err := (WordMover{v, true}).Distance(caption, refs); err != nil || math.Abs(got-(2.5+1.5)/2) > 1e-9 {
		t.Errorf("with stop words: %v, %v", got, err)
	}
	for _, c := range [][]string{{"the"}, nil} {
		if _, err := (WordMover{Vectors: v}).Distance(c, refs); !errors.Is(err, wmd.ErrNoWords) {
			t.Errorf("%q: %v", c, err)
		}
	}
}

func openCLIP(t *testing.T) Pictures {
	t.Helper()
	m, err := models.OpenCLIP(models.Embedded("clip"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m.Judge(models.EmbedOptions{})
}

// TestAdd judges the miniature world's captions: more than a batch of pictures, of
// which one is broken and one missing.
func TestAdd(t *testing.T) {
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var list strings.Builder
	var items []score.Item
	for i, s := range scenes[:20] {
		name, data := fmt.Sprintf("%d.png", i), s.PNG
		if i == 3 {
			data = []byte("no picture")
		}
		if i != 18 {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintf(&list, "%s\t%s\n", name, s.Captions[0])
		items = append(items, score.Item{ID: name, Caption: s.Captions[0], References: s.Captions[1:]})
	}
	dataset := filepath.Join(dir, "captions.tsv")
	if err := os.WriteFile(dataset, []byte(list.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	src, err := models.At("../../../nets/testdata/sbert")
	if err != nil {
		t.Fatal(err)
	}
	sbert, err := models.OpenSBERT(src, host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer sbert.Close()
	run, clip := engine.NewRun(t.Context()), openCLIP(t)
	vectors := filepath.Join(dir, "vectors.txt")
	// Words of the first scene's captions, so that others have none.
	var words strings.Builder
	tokens, refs, err := score.Tokens(items, score.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range strings.Fields(tokens[0] + " " + strings.Join(refs[0], " ")) {
		fmt.Fprintf(&words, "%s %d 1\n", w, i)
	}
	if err := os.WriteFile(vectors, []byte(words.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	r, err := score.Captions(items, score.Options{})
	if err != nil {
		t.Fatal(err)
	}
	failed, err := Add(run, r, items, Options{SBERT: sbert, Vectors: vectors, CLIP: clip, Dataset: dataset, Images: dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(failed) != 2 || !strings.Contains(failed[0].Error(), "3.png") || !strings.Contains(failed[1].Error(), "18.png") {
		t.Errorf("failed: %v", failed)
	}
	each := map[string][]float64{}
	for _, m := range r.Metrics {
		each[m.Name] = m.Each
		if m.Name == "WMD" || m.Name == "CLIPScore" {
			want, missing := score.Mean(m.Name, m.Each)
			if m.Value != want.Value || math.IsNaN(m.Value) || missing < 2 || missing == 20 {
				t.Errorf("%s: %v, %d missing", m.Name, m.Value, missing)
			}
		}
	}
	// Each score is the item's own.
	for i, it := range items {
		s, err := Similarity(run, sbert, items[i:i+1])
		if err != nil || math.Abs(s[0]-each["SBERT"][i]) > 1e-6 {
			t.Errorf("SBERT of %s: %v, alone %v, %v", it.ID, each["SBERT"][i], s, err)
		}
		if i == 3 || i == 18 {
			if !math.IsNaN(each["CLIPScore"][i]) || !math.IsNaN(each["RefCLIPScore"][i]) {
				t.Errorf("%s has scores", it.ID)
			}
			continue
		}
		p, err := pixels.Decode(strings.NewReader(string(scenes[i].PNG)))
		if err != nil {
			t.Fatal(err)
		}
		image, err1 := clip.EmbedImages(run, []pixels.Picture{p})
		texts := []string{"A photo depicts " + it.Caption}
		for _, ref := range it.References {
			texts = append(texts, "A photo depicts "+ref)
		}
		text, err2 := clip.EmbedTexts(run, texts)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		c := 2.5 * max(models.Cosines(image, text)[0][0], 0)
		near := 0.0
		for _, v := range models.Cosines(text, text)[0][1:] {
			near = max(near, v)
		}
		if math.Abs(each["CLIPScore"][i]-c) > 1e-5 || math.Abs(each["RefCLIPScore"][i]-2*c*near/(c+near)) > 1e-5 {
			t.Errorf("%s: %v and %v, want %v and %v", it.ID, each["CLIPScore"][i], each["RefCLIPScore"][i], c, 2*c*near/(c+near))
		}
	}
	notes := strings.Join(r.Notes, "\n")
	for _, want := range []string{"CLIPScore leaves 2 of 20 captions out, which have no picture that can be read", "WMD leaves "} {
		if !strings.Contains(notes, want) {
			t.Errorf("no %q in %s", want, notes)
		}
	}
	// A caption beside the picture of another scene scores less.
	other, err := pixels.Decode(strings.NewReader(string(scenes[7].PNG)))
	if err != nil {
		t.Fatal(err)
	}
	if s, _, err := CLIPScores(run, clip, items[:1], []pixels.Picture{other}); err != nil || !(s[0] < each["CLIPScore"][0]) {
		t.Errorf("beside another picture %v, beside its own %v, %v", s, each["CLIPScore"][0], err)
	}
}
