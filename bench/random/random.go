// Package random makes nets of random weights for the typed configurations of the
// nets, those of the published checkpoints and small ones of the same make: to
// measure speed and memory, which do not depend on what was learned. No checkpoint is
// read, and each tensor is made while it is packed for its device; on a dry run it
// has its shape alone.
package random

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"

	"parley/engine"
	"parley/kernels/matmul"
	"parley/kernels/storage"
	"parley/nets/blip"
	"parley/nets/clip"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/unet"
	"parley/nets/vae"
	"parley/weights"
)

// maker makes whatever a net asks for, but for names that end as one of a list: what
// the net's checkpoints do not have.
type maker []string

func unets() maker { return maker{".to_q.bias", ".to_k.bias", ".to_v.bias"} }
func clips() maker { return maker{"_projection.bias", "patch_embedding.bias"} }
func blips() maker { return maker{"predictions.decoder.weight", "predictions.decoder.bias"} }

// Has implements weights.Maker.
func (m maker) Has(name string) bool {
	for _, a := range m {
		if strings.HasSuffix(name, a) {
			return false
		}
	}
	return true
}

// Make implements weights.Maker.
func (m maker) Make(name string, shape engine.Shape) storage.Source {
	h := fnv.New64a()
	h.Write([]byte(name))
	t := tensor{name: name, shape: shape, seed: h.Sum64(), deviation: 0.02}
	switch {
	case len(shape) == 1 && strings.HasSuffix(name, ".weight"): // a norm's
		t.mean, t.deviation = 1, 0
	case len(shape) > 1 && (len(shape) == 4 || !strings.Contains(name, "embeddings.")): // not a table
		t.deviation = 1 / math.Sqrt(float64(shape[1:].Elems()))
	}
	return t
}

// tensor is uniform around a mean with a standard deviation, each element by its
// place.
type tensor struct {
	name            string
	shape           engine.Shape
	seed            uint64
	mean, deviation float64
}

// Name implements storage.Source, as do the others.
func (t tensor) Name() string { return t.name }

// DType is that of the numbers.
func (tensor) DType() string { return "F32" }

// Shape is what was asked for.
func (t tensor) Shape() engine.Shape { return t.shape }

// F32 makes a part of the tensor, by SplitMix64 (Steele, Lea and Flood, OOPSLA
// 2014), whose n-th number does not need those before it.
func (t tensor) F32(dst []float32, at int) error {
	mean, scale := float32(t.mean), float32(t.deviation*math.Sqrt(3)/(1<<23))
	for i := range dst {
		z := t.seed + uint64(at+i+1)*0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		dst[i] = mean + float32(int32(z>>40)-1<<23)*scale
	}
	return nil
}

// UNet makes a UNet on a device.
func UNet(c unet.Config, dev engine.Device) (*unet.Model, error) {
	return unet.New(c, weights.Made(unets()).Loader(dev))
}

// VAE makes an autoencoder on a device.
func VAE(c vae.Config, dev engine.Device) (*vae.Model, error) {
	return vae.New(c, weights.Made(maker{}).Loader(dev))
}

// Text makes a text encoder on a device, as Stable Diffusion has it.
func Text(c clip.TextConfig, dev engine.Device) (*clip.Text, error) {
	return clip.NewText(c, weights.Made(maker{}).Loader(dev))
}

// CLIP makes both towers on a device.
func CLIP(c clip.Config, dev engine.Device) (*clip.Model, error) {
	return clip.New(c, weights.Made(clips()).Loader(dev))
}

// BLIP makes the picture's encoder and the text's decoder on a device.
func BLIP(c blip.Config, dev engine.Device) (*blip.Model, error) {
	return blip.New(c, weights.Made(blips()).Loader(dev))
}

// Diffusion is the configuration of a Stable Diffusion.
type Diffusion struct {
	UNet unet.Config
	VAE  vae.Config
	Text clip.TextConfig
}

// Diffusions are those that people know, by name.
func Diffusions() map[string]Diffusion {
	return map[string]Diffusion{
		"sd15":  SD15(),
		"sd21":  {unet.SD21(), vae.SD(), clip.SD21()},
		"sd21v": {unet.SD21V(), vae.SD(), clip.SD21()},
		"mini":  {unet.Mini(), vae.Mini(), clip.MiniText()},
		"small": SmallSD(),
	}
}

// CLIPs are those that people know, by name.
func CLIPs() map[string]clip.Config {
	return map[string]clip.Config{
		"clip-b32": clip.B32(), "clip-l14": clip.L14(), "clip-h14": clip.H14(), "mini": clip.Mini(), "small": SmallCLIP(),
	}
}

// BLIPs are those that people know, by name.
func BLIPs() map[string]blip.Config {
	return map[string]blip.Config{"blip-base": blip.Base(), "blip-large": blip.Large(), "mini": blip.Mini(), "small": SmallBLIP()}
}

// SD15 is Stable Diffusion 1.5.
func SD15() Diffusion { return Diffusion{unet.SD15(), vae.SD(), clip.SD15()} }

// SmallSD has the parts of SD15, and 16 x 16 pixels.
func SmallSD() Diffusion {
	d := SD15()
	u := &d.UNet
	u.Height, u.Width, u.Cross, u.Groups = 8, 8, 32, 8
	u.Channels, u.Layers, u.Heads, u.Depth = []int{32, 64}, []int{1, 1}, []int{2, 2}, []int{1, 1}
	u.Down, u.Up = []bool{true, false}, []bool{false, true}
	d.VAE.Channels, d.VAE.Layers, d.VAE.Groups = []int{32, 32}, 1, 8
	d.Text = smallText()
	return d
}

// smallText has the parts of a text tower.
func smallText() clip.TextConfig {
	return clip.TextConfig{Width: 32, Layers: 1, Heads: 2, Inner: 64, Length: 77, Vocab: 100, EOS: 99, Act: matmul.QuickGELU, Eps: 1e-5}
}

// SmallCLIP has the parts of ViT-B/32.
func SmallCLIP() clip.Config {
	return clip.Config{Projection: 24, Text: smallText(),
		Vision: clip.VisionConfig{Width: 48, Layers: 1, Heads: 2, Inner: 96, Image: 32, Patch: 8, Channels: 3,
			Act: matmul.QuickGELU, Eps: 1e-5}}
}

// SmallBLIP has the parts of BLIP base.
func SmallBLIP() blip.Config {
	return blip.Config{
		Vision: blip.VisionConfig{Width: 32, Layers: 1, Heads: 2, Inner: 64, Image: 32, Patch: 8, Act: matmul.GELU, Eps: 1e-5},
		Text: blip.TextConfig{Width: 32, Layers: 1, Heads: 2, Inner: 64, Length: 32, Vocab: 120, BOS: 1, Sep: 2, Act: matmul.GELU,
			Eps: 1e-12}}
}

// SD is a Stable Diffusion, and how it draws.
type SD struct {
	Config   Diffusion
	UNet     *unet.Model
	VAE      *vae.Model
	Text     *clip.Text
	Pipeline *diffusion.Pipeline
	diffusion.Options
}

// StableDiffusion makes a Stable Diffusion on a device: 50 steps of DDIM with
// guidance 7.5, pictures of the size that its UNet is for.
func StableDiffusion(c Diffusion, dev engine.Device) (*SD, error) {
	p := &SD{Config: c}
	var err error
	if p.UNet, err = UNet(c.UNet, dev); err != nil {
		return nil, err
	}
	if p.VAE, err = VAE(c.VAE, dev); err != nil {
		return nil, err
	}
	if p.Text, err = Text(c.Text, dev); err != nil {
		return nil, err
	}
	p.Pipeline = models.NewPipeline(p.UNet, p.VAE, p.Text, weights.Config{})
	p.Options = diffusion.Options{Steps: 50, Guidance: 7.5, Scheduler: "ddim",
		Width: c.UNet.Width * p.VAE.Factor, Height: c.UNet.Height * p.VAE.Factor}
	return p, nil
}

// Latents are those of n pictures, on the host.
func (p *SD) Latents(n int) *engine.Tensor {
	return Normal(5, 1, n, p.Config.UNet.Height, p.Config.UNet.Width, p.Config.VAE.Latents)
}

// GuidedStep prepares a step of the UNet for n pictures, each with and without its
// text, on a stream. What it returns makes one.
func (p *SD) GuidedStep(s *engine.Stream, n int) (func() error, error) {
	text := s.Put(Normal(3, 1, 2*n, p.Text.Length, p.Text.Width))
	cond, err := p.UNet.Condition(s, []float64{801, 601}, text, unet.Embeddings{})
	if err != nil {
		return nil, err
	}
	in := s.Put(p.Latents(n))
	now := s.Put(engine.FromI32([]int32{1}, 1))
	return func() error {
		y, err := p.UNet.Step(s, cond, unet.Input{Latents: in, Step: now})
		s.Free(y)
		return err
	}, s.Err()
}

// IDs are n rows of random tokens that end as CLIP's do.
func IDs(c clip.TextConfig, n int) [][]int32 {
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	rows := make([][]int32, n)
	for i := range rows {
		for range c.Length {
			rows[i] = append(rows[i], int32(rng.IntN(c.Vocab-1)))
		}
		rows[i][c.Length-1] = int32(c.Vocab - 1)
	}
	return rows
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
