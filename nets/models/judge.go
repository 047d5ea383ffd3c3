package models

import (
	"context"
	"path"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/kernels/norm"
	"parley/nets/clip"
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
}

// OpenJudge loads a CLIP.
func OpenJudge(src Source, dev engine.Device) (*Judge, error) {
	if err := fits(src, dev, map[string]string{"clip": convert.CLIP}, nil); err != nil {
		return nil, err
	}
	net, err := load(src, dev, "clip", convert.CLIP, clip.Load)
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
	if j.words, err = src.clipTokens(""); err != nil {
		return nil, err
	}
	return j, fit(src.String(), []int32{j.words.EOS}, net.Text.Vocab)
}

// Images gives an embedding of each picture, [N, D], of length 1.
func (j *Judge) Images(ctx context.Context, pictures []*pixels.Image) (*tensor.Dense, error) {
	return j.embed(ctx, len(pictures), func(s *engine.Stream, lo, hi int) (pooled, embeds *engine.Tensor, err error) {
		x, err := j.process.Apply(pictures[lo:hi])
		if err != nil {
			return nil, nil, err
		}
		o, err := j.Net.Vision.Forward(s, s.Put(x))
		return o.Pooled, o.Embeds, err
	})
}

// Texts gives an embedding of each text, [N, D], of length 1.
func (j *Judge) Texts(ctx context.Context, texts []string) (*tensor.Dense, error) {
	return j.embed(ctx, len(texts), func(s *engine.Stream, lo, hi int) (pooled, embeds *engine.Tensor, err error) {
		var ids [][]int32
		for _, t := range texts[lo:hi] {
			ids = append(ids, j.words.Encode(t, j.Net.Text.Length))
		}
		o, err := j.Net.Text.Forward(s, ids)
		return o.Pooled, o.Embeds, err
	})
}

func (j *Judge) embed(ctx context.Context, n int, forward func(s *engine.Stream, lo, hi int) (pooled, embeds *engine.Tensor, err error)) (*tensor.Dense, error) {
	const chunk = 16
	var all []float32
	for lo := 0; lo < n; lo += chunk {
		rows, err := j.chunk(ctx, lo, min(lo+chunk, n), forward)
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

func (j *Judge) chunk(ctx context.Context, lo, hi int, forward func(s *engine.Stream, lo, hi int) (pooled, embeds *engine.Tensor, err error)) ([]float32, error) {
	s := engine.NewStream(ctx, j.device)
	defer s.Close()
	pooled, embeds, err := forward(s, lo, hi)
	if err != nil {
		return nil, err
	}
	if j.Pooled {
		embeds = norm.L2(s, pooled)
	}
	h, err := s.Get(embeds)
	if err != nil {
		return nil, err
	}
	return h.F32(), nil
}
