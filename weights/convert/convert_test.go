package convert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"parley/engine"
	"parley/weights"
	"parley/weights/safetensors"
	"parley/weights/vocab"
)

// want is what transformers and diffusers save for the parts (goldens.py).
func want(t *testing.T) map[string]map[string][3]any {
	t.Helper()
	data, err := os.ReadFile("testdata/want.json")
	if err != nil {
		t.Fatal(err)
	}
	var w map[string]map[string][3]any
	if err := json.Unmarshal(data, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

func same3(t *testing.T, part string, s *weights.Set, w map[string][3]any) {
	t.Helper()
	if s == nil {
		t.Fatalf("no %s", part)
	}
	if len(w) == 0 || s.Len() != len(w) {
		t.Errorf("%s: %d tensors, want %d", part, s.Len(), len(w))
	}
	for _, name := range s.Names() {
		e, _ := s.Entry(name)
		have := fmt.Sprintf("[%s %v %x]", e.DType, []int(e.Shape), sha256.Sum256(e.Data))
		if want := fmt.Sprint(w[name]); have != want {
			t.Errorf("%s: %s: have %s, want %s", part, name, have, want)
		}
	}
}

func TestCanonical(t *testing.T) {
	w := want(t)
	for file, parts := range map[string][]string{
		"openai_clip.pt":      {CLIP},
		"salesforce_blip.pth": {BLIP},
		"ldm_sd1.safetensors": {UNet, VAE, TextEncoder},
		"ldm_sd2.ckpt":        {UNet, VAE, TextEncoder},
		"old_vae.safetensors": {VAE},
	} {
		t.Run(file, func(t *testing.T) {
			set, err := weights.Open(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			have, err := Canonical(set)
			if err != nil {
				t.Fatal(err)
			}
			if len(have) != len(parts) {
				t.Errorf("%d parts, want %v", len(have), parts)
			}
			for _, part := range parts {
				same3(t, part, have[part], w[part])
				// What is canonical stays as it is.
				again, err := Canonical(have[part])
				if err != nil {
					t.Fatal(err)
				}
				same3(t, part, again[part], w[part])
			}
		})
	}
}

func entry(name string, dims ...int) weights.Entry {
	s := engine.Shape(dims)
	return weights.Entry{Name: name, DType: "F16", Shape: s, Data: make([]byte, 2*s.Elems()), File: "f"}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		want    string
		entries []weights.Entry
	}{
		{"f: not a checkpoint of CLIP, BLIP, Stable Diffusion, BERT, ViT or Inception v3; it begins with a, b",
			[]weights.Entry{entry("b", 1), entry("a", 1)}},
		{"a Stable Diffusion XL checkpoint", []weights.Entry{entry("model.diffusion_model.out.0.bias", 1),
			entry("conditioner.embedders.0.x", 1)}},
		{"a CLIP with a ResNet", []weights.Entry{entry("visual.layer1.0.conv1.weight", 1)}},
		{"f: visual.what: a tensor that this layout does not have", []weights.Entry{entry("visual.conv1.weight", 1, 1, 1, 1),
			entry("visual.what", 1)}},
		{"have [4], want rows that divide by 3", []weights.Entry{entry("visual.conv1.weight", 1, 1, 1, 1),
			entry("transformer.resblocks.0.attn.in_proj_bias", 4)}},
		{"visual.proj: have [3], want a matrix", []weights.Entry{entry("visual.conv1.weight", 1, 1, 1, 1), entry("visual.proj", 3)}},
	} {
		_, err := Canonical(weights.NewSet(c.entries))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("have %v, want %s", err, c.want)
		}
	}
}

func TestConvert(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	for _, dst := range []string{one, two} {
		if err := Convert(ctx, "testdata/ldm_sd1.safetensors", dst, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	w := want(t)
	for _, part := range []string{UNet, VAE, TextEncoder} {
		set, err := weights.Open(filepath.Join(one, part))
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		same3(t, part, set, w[part])
	}
	c, err := weights.ReadConfig(os.DirFS(one), "unet/config.json")
	if err != nil {
		t.Fatal(err)
	}
	r := c.Reader()
	if ch := r.Ints("block_out_channels", nil); fmt.Sprint(ch) != "[4 8]" || r.Int("cross_attention_dim", 0) != 8 ||
		r.Int("layers_per_block", 0) != 1 ||
		fmt.Sprint(r.Strings("up_block_types", nil)) != "[UpBlock2D CrossAttnUpBlock2D]" || r.Err() != nil {
		t.Errorf("%v, %v", c, r.Err())
	}
	// The folder converts to itself, and the same source to the same bytes.
	three := filepath.Join(dir, "three")
	if err := Convert(ctx, one, three, Options{}); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(one, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(one, path)
		a, _ := os.ReadFile(path)
		for _, other := range []string{two, three} {
			b, err := os.ReadFile(filepath.Join(other, rel))
			if err != nil || !bytes.Equal(a, b) {
				t.Errorf("%s differs in %s: %v", rel, other, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Convert(ctx, one, two, Options{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an existing folder: %v", err)
	}
	if err := Convert(ctx, one, filepath.Join(dir, "x"), Options{DType: "int4"}); err == nil ||
		!strings.Contains(err.Error(), "want F32, F16 or BF16") {
		t.Errorf("have %v", err)
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if err := Convert(stopped, one, filepath.Join(dir, "x"), Options{DType: "f32"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 3 {
		t.Errorf("left behind: %v", left)
	}
	wide := filepath.Join(dir, "wide")
	if err := Convert(ctx, "testdata/openai_clip.pt", wide, Options{DType: "f32"}); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Map(filepath.Join(wide, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, e := range f.Tensors {
		if e.DType != "F32" {
			t.Errorf("%s: %s", e.Name, e.DType)
		}
	}
}

// TestConvertShards: of a folder in shards one file is written, and the index stays
// behind, since it would send readers to what is not there.
func TestConvertShards(t *testing.T) {
	src := t.TempDir()
	list, err := weights.Open("testdata/old_vae.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	shards := map[string][]weights.Entry{}
	names := map[string]string{}
	for i, e := range list.Entries() {
		file := fmt.Sprintf("diffusion_pytorch_model-%05d-of-00002.safetensors", i%2+1)
		shards[file], names[e.Name] = append(shards[file], e), file
	}
	for file, entries := range shards {
		if err := safetensors.WriteFile(filepath.Join(src, file), entries); err != nil {
			t.Fatal(err)
		}
	}
	index, err := json.Marshal(map[string]any{"weight_map": names})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.fp16.json"} {
		if err := os.WriteFile(filepath.Join(src, name), index, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dst := filepath.Join(t.TempDir(), "vae")
	if err := Convert(context.Background(), src, dst, Options{}); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dst)
	if err != nil || len(files) != 2 || files[0].Name() != "config.json" || files[1].Name() != "diffusion_pytorch_model.safetensors" {
		t.Errorf("%v, %v", files, err)
	}
	set, err := weights.Open(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	parts, err := Canonical(list)
	if err != nil || set.Len() != parts[VAE].Len() {
		t.Errorf("%d tensors: %v", set.Len(), err)
	}
}

// slow counts how much is written between two calls of Sync.
type slow struct{ most, now int }

func (s *slow) Write(p []byte) (int, error) {
	s.now += len(p)
	s.most = max(s.most, s.now)
	return len(p), nil
}

func (s *slow) Sync() error {
	s.now = 0
	return nil
}

// TestPieces: the disk gets what is written a part at a time, since the rest would come
// at the end, when nobody can stop it.
func TestPieces(t *testing.T) {
	s := &slow{}
	p := &pieces{ctx: context.Background(), w: s}
	if n, err := p.Write(make([]byte, syncedPiece+3*piece)); err != nil || n != syncedPiece+3*piece {
		t.Fatal(n, err)
	}
	if s.most > syncedPiece || s.now == 0 {
		t.Errorf("%d bytes without a sync, then %d", s.most, s.now)
	}
}

// edited is a copy of a checkpoint under testdata with its tensors renamed, in
// a folder of its own. An empty name drops one.
func edited(t *testing.T, from, file string, rename func(string) string, more ...weights.Entry) string {
	t.Helper()
	set, err := weights.Open(filepath.Join("testdata", from))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	list := more
	for _, e := range set.Entries() {
		if e.Name = rename(e.Name); e.Name != "" {
			list = append(list, e)
		}
	}
	path := filepath.Join(t.TempDir(), file)
	if err := safetensors.WriteFile(path, weights.NewSet(list).Entries()); err != nil {
		t.Fatal(err)
	}
	return path
}

func inferred(t *testing.T, path, part string) (weights.Config, error) {
	t.Helper()
	set, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	parts, err := Canonical(set)
	if err != nil {
		return nil, err
	}
	return InferConfig(part, parts[part])
}

// TestInferredSizes: the configurations that shapes tell are those that
// testdata/goldens.py made the checkpoints with, and beside them what the published
// models have.
func TestInferredSizes(t *testing.T) {
	const tower = `"hidden_size":8,"intermediate_size":16,"num_hidden_layers":2,"num_attention_heads":1,`
	for _, c := range []struct{ file, part, want string }{
		{"salesforce_blip.pth", BLIP, `{"model_type":"blip","vision_config":{` + tower + `"image_size":8,"patch_size":4,
			"hidden_act":"gelu","layer_norm_eps":1e-5},"text_config":{` + tower + `"vocab_size":20,"max_position_embeddings":7,
			"encoder_hidden_size":8,"bos_token_id":18,"sep_token_id":102,"pad_token_id":0,"is_decoder":true,"hidden_act":"gelu",
			"layer_norm_eps":1e-12}}`},
		{"ldm_sd1.safetensors", TextEncoder, `{"model_type":"clip_text_model",` + tower + `"vocab_size":20,"max_position_embeddings":7,
			"bos_token_id":18,"eos_token_id":19,"hidden_act":"quick_gelu","layer_norm_eps":1e-5}`},
		{"ldm_sd1.safetensors", UNet, `{"in_channels":4,"out_channels":4,"block_out_channels":[4,8],"layers_per_block":1,
			"down_block_types":["CrossAttnDownBlock2D","DownBlock2D"],"up_block_types":["UpBlock2D","CrossAttnUpBlock2D"],
			"mid_block_type":"UNetMidBlock2DCrossAttn","cross_attention_dim":8,"attention_head_dim":8,"norm_num_groups":4,
			"norm_eps":1e-5,"act_fn":"silu","flip_sin_to_cos":true,"freq_shift":0,"downsample_padding":1,"sample_size":64}`},
		{"ldm_sd1.safetensors", VAE, `{"in_channels":3,"out_channels":3,"latent_channels":4,"block_out_channels":[4,8],"layers_per_block":1,
			"down_block_types":["DownEncoderBlock2D","DownEncoderBlock2D"],"up_block_types":["UpDecoderBlock2D","UpDecoderBlock2D"],
			"norm_num_groups":4,"scaling_factor":0.18215,"use_quant_conv":true,"use_post_quant_conv":true,
			"mid_block_add_attention":true,"act_fn":"silu"}`},
	} {
		config, err := inferred(t, filepath.Join("testdata", c.file), c.part)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		var have, want any
		if err := errors.Join(json.Unmarshal(data, &have), json.Unmarshal([]byte(c.want), &want)); err != nil {
			t.Fatal(err)
		}
		within(t, c.file+": "+c.part, have.(map[string]any), want.(map[string]any))
	}
}

// within fails where what is wanted is not there.
func within(t *testing.T, name string, have, want map[string]any) {
	t.Helper()
	for key, w := range want {
		if sub, ok := w.(map[string]any); ok {
			if h, ok := have[key].(map[string]any); ok {
				within(t, name+": "+key, h, sub)
				continue
			}
		}
		if !reflect.DeepEqual(have[key], w) {
			t.Errorf("%s: %s is %v, want %v", name, key, have[key], w)
		}
	}
}

func TestOpenCLIPConfig(t *testing.T) {
	keep := func(name string) string { return name }
	path := edited(t, "openai_clip.pt", "open_clip_model.safetensors", keep)
	check := func(path, act string, text, vision int) {
		t.Helper()
		c, err := inferred(t, path, CLIP)
		if err != nil {
			t.Fatal(err)
		}
		for name, n := range map[string]int{"text_config": text, "vision_config": vision} {
			sub, err := c.Sub(name)
			if err != nil {
				t.Fatal(err)
			}
			if sub["hidden_act"] != act || sub["num_attention_heads"] != n {
				t.Errorf("%s: %v, %v heads; want %s, %d", name, sub["hidden_act"], sub["num_attention_heads"], act, n)
			}
		}
	}
	check(path, "gelu", 1, 1)
	check(edited(t, "openai_clip.pt", "ViT.safetensors", keep, entry("input_resolution")), "quick_gelu", 1, 1)
	for config, want := range map[string]string{
		`{"model_cfg": {"embed_dim": 6, "vision_cfg": {"head_width": 4}, "text_cfg": {"heads": 4}}}`:                     "gelu",
		`{"model_cfg": {"embed_dim": 6, "quick_gelu": true, "vision_cfg": {"head_width": 4}, "text_cfg": {"heads": 4}}}`: "quick_gelu",
	} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "open_clip_config.json"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		check(path, want, 4, 2)
		check(filepath.Dir(path), want, 4, 2)
	}
	for config, want := range map[string]string{
		`{"model_cfg": {"embed_dim": 7}}`:                     "embed_dim is 7, the tensors have 6",
		`{"model_cfg": {"vision_cfg": {"head_width": 3}}}`:    "head_width 3 does not divide 8",
		`{"model_cfg": {"vision_cfg": {"pool_type": "avg"}}}`: "pool_type",
		`{"model_cfg": {"quick_gelu": "yes"}}`:                "quick_gelu",
		`{"model_cfg": []}`:                                   "model_cfg",
	} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "open_clip_config.json"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := inferred(t, path, CLIP); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: have %v, want %s", config, err, want)
		}
	}
}

// sized is a single file of Stable Diffusion whose text encoder has the
// published number of words, and a width of its own.
func sized(t *testing.T, width int) string {
	t.Helper()
	const table = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
	return edited(t, "ldm_sd1.safetensors", "sd.safetensors", func(name string) string {
		if name == table {
			return ""
		}
		return name
	}, entry(table, 49408, width))
}

func TestTokenizer(t *testing.T) {
	ctx := context.Background()
	for width, want := range map[int]string{
		8: "[49406 320 2368 256 49407 49407 49407 49407]", // "!</w>"
		// transformers' CLIPTokenizer with pad_token "!", which takes it out of
		// the text too.
		1024: "[49406 320 2368 0 49407 0 0 0]",
	} {
		dst := filepath.Join(t.TempDir(), "sd")
		if err := Convert(ctx, sized(t, width), dst, Options{}); err != nil {
			t.Fatal(err)
		}
		c, err := vocab.LoadCLIP(os.DirFS(dst), "tokenizer")
		if err != nil {
			t.Fatal(err)
		}
		if c.Max != 7 {
			t.Errorf("width %d: texts are cut at %d ids, where the net has 7 positions", width, c.Max)
		}
		single, err := vocab.DefaultCLIP(Pad(width))
		if err != nil {
			t.Fatal(err)
		}
		for _, have := range [][]int32{c.Encode("a cat!", 8), single.Encode("a cat!", 8)} {
			if fmt.Sprint(have) != want {
				t.Errorf("width %d: have %v, want %s", width, have, want)
			}
		}
	}
	const table = "text_decoder.bert.embeddings.word_embeddings.weight"
	blip := edited(t, "salesforce_blip.pth", "blip.safetensors", func(name string) string {
		if name == table || strings.HasPrefix(name, "text_decoder.cls.predictions.decoder") {
			return ""
		}
		return name
	}, entry(table, 30524, 8))
	dst := filepath.Join(t.TempDir(), "blip")
	if err := Convert(ctx, blip, dst, Options{}); err != nil {
		t.Fatal(err)
	}
	b, err := vocab.LoadBERT(os.DirFS(dst), ".")
	if err != nil {
		t.Fatal(err)
	}
	if have := fmt.Sprint(b.Encode("a picture of [DEC]")); have != "[101 1037 3861 1997 30522 102]" {
		t.Errorf("BLIP: have %s", have)
	}
}

// ldm2 is a set of the names of Stable Diffusion 2's UNet, after a number of
// steps of training.
func ldm2(step int) *weights.Set {
	const u = "model.diffusion_model."
	s := weights.NewSet([]weights.Entry{
		entry(u+"input_blocks.0.0.weight", 8, 4, 3, 3), entry(u+"out.2.weight", 4, 8, 3, 3),
		entry(u+"input_blocks.1.0.in_layers.2.weight", 8, 8, 3, 3), entry(u+"input_blocks.1.1.proj_in.weight", 8, 8),
		entry(u+"input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 8, 1024),
	})
	if step != 0 {
		s.About = weights.Config{"global_step": step}
	}
	return s
}

func TestPrediction(t *testing.T) {
	for step, want := range map[int]string{0: "v_prediction 96", 140000: "v_prediction 96", base20: "epsilon 64", base21: "epsilon 64"} {
		parts, err := Canonical(ldm2(step))
		if err != nil {
			t.Fatal(err)
		}
		c, err := InferConfig(UNet, parts[UNet])
		if err != nil {
			t.Fatal(err)
		}
		if have := fmt.Sprint(InferScheduler(parts[UNet])["prediction_type"], " ", c["sample_size"]); have != want {
			t.Errorf("step %d: have %s, want %s", step, have, want)
		}
	}
	// The pickle says its step; the file's UNet is no 2 by its width.
	set, err := weights.Open("testdata/ldm_sd2.ckpt")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	parts, err := Canonical(set)
	if err != nil {
		t.Fatal(err)
	}
	if step, err := parts[UNet].About.Int("global_step", 0); step != 1 || err != nil {
		t.Errorf("global_step %d, %v", step, err)
	}
	ctx := context.Background()
	dir := t.TempDir()
	last := "testdata/ldm_sd2.ckpt"
	for _, want := range []string{"", "v_prediction", "sample"} { // the later ones from the folder
		dst := filepath.Join(dir, "sd"+want)
		if err := Convert(ctx, last, dst, Options{Assume: Assume{Prediction: want}}); err != nil {
			t.Fatal(err)
		}
		c, err := weights.ReadConfig(os.DirFS(dst), "scheduler/scheduler_config.json")
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = "epsilon"
		}
		if c["prediction_type"] != want {
			t.Errorf("have %v, want %s", c["prediction_type"], want)
		}
		last = dst
	}
	for src, prediction := range map[string]string{last: "noise", "testdata/openai_clip.pt": "epsilon"} {
		if err := Convert(ctx, src, filepath.Join(dir, "x"), Options{Assume: Assume{Prediction: prediction}}); err == nil ||
			!strings.Contains(err.Error(), "prediction") {
			t.Errorf("%s, %s: have %v", src, prediction, err)
		}
	}
}

func TestWrapped(t *testing.T) {
	path := edited(t, "openai_clip.pt", "epoch.safetensors", func(name string) string { return "module." + name })
	config := `{"model_cfg": {"quick_gelu": true, "vision_cfg": {"head_width": 8}}}`
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "open_clip_config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	parts, err := Canonical(set)
	if err != nil {
		t.Fatal(err)
	}
	same3(t, CLIP, parts[CLIP], want(t)[CLIP])
	c, err := inferred(t, path, CLIP)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := c.Sub("text_config"); err != nil || text["hidden_act"] != "quick_gelu" {
		t.Errorf("%v, %v: the configuration beside is not read", text, err)
	}
	// A name without it leaves all as they are.
	_, err = Canonical(weights.NewSet([]weights.Entry{entry("module.a", 1), entry("b", 1)}))
	if err == nil || !strings.Contains(err.Error(), "begins with b, module.a") {
		t.Errorf("have %v", err)
	}
}
