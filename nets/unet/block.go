package unet

import (
	"strconv"
	"strings"

	"parley/engine"
	"parley/kernels/conv"
	"parley/kernels/embed"
	"parley/kernels/matmul"
	"parley/nets/layer"
	"parley/weights"
)

// block is one level: resnets, each followed by an attention while there are any,
// then a change of size.
type block struct {
	name     string
	resnets  []resnet
	attns    []transformer
	resample *layer.Conv
	enlarged layer.Conv // resample behind an enlargement, where that is not its own
	sampler  string     // the scope of resample
}

// resnet is a residual block and its projection of the timestep's embedding.
type resnet struct {
	layer.Resnet
	path     string // "down_blocks.0.resnets.1"
	channels int
	project  layer.Linear // time_emb_proj
}

// newBlock is number i of a list of blocks, and the loader of its parts.
func newBlock(l *weights.Loader, list string, i int) (block, *weights.Loader) {
	name := list + "." + strconv.Itoa(i)
	return block{name: name}, l.In(name)
}

// add loads resnet j.
func (b *block) add(p *weights.Loader, c *Config, in, out, j int) {
	name := "resnets." + strconv.Itoa(j)
	own := p.In(name)
	b.resnets = append(b.resnets, resnet{Resnet: layer.LoadResnet(p, name, in, out, c.Groups, c.Eps), channels: out,
		path: strings.TrimSuffix(own.Prefix(), "."), project: layer.LoadLinear(own, "time_emb_proj", 4*c.Channels[0], out)})
}

// addAttention loads attention j of a block of a level.
func (b *block) addAttention(p *weights.Loader, c *Config, width, level, j int) {
	b.attns = append(b.attns, loadTransformer(p, "attentions."+strconv.Itoa(j), width, c.Heads[level], c.Depth[level], c))
}

func (b *block) resampleBy(p *weights.Loader, name string, width int, o conv.Options) {
	cv := layer.LoadConv(p.In(name), "conv", width, width, 3, o)
	b.resample, b.enlarged, b.sampler = &cv, cv.Enlarged(), name
}

// forward runs resnet j on x and the channels of skip, and its attention.
func (b *block) forward(s *engine.Stream, j int, x, skip *engine.Tensor, c *Conditions) *engine.Tensor {
	r := &b.resnets[j]
	h := r.Forward(s, x, skip, c.tembOf(s, r.path, x.Dim(0)))
	if j >= len(b.attns) {
		return h
	}
	y := b.attns[j].forward(s, h, c)
	s.Free(h)
	return y
}

// shrink halves the height and width.
func (b *block) shrink(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter(b.sampler)
	return s.Leave(b.resample.Forward(s, x, nil))
}

// grow brings x to the height and width of the next skip connection: twice its own,
// or a little less where a map of an odd size was halved (diffusers'
// upsample_size).
func (b *block) grow(s *engine.Stream, x, skip *engine.Tensor, c *Conditions) *engine.Tensor {
	s.Enter(b.sampler)
	h, w := skip.Dim(1), skip.Dim(2)
	if h == 2*x.Dim(1) && w == 2*x.Dim(2) {
		return s.Leave(b.resample.Forward(s, x, nil))
	}
	n, width := x.Dim(0), x.Dim(3)
	pixels := embed.Rows(s, s.View(x, n*x.Dim(1)*x.Dim(2), width), c.nearest(s, x, h, w))
	y := b.enlarged.Forward(s, s.View(pixels, n, h, w, width), nil)
	s.Free(pixels)
	return s.Leave(y)
}

// transformer is diffusers' Transformer2DModel: transformer blocks over the pixels.
type transformer struct {
	name    string
	norm    layer.Norm
	in, out layer.Linear
	blocks  []basic
}

// basic is diffusers' BasicTransformerBlock.
type basic struct {
	name                string
	norm1, norm2, norm3 layer.Norm
	self                layer.Attention
	cross               layer.Attention
	crossPath           string // "down_blocks.0.attentions.1.transformer_blocks.0.attn2"
	gate, down          layer.Linear
}

func loadTransformer(l *weights.Loader, name string, width, heads, depth int, c *Config) transformer {
	l = l.In(name)
	t := transformer{name: name, norm: layer.LoadGroupNorm(l, "norm", width, c.Groups, 1e-6),
		in: layer.LoadLinear(l, "proj_in", width, width), out: layer.LoadLinear(l, "proj_out", width, width)}
	names := layer.DiffusersNames()
	for i := range depth {
		name := "transformer_blocks." + strconv.Itoa(i)
		p := l.In(name)
		t.blocks = append(t.blocks, basic{name: name, crossPath: p.Prefix() + "attn2",
			norm1: layer.LoadLayerNorm(p, "norm1", width, 1e-5),
			self:  layer.LoadSelf(p, "attn1", names, width, width, heads),
			norm2: layer.LoadLayerNorm(p, "norm2", width, 1e-5),
			cross: layer.LoadCross(p, "attn2", names, width, c.Cross, width, heads),
			norm3: layer.LoadLayerNorm(p, "norm3", width, 1e-5),
			gate:  layer.LoadLinear(p, "ff.net.0.proj", width, 8*width),
			down:  layer.LoadLinear(p, "ff.net.2", 4*width, width)})
	}
	return t
}

// forward maps x [M or N, H, W, C] to [N, H, W, C], N the number of texts.
func (t *transformer) forward(s *engine.Stream, x *engine.Tensor, c *Conditions) *engine.Tensor {
	s.Enter(t.name)
	// 1. Normalised pixels in a row, projected.
	a := t.norm.Forward(s, x)
	h := t.in.Forward(s, s.View(a, x.Dim(0), x.Dim(1)*x.Dim(2), x.Dim(3)))
	s.Free(a)
	// 2. The transformer blocks.
	for i := range t.blocks {
		y := t.blocks[i].forward(s, h, c)
		s.Free(h)
		h = y
	}
	// 3. Projected back, and added to what came in.
	residual := c.expand(s, x)
	y := t.out.Fused(s, h, matmul.None, residual)
	s.Free(h)
	if residual != x {
		s.Free(residual)
	}
	return s.Leave(s.View(y, residual.Shape()...))
}

// forward maps x [M or N, L, C] to [N, L, C].
func (b *basic) forward(s *engine.Stream, x *engine.Tensor, c *Conditions) *engine.Tensor {
	s.Enter(b.name)
	// 1. Self-attention.
	a := b.norm1.Forward(s, x)
	h := b.self.Self(s, a, x, false)
	s.Free(a)
	// 2. Cross-attention to the text: from here on every text has its own sample.
	if wide := c.expand(s, h); wide != h {
		s.Free(h)
		h = wide
	}
	a = b.norm2.Forward(s, h)
	g := b.cross.Cross(s, a, c.keysValues[b.crossPath], h)
	s.Free(a, h)
	// 3. Feed-forward.
	a = b.norm3.Forward(s, g)
	f := b.gate.GEGLU(s, a)
	s.Free(a)
	y := b.down.Fused(s, f, matmul.None, g)
	s.Free(f, g)
	return s.Leave(y)
}
