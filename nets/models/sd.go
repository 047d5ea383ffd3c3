package models

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"sync"
	"time"

	"parley/engine"
	"parley/kernels/rgb"
	"parley/nets/clip"
	"parley/nets/diffusion"
	"parley/nets/finite"
	"parley/nets/pixels"
	"parley/nets/prompt"
	"parley/nets/rerank"
	"parley/nets/unet"
	"parley/nets/vae"
	"parley/weights"
	"parley/weights/convert"
	"parley/weights/inversion"
	"parley/weights/vocab"
)

// StableDiffusion draws texts. It is immutable and serves several runs at a
// time.
type StableDiffusion struct {
	UNet *unet.Model
	VAE  *vae.Model
	Text *clip.Text
	// Pipeline is the three of them as one.
	Pipeline *diffusion.Pipeline
	// Defaults are the options that the checkpoint's makers drew with: 50 steps
	// and guidance 7.5 at the size that the UNet was trained at; 4 steps and 8.5 for
	// a UNet that takes the guidance scale (diffusers' LatentConsistencyModelPipeline);
	// the miniature model's own where it is embedded.
	Defaults DrawOptions

	tokens  *vocab.CLIP
	device  engine.Device
	files   *files
	weights *engine.AllocationScope
	memory  int // bytes that were free when the model was open
	wide    wideVAE
}

// DrawOptions say how pictures are drawn.
type DrawOptions struct {
	diffusion.Options
	Negative string // the negative prompt
	// Chunks reads prompts as AUTOMATIC1111's webui does: of any length, in chunks of
	// what the text encoder takes at once, with weights such as (word:1.3).
	Chunks bool
	// Init is where a drawing starts, or nil: with Strength, which says how much of
	// it is drawn anew.
	Init *pixels.Image
	// Mask, or nil, is white where Init is drawn anew, and black where it stays.
	Mask *pixels.Image
	// Step, if any, is called after every step of a batch; samples are numbered as
	// the texts. A drawing that it ends is not handed on.
	Step diffusion.Callback
	// Progress, if any, is told of every step of the net, of all that a Draw does.
	Progress func(done, total int)
	// Note, if any, is told what was decided that changes the pictures and that no
	// option says, such as tiles for want of memory.
	Note func(string)
}

// parts are the nets of a Stable Diffusion, by their folders.
var sdParts = map[string]string{"unet": convert.UNet, "vae": convert.VAE, "text_encoder": convert.TextEncoder}

// Extras are what a Stable Diffusion is opened with beside its checkpoint.
type Extras struct {
	VAE        *Source                // another autoencoder: a folder or file of one, or a whole checkpoint
	Embeddings []*inversion.Embedding // of textual inversion
}

// OpenStableDiffusion loads a Stable Diffusion 1 or 2.
func OpenStableDiffusion(src Source, dev engine.Device) (*StableDiffusion, error) {
	return OpenStableDiffusionWith(src, dev, Extras{})
}

// OpenStableDiffusionWith is OpenStableDiffusion with extras.
func OpenStableDiffusionWith(src Source, dev engine.Device, x Extras) (_ *StableDiffusion, err error) {
	if s, ok := src.in("sd"); ok {
		src = s
	}
	f := src.open()
	defer f.closeUnless(&err)
	if x.VAE != nil {
		f.others = map[string]Source{convert.VAE: *x.VAE}
	}
	f.embeddings = x.Embeddings
	if err := f.fits(dev, sdParts, func(dry engine.Device, free int) error {
		p, err := f.stableDiffusion(dry, dry)
		if err != nil {
			return err
		}
		plan, err := p.Pipeline.Plan(p.Defaults.Options)
		if err == nil {
			_, err = plan.Batch(dev, 1, free)
		}
		return err
	}); err != nil {
		return nil, err
	}
	on, scope := engine.Scope(dev)
	defer freeUnless(scope, &err)
	p, err := f.stableDiffusion(dev, on)
	if err != nil {
		return nil, err
	}
	p.weights, p.memory = scope, engine.FreeMemory(dev)
	if dev.Local() {
		p.memory /= 2 // the system's cache of the files lives there too
	}
	return p, nil
}

// stableDiffusion builds the nets, with their weights on a device.
func (f *files) stableDiffusion(dev, on engine.Device) (*StableDiffusion, error) {
	src := f.src
	p := &StableDiffusion{device: dev, files: f, Defaults: DrawOptions{Options: diffusion.Options{Steps: 50, Guidance: 7.5}}}
	if src.IsEmbedded() {
		p.Defaults = DrawOptions{Options: diffusion.Options{Steps: 12, Guidance: 4}}
	}
	var index convert.Pipeline
	var err error
	if !src.file {
		if index, err = convert.ReadPipeline(src.fsys, src.dir); err != nil {
			return nil, err
		}
	}
	var height, width int // of latents
	var tensors *weights.Set
	if p.UNet, err = load(f, on, "unet", convert.UNet, func(c weights.Config, l *weights.Loader) (*unet.Model, error) {
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
	if p.VAE, err = load(f, on, "vae", convert.VAE, vae.Load); err != nil {
		return nil, err
	}
	var words int // that the text encoder was trained with
	if p.Text, err = load(f, on, "text_encoder", convert.TextEncoder, func(c weights.Config, l *weights.Loader) (t *clip.Text, err error) {
		if c, l, words, err = f.learned(c, l); err != nil {
			return nil, err
		}
		return LoadText(c, l)
	}); err != nil {
		return nil, err
	}
	if p.UNet.TimeCond > 0 {
		p.Defaults.Steps, p.Defaults.Guidance = 4, 8.5
	}
	p.Defaults.Width, p.Defaults.Height = width*p.VAE.Factor, height*p.VAE.Factor
	if p.tokens, err = src.clipTokens("tokenizer", convert.Pad(p.Text.Width), vocab.Transformers); err != nil {
		return nil, err
	}
	p.Text.Length = p.tokens.Limit(p.Text.Length)
	for _, e := range f.embeddings {
		if p.tokens, err = p.tokens.With(int32(words), vocab.Learned{Names: e.Names, Vectors: e.Rows}); err != nil {
			return nil, fmt.Errorf("%s: %w", e.File, err)
		}
		words += e.Rows
	}
	var scheduler weights.Config
	if s, ok := src.in("scheduler"); ok {
		scheduler, err = weights.ReadConfig(s.fsys, path.Join(s.dir, "scheduler_config.json"))
		if err != nil {
			return nil, err
		}
	} else if !src.file && src.has("model_index.json") {
		return nil, fmt.Errorf("%s: no scheduler: there is no folder scheduler/", src)
	} else {
		if src.hasFolder("unet") && src.Note != nil {
			src.Note(fmt.Sprintf("%s has no folder scheduler/: that of the published models is assumed (--scheduler, --prediction)", src))
		}
		scheduler = src.Assume.Scheduler(tensors)
		src.notes(tensors)
	}
	index.Complete(scheduler)
	if p.UNet.In != p.VAE.Latents {
		return nil, fmt.Errorf("%s: the unet takes latents of %d channels, the vae's have %d", src, p.UNet.In, p.VAE.Latents)
	}
	if p.UNet.Cross != p.Text.Width {
		return nil, fmt.Errorf("%s: the unet attends to %d channels, the text encoder has %d", src, p.UNet.Cross, p.Text.Width)
	}
	p.Pipeline = NewPipeline(p.UNet, p.VAE, p.Text, scheduler)
	if _, ok := engine.As[engine.Widener](dev); ok && dev.Float() != engine.F32 {
		p.Pipeline.Wide = p.wideVAE
	}
	return p, nil
}

// Close gives the weights back. The model is of no use after it.
func (p *StableDiffusion) Close() {
	p.wide.free()
	p.weights.FreeAll()
	p.files.Close()
}

// wideVAE is the autoencoder in f32, loaded when a picture has overflowed f16.
type wideVAE struct {
	mu      sync.Mutex
	vae     *vae.Model
	weights *engine.AllocationScope
}

func (w *wideVAE) free() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.vae != nil {
		w.weights.FreeAll()
		w.vae = nil
	}
}

func (p *StableDiffusion) wideVAE() (diffusion.Autoencoder, engine.Device, error) {
	w := &p.wide
	w.mu.Lock()
	defer w.mu.Unlock()
	wider, _ := engine.As[engine.Widener](p.device)
	dev := wider.Wide()
	if w.vae == nil {
		on, scope := engine.Scope(dev)
		m, err := load(p.files, on, "vae", convert.VAE, vae.Load)
		if err != nil {
			scope.FreeAll()
			return nil, nil, err
		}
		w.vae, w.weights = m, scope
	}
	return autoencoder{w.vae}, dev, nil
}

// NewPipeline makes a pipeline of nets that fit together, with a
// scheduler_config.json.
func NewPipeline(u *unet.Model, v *vae.Model, t *clip.Text, scheduler weights.Config) *diffusion.Pipeline {
	return &diffusion.Pipeline{Text: textEncoder{t}, Denoiser: denoiser{u}, VAE: autoencoder{v}, Scheduler: scheduler}
}

// The nets as the pipeline takes them.
type (
	textEncoder struct{ *clip.Text }
	denoiser    struct{ *unet.Model }
	autoencoder struct{ *vae.Model }
	conditions  struct {
		net *unet.Model
		*unet.Conditions
	}
)

func (t textEncoder) Encode(s *engine.Stream, ids [][]int32, weights [][]float32, skip int) (*engine.Tensor, error) {
	// Longer rows are chunks, which the net sees one by one.
	n, size := len(ids), t.Length
	if n > 0 && len(ids[0]) > size {
		var chunks [][]int32
		for _, row := range ids {
			if len(row)%size != 0 {
				return nil, fmt.Errorf("%d ids in a row, want a multiple of %d", len(row), size)
			}
			chunks = slices.AppendSeq(chunks, slices.Chunk(row, size))
		}
		ids = chunks
	}
	o, err := t.Forward(s, ids, clip.TextOptions{HiddenOnly: true, Skip: skip})
	if err != nil {
		return nil, err
	}
	length := o.Hidden.Dim(1) * len(ids) / n
	hidden := s.View(o.Hidden, n, length, t.Width)
	for i, w := range weights {
		if !slices.ContainsFunc(w, func(v float32) bool { return v != 1 }) {
			continue
		}
		row := hidden.Rows(i, i+1)
		states, err := s.Get(row)
		if err != nil {
			return nil, err
		}
		var chunks []prompt.Chunk
		for c := 0; c < length; c += size {
			chunks = append(chunks, prompt.Chunk{IDs: ids[i*length/size+c/size], Weights: w[c : c+size]})
		}
		if err := prompt.Weigh(states.F32(), chunks); err != nil {
			return nil, err
		}
		s.Set(row, engine.Convert(row.DType(), states))
	}
	return hidden, s.Err()
}

func (t textEncoder) Size() (length, width int) { return t.Length, t.Width }

func (d denoiser) Channels() int { return d.In }

func (d denoiser) EmbedsGuidance() bool { return d.TimeCond > 0 }

func (d denoiser) Condition(s *engine.Stream, times []diffusion.Time, text *engine.Tensor) (diffusion.Conditions, error) {
	timesteps, scales := make([]float64, len(times)), make([]float64, len(times))
	for i, t := range times {
		timesteps[i], scales[i] = t.Timestep, t.Guidance
	}
	var with unet.Embeddings
	if d.EmbedsGuidance() {
		with.Cond = d.GuidanceEmbedding(s, scales)
		defer s.Free(with.Cond)
	}
	c, err := d.Model.Condition(s, timesteps, text, with)
	if err != nil {
		return nil, err
	}
	return conditions{d.Model, c}, nil
}

func (c conditions) Step(s *engine.Stream, x, step *engine.Tensor) (*engine.Tensor, error) {
	return c.net.Step(s, c.Conditions, unet.Input{Latents: x, Step: step})
}

func (a autoencoder) Geometry() diffusion.Geometry {
	return diffusion.Geometry{Channels: a.Latents, Factor: a.Factor, Scale: a.Scale}
}

// LoadText takes the text encoder's own configuration, or a whole CLIP's.
func LoadText(c weights.Config, l *weights.Loader) (*clip.Text, error) {
	if c.Has("text_config") {
		sub, err := c.Sub("text_config")
		if err != nil {
			return nil, err
		}
		c = sub
	}
	return clip.LoadText(c, l)
}

// Encode gives the token ids of texts, [N, Text.Length].
func (p *StableDiffusion) Encode(texts []string) [][]int32 {
	out := make([][]int32, len(texts))
	for i, t := range texts {
		out[i] = p.tokens.Encode(t, p.Text.Length)
	}
	return out
}

// row is what is drawn once: the ids of a prompt and of the negative one, as many of
// both, with their weights; nil is 1.
type row struct {
	ids, negative    []int32
	weights, without []float32
}

// errNegative refuses a negative prompt that nothing looks at.
var errNegative = errors.New("a negative prompt has no effect on a UNet that takes the guidance scale itself (time_cond_proj_dim): " +
	"leave it out")

// rows reads prompts.
func (p *StableDiffusion) rows(run engine.Run, texts []string, o DrawOptions) ([]row, error) {
	ctx := run.Context
	if ctx == nil {
		ctx = context.Background()
	}
	if o.Negative != "" && p.UNet.TimeCond > 0 {
		return nil, errNegative
	}
	out := make([]row, len(texts))
	if !o.Chunks {
		negative, err := p.tokens.Tokenize(ctx, o.Negative, p.Text.Length)
		if err != nil {
			return nil, err
		}
		for i, t := range texts {
			e, err := p.tokens.Tokenize(ctx, t, p.Text.Length)
			if err != nil {
				return nil, err
			}
			out[i] = row{ids: e.IDs, negative: negative.IDs}
		}
		return out, nil
	}
	negative, err := prompt.Chunks(ctx, p.tokens, p.Text.Length, o.Negative)
	if err != nil {
		return nil, fmt.Errorf("the negative prompt: %w", err)
	}
	if o.Guidance <= 1 || p.UNet.TimeCond > 0 {
		negative = negative[:1] // nobody looks at it
	}
	for i, t := range texts {
		chunks, err := prompt.Chunks(ctx, p.tokens, p.Text.Length, t)
		if err != nil {
			return nil, err
		}
		both := prompt.Level(p.tokens, chunks, negative)
		for _, c := range both[0] {
			out[i].ids, out[i].weights = append(out[i].ids, c.IDs...), append(out[i].weights, c.Weights...)
		}
		for _, c := range both[1] {
			out[i].negative, out[i].without = append(out[i].negative, c.IDs...), append(out[i].without, c.Weights...)
		}
	}
	return out, nil
}

// batchOf is a batch of rows of one length.
func batchOf(rows []row) diffusion.Batch {
	var b diffusion.Batch
	for _, r := range rows {
		b.IDs, b.Negative = append(b.IDs, r.ids), append(b.Negative, r.negative)
		b.Weights, b.NegativeWeights = append(b.Weights, r.weights), append(b.NegativeWeights, r.without)
	}
	return b
}

// Lost is the part of a prompt that the text encoder does not see, since it takes no
// more tokens than Text.Length at once; "" where it sees all. DrawOptions.Chunks
// loses nothing.
func (p *StableDiffusion) Lost(ctx context.Context, text string) (string, error) {
	e, err := p.tokens.Tokenize(ctx, text, p.Text.Length)
	if err != nil {
		return "", err
	}
	return e.Lost(), nil
}

// budget is the memory that a run's drawings may take.
func (p *StableDiffusion) budget(run engine.Run) int {
	if run.Memory != 0 {
		return run.Memory
	}
	return p.memory
}

// SizeOf is the size of a drawing that starts from a picture and keeps its shape: its
// own in multiples of the VAE's factor, as diffusers takes it, within the area that
// the UNet was trained at. A width or height that is not 0 is kept; the other one
// follows it.
func (p *StableDiffusion) SizeOf(m *pixels.Image, width, height int) (w, h int) {
	whole := func(v float64) int { return max(1, int(v)/p.VAE.Factor) * p.VAE.Factor }
	switch iw, ih := float64(m.W), float64(m.H); {
	case width > 0 && height > 0:
		return width, height
	case width > 0:
		return width, whole(float64(width) * ih / iw)
	case height > 0:
		return whole(float64(height) * iw / ih), height
	default:
		shrink := min(1, math.Sqrt(float64(p.Defaults.Width*p.Defaults.Height)/(iw*ih)))
		return whole(iw * shrink), whole(ih * shrink)
	}
}

// Fits refuses n drawings at once that a run's memory has no room for, and decides
// what a plan leaves to it.
func (p *StableDiffusion) Fits(run engine.Run, plan *diffusion.Plan, n int) error {
	memory := p.budget(run)
	batch, err := plan.Batch(p.device, n, memory)
	if err != nil || batch >= n || memory == 0 {
		return err
	}
	need, err := plan.Need(p.device, n, memory)
	if err == nil && need > memory {
		err = &engine.MemoryError{What: fmt.Sprintf("%d drawings at once", n), Need: need, Free: memory, Fits: fmt.Sprintf("%d would fit", batch)}
	}
	return err
}

// Draw draws each text from its own seed, as many at once as fit in memory, and
// hands each drawing on when its batch is done: it lies on the device until each
// returns. A batch that fails is reported in the place of its drawings.
func (p *StableDiffusion) Draw(run engine.Run, texts []string, seeds []uint64, o DrawOptions, each func(i int, d rerank.Drawing)) error {
	return p.drawTexts(run, texts, seeds, o, false, nil, each)
}

// drawTexts is Draw, whole in one batch, with a callback of a plan's steps unless
// step is nil.
func (p *StableDiffusion) drawTexts(run engine.Run, texts []string, seeds []uint64, o DrawOptions, whole bool,
	step func(*diffusion.Plan) diffusion.Callback, each func(i int, d rerank.Drawing)) error {
	if len(texts) != len(seeds) {
		return fmt.Errorf("%d texts and %d seeds", len(texts), len(seeds))
	}
	run = run.On(p.device)
	if o.Init == nil {
		o.Strength = 0
	}
	rows, err := p.rows(run, texts, o)
	if err != nil {
		return err
	}
	o.Tokens = 0
	for _, r := range rows {
		o.Tokens = max(o.Tokens, len(r.ids))
	}
	plan, err := p.Pipeline.Plan(o.Options)
	if err != nil {
		return err
	}
	batch, err := plan.Batch(p.device, len(texts), p.budget(run))
	if err != nil {
		return err
	}
	if whole {
		if err := p.Fits(run, plan, len(texts)); err != nil {
			return err
		}
		batch = len(texts)
	}
	if step != nil {
		o.Step = step(plan)
	}
	if n := plan.Note(); n != "" && o.Note != nil {
		o.Note(n)
	}
	init, mask, err := encode(run, plan, o)
	if err != nil {
		return err
	}
	// Rows of one length are drawn together, so that none depends on another's.
	var groups [][2]int
	for lo, hi := 0, 0; lo < len(rows); lo = hi {
		for hi = lo + 1; hi < min(lo+batch, len(rows)) && len(rows[hi].ids) == len(rows[lo].ids); {
			hi++
		}
		groups = append(groups, [2]int{lo, hi})
	}
	done, total := 0, plan.Steps()*len(groups)
	for _, g := range groups {
		lo, hi := g[0], g[1]
		some := func(lo, hi int) diffusion.Batch {
			b := batchOf(rows[lo:hi])
			b.Noise, b.Init, b.Mask = diffusion.Generators(seeds[lo:hi]), init, mask
			return b
		}
		b := some(lo, hi)
		if o.Step != nil {
			b.Step = func(st diffusion.Step) ([]int, error) {
				st.Samples = slices.Clone(st.Samples)
				for i := range st.Samples {
					st.Samples[i] += lo
				}
				return o.Step(st)
			}
		}
		if o.Progress != nil {
			b.Progress = func() {
				done++
				o.Progress(done, total)
			}
		}
		start := time.Now()
		took := func() time.Duration { return time.Since(start) / time.Duration(hi-lo) }
		again := func(i int) diffusion.Batch { return some(lo+i, lo+i+1) }
		err := p.draw(run, plan, b, again, func(_ *engine.Stream, samples []int, bytes *engine.Tensor, failed []error) error {
			p.handOn(samples, bytes, failed, took(), func(i int, d rerank.Drawing) { each(lo+i, d) })
			return nil
		})
		if err == nil {
			continue
		}
		if run.Err() != nil {
			return run.Err()
		}
		t := took()
		for i := lo; i < hi; i++ {
			each(i, rerank.Drawing{Err: err, Time: t})
		}
	}
	return nil
}

var errNoInit = errors.New("a mask is for a drawing that starts from a picture")

// encode makes of an init image and its mask what a plan takes; nil where there is none.
func encode(run engine.Run, plan *diffusion.Plan, o DrawOptions) (init *diffusion.Moments, mask diffusion.Mask, err error) {
	if o.Init == nil {
		if o.Mask != nil {
			return nil, nil, errNoInit
		}
		return nil, nil, nil
	}
	if o.Mask != nil {
		if mask, err = plan.EncodeMask(run, o.Mask); err != nil {
			return nil, nil, err
		}
	}
	init, err = plan.EncodeImage(run, o.Init)
	return init, mask, err
}

// handOn hands drawings on whose bytes lie on the device.
func (p *StableDiffusion) handOn(samples []int, bytes *engine.Tensor, failed []error, took time.Duration,
	each func(i int, d rerank.Drawing)) {
	for j, i := range samples {
		if failed[j] != nil {
			each(i, rerank.Drawing{Err: failed[j], Time: took})
			continue
		}
		d := pixels.NewDrawn(p.device, bytes.Rows(j, j+1))
		each(i, rerank.Drawing{Picture: d, Time: took})
		d.Release()
	}
}

// DrawTogether draws texts as one batch whose noise comes from one generator, as
// a diffusers pipeline with one does.
func (p *StableDiffusion) DrawTogether(run engine.Run, texts []string, seed uint64, o DrawOptions) ([]*pixels.Image, error) {
	plan, err := p.Pipeline.Plan(o.Options)
	if err != nil {
		return nil, err
	}
	rows, err := p.rows(run, texts, o)
	if err != nil {
		return nil, err
	}
	var pictures []*pixels.Image
	all := func(int) diffusion.Batch {
		b := batchOf(rows)
		b.Noise = diffusion.OneGenerator(seed)
		return b
	}
	err = p.draw(run.On(p.device), plan, all(0), all, func(s *engine.Stream, _ []int, bytes *engine.Tensor, failed []error) error {
		host, err := s.Get(bytes)
		if err == nil {
			pictures = pixels.Images(host)
		}
		return errors.Join(err, errors.Join(failed...))
	})
	return pictures, err
}

// draw draws a batch and hands its bytes on, [N, H, W, 3] of u8 on the device.
// Those whose numbers were not finite have an error in failed, [N]; again is a
// batch that gives such a one once more.
func (p *StableDiffusion) draw(run engine.Run, plan *diffusion.Plan, b diffusion.Batch, again func(i int) diffusion.Batch,
	use func(s *engine.Stream, samples []int, bytes *engine.Tensor, failed []error) error) error {
	s := run.Stream()
	defer s.Close()
	z, samples, err := plan.Latents(s, b)
	if err != nil || z == nil {
		return err
	}
	return p.show(run, s, plan, z, samples, again, use)
}

// show makes pictures of latents, which it frees, and hands their bytes on as draw does.
func (p *StableDiffusion) show(run engine.Run, s *engine.Stream, plan *diffusion.Plan, z *engine.Tensor, samples []int,
	again func(i int) diffusion.Batch, use func(s *engine.Stream, samples []int, bytes *engine.Tensor, failed []error) error) error {
	failed := make([]error, len(samples))
	for _, j := range finite.Rows(s, z) {
		failed[j] = finite.Find(run, "the UNet", func(run engine.Run) error {
			s := run.Stream()
			defer s.Close()
			_, _, err := plan.Latents(s, again(samples[j]))
			return err
		})
	}
	x, err := plan.Decode(s, z, failed)
	if err != nil {
		return err
	}
	bytes := rgb.Bytes(s, x)
	s.Free(x)
	defer s.Free(bytes)
	if err := s.Synchronize(); err != nil { // what fails, fails here, and takes its own time
		return err
	}
	return use(s, samples, bytes, failed)
}

// Painter is the model with options, as the reconstructions take it.
func (p *StableDiffusion) Painter(o DrawOptions) rerank.Painter { return painter{p, o} }

type painter struct {
	*StableDiffusion
	o DrawOptions
}

func (p painter) Draw(run engine.Run, texts []string, seeds []uint64, each func(i int, d rerank.Drawing)) error {
	return p.StableDiffusion.Draw(run, texts, seeds, p.o, each)
}
