package diffusion

import (
	"context"
	"fmt"

	"parley/engine"
	"parley/kernels/simd"
)

// Batch is how many of n drawings fit in so many bytes of a device's memory
// together, beside the weights; 0 bytes is no bound.
func (p *Plan) Batch(dev engine.Device, n, memory int) (int, error) {
	if memory == 0 {
		return max(1, min(n, 8)), nil
	}
	one, err := p.need(dev, 1, p.h, p.w, memory)
	if err != nil {
		return 0, err
	}
	if one > memory {
		return 0, p.tooLarge(dev, one, memory)
	}
	if n < 2 {
		return n, nil
	}
	two, err := p.need(dev, 2, p.h, p.w, memory)
	if err != nil {
		return 0, err
	}
	// A core works as fast on one drawing as on many once its layers are larger
	// than its caches; and the first is there sooner, in less memory.
	if _, third := simd.Caches(); dev.Local() && two-one > third {
		return 1, nil
	}
	return min(n, 1+(memory-one)/max(1, two-one)), nil
}

// tooLarge says which square would fit instead.
func (p *Plan) tooLarge(dev engine.Device, need, memory int) error {
	err := &engine.MemoryError{What: fmt.Sprintf("a drawing of %d x %d pixels", p.o.Width, p.o.Height), Need: need, Free: memory}
	step := p.p.VAE.Geometry().Factor * p.p.Denoiser.Multiple()
	lo, hi := 0, min(p.o.Width, p.o.Height)/step
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		side := mid * p.p.Denoiser.Multiple()
		if need, e := p.need(dev, 1, side, side, memory); e == nil && need <= memory {
			lo = mid
		} else {
			hi = mid
		}
	}
	if lo > 0 {
		err.Fits = fmt.Sprintf("%d x %d pixels would fit", lo*step, lo*step)
	}
	return err
}

// need is the most memory that k drawings of h x w latents take together beside
// the weights, in bytes, by a dry run. Where that is more than memory, it may be
// less than all.
func (p *Plan) need(dev engine.Device, k, h, w, memory int) (int, error) {
	dry := engine.DryRunOf(dev)
	s := engine.NewStream(context.Background(), dry)
	g := p.p.VAE.Geometry()
	texts := k
	if p.guided() {
		texts *= 2
	}
	length, width := p.p.Text.Size()
	c, err := p.p.Denoiser.Condition(s, make([]float64, max(p.schedule.Steps(), 1)), s.New(s.Float(), texts, length, width))
	if err != nil {
		return 0, err
	}
	// The latents with what a scheduler keeps of the steps before.
	latents := s.New(engine.F32, 6*k, h, w, g.Channels)
	if _, err := c.Step(s, s.New(s.Float(), k, h, w, g.Channels), s.New(engine.I32, 1)); err != nil {
		return 0, err
	}
	if s.Peak() > memory {
		return s.Peak(), nil // enough to know; the decoder's tiles would be many
	}
	d := engine.NewStream(context.Background(), dry)
	z := d.New(engine.F32, k, h, w, g.Channels)
	d.New(d.Float(), k, h*g.Factor, w*g.Factor, 3)
	_, err = decode(d, p.p.VAE, z.Rows(0, 1))
	return max(s.Peak(), d.Peak()+latents.Bytes()), err
}
