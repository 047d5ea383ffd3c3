package main

import (
	"fmt"

	"parley/kernels/conv"
)

// product is a matrix product [m, k] x [n, k]ᵀ.
type product struct {
	what    string
	m, k, n int
}

func (p product) name() string {
	return fmt.Sprintf("matmul %dx%dx%d (%s)", p.m, p.k, p.n, p.what)
}

func (p product) flops() float64 { return 2 * float64(p.m) * float64(p.k) * float64(p.n) }

// products are those of the nets, and what a paper would quote.
func (o options) products() []product {
	if o.small {
		return []product{{"small", 130, 64, 72}, {"small, a token", 2, 64, 72}}
	}
	return []product{
		{"square", 4096, 4096, 4096},
		{"unet 64x64, q", 8192, 320, 320},
		{"unet 64x64, ff down", 8192, 1280, 320},
		{"unet 32x32, q", 2048, 640, 640},
		{"unet 32x32, ff down", 2048, 2560, 640},
		{"unet 16x16, q", 512, 1280, 1280},
		{"unet 16x16, ff down", 512, 5120, 1280},
		{"unet text keys", 154, 768, 1280},
		{"unet 64x64, q, 10 pairs", 81920, 320, 320},
		{"blip vision, fc1", 577, 768, 3072},
		{"blip vision, fc1, 16 pictures", 9232, 768, 3072},
		{"blip, a token of 10", 10, 768, 768},
		{"blip head, a token of 10", 10, 768, 30524},
		{"clip vision, fc1, 256 pictures", 12800, 768, 3072},
	}
}

// convolution is 3x3 with padding that keeps the size, unless it is strided.
type convolution struct {
	what             string
	n, size, in, out int
	o                conv.Options
}

// side is the result's.
func (c convolution) side() int {
	switch {
	case c.o.Stride == 2:
		return c.size / 2
	case c.o.Upsample:
		return 2 * c.size
	}
	return c.size
}

func (c convolution) flops() float64 {
	return 18 * float64(c.n*c.side()*c.side()) * float64(c.in*c.out)
}

func (c convolution) name() string {
	return fmt.Sprintf("conv %dx%dx%d, %d to %d (%s)", c.n, c.size, c.size, c.in, c.out, c.what)
}

func (o options) convolutions() []convolution {
	same := conv.Options{Pad: conv.Same(3)}
	if o.small {
		return []convolution{{"small", 1, 8, 16, 24, same}}
	}
	return []convolution{
		{"unet in", 2, 64, 4, 320, same},
		{"unet 64x64", 2, 64, 320, 320, same},
		{"unet 64x64, up", 2, 64, 640, 320, same},
		{"unet 32x32", 2, 32, 640, 640, same},
		{"unet 16x16", 2, 16, 1280, 1280, same},
		{"unet 16x16, up", 2, 16, 2560, 1280, same},
		{"unet 8x8", 2, 8, 1280, 1280, same},
		{"unet out", 2, 64, 320, 4, same},
		{"unet down", 2, 64, 320, 320, conv.Options{Pad: conv.Same(3), Stride: 2}},
		{"unet up", 2, 16, 1280, 1280, conv.Options{Pad: conv.Same(3), Upsample: true}},
		{"unet 64x64, 10 pairs", 20, 64, 320, 320, same},
		{"vae 512x512", 1, 512, 128, 128, same},
		{"vae 256x256", 1, 256, 256, 256, same},
		{"vae out", 1, 512, 128, 3, same},
	}
}

// attending is an attention of n samples.
type attending struct {
	what                    string
	n, lq, keys, heads, dim int
	causal                  bool
}

func (l attending) name() string {
	return fmt.Sprintf("attention %dx%d on %d, %d heads of %d (%s)", l.n, l.lq, l.keys, l.heads, l.dim, l.what)
}

func (l attending) flops() float64 {
	return 4 * float64(l.n) * float64(l.lq) * float64(l.keys) * float64(l.heads) * float64(l.dim)
}

func (o options) attentions() []attending {
	if o.small {
		return []attending{{"small", 1, 70, 70, 2, 16, false}}
	}
	return []attending{
		{"unet 64x64, self", 2, 4096, 4096, 8, 40, false},
		{"unet 32x32, self", 2, 1024, 1024, 8, 80, false},
		{"unet 16x16, self", 2, 256, 256, 8, 160, false},
		{"unet 64x64, cross", 2, 4096, 77, 8, 40, false},
		{"unet 64x64, self, 10 pairs", 20, 4096, 4096, 8, 40, false},
		{"vae 64x64", 1, 4096, 4096, 1, 512, false},
		{"blip vision, 16 pictures", 16, 577, 577, 12, 64, false},
		{"clip text, 64 texts", 64, 77, 77, 8, 64, true},
	}
}
