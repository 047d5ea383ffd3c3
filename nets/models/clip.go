package models

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/kernels/cosine"
	"parley/kernels/norm"
	"parley/nets/clip"
	"parley/nets/finite"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights"
	"parley/weights/convert"
	"parley/weights/vocab"
)

// CLIP embeds pictures and texts in one space. Each tower is loaded when it is first
// of use: what is wrong with the other one refuses nothing. It is safe for
// concurrent use; on a GPU batches of one shape are embedded one after the other.
type CLIP struct {
	// Vision and Text are the towers.
	Vision func() (*clip.Vision, error)
	Text   func() (*clip.Text, error)
	// Projection is the width of the common space.
	Projection int

	tokens  func() (*vocab.CLIP, error)
	process func() (*pixels.Processor, error)
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

// OpenCLIP opens a CLIP; see Ready.
func OpenCLIP(src Source, dev engine.Device) (_ *CLIP, err error) {
	f := src.open()
	defer f.closeUnless(&err)
	config, set, err := f.part("clip", convert.CLIP)
	if err != nil {
		if c, s, e := f.part("clip", convert.TextEncoder); e == nil && s.Loader(dev).HasIn("text_projection") {
			config, set, err = c, s, nil // Stable Diffusion's own has none
		}
	}
	if err != nil {
		return nil, err
	}
	r := config.Reader()
	if kind := r.String("model_type", "clip"); kind != "clip_vision_model" && kind != "clip_text_model" { // a tower alone
		r.Only("model_type", "clip", "only CLIP is read here")
	}
	c := &CLIP{Projection: r.Size("projection_dim", 512), device: dev, files: f}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("load %s from %s: %w", convert.CLIP, f.src, err)
	}
	on, scope := engine.Scope(dev)
	c.weights = scope
	src, _ = src.in("clip")
	c.Vision = sync.OnceValues(func() (*clip.Vision, error) {
		if l := set.Loader(dev); !l.HasIn("vision_model") && l.HasIn("text_projection") {
			return nil, fmt.Errorf("%s: a CLIP without a picture tower embeds texts only", src)
		}
		return loadTower(f, on, config, set, inVision, clip.LoadVision)
	})
	c.Text = sync.OnceValues(func() (*clip.Text, error) {
		if l := set.Loader(dev); l.HasIn("vision_model") && !l.HasIn("text_model") {
			return nil, fmt.Errorf("%s: a CLIP without a text tower embeds pictures only", src)
		}
		return loadTower(f, on, config, set, func(name string) bool { return !inVision(name) }, clip.LoadProjected)
	})
	c.process = sync.OnceValues(func() (*pixels.Processor, error) {
		v, err := c.Vision()
		if err != nil {
			return nil, err
		}
		read := pixels.ReadProcessor
		if src.file {
			read = pixels.ReadOpenCLIP
		}
		return read(src.fsys, src.dir, pixels.CLIP(v.Size()))
	})
	c.tokens = sync.OnceValues(func() (*vocab.CLIP, error) {
		t, err := c.Text()
		if err != nil {
			return nil, err
		}
		tokens, err := src.clipTokens("", vocab.PadCLIP, convert.Cleaning(set))
		if err == nil {
			err = covers(src.String(), []int32{tokens.EOS}, t.Vocab)
		}
		return tokens, err
	})
	return c, nil
}

// inVision reports whether a tensor is the picture tower's.
func inVision(name string) bool {
	return strings.HasPrefix(name, "vision_model.") || strings.HasPrefix(name, "visual_projection.")
}

// loadTower builds a tower whose tensors are the ones of the names that are its own.
func loadTower[T any](f *files, on engine.Device, c weights.Config, set *weights.Set, own func(string) bool,
	build func(weights.Config, *weights.Loader) (T, error)) (T, error) {
	var none T
	need := 0
	for _, e := range set.Entries() {
		if own(e.Name) {
			need += weigh(on, e)
		}
	}
	if err := f.room(on, need); err != nil {
		return none, err
	}
	t, err := build(c, set.Loader(on))
	if err != nil {
		return none, fmt.Errorf("load %s from %s: %w", convert.CLIP, f.src, err)
	}
	return t, nil
}

// Ready loads what pictures and texts need, to find out early whether it is there.
func (c *CLIP) Ready(pictures, texts bool) error {
	if pictures {
		if _, err := c.process(); err != nil {
			return err
		}
	}
	if texts {
		_, err := c.tokens()
		return err
	}
	return nil
}

// Lost is the part of a text that the text tower does not see, since it takes no more
// tokens than its Length; "" where it sees all.
func (c *CLIP) Lost(ctx context.Context, text string) (string, error) {
	t, err := c.Text()
	if err != nil {
		return "", err
	}
	words, err := c.tokens()
	if err != nil {
		return "", err
	}
	e, err := words.Tokenize(ctx, text, words.Limit(t.Length))
	if err != nil {
		return "", err
	}
	return e.Lost(), nil
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

// EmbedImages gives an embedding of each picture, [N, D], of length 1. Where some
// are not finite, the error is finite.Items beside the others, and their rows are
// zeros.
func (c *CLIP) EmbedImages(run engine.Run, pictures []pixels.Picture, o EmbedOptions) (*tensor.Dense, error) {
	return c.embed(run, len(pictures), c.images(pictures), o)
}

// EmbedTexts is EmbedImages for texts.
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
			p, err := c.process()
			if err != nil {
				return nil, err
			}
			x, err := p.Apply(s, pictures[lo:hi])
			return []*engine.Tensor{x}, err
		},
		run: func(s *engine.Stream, in []*engine.Tensor) (pooled, embeds *engine.Tensor, err error) {
			v, err := c.Vision()
			if err != nil {
				return nil, nil, err
			}
			o, err := v.Forward(s, in[0])
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
			tower, err := c.Text()
			if err != nil {
				return nil, err
			}
			var ids [][]int32
			for _, t := range texts[lo:hi] {
				ids = append(ids, vocabulary.Encode(t, vocabulary.Limit(tower.Length)))
			}
			tower.Truncate(ids)
			tokens, ends, err := tower.Tokens(ids)
			if err != nil {
				return nil, err
			}
			return []*engine.Tensor{s.Put(tokens), s.Put(ends)}, s.Err()
		},
		run: func(s *engine.Stream, in []*engine.Tensor) (pooled, embeds *engine.Tensor, err error) {
			tower, err := c.Text()
			if err != nil {
				return nil, nil, err
			}
			o, err := tower.Run(s, in[0], in[1], clip.TextOptions{})
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
		return tensor.New(tensor.WithShape(0, c.Projection), tensor.Of(tensor.Float32)), nil
	}
	failed := finite.Items{}
	for i := range n {
		row := all[i*len(all)/n : (i+1)*len(all)/n]
		if slices.ContainsFunc(row, func(v float32) bool { return v-v != 0 }) {
			failed[i] = c.find(run, t, i, o)
			clear(row)
		}
	}
	m := tensor.New(tensor.WithShape(n, len(all)/n), tensor.WithBacking(all))
	if len(failed) > 0 {
		return m, failed
	}
	return m, nil
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
	if err != nil {
		return nil, err
	}
	failed := finite.Items{}
	for i, v := range all {
		if v-v != 0 {
			failed[i] = c.find(run, t, i, o)
			all[i] = 0
		}
	}
	if len(failed) > 0 {
		return all, failed
	}
	return all, nil
}

// find says why item i is not finite.
func (c *CLIP) find(run engine.Run, t tower, i int, o EmbedOptions) error {
	return finite.Find(run.On(c.device), "CLIP", func(run engine.Run) error {
		s := run.Stream()
		defer s.Close()
		in, err := t.inputs(s, i, i+1)
		if err == nil {
			_, err = forward(s, t, in, o)
		}
		return err
	})
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
