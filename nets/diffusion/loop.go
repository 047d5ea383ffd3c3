package diffusion

import (
	"fmt"
	"slices"

	"parley/engine"
	"parley/kernels/elementwise"
	"parley/kernels/layout"
	"parley/nets/schedule"
)

// Latents denoises a batch. It returns the latents [n, h, w, C] in f32, scaled, of
// the samples that a callback has not ended, and which of the batch those are;
// nil where all have ended.
func (p *Plan) Latents(s *engine.Stream, b Batch) (*engine.Tensor, []int, error) {
	if (b.Init != nil) != (p.o.Strength != 0) {
		return nil, nil, fmt.Errorf("diffusion: an init image and a strength go together")
	}
	ids := b.IDs
	d := &denoising{Plan: p, Batch: b, s: s, run: p.schedule.Begin()}
	for i := range ids {
		d.samples = append(d.samples, i)
	}
	defer d.free()
	// 1. The text's hidden states, with and without the prompt.
	weights := b.Weights
	if p.guided() {
		if b.Weights != nil || b.NegativeWeights != nil {
			weights = make([][]float32, 2*len(ids))
			copy(weights, b.NegativeWeights)
			copy(weights[len(ids):], b.Weights)
		}
		ids = slices.Concat(b.Negative, ids)
	}
	s.Enter("text_encoder")
	text, err := p.p.Text.Encode(s, ids, weights, p.o.ClipSkip)
	s.Leave(nil)
	if err != nil {
		return nil, nil, err
	}
	d.text = text
	// 2. The latents that denoising starts from.
	d.start()
	// 3. What all steps share.
	if err := d.condition(); err != nil {
		return nil, nil, err
	}
	// 4. The steps.
	for i := range p.schedule.Steps() {
		if err := d.advance(i); err != nil {
			return nil, nil, err
		}
		if len(d.samples) == 0 {
			return nil, nil, s.Err()
		}
	}
	z := d.x
	d.x = nil
	return z, d.samples, s.Err()
}

// denoising is a batch under way.
type denoising struct {
	*Plan
	Batch
	s       *engine.Stream
	run     *schedule.Run
	samples []int // of the batch, that are still drawn

	text       *engine.Tensor // [N or 2N, L, Width]
	x          *engine.Tensor // latents, [N, h, w, C] in f32
	in, number *engine.Tensor // what a step reads: scaled latents, and its number
	conditions Conditions
	net        engine.Graphed
}

// normal draws numbers for every sample: [N, h, w, C] on the host. torch draws
// channel by channel.
func (d *denoising) normal() *engine.Tensor {
	n, c := len(d.samples), d.p.VAE.Geometry().Channels
	chw := make([]float32, n*c*d.h*d.w)
	d.Noise.Fill(d.samples, chw)
	return layout.ToNHWC(engine.FromF32(chw, n, c, d.h, d.w))
}

// start makes the latents that the first step gets.
func (d *denoising) start() {
	s, init := d.s, d.Init
	s.Enter("init")
	defer s.Leave(nil)
	if init == nil {
		noise := s.PutAs(engine.F32, d.normal())
		d.x = elementwise.Mix(s, d.noise, noise, 0, noise)
		s.Free(noise)
		return
	}
	// The image's latents are drawn before the noise, as in diffusers.
	image := s.PutAs(engine.F32, init.sample(d.normal(), d.p.VAE.Geometry().Scale))
	noise := s.PutAs(engine.F32, d.normal())
	d.x = elementwise.Mix(s, d.picture, image, d.noise, noise)
	s.Free(image, noise)
}

// condition prepares the net for the samples that there are.
func (d *denoising) condition() (err error) {
	s := d.s
	ts := make([]float64, d.schedule.Steps())
	for i := range ts {
		ts[i] = d.schedule.Timestep(i)
	}
	s.Enter("unet")
	d.conditions, err = d.p.Denoiser.Condition(s, ts, d.text)
	s.Leave(nil)
	if err != nil {
		return err
	}
	if d.Step == nil { // nobody will end a sample
		s.Free(d.text)
		d.text = nil
	}
	d.in = s.New(s.Float(), d.x.Shape()...)
	d.number = s.New(engine.I32, 1)
	d.net = engine.Graphed{Eager: d.schedule.Steps() < 3, Run: func() (*engine.Tensor, error) {
		s.Enter("unet")
		defer s.Leave(nil)
		return d.conditions.Step(s, d.in, d.number)
	}}
	return nil
}

// advance runs the net and the scheduler once.
func (d *denoising) advance(i int) error {
	s := d.s
	s.Enter("scheduler")
	elementwise.Scale(s, d.in, d.x, d.schedule.Scale(i))
	s.Set(d.number, engine.FromI32([]int32{int32(i)}, 1))
	s.Leave(nil)
	prediction, err := d.net.Next(s)
	if err != nil {
		return err
	}
	s.Enter("scheduler")
	var noise *engine.Tensor
	if d.schedule.Noisy(i) {
		noise = s.PutAs(engine.F32, d.normal())
	}
	next, clean := d.run.Step(s, i, d.x, prediction, noise, d.o.Guidance)
	before := d.x
	d.x = next
	s.Free(noise)
	s.Leave(nil)
	if d.Progress != nil && s.Err() == nil {
		d.Progress()
	}
	if d.Step == nil {
		s.Free(before)
		return s.Err()
	}
	keep, err := d.Step(Step{Index: i, Count: d.schedule.Steps(), Samples: d.samples, Latents: d.x, Stream: s,
		predicted: func() *engine.Tensor {
			x, p := d.schedule.Clean(i)
			return elementwise.Mix(s, x, before, p, clean)
		}})
	s.Free(before)
	if err != nil {
		return err
	}
	if keep != nil {
		return d.keep(keep, i)
	}
	return s.Err()
}

// keep goes on with some of the samples after step i.
func (d *denoising) keep(rows []int, i int) error {
	s, n := d.s, len(d.samples)
	var samples []int
	for _, r := range rows {
		if r < 0 || r >= n {
			return fmt.Errorf("diffusion: a callback keeps sample %d of %d", r, n)
		}
		samples = append(samples, d.samples[r])
	}
	d.samples = samples
	if len(rows) == 0 || len(rows) == n && slices.IsSorted(rows) || i+1 == d.schedule.Steps() {
		d.x = pick(s, d.x, rows)
		return s.Err()
	}
	d.x = pick(s, d.x, rows)
	d.run.Keep(func(t *engine.Tensor) *engine.Tensor { return pick(s, t, rows) })
	if d.guided() {
		both := slices.Clone(rows)
		for _, r := range rows {
			both = append(both, n+r)
		}
		rows = both
	}
	d.text = pick(s, d.text, rows)
	d.net.Free(s)
	d.conditions.Free(s)
	s.Free(d.in, d.number)
	return d.condition()
}

// pick is a tensor of some rows of x, which it frees.
func pick(s *engine.Stream, x *engine.Tensor, rows []int) *engine.Tensor {
	if x == nil || len(rows) == 0 {
		return x
	}
	dims := slices.Clone(x.Shape())
	dims[0] = len(rows)
	y := s.New(x.DType(), dims...)
	for i, r := range rows {
		s.Copy(y.Rows(i, i+1), x.Rows(r, r+1))
	}
	s.Free(x)
	return y
}

// free gives back what the batch holds.
func (d *denoising) free() {
	d.net.Free(d.s)
	if d.conditions != nil {
		d.conditions.Free(d.s)
	}
	d.run.Free(d.s)
	d.s.Free(d.x, d.text, d.in, d.number)
}
