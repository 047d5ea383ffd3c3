// Package random makes nets of random weights, in the sizes of the published
// checkpoints and in small ones of the same make: to measure speed and memory, which
// do not depend on what was learned.
package random

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"unsafe"

	"parley/engine"
	"parley/nets/blip"
	"parley/nets/clip"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/unet"
	"parley/nets/vae"
	"parley/weights"
)

// Checkpoint is a checkpoint of random weights under construction. Tensors alias
// one block of numbers for each fan-in, so that a net of a billion parameters takes
// little more memory on the host than its largest tensor, times the count of
// fan-ins.
type Checkpoint struct {
	entries []weights.Entry
	blocks  map[float64][]float32
	noise   []float32
	dry     bool // shapes only
}

// New begins a checkpoint; a dry one has shapes alone.
func New(dry bool) *Checkpoint { return &Checkpoint{blocks: map[float64][]float32{}, dry: dry} }

// Take is what was made since the last Take, as a net's weights.
func (m *Checkpoint) Take() *weights.Set {
	set := weights.NewSet(m.entries)
	m.entries = nil
	return set
}

// add makes a tensor of uniform values of the standard deviation.
func (m *Checkpoint) add(name string, deviation float64, dims ...int) {
	n := 1
	for _, d := range dims {
		n *= d
	}
	e := weights.Entry{Name: name, DType: "F32", Shape: dims}
	if !m.dry {
		e.Data = bytesOf(m.block(deviation, n)[:n])
	}
	m.entries = append(m.entries, e)
}

// ones makes a tensor of ones.
func (m *Checkpoint) ones(name string, n int) {
	one := make([]float32, n)
	for i := range one {
		one[i] = 1
	}
	m.entries = append(m.entries, weights.Entry{Name: name, DType: "F32", Shape: []int{n}, Data: bytesOf(one)})
}

func bytesOf(v []float32) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v)) }

func (m *Checkpoint) block(deviation float64, n int) []float32 {
	const step = 1 << 20
	if len(m.blocks[deviation]) >= n {
		return m.blocks[deviation]
	}
	rng := rand.NewPCG(7, 11)
	for len(m.noise) < (n+step-1)/step*step {
		more := make([]float32, step)
		for i := range more {
			more[i] = float32(rng.Uint64()>>40)/(1<<23) - 1
		}
		m.noise = append(m.noise, more...)
	}
	b := make([]float32, n)
	scale := float32(deviation * math.Sqrt(3))
	for i := range b {
		b[i] = m.noise[i] * scale
	}
	m.blocks[deviation] = b
	return b
}

func (m *Checkpoint) linear(name string, in, out int, bias bool) {
	m.add(name+".weight", 1/math.Sqrt(float64(in)), out, in)
	if bias {
		m.add(name+".bias", 0.02, out)
	}
}

func (m *Checkpoint) conv(name string, in, out, k int) {
	m.add(name+".weight", 1/math.Sqrt(float64(in*k*k)), out, in, k, k)
	m.add(name+".bias", 0.02, out)
}

func (m *Checkpoint) norm(name string, c int) {
	m.ones(name+".weight", c)
	m.add(name+".bias", 0.02, c)
}

func (m *Checkpoint) resnet(name string, in, out, temb int) {
	m.norm(name+".norm1", in)
	m.conv(name+".conv1", in, out, 3)
	if temb > 0 {
		m.linear(name+".time_emb_proj", temb, out, true)
	}
	m.norm(name+".norm2", out)
	m.conv(name+".conv2", out, out, 3)
	if in != out {
		m.conv(name+".conv_shortcut", in, out, 1)
	}
}

// Diffusion is the size of a Stable Diffusion.
type Diffusion struct {
	Widths        []int // of the UNet
	Layers, Heads int
	Side          int   // of the latents
	VAE           []int // widths
	VAELayers     int
	Text          Tower
	Groups        int
}

// Tower is the size of a transformer.
type Tower struct{ Width, Layers, Heads, Inner, Length, Vocab int }

// The sizes of the checkpoints, and of small ones of the same make.

// SD15 is Stable Diffusion 1.5 at 512 x 512.
func SD15() Diffusion {
	return Diffusion{[]int{320, 640, 1280, 1280}, 2, 8, 64, []int{128, 256, 512, 512}, 2, Tower{768, 12, 12, 3072, 77, 49408}, 32}
}

// SmallSD has the parts of SD15.
func SmallSD() Diffusion {
	return Diffusion{[]int{32, 64}, 1, 2, 8, []int{32, 32}, 1, Tower{32, 1, 2, 64, 77, 100}, 8}
}

// CLIPB32 is CLIP ViT-B/32.
func CLIPB32() CLIP {
	return CLIP{Tower{512, 12, 8, 2048, 77, 49408}, Vision{Tower{768, 12, 12, 3072, 0, 0}, 224, 32}, 512}
}

// SmallCLIP has the parts of CLIPB32.
func SmallCLIP() CLIP {
	return CLIP{Tower{32, 1, 2, 64, 77, 100}, Vision{Tower{48, 1, 2, 96, 0, 0}, 32, 8}, 24}
}

// BLIPBase is BLIP base for captions.
func BLIPBase() BLIP {
	return BLIP{Vision{Tower{768, 12, 12, 3072, 0, 0}, 384, 16}, Tower{768, 12, 12, 3072, 512, 30524}, 30522, 102}
}

// SmallBLIP has the parts of BLIPBase.
func SmallBLIP() BLIP {
	return BLIP{Vision{Tower{32, 1, 2, 64, 0, 0}, 32, 8}, Tower{32, 1, 2, 64, 32, 120}, 1, 2}
}

func config(name, format string, args ...any) weights.Config {
	c, err := weights.ParseConfig(name, []byte(fmt.Sprintf(format, args...)))
	if err != nil {
		panic(err) // the texts are here
	}
	return c
}

// list is a JSON list of n times one value.
func list(n int, value string) string {
	s := ""
	for i := range n {
		if i > 0 {
			s += ", "
		}
		s += strconv.Quote(value)
	}
	return s
}

func join(v []int) string {
	s := ""
	for i, n := range v {
		if i > 0 {
			s += ", "
		}
		s += strconv.Itoa(n)
	}
	return s
}

// UNet makes a UNet. It has an attention at every level but the last, as Stable Diffusion 1.
func (p Diffusion) UNet(m *Checkpoint) weights.Config {
	w, n := p.Widths, len(p.Widths)
	temb, cross := 4*w[0], p.Text.Width
	attention := func(name string, c int) {
		m.norm(name+".norm", c)
		m.conv(name+".proj_in", c, c, 1)
		b := name + ".transformer_blocks.0"
		for _, a := range []struct {
			name string
			from int
		}{{"attn1", c}, {"attn2", cross}} {
			m.linear(b+"."+a.name+".to_q", c, c, false)
			m.linear(b+"."+a.name+".to_k", a.from, c, false)
			m.linear(b+"."+a.name+".to_v", a.from, c, false)
			m.linear(b+"."+a.name+".to_out.0", c, c, true)
		}
		for _, l := range []string{".norm1", ".norm2", ".norm3"} {
			m.norm(b+l, c)
		}
		m.linear(b+".ff.net.0.proj", c, 8*c, true)
		m.linear(b+".ff.net.2", 4*c, c, true)
		m.conv(name+".proj_out", c, c, 1)
	}
	m.linear("time_embedding.linear_1", w[0], temb, true)
	m.linear("time_embedding.linear_2", temb, temb, true)
	m.conv("conv_in", 4, w[0], 3)
	skips, in := []int{w[0]}, w[0]
	for i, c := range w {
		b := "down_blocks." + strconv.Itoa(i)
		for j := range p.Layers {
			m.resnet(fmt.Sprintf("%s.resnets.%d", b, j), in, c, temb)
			if i < n-1 {
				attention(fmt.Sprintf("%s.attentions.%d", b, j), c)
			}
			in = c
			skips = append(skips, c)
		}
		if i < n-1 {
			m.conv(b+".downsamplers.0.conv", c, c, 3)
			skips = append(skips, c)
		}
	}
	m.resnet("mid_block.resnets.0", in, in, temb)
	attention("mid_block.attentions.0", in)
	m.resnet("mid_block.resnets.1", in, in, temb)
	for i := range n {
		b, c := "up_blocks."+strconv.Itoa(i), w[n-1-i]
		for j := range p.Layers + 1 {
			skip := skips[len(skips)-1]
			skips = skips[:len(skips)-1]
			m.resnet(fmt.Sprintf("%s.resnets.%d", b, j), in+skip, c, temb)
			if i > 0 {
				attention(fmt.Sprintf("%s.attentions.%d", b, j), c)
			}
			in = c
		}
		if i < n-1 {
			m.conv(b+".upsamplers.0.conv", c, c, 3)
		}
	}
	m.norm("conv_norm_out", w[0])
	m.conv("conv_out", w[0], 4, 3)
	return config("unet", `{"block_out_channels": [%s], "layers_per_block": %d, "attention_head_dim": %d, "cross_attention_dim": %d,
		"norm_num_groups": %d,
		"down_block_types": [%s, "DownBlock2D"], "up_block_types": ["UpBlock2D", %s]}`,
		join(w), p.Layers, p.Heads, cross, p.Groups, list(n-1, "CrossAttnDownBlock2D"), list(n-1, "CrossAttnUpBlock2D"))
}

// Autoencoder makes the VAE, both ways.
func (p Diffusion) Autoencoder(m *Checkpoint) weights.Config {
	w, n := p.VAE, len(p.VAE)
	top := w[n-1]
	half := func(name string, first, last, in, out int) {
		m.conv(name+".conv_in", in, first, 3)
		m.resnet(name+".mid_block.resnets.0", top, top, 0)
		m.resnet(name+".mid_block.resnets.1", top, top, 0)
		a := name + ".mid_block.attentions.0"
		m.norm(a+".group_norm", top)
		for _, l := range []string{".to_q", ".to_k", ".to_v", ".to_out.0"} {
			m.linear(a+l, top, top, true)
		}
		m.norm(name+".conv_norm_out", last)
		m.conv(name+".conv_out", last, out, 3)
	}
	half("encoder", w[0], top, 3, 8)
	half("decoder", top, w[0], 4, 3)
	in := w[0]
	for i, c := range w {
		b := "encoder.down_blocks." + strconv.Itoa(i)
		for j := range p.VAELayers {
			m.resnet(fmt.Sprintf("%s.resnets.%d", b, j), in, c, 0)
			in = c
		}
		if i < n-1 {
			m.conv(b+".downsamplers.0.conv", c, c, 3)
		}
	}
	for i := range n {
		b, c := "decoder.up_blocks."+strconv.Itoa(i), w[n-1-i]
		for j := range p.VAELayers + 1 {
			m.resnet(fmt.Sprintf("%s.resnets.%d", b, j), in, c, 0)
			in = c
		}
		if i < n-1 {
			m.conv(b+".upsamplers.0.conv", c, c, 3)
		}
	}
	m.conv("quant_conv", 8, 8, 1)
	m.conv("post_quant_conv", 4, 4, 1)
	return config("vae", `{"block_out_channels": [%s], "layers_per_block": %d, "norm_num_groups": %d}`, join(w), p.VAELayers, p.Groups)
}

// encoder are blocks of CLIP's naming.
func (t Tower) encoder(m *Checkpoint, prefix string) {
	for i := range t.Layers {
		b := fmt.Sprintf("%s.encoder.layers.%d", prefix, i)
		for _, l := range []string{".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj", ".self_attn.out_proj"} {
			m.linear(b+l, t.Width, t.Width, true)
		}
		m.norm(b+".layer_norm1", t.Width)
		m.norm(b+".layer_norm2", t.Width)
		m.linear(b+".mlp.fc1", t.Width, t.Inner, true)
		m.linear(b+".mlp.fc2", t.Inner, t.Width, true)
	}
}

// TextModel makes CLIP's text tower, alone as in Stable Diffusion.
func (t Tower) TextModel(m *Checkpoint) weights.Config {
	m.add("text_model.embeddings.token_embedding.weight", 0.02, t.Vocab, t.Width)
	m.add("text_model.embeddings.position_embedding.weight", 0.02, t.Length, t.Width)
	t.encoder(m, "text_model")
	m.norm("text_model.final_layer_norm", t.Width)
	return config("text", "%s", t.textConfig())
}

func (t Tower) textConfig() string {
	return fmt.Sprintf(`{"hidden_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d, "intermediate_size": %d,
		"max_position_embeddings": %d, "vocab_size": %d, "eos_token_id": %d}`,
		t.Width, t.Layers, t.Heads, t.Inner, t.Length, t.Vocab, t.Vocab-1)
}

// IDs are n rows of random words that end as CLIP's do.
func (t Tower) IDs(n int) [][]int32 {
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	rows := make([][]int32, n)
	for i := range rows {
		for range t.Length {
			rows[i] = append(rows[i], int32(rng.IntN(t.Vocab-1)))
		}
		rows[i][t.Length-1] = int32(t.Vocab - 1)
	}
	return rows
}

// Vision is the size of a vision transformer.
type Vision struct {
	Tower
	Image, Patch int // pixels a side
}

// CLIP is the size of a CLIP.
type CLIP struct {
	Text       Tower
	Vision     Vision
	Projection int
}

// Model makes both towers.
func (j CLIP) Model(m *Checkpoint) weights.Config {
	j.Text.TextModel(m)
	v := j.Vision
	side := v.Image / v.Patch
	m.add("vision_model.embeddings.class_embedding", 0.02, v.Width)
	m.add("vision_model.embeddings.patch_embedding.weight", 1/math.Sqrt(float64(3*v.Patch*v.Patch)), v.Width, 3, v.Patch, v.Patch)
	m.add("vision_model.embeddings.position_embedding.weight", 0.02, side*side+1, v.Width)
	m.norm("vision_model.pre_layrnorm", v.Width)
	v.encoder(m, "vision_model")
	m.norm("vision_model.post_layernorm", v.Width)
	m.linear("text_projection", j.Text.Width, j.Projection, false)
	m.linear("visual_projection", v.Width, j.Projection, false)
	return config("clip", `{"projection_dim": %d, "text_config": %s, "vision_config": {"hidden_size": %d, "num_hidden_layers": %d,
		"num_attention_heads": %d, "intermediate_size": %d, "image_size": %d, "patch_size": %d}}`,
		j.Projection, j.Text.textConfig(), v.Width, v.Layers, v.Heads, v.Inner, v.Image, v.Patch)
}

// BLIP is the size of a BLIP that describes pictures.
type BLIP struct {
	Vision   Vision
	Text     Tower
	BOS, SEP int // ids
}

// Model makes the picture's encoder and the text's decoder.
func (t BLIP) Model(m *Checkpoint) weights.Config {
	v, side := t.Vision, t.Vision.Image/t.Vision.Patch
	m.add("vision_model.embeddings.class_embedding", 0.02, 1, 1, v.Width)
	m.conv("vision_model.embeddings.patch_embedding", 3, v.Width, v.Patch)
	m.add("vision_model.embeddings.position_embedding", 0.02, 1, side*side+1, v.Width)
	for i := range v.Layers {
		b := fmt.Sprintf("vision_model.encoder.layers.%d", i)
		m.norm(b+".layer_norm1", v.Width)
		m.linear(b+".self_attn.qkv", v.Width, 3*v.Width, true)
		m.linear(b+".self_attn.projection", v.Width, v.Width, true)
		m.norm(b+".layer_norm2", v.Width)
		m.linear(b+".mlp.fc1", v.Width, v.Inner, true)
		m.linear(b+".mlp.fc2", v.Inner, v.Width, true)
	}
	m.norm("vision_model.post_layernorm", v.Width)
	x := t.Text
	e := "text_decoder.bert.embeddings"
	m.add(e+".word_embeddings.weight", 0.02, x.Vocab, x.Width)
	m.add(e+".position_embeddings.weight", 0.02, x.Length, x.Width)
	m.norm(e+".LayerNorm", x.Width)
	for i := range x.Layers {
		b := fmt.Sprintf("text_decoder.bert.encoder.layer.%d", i)
		for _, a := range []struct {
			name string
			from int
		}{{".attention", x.Width}, {".crossattention", v.Width}} {
			m.linear(b+a.name+".self.query", x.Width, x.Width, true)
			m.linear(b+a.name+".self.key", a.from, x.Width, true)
			m.linear(b+a.name+".self.value", a.from, x.Width, true)
			m.linear(b+a.name+".output.dense", x.Width, x.Width, true)
			m.norm(b+a.name+".output.LayerNorm", x.Width)
		}
		m.linear(b+".intermediate.dense", x.Width, x.Inner, true)
		m.linear(b+".output.dense", x.Inner, x.Width, true)
		m.norm(b+".output.LayerNorm", x.Width)
	}
	h := "text_decoder.cls.predictions"
	m.linear(h+".transform.dense", x.Width, x.Width, true)
	m.norm(h+".transform.LayerNorm", x.Width)
	m.add(h+".bias", 0.02, x.Vocab)
	return config("blip", `{"vision_config": {"hidden_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d, "intermediate_size": %d,
		"image_size": %d, "patch_size": %d},
		"text_config": {"hidden_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d, "intermediate_size": %d,
			"max_position_embeddings": %d, "vocab_size": %d, "bos_token_id": %d, "sep_token_id": %d}}`,
		v.Width, v.Layers, v.Heads, v.Inner, v.Image, v.Patch, x.Width, x.Layers, x.Heads, x.Inner, x.Length, x.Vocab, t.BOS, t.SEP)
}

// SD is a Stable Diffusion, and how it draws.
type SD struct {
	UNet     *unet.Model
	VAE      *vae.Model
	Text     *clip.Text
	Pipeline *diffusion.Pipeline
	diffusion.Options
}

// StableDiffusion loads a Stable Diffusion of random weights to a device: 50 steps
// of DDIM with guidance 7.5. A dry one has shapes alone.
func StableDiffusion(size Diffusion, dev engine.Device, dry bool) (*SD, error) {
	m := New(dry)
	c := size.UNet(m)
	u, err := unet.Load(c, m.Take().Loader(dev))
	if err != nil {
		return nil, err
	}
	c = size.Autoencoder(m)
	v, err := vae.Load(c, m.Take().Loader(dev))
	if err != nil {
		return nil, err
	}
	c = size.Text.TextModel(m)
	t, err := clip.LoadText(c, m.Take().Loader(dev))
	if err != nil {
		return nil, err
	}
	p := &SD{UNet: u, VAE: v, Text: t, Pipeline: models.NewPipeline(u, v, t, weights.Config{})}
	p.Options = diffusion.Options{Steps: 50, Guidance: 7.5, Scheduler: "ddim", Width: size.Side * v.Factor, Height: size.Side * v.Factor}
	return p, nil
}

// GuidedStep prepares a step of the UNet for n pictures, each with and without its
// text, on a stream. What it returns makes one.
func GuidedStep(s *engine.Stream, p *SD, size Diffusion, n int) (func() error, error) {
	text := s.Put(Normal(3, 1, 2*n, size.Text.Length, size.Text.Width))
	cond, err := p.UNet.Condition(s, []float64{801, 601}, text, nil)
	if err != nil {
		return nil, err
	}
	in := s.Put(Normal(4, 1, n, size.Side, size.Side, 4))
	now := s.Put(engine.FromI32([]int32{1}, 1))
	return func() error {
		y, err := p.UNet.Step(s, cond, unet.Input{Latents: in, Step: now})
		s.Free(y)
		return err
	}, s.Err()
}

// Load loads a CLIP of random weights to a device.
func (j CLIP) Load(dev engine.Device) (*clip.Model, error) {
	m := New(false)
	c := j.Model(m)
	return clip.Load(c, m.Take().Loader(dev))
}

// Load loads a BLIP of random weights to a device.
func (t BLIP) Load(dev engine.Device) (*blip.Model, error) {
	m := New(false)
	c := t.Model(m)
	return blip.Load(c, m.Take().Loader(dev))
}

// Normal is a host tensor of normal values times a scale.
func Normal(seed uint64, scale float64, dims ...int) *engine.Tensor {
	rng := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, engine.Shape(dims).Elems())
	for i := range v {
		v[i] = float32(scale * rng.NormFloat64())
	}
	return engine.FromF32(v, dims...)
}

// Whole is a host tensor of small whole numbers: sums of their products are
// exact in f32, in whatever order.
func Whole(seed uint64, dims ...int) *engine.Tensor {
	rng := rand.New(rand.NewPCG(seed, 2))
	v := make([]float32, engine.Shape(dims).Elems())
	for i := range v {
		v[i] = float32(rng.IntN(9) - 4)
	}
	return engine.FromF32(v, dims...)
}
