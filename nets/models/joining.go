package models

import (
	"context"
	"fmt"
	"math"
	"time"

	"parley/engine"
	"parley/nets/diffusion"
	"parley/nets/rerank"
)

// Prompt is a text to be drawn from a seed.
type Prompt struct {
	Text string
	Seed uint64
}

// TokensOf is how many ids a text's row has, which is DrawOptions.Tokens of what it may
// be drawn with.
func (p *StableDiffusion) TokensOf(ctx context.Context, text string, o DrawOptions) (int, error) {
	if !o.Chunks {
		return p.Text.Length, nil
	}
	rows, err := p.rows(engine.NewRun(ctx), []string{text}, o)
	if err != nil {
		return 0, err
	}
	return len(rows[0].ids), nil
}

// DrawJoining draws what next gives, which is asked between two steps for as many more
// prompts as fit in memory beside those under way. Each drawing is what it is alone. It
// returns when nothing is under way and next gives none. Drawings are numbered as they
// come, for each and for o.Step, which is called for those that came together; each is
// handed on when it is done, as Draw does it. Prompts of another length than o.Tokens
// (0: as the text encoder takes) have an error. An error that is returned ends what is
// under way.
func (p *StableDiffusion) DrawJoining(run engine.Run, o DrawOptions, next func(room int) []Prompt,
	each func(i int, d rerank.Drawing)) error {
	run = run.On(p.device)
	if o.Init == nil {
		o.Strength = 0
	}
	if o.Tokens == 0 {
		o.Tokens = p.Text.Length
	}
	plan, err := p.Pipeline.Plan(o.Options)
	if err != nil {
		return err
	}
	most, err := plan.Batch(p.device, math.MaxInt, p.budget(run))
	if err != nil {
		return err
	}
	if n := plan.Note(); n != "" && o.Note != nil {
		o.Note(n)
	}
	j := joining{StableDiffusion: p, run: run, o: o, plan: plan, each: each}
	if j.init, j.mask, err = encode(run, plan, o); err != nil {
		return err
	}
	j.s = run.Stream()
	defer j.s.Close()
	d := plan.Begin(j.s)
	defer d.Free()
	for {
		came := 0
		if room := most - d.Samples(); room > 0 {
			prompts := next(room)
			if came = len(prompts); came > room {
				return fmt.Errorf("%d drawings came where there is room for %d", came, room)
			}
			if err := j.join(d, prompts); err != nil {
				return err
			}
		}
		if came == 0 && d.Samples() == 0 {
			return j.s.Err()
		}
		if err := d.Advance(); err != nil {
			return err
		}
	}
}

// joining are drawings that come one after another.
type joining struct {
	*StableDiffusion
	run  engine.Run
	o    DrawOptions
	plan *diffusion.Plan
	init *diffusion.Moments
	mask diffusion.Mask
	each func(i int, d rerank.Drawing)
	s    *engine.Stream
	came int
}

// join adds prompts to a denoising.
func (j *joining) join(d *diffusion.Denoising, prompts []Prompt) error {
	var rows []row
	var seeds []uint64
	var numbers []int
	for _, p := range prompts {
		number := j.came
		j.came++
		r, err := j.rows(j.run, []string{p.Text}, j.o)
		if err == nil && len(r[0].ids) != j.o.Tokens {
			err = fmt.Errorf("%d ids, where those of the others are %d", len(r[0].ids), j.o.Tokens)
		}
		if err != nil {
			j.each(number, rerank.Drawing{Err: err})
			continue
		}
		rows, seeds, numbers = append(rows, r[0]), append(seeds, p.Seed), append(numbers, number)
	}
	if len(rows) == 0 {
		return nil
	}
	named := func(samples []int) []int {
		out := make([]int, len(samples))
		for i, n := range samples {
			out[i] = numbers[n]
		}
		return out
	}
	some := func(lo, hi int) diffusion.Batch {
		b := batchOf(rows[lo:hi])
		b.Noise, b.Init, b.Mask = diffusion.Generators(seeds[lo:hi]), j.init, j.mask
		return b
	}
	b := some(0, len(rows))
	if j.o.Step != nil {
		b.Step = func(st diffusion.Step) ([]int, error) {
			st.Samples = named(st.Samples)
			return j.o.Step(st)
		}
	}
	start := time.Now()
	b.Done = func(z *engine.Tensor, samples []int) error {
		again := func(i int) diffusion.Batch { return some(i, i+1) }
		return j.show(j.run, j.s, j.plan, z, samples, again, func(_ *engine.Stream, samples []int, bytes *engine.Tensor, failed []error) error {
			j.handOn(named(samples), bytes, failed, time.Since(start)/time.Duration(len(rows)), j.each)
			return nil
		})
	}
	return d.Join(b)
}
