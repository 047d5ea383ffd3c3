// Package diffusion is the denoising of latent diffusion (arXiv 2112.10752): from
// prompts and noise, or an init image, to pictures, over any denoiser,
// autoencoder and text encoder.
package diffusion

import (
	"fmt"
	"maps"
	"slices"

	"parley/engine"
	"parley/kernels/random"
	"parley/nets/schedule"
	"parley/weights"
)

// TextEncoder gives a denoiser the hidden states that it attends to.
type TextEncoder interface {
	// Encode maps rows of token ids [N, L] to [N, L, Width]. L is a multiple of
	// Size's length: longer rows are chunks of it. weights [N, L], unless they are
	// nil, are what the tokens' states are multiplied with; those of a row may be nil.
	// skip is how many of the last layers are left out (diffusers' clip_skip).
	Encode(s *engine.Stream, ids [][]int32, weights [][]float32, skip int) (*engine.Tensor, error)
	Size() (length, width int) // of a row of ids, and of a hidden state
}

// Denoiser predicts the noise in latents, or what its scheduler's
// prediction_type says.
type Denoiser interface {
	// Condition computes what depends on the times and on the text's hidden
	// states [N, L, Width] alone, for all steps of a drawing.
	Condition(s *engine.Stream, times []Time, text *engine.Tensor) (Conditions, error)
	Channels() int // of the latents
	// EmbedsGuidance reports whether the net takes the guidance scale, which it was
	// distilled for (arXiv 2310.04378), in place of classifier-free guidance.
	EmbedsGuidance() bool
}

// Time is what a denoiser is told of a step.
type Time struct {
	Timestep float64
	Guidance float64 // scale; 0 for a net that does not take it
}

// Conditions are what the steps of a drawing share.
type Conditions interface {
	// Step maps latents x [M, H, W, C] at the step whose number is in the i32
	// tensor step [1] to the prediction [N, H, W, C]: sample j is latents j mod M
	// with text j. It neither uploads nor downloads.
	Step(s *engine.Stream, x, step *engine.Tensor) (*engine.Tensor, error)
	Free(s *engine.Stream)
}

// Autoencoder is the way between pictures and latents.
type Autoencoder interface {
	// Decode maps latents z [N, h, w, C], unscaled, to pictures [N, h*Factor,
	// w*Factor, 3] in -1..1.
	Decode(s *engine.Stream, z *engine.Tensor) (*engine.Tensor, error)
	// DecodeTiled is Decode in square tiles of so many latents, in the memory of
	// one: close to Decode's picture, not equal.
	DecodeTiled(s *engine.Stream, z *engine.Tensor, tile int) (*engine.Tensor, error)
	// Moments maps pictures [N, H, W, 3] in -1..1 to the mean and the log variance
	// of their latents, [N, h, w, 2 C], unscaled.
	Moments(s *engine.Stream, x *engine.Tensor) (*engine.Tensor, error)
	Geometry() Geometry
}

// Geometry is how latents lie to pictures.
type Geometry struct {
	Channels int     // of the latents
	Factor   int     // pixels to a latent, along each side
	Scale    float64 // what the denoiser's latents are multiplied with
}

// Pipeline draws. It is immutable and serves several runs at a time.
type Pipeline struct {
	Text      TextEncoder
	Denoiser  Denoiser
	VAE       Autoencoder
	Scheduler weights.Config // the checkpoint's own
	// Wide gives the autoencoder in f32 and the device where it runs, for pictures
	// that overflow f16; nil where activations are f32 anyway.
	Wide func() (Autoencoder, engine.Device, error)
}

// Options say how pictures are drawn.
type Options struct {
	Steps         int
	Guidance      float64 // scale of classifier-free guidance (arXiv 2207.12598); 1 and less: none. See Denoiser.EmbedsGuidance
	Scheduler     string  // one of schedule.Kinds; "" is the checkpoint's own
	Prediction    string  // epsilon, v_prediction or sample; "" is the checkpoint's own
	Width, Height int     // in pixels
	Tiling        Tiling
	ClipSkip      int // last layers of the text encoder that are left out
	Tokens        int // of a row of ids; 0: as many as the text encoder takes at once
	// Strength is how much of an init image is drawn anew, 0 to 1; 0: there is no
	// init image, and latents start as noise.
	Strength float64
	Fill     Fill // of what a mask says is drawn anew
}

// Fill is what an init image's latents are replaced with where they are drawn anew, before
// the noise of the first step is added.
type Fill string

// The ways to fill; AUTOMATIC1111's web UI calls the last two latent noise and latent nothing.
const (
	FillOriginal Fill = "" // not at all
	FillNoise    Fill = "noise"
	FillNothing  Fill = "nothing" // zeros
)

// Tiling says when the autoencoder decodes in tiles, in less memory and to a
// picture that is close to the whole one's, not equal.
type Tiling string

// The ways to tile.
const (
	TilingAuto Tiling = "auto" // where the whole picture does not fit in memory; so is ""
	TilingOn   Tiling = "on"
	TilingOff  Tiling = "off"
)

// Tilings lists the ways to tile.
func Tilings() []string { return []string{string(TilingAuto), string(TilingOn), string(TilingOff)} }

// Step is what a Callback sees.
type Step struct {
	Index, Count int            // this step, and how many there are
	Samples      []int          // which drawings the rows of Latents are
	Latents      *engine.Tensor // [len(Samples), h, w, C] in f32, after the step; the callback does not keep it
	Stream       *engine.Stream // where they lie
	predicted    func() *engine.Tensor
}

// Predicted is what the net takes the clean latents for, [len(Samples), h, w, C]
// in f32, as VAE.Decode takes them once they are divided by the scale. The
// callback frees them.
func (s Step) Predicted() *engine.Tensor { return s.predicted() }

// Callback is told of a step. It returns the rows of Step.Latents that go on; nil
// is all of them, and an empty list ends the batch.
type Callback func(Step) (keep []int, err error)

// Batch is what is drawn together.
type Batch struct {
	IDs, Negative [][]int32 // token ids of the prompts and, in a guided plan, the negative prompts, [N, L]
	// Weights and NegativeWeights are what their tokens' states are multiplied with;
	// nil is 1.
	Weights, NegativeWeights [][]float32
	Noise                    Noise
	Init                     *Moments // what an init image's latents are drawn from; nil where the plan has none
	Mask                     Mask     // which latents of the init image are drawn anew; nil is all
	Step                     Callback // told of every step, unless it is nil
	Progress                 func()   // told of every step, unless it is nil, and shown nothing
	// Done is given the latents [n, h, w, C] in f32, scaled, after the last step, and
	// frees them, with which of the batch they are. Latents has its own.
	Done func(latents *engine.Tensor, samples []int) error
}

// Plan is a drawing that has been checked: its schedule and its sizes. Batch changes it;
// after that it serves several drawings at a time.
type Plan struct {
	p        *Pipeline
	o        Options
	schedule *schedule.Schedule
	h, w     int     // of the latents
	picture  float64 // what an init image's latents and the noise are multiplied with
	noise    float64
	tiled    bool   // Decode works in tiles
	note     string // why, where no option says it
}

// Note is what Batch has decided that changes the picture and that no option says;
// "" where there is nothing.
func (p *Plan) Note() string { return p.note }

// Plan checks options, and makes the schedule.
func (p *Pipeline) Plan(o Options) (*Plan, error) {
	g := p.VAE.Geometry()
	if step := g.Factor; o.Width < step || o.Height < step || o.Width%step != 0 || o.Height%step != 0 {
		return nil, fmt.Errorf("%d x %d pixels: width and height have to be multiples of %d", o.Width, o.Height, step)
	}
	if o.Tiling != "" && !slices.Contains(Tilings(), string(o.Tiling)) {
		return nil, fmt.Errorf("tiling %q: want one of %v", o.Tiling, Tilings())
	}
	if !slices.Contains([]Fill{FillOriginal, FillNoise, FillNothing}, o.Fill) {
		return nil, fmt.Errorf("fill %q: want nothing, %q or %q", o.Fill, FillNoise, FillNothing)
	}
	c := p.Scheduler
	if o.Prediction != "" {
		c = maps.Clone(c)
		c["prediction_type"] = o.Prediction
	}
	sch, err := schedule.New(c, o.Scheduler, o.Steps)
	if err != nil {
		return nil, err
	}
	pl := &Plan{p: p, o: o, schedule: sch, h: o.Height / g.Factor, w: o.Width / g.Factor, noise: sch.InitSigma(),
		tiled: o.Tiling == TilingOn}
	if o.Strength != 0 {
		if pl.schedule, pl.picture, pl.noise, err = sch.StartingAt(o.Strength); err != nil {
			return nil, err
		}
	}
	return pl, nil
}

// Steps is how often the net runs for each drawing.
func (p *Plan) Steps() int { return p.schedule.Steps() }

// Guided reports whether each sample runs with and without its prompt, so that its
// negative prompt has an effect.
func (p *Plan) Guided() bool { return p.o.Guidance > 1 && !p.p.Denoiser.EmbedsGuidance() }

// times are what the net is told in each step.
func (p *Plan) times() []Time {
	times := make([]Time, p.schedule.Steps())
	for i := range times {
		times[i].Timestep = p.schedule.Timestep(i)
		if p.p.Denoiser.EmbedsGuidance() {
			times[i].Guidance = p.o.Guidance
		}
	}
	return times
}

// Noise is where a batch's normal numbers come from.
type Noise interface {
	// Fill writes the next [C, h, w] numbers of each of the samples, one behind
	// the other.
	Fill(samples []int, chw []float32)
}

// OneGenerator draws a whole batch from one generator, as a diffusers pipeline
// with one does.
func OneGenerator(seed uint64) Noise { return one{random.NewTorch(seed)} }

type one struct{ g *random.Torch }

func (o one) Fill(_ []int, chw []float32) { o.g.Normal(chw) }

// Generators draws every sample of a batch from a generator of its own.
func Generators(seeds []uint64) Noise {
	var gs generators
	for _, seed := range seeds {
		gs = append(gs, random.NewTorch(seed))
	}
	return gs
}

type generators []*random.Torch

func (gs generators) Fill(samples []int, chw []float32) {
	size := len(chw) / len(samples)
	for i, s := range samples {
		gs[s].Normal(chw[i*size : (i+1)*size])
	}
}
