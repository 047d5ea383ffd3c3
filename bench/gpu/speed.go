package main

import (
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
	"parley/kernels/attention"
	"parley/kernels/conv"
	"parley/kernels/matmul"
	"parley/kernels/norm"
	"parley/nets/blip"
	"parley/nets/clip"
	"parley/nets/decode"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/unet"
	"parley/nets/vae"
	"parley/weights"
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
func (b *bench) products() []product {
	if b.small {
		return []product{{"small", 130, 64, 72}, {"small, a word", 2, 64, 72}}
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
		{"blip a word of 10", 10, 768, 768},
		{"blip head, a word of 10", 10, 768, 30524},
		{"clip vision, fc1, 256 pictures", 12800, 768, 3072},
	}
}

// convolution is 3x3 with padding that keeps the size, unless it is strided.
type convolution struct {
	what             string
	n, size, in, out int
	o                conv.Options
}

func (c convolution) name() string {
	return fmt.Sprintf("conv %dx%dx%d, %d to %d (%s)", c.n, c.size, c.size, c.in, c.out, c.what)
}

func (b *bench) convolutions() []convolution {
	same := conv.Options{Pad: conv.Same(3)}
	if b.small {
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

// look is an attention of n samples.
type look struct {
	what                    string
	n, lq, keys, heads, dim int
	causal                  bool
}

func (l look) name() string {
	return fmt.Sprintf("attention %dx%d on %d, %d heads of %d (%s)", l.n, l.lq, l.keys, l.heads, l.dim, l.what)
}

func (l look) flops() float64 {
	return 4 * float64(l.n) * float64(l.lq) * float64(l.keys) * float64(l.heads) * float64(l.dim)
}

func (b *bench) looks() []look {
	if b.small {
		return []look{{"small", 1, 70, 70, 2, 16, false}}
	}
	return []look{
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

// kernels times single operations.
func kernels(b *bench) error {
	if err := b.open(engine.F16); err != nil {
		return err
	}
	peak, gbps := peak(b.dev.Info().Name)
	report := func(name string, seconds, flops, bytes float64) {
		b.figure(name+", time", 1e6*seconds, "us")
		if flops > 0 {
			b.figure(name, flops/seconds/1e12, "TFLOP/s")
			if peak > 0 {
				b.figure(name+", share of the peak", 100*flops/seconds/1e12/peak, "%")
			}
			return
		}
		b.figure(name, bytes/seconds/1e9, "GB/s")
		if gbps > 0 {
			b.figure(name+", share of the peak", 100*bytes/seconds/1e9/gbps, "%")
		}
	}
	one := func(name string, flops, bytes float64, op func(s *engine.Stream) (func() *engine.Tensor, error)) {
		s := engine.NewStream(b.ctx, b.dev)
		defer s.Close()
		run, err := op(s)
		if err == nil {
			var t float64
			if t, err = b.time(s, b.reps(), func() error { s.Free(run()); return s.Err() }); err == nil {
				report(name, t, flops, bytes)
			}
		}
		if err != nil {
			b.fail("%s: %v", name, err)
		}
	}
	for _, p := range b.products() {
		one(p.name(), p.flops(), 0, func(s *engine.Stream) (func() *engine.Tensor, error) {
			w, err := matmul.Pack(b.dev, random(1, 0.05, p.n, p.k).F32(), p.n, p.k)
			x := s.Put(random(2, 1, p.m, p.k))
			return func() *engine.Tensor { return matmul.Linear(s, x, w, matmul.Epilogue{}) }, err
		})
	}
	for _, c := range b.convolutions() {
		side := c.size
		if c.o.Stride == 2 {
			side /= 2
		} else if c.o.Upsample {
			side *= 2
		}
		one(c.name(), 18*float64(c.n*side*side)*float64(c.in*c.out), 0, func(s *engine.Stream) (func() *engine.Tensor, error) {
			w, err := conv.Pack(b.dev, random(1, 0.02, c.out, c.in, 3, 3).F32(), c.out, c.in, 3, 3)
			x := s.Put(random(2, 1, c.n, c.size, c.size, c.in))
			return func() *engine.Tensor { return conv.Conv2D(s, x, w, c.o) }, err
		})
	}
	for _, l := range b.looks() {
		one(l.name(), l.flops(), 0, func(s *engine.Stream) (func() *engine.Tensor, error) {
			q, k, v := s.Put(random(1, 1, l.n, l.lq, l.heads*l.dim)), s.Put(random(2, 1, l.n, l.keys, l.heads*l.dim)), s.Put(random(3, 1, l.n, l.keys, l.heads*l.dim))
			return func() *engine.Tensor {
				return attention.Attend(s, q, k, v, attention.Options{Heads: l.heads, Causal: l.causal})
			}, nil
		})
	}
	sizes := [][3]int{{2, 64, 320}, {2, 32, 640}, {2, 16, 1280}, {1, 512, 128}}
	if b.small {
		sizes = [][3]int{{1, 8, 32}}
	}
	for _, z := range sizes {
		n, side, c := z[0], z[1], z[2]
		for _, group := range []bool{true, false} {
			name := fmt.Sprintf("layer norm of %d x %d", n*side*side, c)
			if group {
				name = fmt.Sprintf("group norm and silu of %dx%dx%dx%d", n, side, side, c)
			}
			one(name, 0, 2*2*float64(n*side*side*c), func(s *engine.Stream) (func() *engine.Tensor, error) {
				x, gamma, beta := s.Put(random(1, 1, n, side*side, c)), s.PutAs(engine.F32, random(2, 1, c)), s.PutAs(engine.F32, random(3, 1, c))
				return func() *engine.Tensor {
					if group {
						return norm.Group(s, x, nil, 32, gamma, beta, 1e-5, true)
					}
					return norm.Layer(s, x, gamma, beta, 1e-5)
				}, nil
			})
		}
	}
	return nil
}

// used is what of the device's memory is taken, in bytes.
func (b *bench) used() (int, error) {
	free, total, err := b.dev.Memory()
	return total - free, err
}

// sdNets are a Stable Diffusion of random weights, and how it draws.
type sdNets struct {
	UNet     *unet.Model
	VAE      *vae.Model
	Text     *clip.Text
	Pipeline *diffusion.Pipeline
	diffusion.Options
}

// loadPainter builds a Stable Diffusion of random weights.
func loadPainter(size painting, dev engine.Device, dry bool) (*sdNets, error) {
	m := newMade(dry)
	c := size.unet(m)
	u, err := unet.Load(c, m.set().Loader(dev))
	if err != nil {
		return nil, err
	}
	m.entries = nil
	c = size.autoencoder(m)
	v, err := vae.Load(c, m.set().Loader(dev))
	if err != nil {
		return nil, err
	}
	m.entries = nil
	c = size.text.textModel(m)
	t, err := clip.LoadText(c, m.set().Loader(dev))
	if err != nil {
		return nil, err
	}
	p := &sdNets{UNet: u, VAE: v, Text: t, Pipeline: models.NewPipeline(u, v, t, weights.Config{})}
	p.Options = diffusion.Options{Steps: 50, Guidance: 7.5, Scheduler: "ddim", Width: size.side * v.Factor, Height: size.side * v.Factor}
	return p, nil
}

// stableDiffusion is Stable Diffusion 1.5 at 512 x 512, by its parts and as a whole.
func stableDiffusion(b *bench) error {
	size, batches, steps := sd15, []int{1, 4, 10}, 50
	if b.small {
		size, batches, steps = smallSD, []int{1, 2}, 3
	}
	if err := b.open(engine.F16); err != nil {
		return err
	}
	empty, err := b.used()
	if err != nil {
		return err
	}
	p, err := loadPainter(size, b.dev, false)
	if err != nil {
		return err
	}
	p.Steps = steps
	full, err := b.used()
	if err != nil {
		return err
	}
	b.figure("weights", float64(full-empty)/1e9, "GB")
	for _, n := range batches {
		if err := b.batch(p, size, n, full); err != nil {
			b.fail("batch %d: %v", n, err)
		}
		b.dev.Trim()
	}
	return b.step(p, size)
}

// batch measures n pictures at once.
func (b *bench) batch(p *sdNets, size painting, n, loaded int) error {
	name := func(s string) string { return fmt.Sprintf("batch %d, %s", n, s) }
	step, err := b.guided(p, size, n)
	if err != nil {
		return err
	}
	b.figure(name("guided step"), 1e3*step, "ms")
	b.figure(name("guided steps"), 1/step, "steps/s")
	b.figure(name("guided steps of a picture"), float64(n)/step, "steps/s")

	s := engine.NewStream(b.ctx, b.dev)
	defer s.Close()
	z := s.Put(random(5, 1, 1, size.side, size.side, 4))
	decode, err := b.time(s, 1, func() error {
		x, err := p.VAE.Decode(s, z)
		s.Free(x)
		return err
	})
	if err != nil {
		return fmt.Errorf("vae: %w", err)
	}
	b.figure(name("vae decode of a picture"), 1e3*decode, "ms")
	s.Free(z)

	ids, none := size.text.ids(n), size.text.ids(n)
	var picture *engine.Tensor
	rounds := 2
	if b.small {
		rounds = 1
	}
	whole, err := b.clock(rounds, func() error {
		s := engine.NewStream(b.ctx, b.dev)
		defer s.Close()
		plan, err := p.Pipeline.Plan(p.Options)
		if err != nil {
			return err
		}
		z, _, err := plan.Latents(s, diffusion.Batch{IDs: ids, Negative: none, Noise: diffusion.OneGenerator(1)})
		if err != nil {
			return err
		}
		x, err := p.Pipeline.Decode(s, z)
		if err != nil {
			return err
		}
		picture, err = s.Get(x)
		return err
	})
	if err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	if err := finite("pictures", picture); err != nil {
		b.fail("batch %d: %v", n, err)
	}
	parts := float64(p.Steps)*step + float64(n)*decode
	b.figure(name(fmt.Sprintf("pipeline of %d steps, by the host's clock", p.Steps)), whole, "s")
	b.figure(name("pipeline, of it steps and decoding"), 100*parts/whole, "%")
	b.figure(name("pictures, by the host's clock"), 60*float64(n)/whole, "pictures/min")
	used, err := b.used()
	if err != nil {
		return err
	}
	b.figure(name("memory beside the weights"), float64(used-loaded)/1e9, "GB")
	return nil
}

// guided is the time of the UNet for n pictures, each with and without its text.
func (b *bench) guided(p *sdNets, size painting, n int) (float64, error) {
	s := engine.NewStream(b.ctx, b.dev)
	defer s.Close()
	run, err := b.unet(s, p, size, n)
	if err != nil {
		return 0, err
	}
	return b.time(s, 1, run)
}

// unet prepares a step for n pictures with guidance.
func (b *bench) unet(s *engine.Stream, p *sdNets, size painting, n int) (func() error, error) {
	text := s.Put(random(3, 1, 2*n, size.text.length, size.text.width))
	cond, err := p.UNet.Condition(s, []float64{801, 601}, text, nil)
	if err != nil {
		return nil, err
	}
	in := s.Put(random(4, 1, n, size.side, size.side, 4))
	now := s.Put(engine.FromI32([]int32{1}, 1))
	return func() error {
		y, err := p.UNet.Step(s, cond, unet.Input{Latents: in, Step: now})
		s.Free(y)
		return err
	}, s.Err()
}

// operation is one of a step with the launches that it made.
type operation struct {
	engine.Span
	shape    string
	launches []cuda.Launched
}

// follower notes operations and their launches.
type follower struct {
	launches []cuda.Launched
	ops      []operation
}

func (f *follower) launched(l cuda.Launched) bool {
	f.launches = append(f.launches, l)
	return true
}

// Record implements engine.Observer.
func (f *follower) Observe(s engine.Span) {
	if s.Op == "" {
		return
	}
	o := operation{Span: s, launches: f.launches}
	if s.Out != nil {
		o.shape = s.Out.Shape().String()
	}
	f.ops, f.launches = append(f.ops, o), nil
}

// follow captures what run does as a graph and returns its operations. The graph
// has to be freed.
func follow(d *cuda.Device, s *engine.Stream, run func() error) (engine.Graph, []operation, error) {
	var f follower
	var inner error
	s.Watch(nil, &f)
	d.Watch(f.launched)
	g, err := d.Capture(s, func() { inner = run() })
	d.Watch(nil)
	s.Watch(nil, nil)
	if err == nil {
		err = inner
	}
	return g, f.ops, err
}

// tally is what launches of one kernel sum up to.
type tally struct {
	kernel                string
	launches              int
	seconds, flops, bytes float64
}

// step times each launch of a guided step by itself, and says what the sum is
// beside the whole.
func (b *bench) step(p *sdNets, size painting) error {
	s := engine.NewStream(b.ctx, b.dev)
	defer s.Close()
	run, err := b.unet(s, p, size, 1)
	if err != nil {
		return err
	}
	if err := run(); err != nil {
		return err
	}
	g, ops, err := follow(b.dev, s, run)
	if err != nil {
		return err
	}
	defer g.Free()
	whole, err := b.between(b.rounds(), func() { g.Launch(s) })
	if err != nil {
		return err
	}
	var order []string
	sums, known := map[string]*tally{}, map[string]float64{}
	total, launches := 0.0, 0
	for _, o := range ops {
		for i, l := range o.launches {
			key := fmt.Sprint(l.Kernel, l.Grid, o.shape, o.Op, o.FLOPs)
			t, ok := known[key]
			if !ok {
				if t, err = b.time(s, b.reps(), func() error {
					start := b.dev.Launch
					if l.Cooperative {
						start = b.dev.LaunchCooperative
					}
					start(s, l.Module, l.Kernel, l.Grid, l.Block, l.Shared, l.Args...)
					return s.Err()
				}); err != nil {
					return fmt.Errorf("%s: %w", l.Kernel, err)
				}
				known[key] = t
			}
			k := sums[l.Kernel]
			if k == nil {
				k = &tally{kernel: l.Kernel}
				sums[l.Kernel] = k
				order = append(order, l.Kernel)
			}
			k.launches++
			k.seconds += t
			// The first launch does the work; a second adds shares, but for a
			// group norm's, which read the map a second time.
			switch {
			case o.Op == "groupnorm":
				k.bytes += float64(o.Bytes) / float64(len(o.launches))
			case i == 0:
				k.flops += float64(o.FLOPs)
				k.bytes += float64(o.Bytes)
			}
			total += t
			launches++
		}
	}
	for _, name := range order {
		k := sums[name]
		b.figure(fmt.Sprintf("step, %s, %d launches", name, k.launches), 1e3*k.seconds, "ms")
		if k.flops > 0 {
			b.figure("step, "+name+", operations", k.flops/k.seconds/1e12, "TFLOP/s")
		}
		if k.bytes > 0 {
			b.figure("step, "+name+", operands and results", k.bytes/k.seconds/1e9, "GB/s")
		}
	}
	b.figure("step, launches", float64(launches), "launches")
	b.figure("step, whole graph", 1e3*whole, "ms")
	b.figure("step, sum of its launches", 100*total/whole, "% of the whole")
	// One by one, again and again, launches find their operands in the cache,
	// which in the step they do not: the sum may be less, but not much more.
	if r := total / whole; b.hardware() && (r < 0.6 || r > 1.2) {
		b.fail("the launches of a step take %.3g ms one by one, %.3g ms as a graph", 1e3*total, 1e3*whole)
	}
	return nil
}

// captions is BLIP base: K nucleus captions of a picture, 20 ids each with the
// prompt's.
func captions(b *bench) error {
	size, ks := blipBase, []int{1, 10}
	if b.small {
		size, ks = smallBLIP, []int{2}
	}
	if err := b.open(engine.F16); err != nil {
		return err
	}
	m := newMade(false)
	c := size.model(m)
	net, err := blip.Load(c, m.set().Loader(b.dev))
	if err != nil {
		return err
	}
	for _, n := range []int{1, 16} {
		if b.small && n > 1 {
			break
		}
		s := engine.NewStream(b.ctx, b.dev)
		x := s.Put(random(1, 1, n, size.vision.image, size.vision.image, 3))
		t, err := b.time(s, 1, func() error {
			y, err := net.Vision.Forward(s, x)
			s.Free(y)
			return err
		})
		s.Close()
		if err != nil {
			return fmt.Errorf("vision: %w", err)
		}
		b.figure(fmt.Sprintf("vision, batch %d", n), float64(n)/t, "pictures/s")
	}
	for _, k := range ks {
		o := decode.Options{Sample: true, TopP: 0.9, RepetitionPenalty: 1.1, MinLength: 20, MaxLength: 20, EOS: int32(size.sep), Seed: 1}
		prompt := []int32{int32(size.bos), 5, 6, 7}
		var prompts [][]int32
		for i := range k {
			prompts, o.Subsequences = append(prompts, prompt), append(o.Subsequences, i)
		}
		var texts []decode.Text
		t, err := b.clock(min(3, b.rounds()), func() error {
			s := engine.NewStream(b.ctx, b.dev)
			defer s.Close()
			seen, err := net.Vision.Forward(s, s.Put(random(1, 1, 1, size.vision.image, size.vision.image, 3)))
			if err != nil {
				return err
			}
			cache, err := net.Text.Start(s, seen, k, o.MaxLength)
			if err != nil {
				return err
			}
			texts, err = decode.Generate(s, cache, prompts, o)
			return err
		})
		if err != nil {
			return fmt.Errorf("captions: %w", err)
		}
		words := 0
		for _, x := range texts {
			words += len(x.IDs) - len(prompt)
			if len(x.IDs) != o.MaxLength {
				b.fail("a caption of %d ids, want %d", len(x.IDs), o.MaxLength)
			}
		}
		b.figure(fmt.Sprintf("%d captions of a picture, by the host's clock", k), 1e3*t, "ms")
		b.figure(fmt.Sprintf("%d captions of a picture, words, by the host's clock", k), float64(words)/t, "words/s")
	}
	return nil
}

// embeddings is CLIP B/32.
func embeddings(b *bench) error {
	size, batches := clipB32, []int{1, 4, 16, 64, 256}
	if b.small {
		size, batches = smallCLIP, []int{1, 3}
	}
	if err := b.open(engine.F16); err != nil {
		return err
	}
	m := newMade(false)
	c := size.model(m)
	net, err := clip.Load(c, m.set().Loader(b.dev))
	if err != nil {
		return err
	}
	for _, n := range batches {
		s := engine.NewStream(b.ctx, b.dev)
		x := s.Put(random(1, 1, n, size.vision.image, size.vision.image, 3))
		t, err := b.time(s, 1, func() error {
			o, err := net.Vision.Forward(s, x)
			s.Free(o.Hidden, o.Pooled, o.Embeds)
			return err
		})
		if err == nil {
			b.figure(fmt.Sprintf("images, batch %d", n), float64(n)/t, "images/s")
			var h *engine.Tensor
			o, e := net.Vision.Forward(s, x)
			if err = e; err == nil {
				if h, err = s.Get(o.Embeds); err == nil {
					err = finite("embeddings", h)
				}
			}
		}
		s.Close()
		if err != nil {
			return fmt.Errorf("%d images: %w", n, err)
		}
		// Ids are brought to the device in the call, so this is the host's clock.
		ids := size.text.ids(n)
		t, err = b.clock(b.rounds(), func() error {
			s := engine.NewStream(b.ctx, b.dev)
			defer s.Close()
			o, err := net.Text.Forward(s, ids, clip.TextOptions{})
			if err == nil {
				_, err = s.Get(o.Embeds)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%d texts: %w", n, err)
		}
		b.figure(fmt.Sprintf("texts, batch %d, by the host's clock", n), float64(n)/t, "texts/s")
	}
	return nil
}
