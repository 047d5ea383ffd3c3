package optest

import (
	"fmt"
	"testing"
	"time"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/attention"
	"parley/kernels/conv"
	"parley/kernels/embed"
	"parley/kernels/matmul"
	"parley/kernels/norm"
	"parley/kernels/resize"
	"parley/kernels/sampling"
	"parley/kernels/storage"
)

// bench runs an operation over and over and reports its speed.
func bench(b *testing.B, name string, dev engine.Device, inputs [][]int, op func(*engine.Stream, []*engine.Tensor) *engine.Tensor) {
	b.Run(name, func(b *testing.B) {
		s := engine.NewStream(b.Context(), dev)
		var xs []*engine.Tensor
		for i, dims := range inputs {
			data := make([]float32, engine.Shape(dims).Elems())
			for j := range data {
				data[j] = float32((i+7*j)%13) / 8
			}
			xs = append(xs, s.Put(engine.FromF32(data, dims...)))
		}
		var w work
		s.Watch(nil, &w)
		s.Free(op(s, xs))
		s.Watch(nil, nil)
		before := peak(dev)
		for b.Loop() {
			s.Free(op(s, xs))
		}
		if err := s.Err(); err != nil {
			b.Fatal(err)
		}
		seconds := b.Elapsed().Seconds() / float64(b.N)
		b.ReportMetric(float64(w.flops)/seconds/1e9, "GFLOP/s")
		b.ReportMetric(float64(w.bytes)/seconds/1e9, "GB/s")
		if most := max(before, peak(dev)); most > 0 {
			b.ReportMetric(100*float64(w.flops)/seconds/most, "%peak")
		}
		s.Free(xs...)
	})
}

// BenchHost runs a benchmark on the CPU at each precision.
func BenchHost(b *testing.B, suite func(*testing.B, engine.Device)) {
	for p := host.Exact; p <= host.Fast; p++ {
		b.Run(p.String(), func(b *testing.B) { suite(b, host.NewWith(host.Options{Precision: p})) })
	}
}

// peak is the CPU's multiply-adds of float32 a second; 0 of another device. Minimal
// filtering and products of bfloat16 make more FLOPs than that, by the count of the
// plain sum.
func peak(dev engine.Device) float64 {
	d, ok := host.On(dev)
	if !ok {
		return 0
	}
	return matmul.Peak(d, 10*time.Millisecond)
}

type work struct{ flops, bytes int64 }

func (w *work) Observe(s engine.Span) { w.flops, w.bytes = w.flops+s.FLOPs, w.bytes+s.Bytes }

// BenchLinear has the sizes of Stable Diffusion's UNet at 512 pixels, two
// samples at a time, and of BLIP's towers at 384.
func BenchLinear(b *testing.B, dev engine.Device) {
	for _, c := range []struct {
		name    string
		m, k, n int
	}{
		{"unet 64x64 to_q", 8192, 320, 320},
		{"unet 32x32 ff", 2048, 640, 5120},
		{"unet 16x16 ff down", 512, 5120, 1280},
		{"unet context to_k", 154, 768, 1280},
		{"unet time_emb_proj", 2, 1280, 1280},
		{"blip vision fc1", 577, 768, 3072},
		{"blip text, one word", 1, 768, 768},
		{"blip head, 3 beams", 3, 768, 30524},
	} {
		w := must(matmul.Pack(dev, storage.Values(make([]float32, c.n*c.k)), c.n, c.k))
		bench(b, c.name, dev, [][]int{{c.m, c.k}}, func(s *engine.Stream, x []*engine.Tensor) *engine.Tensor {
			return matmul.Linear(s, x[0], w, matmul.Epilogue{})
		})
	}
}

// BenchConv2D has the sizes of Stable Diffusion at 512 pixels.
func BenchConv2D(b *testing.B, dev engine.Device) {
	for _, c := range []struct {
		name             string
		n, size, in, out int
		o                conv.Options
	}{
		{"unet conv_in", 2, 64, 4, 320, conv.Options{Pad: conv.Same(3)}},
		{"unet 64x64", 2, 64, 320, 320, conv.Options{Pad: conv.Same(3)}},
		{"unet 16x16", 2, 16, 1280, 1280, conv.Options{Pad: conv.Same(3)}},
		{"unet downsampler", 2, 64, 320, 320, conv.Options{Stride: 2, Pad: conv.Same(3)}},
		{"unet upsampler", 2, 16, 1280, 1280, conv.Options{Pad: conv.Same(3), Upsample: true}},
		{"vae 256x256", 1, 256, 128, 128, conv.Options{Pad: conv.Same(3)}},
		{"vae conv_out", 1, 512, 128, 3, conv.Options{Pad: conv.Same(3)}},
	} {
		w := must(conv.Pack(dev, storage.Values(make([]float32, c.out*c.in*9)), c.out, c.in, 3, 3))
		bench(b, c.name, dev, [][]int{{c.n, c.size, c.size, c.in}}, func(s *engine.Stream, x []*engine.Tensor) *engine.Tensor {
			return conv.Conv2D(s, x[0], w, c.o)
		})
	}
}

// BenchAttend has the sizes of Stable Diffusion and of BLIP's decoder.
func BenchAttend(b *testing.B, dev engine.Device) {
	for _, c := range []struct {
		name                      string
		n, m, lq, lk, heads, dims int
	}{
		{"unet 64x64 self", 2, 2, 4096, 4096, 8, 40},
		{"unet 64x64 cross", 2, 2, 4096, 77, 8, 40},
		{"unet 16x16 self", 2, 2, 256, 256, 8, 160},
		{"vae 64x64", 1, 1, 4096, 4096, 1, 512},
		{"blip vision", 1, 1, 577, 577, 12, 64},
		{"blip text cross, 3 beams", 3, 1, 1, 577, 12, 64},
		{"blip text cross, 10 captions", 10, 1, 1, 577, 12, 64},
	} {
		width := c.heads * c.dims
		bench(b, c.name, dev, [][]int{{c.n, c.lq, width}, {c.m, c.lk, width}, {c.m, c.lk, width}},
			func(s *engine.Stream, x []*engine.Tensor) *engine.Tensor {
				return attention.Attend(s, x[0], x[1], x[2], attention.Options{Heads: c.heads})
			})
	}
}

// BenchNorm has the sizes of Stable Diffusion's UNet and VAE.
func BenchNorm(b *testing.B, dev engine.Device) {
	for _, c := range []struct{ n, size, channels int }{{2, 64, 320}, {2, 16, 1280}, {1, 512, 128}} {
		dims := [][]int{{c.n, c.size * c.size, c.channels}, {c.channels}, {c.channels}}
		shape := fmt.Sprintf("%dx%dx%dx%d", c.n, c.size, c.size, c.channels)
		bench(b, "group silu "+shape, dev, dims, func(s *engine.Stream, x []*engine.Tensor) *engine.Tensor {
			return norm.Group(s, x[0], nil, 32, x[1], x[2], 1e-5, true)
		})
		bench(b, "layer "+shape, dev, dims, func(s *engine.Stream, x []*engine.Tensor) *engine.Tensor {
			return norm.Layer(s, x[0], x[1], x[2], 1e-5)
		})
	}
}

// BenchEmbed has CLIP's text, BLIP's and CLIP's pictures, and a decoder's cache.
func BenchEmbed(b *testing.B, dev engine.Device) {
	row := func(s *engine.Stream, n, below int, dims ...int) *engine.Tensor {
		v := make([]int32, n)
		for i := range v {
			v[i] = int32((i*7919 + 3) % below)
		}
		return ids(s, v, dims...)
	}
	bench(b, "tokens 8x77x768 of 49408", dev, [][]int{{49408, 768}, {77, 768}}, func(s *engine.Stream, x []*engine.Tensor) *engine.Tensor {
		at := row(s, 8*77, 49408, 8, 77)
		defer s.Free(at)
		return embed.Tokens(s, x[0], at, x[1], 0, nil)
	})
	shapes := [][]int{{4, 576, 768}, {768}, {577, 768}}
	bench(b, "patches 4x577x768", dev, shapes, func(s *engine.Stream, x []*engine.Tensor) *engine.Tensor {
		return embed.Patches(s, x[0], x[1], x[2])
	})
	bench(b, "select 12 of a cache 12x20x1536", dev, [][]int{{12, 20, 1536}}, func(s *engine.Stream, x []*engine.Tensor) *engine.Tensor {
		from := row(s, 12, 12, 12)
		defer s.Free(from)
		return embed.Select(s, x[0], from, 20)
	})
}

// BenchResize takes drawings to CLIP's and BLIP's sizes, and a photograph to CLIP's.
func BenchResize(b *testing.B, dev engine.Device) {
	for _, c := range []struct{ n, h, w, to int }{{4, 512, 512, 224}, {4, 512, 512, 384}, {1, 1200, 1600, 224}} {
		b.Run(fmt.Sprintf("%dx%dx%d to %d", c.n, c.h, c.w, c.to), func(b *testing.B) {
			s := engine.NewStream(b.Context(), dev)
			x := s.Put(engine.FromU8(make([]uint8, c.n*c.h*c.w*3), c.n, c.h, c.w, 3))
			for b.Loop() {
				s.Free(resize.Resize(s, x, c.to, c.to, resize.Bicubic, resize.Window{H: c.to, W: c.to}))
			}
			if err := s.Err(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(c.n*b.N)/b.Elapsed().Seconds(), "pictures/s")
			s.Free(x)
		})
	}
}

// BenchSampling has BLIP's vocabulary: ten captions' next tokens, and a step of a
// beam search.
func BenchSampling(b *testing.B, dev engine.Device) {
	const rows, vocab = 10, 30524
	history := make([][]int32, rows)
	for i := range history {
		history[i] = []int32{30522, 1037, 3861, 1997}
	}
	subsequences, scores := make([]uint64, rows), make([]float64, rows)
	run := func(name string, op func(*engine.Stream, *engine.Tensor) error) {
		b.Run(name, func(b *testing.B) {
			s := engine.NewStream(b.Context(), dev)
			logits := make([]float32, rows*vocab)
			for i := range logits {
				logits[i] = float32(i*7919%1009) / 64
			}
			x := s.PutAs(engine.F32, engine.FromF32(logits, rows, vocab))
			for b.Loop() {
				if err := op(s, x); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
			s.Free(x)
		})
	}
	for _, c := range []struct {
		name string
		o    sampling.Options
	}{
		{"likeliest", sampling.Options{RepetitionPenalty: 1.1}},
		{"top-p 0.9", sampling.Options{Sample: true, TopP: 0.9, Subsequences: subsequences}},
		{"top-k 50", sampling.Options{Sample: true, TopK: 50, Subsequences: subsequences}},
	} {
		run(c.name, func(s *engine.Stream, x *engine.Tensor) error {
			_, err := sampling.Tokens(s, x, history, c.o)
			return err
		})
	}
	run("5 beams", func(s *engine.Stream, x *engine.Tensor) error {
		_, err := sampling.Continuations(s, x, history, scores, 5, sampling.Options{})
		return err
	})
}
