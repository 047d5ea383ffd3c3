package models_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/prompt"
	"parley/nets/rerank"
	"parley/weights"
	"parley/weights/inversion"
	"parley/weights/mini"
)

// pictures draws texts in two small steps.
func pictures(t *testing.T, p *models.StableDiffusion, change func(*models.DrawOptions), texts ...string) []*pixels.Image {
	t.Helper()
	o := p.Defaults
	o.Steps, o.Guidance, o.Width, o.Height = 2, 4, 16, 16
	if change != nil {
		change(&o)
	}
	out := make([]*pixels.Image, len(texts))
	err := p.Draw(engine.NewRun(t.Context()), texts, slices.Repeat([]uint64{3}, len(texts)), o, func(i int, d rerank.Drawing) {
		if d.Err != nil {
			t.Fatalf("%q: %v", texts[i], d.Err)
		}
		m, err := d.Picture.Host()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = m
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func openMini(t *testing.T, x models.Extras) *models.StableDiffusion {
	t.Helper()
	p, err := models.OpenStableDiffusionWith(models.Embedded("sd"), host.New(2), x)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// TestTokenizersLength: a tokenizer's model_max_length cuts texts before the net's
// length does, as in diffusers' and transformers' pipelines.
func TestTokenizersLength(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, mini.FS()); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"sd/tokenizer/tokenizer_config.json", "clip/tokenizer_config.json"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err == nil {
			data = []byte(strings.Replace(string(data), `"model_max_length": 32`, `"model_max_length": 6`, 1))
			err = os.WriteFile(filepath.Join(dir, file), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	p, err := models.OpenStableDiffusion(at(t, filepath.Join(dir, "sd")), host.New(1))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if ids := p.Encode([]string{"a red apple"}); len(ids[0]) != 6 {
		t.Errorf("%d ids", len(ids[0]))
	}
	c, err := models.OpenCLIP(at(t, filepath.Join(dir, "clip")), host.New(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m, err := c.EmbedTexts(engine.NewRun(t.Context()), []string{"a red apple", "a red apple and a pear"}, models.EmbedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v := m.Data().([]float32)
	if n := len(v) / 2; far(v[:n], v[n:]) != 0 {
		t.Error("what is behind 6 tokens changes an embedding")
	}
	if lost, err := c.Lost(t.Context(), "a red apple and a pear"); err != nil || lost != "and a pear" {
		t.Errorf("lost %q, %v", lost, err)
	}
}

// chunks reads prompts in chunks.
func chunks(o *models.DrawOptions) { o.Chunks = true }

// TestLongPrompts: what is beyond the text encoder's tokens is named and changes
// nothing where it is cut; in chunks it changes the picture, whatever is drawn beside
// it, and so do weights.
func TestLongPrompts(t *testing.T) {
	p := openMini(t, models.Extras{})
	long := strings.Repeat("red apple ", 20)
	a, b := long+"on the grass", long+"at night"
	lost, err := p.Lost(t.Context(), a)
	if err != nil || !strings.HasSuffix(lost, "on the grass") || !strings.HasPrefix(lost, "red apple") || len(lost) >= len(a) {
		t.Errorf("%q is lost, %v", lost, err)
	}
	if lost, err := p.Lost(t.Context(), "a cat"); lost != "" || err != nil {
		t.Errorf("%q is lost of a short prompt, %v", lost, err)
	}
	cut := pictures(t, p, nil, a, b)
	if !slices.Equal(cut[0].Pix, cut[1].Pix) {
		t.Error("the end of a prompt that is cut changes the picture")
	}
	whole := pictures(t, p, chunks, a, "a cat", b, "a cat (at night:1.3)", "a cat at night", "a cat BREAK at night")
	for i, x := range whole {
		for j, y := range whole[:i] {
			if slices.Equal(x.Pix, y.Pix) {
				t.Errorf("drawings %d and %d in chunks are equal", i, j)
			}
		}
	}
	if alone := pictures(t, p, chunks, b)[0]; !slices.Equal(alone.Pix, whole[2].Pix) {
		t.Error("a prompt in chunks depends on those beside it")
	}
	if plain := pictures(t, p, nil, "a cat")[0]; !slices.Equal(plain.Pix, whole[1].Pix) {
		t.Error("a short prompt without weights is another picture in chunks")
	}
	negative := func(s string) *pixels.Image {
		return pictures(t, p, func(o *models.DrawOptions) { o.Chunks, o.Negative = true, s }, "a cat")[0]
	}
	if slices.Equal(negative(a).Pix, negative(b).Pix) {
		t.Error("the end of a negative prompt in chunks changes nothing")
	}
}

// TestStatesOfChunks: the states of a prompt are those of its chunks one behind the
// other, times their weights.
func TestStatesOfChunks(t *testing.T) {
	p := openMini(t, models.Extras{})
	s := engine.NewStream(t.Context(), host.New(1))
	defer s.Close()
	rows := p.Encode([]string{"red apples", "a dog at night"})
	size, width := p.Pipeline.Text.Size()
	get := func(ids [][]int32, weights [][]float32) []float32 {
		h, err := p.Pipeline.Text.Encode(s, ids, weights, 0)
		if err != nil {
			t.Fatal(err)
		}
		if want := len(ids) * len(ids[0]) * width; h.Elems() != want {
			t.Fatalf("states %v", h.Shape())
		}
		return slices.Clone(h.F32())
	}
	apart := get(rows, nil)
	both := slices.Concat(rows...)
	if e := far(get([][]int32{both}, nil), apart); e > 1e-6 {
		t.Errorf("the states of two chunks are %.2g from theirs apart", e)
	}
	weights := slices.Repeat([]float32{1}, 2*size)
	weights[2], weights[size+1] = 1.5, 0.5
	want := slices.Clone(apart)
	if err := prompt.Weigh(want, []prompt.Chunk{{IDs: rows[0], Weights: weights[:size]}, {IDs: rows[1],
		Weights: weights[size:]}}); err != nil {
		t.Fatal(err)
	}
	have := get([][]int32{both, both}, [][]float32{weights, nil})
	if e := far(have[:len(want)], want); e > 1e-6 {
		t.Errorf("weighted states are %.2g off", e)
	}
	if e := far(have[len(want):], apart); e > 1e-6 {
		t.Errorf("states of the row beside weighted ones are %.2g off", e)
	}
	if e := far(want, apart); e < 1e-3 {
		t.Errorf("weights change the states by %.2g", e)
	}
}

// TestTextualInversion: a name whose vector is a word's draws what the word draws,
// and so do several vectors in a row.
func TestTextualInversion(t *testing.T) {
	plain := openMini(t, models.Extras{})
	ids := plain.Encode([]string{"red cat"})[0][1:]
	ids = ids[:slices.Index(ids, ids[len(ids)-1])] // without the end and its padding
	set, err := weights.OpenFS(mini.FS(), "sd/text_encoder")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var table []float32
	for _, e := range set.Entries() {
		if strings.HasSuffix(e.Name, "token_embedding.weight") {
			if table, err = weights.F32(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	width := plain.Text.Width
	vectors := func(ids ...int32) []float32 {
		var v []float32
		for _, id := range ids {
			v = append(v, table[int(id)*width:(int(id)+1)*width]...)
		}
		return v
	}
	taught := openMini(t, models.Extras{Embeddings: []*inversion.Embedding{
		{File: "a.pt", Names: []string{"zyx"}, Vectors: vectors(ids[len(ids)-1]), Rows: 1, Dim: width},
		{File: "b.pt", Names: []string{"qqq"}, Vectors: vectors(ids...), Rows: len(ids), Dim: width},
	}})
	for _, change := range []func(*models.DrawOptions){nil, chunks} {
		want := pictures(t, plain, change, "a cat", "a red cat")
		have := pictures(t, taught, change, "a zyx", "a qqq", "a cat")
		if !slices.Equal(have[0].Pix, want[0].Pix) || !slices.Equal(have[1].Pix, want[1].Pix) {
			t.Error("names do not draw what the words with their vectors draw")
		}
		if !slices.Equal(have[2].Pix, want[0].Pix) {
			t.Error("words draw something else beside names")
		}
		if without := pictures(t, plain, change, "a zyx"); slices.Equal(without[0].Pix, want[0].Pix) {
			t.Error("the name draws that without its vectors")
		}
	}
	_, err = models.OpenStableDiffusionWith(models.Embedded("sd"), host.New(1), models.Extras{Embeddings: []*inversion.Embedding{
		{File: "xl.pt", Names: []string{"zyx"}, Vectors: make([]float32, width+1), Rows: 1, Dim: width + 1}}})
	if err == nil || !strings.Contains(err.Error(), "xl.pt") {
		t.Errorf("vectors of another width: %v", err)
	}
}

// TestAnotherVAE: pictures are decoded by the autoencoder that is named.
func TestAnotherVAE(t *testing.T) {
	louder := spoiled(t, "sd", "vae/diffusion_pytorch_model.safetensors", func(name string, v []float32) {
		if name == "decoder.conv_out.weight" {
			for i := range v {
				v[i] *= 1.5
			}
		}
	})
	own, err := models.OpenStableDiffusion(louder, host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	want := pictures(t, own, nil, "a cat")[0]
	for _, at := range []models.Source{louder, at(t, filepath.Join(louder.String(), "vae"))} {
		have := pictures(t, openMini(t, models.Extras{VAE: &at}), nil, "a cat")[0]
		worst := 0.0
		for i, v := range have.Pix {
			worst = max(worst, math.Abs(float64(v)-float64(want.Pix[i])))
		}
		if worst > 1 {
			t.Errorf("%s: %v of 255 off", at, worst)
		}
	}
	if plain := pictures(t, openMini(t, models.Extras{}), nil, "a cat")[0]; slices.Equal(plain.Pix, want.Pix) {
		t.Error("the other autoencoder gives the same picture")
	}
}

// TestClipSkip: each layer that is left out changes the picture; more than there are
// is an error.
func TestClipSkip(t *testing.T) {
	p := openMini(t, models.Extras{})
	var all []*pixels.Image
	for skip := range 3 {
		all = append(all, pictures(t, p, func(o *models.DrawOptions) { o.ClipSkip = skip }, "a cat")...)
	}
	if slices.Equal(all[0].Pix, all[1].Pix) || slices.Equal(all[1].Pix, all[2].Pix) {
		t.Error("clip skip changes nothing")
	}
	o := p.Defaults
	o.ClipSkip = 3
	err := p.Draw(engine.NewRun(t.Context()), []string{"a cat"}, []uint64{1}, o, func(_ int, d rerank.Drawing) {
		if d.Err == nil || !strings.Contains(d.Err.Error(), "clip skip 3") {
			t.Errorf("clip skip 3 of 3 layers: %v", d.Err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}
