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
func (p *Plan) Latents(s *engine.Stream, b Batch) (z *engine.Tensor, samples []int, err error) {
	d := p.p.Begin(s)
	defer d.Free()
	b.Done = func(latents *engine.Tensor, left []int) error {
		z, samples = latents, left
		return nil
	}
	if err := d.Join(p, b); err != nil {
		return nil, nil, err
	}
	for d.Samples() > 0 {
		if err := d.Advance(); err != nil {
			return nil, nil, err
		}
	}
	return z, samples, s.Err()
}

// Denoising is what a pipeline draws at a time. Between two steps other batches may join
// it: each is at a step of its own plan, while the net sees all of them at once, and its
// samples are what they are alone. It serves one goroutine.
type Denoising struct {
	pipeline *Pipeline
	s        *engine.Stream
	batches  []*batch

	// Of the batches that there are; nil until they have made a step together.
	conditions Conditions
	in, number *engine.Tensor // what a step reads: scaled latents, and each one's step, or that of all
	net        engine.Graphed
}

// batch is a Batch under way.
type batch struct {
	Batch
	plan    *Plan
	run     *schedule.Run
	next    int            // step
	numbers []int32        // of its steps, among those of all batches
	samples []int          // of the Batch, that are still drawn
	text    *engine.Tensor // [N or 2N, L, Width]
	x       *engine.Tensor // latents, [N, h, w, C] in f32
	kept    *original      // with a mask
}

// Begin prepares drawings on a stream, of which there are none yet.
func (p *Pipeline) Begin(s *engine.Stream) *Denoising { return &Denoising{pipeline: p, s: s} }

// Shape is what drawings of one net's run have in common.
type Shape struct {
	W, H   int  // pixels
	Tokens int  // of a row of ids; 0: as many as the text encoder takes at once
	Guided bool // with and without the prompt
}

// Shape is a plan's: batches of plans of one shape may be drawn together, whatever their
// samplers, steps, guidance and init images.
func (p *Plan) Shape() Shape { return Shape{p.o.Width, p.o.Height, p.o.Tokens, p.Guided()} }

// Samples is how many are drawn now.
func (d *Denoising) Samples() (n int) {
	for _, b := range d.batches {
		n += len(b.samples)
	}
	return n
}

// Join adds a batch, whose first step is the next one. Its plan is of the same pipeline
// and of the shape of those that there are.
func (d *Denoising) Join(p *Plan, of Batch) error {
	s := d.s
	if len(d.batches) > 0 {
		if have, want := p.Shape(), d.batches[0].plan.Shape(); have != want {
			return fmt.Errorf("diffusion: a drawing of %+v beside those of %+v", have, want)
		}
	}
	if (of.Init != nil) != (p.o.Strength != 0) {
		return fmt.Errorf("diffusion: an init image and a strength go together")
	}
	if of.Mask != nil && of.Init == nil {
		return fmt.Errorf("diffusion: a mask is for an init image")
	}
	if of.Mask != nil && len(of.Mask) != p.h*p.w {
		return fmt.Errorf("diffusion: a mask of %d latents for %d x %d", len(of.Mask), p.h, p.w)
	}
	if p.o.Fill != FillOriginal && of.Mask == nil {
		return fmt.Errorf("diffusion: a fill is for a mask")
	}
	d.changed()
	b := &batch{Batch: of, plan: p, run: p.schedule.Begin()}
	ids, weights := of.IDs, of.Weights
	for i := range ids {
		b.samples = append(b.samples, i)
	}
	// 1. The text's hidden states, with and without the prompt.
	if p.Guided() {
		if of.Weights != nil || of.NegativeWeights != nil {
			weights = make([][]float32, 2*len(ids))
			copy(weights, of.NegativeWeights)
			copy(weights[len(ids):], of.Weights)
		}
		ids = slices.Concat(of.Negative, ids)
	}
	s.Enter("text_encoder")
	text, err := p.p.Text.Encode(s, ids, weights, p.o.ClipSkip)
	s.Leave(nil)
	if err != nil {
		return err
	}
	b.text = text
	// 2. The latents that denoising starts from.
	d.start(b)
	d.batches = append(d.batches, b)
	return s.Err()
}

// normal draws numbers for every sample of a batch: [N, h, w, C] on the host. torch draws
// channel by channel.
func (d *Denoising) normal(b *batch) *engine.Tensor {
	p := b.plan
	n, c := len(b.samples), p.p.VAE.Geometry().Channels
	chw := make([]float32, n*c*p.h*p.w)
	b.Noise.Fill(b.samples, chw)
	return layout.ToNHWC(engine.FromF32(chw, n, c, p.h, p.w))
}

// start makes the latents that the first step gets.
func (d *Denoising) start(b *batch) {
	s, p := d.s, b.plan
	s.Enter("init")
	defer s.Leave(nil)
	if b.Init == nil {
		noise := s.PutAs(engine.F32, d.normal(b))
		b.x = elementwise.Mix(s, p.noise, noise, 0, noise)
		s.Free(noise)
		return
	}
	// The image's latents are drawn before the noise, as in diffusers.
	latents := b.Init.sample(d.normal(b), p.p.VAE.Geometry().Scale)
	normal := d.normal(b)
	b.Mask.fill(p.o.Fill, latents, normal)
	image, noise := s.PutAs(engine.F32, latents), s.PutAs(engine.F32, normal)
	if b.Mask == nil {
		b.x = elementwise.Mix(s, p.picture, image, p.noise, noise)
		s.Free(image, noise)
		return
	}
	// diffusers' inpainting starts as noise alone at full strength, and draws the masked
	// image's latents, which only a net with more channels looks at.
	if p.o.Strength == 1 && p.o.Fill == FillOriginal {
		b.x = elementwise.Mix(s, p.schedule.InitSigma(), noise, 0, noise)
	} else {
		b.x = elementwise.Mix(s, p.picture, image, p.noise, noise)
	}
	d.normal(b)
	b.kept = newOriginal(s, b.Mask, image, noise)
}

// condition prepares the net for the samples that there are.
func (d *Denoising) condition() (err error) {
	s, n := d.s, d.Samples()
	var times []Time
	numbers := map[Time]int32{}
	for _, b := range d.batches {
		b.numbers = b.numbers[:0]
		for _, t := range b.plan.times() {
			if _, ok := numbers[t]; !ok {
				numbers[t] = int32(len(times))
				times = append(times, t)
			}
			b.numbers = append(b.numbers, numbers[t])
		}
	}
	text := d.texts()
	s.Enter("unet")
	d.conditions, err = d.pipeline.Denoiser.Condition(s, times, text)
	s.Leave(nil)
	if len(d.batches) > 1 {
		s.Free(text)
	}
	if err != nil {
		return err
	}
	dims := slices.Clone(d.batches[0].x.Shape())
	dims[0] = n
	d.in = s.New(s.Float(), dims...)
	if len(d.batches) == 1 {
		n = 1
	}
	d.number = s.New(engine.I32, n)
	d.net = engine.Graphed{Eager: len(times) < 3, Run: func() (*engine.Tensor, error) {
		s.Enter("unet")
		defer s.Leave(nil)
		return d.conditions.Step(s, d.in, d.number)
	}}
	return nil
}

// texts are the hidden states of all samples: those without prompts, if the plan is
// guided, then those with.
func (d *Denoising) texts() *engine.Tensor {
	if len(d.batches) == 1 {
		return d.batches[0].text
	}
	all, guided := d.Samples(), d.batches[0].plan.Guided()
	if guided {
		all *= 2
	}
	dims := slices.Clone(d.batches[0].text.Shape())
	dims[0] = all
	y := d.s.New(d.batches[0].text.DType(), dims...)
	at := 0
	for _, b := range d.batches {
		n := len(b.samples)
		d.s.Copy(y.Rows(at, at+n), b.text.Rows(0, n))
		if guided {
			d.s.Copy(y.Rows(all/2+at, all/2+at+n), b.text.Rows(n, 2*n))
		}
		at += n
	}
	return y
}

// changed gives back what was prepared for other samples.
func (d *Denoising) changed() {
	d.net.Free(d.s)
	if d.conditions != nil {
		d.conditions.Free(d.s)
		d.conditions = nil
	}
	d.s.Free(d.in, d.number)
	d.in, d.number = nil, nil
}

// Advance runs the net once, and each batch's next step of the scheduler. Batches whose
// last step that was are done, those with no sample left are gone.
func (d *Denoising) Advance() error {
	s := d.s
	if len(d.batches) == 0 {
		return s.Err()
	}
	if d.conditions == nil {
		if err := d.condition(); err != nil {
			return err
		}
	}
	// 1. What the net sees.
	s.Enter("scheduler")
	numbers := make([]int32, 0, d.number.Elems())
	row := 0
	for _, b := range d.batches {
		n := len(b.samples)
		elementwise.Scale(s, s.Rows(d.in, row, row+n), b.x, b.plan.schedule.Scale(b.next))
		for range n {
			numbers = append(numbers, b.numbers[b.next])
		}
		row += n
	}
	numbers = numbers[:d.number.Elems()]
	s.Set(d.number, engine.FromI32(numbers, len(numbers)))
	s.Leave(nil)
	// 2. The net.
	prediction, err := d.net.Next(s)
	if err != nil {
		return err
	}
	// 3. The scheduler, for each batch.
	at, changed := 0, false
	for _, b := range d.batches {
		before := b.samples
		if err := d.step(b, prediction, at); err != nil {
			return err
		}
		at += len(before)
		changed = changed || b.next == b.plan.schedule.Steps() || !slices.Equal(before, b.samples)
	}
	if changed {
		d.changed()
		return d.leave()
	}
	return s.Err()
}

// leave hands on what is done, and drops what nobody waits for.
func (d *Denoising) leave() error {
	var done []*batch
	d.batches = slices.DeleteFunc(d.batches, func(b *batch) bool {
		if len(b.samples) > 0 && b.next < b.plan.schedule.Steps() {
			return false
		}
		done = append(done, b)
		return true
	})
	err := d.s.Err()
	for _, b := range done {
		if err == nil && len(b.samples) > 0 {
			err, b.x = b.Done(b.x, b.samples), nil
		}
		b.free(d.s)
	}
	if err == nil {
		err = d.s.Err()
	}
	return err
}

// step is the scheduler's of a batch, whose samples begin at row at of the net's.
func (d *Denoising) step(b *batch, prediction *engine.Tensor, at int) error {
	s, p, i := d.s, b.plan, b.next
	s.Enter("scheduler")
	var noise *engine.Tensor
	if p.schedule.Noisy(i) {
		noise = s.PutAs(engine.F32, d.normal(b))
	}
	own := d.part(b, prediction, at)
	guidance := 1.0
	if p.Guided() {
		guidance = p.o.Guidance
	}
	next, clean := b.run.Step(s, i, b.x, own, noise, guidance)
	before := b.x
	b.x = next
	if b.kept != nil {
		image, noise := p.schedule.Noised(i + 1)
		b.x = b.kept.restore(s, b.x, image, noise)
	}
	s.Free(noise)
	if len(d.batches) > 1 && p.Guided() {
		s.Free(own)
	}
	s.Leave(nil)
	b.next++
	if b.Progress != nil && s.Err() == nil {
		b.Progress()
	}
	if b.Step == nil {
		s.Free(before)
		return s.Err()
	}
	keep, err := b.Step(Step{Index: i, Count: p.schedule.Steps(), Samples: b.samples, Latents: b.x, Stream: s,
		predicted: func() *engine.Tensor {
			x, p := p.schedule.Clean(i)
			return elementwise.Mix(s, x, before, p, clean)
		}})
	s.Free(before)
	if err != nil {
		return err
	}
	if keep != nil {
		return d.keep(b, keep)
	}
	return s.Err()
}

// part is a batch's part of the net's output, [n or 2n, h, w, C]: a copy where there are
// other batches and the plan is guided, since its halves lie apart.
func (d *Denoising) part(b *batch, prediction *engine.Tensor, at int) *engine.Tensor {
	s, n := d.s, len(b.samples)
	if len(d.batches) == 1 {
		return prediction
	}
	if !b.plan.Guided() {
		return s.Rows(prediction, at, at+n)
	}
	dims := slices.Clone(prediction.Shape())
	half := dims[0] / 2
	dims[0] = 2 * n
	y := s.New(prediction.DType(), dims...)
	s.Copy(y.Rows(0, n), prediction.Rows(at, at+n))
	s.Copy(y.Rows(n, 2*n), prediction.Rows(half+at, half+at+n))
	return y
}

// keep goes on with some of a batch's samples.
func (d *Denoising) keep(b *batch, rows []int) error {
	s, n := d.s, len(b.samples)
	var samples []int
	for _, r := range rows {
		if r < 0 || r >= n {
			return fmt.Errorf("diffusion: a callback keeps sample %d of %d", r, n)
		}
		samples = append(samples, b.samples[r])
	}
	same := slices.Equal(samples, b.samples)
	b.samples = samples
	if same || len(rows) == 0 {
		return s.Err()
	}
	b.x = pick(s, b.x, rows)
	if b.kept != nil {
		b.kept.keep(s, rows)
	}
	b.run.Keep(func(t *engine.Tensor) *engine.Tensor { return pick(s, t, rows) })
	if b.plan.Guided() {
		both := slices.Clone(rows)
		for _, r := range rows {
			both = append(both, n+r)
		}
		rows = both
	}
	b.text = pick(s, b.text, rows)
	return s.Err()
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

// free gives back what a batch holds.
func (b *batch) free(s *engine.Stream) {
	b.run.Free(s)
	b.kept.free(s)
	s.Free(b.x, b.text)
}

// Free gives back what is held, of drawings that are not done too.
func (d *Denoising) Free() {
	d.changed()
	for _, b := range d.batches {
		b.free(d.s)
	}
	d.batches = nil
}
