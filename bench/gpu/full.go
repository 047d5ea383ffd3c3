package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"unsafe"

	"parley/weights"
)

// made is a checkpoint of random weights. Tensors alias one block of numbers
// for each fan-in, so that a net of a billion parameters takes little more
// memory on the host than its largest tensor, times the count of fan-ins.
type made struct {
	entries []weights.Entry
	blocks  map[float64][]float32
	noise   []float32
	dry     bool // shapes only
}

func newMade(dry bool) *made { return &made{blocks: map[float64][]float32{}, dry: dry} }

func (m *made) set() *weights.Set { return weights.NewSet(m.entries) }

// add makes a tensor of uniform values of the standard deviation.
func (m *made) add(name string, deviation float64, dims ...int) {
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
func (m *made) ones(name string, n int) {
	one := make([]float32, n)
	for i := range one {
		one[i] = 1
	}
	m.entries = append(m.entries, weights.Entry{Name: name, DType: "F32", Shape: []int{n}, Data: bytesOf(one)})
}

func bytesOf(v []float32) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v)) }

func (m *made) block(deviation float64, n int) []float32 {
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

func (m *made) linear(name string, in, out int, bias bool) {
	m.add(name+".weight", 1/math.Sqrt(float64(in)), out, in)
	if bias {
		m.add(name+".bias", 0.02, out)
	}
}

func (m *made) conv(name string, in, out, k int) {
	m.add(name+".weight", 1/math.Sqrt(float64(in*k*k)), out, in, k, k)
	m.add(name+".bias", 0.02, out)
}

func (m *made) norm(name string, c int) {
	m.ones(name+".weight", c)
	m.add(name+".bias", 0.02, c)
}

func (m *made) resnet(name string, in, out, temb int) {
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

// painting is the size of a Stable Diffusion.
type painting struct {
	widths        []int // of the UNet
	layers, heads int
	side          int   // of the latents
	vae           []int // widths
	vaeLayers     int
	text          tower
	groups        int
}

// tower is the size of a transformer.
type tower struct{ width, layers, heads, inner, length, vocab int }

// The sizes of the checkpoints, and of small ones of the same make.
var (
	sd15      = painting{[]int{320, 640, 1280, 1280}, 2, 8, 64, []int{128, 256, 512, 512}, 2, tower{768, 12, 12, 3072, 77, 49408}, 32}
	smallSD   = painting{[]int{32, 64}, 1, 2, 8, []int{32, 32}, 1, tower{32, 1, 2, 64, 77, 100}, 8}
	clipB32   = joint{tower{512, 12, 8, 2048, 77, 49408}, seeing{tower{768, 12, 12, 3072, 0, 0}, 224, 32}, 512}
	smallCLIP = joint{tower{32, 1, 2, 64, 77, 100}, seeing{tower{48, 1, 2, 96, 0, 0}, 32, 8}, 24}
	blipBase  = telling{seeing{tower{768, 12, 12, 3072, 0, 0}, 384, 16}, tower{768, 12, 12, 3072, 512, 30524}, 30522, 102}
	smallBLIP = telling{seeing{tower{32, 1, 2, 64, 0, 0}, 32, 8}, tower{32, 1, 2, 64, 32, 120}, 1, 2}
)

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

// unet has an attention at every level but the last, as Stable Diffusion 1.
func (p painting) unet(m *made) weights.Config {
	w, n := p.widths, len(p.widths)
	temb, cross := 4*w[0], p.text.width
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
		for j := range p.layers {
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
		for j := range p.layers + 1 {
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
	return config("unet", `{"block_out_channels": [%s], "layers_per_block": %d, "attention_head_dim": %d, "cross_attention_dim": %d, "norm_num_groups": %d,
		"down_block_types": [%s, "DownBlock2D"], "up_block_types": ["UpBlock2D", %s]}`,
		join(w), p.layers, p.heads, cross, p.groups, list(n-1, "CrossAttnDownBlock2D"), list(n-1, "CrossAttnUpBlock2D"))
}

func (p painting) autoencoder(m *made) weights.Config {
	w, n := p.vae, len(p.vae)
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
		for j := range p.vaeLayers {
			m.resnet(fmt.Sprintf("%s.resnets.%d", b, j), in, c, 0)
			in = c
		}
		if i < n-1 {
			m.conv(b+".downsamplers.0.conv", c, c, 3)
		}
	}
	for i := range n {
		b, c := "decoder.up_blocks."+strconv.Itoa(i), w[n-1-i]
		for j := range p.vaeLayers + 1 {
			m.resnet(fmt.Sprintf("%s.resnets.%d", b, j), in, c, 0)
			in = c
		}
		if i < n-1 {
			m.conv(b+".upsamplers.0.conv", c, c, 3)
		}
	}
	m.conv("quant_conv", 8, 8, 1)
	m.conv("post_quant_conv", 4, 4, 1)
	return config("vae", `{"block_out_channels": [%s], "layers_per_block": %d, "norm_num_groups": %d}`, join(w), p.vaeLayers, p.groups)
}

// encoder are blocks of CLIP's naming.
func (t tower) encoder(m *made, prefix string) {
	for i := range t.layers {
		b := fmt.Sprintf("%s.encoder.layers.%d", prefix, i)
		for _, l := range []string{".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj", ".self_attn.out_proj"} {
			m.linear(b+l, t.width, t.width, true)
		}
		m.norm(b+".layer_norm1", t.width)
		m.norm(b+".layer_norm2", t.width)
		m.linear(b+".mlp.fc1", t.width, t.inner, true)
		m.linear(b+".mlp.fc2", t.inner, t.width, true)
	}
}

// textModel is CLIP's text tower, alone as in Stable Diffusion.
func (t tower) textModel(m *made) weights.Config {
	m.add("text_model.embeddings.token_embedding.weight", 0.02, t.vocab, t.width)
	m.add("text_model.embeddings.position_embedding.weight", 0.02, t.length, t.width)
	t.encoder(m, "text_model")
	m.norm("text_model.final_layer_norm", t.width)
	return config("text", "%s", t.textConfig())
}

func (t tower) textConfig() string {
	return fmt.Sprintf(`{"hidden_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d, "intermediate_size": %d, "max_position_embeddings": %d, "vocab_size": %d, "eos_token_id": %d}`,
		t.width, t.layers, t.heads, t.inner, t.length, t.vocab, t.vocab-1)
}

// ids are rows of random words that end as CLIP's do.
func (t tower) ids(n int) [][]int32 {
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	rows := make([][]int32, n)
	for i := range rows {
		for range t.length {
			rows[i] = append(rows[i], int32(rng.IntN(t.vocab-1)))
		}
		rows[i][t.length-1] = int32(t.vocab - 1)
	}
	return rows
}

// seeing is the size of a vision transformer.
type seeing struct {
	tower
	image, patch int
}

// joint is the size of a CLIP.
type joint struct {
	text       tower
	vision     seeing
	projection int
}

func (j joint) model(m *made) weights.Config {
	j.text.textModel(m)
	v := j.vision
	side := v.image / v.patch
	m.add("vision_model.embeddings.class_embedding", 0.02, v.width)
	m.add("vision_model.embeddings.patch_embedding.weight", 1/math.Sqrt(float64(3*v.patch*v.patch)), v.width, 3, v.patch, v.patch)
	m.add("vision_model.embeddings.position_embedding.weight", 0.02, side*side+1, v.width)
	m.norm("vision_model.pre_layrnorm", v.width)
	v.encoder(m, "vision_model")
	m.norm("vision_model.post_layernorm", v.width)
	m.linear("text_projection", j.text.width, j.projection, false)
	m.linear("visual_projection", v.width, j.projection, false)
	return config("clip", `{"projection_dim": %d, "text_config": %s, "vision_config": {"hidden_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d, "intermediate_size": %d, "image_size": %d, "patch_size": %d}}`,
		j.projection, j.text.textConfig(), v.width, v.layers, v.heads, v.inner, v.image, v.patch)
}

// telling is the size of a BLIP.
type telling struct {
	vision   seeing
	text     tower
	bos, sep int
}

func (t telling) model(m *made) weights.Config {
	v, side := t.vision, t.vision.image/t.vision.patch
	m.add("vision_model.embeddings.class_embedding", 0.02, 1, 1, v.width)
	m.conv("vision_model.embeddings.patch_embedding", 3, v.width, v.patch)
	m.add("vision_model.embeddings.position_embedding", 0.02, 1, side*side+1, v.width)
	for i := range v.layers {
		b := fmt.Sprintf("vision_model.encoder.layers.%d", i)
		m.norm(b+".layer_norm1", v.width)
		m.linear(b+".self_attn.qkv", v.width, 3*v.width, true)
		m.linear(b+".self_attn.projection", v.width, v.width, true)
		m.norm(b+".layer_norm2", v.width)
		m.linear(b+".mlp.fc1", v.width, v.inner, true)
		m.linear(b+".mlp.fc2", v.inner, v.width, true)
	}
	m.norm("vision_model.post_layernorm", v.width)
	x := t.text
	e := "text_decoder.bert.embeddings"
	m.add(e+".word_embeddings.weight", 0.02, x.vocab, x.width)
	m.add(e+".position_embeddings.weight", 0.02, x.length, x.width)
	m.norm(e+".LayerNorm", x.width)
	for i := range x.layers {
		b := fmt.Sprintf("text_decoder.bert.encoder.layer.%d", i)
		for _, a := range []struct {
			name string
			from int
		}{{".attention", x.width}, {".crossattention", v.width}} {
			m.linear(b+a.name+".self.query", x.width, x.width, true)
			m.linear(b+a.name+".self.key", a.from, x.width, true)
			m.linear(b+a.name+".self.value", a.from, x.width, true)
			m.linear(b+a.name+".output.dense", x.width, x.width, true)
			m.norm(b+a.name+".output.LayerNorm", x.width)
		}
		m.linear(b+".intermediate.dense", x.width, x.inner, true)
		m.linear(b+".output.dense", x.inner, x.width, true)
		m.norm(b+".output.LayerNorm", x.width)
	}
	h := "text_decoder.cls.predictions"
	m.linear(h+".transform.dense", x.width, x.width, true)
	m.norm(h+".transform.LayerNorm", x.width)
	m.add(h+".bias", 0.02, x.vocab)
	return config("blip", `{"vision_config": {"hidden_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d, "intermediate_size": %d, "image_size": %d, "patch_size": %d},
		"text_config": {"hidden_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d, "intermediate_size": %d, "max_position_embeddings": %d, "vocab_size": %d, "bos_token_id": %d, "sep_token_id": %d}}`,
		v.width, v.layers, v.heads, v.inner, v.image, v.patch, x.width, x.layers, x.heads, x.inner, x.length, x.vocab, t.bos, t.sep)
}
