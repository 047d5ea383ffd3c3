package models

import (
	"math"
	"time"

	"parley/engine"
	"parley/nets/diffusion"
	"parley/nets/rerank"
)

// Request is a text that has been read, with options that have been checked and whose
// drawing fits in memory. It may be drawn many times, one DrawJoining at a time.
type Request struct {
	Text string

	o    DrawOptions
	row  row
	plan *diffusion.Plan
	most int    // drawings like it that fit in memory at once
	from *start // nil without an init image
}

// start is what drawings start from; it is empty until the first of them is drawn.
type start struct {
	init *diffusion.Moments
	mask diffusion.Mask
}

// Request reads a text and checks options; a drawing that does not fit in a run's memory
// is an *engine.MemoryError.
func (p *StableDiffusion) Request(run engine.Run, text string, o DrawOptions) (*Request, error) {
	if o.Init == nil {
		if o.Mask != nil {
			return nil, errNoInit
		}
		o.Strength = 0
	}
	rows, err := p.rows(run, []string{text}, o)
	if err != nil {
		return nil, err
	}
	o.Tokens = len(rows[0].ids)
	r := &Request{Text: text, o: o, row: rows[0]}
	if r.plan, err = p.Pipeline.Plan(o.Options); err != nil {
		return nil, err
	}
	if o.Init != nil {
		r.from = &start{}
	}
	r.most, err = r.plan.Batch(p.device, math.MaxInt, p.budget(run))
	return r, err
}

// Shape is what requests have in common that are drawn together.
func (r *Request) Shape() diffusion.Shape { return r.plan.Shape() }

// like reports whether requests have the same plan, but for their texts.
func (r *Request) like(q *Request) bool {
	return r.o.Options == q.o.Options && r.from == q.from && r.o.Init == q.o.Init && r.o.Mask == q.o.Mask
}

// Prompt is a request that is drawn from a seed.
type Prompt struct {
	*Request
	Seed uint64
}

// DrawJoining draws what next gives, which is asked between two steps for one more prompt
// as long as there is room beside those under way. Their requests are of one Shape, and of
// any samplers, steps, guidance and init images. Each drawing is what it is alone. It
// returns when nothing is under way and next gives none. Drawings are numbered as they
// come, for each and for step, which is called for those that have a plan in common and
// came together; each is handed on when it is done, as Draw does it. An error that is
// returned ends what is under way.
func (p *StableDiffusion) DrawJoining(run engine.Run, next func() (Prompt, bool), step diffusion.Callback,
	each func(i int, d rerank.Drawing)) error {
	run = run.On(p.device)
	j := joining{StableDiffusion: p, run: run, next: next, step: step, each: each, s: run.Stream()}
	defer j.s.Close()
	j.d = p.Pipeline.Begin(j.s)
	defer j.d.Free()
	for {
		if err := j.ask(); err != nil {
			return err
		}
		if j.d.Samples() == 0 && j.waiting == nil {
			return j.s.Err()
		}
		if err := j.d.Advance(); err != nil {
			return err
		}
	}
}

// joining are drawings that come one after another.
type joining struct {
	*StableDiffusion
	run     engine.Run
	next    func() (Prompt, bool)
	step    diffusion.Callback
	each    func(i int, d rerank.Drawing)
	s       *engine.Stream
	d       *diffusion.Denoising
	came    int
	most    int       // drawings at once, by the memory of each since there were none
	waiting *numbered // for room
}

// numbered is a prompt and when it came.
type numbered struct {
	Prompt
	number int
}

// ask takes drawings as long as there is room, and adds them.
func (j *joining) ask() error {
	under := j.d.Samples()
	if under == 0 {
		j.most = math.MaxInt
	}
	var some []numbered
	for under+len(some) < j.most {
		if j.waiting == nil {
			p, ok := j.next()
			if !ok {
				break
			}
			j.waiting = &numbered{p, j.came}
			j.came++
		}
		most := min(j.most, j.waiting.most)
		if under+len(some) >= most {
			break
		}
		some, j.most, j.waiting = append(some, *j.waiting), most, nil
	}
	for len(some) > 0 {
		var alike, rest []numbered
		for _, n := range some {
			if n.like(some[0].Request) {
				alike = append(alike, n)
			} else {
				rest = append(rest, n)
			}
		}
		if err := j.join(alike); err != nil {
			return err
		}
		some = rest
	}
	return nil
}

// join adds drawings of one plan.
func (j *joining) join(list []numbered) error {
	r := list[0].Request
	if from := r.from; from != nil && from.init == nil {
		var err error
		if from.init, from.mask, err = encode(j.run, r.plan, r.o); err != nil {
			if j.run.Err() != nil {
				return err
			}
			for _, n := range list {
				j.each(n.number, rerank.Drawing{Err: err})
			}
			return nil
		}
	}
	some := func(lo, hi int) diffusion.Batch {
		var rows []row
		var seeds []uint64
		for _, n := range list[lo:hi] {
			rows, seeds = append(rows, n.row), append(seeds, n.Seed)
		}
		b := batchOf(rows)
		if b.Noise = diffusion.Generators(seeds); r.from != nil {
			b.Init, b.Mask = r.from.init, r.from.mask
		}
		return b
	}
	named := func(samples []int) []int {
		out := make([]int, len(samples))
		for i, n := range samples {
			out[i] = list[n].number
		}
		return out
	}
	b := some(0, len(list))
	if j.step != nil {
		b.Step = func(st diffusion.Step) ([]int, error) {
			st.Samples = named(st.Samples)
			return j.step(st)
		}
	}
	began := time.Now()
	b.Done = func(z *engine.Tensor, samples []int) error {
		again := func(i int) diffusion.Batch { return some(i, i+1) }
		return j.show(j.run, j.s, r.plan, z, samples, again, func(_ *engine.Stream, samples []int, bytes *engine.Tensor, failed []error) error {
			j.handOn(named(samples), bytes, failed, time.Since(began)/time.Duration(len(list)), j.each)
			return nil
		})
	}
	return j.d.Join(r.plan, b)
}
