package diffusion

import (
	"slices"

	"parley/engine"
	"parley/kernels/elementwise"
	"parley/kernels/embed"
	"parley/kernels/resize"
	"parley/nets/pixels"
)

// Mask says which latents of an init image are drawn anew, [h*w] of a plan's: the
// others end as the image's own.
type Mask []bool

// EncodeMask takes a picture for a mask, white where the init image is drawn anew:
// resized to the plan's size, grey, cut at the middle, and each latent takes its
// first pixel (diffusers' inpainting).
func (p *Plan) EncodeMask(run engine.Run, m pixels.Picture) (Mask, error) {
	s := run.In("mask").Stream()
	defer s.Close()
	x := resize.Resize(s, m.On(s), p.o.Height, p.o.Width, pixels.Lanczos, resize.Window{H: p.o.Height, W: p.o.Width})
	host, err := s.Get(x)
	if err != nil {
		return nil, err
	}
	rgb, factor := host.U8(), p.p.VAE.Geometry().Factor
	mask := make(Mask, p.h*p.w)
	for i := range mask {
		at := 3 * (i/p.w*factor*p.o.Width + i%p.w*factor)
		mask[i] = pixels.Grey(rgb[at:at+3]) > 127
	}
	return mask, nil
}

// fill replaces latents [N, h, w, C] where they are drawn anew; noise is theirs.
func (m Mask) fill(f Fill, latents, noise *engine.Tensor) {
	if f == FillOriginal {
		return
	}
	x, c := latents.F32(), latents.Dim(-1)
	for i := range x {
		if !m[i/c%len(m)] {
			continue
		}
		if x[i] = 0; f == FillNoise {
			x[i] = noise.F32()[i]
		}
	}
}

// original is what a batch with a mask keeps of its init image.
type original struct {
	mask         Mask
	image, noise *engine.Tensor // [N, h, w, C] in f32: its latents, and what they start with
	from         *engine.Tensor // i32 [N*h*w]: which row of latents, then of originals, a latent is
}

// newOriginal takes both tensors over.
func newOriginal(s *engine.Stream, m Mask, image, noise *engine.Tensor) *original {
	o := &original{mask: m, image: image, noise: noise}
	o.count(s)
	return o
}

// count numbers the rows of as many samples as there are.
func (o *original) count(s *engine.Stream) {
	s.Free(o.from)
	from := make([]int32, o.image.Dim(0)*len(o.mask))
	for i := range from {
		if from[i] = int32(i); !o.mask[i%len(o.mask)] {
			from[i] += int32(len(from))
		}
	}
	o.from = s.PutAs(engine.I32, engine.FromI32(from, len(from)))
}

// restore gives latents x, which it frees, with the original outside the mask, times
// image, plus its noise, times noise.
func (o *original) restore(s *engine.Stream, x *engine.Tensor, image, noise float64) *engine.Tensor {
	noised := elementwise.Mix(s, image, o.image, noise, o.noise)
	n, c := o.from.Elems(), x.Dim(-1)
	both := s.New(engine.F32, 2*n, c)
	s.Copy(both.Rows(0, n), x)
	s.Copy(both.Rows(n, 2*n), noised)
	y := embed.Rows(s, both, o.from)
	dims := slices.Clone(x.Shape())
	s.Free(x, noised, both)
	return s.View(y, dims...)
}

// keep goes on with some of the samples.
func (o *original) keep(s *engine.Stream, rows []int) {
	o.image, o.noise = pick(s, o.image, rows), pick(s, o.noise, rows)
	o.count(s)
}

// free gives back what there is; of nil, nothing.
func (o *original) free(s *engine.Stream) {
	if o != nil {
		s.Free(o.image, o.noise, o.from)
	}
}
