// Package schedule holds the samplers of Stable Diffusion, as diffusers'
// schedulers compute them: which timesteps the net sees, and what becomes of
// the latents after each.
package schedule

import (
	"fmt"
	"math"
	"slices"

	"parley/engine"
	"parley/kernels/denoise"
	"parley/kernels/elementwise"
	"parley/weights"
)

// Kinds are the samplers that New knows by name.
var Kinds = []string{"pndm", "ddim", "euler", "euler-a", "dpmpp2m", "dpmpp2m-karras", "unipc", "lcm"}

var classes = map[string]string{
	"PNDMScheduler": "pndm", "DDIMScheduler": "ddim", "EulerDiscreteScheduler": "euler",
	"EulerAncestralDiscreteScheduler": "euler-a", "DPMSolverMultistepScheduler": "dpmpp2m", "UniPCMultistepScheduler": "unipc",
	"LCMScheduler": "lcm",
}

// Schedule is the plan of one drawing: what happens in each step.
type Schedule struct {
	Kind string

	prediction string
	steps      int // as asked for: PNDM takes one more
	train      int
	alphas     []float64 // cumulative products
	final      float64   // the one behind the last step
	timesteps  []float64
	sigmas     []float64 // of the samplers that have them: one more than timesteps
	start      int
	clip       float64
	initSigma  float64
	solver     solver
	unipc      unipc
	scaling    float64 // LCM's timestep_scaling
	recipes    []denoise.Coefficients
}

type solver struct{ order1, heun, lowerFinal, eulerFinal, zeroFinal bool }

// unipc is what UniPC alone has.
type unipc struct {
	order      int
	bh1        bool
	noise      bool  // its predictions are noise, not pictures
	lowerFinal bool  // the last steps fall to the first order
	disabled   []int // steps behind which nothing is corrected
}

// New plans a drawing in so many steps from a scheduler_config.json. kind is
// one of Kinds, whatever class the configuration is of, as diffusers'
// from_config; "" is the configuration's own.
func New(c weights.Config, kind string, steps int) (*Schedule, error) {
	config, err := ParseConfig(c, kind)
	if err != nil {
		return nil, err
	}
	s, err := Plan(config, steps)
	if err != nil && c.File() != "" {
		err = fmt.Errorf("%s: %w", c.File(), err)
	}
	return s, err
}

// Plan is New of a configuration that is parsed.
func Plan(c Config, steps int) (*Schedule, error) {
	if steps < 1 {
		return nil, fmt.Errorf("%d steps: at least 1 is needed", steps)
	}
	if steps > c.Train {
		return nil, fmt.Errorf("%d steps: there are %d timesteps", steps, c.Train)
	}
	s := &Schedule{Kind: c.Kind, steps: steps, train: c.Train, initSigma: 1, prediction: c.Prediction, clip: c.Clip, alphas: alphas(c)}
	s.final = s.alphas[0]
	if c.AlphaOne {
		s.final = 1
	}
	switch c.Kind {
	case "pndm":
		t := spaced(c.Spacing, steps, s.train, c.Offset, true)
		slices.Reverse(t) // as diffusers builds it: ascending
		n := len(t)
		plms := slices.Concat(t[:n-1], t[max(0, n-2):n-1], t[n-1:])
		slices.Reverse(plms)
		s.timesteps = plms
	case "ddim":
		s.timesteps = spaced(c.Spacing, steps, s.train, c.Offset, true)
	case "lcm":
		if steps > c.Original {
			return nil, fmt.Errorf("%d steps: lcm takes at most original_inference_steps, %d", steps, c.Original)
		}
		k := s.train / c.Original
		for i := range steps {
			at := int(math.Floor(float64(i) * (float64(c.Original) / float64(steps))))
			s.timesteps = append(s.timesteps, float64((c.Original-at)*k-1))
		}
		s.scaling = c.Scaling
	case "euler", "euler-a":
		s.timesteps = spaced(c.Spacing, steps, s.train, c.Offset, false)
		s.euler(c)
	case "dpmpp2m":
		s.solver = solver{order1: c.Order == 1, heun: c.Heun, lowerFinal: c.LowerFinal, eulerFinal: c.EulerFinal, zeroFinal: !c.LastSigma}
		s.dpm(c)
	case "unipc":
		s.solver.zeroFinal = !c.LastSigma
		s.unipc = unipc{order: c.Order, bh1: c.BH1, noise: c.PredictNoise, lowerFinal: c.LowerFinal, disabled: c.DisableCorrector}
		s.dpm(c)
	}
	for _, t := range s.timesteps {
		// Continuous timesteps are logarithms of noise levels; all others are
		// of the training.
		if !c.Continuous && (t < -1 || t >= float64(s.train)) {
			return nil, fmt.Errorf("timestep %v of %d: steps_offset is %d and timestep_spacing %s for %d steps", t, s.train, c.Offset,
				c.Spacing, steps)
		}
		if s.sigmas == nil && s.alpha(t) == 0 && c.Prediction == "epsilon" && c.Clip == 0 {
			return nil, fmt.Errorf("timestep %v has no signal (rescale_betas_zero_snr), so that prediction_type epsilon gives no picture: "+
				"want v_prediction, sample or clip_sample", t)
		}
	}
	s.plan()
	return s, nil
}

// alphas are the cumulative products of 1-beta, in torch's float32.
func alphas(c Config) []float64 {
	n := c.Train
	betas := make([]float32, n)
	switch {
	case c.Betas != nil:
		for i, b := range c.Betas {
			betas[i] = float32(b)
		}
	case c.BetaSchedule == "linear":
		linspace32(betas, float32(c.BetaStart), float32(c.BetaEnd))
	case c.BetaSchedule == "scaled_linear":
		linspace32(betas, float32(math.Sqrt(c.BetaStart)), float32(math.Sqrt(c.BetaEnd)))
		for i, b := range betas {
			betas[i] = b * b
		}
	default: // squaredcos_cap_v2
		bar := func(t float64) float64 {
			v := math.Cos((t + 0.008) / 1.008 * math.Pi / 2)
			return v * v
		}
		for i := range betas {
			betas[i] = float32(min(1-bar(float64(i+1)/float64(n))/bar(float64(i)/float64(n)), 0.999))
		}
	}
	out := make([]float64, n)
	cumulate := func() {
		p := 1.0
		for i, b := range betas {
			p *= float64(1 - b)
			out[i] = float64(float32(p))
		}
	}
	cumulate()
	if c.ZeroSNR && n > 1 {
		// arXiv 2305.08891, algorithm 1, in float32 as diffusers.
		root := make([]float32, n)
		for i := range root {
			root[i] = float32(math.Sqrt(out[i]))
		}
		first, last := root[0], root[n-1]
		prev := float32(1)
		for i, v := range root {
			v = (v - last) * (first / (first - last))
			bar := v * v
			betas[i] = 1 - bar/prev
			prev = bar
		}
		cumulate()
		if hasLevels(c.Kind) {
			out[n-1] = 1.0 / (1 << 24)
		}
	}
	return out
}

// linspace32 is torch.linspace in float32: from both ends to the middle.
func linspace32(dst []float32, start, end float32) {
	n := len(dst)
	if n == 1 {
		dst[0] = start
		return
	}
	step := (end - start) / float32(n-1)
	for i := range dst {
		if i < n/2 {
			dst[i] = start + step*float32(i)
		} else {
			dst[i] = end - step*float32(n-1-i)
		}
	}
}

// spaced are the timesteps in falling order.
func spaced(spacing string, steps, train, offset int, round bool) []float64 {
	var t []float64
	switch spacing {
	case "linspace":
		for i := range steps {
			v := 0.0
			if steps > 1 {
				v = float64(i) * (float64(train-1) / float64(steps-1))
			}
			if i > 0 && i == steps-1 {
				v = float64(train - 1)
			}
			if round {
				v = math.RoundToEven(v)
			}
			t = append(t, float64(float32(v)))
		}
		slices.Reverse(t)
	case "leading":
		for i := steps - 1; i >= 0; i-- {
			t = append(t, float64(i*(train/steps)+offset))
		}
	case "trailing":
		t = trailing(train, float64(train)/float64(steps))
	}
	return t
}

// trailing is numpy.arange(from, 0, -ratio).round() - 1. numpy's stride is the
// difference of its first two numbers, which decides where a half is rounded to.
func trailing(from int, ratio float64) []float64 {
	var t []float64
	first := float64(from)
	stride := first - (first - ratio)
	for i := range int(math.Ceil(first / ratio)) {
		t = append(t, math.RoundToEven(first-float64(i)*stride)-1)
	}
	return t
}

// noiseLevels are the sigmas of all timesteps.
func (s *Schedule) noiseLevels() []float64 {
	out := make([]float64, s.train)
	for i, a := range s.alphas {
		out[i] = float64(float32(math.Sqrt(float64(float32(1-a) / float32(a)))))
	}
	return out
}

func interpolate(x float64, ys []float64) float64 {
	if x <= 0 {
		return ys[0]
	}
	if x >= float64(len(ys)-1) {
		return ys[len(ys)-1]
	}
	i := int(x)
	return ys[i] + (x-float64(i))*(ys[i+1]-ys[i])
}

func karrasLevels(lo, hi float64, n int) []float64 {
	out := make([]float64, n)
	a, b := math.Pow(lo, 1.0/7), math.Pow(hi, 1.0/7)
	for i := range out {
		ramp := 0.0
		if n > 1 {
			ramp = float64(i) / float64(n-1)
		}
		out[i] = math.Pow(b+ramp*(a-b), 7)
	}
	return out
}

// sigmaToT is the timestep, with a fraction, of a noise level. The table's logarithms
// are float32, as diffusers has them.
func sigmaToT(sigma float64, levels []float64) float64 {
	if len(levels) == 1 {
		return 0
	}
	log := func(i int) float64 { return float64(float32(math.Log(levels[i]))) }
	l := math.Log(max(sigma, 1e-10))
	low := 0
	for i := range levels {
		if l >= log(i) {
			low = i
		}
	}
	low = min(low, len(levels)-2)
	a, b := log(low), log(low+1)
	w := min(max((a-l)/(a-b), 0), 1)
	return (1-w)*float64(low) + w*float64(low+1)
}

func (s *Schedule) euler(c Config) {
	levels := s.noiseLevels()
	for _, t := range s.timesteps {
		s.sigmas = append(s.sigmas, interpolate(t, levels))
	}
	if c.Karras {
		s.sigmas = karrasLevels(orElse(c.SigmaMin, s.sigmas[len(s.timesteps)-1]), orElse(c.SigmaMax, s.sigmas[0]), s.steps)
		s.timesteps = s.timesteps[:0]
		for _, v := range s.sigmas {
			s.timesteps = append(s.timesteps, float64(float32(sigmaToT(v, levels))))
		}
	}
	last := 0.0
	if c.LastSigma {
		last = levels[0]
	}
	if c.Continuous {
		for i := range s.timesteps {
			s.timesteps[i] = 0.25 * math.Log(s.sigmas[i])
		}
	}
	s.sigmas = round32(append(s.sigmas, last))
	top := slices.Max(s.sigmas)
	if c.Spacing == "leading" {
		top = math.Sqrt(top*top + 1)
	}
	s.initSigma = top
}

// orElse is v, or def for 0.
func orElse(v, def float64) float64 {
	if v == 0 {
		return def
	}
	return v
}

func round32(v []float64) []float64 {
	for i := range v {
		v[i] = float64(float32(v[i]))
	}
	return v
}

// dpm plans DPM-Solver++'s and UniPC's noise levels.
func (s *Schedule) dpm(c Config) {
	levels, steps, last := s.noiseLevels(), s.steps, s.train
	for i := s.train - 1; i >= 0; i-- { // the noisiest first
		if -math.Log(levels[i]) >= c.MinLambda {
			break
		}
		last--
	}
	var t []float64
	switch c.Spacing {
	case "linspace":
		for i := steps; i > 0; i-- {
			v := float64(i) * (float64(last-1) / float64(steps))
			if i == steps {
				v = float64(last - 1)
			}
			t = append(t, math.RoundToEven(v))
		}
	case "leading":
		ratio := last / (steps + 1)
		for i := steps; i > 0; i-- {
			t = append(t, float64(i*ratio+c.Offset))
		}
	case "trailing":
		t = trailing(last, float64(s.train)/float64(steps))
	}
	if c.Karras {
		s.sigmas = karrasLevels(orElse(c.SigmaMin, levels[0]), orElse(c.SigmaMax, levels[s.train-1]), steps)
		whole := math.RoundToEven
		if c.Kind == "dpmpp2m" && c.BetaSchedule == "squaredcos_cap_v2" {
			whole = math.Trunc // as diffusers' way from numbers with a fraction to integers
		}
		t = t[:0]
		for _, v := range s.sigmas {
			t = append(t, whole(sigmaToT(v, levels)))
		}
	} else {
		for _, v := range t {
			s.sigmas = append(s.sigmas, interpolate(v, levels))
		}
	}
	end := 0.0
	if !s.solver.zeroFinal {
		end = levels[0]
		if c.Kind == "unipc" && c.Karras {
			end = s.sigmas[steps-1]
		}
	}
	s.timesteps, s.sigmas = t, round32(append(s.sigmas, end))
}

// Steps is how often the net runs.
func (s *Schedule) Steps() int { return len(s.recipes) }

// Timestep is what the net is told in step i.
func (s *Schedule) Timestep(i int) float64 { return s.timesteps[s.start+i] }

// InitSigma is the standard deviation of the latents that a drawing starts
// from.
func (s *Schedule) InitSigma() float64 { return s.initSigma }

// Scale is what the latents are multiplied by for the net in step i.
func (s *Schedule) Scale(i int) float64 {
	if s.Kind != "euler" && s.Kind != "euler-a" {
		return 1
	}
	sigma := s.sigmas[s.start+i]
	return 1 / math.Sqrt(sigma*sigma+1)
}

// Noisy reports whether step i adds noise.
func (s *Schedule) Noisy(i int) bool { return s.recipes[i].Noise != 0 }

// StartingAt is the schedule of a drawing that starts at an init image, of which
// strength (0 to 1] is drawn anew, and what the image's latents and the noise are
// multiplied with (diffusers' img2img).
func (s *Schedule) StartingAt(strength float64) (late *Schedule, image, noise float64, err error) {
	if !(strength > 0 && strength <= 1) {
		return nil, 0, 0, fmt.Errorf("strength %v: want more than 0, at most 1", strength)
	}
	begin := s.steps - min(int(float64(s.steps)*strength), s.steps)
	if begin >= len(s.timesteps) || begin >= s.steps {
		return nil, 0, 0, fmt.Errorf("strength %v of %d steps leaves no step: at least %.3g is needed", strength, s.steps, 1/float64(s.steps))
	}
	copied := *s
	late = &copied
	late.start, late.recipes = begin, nil
	late.plan()
	image, noise = s.noised(begin)
	return late, image, noise, nil
}

// Noised is what a clean picture's latents and normal numbers are multiplied with
// for latents as step i gets them; i = Steps() is after the last step: the picture
// itself.
func (s *Schedule) Noised(i int) (image, noise float64) {
	if i == s.Steps() {
		return 1, 0
	}
	return s.noised(s.start + i)
}

// noised is Noised of one of all timesteps (diffusers' add_noise).
func (s *Schedule) noised(at int) (image, noise float64) {
	switch s.Kind {
	case "euler", "euler-a":
		return 1, s.sigmas[at]
	case "dpmpp2m", "unipc":
		a := 1 / math.Sqrt(s.sigmas[at]*s.sigmas[at]+1)
		return a, s.sigmas[at] * a
	}
	a := s.alpha(s.timesteps[at])
	return math.Sqrt(a), math.Sqrt(1 - a)
}

// Clean are the coefficients of the predicted clean latents after step i: of the
// latents before it, and of the prediction that Step returns.
func (s *Schedule) Clean(i int) (latents, prediction float64) {
	if s.Kind == "pndm" { // whose predictions are the net's outputs
		return s.picture(s.alpha(s.timesteps[s.start+i]))
	}
	if s.Kind == "unipc" && s.unipc.noise {
		a, noise, _ := split(s.sigmas[s.start+i])
		return 1 / a, -noise / a
	}
	return 0, 1
}

func (s *Schedule) alpha(t float64) float64 {
	if t < 0 {
		return s.final
	}
	return s.alphas[min(int(t), s.train-1)]
}

// Run is a drawing under way: what the steps before have left.
type Run struct {
	s     *Schedule
	past  []*engine.Tensor // predictions, the latest first
	first *engine.Tensor
	last  *engine.Tensor // the latest prediction where no step needs it any more
}

// Begin starts a drawing.
func (s *Schedule) Begin() *Run { return &Run{s: s} }

// Step returns the latents after step i, and the prediction (see Clean), which is
// good until the next step; x stays the caller's. model is the net's output for x,
// for [no prompt; prompt] with guidance above 1. noise is used where Noisy says so.
func (r *Run) Step(st *engine.Stream, i int, x, model, noise *engine.Tensor, guidance float64) (next, prediction *engine.Tensor) {
	st.Free(r.last)
	r.last = nil
	recipe := r.s.recipes[i]
	recipe.Guidance = guidance
	if i == 0 && len(r.s.recipes) > 1 && r.s.recipes[1].First != 0 {
		r.first = elementwise.Mix(st, 1, x, 0, x)
	}
	next, p := denoise.Step(st, recipe, x, model, r.past, r.first, noise)
	keep := 0
	for _, later := range r.s.recipes[i+1:] {
		keep = max(keep, len(later.Past))
	}
	if r.s.Kind == "pndm" && i == 1 {
		r.last = p // the second step looks at the first place again
	} else {
		r.past = append([]*engine.Tensor{p}, r.past...)
	}
	for len(r.past) > keep {
		oldest := r.past[len(r.past)-1]
		if oldest == p {
			r.last = p
		} else {
			st.Free(oldest)
		}
		r.past = r.past[:len(r.past)-1]
	}
	if i == 1 {
		st.Free(r.first)
		r.first = nil
	}
	return next, p
}

// Keep replaces what a drawing has kept: by the rows of some samples, for those
// that go on.
func (r *Run) Keep(rows func(*engine.Tensor) *engine.Tensor) {
	for i, t := range r.past {
		r.past[i] = rows(t)
	}
	r.first = rows(r.first)
	r.last = rows(r.last)
}

// Free gives back what a drawing has kept.
func (r *Run) Free(st *engine.Stream) {
	st.Free(r.past...)
	st.Free(r.first, r.last)
	r.past, r.first, r.last = nil, nil, nil
}
