// Package work runs the requests of many clients on one set of models. Requests of one
// shape and with the same settings are drawn as one batch, clients take turns, queues are
// bounded, and what nobody waits for any more is given up within a step. What a request
// gives does not depend on what it shares a batch with.
package work

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"parley/engine"
	"parley/kernels/rgb"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
)

// Watcher is told what the queues do.
type Watcher interface {
	Queue(lane string, waiting, running int)
	Waited(lane string, d time.Duration)
	Joined(lane string, jobs int)                    // a batch that runs
	Batch(lane string, jobs int, took time.Duration) // has ended, of so many jobs at most at once
	Steps(n int)                                     // of denoising, of all drawings together
}

// Models are what a server has loaded.
type Models struct {
	BLIP   *models.BLIP
	SD     *models.StableDiffusion
	CLIP   *models.CLIP
	Device engine.Device
}

// Close gives the models' weights back.
func (m Models) Close() {
	if m.BLIP != nil {
		m.BLIP.Close()
	}
	if m.SD != nil {
		m.SD.Close()
	}
	if m.CLIP != nil {
		m.CLIP.Close()
	}
}

// Limits bound the queues.
type Limits struct {
	Waiting int // jobs that may wait in a lane
	Batch   int // drawings that are made at once
}

// Scheduler is what requests are given to.
type Scheduler struct {
	Models
	seen Watcher

	draws    *lane[Drawing, *pixels.Image]
	captions *lane[describing, []rerank.Caption]
	pictures *lane[*pixels.Image, []float32]
	texts    *lane[string, []float32]
}

// New starts a scheduler, whose lanes work until Close.
func New(m Models, l Limits, seen Watcher) *Scheduler {
	s := &Scheduler{Models: m, seen: seen}
	s.draws = newLane("drawings", l.Batch, l.Waiting, seen, s.draw)
	s.captions = newLane("captions", 16, l.Waiting, seen, s.describe)
	s.pictures = newLane("pictures to embed", 32, l.Waiting, seen, s.embedPictures)
	s.texts = newLane("texts to embed", 64, l.Waiting, seen, s.embedTexts)
	return s
}

// Close takes no new work and waits until what is there is done, or the context ends.
func (s *Scheduler) Close(ctx context.Context) error {
	var ended []chan struct{}
	s.draws.close()
	s.captions.close()
	s.pictures.close()
	s.texts.close()
	ended = append(ended, s.draws.ended, s.captions.ended, s.pictures.ended, s.texts.ended)
	for _, e := range ended {
		select {
		case <-e:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Drawing is one picture to be drawn.
type Drawing struct {
	Prompt   string
	Seed     uint64
	Options  diffusion.Options
	Negative string
	Chunks   bool          // long prompts with weights, see models.DrawOptions
	Init     *pixels.Image // or nil
	Mask     *pixels.Image // or nil; of Init, see models.DrawOptions
	// Previews is how many pictures on the way Step is given.
	Previews int
	// Step, if any, is told of every step; the picture is nil but for previews. It
	// returns at once.
	Step func(step, steps int, preview *pixels.Image)

	request *models.Request // once it is checked
}

// options are what a model draws with.
func (d Drawing) options() models.DrawOptions {
	return models.DrawOptions{Options: d.Options, Negative: d.Negative, Chunks: d.Chunks, Init: d.Init, Mask: d.Mask}
}

// Check reads a drawing's prompt and checks its options. One that the device's memory has
// no room for is an *engine.MemoryError.
func (s *Scheduler) Check(ctx context.Context, d Drawing) (Drawing, error) {
	var err error
	d.request, err = s.SD.Request(engine.NewRun(ctx), d.Prompt, d.options())
	return d, err
}

// Draw draws pictures of one client, in batches with others', and hands each on as it is
// done. It returns when all are, or the context ends.
func (s *Scheduler) Draw(ctx context.Context, client Client, list []Drawing, each func(i int, m *pixels.Image, err error)) error {
	if len(list) == 0 {
		return nil
	}
	// Jobs are submitted together, and each has its own key.
	byKey := map[string][]int{}
	var keys []string
	list = slices.Clone(list)
	for i := range list {
		if list[i].request == nil {
			var err error
			if list[i], err = s.Check(ctx, list[i]); err != nil {
				return err
			}
		}
		k := fmt.Sprint(list[i].request.Shape())
		if byKey[k] == nil {
			keys = append(keys, k)
		}
		byKey[k] = append(byKey[k], i)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make([]*job[Drawing, *pixels.Image], len(list))
	for _, k := range keys {
		var ins []Drawing
		for _, i := range byKey[k] {
			ins = append(ins, list[i])
		}
		some, err := s.draws.submit(ctx, client, k, ins)
		if err != nil {
			cancel(err)
			return err
		}
		for n, i := range byKey[k] {
			jobs[i] = some[n]
		}
	}
	type done struct {
		i   int
		m   *pixels.Image
		err error
	}
	results := make(chan done, len(jobs))
	for i, j := range jobs {
		go func() {
			m, err := j.wait()
			results <- done{i, m, err}
		}()
	}
	for range jobs {
		r := <-results
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		each(r.i, r.m, r.err)
	}
	return nil
}

// draw is the work of a batch, which others join between two steps.
func (s *Scheduler) draw(b *batch[Drawing, *pixels.Image]) {
	came := 0
	drawn := map[int]*job[Drawing, *pixels.Image]{} // by when they came, as the model counts
	waiting := b.jobs
	next := func() (models.Prompt, bool) {
		for {
			if len(waiting) == 0 {
				waiting = b.join(1)
			}
			if len(waiting) == 0 {
				return models.Prompt{}, false
			}
			j := waiting[0]
			waiting = waiting[1:]
			if j.ctx.Err() != nil {
				j.finish(nil, context.Cause(j.ctx))
				continue
			}
			drawn[came] = j
			came++
			return models.Prompt{Request: j.in.request, Seed: j.in.Seed}, true
		}
	}
	step := func(st diffusion.Step) ([]int, error) {
		s.seen.Steps(len(st.Samples))
		return s.step(st, drawn)
	}
	err := s.SD.DrawJoining(engine.NewRun(b.ctx), next, step, func(i int, d rerank.Drawing) {
		if d.Err != nil {
			drawn[i].finish(nil, d.Err)
		} else {
			drawn[i].finish(d.Picture.Host())
		}
		delete(drawn, i)
	})
	if err != nil {
		b.fail(err)
	}
}

// step tells clients of a step, and ends the drawings that nobody waits for.
func (s *Scheduler) step(st diffusion.Step, drawn map[int]*job[Drawing, *pixels.Image]) (keep []int, err error) {
	keep = []int{}
	var shown []int // rows that want a preview
	for row, i := range st.Samples {
		j := drawn[i]
		if j.ctx.Err() != nil {
			j.finish(nil, context.Cause(j.ctx))
			delete(drawn, i)
			continue
		}
		keep = append(keep, row)
		if n := j.in.Previews; n > 0 && j.in.Step != nil && st.Index+1 < st.Count &&
			(st.Index+1)*(n+1)/st.Count != st.Index*(n+1)/st.Count {
			shown = append(shown, row)
		}
	}
	previews := map[int]*pixels.Image{}
	if len(shown) > 0 {
		clean := st.Predicted()
		for _, row := range shown {
			if m, err := s.preview(st.Stream, clean, row); err != nil {
				return nil, err
			} else if m != nil {
				previews[row] = m
			}
		}
		st.Stream.Free(clean)
	}
	for _, row := range keep {
		if tell := drawn[st.Samples[row]].in.Step; tell != nil {
			tell(st.Index+1, st.Count, previews[row])
		}
	}
	return keep, nil
}

// preview decodes a row of clean latents. A picture that is no number is not shown.
func (s *Scheduler) preview(stream *engine.Stream, clean *engine.Tensor, row int) (*pixels.Image, error) {
	z := stream.New(clean.DType(), append([]int{1}, clean.Shape()[1:]...)...)
	stream.Copy(z, clean.Rows(row, row+1))
	x, err := s.SD.Pipeline.Decode(stream, z)
	if err != nil {
		return nil, stream.Err()
	}
	bytes := rgb.Bytes(stream, x)
	host, err := stream.Get(bytes)
	stream.Free(x, bytes)
	if err != nil {
		return nil, err
	}
	return pixels.Images(host)[0], nil
}

// describing is one picture to be described.
type describing struct {
	picture *pixels.Image
	k       int
	seed    uint64
	options models.CaptionOptions
}

// Caption describes a picture k times.
func (s *Scheduler) Caption(ctx context.Context, client Client, m *pixels.Image, k int, seed uint64,
	o models.CaptionOptions) ([]rerank.Caption, error) {
	jobs, err := s.captions.submit(ctx, client, fmt.Sprintf("%d %+v", k, o), []describing{{m, k, seed, o}})
	if err != nil {
		return nil, err
	}
	return jobs[0].wait()
}

func (s *Scheduler) describe(b *batch[describing, []rerank.Caption]) {
	first := b.jobs[0].in
	together(b.jobs, func(some []*job[describing, []rerank.Caption]) ([][]rerank.Caption, error) {
		var pictures []pixels.Picture
		var seeds []uint64
		for _, j := range some {
			pictures, seeds = append(pictures, j.in.picture), append(seeds, j.in.seed)
		}
		return s.BLIP.Caption(engine.NewRun(b.ctx), pictures, first.k, seeds, first.options)
	})
}

// together does a batch at once and, where that fails, each job of it alone, so that one
// does not fail for another.
func together[In, Out any](jobs []*job[In, Out], do func([]*job[In, Out]) ([]Out, error)) {
	outs, err := do(jobs)
	if err == nil {
		for i, j := range jobs {
			j.finish(outs[i], nil)
		}
		return
	}
	for _, j := range jobs {
		var none Out
		if len(jobs) == 1 || j.ctx.Err() != nil || errors.Is(err, context.Canceled) {
			j.finish(none, err)
			continue
		}
		if outs, err := do([]*job[In, Out]{j}); err == nil {
			j.finish(outs[0], nil)
		} else {
			j.finish(none, err)
		}
	}
}

// EmbedPicture is CLIP's embedding of a picture, of length 1.
func (s *Scheduler) EmbedPicture(ctx context.Context, client Client, m *pixels.Image) ([]float32, error) {
	jobs, err := s.pictures.submit(ctx, client, "", []*pixels.Image{m})
	if err != nil {
		return nil, err
	}
	return jobs[0].wait()
}

func (s *Scheduler) embedPictures(b *batch[*pixels.Image, []float32]) {
	together(b.jobs, func(some []*job[*pixels.Image, []float32]) ([][]float32, error) {
		var pictures []pixels.Picture
		for _, j := range some {
			pictures = append(pictures, j.in)
		}
		x, err := s.CLIP.EmbedImages(engine.NewRun(b.ctx), pictures, models.EmbedOptions{})
		if err != nil {
			return nil, err
		}
		return models.Rows(x), nil
	})
}

// EmbedTexts is CLIP's embedding of texts, each of length 1.
func (s *Scheduler) EmbedTexts(ctx context.Context, client Client, texts []string) ([][]float32, error) {
	jobs, err := s.texts.submit(ctx, client, "", texts)
	if err != nil {
		return nil, err
	}
	out := make([][]float32, len(jobs))
	for i, j := range jobs {
		if out[i], err = j.wait(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Scheduler) embedTexts(b *batch[string, []float32]) {
	together(b.jobs, func(some []*job[string, []float32]) ([][]float32, error) {
		var texts []string
		for _, j := range some {
			texts = append(texts, j.in)
		}
		x, err := s.CLIP.EmbedTexts(engine.NewRun(b.ctx), texts, models.EmbedOptions{})
		if err != nil {
			return nil, err
		}
		return models.Rows(x), nil
	})
}
