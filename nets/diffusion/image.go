package diffusion

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/kernels/elementwise"
	"parley/kernels/resize"
	"parley/nets/pixels"
)

// Moments are what an init image's latents are drawn from: their mean and
// standard deviation, [1, h, w, C] on the host, unscaled.
type Moments struct{ Mean, Deviation *engine.Tensor }

// EncodeImage resizes an init image to a plan's size and encodes it.
func (p *Plan) EncodeImage(run engine.Run, m pixels.Picture) (*Moments, error) {
	s := run.In("vae").Stream()
	defer s.Close()
	x := resize.Resize(s, m.On(s), p.o.Height, p.o.Width, pixels.Lanczos, resize.Window{H: p.o.Height, W: p.o.Width})
	h, err := p.p.VAE.Moments(s, pixels.Signed(s, x))
	if err != nil {
		return nil, err
	}
	moments, err := s.Get(h)
	if err != nil {
		return nil, err
	}
	dims := append([]int(nil), h.Shape()...)
	c := dims[3] / 2
	dims[3] = c
	n := h.Elems() / 2
	out := &Moments{engine.FromF32(make([]float32, n), dims...), engine.FromF32(make([]float32, n), dims...)}
	for i := range n {
		at := i/c*2*c + i%c
		out.Mean.F32()[i] = moments.F32()[at]
		// Limits as diffusers'.
		out.Deviation.F32()[i] = float32(math.Exp(min(max(float64(moments.F32()[at+c]), -30), 20) / 2))
	}
	return out, nil
}

// sample draws latents, scaled, from normal numbers [n, h, w, C].
func (m *Moments) sample(normal *engine.Tensor, scale float64) *engine.Tensor {
	mean, dev := m.Mean.F32(), m.Deviation.F32()
	y := engine.FromF32(make([]float32, normal.Elems()), normal.Shape()...)
	for i, v := range normal.F32() {
		y.F32()[i] = float32((float64(mean[i%len(mean)]) + float64(dev[i%len(dev)])*float64(v)) * scale)
	}
	return y
}

// Decode makes pictures [N, H, W, 3] in -1..1 of latents, one by one, so that
// the decoder's large maps are those of one picture. It frees the latents. A
// picture that overflows f16, which would be black, is decoded again in f32.
func (p *Pipeline) Decode(s *engine.Stream, latents *engine.Tensor) (*engine.Tensor, error) {
	n, h, w, g := latents.Dim(0), latents.Dim(1), latents.Dim(2), p.VAE.Geometry()
	out := s.New(s.Float(), n, h*g.Factor, w*g.Factor, 3)
	s.Enter("vae")
	defer s.Leave(nil)
	for i := range n {
		x, err := decode(s, p.VAE, latents.Rows(i, i+1))
		if err != nil {
			return nil, err
		}
		if s.Float() != engine.F32 && !elementwise.Finite(s, x) {
			s.Free(x)
			if x, err = p.decodeWide(s, latents.Rows(i, i+1)); err != nil {
				return nil, err
			}
		}
		elementwise.Scale(s, out.Rows(i, i+1), x, 1)
		s.Free(x)
	}
	s.Free(latents)
	return out, s.Err()
}

// Latents of a picture that is decoded in tiles, and of a tile's side.
const (
	whole = 128 * 128
	tile  = 64
)

// decode makes one picture of f32 latents.
func decode(s *engine.Stream, vae Autoencoder, latents *engine.Tensor) (*engine.Tensor, error) {
	z := s.New(s.Float(), latents.Shape()...)
	defer s.Free(z)
	elementwise.Scale(s, z, latents, 1/vae.Geometry().Scale)
	if z.Dim(1)*z.Dim(2) > whole {
		return vae.DecodeTiled(s, z, tile)
	}
	return vae.Decode(s, z)
}

// decodeWide decodes in f32 on a device whose activations are f16.
func (p *Pipeline) decodeWide(s *engine.Stream, latents *engine.Tensor) (*engine.Tensor, error) {
	if p.Wide == nil {
		return nil, fmt.Errorf("decode: the picture overflows %v", s.Float())
	}
	vae, dev, err := p.Wide()
	if err != nil {
		return nil, fmt.Errorf("decode again in f32, since the picture overflows %v: %w", s.Float(), err)
	}
	run := s.Run().On(dev)
	run.Path = s.Path() + ".f32"
	t := run.Stream()
	defer t.Close()
	x, err := decode(t, vae, latents)
	if err != nil {
		return nil, err
	}
	y := s.New(engine.F32, x.Shape()...)
	elementwise.Scale(s, y, x, 1)
	return y, s.Err()
}
