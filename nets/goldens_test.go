package nets_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/blip"
	"parley/nets/clip"
	"parley/nets/unet"
	"parley/nets/vae"
	"parley/weights"
	"parley/weights/convert"
)

// bounds are on |a-b| / |b| of each output, where b was computed in float64, by
// the type of the device's activations.
var bounds = map[engine.DType]float64{engine.F32: 1e-5, engine.F16: 5e-3}

// golden is a model of testdata with its inputs and outputs (goldens.py).
type golden struct {
	t      *testing.T
	config weights.Config
	model  *weights.Set
	values *weights.Set
	half   bool // what operations on the CPU give is rounded to f16
}

// open reads a folder and brings its tensors to their canonical names.
func open(t *testing.T, name, part string) golden {
	t.Helper()
	dir := filepath.Join("testdata", name)
	set := openSet(t, dir)
	parts, err := convert.Canonical(set)
	if err != nil {
		t.Fatal(err)
	}
	if parts[part] == nil {
		t.Fatalf("%s: no %s", name, part)
	}
	c, err := weights.ReadConfig(os.DirFS(dir), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	return golden{t: t, config: c, model: parts[part], values: openSet(t, filepath.Join(dir, "golden.safetensors"))}
}

func openSet(t *testing.T, path string) *weights.Set {
	t.Helper()
	set, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

func (g golden) tensor(name string) *engine.Tensor {
	g.t.Helper()
	e, ok := g.values.Entry(name)
	if !ok {
		g.t.Fatalf("no golden %s", name)
	}
	data, err := weights.F32(e)
	if err != nil {
		g.t.Fatal(err)
	}
	return engine.FromF32(data, e.Shape...)
}

func (g golden) ids() [][]int32 {
	g.t.Helper()
	e, ok := g.values.Entry("in.ids")
	if !ok || e.DType != "I32" || len(e.Shape) != 2 {
		g.t.Fatalf("ids are %s %v", e.DType, e.Shape)
	}
	rows := make([][]int32, e.Shape[0])
	for i := range rows {
		for j := range e.Shape[1] {
			rows[i] = append(rows[i], int32(binary.LittleEndian.Uint32(e.Data[4*(i*e.Shape[1]+j):])))
		}
	}
	return rows
}

// taps keeps copies of the scopes' outputs that the goldens ask for.
type taps struct {
	s    *engine.Stream
	want map[string]bool
	have map[string]*engine.Tensor
}

func (r *taps) Observe(s engine.Span) {
	// What is added to a module's own output has no module of that name.
	if s.Op != "" || s.Out == nil || !r.want[s.Path] {
		return
	}
	x, err := r.s.Get(s.Out)
	if err != nil {
		r.s.Fail(err)
		return
	}
	r.have[s.Path] = x
}

// halves rounds what each operation gives to f16, as a device does that stores
// activations in it and computes as ours does.
type halves struct{ taps *taps }

func (r halves) Observe(s engine.Span) {
	if s.Op != "" && s.Op != "upload" && s.Op != "download" && s.Out.DType() == engine.F32 {
		copy(s.Out.F32(), engine.Convert(engine.F32, engine.Convert(engine.F16, s.Out)).F32())
	}
	r.taps.Observe(s)
}

// forward is a loaded model's run on its inputs; it returns its outputs by name.
type forward func(s *engine.Stream) (map[string]*engine.Tensor, error)

// load builds a model.
type load func(g golden, l *weights.Loader) (forward, error)

// run computes everything and returns the errors by name.
func (g golden) run(dev engine.Device, model *weights.Set, build load) map[string]float64 {
	g.t.Helper()
	f, err := build(g, model.Loader(dev))
	if err != nil {
		g.t.Fatal(err)
	}
	return g.compare(engine.NewStream(g.t.Context(), dev), f)
}

// compare runs a loaded model.
func (g golden) compare(s *engine.Stream, f forward) map[string]float64 {
	g.t.Helper()
	defer s.Close()
	rec := &taps{s: s, want: map[string]bool{}, have: map[string]*engine.Tensor{}}
	for _, name := range g.values.Names() {
		if path, ok := strings.CutPrefix(name, "out.tap."); ok {
			rec.want[path] = true
		}
	}
	s.Watch(nil, rec)
	if g.half {
		s.Watch(nil, halves{rec})
	}
	out, err := f(s)
	if err != nil {
		g.t.Fatal(err)
	}
	for name, x := range out {
		if out[name], err = s.Get(x); err != nil {
			g.t.Fatal(err)
		}
	}
	if path := s.Path(); path != "" {
		g.t.Errorf("the scope %q is open at the end", path)
	}
	for path, x := range rec.have {
		out["tap."+path] = x
	}
	errs := map[string]float64{}
	for _, name := range g.values.Names() {
		key, ok := strings.CutPrefix(name, "out.")
		if !ok {
			continue
		}
		if out[key] == nil {
			g.t.Errorf("%s: nothing computed", key)
			continue
		}
		e, err := relative(out[key], g.tensor(name))
		if err != nil {
			g.t.Errorf("%s: %v", key, err)
		}
		errs[key] = e
	}
	return errs
}

// relative is |a-b| / |b|.
func relative(a, b *engine.Tensor) (float64, error) {
	if !a.Shape().Equal(b.Shape()) {
		return math.Inf(1), fmt.Errorf("shape %v, want %v", a.Shape(), b.Shape())
	}
	var diff, sum float64
	x, y := a.F32(), b.F32()
	for i := range y {
		d, v := float64(x[i])-float64(y[i]), float64(y[i])
		diff += d * d
		sum += v * v
	}
	return math.Sqrt(diff / sum), nil
}

func worst(errs map[string]float64) (name string, e float64) {
	for n, v := range errs {
		if !(v <= e) { // a NaN is the worst
			name, e = n, v
		}
	}
	return name, e
}

func loadCLIP(g golden, l *weights.Loader) (forward, error) {
	m, err := clip.Load(g.config, l)
	return func(s *engine.Stream) (map[string]*engine.Tensor, error) {
		t, err := m.Text.Forward(s, g.ids(), clip.TextOptions{})
		if err != nil {
			return nil, err
		}
		x := s.Put(g.tensor("in.pixels"))
		defer s.Free(x)
		v, err := m.Vision.Forward(s, x)
		return map[string]*engine.Tensor{
			"text.hidden": t.Hidden, "text.pooled": t.Pooled, "text.embeds": t.Embeds,
			"vision.hidden": v.Hidden, "vision.pooled": v.Pooled, "vision.embeds": v.Embeds}, err
	}, err
}

func loadBLIP(g golden, l *weights.Loader) (forward, error) {
	m, err := blip.Load(g.config, l)
	return func(s *engine.Stream) (map[string]*engine.Tensor, error) {
		x := s.Put(g.tensor("in.pixels"))
		defer s.Free(x)
		hidden, err := m.Vision.Forward(s, x)
		if err != nil {
			return nil, err
		}
		ids := g.ids()
		c, err := m.Text.Start(s, hidden, len(ids), len(ids[0]))
		if err != nil {
			return nil, err
		}
		logits, err := c.Step(s, ids)
		c.Free(s)
		return map[string]*engine.Tensor{"hidden": hidden, "logits": logits}, err
	}, err
}

func loadUNet(g golden, l *weights.Loader) (forward, error) {
	m, err := unet.Load(g.config, l)
	times := float64s(g.tensor("in.timesteps").F32())
	return func(s *engine.Stream) (map[string]*engine.Tensor, error) {
		x, context := s.Put(g.tensor("in.sample")), s.Put(g.tensor("in.context"))
		defer s.Free(x, context)
		var cond *engine.Tensor
		if m.TimeCond > 0 {
			cond = m.GuidanceEmbedding(s, float64s(g.tensor("in.guidance").F32()))
			defer s.Free(cond)
		}
		y, err := m.Forward(s, x, times, context, cond)
		return map[string]*engine.Tensor{"sample": y}, err
	}, err
}

func float64s(list []float32) (out []float64) {
	for _, v := range list {
		out = append(out, float64(v))
	}
	return out
}

func loadVAE(g golden, l *weights.Loader) (forward, error) {
	m, err := vae.Load(g.config, l)
	return func(s *engine.Stream) (map[string]*engine.Tensor, error) {
		x, z := s.Put(g.tensor("in.pixels")), s.Put(g.tensor("in.latents"))
		defer s.Free(x, z)
		mean, err := m.Encode(s, x)
		if err != nil {
			return nil, err
		}
		y, err := m.Decode(s, z)
		return map[string]*engine.Tensor{"mean": mean, "pixels": y}, err
	}, err
}

var models = []struct {
	name, part string
	load       load
	spoil      string // a weight whose change has to show
}{
	{"clip_quick", convert.CLIP, loadCLIP, "vision_model.encoder.layers.1.self_attn.k_proj.weight"},
	{"clip_gelu", convert.CLIP, loadCLIP, "text_model.encoder.layers.0.mlp.fc1.bias"},
	{"clip_mixed", convert.CLIP, loadCLIP, "text_model.embeddings.position_embedding.weight"},
	{"blip_narrow", convert.BLIP, loadBLIP, "text_decoder.bert.encoder.layer.1.crossattention.self.value.weight"},
	{"blip_wide", convert.BLIP, loadBLIP, "vision_model.encoder.layers.0.self_attn.qkv.bias"},
	{"blip_untied", convert.BLIP, loadBLIP, "text_decoder.cls.predictions.decoder.weight"},
	{"unet_sd1", convert.UNet, loadUNet, "mid_block.resnets.0.time_emb_proj.weight"},
	{"unet_sd2", convert.UNet, loadUNet, "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"},
	{"unet_odd", convert.UNet, loadUNet, "down_blocks.0.resnets.0.conv2.weight"},
	{"unet_flip", convert.UNet, loadUNet, "down_blocks.0.resnets.0.conv2.weight"},
	{"unet_middleless", convert.UNet, loadUNet, "down_blocks.0.resnets.0.conv2.weight"},
	{"unet_plain", convert.UNet, loadUNet, "mid_block.resnets.0.conv1.weight"},
	{"unet_ragged", convert.UNet, loadUNet, "up_blocks.0.upsamplers.0.conv.weight"},
	{"unet_dropped", convert.UNet, loadUNet, "up_blocks.0.upsamplers.0.conv.bias"},
	{"unet_deep", convert.UNet, loadUNet, "up_blocks.2.upsamplers.0.conv.weight"},
	{"unet_lcm", convert.UNet, loadUNet, "time_embedding.cond_proj.weight"},
	{"vae_three", convert.VAE, loadVAE, "encoder.down_blocks.1.downsamplers.0.conv.weight"},
	{"vae_old", convert.VAE, loadVAE, "decoder.mid_block.attentions.0.to_v.weight"},
	{"vae_deep", convert.VAE, loadVAE, "decoder.conv_norm_out.bias"},
	{"bert_small", convert.BERT, loadBERT, "embeddings.token_type_embeddings.weight"},
	{"bert_odd", convert.BERT, loadBERT, "encoder.layer.0.attention.self.value.weight"},
	{"vit_small", convert.ViT, loadViT, "embeddings.position_embeddings"},
	{"vit_odd", convert.ViT, loadViT, "encoder.layer.0.layernorm_after.weight"},
}

// TestGoldens compares each net, and some of its inner modules, with
// transformers and diffusers.
func TestGoldens(t *testing.T) {
	for _, c := range models {
		for _, workers := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s/%d", c.name, workers), func(t *testing.T) {
				g := open(t, c.name, c.part)
				hold(t, engine.F32, g.run(host.New(workers), g.model, c.load))
			})
		}
	}
}

// TestNoPadding: rows of a BLIP without a padding are filled up with what ends a text.
func TestNoPadding(t *testing.T) {
	c, err := blip.ParseConfig(weights.Config{"text_config": weights.Config{"pad_token_id": nil, "sep_token_id": 7.0}})
	if err != nil || c.Text.Pad != 7 {
		t.Errorf("padding is %d, %v", c.Text.Pad, err)
	}
}

// TestHeadIsMissing: a BLIP's head is its token embeddings' matrix where a
// configuration ties it, and is not guessed where neither does.
func TestHeadIsMissing(t *testing.T) {
	g := open(t, "blip_untied", convert.BLIP)
	entries := slices.DeleteFunc(g.model.Entries(), func(e weights.Entry) bool {
		return strings.HasSuffix(e.Name, "predictions.decoder.weight")
	})
	for _, tied := range []bool{false, true} {
		g.config["tie_word_embeddings"] = tied
		_, err := blip.Load(g.config, g.model.With(entries).Loader(host.New(1)))
		if tied && err != nil || !tied && (err == nil || !strings.Contains(err.Error(), "decoder.weight: missing")) {
			t.Errorf("tied %v: %v", tied, err)
		}
	}
}

// TestGoldensFast is TestGoldens with the CPU's faster methods, which may be
// ten times as far off, and with products of bfloat16, which has three bits less
// than f16.
func TestGoldensFast(t *testing.T) {
	for _, p := range []struct {
		host.Precision
		bound float64
	}{{host.F32, 10 * bounds[engine.F32]}, {host.Fast, 8 * bounds[engine.F16]}} {
		for _, c := range models {
			t.Run(p.String()+"/"+c.name, func(t *testing.T) {
				g := open(t, c.name, c.part)
				errs := g.run(host.NewWith(host.Options{Workers: 2, Precision: p.Precision}), g.model, c.load)
				if name, e := worst(errs); !(e <= p.bound) {
					t.Errorf("%s: relative error %.3g, want at most %g", name, e, p.bound)
				} else {
					t.Logf("worst of %d: %.2g (%s)", len(errs), e, name)
				}
			})
		}
	}
}

// hold fails for errors beyond the bound of activations of the type.
func hold(t *testing.T, float engine.DType, errs map[string]float64) {
	t.Helper()
	for name, e := range errs {
		if !(e <= bounds[float]) {
			t.Errorf("%s: relative error %.3g, want at most %g", name, e, bounds[float])
		}
	}
	name, e := worst(errs)
	t.Logf("worst of %d: %.2g (%s)", len(errs), e, name)
}

// TestGoldensHalf says what f16 as the type of activations costs by itself: the
// errors of a GPU are to be held against these.
func TestGoldensHalf(t *testing.T) {
	for _, c := range models {
		t.Run(c.name, func(t *testing.T) {
			g := open(t, c.name, c.part)
			g.half = true
			hold(t, engine.F16, g.run(host.New(2), g.model, c.load))
		})
	}
}

// TestGoldensNotice changes one weight by a thousandth and asks that the
// comparison fails.
func TestGoldensNotice(t *testing.T) {
	for _, c := range models {
		t.Run(c.name, func(t *testing.T) {
			g := open(t, c.name, c.part)
			errs := g.run(host.New(1), spoil(t, g.model, c.spoil), c.load)
			if name, e := worst(errs); !(e > bounds[engine.F32]) {
				t.Errorf("%s changed: worst relative error %.3g (%s), want more than %g", c.spoil, e, name, bounds[engine.F32])
			}
		})
	}
}

// spoil is the set with one tensor's values times 1.001.
func spoil(t *testing.T, set *weights.Set, name string) *weights.Set {
	t.Helper()
	entries := set.Entries()
	for i, e := range entries {
		if e.Name != name {
			continue
		}
		data, err := weights.F32(e)
		if err != nil {
			t.Fatal(err)
		}
		e.DType, e.Data = "F32", nil
		for _, v := range data {
			e.Data = binary.LittleEndian.AppendUint32(e.Data, math.Float32bits(v*1.001))
		}
		entries[i] = e
		return weights.NewSet(entries)
	}
	t.Fatalf("no tensor %s", name)
	return nil
}

// TestBLIPSteps reads a text token by token and in pieces, and with rows
// exchanged on the way: the logits stay those of one step.
func TestBLIPSteps(t *testing.T) { testBLIPSteps(t, host.New(2)) }

func testBLIPSteps(t *testing.T, dev engine.Device) {
	g := open(t, "blip_wide", convert.BLIP)
	m, err := blip.Load(g.config, g.model.Loader(dev))
	if err != nil {
		t.Fatal(err)
	}
	want := g.tensor("out.logits")
	rows, length, vocab := want.Dim(0), want.Dim(1), want.Dim(2)
	for _, c := range []struct {
		name   string
		pieces []int
		swap   bool // rows of one picture, before the last piece
	}{
		{"one", []int{length}, false},
		{"tokens", ones(length), false},
		{"pieces", []int{3, 1, 2, 8, length - 14}, false},
		{"prefix", []int{5, 1}, false},
		{"exchanged", []int{4, 1, length - 5}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := engine.NewStream(t.Context(), dev)
			defer s.Close()
			ids := g.ids()
			from := make([]int32, rows)
			for i := range from {
				from[i] = int32(i)
			}
			cache, err := m.Text.Start(s, s.Put(g.tensor("out.hidden")), rows, length)
			if err != nil {
				t.Fatal(err)
			}
			at := 0
			for i, n := range c.pieces {
				if c.swap && i == len(c.pieces)-1 {
					per := rows / 2
					for j := range from {
						from[j] = int32(j/per*per + (j+1)%per)
					}
					cache.Reorder(s, from)
				}
				var next [][]int32
				for _, r := range from {
					next = append(next, ids[r][at:at+n])
				}
				logits, err := cache.Step(s, next)
				if err != nil {
					t.Fatal(err)
				}
				y, err := s.Get(logits)
				if err != nil {
					t.Fatal(err)
				}
				part := engine.FromF32(make([]float32, rows*n*vocab), rows, n, vocab)
				for j, r := range from {
					copy(part.Rows(j, j+1).F32(), want.Rows(int(r), int(r)+1).F32()[at*vocab:(at+n)*vocab])
				}
				if e, err := relative(y, part); err != nil || !(e <= bounds[dev.Float()]) {
					t.Errorf("tokens %d to %d: relative error %.3g, %v", at, at+n, e, err)
				}
				s.Free(logits)
				at += n
			}
			if _, err := cache.Step(s, g.ids()); err == nil {
				t.Error("a step beyond the cache's room was taken")
			}
		})
	}
}

func ones(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = 1
	}
	return list
}

// TestInputsRefused gives each net what it cannot take.
func TestInputsRefused(t *testing.T) {
	zeros := func(dims ...int) *engine.Tensor {
		return engine.FromF32(make([]float32, engine.Shape(dims).Elems()), dims...)
	}
	load := func(name, part string) (golden, *weights.Loader) {
		g := open(t, name, part)
		return g, g.model.Loader(host.New(1))
	}
	g, l := load("clip_quick", convert.CLIP)
	c, err1 := clip.Load(g.config, l)
	g, l = load("blip_narrow", convert.BLIP)
	b, err2 := blip.Load(g.config, l)
	g, l = load("unet_odd", convert.UNet)
	u, err3 := unet.Load(g.config, l)
	g, l = load("vae_three", convert.VAE)
	v, err4 := vae.Load(g.config, l)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, want string
		run        func(s *engine.Stream) error
	}{
		{"no text", "no ids", func(s *engine.Stream) error { _, err := c.Text.Forward(s, nil, clip.TextOptions{}); return err }},
		{"long text", "17 ids in a row, the model takes 16", func(s *engine.Stream) error {
			_, err := c.Text.Forward(s, [][]int32{make([]int32, 17)}, clip.TextOptions{})
			return err
		}},
		{"ragged text", "row 1 has 1 ids, row 0 has 2", func(s *engine.Stream) error {
			_, err := c.Text.Forward(s, [][]int32{{1, 2}, {1}}, clip.TextOptions{})
			return err
		}},
		{"wild id", "row 0 has the id 61, the vocabulary has 61", func(s *engine.Stream) error {
			_, err := c.Text.Forward(s, [][]int32{{61}}, clip.TextOptions{})
			return err
		}},
		{"small picture", "pixels has shape [1 23 24 3], want [N 24 24 3]", func(s *engine.Stream) error {
			_, err := c.Vision.Forward(s, zeros(1, 23, 24, 3))
			return err
		}},
		{"grey picture", "pixels has shape [1 24 24 1], want [N 24 24 3]", func(s *engine.Stream) error {
			_, err := b.Vision.Forward(s, zeros(1, 24, 24, 1))
			return err
		}},
		{"narrow states", "encoder_hidden_states has shape [1 5 39], want [M L 40] with 2 a multiple of M", func(s *engine.Stream) error {
			_, err := b.Text.Start(s, zeros(1, 5, 39), 2, 3)
			return err
		}},
		{"wide latents", "sample has shape [1 8 4 5], want [N H W 4]", func(s *engine.Stream) error {
			_, err := u.Forward(s, zeros(1, 8, 4, 5), []float64{1}, zeros(1, 3, 15), nil)
			return err
		}},
		{"wide context", "encoder_hidden_states has shape [1 3 16], want [N L 15]", func(s *engine.Stream) error {
			_, err := u.Forward(s, zeros(1, 8, 4, 4), []float64{1}, zeros(1, 3, 16), nil)
			return err
		}},
		{"timesteps", "2 timesteps for 1 samples", func(s *engine.Stream) error {
			_, err := u.Forward(s, zeros(1, 8, 4, 4), []float64{1, 2}, zeros(1, 3, 15), nil)
			return err
		}},
		{"odd picture", "sample has shape [1 8 6 3], want [N H W 3] with H and W multiples of 4", func(s *engine.Stream) error {
			_, err := v.Encode(s, zeros(1, 8, 6, 3))
			return err
		}},
		{"wide latents", "latents has shape [1 2 2 3], want [N H W 4]", func(s *engine.Stream) error {
			_, err := v.Decode(s, zeros(1, 2, 2, 3))
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.run(engine.NewStream(t.Context(), host.New(1)))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("have %v, want %s", err, tc.want)
			}
		})
	}
}

// TestConfigsRefused: what a configuration asks for beyond Stable Diffusion 1 and
// 2 is an error that names the key, and so is a tensor that no part reads.
func TestConfigsRefused(t *testing.T) {
	for _, c := range []struct {
		model, part, key, value, want string
	}{
		{"unet_odd", convert.UNet, "center_input_sample", "true", "center_input_sample is true"},
		{"unet_odd", convert.UNet, "mid_block_scale_factor", "2.0", "mid_block_scale_factor is 2.0"},
		{"unet_odd", convert.UNet, "mid_block_scale_factor", "1.0", ""},
		{"unet_odd", convert.UNet, "time_embedding_act_fn", `"silu"`, `time_embedding_act_fn is "silu"`},
		{"unet_odd", convert.UNet, "num_class_embeds", "10", "num_class_embeds is 10"},
		{"unet_odd", convert.UNet, "time_cond_proj_dim", "256", "time_embedding.cond_proj.weight"},
		{"unet_odd", convert.UNet, "time_cond_proj_dim", "3", "time_cond_proj_dim is 3"},
		{"unet_lcm", convert.UNet, "time_cond_proj_dim", "null", "time_embedding.cond_proj.weight"},
		{"unet_odd", convert.UNet, "only_cross_attention", "[false, true, false]", "only_cross_attention is [false,true,false]"},
		{"unet_odd", convert.UNet, "only_cross_attention", "[false, false, false]", ""},
		{"unet_odd", convert.UNet, "downsample_padding", "2", "downsample_padding is 2"},
		{"vae_three", convert.VAE, "down_block_types",
			`["AttnDownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"]`, "down_block_types is"},
		{"unet_odd", convert.UNet, "transformer_layers_per_block", "1000000000", "transformer_layers_per_block has 1000000000, want 1 to 1000"},
		{"unet_odd", convert.UNet, "cross_attention_dim", "4611686018427387904", "cross_attention_dim is 4611686018427387904"},
		{"unet_odd", convert.UNet, "block_out_channels", "[8, 4611686018427387904, 40]", "block_out_channels is [8 4611686018427387904 40]"},
		{"unet_odd", convert.UNet, "norm_num_groups", "0", "norm_num_groups is 0"},
		{"unet_odd", convert.UNet, "norm_eps", "-1", "norm_eps is -1"},
		{"clip_quick", convert.CLIP, "text_config", `{"num_hidden_layers": 0}`, "num_hidden_layers is 0, want 1 to 1000"},
		{"clip_quick", convert.CLIP, "text_config", `{"hidden_size": 4611686018427387904}`, "hidden_size is 4611686018427387904"},
		{"clip_quick", convert.CLIP, "text_config", `{"hidden_size": 1048576, "vocab_size": 1048576}`, "token_embedding.weight"},
		{"blip_narrow", convert.BLIP, "text_config", `{"num_hidden_layers": 1000000000}`, "num_hidden_layers is 1000000000"},
		{"vae_three", convert.VAE, "in_channels", "4", "in_channels is 4"},
		{"vae_three", convert.VAE, "mid_block_add_attention", "false", "has no use for it"},
	} {
		g := open(t, c.model, c.part)
		config, err := weights.ParseConfig("config.json", fmt.Appendf(nil, "{%q: %s}", c.key, c.value))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range g.config {
			if _, said := config[k]; !said {
				config[k] = v
			}
		}
		l := g.model.Loader(host.New(1))
		switch c.part {
		case convert.VAE:
			_, err = vae.Load(config, l)
		case convert.UNet:
			_, err = unet.Load(config, l)
		case convert.CLIP:
			_, err = clip.Load(config, l)
		case convert.BLIP:
			_, err = blip.Load(config, l)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s with %s %s: have %v, want %q", c.model, c.key, c.value, err, c.want)
		}
	}
}

// TestMemory runs each net twice: what the first run did not give back would
// raise the second one's peak. A device that only counts agrees.
func TestMemory(t *testing.T) {
	for _, c := range models {
		t.Run(c.name, func(t *testing.T) {
			g := open(t, c.name, c.part)
			var peaks [4]int
			for i, dev := range []engine.Device{host.New(2), engine.DryRunOf(host.New(2))} {
				s := engine.NewStream(t.Context(), dev)
				f, err := c.load(g, g.model.Loader(s.Device()))
				if err != nil {
					t.Fatal(err)
				}
				for j := range 2 {
					out, err := f(s)
					if err != nil {
						t.Fatal(err)
					}
					for _, x := range out {
						s.Free(x)
					}
					peaks[2*i+j] = s.Peak()
				}
			}
			if p := peaks[0]; p == 0 || peaks != [4]int{p, p, p, p} {
				t.Errorf("peaks of %v bytes: twice on the CPU, twice counted", peaks)
			}
		})
	}
}

// TestOneSampleForManyTexts holds a UNet that is given each latents once against
// itself with latents for each text.
func TestOneSampleForManyTexts(t *testing.T) {
	for _, name := range []string{"unet_sd1", "unet_sd2", "unet_odd", "unet_deep", "unet_middleless", "unet_plain", "unet_ragged"} {
		t.Run(name, func(t *testing.T) {
			g := open(t, name, convert.UNet)
			manyTexts(t, g, host.New(2), bounds[engine.F32])
		})
	}
}

func manyTexts(t *testing.T, g golden, dev engine.Device, bound float64) {
	m, err := unet.Load(g.config, g.model.Loader(dev))
	if err != nil {
		t.Fatal(err)
	}
	s := engine.NewStream(t.Context(), dev)
	defer s.Close()
	one, text := g.tensor("in.sample").Rows(0, 1), g.tensor("in.context").Rows(0, 1)
	pair := func(a *engine.Tensor, f float32) *engine.Tensor { // a, and a times f
		both := slices.Clone(a.F32())
		for _, v := range a.F32() {
			both = append(both, v*f)
		}
		return engine.FromF32(both, append([]int{2 * a.Dim(0)}, a.Shape()[1:]...)...)
	}
	two := pair(one, 0.5)                 // different latents
	four := pair(pair(text, -0.25), 0.75) // of two texts each
	all := pair(two, 1)                   // the same with a sample a text
	short, err1 := m.Forward(s, s.Put(two), []float64{501, 37}, s.Put(four), nil)
	long, err2 := m.Forward(s, s.Put(all), []float64{501, 37, 501, 37}, s.Put(four), nil)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	have, err1 := s.Get(short)
	want, err2 := s.Get(long)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if e, err := relative(have, want); err != nil || !(e <= bound) {
		t.Errorf("relative error %.3g, %v; want at most %g", e, err, bound)
	}
	five := engine.FromF32(slices.Concat(four.F32(), text.F32()), append([]int{5}, text.Shape()[1:]...)...)
	if _, err := m.Forward(s, s.Put(two), []float64{1, 2}, s.Put(five), nil); err == nil {
		t.Error("2 samples and 5 texts were taken")
	}
}

// TestTruncate holds texts without what stands behind their ends against the whole
// rows.
func TestTruncate(t *testing.T) {
	for _, name := range []string{"clip_quick", "clip_gelu", "clip_mixed"} {
		t.Run(name, func(t *testing.T) {
			g := open(t, name, convert.CLIP)
			dev := host.New(2)
			m, err := clip.Load(g.config, g.model.Loader(dev))
			if err != nil {
				t.Fatal(err)
			}
			s := engine.NewStream(t.Context(), dev)
			x := m.Text
			top := int32(x.EOS)
			if top == 2 { // the highest id ends a text
				top = int32(x.Vocab - 1)
			}
			rows := func(ends ...int) [][]int32 {
				var ids [][]int32
				for i, end := range ends {
					row := make([]int32, x.Length)
					for j := range row {
						row[j] = int32((7*i+3*j)%(x.Vocab-4) + 1)
						if row[j] == top {
							row[j] = 0
						}
					}
					if end >= 0 {
						row[end] = top
					}
					ids = append(ids, row)
				}
				return ids
			}
			for _, ends := range [][]int{{0}, {2, 1}, {3, x.Length - 1}} {
				whole, cut := rows(ends...), rows(ends...)
				x.Truncate(cut)
				if want := min(x.Length, (slices.Max(ends)+8)/8*8); len(cut[0]) != want {
					t.Errorf("ends %v: %d ids are left, want %d", ends, len(cut[0]), want)
				}
				a, err1 := x.Forward(s, whole, clip.TextOptions{})
				b, err2 := x.Forward(s, cut, clip.TextOptions{})
				if err := errors.Join(err1, err2); err != nil {
					t.Fatal(err)
				}
				if e, err := relative(b.Pooled, a.Pooled); err != nil || !(e <= 1e-6) {
					t.Errorf("ends %v: relative error %.3g, %v", ends, e, err)
				}
			}
		})
	}
}
