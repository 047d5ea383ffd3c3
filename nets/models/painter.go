package models

import (
	"context"
	"fmt"
	"maps"
	"math"
	"path"
	"time"

	"parley/engine"
	"parley/engine/cuda"
	"parley/kernels/resample"
	"parley/kernels/sample"
	"parley/kernels/simd"
	"parley/nets/clip"
	"parley/nets/layer"
	"parley/nets/pixels"
	"parley/nets/schedule"
	"parley/nets/unet"
	"parley/nets/vae"
	"parley/weights"
	"parley/weights/convert"
	"parley/weights/vocab"
)

// Painter draws texts: Stable Diffusion.
type Painter struct {
	PaintOptions
	UNet *unet.Model
	VAE  *vae.Model
	Text *clip.Text

	words     *vocab.CLIP
	scheduler weights.Config
	device    engine.Device
	source    Source
	weights   *engine.Kept
	wideVAE   *vae.Model // in f32, once a picture has overflowed f16
	wide      *engine.Kept
}

// Close gives the weights back. The painter is of no use after it.
func (p *Painter) Close() {
	p.weights.FreeAll()
	if p.wide != nil {
		p.wide.FreeAll()
	}
}

// PaintOptions say how pictures are drawn.
type PaintOptions struct {
	Steps         int
	Guidance      float64 // how far from what no text would give; 1 and less: no guidance
	Scheduler     string  // one of schedule.Kinds; "" is the checkpoint's own
	Prediction    string  // one of convert.Predictions; "" is the checkpoint's own
	Width, Height int     // in pixels
	Negative      string  // what to stay away from
	From          *pixels.Image
	Strength      float64 // of From: how much is painted anew, 0 to 1
	Memory        int     // bytes that activations may take (what was free when the model was opened); 0: no bound
	// Progress is told after every step of the net, of all that a Paint does.
	Progress func(done, total int)
}

// OpenPainter loads a Stable Diffusion 1 or 2. The options are the paper's: 50
// steps, guidance 7.5; the miniature model's own where it is embedded.
func OpenPainter(src Source, dev engine.Device) (_ *Painter, err error) {
	parts := map[string]string{"unet": convert.UNet, "vae": convert.VAE, "text_encoder": convert.TextEncoder}
	if s, ok := src.in("sd"); ok {
		src = s
	}
	var index convert.Pipeline
	if !src.file {
		if index, err = convert.ReadPipeline(src.fsys, src.dir); err != nil {
			return nil, err
		}
	}
	if err := fits(src, dev, parts, func(dry engine.Device, free int) error {
		p, err := OpenPainter(src, dry)
		if err != nil {
			return err
		}
		p.Memory = free
		_, err = p.chunk(1, p.Height/p.VAE.Factor, p.Width/p.VAE.Factor)
		return err
	}); err != nil {
		return nil, err
	}
	on, kept := engine.Keep(dev)
	p := &Painter{device: dev, weights: kept, source: src, PaintOptions: PaintOptions{Steps: 50, Guidance: 7.5}}
	if src.IsEmbedded() {
		p.PaintOptions = PaintOptions{Steps: 12, Guidance: 4}
	}
	defer func() {
		if err != nil {
			kept.FreeAll()
		}
	}()
	var height, width int // of latents
	var tensors *weights.Set
	if p.UNet, err = load(src, on, "unet", convert.UNet, func(c weights.Config, l *weights.Loader) (*unet.Model, error) {
		config, err := unet.ParseConfig(c)
		if err != nil {
			return nil, err
		}
		height, width = config.Height, config.Width
		tensors = l.Set()
		return unet.New(config, l)
	}); err != nil {
		return nil, err
	}
	if p.VAE, err = load(src, on, "vae", convert.VAE, vae.Load); err != nil {
		return nil, err
	}
	if p.Text, err = load(src, on, "text_encoder", convert.TextEncoder, loadText); err != nil {
		return nil, err
	}
	p.Width, p.Height = width*p.VAE.Factor, height*p.VAE.Factor
	if p.words, err = src.clipTokens("tokenizer", convert.Pad(p.Text.Width)); err != nil {
		return nil, err
	}
	if s, ok := src.in("scheduler"); ok {
		p.scheduler, err = weights.ReadConfig(s.fsys, path.Join(s.dir, "scheduler_config.json"))
		if err != nil {
			return nil, err
		}
	} else {
		p.scheduler = src.Assume.Scheduler(tensors)
		src.notes(tensors)
	}
	index.Complete(p.scheduler)
	if p.UNet.In != p.VAE.Latents {
		return nil, fmt.Errorf("%s: the unet takes %d channels, the vae has %d: inpainting checkpoints are not supported", src, p.UNet.In, p.VAE.Latents)
	}
	if p.UNet.Cross != p.Text.Width {
		return nil, fmt.Errorf("%s: the unet listens to %d channels, the text encoder has %d", src, p.UNet.Cross, p.Text.Width)
	}
	p.Memory = FreeMemory(dev)
	if dev.Local() {
		p.Memory /= 2 // the system's cache of the files lives there too
	}
	return p, nil
}

// loadText takes the text encoder's own configuration, or a whole CLIP's.
func loadText(c weights.Config, l *weights.Loader) (*clip.Text, error) {
	if c.Has("text_config") {
		sub, err := c.Sub("text_config")
		if err != nil {
			return nil, err
		}
		c = sub
	}
	return clip.LoadText(c, l)
}

// plan is the schedule of a drawing by the options, and the size of its
// latents.
func (p *Painter) plan() (plan *schedule.Schedule, h, w int, err error) {
	step := p.VAE.Factor * p.UNet.Multiple()
	if p.Width < step || p.Height < step || p.Width%step != 0 || p.Height%step != 0 {
		return nil, 0, 0, fmt.Errorf("%d x %d pixels: width and height have to be multiples of %d", p.Width, p.Height, step)
	}
	c := p.scheduler
	if p.Prediction != "" {
		c = maps.Clone(c)
		c["prediction_type"] = p.Prediction
	}
	plan, err = schedule.New(c, p.Scheduler, p.Steps)
	return plan, p.Height / p.VAE.Factor, p.Width / p.VAE.Factor, err
}

// Painted is a finished drawing.
type Painted struct {
	// Picture lies on the painter's device until who has been given it returns;
	// what Host has copied stays. nil where Err is not.
	Picture pixels.Picture
	Err     error
	Time    time.Duration // of its chunk, divided by the chunk's drawings
}

// Paint draws each text from its own seed, as many at once as fit in memory,
// and hands each drawing on when its chunk is done. A chunk that fails is
// reported in the place of its drawings.
func (p *Painter) Paint(ctx context.Context, texts []string, seeds []uint64, each func(i int, d Painted)) error {
	if len(texts) != len(seeds) {
		return fmt.Errorf("%d texts and %d seeds", len(texts), len(seeds))
	}
	plan, h, w, err := p.plan()
	if err != nil {
		return err
	}
	chunk, err := p.chunk(len(texts), h, w)
	if err != nil {
		return err
	}
	var from *Start
	if p.From != nil {
		if _, _, err = plan.From(p.Strength); err != nil {
			return err
		}
		if from, err = p.Encode(ctx, p.From); err != nil {
			return err
		}
	}
	done, total := 0, plan.Steps()*((len(texts)+chunk-1)/chunk)
	for lo := 0; lo < len(texts); lo += chunk {
		hi := min(lo+chunk, len(texts))
		start := time.Now()
		var ids, negative [][]int32
		noise := make([]*sample.Torch, hi-lo)
		for i := lo; i < hi; i++ {
			ids = append(ids, p.words.Encode(texts[i], p.Text.Length))
			negative = append(negative, p.words.Encode(p.Negative, p.Text.Length))
			noise[i-lo] = sample.NewTorch(seeds[i])
		}
		step := func() {
			if done++; p.Progress != nil {
				p.Progress(done, total)
			}
		}
		took := func() time.Duration { return time.Since(start) / time.Duration(hi-lo) }
		err := p.chunkOf(ctx, ids, negative, each1(noise), from, step, func(_ *engine.Stream, bytes *engine.Tensor) error {
			t := took()
			for i := lo; i < hi; i++ {
				d := pixels.NewDrawn(p.device, bytes.Rows(i-lo, i-lo+1))
				each(i, Painted{Picture: d, Time: t})
				d.Release()
			}
			return nil
		})
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t := took()
		for i := lo; i < hi; i++ {
			each(i, Painted{Err: err, Time: t})
		}
	}
	return nil
}

// Start is what a picture's latents are drawn from, [1, h, w, C] on the host:
// their mean and standard deviation.
type Start struct{ Mean, Deviation *engine.Tensor }

// Encode resizes a picture and encodes it.
func (p *Painter) Encode(ctx context.Context, m *pixels.Image) (*Start, error) {
	s := engine.NewStream(ctx, p.device)
	defer s.Close()
	x := resample.Resize(s, m.On(s), p.Height, p.Width, pixels.Lanczos, resample.Window{H: p.Height, W: p.Width})
	h, err := p.VAE.Moments(s, pixels.Signed(s, x))
	if err != nil {
		return nil, err
	}
	moments, err := s.Get(h)
	if err != nil {
		return nil, err
	}
	c := p.VAE.Latents
	dims := append([]int(nil), h.Shape()...)
	dims[3] = c
	n := h.Elems() / 2
	out := &Start{engine.FromF32(make([]float32, n), dims...), engine.FromF32(make([]float32, n), dims...)}
	for i := range n {
		at := i/c*2*c + i%c
		out.Mean.F32()[i] = moments.F32()[at]
		// Limits as diffusers'.
		out.Deviation.F32()[i] = float32(math.Exp(min(max(float64(moments.F32()[at+c]), -30), 20) / 2))
	}
	return out, nil
}

// draw makes n latents of the start, scaled, from normal numbers [n, h, w, C].
func (p *Painter) draw(from *Start, normal *engine.Tensor) *engine.Tensor {
	mean, dev := from.Mean.F32(), from.Deviation.F32()
	y := engine.FromF32(make([]float32, normal.Elems()), normal.Shape()...)
	for i, v := range normal.F32() {
		y.F32()[i] = float32((float64(mean[i%len(mean)]) + float64(dev[i%len(dev)])*float64(v)) * p.VAE.Scale)
	}
	return y
}

// PaintTogether draws texts as one batch whose noise comes from one generator,
// as a diffusers pipeline with one does.
func (p *Painter) PaintTogether(ctx context.Context, texts []string, seed uint64) ([]*pixels.Image, error) {
	var ids, negative [][]int32
	for _, t := range texts {
		ids = append(ids, p.words.Encode(t, p.Text.Length))
		negative = append(negative, p.words.Encode(p.Negative, p.Text.Length))
	}
	var pictures []*pixels.Image
	err := p.chunkOf(ctx, ids, negative, OneSeed(seed), nil, nil, func(s *engine.Stream, bytes *engine.Tensor) error {
		host, err := s.Get(bytes)
		if err == nil {
			pictures = pixels.Images(host)
		}
		return err
	})
	return pictures, err
}

// chunkOf draws a batch and hands its bytes on, [N, H, W, 3] of u8 on the device.
func (p *Painter) chunkOf(ctx context.Context, ids, negative [][]int32, noise Noise, from *Start, step func(), use func(s *engine.Stream, bytes *engine.Tensor) error) error {
	s := engine.NewStream(ctx, p.device)
	defer s.Close()
	z, err := p.Latents(s, ids, negative, noise, from, step)
	if err != nil {
		return err
	}
	x, err := p.Decode(s, z)
	if err != nil {
		return err
	}
	bytes := resample.Bytes(s, x)
	s.Free(x)
	if c, ok := cuda.On(p.device); ok && s.Err() == nil {
		s.Fail(c.Synchronize()) // what fails, fails here, and takes its own time
	}
	if err := s.Err(); err != nil {
		return err
	}
	return use(s, bytes)
}

// Noise fills a batch of latents [N, C, H, W] with normal numbers.
type Noise func(n int, latents []float32)

// OneSeed draws a whole batch from one generator, as diffusers does with one.
func OneSeed(seed uint64) Noise {
	g := sample.NewTorch(seed)
	return func(n int, latents []float32) { g.Normal(latents) }
}

// each1 draws every latent of a batch from a generator of its own.
func each1(gs []*sample.Torch) Noise {
	return func(n int, latents []float32) {
		size := len(latents) / n
		for i, g := range gs {
			g.Normal(latents[i*size : (i+1)*size])
		}
	}
}

// Latents runs the whole denoising for ids and negative ids [N, L]: the latents
// [N, h, w, C], not yet divided by the VAE's scale. from, if any, is what
// a picture's latents are drawn from.
func (p *Painter) Latents(s *engine.Stream, ids, negative [][]int32, noise Noise, from *Start, step func()) (*engine.Tensor, error) {
	plan, h, w, err := p.plan()
	if err != nil {
		return nil, err
	}
	a, b := 0., plan.InitSigma()
	if from != nil {
		if a, b, err = plan.From(p.Strength); err != nil {
			return nil, err
		}
	}
	n, guided := len(ids), p.Guidance > 1
	if guided {
		ids = append(append([][]int32{}, negative...), ids...)
	}
	s.Enter("text_encoder")
	text, err := p.Text.Forward(s, ids)
	s.Leave(nil)
	if err != nil {
		return nil, err
	}
	s.Free(text.Pooled)
	normal := func() *engine.Tensor {
		c := p.VAE.Latents
		chw := make([]float32, n*c*h*w)
		noise(n, chw)
		return resample.ToNHWC(engine.FromF32(chw, n, c, h, w)) // torch draws channel by channel
	}
	draw := func() *engine.Tensor { return s.PutAs(engine.F32, normal()) }
	var picture *engine.Tensor
	if from != nil { // before the noise, as diffusers
		picture = s.PutAs(engine.F32, p.draw(from, normal()))
	}
	x := draw()
	start := x
	if from == nil {
		x = sample.Mix(s, b, start, 0, start)
	} else {
		x = sample.Mix(s, a, picture, b, start)
		s.Free(picture)
	}
	s.Free(start)
	run := plan.Begin()
	ts := make([]float64, plan.Steps())
	for i := range ts {
		ts[i] = plan.Timestep(i)
	}
	s.Enter("unet")
	cond, err := p.UNet.Condition(s, ts, text.Hidden)
	s.Leave(nil)
	if err != nil {
		return nil, err
	}
	s.Free(text.Hidden)
	in := s.New(s.Float(), n, h, w, p.VAE.Latents)
	now := s.New(engine.I32, 1)
	net := layer.Recording{Plain: plan.Steps() < 3, Run: func() (*engine.Tensor, error) {
		s.Enter("unet")
		defer s.Leave(nil)
		return p.UNet.Step(s, in, cond, now)
	}}
	defer net.Free(s)
	for i := range plan.Steps() {
		sample.Scale(s, in, x, plan.Scale(i))
		s.Set(now, engine.FromI32([]int32{int32(i)}, 1))
		e, err := net.Next(s)
		if err != nil {
			return nil, err
		}
		var z *engine.Tensor
		if plan.Noisy(i) {
			z = draw()
		}
		next := run.Step(s, i, x, e, z, p.Guidance)
		s.Free(x, z)
		x = next
		if err := s.Err(); err != nil {
			return nil, err
		}
		if step != nil {
			step()
		}
	}
	run.Free(s)
	cond.Free(s)
	s.Free(in, now)
	return x, s.Err()
}

// Decode makes pictures [N, H, W, 3] in -1..1 of latents, one by one, so that
// the decoder's large maps are those of one picture. It frees the latents. A
// picture that overflows f16, which would be black, is decoded again in f32.
func (p *Painter) Decode(s *engine.Stream, latents *engine.Tensor) (*engine.Tensor, error) {
	n, h, w := latents.Dim(0), latents.Dim(1), latents.Dim(2)
	out := s.New(s.Float(), n, h*p.VAE.Factor, w*p.VAE.Factor, 3)
	s.Enter("vae")
	defer s.Leave(nil)
	for i := range n {
		x, err := p.decode(s, p.VAE, latents.Rows(i, i+1))
		if err != nil {
			return nil, err
		}
		if s.Float() != engine.F32 && !sample.Finite(s, x) {
			s.Free(x)
			if x, err = p.again(s, latents.Rows(i, i+1)); err != nil {
				return nil, err
			}
		}
		sample.Scale(s, out.Rows(i, i+1), x, 1)
		s.Free(x)
	}
	s.Free(latents)
	return out, s.Err()
}

// again decodes in f32 on a device whose activations are f16.
func (p *Painter) again(s *engine.Stream, latents *engine.Tensor) (*engine.Tensor, error) {
	d, ok := cuda.On(s.Device())
	if !ok {
		return nil, fmt.Errorf("decode: the picture overflows %v", s.Float())
	}
	wide := cuda.Wide{Device: d}
	if p.wideVAE == nil {
		on, kept := engine.Keep(wide)
		m, err := load(p.source, on, "vae", convert.VAE, vae.Load)
		if err != nil {
			kept.FreeAll()
			return nil, fmt.Errorf("decode again in f32, since the picture overflows f16: %w", err)
		}
		p.wideVAE, p.wide = m, kept
	}
	t := engine.NewStream(s.Context(), wide)
	defer t.Close()
	x, err := p.decode(t, p.wideVAE, latents)
	if err != nil {
		return nil, err
	}
	y := s.New(engine.F32, x.Shape()...)
	sample.Scale(s, y, x, 1)
	return y, s.Err()
}

// Latents that are decoded at once, and those of a tile above it: 1024 and 512
// pixels of Stable Diffusion.
const whole, tile = 128 * 128, 64

// decode makes one picture of f32 latents.
func (p *Painter) decode(s *engine.Stream, m *vae.Model, latents *engine.Tensor) (*engine.Tensor, error) {
	z := s.New(s.Float(), latents.Shape()...)
	defer s.Free(z)
	sample.Scale(s, z, latents, 1/m.Scale)
	if z.Dim(1)*z.Dim(2) > whole {
		return m.DecodeTiled(s, z, tile)
	}
	return m.Decode(s, z)
}

// chunk is how many drawings fit in memory together.
func (p *Painter) chunk(n, h, w int) (int, error) {
	if p.Memory == 0 {
		return max(1, min(n, 8)), nil
	}
	one, err := p.need(1, h, w)
	if err != nil {
		return 0, err
	}
	if one > p.Memory {
		err := &MemoryError{What: fmt.Sprintf("a drawing of %d x %d pixels", p.Width, p.Height), Need: one, Free: p.Memory}
		// The largest square that fits, by bisection.
		step := p.VAE.Factor * p.UNet.Multiple()
		lo, hi := 0, min(p.Width, p.Height)/step
		for hi-lo > 1 {
			mid := (lo + hi) / 2
			side := mid * p.UNet.Multiple()
			if need, e := p.need(1, side, side); e == nil && need <= p.Memory {
				lo = mid
			} else {
				hi = mid
			}
		}
		if lo > 0 {
			err.Fits = fmt.Sprintf("%d x %d pixels would fit", lo*step, lo*step)
		}
		return 0, err
	}
	if n < 2 {
		return n, nil
	}
	two, err := p.need(2, h, w)
	if err != nil {
		return 0, err
	}
	// A core works as fast on one drawing as on many once its layers are larger
	// than its caches; and the first is there sooner, in less memory.
	if _, third := simd.Caches(); p.device.Local() && two-one > third {
		return 1, nil
	}
	return min(n, 1+(p.Memory-one)/max(1, two-one)), nil
}

// need is the most memory that k drawings at once take beside the weights, in
// bytes, by a dry run; where that is more than there is, a part of it.
func (p *Painter) need(k, h, w int) (int, error) {
	dry := engine.Like(p.device)
	s := engine.NewStream(context.Background(), dry)
	texts := k
	if p.Guidance > 1 {
		texts *= 2
	}
	c, err := p.UNet.Condition(s, make([]float64, max(p.Steps, 1)), s.New(s.Float(), texts, p.Text.Length, p.Text.Width))
	if err != nil {
		return 0, err
	}
	// The latents with what a scheduler keeps of the steps before.
	latents := s.New(engine.F32, 6*k, h, w, p.VAE.Latents)
	if _, err := p.UNet.Step(s, s.New(s.Float(), k, h, w, p.VAE.Latents), c, s.New(engine.I32, 1)); err != nil {
		return 0, err
	}
	if s.Peak() > p.Memory {
		return s.Peak(), nil // enough to know; the decoder's tiles would be many
	}
	d := engine.NewStream(context.Background(), dry)
	z := d.New(engine.F32, k, h, w, p.VAE.Latents)
	d.New(d.Float(), k, h*p.VAE.Factor, w*p.VAE.Factor, 3)
	_, err = p.decode(d, p.VAE, z.Rows(0, 1))
	return max(s.Peak(), d.Peak()+latents.Bytes()), err
}
