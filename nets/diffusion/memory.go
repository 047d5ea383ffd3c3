package diffusion

import (
	"context"
	"fmt"

	"parley/engine"
	"parley/kernels/simd"
)

// atOnce is how many drawings are drawn together at most. More are no faster, and
// none of them is there, to be shown or kept, before all are done.
const atOnce = 32

// Batch is how many of n drawings, atOnce at most, fit in so many bytes of a device's memory
// together, beside the weights; 0 bytes is no bound. It decides whether Decode
// works in tiles.
func (p *Plan) Batch(dev engine.Device, n, memory int) (int, error) {
	if memory == 0 {
		return max(1, min(n, 8)), nil
	}
	one, err := p.need(dev, 1, p.h, p.w, memory)
	if err != nil {
		return 0, err
	}
	if one > memory && p.o.Tiling != TilingOff && !p.tiled {
		p.tiled = true
		tiled, err := p.need(dev, 1, p.h, p.w, memory)
		if err != nil {
			return 0, err
		}
		if tiled <= memory {
			p.note = fmt.Sprintf("a picture of %d x %d pixels is decoded in tiles, which differ a little from the whole one: that needs %v, %v "+
				"are free",
				p.o.Width, p.o.Height, engine.Bytes(one), engine.Bytes(memory))
		}
		one = tiled
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
	return min(n, atOnce, 1+(memory-one)/max(1, two-one)), nil
}

// What is proposed in place of a picture that does not fit: its shorter side in
// latents, and how many times as long the other one is. Beyond, nobody would want it.
const (
	shortest = 8
	longest  = 16
)

// tooLarge says which size of the same shape would fit instead.
func (p *Plan) tooLarge(dev engine.Device, need, memory int) error {
	err := &engine.MemoryError{What: fmt.Sprintf("a drawing of %d x %d pixels", p.o.Width, p.o.Height), Need: need, Free: memory}
	// Of the shorter side, in latents; the longer one follows it.
	short, long := min(p.h, p.w), max(p.h, p.w)
	if long > longest*short {
		return err
	}
	size := func(side int) (h, w int) { return p.h * side / short, p.w * side / short }
	lo, hi := shortest-1, short
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		h, w := size(mid)
		if need, e := p.need(dev, 1, h, w, memory); e == nil && need <= memory {
			lo = mid
		} else {
			hi = mid
		}
	}
	if lo >= shortest {
		h, w := size(lo)
		f := p.p.VAE.Geometry().Factor
		err.Fits = fmt.Sprintf("%d x %d pixels would fit", w*f, h*f)
	}
	return err
}

// Need is the memory that k drawings take together beside the weights, in bytes.
// Where that is more than memory, it may be less than all.
func (p *Plan) Need(dev engine.Device, k, memory int) (int, error) {
	return p.need(dev, k, p.h, p.w, memory)
}

// need is the most memory that k drawings of h x w latents take together beside
// the weights, in bytes, by a dry run. Where that is more than memory, it may be
// less than all.
func (p *Plan) need(dev engine.Device, k, h, w, memory int) (int, error) {
	dry := engine.DryRunOf(dev)
	s := engine.NewStream(context.Background(), dry)
	g := p.p.VAE.Geometry()
	texts := k
	if p.Guided() {
		texts *= 2
	}
	length, width := p.p.Text.Size()
	length = max(length, p.o.Tokens)
	text := s.New(s.Float(), texts, length, width)
	// Each may have timesteps of its own.
	c, err := p.p.Denoiser.Condition(s, make([]Time, k*max(p.schedule.Steps(), 1)), text)
	if err != nil {
		return 0, err
	}
	// Of drawings that go on while another one is decoded, or its init image encoded: the latents with what a
	// scheduler keeps of the steps before, and the texts.
	latents := 6 * k
	if p.o.Strength != 0 {
		latents += 7 * k // what a mask keeps of the init image, and what it is put back with
	}
	kept := s.New(engine.F32, latents, h, w, g.Channels).Bytes() + text.Bytes()
	if _, err := c.Step(s, s.New(s.Float(), k, h, w, g.Channels), s.New(engine.I32, k)); err != nil {
		return 0, err
	}
	if s.Peak() > memory {
		return s.Peak(), nil // enough to know; the decoder's tiles would be many
	}
	d := engine.NewStream(context.Background(), dry)
	z := d.New(engine.F32, k, h, w, g.Channels)
	d.New(d.Float(), k, h*g.Factor, w*g.Factor, 3)
	if _, err := p.decode(d, p.p.VAE, z.Rows(0, 1)); err != nil {
		return 0, err
	}
	most := max(s.Peak(), d.Peak()+kept)
	if p.o.Strength != 0 {
		e := engine.NewStream(context.Background(), dry)
		if _, err := p.p.VAE.Moments(e, e.New(e.Float(), 1, h*g.Factor, w*g.Factor, 3)); err != nil {
			return 0, err
		}
		most = max(most, e.Peak()+kept)
	}
	return most, nil
}
