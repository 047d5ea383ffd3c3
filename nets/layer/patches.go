package layer

import (
	"fmt"

	"parley/engine"
	"parley/kernels/conv"
	"parley/kernels/embed"
	"parley/weights"
)

// Patches cuts pictures in squares and embeds them behind a class token: the
// first step of a vision transformer (arXiv 2010.11929).
type Patches struct {
	Image, Patch, Width int
	conv                Conv
	class, position     *engine.Tensor // [width], [1+patches, width]
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
	shaped := func(name string, dims ...int) *engine.Tensor {
		as := dims
		if sh, ok := l.Shape(name); ok && sh.Elems() == engine.Shape(dims).Elems() {
			as = sh
		}
		return l.Place(l.Device().Float(), l.F32(name, as...), dims...)
	}
	return Patches{Image: image, Patch: patch, Width: width,
		conv:     LoadConv(l, "patch_embedding", channels, width, patch, conv.Options{Stride: patch}),
		class:    shaped("class_embedding", width),
		position: shaped(position, side*side+1, width)}
}

// Forward maps pictures [N, image, image, channels] to [N, 1+patches, width].
func (p Patches) Forward(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	s.Enter("embeddings")
	grid := p.conv.Forward(s, x, nil)
	y := embed.Patches(s, grid, p.class, p.position)
	s.Free(grid)
	return s.Leave(y)
}
