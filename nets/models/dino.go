package models

import (
	"gorgonia.org/tensor"

	"parley/engine"
	"parley/kernels/norm"
	"parley/nets/pixels"
	"parley/nets/vit"
	"parley/weights/convert"
)

// DINO embeds pictures by what they show, with no text at all (arXiv 2104.14294): a
// vision transformer's class token, of length 1. It is immutable and serves several
// runs at a time.
type DINO struct {
	embedder[*vit.Model]
	process *pixels.Processor
}

// OpenDINO loads a folder of transformers' ViTModel, or a file of DINO's own.
// Pictures are prepared as the folder says; without a word as DINO's own evaluation
// does.
func OpenDINO(src Source, dev engine.Device) (*DINO, error) {
	e, err := openEmbedder(src, dev, "DINO", "dino", convert.ViT, vit.Load)
	if err != nil {
		return nil, err
	}
	d := &DINO{embedder: e, process: pixels.DINO(e.Net.Image)}
	if in, _ := src.in("dino"); !in.file {
		if d.process, err = pixels.ReadProcessor(in.fsys, in.dir, d.process); err != nil {
			d.Close()
			return nil, err
		}
	}
	return d, nil
}

// EmbedImages gives an embedding of each picture, [N, D], of length 1. Where some are
// not finite, the error is finite.Items beside the others, and their rows are zeros.
func (d *DINO) EmbedImages(run engine.Run, pictures []pixels.Picture) (*tensor.Dense, error) {
	return d.embed(run, len(pictures), d.Net.Width, inOrder(len(pictures), 16), func(s *engine.Stream, items []int) (*engine.Tensor, error) {
		x, err := d.process.Apply(s, pictures[items[0]:items[len(items)-1]+1])
		if err != nil {
			return nil, err
		}
		class, err := d.Net.Class(s, x)
		s.Free(x)
		if err != nil {
			return nil, err
		}
		y := norm.L2(s, class)
		s.Free(class)
		return y, s.Err()
	})
}
