package diffusion

import (
	"errors"
	"fmt"
	"math"

	"parley/engine"
	"parley/kernels/elementwise"
	"parley/kernels/resize"
	"parley/nets/finite"
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
	x = pixels.Signed(s, x)
	h, err := p.p.VAE.Moments(s, x)
	if err != nil {
		return nil, err
	}
	moments, err := s.Get(h)
	if err != nil {
		return nil, err
	}
	if !allFinite(moments.F32()) {
		return nil, finite.Find(run, "the VAE", func(run engine.Run) error {
			s := run.In("vae").Stream()
			defer s.Close()
			_, err := p.p.VAE.Moments(s, x)
			return err
		})
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

func allFinite(x []float32) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
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
// picture that overflows f16, which would be black, is decoded again in f32; the
// error of one that is not finite then is a finite.Error.
func (p *Pipeline) Decode(s *engine.Stream, latents *engine.Tensor) (*engine.Tensor, error) {
	failed := make([]error, latents.Dim(0))
	x, err := (&Plan{p: p}).Decode(s, latents, failed)
	return x, errors.Join(err, errors.Join(failed...))
}

// Decode is Pipeline.Decode as the plan says. A picture that is not finite is told
// in its place of failed, [N]; those that have an error there already are passed
// over. Their rows of the result are undefined.
func (p *Plan) Decode(s *engine.Stream, latents *engine.Tensor, failed []error) (*engine.Tensor, error) {
	n, h, w, g := latents.Dim(0), latents.Dim(1), latents.Dim(2), p.p.VAE.Geometry()
	out := s.New(s.Float(), n, h*g.Factor, w*g.Factor, 3)
	s.Enter("vae")
	defer s.Leave(nil)
	for i := range n {
		if failed[i] != nil {
			continue
		}
		z := latents.Rows(i, i+1)
		x, err := p.decode(s, p.p.VAE, z)
		if err != nil {
			return nil, err
		}
		if !elementwise.Finite(s, x) {
			s.Free(x)
			vae, run, err := p.again(s)
			if err != nil {
				return nil, err
			}
			if x, err = p.decodeIn(run, vae, z, s); err != nil {
				return nil, err
			}
			if x == nil {
				failed[i] = finite.Find(run, "the VAE", func(run engine.Run) error {
					_, err := p.decodeIn(run.In("vae"), vae, z, nil)
					return err
				})
				continue
			}
		}
		elementwise.Scale(s, out.Rows(i, i+1), x, 1)
		s.Free(x)
	}
	s.Free(latents)
	return out, s.Err()
}

// tile is the side of a tile, in latents.
const tile = 64

// decode makes one picture of f32 latents.
func (p *Plan) decode(s *engine.Stream, vae Autoencoder, latents *engine.Tensor) (*engine.Tensor, error) {
	z := s.New(s.Float(), latents.Shape()...)
	defer s.Free(z)
	elementwise.Scale(s, z, latents, 1/vae.Geometry().Scale)
	if p.tiled {
		return vae.DecodeTiled(s, z, tile)
	}
	return vae.Decode(s, z)
}

// again is what a picture is decoded with that was not finite: in f32 on a device
// whose activations are f16.
func (p *Plan) again(s *engine.Stream) (Autoencoder, engine.Run, error) {
	run := s.Run()
	run.Path = s.Path()
	if s.Float() == engine.F32 || p.p.Wide == nil {
		return p.p.VAE, run, nil
	}
	vae, dev, err := p.p.Wide()
	if err != nil {
		return nil, run, fmt.Errorf("decode again in f32, since the picture overflows %v: %w", s.Float(), err)
	}
	run.Path += ".f32"
	return vae, run.On(dev), nil
}

// decodeIn decodes in a run of its own, to a tensor of another stream's; nil where
// the picture is not finite, or nobody wants it.
func (p *Plan) decodeIn(run engine.Run, vae Autoencoder, latents *engine.Tensor, to *engine.Stream) (*engine.Tensor, error) {
	s := run.Stream()
	defer s.Close()
	x, err := p.decode(s, vae, latents)
	if err != nil || to == nil || !elementwise.Finite(s, x) {
		return nil, err
	}
	y := to.New(engine.F32, x.Shape()...)
	elementwise.Scale(to, y, x, 1)
	return y, to.Err()
}
