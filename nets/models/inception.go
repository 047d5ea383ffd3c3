package models

import (
	"gorgonia.org/tensor"

	"parley/engine"
	"parley/nets/inception"
	"parley/nets/pixels"
	"parley/weights/convert"
)

// Inception gives the features of pictures that the Fréchet inception distance
// compares. It is immutable and serves several runs at a time.
type Inception struct{ embedder[*inception.Model] }

// OpenInception loads FID's weights, pytorch-fid's pt_inception-2015-12-05.
func OpenInception(src Source, dev engine.Device) (*Inception, error) {
	e, err := openEmbedder(src, dev, "Inception v3", "inception", convert.Inception, inception.Load)
	if err != nil {
		return nil, err
	}
	return &Inception{e}, nil
}

// Features are those of each picture, [N, inception.Width]: what score.Features
// gathers. Where some are not finite, the error is finite.Items beside the others,
// and their rows are zeros.
func (n *Inception) Features(run engine.Run, pictures []pixels.Picture) (*tensor.Dense, error) {
	const size = 8
	return n.embed(run, len(pictures), inception.Width, inOrder(len(pictures), size),
		func(s *engine.Stream, items []int) (*engine.Tensor, error) {
			x := engine.FromF32(make([]float32, len(items)*3*inception.Side*inception.Side), len(items), inception.Side, inception.Side, 3)
			for k, i := range items {
				m, err := pictures[i].Host()
				if err != nil {
					return nil, err
				}
				one, err := inception.Picture(m)
				if err != nil {
					return nil, err
				}
				copy(x.Rows(k, k+1).F32(), one.F32())
			}
			input := s.PutAs(s.Float(), x)
			y, err := n.Net.Forward(s, input)
			s.Free(input)
			return y, err
		})
}
