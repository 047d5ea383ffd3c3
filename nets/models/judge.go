package models

import (
	"context"
	"fmt"
	"sync"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/engine/cuda"
	"parley/kernels/norm"
	"parley/kernels/sample"
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

	words   func() (*vocab.CLIP, error) // read when there is a text
	process *pixels.Processor
	device  engine.Device
	weights *engine.Kept

	mu       sync.Mutex
	programs map[shape]*program
}

// Close gives back the weights and what Trim does. The judge is of no use after
// it.
func (j *Judge) Close() {
	j.Trim()
	j.weights.FreeAll()
}

// Trim gives back what a GPU has recorded; the judge can be used on.
func (j *Judge) Trim() {
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
	j := &Judge{Net: net, device: dev, weights: kept}
	read := pixels.ReadProcessor
	if src.file {
		read = pixels.ReadOpenCLIP
	}
	if j.process, err = read(src.fsys, src.dir, pixels.CLIP(net.Vision.Size())); err != nil {
		return nil, err
	}
	// Pictures are embedded without a vocabulary.
	j.words = sync.OnceValues(func() (*vocab.CLIP, error) {
		if net.Text == nil {
			return nil, fmt.Errorf("%s: a CLIP without a text tower embeds pictures only", src)
		}
		words, err := src.clipTokens("", vocab.PadCLIP)
		if err == nil {
			err = fit(src.String(), []int32{words.EOS}, net.Text.Vocab)
		}
		return words, err
	})
	return j, nil
}

// Images gives an embedding of each picture, [N, D], of length 1.
func (j *Judge) Images(ctx context.Context, pictures []pixels.Picture) (*tensor.Dense, error) {
	return j.embed(ctx, len(pictures), j.images(pictures))
}

// Texts gives an embedding of each text, [N, D], of length 1.
func (j *Judge) Texts(ctx context.Context, texts []string) (*tensor.Dense, error) {
	return j.embed(ctx, len(texts), j.texts(texts))
}

// ScoreImages gives the cosine of each picture's embedding with that of a source,
// [1, D]. Only the scores leave the device.
func (j *Judge) ScoreImages(ctx context.Context, source *tensor.Dense, pictures []pixels.Picture) ([]float64, error) {
	return j.score(ctx, source, len(pictures), j.images(pictures))
}

// ScoreTexts is ScoreImages for texts.
func (j *Judge) ScoreTexts(ctx context.Context, source *tensor.Dense, texts []string) ([]float64, error) {
	return j.score(ctx, source, len(texts), j.texts(texts))
}

// tower is one of CLIP's two: what it takes of items lo to hi, on the stream's
// device, and its operations.
type tower struct {
	texts  bool
	inputs func(s *engine.Stream, lo, hi int) ([]*engine.Tensor, error)
	run    func(s *engine.Stream, in []*engine.Tensor) (pooled, embeds *engine.Tensor, err error)
}

func (j *Judge) images(pictures []pixels.Picture) tower {
	return tower{
		inputs: func(s *engine.Stream, lo, hi int) ([]*engine.Tensor, error) {
			x, err := j.process.Apply(s, pictures[lo:hi])
			return []*engine.Tensor{x}, err
		},
		run: func(s *engine.Stream, in []*engine.Tensor) (pooled, embeds *engine.Tensor, err error) {
			o, err := j.Net.Vision.Forward(s, in[0])
			s.Free(o.Hidden)
			return o.Pooled, o.Embeds, err
		}}
}

func (j *Judge) texts(texts []string) tower {
	return tower{texts: true,
		inputs: func(s *engine.Stream, lo, hi int) ([]*engine.Tensor, error) {
			vocabulary, err := j.words()
			if err != nil {
				return nil, err
			}
			var ids [][]int32
			for _, t := range texts[lo:hi] {
				ids = append(ids, vocabulary.Encode(t, j.Net.Text.Length))
			}
			j.Net.Text.Trim(ids)
			words, ends, err := j.Net.Text.Words(ids)
			if err != nil {
				return nil, err
			}
			return []*engine.Tensor{s.Put(words), s.Put(ends)}, s.Err()
		},
		run: func(s *engine.Stream, in []*engine.Tensor) (pooled, embeds *engine.Tensor, err error) {
			o := j.Net.Text.Run(s, in[0], in[1])
			s.Free(o.Hidden)
			return o.Pooled, o.Embeds, s.Err()
		}}
}

func (j *Judge) embed(ctx context.Context, n int, t tower) (*tensor.Dense, error) {
	var all []float32
	err := j.each(ctx, n, t, func(s *engine.Stream, embeds *engine.Tensor) error {
		h, err := s.Get(embeds)
		if err == nil {
			all = append(all, h.F32()...)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return tensor.New(tensor.WithShape(0, j.Net.Projection), tensor.Of(tensor.Float32)), nil
	}
	return tensor.New(tensor.WithShape(n, len(all)/n), tensor.WithBacking(all)), nil
}

func (j *Judge) score(ctx context.Context, source *tensor.Dense, n int, t tower) ([]float64, error) {
	x, ok := source.Data().([]float32)
	if !ok {
		return nil, fmt.Errorf("an embedding of %v, want float32", source.Dtype())
	}
	var all []float64
	err := j.each(ctx, n, t, func(s *engine.Stream, embeds *engine.Tensor) error {
		scores, _, err := sample.Cosine(s, embeds, s.PutAs(engine.F32, engine.FromF32(x, 1, len(x))))
		all = append(all, scores...)
		return err
	})
	return all, err
}

// each hands on the embeddings of n items, some at a time, where they were made.
func (j *Judge) each(ctx context.Context, n int, t tower, use func(s *engine.Stream, embeds *engine.Tensor) error) error {
	const chunk = 16
	for lo := 0; lo < n; lo += chunk {
		if err := j.batch(ctx, t, lo, min(lo+chunk, n), use); err != nil {
			return err
		}
	}
	return nil
}

// batch embeds items lo to hi. On a GPU each shape of a batch is recorded once and
// kept.
func (j *Judge) batch(ctx context.Context, t tower, lo, hi int, use func(s *engine.Stream, embeds *engine.Tensor) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	s := engine.NewStream(ctx, j.device)
	defer s.Close()
	in, err := t.inputs(s, lo, hi)
	if err != nil {
		return err
	}
	gpu, ok := cuda.On(j.device)
	if !ok {
		y, err := j.run(s, t, in)
		if err != nil {
			return err
		}
		return use(s, y)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	key := shape{t.texts, hi - lo, in[0].Dim(1), j.Pooled}
	p := j.programs[key]
	if p == nil {
		p = j.start(t, in)
		if j.programs == nil {
			j.programs = map[shape]*program{}
		}
		j.programs[key] = p
	}
	y, err := p.next(gpu, in)
	if err == nil {
		err = use(s, y)
	}
	if err != nil {
		p.close()
		delete(j.programs, key)
	}
	return err
}

// run embeds what a tower takes: [N, D] in f32.
func (j *Judge) run(s *engine.Stream, t tower, in []*engine.Tensor) (*engine.Tensor, error) {
	pooled, embeds, err := t.run(s, in)
	if err != nil {
		return nil, err
	}
	if j.Pooled {
		s.Free(embeds)
		embeds = norm.L2(s, pooled)
	}
	s.Free(pooled)
	return embeds, s.Err()
}

// shape tells programs apart.
type shape struct {
	texts  bool
	n      int
	length int // of texts, in ids; a picture's height
	pooled bool
}

// program is a tower with the tensors that it works on.
type program struct {
	s   *engine.Stream
	in  []*engine.Tensor
	rec layer.Recording
}

func (j *Judge) start(t tower, in []*engine.Tensor) *program {
	p := &program{s: engine.NewStream(context.Background(), j.device)}
	for _, x := range in {
		p.in = append(p.in, p.s.New(x.DType(), x.Shape()...))
	}
	p.rec.Run = func() (*engine.Tensor, error) { return j.run(p.s, t, p.in) }
	return p
}

// next embeds what lies on the device.
func (p *program) next(gpu *cuda.Device, in []*engine.Tensor) (*engine.Tensor, error) {
	for i, x := range in {
		if err := p.s.Err(); err != nil {
			return nil, err
		}
		if err := gpu.Copy(p.in[i], x); err != nil {
			return nil, err
		}
	}
	return p.rec.Next(p.s)
}

func (p *program) close() {
	p.rec.Free(p.s)
	p.s.Close()
}
