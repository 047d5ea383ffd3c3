// Package inception is the Inception v3 (arXiv 1512.00567) of the Fréchet inception
// distance: the net of TensorFlow's archive inception-2015-12-05, as pytorch-fid 0.3
// has it, under torchvision's names. It differs from torchvision's in what is
// pooled: an average leaves out what lies beyond the edge, and the last block takes
// a maximum.
package inception

import (
	"fmt"

	"parley/engine"
	"parley/kernels/pool"
	"parley/nets/layer"
	"parley/weights"
)

// Width is how many features a picture has.
const Width = 2048

// classes are those of the archive's classifier, which tells it from torchvision's.
const classes = 1008

// Model is the net up to its classifier.
type Model struct {
	stem   []step
	blocks []block
}

// step is a convolution, and a pooling behind it unless its window is none.
type step struct {
	conv filter
	pool pool.Window
}

// block is branches side by side, whose channels follow each other.
type block struct {
	name     string
	branches []branch
}

// branch is a pooling, if there is one, then convolutions, one after the other; then
// ends side by side, if there are any.
type branch struct {
	pool        kind
	chain, ends []filter
}

// kind is how a branch pools.
type kind uint8

const (
	none    kind = iota
	average      // 3 x 3
	largest      // 3 x 3
	halve        // the largest of 3 x 3, with a stride of 2
)

// Load builds the net. There is one configuration of it.
func Load(_ weights.Config, l *weights.Loader) (*Model, error) { return New(l) }

// New builds the net from torchvision's tensor names.
func New(l *weights.Loader) (*Model, error) {
	if sh, ok := l.Shape("fc.weight"); ok && sh[0] != classes {
		return nil, fmt.Errorf("fc.weight is %v, want [%d %d]: these are not the weights of FID (pytorch-fid's "+
			"pt_inception-2015-12-05-6726825d.pth), and distances by others are not to be compared with anybody's", sh, classes, Width)
	}
	m := &Model{}
	in := 3
	for _, s := range stem() {
		m.stem = append(m.stem, step{load(l, in, s.shape), s.pool})
		in = s.out
	}
	for _, b := range blocks() {
		p, width := l.In(b.name), 0
		to := block{name: b.name}
		for _, r := range b.branches {
			own := branch{pool: r.pool}
			at := in
			for _, c := range r.chain {
				own.chain = append(own.chain, load(p, at, c))
				at = c.out
			}
			for _, c := range r.ends {
				own.ends = append(own.ends, load(p, at, c))
				width += c.out
			}
			if len(r.ends) == 0 {
				width += at
			}
			to.branches = append(to.branches, own)
		}
		m.blocks, in = append(m.blocks, to), width
	}
	l.Without("fc")
	l.Without("AuxLogits")
	l.Unread("FID's Inception v3")
	return m, l.Err()
}

// Forward gives the features of pictures [N, H, W, 3] with values of -1 to 1:
// [N, Width], means over the map of the last block. A picture of papers' FID is
// what Picture makes.
func (m *Model) Forward(s *engine.Stream, x *engine.Tensor) (*engine.Tensor, error) {
	if sh := x.Shape(); len(sh) != 4 || sh[3] != 3 || min(sh[1], sh[2]) < smallest {
		return nil, &layer.ShapeError{Net: "inception", Input: "pixels", Have: sh,
			Want: fmt.Sprintf("[N H W 3] of %d x %d at least", smallest, smallest)}
	}
	// 1. The stem.
	h := x
	for i := range m.stem {
		y := m.stem[i].conv.forward(s, h)
		if i > 0 {
			s.Free(h)
		}
		if h = y; m.stem[i].pool.H > 0 {
			h = pool.Max(s, y, m.stem[i].pool)
			s.Free(y)
		}
	}
	// 2. The blocks.
	for i := range m.blocks {
		y := m.blocks[i].forward(s, h)
		s.Free(h)
		h = y
	}
	// 3. The mean of what is left of the map.
	y := pool.Average(s, h, pool.All(h))
	s.Free(h)
	return s.View(y, y.Dim(0), Width), s.Err()
}

// smallest is the side of a picture of which the last block still sees a pixel.
const smallest = 75

func (b *block) forward(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter(b.name)
	var parts []*engine.Tensor
	for i := range b.branches {
		parts = append(parts, b.branches[i].forward(s, x)...)
	}
	y := layer.Concat(s, parts...)
	s.Free(parts...)
	return s.Leave(y)
}

// forward frees nothing of its caller's.
func (b *branch) forward(s *engine.Stream, x *engine.Tensor) []*engine.Tensor {
	h := x
	switch b.pool {
	case average:
		h = pool.Average(s, x, pool.Window{H: 3, W: 3, Pad: 1})
	case largest:
		h = pool.Max(s, x, pool.Window{H: 3, W: 3, Pad: 1})
	case halve:
		h = pool.Max(s, x, pool.Window{H: 3, W: 3, Stride: 2})
	}
	next := func(y *engine.Tensor) {
		if h != x {
			s.Free(h)
		}
		h = y
	}
	for i := range b.chain {
		next(b.chain[i].forward(s, h))
	}
	if len(b.ends) == 0 {
		return []*engine.Tensor{h}
	}
	var out []*engine.Tensor
	for i := range b.ends {
		out = append(out, b.ends[i].forward(s, h))
	}
	next(nil)
	return out
}
