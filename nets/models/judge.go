package models

import (
	"context"
	"path"
	"sync"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/engine/cuda"
	"parley/kernels/norm"
	"parley/nets/clip"
	"parley/nets/layer"
	"parley/nets/pixels"
	"parley/weights/convert"
	"parley/weights/vocab"
)

// Judge embeds pictures and texts in one space: CLIP.
type Judge struct {
	Net *clip.Model
	// Pooled takes the towers' outputs before the projection, as the paper's
	// authors did. Pictures and texts are then in spaces of their own.
	Pooled bool

	words   *vocab.CLIP
	process *pixels.Processor
	device  engine.Device

	mu       sync.Mutex
	programs map[shape]*program
}

// Close gives back what a GPU has recorded; the judge can be used on.
func (j *Judge) Close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.programs {
		p.close()
	}
	j.programs = nil
}

// OpenJudge loads a CLIP.
func OpenJudge(src Source, dev engine.Device) (_ *Judge, err error) {
	if err := fits(src, dev, map[string]string{"clip": convert.CLIP}, nil); err != nil {
		return nil, err
	}
	on, kept := engine.Keep(dev)
	defer func() {
		if err != nil {
			kept.FreeAll()
		}
	}()
	net, err := load(src, on, "clip", convert.CLIP, clip.Load)
	if err != nil {
		return nil, err
	}
	src, _ = src.in("clip")
	j := &Judge{Net: net, device: dev, process: pixels.CLIP(net.Vision.Size())}
	if !src.file && src.has("preprocessor_config.json") {
		if j.process, err = pixels.ParseProcessor(src.fsys, path.Join(src.dir, "preprocessor_config.json")); err != nil {
			return nil, err
		}
	}
	if j.words, err = src.clipTokens("", vocab.PadCLIP); err != nil {
		return nil, err
	}
	return j, fit(src.String(), []int32{j.words.EOS}, net.Text.Vocab)
}

// Images gives an embedding of each picture, [N, D], of length 1.
func (j *Judge) Images(ctx context.Context, pictures []*pixels.Image) (*tensor.Dense, error) {
	return j.embed(ctx, len(pictures), tower{
		inputs: func(lo, hi int) ([]*engine.Tensor, error) {
			x, err := j.process.Apply(pictures[lo:hi])
			return []*engine.Tensor{x}, err
		},
		run: func(s *engine.Stream, in []*engine.Tensor) (pooled, embeds *engine.Tensor, err error) {
			o, err := j.Net.Vision.Forward(s, in[0])
			s.Free(o.Hidden)
			return o.Pooled, o.Embeds, err
		}})
}

// Texts gives an embedding of each text, [N, D], of length 1.
func (j *Judge) Texts(ctx context.Context, texts []string) (*tensor.Dense, error) {
	return j.embed(ctx, len(texts), tower{texts: true,
		inputs: func(lo, hi int) ([]*engine.Tensor, error) {
			var ids [][]int32
			for _, t := range texts[lo:hi] {
				ids = append(ids, j.words.Encode(t, j.Net.Text.Length))
			}
			words, ends, err := j.Net.Text.Words(ids)
			return []*engine.Tensor{words, ends}, err
		},
		run: func(s *engine.Stream, in []*engine.Tensor) (pooled, embeds *engine.Tensor, err error) {
			o := j.Net.Text.Run(s, in[0], in[1])
			s.Free(o.Hidden)
			return o.Pooled, o.Embeds, s.Err()
		}})
}

// tower is one of CLIP's two: what it takes of items lo to hi, on the host, and
// its operations.
type tower struct {
	texts  bool
	inputs func(lo, hi int) ([]*engine.Tensor, error)
	run    func(s *engine.Stream, in []*engine.Tensor) (pooled, embeds *engine.Tensor, err error)
}

func (j *Judge) embed(ctx context.Context, n int, t tower) (*tensor.Dense, error) {
	const chunk = 16
	var all []float32
	for lo := 0; lo < n; lo += chunk {
		in, err := t.inputs(lo, min(lo+chunk, n))
		if err != nil {
			return nil, err
		}
		rows, err := j.rows(ctx, t, in)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	if n == 0 {
		return tensor.New(tensor.WithShape(0, j.Net.Projection), tensor.Of(tensor.Float32)), nil
	}
	return tensor.New(tensor.WithShape(n, len(all)/n), tensor.WithBacking(all)), nil
}

// rows embeds one batch. On a GPU each shape of a batch is recorded once and
// kept.
func (j *Judge) rows(ctx context.Context, t tower, in []*engine.Tensor) ([]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if _, ok := cuda.On(j.device); !ok {
		p := j.start(ctx, t, in)
		defer p.s.Close()
		return p.next(in)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	key := shape{t.texts, in[0].Dim(0), j.Pooled}
	p := j.programs[key]
	if p == nil {
		p = j.start(context.Background(), t, in)
		if j.programs == nil {
			j.programs = map[shape]*program{}
		}
		j.programs[key] = p
	}
	out, err := p.next(in)
	if err != nil {
		p.close()
		delete(j.programs, key)
	}
	return out, err
}

// shape tells programs apart.
type shape struct {
	texts  bool
	n      int
	pooled bool
}

// program is a tower with the tensors that it works on.
type program struct {
	s   *engine.Stream
	in  []*engine.Tensor
	rec layer.Recording
}

func (j *Judge) start(ctx context.Context, t tower, in []*engine.Tensor) *program {
	p := &program{s: engine.NewStream(ctx, j.device)}
	for _, x := range in {
		dtype := x.DType()
		if dtype == engine.F32 {
			dtype = p.s.Float()
		}
		p.in = append(p.in, p.s.New(dtype, x.Shape()...))
	}
	p.rec.Run = func() (*engine.Tensor, error) {
		pooled, embeds, err := t.run(p.s, p.in)
		if err != nil {
			return nil, err
		}
		if j.Pooled {
			p.s.Free(embeds)
			embeds = norm.L2(p.s, pooled)
		}
		p.s.Free(pooled)
		return embeds, p.s.Err()
	}
	return p
}

func (p *program) next(in []*engine.Tensor) ([]float32, error) {
	for i, x := range in {
		p.s.Set(p.in[i], engine.Convert(p.in[i].DType(), x))
	}
	y, err := p.rec.Next(p.s)
	if err != nil {
		return nil, err
	}
	h, err := p.s.Get(y)
	if err != nil {
		return nil, err
	}
	return h.F32(), nil
}

func (p *program) close() {
	p.rec.Free(p.s)
	p.s.Close()
}
