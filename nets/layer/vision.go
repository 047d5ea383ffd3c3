package layer

import (
	"fmt"

	"parley/engine"
	"parley/kernels/conv"
	"parley/weights"
)

// Patches cuts pictures in squares and embeds them behind a class token: the
// first step of a vision transformer (arXiv 2010.11929).
type Patches struct {
	Image, Patch, Width int
	conv                Conv
	class, position     []float32
}

// LoadPatches reads class_embedding, patch_embedding and the position
// embedding, whose name is given and whose elements are [(image/patch)²+1,
// width] in any shape.
func LoadPatches(l *weights.Loader, position string, channels, image, patch, width int) Patches {
	if patch < 1 || image < patch {
		l.Fail(fmt.Errorf("%s: pictures of %d pixels in patches of %d", l.Prefix(), image, patch))
		patch, image = 1, 1
	}
	side := image / patch
	shaped := func(name string, elems int, dims ...int) []float32 {
		if sh, ok := l.Shape(name); ok && sh.Elems() == elems {
			dims = sh
		}
		return l.F32(name, dims...)
	}
	return Patches{Image: image, Patch: patch, Width: width,
		conv:     LoadConv(l, "patch_embedding", channels, width, patch, conv.Options{Stride: patch}),
		class:    shaped("class_embedding", width, width),
		position: shaped(position, (side*side+1)*width, side*side+1, width)}
}

// Forward maps pictures [N, image, image, channels] to [N, 1+patches, width].
func (p Patches) Forward(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter("embeddings")
	side := p.Image / p.Patch
	grid := p.conv.Forward(s, x, nil)
	n, rows := x.Dim(0), side*side+1
	y := s.New(engine.F32, n, rows, p.Width)
	s.Do(engine.Work{Op: "tokens", Out: y, Bytes: 12 * int64(y.Elems())}, func(d engine.Device) {
		if d.Name() != "cpu" {
			return
		}
		ys, gs := y.F32(), grid.F32()
		for b := range n {
			out := ys[b*rows*p.Width : (b+1)*rows*p.Width]
			copy(out, p.class)
			copy(out[p.Width:], gs[b*(rows-1)*p.Width:(b+1)*(rows-1)*p.Width])
			for i := range out {
				out[i] += p.position[i]
			}
		}
	})
	s.Free(grid)
	return s.Leave(y)
}
