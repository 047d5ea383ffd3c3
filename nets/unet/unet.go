// Package unet is Stable Diffusion's denoiser (arXiv 2112.10752; diffusers'
// UNet2DConditionModel).
package unet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"parley/engine"
	"parley/kernels/conv"
	"parley/kernels/embed"
	"parley/kernels/matmul"
	"parley/kernels/sample"
	"parley/nets/layer"
	"parley/weights"
)

// Model predicts the noise (or the velocity, or the sample) in latents.
type Model struct {
	In, Out, Cross int // channels of the latents, in and out; width of the context

	width        int // of the first block, and of the timestep's sinusoids
	sinusoids    embed.Sinusoids
	time1, time2 layer.Linear
	convIn       layer.Conv
	down, up     []block
	mid          block
	normOut      layer.Norm
	convOut      layer.Conv
	timed        []timed // every residual block's projection of the timestep
	crosses      []cross // every cross-attention
}

// block is one level: resnets, each with an attention where the level has
// any, then a change of size.
type block struct {
	name     string
	resnets  []Resnet
	attns    []transformer
	resample *layer.Conv
	sampler  string // the scope of resample
}

// config is what the parts of a net are built by.
type config struct {
	eps    float64
	groups int
	cross  int
	temb   int
	model  *Model
}

// Load builds the net from config.json and diffusers' tensor names.
func Load(c weights.Config, l *weights.Loader) (*Model, error) {
	config, err := ParseConfig(c)
	if err != nil {
		return nil, err
	}
	return New(config, l)
}

// New builds the net of a configuration.
func New(c Config, l *weights.Loader) (*Model, error) {
	widths, n := c.Channels, len(c.Channels)
	m := &Model{In: c.In, Out: c.Out, Cross: c.Cross, width: widths[0], sinusoids: embed.Sinusoids{SineFirst: c.SineFirst,
		Shift: c.Shift}}
	layers, heads, depth := c.Layers, c.Heads, c.Depth
	cfg := config{eps: c.Eps, groups: c.Groups, cross: m.Cross, temb: 4 * widths[0], model: m}
	shrink := conv.Options{Stride: 2, Pad: conv.Same(3)}
	if c.Padding == 0 { // as diffusers: a row and a column of zeros at the end
		shrink.Pad = conv.Pad{Bottom: 1, Right: 1}
	}

	time := l.In("time_embedding")
	m.time1, m.time2 = layer.LoadLinear(time, "linear_1", widths[0], cfg.temb), layer.LoadLinear(time, "linear_2", cfg.temb, cfg.temb)
	m.convIn = layer.LoadConv(l, "conv_in", m.In, widths[0], 3, conv.Options{Pad: conv.Same(3)})

	// The channels of what each skip connection carries, in order.
	skips := []int{widths[0]}
	in := widths[0]
	for i, w := range widths {
		name := "down_blocks." + strconv.Itoa(i)
		p := l.In(name)
		b := block{name: name}
		for j := range layers[i] {
			b.resnets = append(b.resnets, loadResnet(p.In("resnets."+strconv.Itoa(j)), in, w, cfg))
			if c.Down[i] {
				b.attns = append(b.attns, loadTransformer(p.In("attentions."+strconv.Itoa(j)), w, heads[i], depth[i], cfg))
			}
			in = w
			skips = append(skips, w)
		}
		if i < n-1 {
			cv := layer.LoadConv(p.In("downsamplers.0"), "conv", w, w, 3, shrink)
			b.resample, b.sampler = &cv, "downsamplers.0"
			skips = append(skips, w)
		}
		m.down = append(m.down, b)
	}
	top := widths[n-1]
	p := l.In("mid_block")
	m.mid = block{name: "mid_block"}
	if c.Middle != MiddleNone {
		m.mid.resnets = append(m.mid.resnets, loadResnet(p.In("resnets.0"), top, top, cfg))
	}
	if c.Middle == MiddleCross {
		m.mid.resnets = append(m.mid.resnets, loadResnet(p.In("resnets.1"), top, top, cfg))
		m.mid.attns = []transformer{loadTransformer(p.In("attentions.0"), top, heads[n-1], depth[n-1], cfg)}
	}
	for i := range n {
		k := n - 1 - i
		name := "up_blocks." + strconv.Itoa(i)
		p := l.In(name)
		b := block{name: name}
		for j := range layers[k] + 1 {
			skip := skips[len(skips)-1]
			skips = skips[:len(skips)-1]
			b.resnets = append(b.resnets, loadResnet(p.In("resnets."+strconv.Itoa(j)), in+skip, widths[k], cfg))
			if c.Up[i] {
				b.attns = append(b.attns, loadTransformer(p.In("attentions."+strconv.Itoa(j)), widths[k], heads[k], depth[k], cfg))
			}
			in = widths[k]
		}
		if i < n-1 {
			cv := layer.LoadConv(p.In("upsamplers.0"), "conv", in, in, 3, conv.Options{Pad: conv.Same(3), Upsample: true})
			b.resample, b.sampler = &cv, "upsamplers.0"
		}
		m.up = append(m.up, b)
	}
	m.normOut = layer.LoadGroupNorm(l, "conv_norm_out", widths[0], cfg.groups, cfg.eps)
	m.convOut = layer.LoadConv(l, "conv_out", widths[0], m.Out, 3, conv.Options{Pad: conv.Same(3)})
	l.Unread("a UNet of Stable Diffusion 1 or 2")
	return m, l.Err()
}

// Multiple is what the height and width of latents have to be a multiple of.
func (m *Model) Multiple() int { return 1 << (len(m.down) - 1) }

// Conditions are what the steps of a drawing share: what each residual block
// adds for each timestep, and the text's keys and values for each
// cross-attention.
type Conditions struct {
	samples int              // of the text
	table   *engine.Tensor   // [timesteps, channels of all residual blocks] in units, see join
	at      []int            // where a block's channels begin
	each    []*engine.Tensor // by residual block, [timesteps at once, channels]
	keys    []*engine.Tensor // by cross-attention, keys and values, [samples, L, 2 inner]
}

// Condition computes what depends on the timesteps and on the context
// [N, L, Cross] alone, for all steps at once.
func (m *Model) Condition(s *engine.Stream, timesteps []float64, context *engine.Tensor) (*Conditions, error) {
	c, err := m.condition(s, timesteps, context)
	if err != nil {
		return nil, err
	}
	c.table, c.at = join(s, c.each)
	s.Free(c.each...)
	c.each = nil
	return c, s.Err()
}

// join puts tensors of [T, channels] side by side, so that one look-up finds a row
// of all: [T, n, unit], and where each begins in such a row, in elements. The unit
// divides them all. Those of whole fours come first: they are read four at a time.
func join(s *engine.Stream, each []*engine.Tensor) (table *engine.Tensor, at []int) {
	unit, width := 0, 0
	for _, e := range each {
		for a, b := e.Dim(1), unit; ; a, b = b, a%b {
			if b == 0 {
				unit = a
				break
			}
		}
		width += e.Dim(1)
	}
	rows := each[0].Dim(0)
	table, at = s.New(s.Float(), rows, width/unit, unit), make([]int, len(each))
	next := 0
	for _, fours := range []bool{true, false} {
		for i, e := range each {
			if (e.Dim(1)%4 == 0) == fours {
				embed.Append(s, table, e.Reshape(rows, e.Dim(1)/unit, unit), next/unit, nil)
				at[i] = next
				next += e.Dim(1)
			}
		}
	}
	return table, at
}

// condition leaves what the residual blocks add by block.
func (m *Model) condition(s *engine.Stream, timesteps []float64, context *engine.Tensor) (*Conditions, error) {
	if sh := context.Shape(); len(sh) != 3 || sh[2] != m.Cross || sh.Elems() == 0 {
		return nil, &layer.ShapeError{Net: "unet", Input: "encoder_hidden_states", Have: sh, Want: fmt.Sprintf("[N L %d]", m.Cross)}
	}
	if len(timesteps) == 0 {
		return nil, fmt.Errorf("unet: no timestep")
	}
	c := &Conditions{samples: context.Dim(0)}
	s.Enter("time_embedding")
	sin := embed.Timesteps(s, timesteps, m.width, m.sinusoids)
	t1 := m.time1.Fused(s, sin, matmul.SiLU, nil)
	temb := m.time2.Fused(s, t1, matmul.SiLU, nil)
	s.Leave(nil)
	s.Free(sin, t1)
	for _, t := range m.timed {
		s.Enter(t.path)
		c.each = append(c.each, t.project.Forward(s, temb))
		s.Leave(nil)
	}
	s.Free(temb)
	for _, x := range m.crosses {
		s.Enter(x.path)
		c.keys = append(c.keys, x.attn.Keys(s, context))
		s.Leave(nil)
	}
	return c, s.Err()
}

// Free gives the memory back.
func (c *Conditions) Free(s *engine.Stream) {
	s.Free(c.table)
	s.Free(c.each...)
	s.Free(c.keys...)
}

// Step takes latents x [M, H, W, In] of one timestep, that of the conditions
// whose number is in the i32 tensor i [1], and returns [N, H, W, Out]: sample j
// is latents j mod M with text j, and N is a multiple of M, as in guidance, which
// asks for the same latents with and without a text. All that changes from step to
// step lies in x and i, so that one recording of it serves them all.
func (m *Model) Step(s *engine.Stream, x *engine.Tensor, c *Conditions, i *engine.Tensor) (*engine.Tensor, error) {
	now := &Conditions{samples: c.samples, keys: c.keys}
	row := embed.Rows(s, c.table, i)
	defer s.Free(row)
	flat := row.Reshape(row.Elems())
	for j, t := range m.timed {
		now.each = append(now.each, flat.Rows(c.at[j], c.at[j]+t.out).Reshape(1, t.out))
	}
	return m.run(s, x, now)
}

// Forward takes latents x [M, H, W, In], a timestep for each, and the context
// [N, L, Cross], and returns [N, H, W, Out], as Step does.
func (m *Model) Forward(s *engine.Stream, x *engine.Tensor, timesteps []float64, context *engine.Tensor) (*engine.Tensor, error) {
	if len(timesteps) != x.Dim(0) {
		return nil, fmt.Errorf("unet: %d timesteps for %d samples", len(timesteps), x.Dim(0))
	}
	all := slices.Clone(timesteps)
	for len(all) > 0 && len(all) < context.Dim(0) {
		all = append(all, timesteps...)
	}
	c, err := m.condition(s, all, context)
	if err != nil {
		return nil, err
	}
	defer c.Free(s)
	return m.run(s, x, c)
}

func (m *Model) run(s *engine.Stream, x *engine.Tensor, c *Conditions) (*engine.Tensor, error) {
	mul := m.Multiple()
	if sh := x.Shape(); len(sh) != 4 || sh[3] != m.In || sh[1]%mul != 0 || sh[2]%mul != 0 || sh.Elems() == 0 {
		return nil, &layer.ShapeError{Net: "unet", Input: "sample", Have: sh, Want: fmt.Sprintf("[N H W %d] with H and W multiples of %d", m.In, mul)}
	}
	if c.samples%x.Dim(0) != 0 {
		return nil, fmt.Errorf("unet: %d samples, %d rows of encoder_hidden_states: want a multiple", x.Dim(0), c.samples)
	}
	h := m.convIn.Forward(s, x, nil)
	skips := []*engine.Tensor{h}
	for _, b := range m.down {
		s.Enter(b.name)
		for j := range b.resnets {
			h = b.step(s, j, h, nil, c)
			skips = append(skips, h)
		}
		if b.resample != nil {
			h = b.change(s, h)
			skips = append(skips, h)
		}
		s.Leave(h)
	}

	if len(m.mid.resnets) > 0 {
		s.Enter(m.mid.name)
		in := h
		h = m.mid.step(s, 0, in, nil, c)
		if len(m.mid.resnets) > 1 {
			y := m.mid.resnets[1].Forward(s, h, nil, c.of(m.mid.resnets[1], h.Dim(0)), "resnets.1")
			s.Free(h)
			h = y
		}
		s.Leave(h)
	} else { // a copy: the last skip is given back before the sum is
		y := s.New(h.DType(), h.Shape()...)
		sample.Scale(s, y, h, 1)
		h = y
	}
	if wide := c.spread(s, h); wide != h { // nothing has looked at the context yet
		s.Free(h)
		h = wide
	}

	for _, b := range m.up {
		s.Enter(b.name)
		for j := range b.resnets {
			skip := skips[len(skips)-1]
			skips = skips[:len(skips)-1]
			if wide := c.spread(s, skip); wide != skip {
				s.Free(skip)
				skip = wide
			}
			y := b.step(s, j, h, skip, c)
			s.Free(h, skip)
			h = y
		}
		if b.resample != nil {
			y := b.change(s, h)
			s.Free(h)
			h = y
		}
		s.Leave(h)
	}
	a := m.normOut.SiLU(s, h, nil)
	s.Free(h)
	out := m.convOut.Forward(s, a, nil)
	s.Free(a)
	return out, s.Err()
}

// of is what a residual block adds for the timestep of so many samples.
func (c *Conditions) of(r Resnet, samples int) *engine.Tensor {
	e := c.each[r.timed]
	return e.Rows(0, min(samples, e.Dim(0)))
}

// spread repeats maps [M, ...] to one for each text: until the first look at its
// text, a sample is no other than the next with the same latents.
func (c *Conditions) spread(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	m := x.Dim(0)
	if m == c.samples {
		return x
	}
	shape := slices.Clone(x.Shape())
	shape[0] = c.samples
	y := s.New(x.DType(), shape...)
	for i := 0; i < c.samples; i += m {
		sample.Scale(s, y.Rows(i, i+m), x, 1)
	}
	return y
}

// step runs resnet j on x and the channels beside it, and its attention.
func (b block) step(s *engine.Stream, j int, x, beside *engine.Tensor, c *Conditions) *engine.Tensor {
	h := b.resnets[j].Forward(s, x, beside, c.of(b.resnets[j], x.Dim(0)), "resnets."+strconv.Itoa(j))
	if b.attns == nil {
		return h
	}
	y := b.attns[j].forward(s, h, c, "attentions."+strconv.Itoa(j))
	s.Free(h)
	return y
}

func (b block) change(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter(b.sampler)
	return s.Leave(b.resample.Forward(s, x, nil))
}

// Resnet is the residual block of the UNet, and without a timestep the VAE's.
type Resnet struct {
	norm1, norm2 layer.Norm
	conv1, conv2 layer.Conv
	timed        int // its place in Model.timed
	shortcut     *layer.Conv
}

// timed is a residual block's projection of the timestep's embedding, and the
// path of the block.
type timed struct {
	path    string
	out     int
	project layer.Linear
}

func loadResnet(l *weights.Loader, in, out int, c config) Resnet {
	r := LoadResnet(l, in, out, c.groups, c.eps)
	r.timed = len(c.model.timed)
	c.model.timed = append(c.model.timed, timed{strings.TrimSuffix(l.Prefix(), "."), out, layer.LoadLinear(l, "time_emb_proj", c.temb, out)})
	return r
}

// LoadResnet reads a residual block that knows no timestep.
func LoadResnet(l *weights.Loader, in, out, groups int, eps float64) Resnet {
	if in%groups != 0 {
		l.Fail(fmt.Errorf("%snorm1: %d channels do not divide in %d groups", l.Prefix(), in, groups))
		groups = 1
	}
	r := Resnet{
		norm1: layer.LoadGroupNorm(l, "norm1", in, groups, eps),
		conv1: layer.LoadConv(l, "conv1", in, out, 3, conv.Options{Pad: conv.Same(3)}),
		norm2: layer.LoadGroupNorm(l, "norm2", out, groups, eps),
		conv2: layer.LoadConv(l, "conv2", out, out, 3, conv.Options{Pad: conv.Same(3)}),
	}
	if in != out {
		sc := layer.LoadConv(l, "conv_shortcut", in, out, 1, conv.Options{})
		r.shortcut = &sc
	}
	return r
}

// Forward maps x [N, H, W, in], or x and the channels beside it, to
// [N, H, W, out]. each [P, out] is what is added to the pixels of each part of
// the samples for its timestep, or nil.
func (r Resnet) Forward(s *engine.Stream, x, beside, each *engine.Tensor, name string) *engine.Tensor {
	s.Enter(name)
	a := r.norm1.SiLU(s, x, beside)
	h := r.conv1.Each(s, a, each)
	s.Free(a)
	a = r.norm2.SiLU(s, h, nil)
	s.Free(h)
	res := x
	if r.shortcut != nil {
		res = r.shortcut.Beside(s, x, beside)
	}
	y := r.conv2.Forward(s, a, res)
	s.Free(a)
	if res != x {
		s.Free(res)
	}
	return s.Leave(y)
}

// transformer is diffusers' Transformer2DModel: blocks over the pixels.
type transformer struct {
	norm    layer.Norm
	in, out layer.Linear
	blocks  []basic
}

type basic struct {
	name                string
	norm1, norm2, norm3 layer.Norm
	self                layer.Attention
	cross               int // its place in Model.crosses
	query               layer.Attention
	gate, down          layer.Linear
}

// cross is a cross-attention and its path.
type cross struct {
	path string
	attn layer.Attention
}

func loadTransformer(l *weights.Loader, width, heads, depth int, c config) transformer {
	t := transformer{norm: layer.LoadGroupNorm(l, "norm", width, c.groups, 1e-6),
		in: layer.LoadLinear(l, "proj_in", width, width), out: layer.LoadLinear(l, "proj_out", width, width)}
	for i := range depth {
		name := "transformer_blocks." + strconv.Itoa(i)
		p := l.In(name)
		look := layer.LoadCross(p, "attn2", layer.DiffusersNames, width, c.cross, width, heads)
		c.model.crosses = append(c.model.crosses, cross{p.Prefix() + "attn2", look})
		t.blocks = append(t.blocks, basic{name: name,
			norm1: layer.LoadLayerNorm(p, "norm1", width, 1e-5), norm2: layer.LoadLayerNorm(p, "norm2", width, 1e-5), norm3: layer.LoadLayerNorm(p, "norm3", width, 1e-5),
			self:  layer.LoadSelf(p, "attn1", layer.DiffusersNames, width, width, heads),
			query: look, cross: len(c.model.crosses) - 1,
			gate: layer.LoadLinear(p, "ff.net.0.proj", width, 8*width), down: layer.LoadLinear(p, "ff.net.2", 4*width, width)})
	}
	return t
}

func (t transformer) forward(s *engine.Stream, x *engine.Tensor, c *Conditions, name string) *engine.Tensor {
	s.Enter(name)
	a := t.norm.Forward(s, x)
	h := t.in.Forward(s, a.Reshape(x.Dim(0), x.Dim(1)*x.Dim(2), x.Dim(3)))
	s.Free(a)
	for _, b := range t.blocks {
		y := b.forward(s, h, c)
		s.Free(h)
		h = y
	}
	wide := c.spread(s, x)
	y := t.out.Fused(s, h, matmul.None, wide)
	s.Free(h)
	if wide != x {
		s.Free(wide)
	}
	return s.Leave(y.Reshape(wide.Shape()...))
}

func (b basic) forward(s *engine.Stream, x *engine.Tensor, c *Conditions) *engine.Tensor {
	s.Enter(b.name)
	a := b.norm1.Forward(s, x)
	h := b.self.Self(s, a, x, false)
	s.Free(a)
	if wide := c.spread(s, h); wide != h {
		s.Free(h)
		h = wide
	}
	a = b.norm2.Forward(s, h)
	g := b.query.Cross(s, a, c.keys[b.cross], h)
	s.Free(a, h)
	a = b.norm3.Forward(s, g)
	f := b.gate.GEGLU(s, a)
	s.Free(a)
	y := b.down.Fused(s, f, matmul.None, g)
	s.Free(f, g)
	return s.Leave(y)
}
