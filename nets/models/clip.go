package models

import (
	"context"
	"fmt"
	"sync"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/kernels/cosine"
	"parley/kernels/norm"
	"parley/nets/clip"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/convert"
	"parley/weights/vocab"
)

// CLIP embeds pictures and texts in one space. It is safe for concurrent use;
// on a GPU batches of one shape are embedded one after the other.
type CLIP struct {
	Net *clip.Model

	tokens  func() (*vocab.CLIP, error) // read when there is a text
	process *pixels.Processor
	device  engine.Device
	files   *files
	weights *engine.AllocationScope

	mu       sync.Mutex
	programs map[shape]*program
}

// EmbedOptions say which embeddings are meant; the zero value is those that the
// model was trained for.
type EmbedOptions struct {
	// Pooled takes the towers' outputs before the projection, as the paper's
	// authors did. Pictures and texts are then in spaces of their own.
	Pooled bool
}

// OpenCLIP loads a CLIP.
func OpenCLIP(src Source, dev engine.Device) (_ *CLIP, err error) {
	f := src.open()
	defer f.closeUnless(&err)
	if err := f.fits(dev, map[string]string{"clip": convert.CLIP}, nil); err != nil {
		return nil, err
	}
	on, scope := engine.Scope(dev)
	defer freeUnless(scope, &err)
	net, err := load(f, on, "clip", convert.CLIP, clip.Load)
	if err != nil {
		return nil, err
	}
	src, _ = src.in("clip")
	c := &CLIP{Net: net, device: dev, files: f, weights: scope}
	read := pixels.ReadProcessor
	if src.file {
		read = pixels.ReadOpenCLIP
	}
	if c.process, err = read(src.fsys, src.dir, pixels.CLIP(net.Vision.Size())); err != nil {
		return nil, err
	}
	// Pictures are embedded without a vocabulary.
	c.tokens = sync.OnceValues(func() (*vocab.CLIP, error) {
		if net.Text == nil {
			return nil, fmt.Errorf("%s: a CLIP without a text tower embeds pictures only", src)
		}
		tokens, err := src.clipTokens("", vocab.PadCLIP)
		if err == nil {
			err = covers(src.String(), []int32{tokens.EOS}, net.Text.Vocab)
		}
		return tokens, err
	})
	return c, nil
}

// Close gives back the weights and what ReleaseGraphs does. The model is of no
// use after it.
func (c *CLIP) Close() {
	c.ReleaseGraphs()
	c.weights.FreeAll()
	c.files.Close()
}

// ReleaseGraphs gives back the graphs that a GPU has captured, and their memory;
// the model can be used on.
func (c *CLIP) ReleaseGraphs() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.programs {
		p.close()
	}
	c.programs = nil
}

// EmbedImages gives an embedding of each picture, [N, D], of length 1.
func (c *CLIP) EmbedImages(run engine.Run, pictures []pixels.Picture, o EmbedOptions) (*tensor.Dense, error) {
	return c.embed(run, len(pictures), c.images(pictures), o)
}

// EmbedTexts gives an embedding of each text, [N, D], of length 1.
func (c *CLIP) EmbedTexts(run engine.Run, texts []string, o EmbedOptions) (*tensor.Dense, error) {
	return c.embed(run, len(texts), c.texts(texts), o)
}

// ScoreImages gives the cosine of each picture's embedding with that of a source,
// [1, D]. Only the scores leave the device.
func (c *CLIP) ScoreImages(run engine.Run, source *tensor.Dense, pictures []pixels.Picture, o EmbedOptions) ([]float64, error) {
	return c.score(run, source, len(pictures), c.images(pictures), o)
}

// ScoreTexts is ScoreImages for texts.
func (c *CLIP) ScoreTexts(run engine.Run, source *tensor.Dense, texts []string, o EmbedOptions) ([]float64, error) {
	return c.score(run, source, len(texts), c.texts(texts), o)
}

// tower is one of CLIP's two: what it takes of items lo to hi, on the stream's
// device, and its operations.
type tower struct {
	texts  bool
	inputs func(s *engine.Stream, lo, hi int) ([]*engine.Tensor, error)
	run    func(s *engine.Stream, in []*engine.Tensor) (pooled, embeds *engine.Tensor, err error)
}

func (c *CLIP) images(pictures []pixels.Picture) tower {
	return tower{
		inputs: func(s *engine.Stream, lo, hi int) ([]*engine.Tensor, error) {
			x, err := c.process.Apply(s, pictures[lo:hi])
			return []*engine.Tensor{x}, err
		},
		run: func(s *engine.Stream, in []*engine.Tensor) (pooled, embeds *engine.Tensor, err error) {
			o, err := c.Net.Vision.Forward(s, in[0])
			s.Free(o.Hidden)
			return o.Pooled, o.Embeds, err
		}}
}

func (c *CLIP) texts(texts []string) tower {
	return tower{texts: true,
		inputs: func(s *engine.Stream, lo, hi int) ([]*engine.Tensor, error) {
			vocabulary, err := c.tokens()
			if err != nil {
				return nil, err
			}
			var ids [][]int32
			for _, t := range texts[lo:hi] {
				ids = append(ids, vocabulary.Encode(t, c.Net.Text.Length))
			}
			c.Net.Text.Truncate(ids)
			tokens, ends, err := c.Net.Text.Tokens(ids)
			if err != nil {
				return nil, err
			}
			return []*engine.Tensor{s.Put(tokens), s.Put(ends)}, s.Err()
		},
		run: func(s *engine.Stream, in []*engine.Tensor) (pooled, embeds *engine.Tensor, err error) {
			o, err := c.Net.Text.Run(s, in[0], in[1], clip.TextOptions{})
			s.Free(o.Hidden)
			return o.Pooled, o.Embeds, err
		}}
}

func (c *CLIP) embed(run engine.Run, n int, t tower, o EmbedOptions) (*tensor.Dense, error) {
	var all []float32
	err := c.batches(run, n, t, o, func(s *engine.Stream, embeds *engine.Tensor) error {
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
		return tensor.New(tensor.WithShape(0, c.Net.Projection), tensor.Of(tensor.Float32)), nil
	}
	return tensor.New(tensor.WithShape(n, len(all)/n), tensor.WithBacking(all)), nil
}

func (c *CLIP) score(run engine.Run, source *tensor.Dense, n int, t tower, o EmbedOptions) ([]float64, error) {
	x, ok := source.Data().([]float32)
	if !ok {
		return nil, fmt.Errorf("an embedding of %v, want float32", source.Dtype())
	}
	var all []float64
	err := c.batches(run, n, t, o, func(s *engine.Stream, embeds *engine.Tensor) error {
		y := s.PutAs(engine.F32, engine.FromF32(x, 1, len(x)))
		scores, _, err := cosine.Similarity(s, embeds, y)
		s.Free(y)
		all = append(all, scores...)
		return err
	})
	return all, err
}

// batches hands on the embeddings of n items, some at a time, where they were
// made.
func (c *CLIP) batches(run engine.Run, n int, t tower, o EmbedOptions, use func(s *engine.Stream, embeds *engine.Tensor) error) error {
	run = run.On(c.device)
	const size = 16
	for lo := 0; lo < n; lo += size {
		if err := c.batch(run, t, lo, min(lo+size, n), o, use); err != nil {
			return err
		}
	}
	return nil
}

// batch embeds items lo to hi. On a device that captures graphs each shape of a
// batch is captured once and kept.
func (c *CLIP) batch(run engine.Run, t tower, lo, hi int, o EmbedOptions, use func(s *engine.Stream, embeds *engine.Tensor) error) error {
	if err := run.Err(); err != nil {
		return err
	}
	s := run.Stream()
	defer s.Close()
	in, err := t.inputs(s, lo, hi)
	if err != nil {
		return err
	}
	if _, ok := engine.As[engine.Capturer](c.device); !ok {
		y, err := forward(s, t, in, o)
		if err != nil {
			return err
		}
		return use(s, y)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := shape{t.texts, hi - lo, in[0].Dim(1), o}
	p := c.programs[key]
	if p == nil {
		p = newProgram(run, t, in, o)
		if c.programs == nil {
			c.programs = map[shape]*program{}
		}
		c.programs[key] = p
	}
	y, err := p.next(run, in)
	if err == nil {
		err = use(p.s, y)
	}
	if err != nil {
		p.close()
		delete(c.programs, key)
	}
	return err
}

// forward embeds what a tower takes: [N, D] in f32.
func forward(s *engine.Stream, t tower, in []*engine.Tensor, o EmbedOptions) (*engine.Tensor, error) {
	pooled, embeds, err := t.run(s, in)
	if err != nil {
		return nil, err
	}
	if o.Pooled {
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
	o      EmbedOptions
}

// program is a tower with the tensors that it works on, in a stream that outlives
// the runs that use it.
type program struct {
	s   *engine.Stream
	in  []*engine.Tensor
	net engine.Graphed
}

func newProgram(run engine.Run, t tower, in []*engine.Tensor, o EmbedOptions) *program {
	p := &program{s: run.Stream()}
	for _, x := range in {
		p.in = append(p.in, p.s.New(x.DType(), x.Shape()...))
	}
	p.net.Run = func() (*engine.Tensor, error) { return forward(p.s, t, p.in, o) }
	return p
}

// next embeds what lies on the device, for a run.
func (p *program) next(run engine.Run, in []*engine.Tensor) (*engine.Tensor, error) {
	p.s.Bind(run)
	for i, x := range in {
		p.s.Copy(p.in[i], x)
	}
	if err := p.s.Err(); err != nil {
		return nil, err
	}
	return p.net.Next(p.s)
}

func (p *program) close() {
	p.s.Bind(engine.NewRun(context.Background()).On(p.s.Device()))
	p.net.Free(p.s)
	p.s.Close()
}

// Judge is the model with options, as the reconstructions take it.
func (c *CLIP) Judge(o EmbedOptions) rerank.Judge { return judge{c, o} }

type judge struct {
	*CLIP
	o EmbedOptions
}

func (j judge) EmbedImages(run engine.Run, pictures []pixels.Picture) (*tensor.Dense, error) {
	return j.CLIP.EmbedImages(run, pictures, j.o)
}

func (j judge) EmbedTexts(run engine.Run, texts []string) (*tensor.Dense, error) {
	return j.CLIP.EmbedTexts(run, texts, j.o)
}

func (j judge) ScoreImages(run engine.Run, source *tensor.Dense, pictures []pixels.Picture) ([]float64, error) {
	return j.CLIP.ScoreImages(run, source, pictures, j.o)
}

func (j judge) ScoreTexts(run engine.Run, source *tensor.Dense, texts []string) ([]float64, error) {
	return j.CLIP.ScoreTexts(run, source, texts, j.o)
}

// Rows are embeddings [N, D] one by one.
func Rows(x *tensor.Dense) [][]float32 {
	n, data := x.Shape()[0], x.Data().([]float32)
	out := make([][]float32, n)
	for i := range out {
		out[i] = data[i*len(data)/n : (i+1)*len(data)/n]
	}
	return out
}

// Cosines holds embeddings x [N, D] against y [M, D], rows of length 1: a row of M
// cosines for each of N.
func Cosines(x, y *tensor.Dense) [][]float64 {
	n, m, d := x.Shape()[0], y.Shape()[0], x.Shape()[1]
	xs, ys := x.Data().([]float32), y.Data().([]float32)
	out := make([][]float64, n)
	for i := range out {
		out[i] = make([]float64, m)
		for j := range out[i] {
			for k, v := range ys[j*d : (j+1)*d] {
				out[i][j] += float64(v) * float64(xs[i*d+k])
			}
		}
	}
	return out
}
