package models_test

import (
	"errors"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/forward"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/weights"
	"parley/weights/convert"
	"parley/weights/mini"
	"parley/weights/safetensors"
	"parley/weights/vocab"
)

// TestOneTowerAlone: a CLIP whose other tower is missing, broken or without a
// vocabulary embeds what its own is for, as the whole one does, and refuses the rest
// by name.
func TestOneTowerAlone(t *testing.T) {
	whole, err := models.OpenCLIP(models.Embedded("clip"), host.New(1))
	if err != nil {
		t.Fatal(err)
	}
	run := engine.NewRun(t.Context())
	picture := []pixels.Picture{pixels.New(40, 30, color.RGBA{200, 10, 40, 255})}
	images := func(c *models.CLIP) ([]float32, error) {
		m, err := c.EmbedImages(run, picture, models.EmbedOptions{})
		if err != nil {
			return nil, err
		}
		return m.Data().([]float32), nil
	}
	texts := func(c *models.CLIP) ([]float32, error) {
		m, err := c.EmbedTexts(run, []string{"a red apple"}, models.EmbedOptions{})
		if err != nil {
			return nil, err
		}
		return m.Data().([]float32), nil
	}
	for _, c := range []struct {
		name    string
		without string // tensors that begin so are left out
		remove  string // a file, likewise
		works   func(*models.CLIP) ([]float32, error)
		fails   func(*models.CLIP) ([]float32, error)
		err     string
	}{
		{"a tensor of the text tower is missing", "text_model.encoder.layers.1.mlp.fc1.weight", "", images, texts,
			"text_model.encoder.layers.1.mlp.fc1.weight"},
		{"the text tower is missing", "text_", "", images, texts, "without a text tower"},
		{"the picture tower is missing", "vision_", "", texts, images, "without a picture tower"},
		{"the vocabulary is missing", "", "vocab.json", images, texts, "vocab"},
		{"half of the picture tower is missing", "vision_model.encoder", "", texts, images, "vision_model"},
		{"the projection of pictures is missing", "visual_projection", "", texts, images, "visual_projection.weight"},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, mini.FS()); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(dir, "clip")
		file := filepath.Join(dir, "model.safetensors")
		set, err := weights.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		var left []weights.Entry
		for _, e := range set.Entries() {
			// Both towers alone leave out the other's projection and the scale.
			alone := c.without == "vision_" && (strings.HasPrefix(e.Name, "visual_") || e.Name == "logit_scale")
			if c.without == "" || !strings.HasPrefix(e.Name, c.without) && !alone {
				left = append(left, e)
			}
		}
		if err := safetensors.WriteFile(file+".new", left); err != nil {
			t.Fatal(err)
		}
		set.Close()
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		if c.remove != "" {
			os.Remove(filepath.Join(dir, c.remove))
		}
		if kind, ok := map[string]string{"vision_": "text", "text_": "vision"}[c.without]; ok { // as its own class saves it
			whole, err := weights.ReadConfig(os.DirFS(dir), "config.json")
			if err != nil {
				t.Fatal(err)
			}
			own, err := whole.Sub(kind + "_config")
			if err != nil {
				t.Fatal(err)
			}
			own["model_type"], own["projection_dim"] = "clip_"+kind+"_model", whole["projection_dim"]
			data, err := own.MarshalJSON()
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		m, err := models.OpenCLIP(at(t, dir), host.New(1))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want, _ := c.works(whole)
		if have, err := c.works(m); err != nil || far(have, want) > 1e-6 {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := c.fails(m); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.err)
		}
		m.Close()
		if c.without == "vision_" { // parley forward projects it, too
			in := forward.Tensors{"input_ids": engine.FromI32([]int32{3, 5, 784}, 1, 3)}
			want, err1 := forward.Once(run, "clip-text", models.Embedded("clip"), host.New(1), in, forward.Options{})
			have, err2 := forward.Once(run, "clip-text", at(t, dir), host.New(1), in, forward.Options{})
			if err := errors.Join(err1, err2); err != nil || have["text_embeds"] == nil ||
				far(have["text_embeds"].F32(), want["text_embeds"].F32()) > 1e-6 {
				t.Errorf("forward clip-text: %v, %v", have, err)
			}
		}
	}
}

// TestCleaningByFamily: OpenAI's files and open_clip's have their own tokenizers'
// cleaning, transformers' folders none, and a Source says otherwise.
func TestCleaningByFamily(t *testing.T) {
	dir := t.TempDir()
	file, open, folder := filepath.Join(dir, "openai.safetensors"), filepath.Join(dir, "open_clip.safetensors"), filepath.Join(dir, "clip")
	set, err := weights.Open("../../weights/convert/testdata/openai_clip.pt")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var theirs, plain []weights.Entry
	for _, e := range set.Entries() {
		if e.Name == "token_embedding.weight" { // with a row for every word
			v, err := weights.F32(e)
			if err != nil {
				t.Fatal(err)
			}
			const words = 49408
			all := slices.Repeat(v, words/e.Shape[0]+1)[:words*e.Shape[1]]
			e.DType, e.Shape, e.Data = "F32", []int{words, e.Shape[1]}, engine.FromF32(all, len(all)).Memory().Host
		}
		theirs = append(theirs, e)
		if !slices.Contains([]string{"input_resolution", "context_length", "vocab_size"}, e.Name) { // which OpenAI's archives have
			plain = append(plain, e)
		}
	}
	for path, list := range map[string][]weights.Entry{file: theirs, open: plain} {
		if err := safetensors.WriteFile(path, list); err != nil {
			t.Fatal(err)
		}
	}
	if err := convert.Convert(t.Context(), file, folder, convert.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path  string
		clean vocab.Cleaning
		same  bool
	}{{file, "", true}, {open, "", true}, {folder, "", false}, {file, vocab.Transformers, false}, {folder, vocab.OpenAI, true}} {
		src := at(t, c.path)
		src.Clean = c.clean
		m, err := models.OpenCLIP(src, host.New(1))
		if err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		e, err := m.EmbedTexts(engine.Run{}, []string{"a cat &amp; a dog", "a cat & a dog"}, models.EmbedOptions{})
		if err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		rows := models.Rows(e)
		if slices.Equal(rows[0], rows[1]) != c.same {
			t.Errorf("%s, cleaning %q: equal %v, want %v", c.path, c.clean, !c.same, c.same)
		}
		m.Close()
	}
}

// TestMissingConfigurations: a folder that has lost a configuration is refused, or
// what is assumed in its place is told.
func TestMissingConfigurations(t *testing.T) {
	for _, c := range []struct{ lost, index, want string }{
		{"scheduler", "{}", "no scheduler: there is no folder scheduler/"},
		{"scheduler", "", "has no folder scheduler/: that of the published models is assumed (--scheduler, --prediction)"},
		{"vae/config.json", "", "vae has no config.json: what its tensors do not tell is assumed"},
		{"none", "", ""},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("testdata/sd")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, c.lost)); err != nil {
			t.Fatal(err)
		}
		if c.index != "" {
			if err := os.WriteFile(filepath.Join(dir, "model_index.json"), []byte(c.index), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		src := at(t, dir)
		var told []string
		src.Note = func(s string) { told = append(told, s) }
		m, err := models.OpenStableDiffusion(src, host.New(1))
		if err != nil {
			told = append(told, err.Error())
		} else {
			m.Close()
		}
		if !strings.Contains(strings.Join(told, "\n"), c.want) || c.want == "" && told != nil {
			t.Errorf("without %s: %q, want %q", c.lost, told, c.want)
		}
	}
}
