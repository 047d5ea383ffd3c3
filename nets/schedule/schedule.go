// Package schedule holds the samplers of Stable Diffusion, as diffusers'
// schedulers compute them: which timesteps the net sees, and what becomes of
// the latents after each.
package schedule

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"parley/engine"
	"parley/kernels/denoise"
	"parley/kernels/elementwise"
	"parley/weights"
)

// Kinds are the samplers that New knows by name.
var Kinds = []string{"pndm", "ddim", "euler", "euler-a", "dpmpp2m", "dpmpp2m-karras", "lcm"}

var classes = map[string]string{
	"PNDMScheduler": "pndm", "DDIMScheduler": "ddim", "EulerDiscreteScheduler": "euler",
	"EulerAncestralDiscreteScheduler": "euler-a", "DPMSolverMultistepScheduler": "dpmpp2m", "LCMScheduler": "lcm",
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
	scaling    float64 // LCM's timestep_scaling
	recipes    []denoise.Coefficients
}

type solver struct{ order1, heun, lowerFinal, eulerFinal, zeroFinal bool }

// New plans a drawing in so many steps from a scheduler_config.json. kind is
// one of Kinds, whatever class the configuration is of, as diffusers'
// from_config; "" is the configuration's own.
func New(c weights.Config, kind string, steps int) (*Schedule, error) {
	r := c.Reader()
	class := r.String("_class_name", "PNDMScheduler")
	own := kind == ""
	if own {
		if kind = classes[class]; kind == "" {
			return nil, fmt.Errorf("%s: _class_name %q: choose one of %s", c.File(), class, strings.Join(Kinds, ", "))
		}
	} else if !slices.Contains(Kinds, kind) {
		return nil, fmt.Errorf("scheduler %q: choose one of %s", kind, strings.Join(Kinds, ", "))
	}
	if steps < 1 {
		return nil, fmt.Errorf("%d steps: at least 1 is needed", steps)
	}
	one := func(key, def string, want ...string) string {
		v := r.String(key, def)
		if !slices.Contains(want, v) {
			r.Fail(fmt.Errorf("%s: %s is %q, supported: %s", c.File(), key, v, strings.Join(want, ", ")))
		}
		return v
	}
	refuse := func(keys ...string) {
		for _, k := range keys {
			if r.Bool(k, false) {
				r.Fail(fmt.Errorf("%s: %s is not supported", c.File(), k))
			}
		}
	}
	karras := strings.HasSuffix(kind, "-karras")
	kind = strings.TrimSuffix(kind, "-karras")
	s := &Schedule{Kind: kind, steps: steps, train: r.Int("num_train_timesteps", 1000), initSigma: 1,
		prediction: one("prediction_type", "epsilon", "epsilon", "v_prediction", "sample")}
	if kind == "pndm" && s.prediction == "sample" {
		r.Fail(fmt.Errorf("%s: prediction_type sample: pndm takes epsilon and v_prediction", c.File()))
	}
	spacing := "leading"
	if kind == "euler" || kind == "euler-a" || kind == "dpmpp2m" {
		spacing = "linspace"
	}
	spacing = one("timestep_spacing", spacing, "leading", "linspace", "trailing")
	offset := r.Int("steps_offset", 0)
	if s.train < 1 {
		r.Fail(fmt.Errorf("%s: num_train_timesteps is %d", c.File(), s.train))
	}
	if steps > s.train {
		r.Fail(fmt.Errorf("%d steps: %s has %d timesteps", steps, c.File(), s.train))
	}
	refuse("thresholding", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas", "use_dynamic_shifting")
	if r.Err() == nil {
		s.alphas = alphas(c, r, kind, s.train)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	s.final = s.alphas[0]
	if kind != "pndm" && r.Bool("set_alpha_to_one", true) || kind == "pndm" && r.Bool("set_alpha_to_one", false) {
		s.final = 1
	}
	switch kind {
	case "pndm":
		// A saved default of PNDM has Runge-Kutta steps first; Stable
		// Diffusion's have not.
		if own && !r.Bool("skip_prk_steps", false) {
			r.Fail(fmt.Errorf("%s: skip_prk_steps is false: only the multistep part of PNDM is supported", c.File()))
		}
		t := spaced(spacing, steps, s.train, offset, true)
		slices.Reverse(t) // as diffusers builds it: ascending
		n := len(t)
		plms := slices.Concat(t[:n-1], t[max(0, n-2):n-1], t[n-1:])
		slices.Reverse(plms)
		s.timesteps = plms
	case "ddim":
		s.timesteps = spaced(spacing, steps, s.train, offset, true)
		if r.Bool("clip_sample", true) {
			s.clip = r.Float("clip_sample_range", 1)
		}
	case "lcm":
		original := r.Int("original_inference_steps", 50)
		if original > s.train || original < 1 {
			r.Fail(fmt.Errorf("%s: original_inference_steps is %d of %d", c.File(), original, s.train))
		} else if steps > original {
			r.Fail(fmt.Errorf("%d steps: lcm takes at most original_inference_steps, %d in %s", steps, original, c.File()))
		} else {
			k := s.train / original
			for i := range steps {
				at := int(math.Floor(float64(i) * (float64(original) / float64(steps))))
				s.timesteps = append(s.timesteps, float64((original-at)*k-1))
			}
		}
		if r.Bool("clip_sample", false) {
			s.clip = r.Float("clip_sample_range", 1)
		}
		s.scaling = r.Float("timestep_scaling", 10)
	case "euler", "euler-a":
		s.timesteps = spaced(spacing, steps, s.train, offset, false)
		s.euler(c, r, spacing, kind == "euler", one)
	case "dpmpp2m":
		if own {
			karras = r.Bool("use_karras_sigmas", false)
			one("algorithm_type", "dpmsolver++", "dpmsolver++", "deis")
		}
		s.solver.order1 = r.Int("solver_order", 2) == 1
		if o := r.Int("solver_order", 2); o > 2 {
			r.Fail(fmt.Errorf("%s: solver_order is %d, supported: 1, 2", c.File(), o))
		}
		s.solver.heun = one("solver_type", "midpoint", "midpoint", "heun", "logrho", "bh1", "bh2") == "heun"
		s.solver.lowerFinal, s.solver.eulerFinal = r.Bool("lower_order_final", true), r.Bool("euler_at_final", false)
		s.solver.zeroFinal = one("final_sigmas_type", "zero", "zero", "sigma_min") == "zero"
		s.dpm(r, spacing, steps, offset, karras)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	s.plan()
	return s, nil
}

// alphas are the cumulative products of 1-beta, in torch's float32.
func alphas(c weights.Config, r *weights.Reader, kind string, n int) []float64 {
	start, end, schedule := 0.0001, 0.02, "linear"
	if kind == "lcm" {
		start, end, schedule = 0.00085, 0.012, "scaled_linear"
	}
	start, end, schedule = r.Float("beta_start", start), r.Float("beta_end", end), r.String("beta_schedule", schedule)
	betas := make([]float32, n)
	if c.Has("trained_betas") {
		list, ok := c["trained_betas"].([]any)
		if !ok || len(list) != n {
			r.Fail(fmt.Errorf("%s: trained_betas: want %d numbers", c.File(), n))
			return nil
		}
		for i := range betas {
			sub := weights.Config{"trained_betas": list[i]}
			v, err := sub.Float("trained_betas", 0)
			if err != nil {
				r.Fail(fmt.Errorf("%s: %w", c.File(), err))
				return nil
			}
			betas[i] = float32(v)
		}
	} else {
		switch schedule {
		case "linear":
			linspace32(betas, float32(start), float32(end))
		case "scaled_linear":
			linspace32(betas, float32(math.Sqrt(start)), float32(math.Sqrt(end)))
			for i, b := range betas {
				betas[i] = b * b
			}
		case "squaredcos_cap_v2":
			bar := func(t float64) float64 {
				v := math.Cos((t + 0.008) / 1.008 * math.Pi / 2)
				return v * v
			}
			for i := range betas {
				betas[i] = float32(min(1-bar(float64(i+1)/float64(n))/bar(float64(i)/float64(n)), 0.999))
			}
		default:
			r.Fail(fmt.Errorf("%s: beta_schedule is %q, supported: linear, scaled_linear, squaredcos_cap_v2", c.File(), schedule))
			return nil
		}
	}
	zero := kind != "pndm" && r.Bool("rescale_betas_zero_snr", false)
	out := make([]float64, n)
	cumulate := func() {
		p := 1.0
		for i, b := range betas {
			p *= float64(1 - b)
			out[i] = float64(float32(p))
		}
	}
	cumulate()
	if zero && n > 1 {
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
		if kind == "euler" || kind == "euler-a" || kind == "dpmpp2m" {
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

func trailing(from int, ratio float64) []float64 {
	var t []float64
	for i := range int(math.Ceil(float64(from) / ratio)) {
		t = append(t, math.RoundToEven(float64(from)-float64(i)*ratio)-1)
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

// sigmaToT is the timestep, with a fraction, of a noise level.
func sigmaToT(sigma float64, levels []float64) float64 {
	l := math.Log(max(sigma, 1e-10))
	low := 0
	for i, v := range levels {
		if l >= math.Log(v) {
			low = i
		}
	}
	low = min(low, len(levels)-2)
	a, b := math.Log(levels[low]), math.Log(levels[low+1])
	w := min(max((a-l)/(a-b), 0), 1)
	return (1-w)*float64(low) + w*float64(low+1)
}

func (s *Schedule) euler(c weights.Config, r *weights.Reader, spacing string, plain bool, one func(string, string, ...string) string) {
	levels := s.noiseLevels()
	for _, t := range s.timesteps {
		s.sigmas = append(s.sigmas, interpolate(t, levels))
	}
	last := 0.0
	if plain {
		n := len(s.timesteps)
		if one("interpolation_type", "linear", "linear", "log_linear") == "log_linear" {
			// diffusers' own spaces one level more than there are steps.
			r.Fail(fmt.Errorf("%s: interpolation_type log_linear is not supported", c.File()))
		}
		if r.Bool("use_karras_sigmas", false) {
			s.sigmas = karrasLevels(r.Float("sigma_min", s.sigmas[n-1]), r.Float("sigma_max", s.sigmas[0]), s.steps)
			s.timesteps = s.timesteps[:0]
			for _, v := range s.sigmas {
				s.timesteps = append(s.timesteps, float64(float32(sigmaToT(v, levels))))
			}
		}
		if one("final_sigmas_type", "zero", "zero", "sigma_min") == "sigma_min" {
			last = levels[0]
		}
		if one("timestep_type", "discrete", "discrete", "continuous") == "continuous" && s.prediction == "v_prediction" {
			for i := range s.timesteps {
				s.timesteps[i] = 0.25 * math.Log(s.sigmas[i])
			}
		}
	}
	s.sigmas = round32(append(s.sigmas, last))
	top := slices.Max(s.sigmas)
	if spacing == "leading" {
		top = math.Sqrt(top*top + 1)
	}
	s.initSigma = top
}

func round32(v []float64) []float64 {
	for i := range v {
		v[i] = float64(float32(v[i]))
	}
	return v
}

func (s *Schedule) dpm(r *weights.Reader, spacing string, steps, offset int, karras bool) {
	levels, clipped := s.noiseLevels(), r.Float("lambda_min_clipped", math.Inf(-1))
	last := s.train
	for i := s.train - 1; i >= 0; i-- { // the noisiest first
		if -math.Log(levels[i]) >= clipped {
			break
		}
		last--
	}
	var t []float64
	switch spacing {
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
			t = append(t, float64(i*ratio+offset))
		}
	case "trailing":
		t = trailing(last, float64(s.train)/float64(steps))
	}
	if karras {
		s.sigmas = karrasLevels(r.Float("sigma_min", levels[0]), r.Float("sigma_max", levels[s.train-1]), steps)
		t = t[:0]
		for _, v := range s.sigmas {
			t = append(t, math.RoundToEven(sigmaToT(v, levels)))
		}
	} else {
		for _, v := range t {
			s.sigmas = append(s.sigmas, interpolate(v, levels))
		}
	}
	end := 0.0
	if !s.solver.zeroFinal {
		end = levels[0]
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
	switch s.Kind {
	case "euler", "euler-a":
		return late, 1, s.sigmas[begin], nil
	case "dpmpp2m":
		a := 1 / math.Sqrt(s.sigmas[begin]*s.sigmas[begin]+1)
		return late, a, s.sigmas[begin] * a, nil
	}
	a := s.alpha(s.timesteps[begin])
	return late, math.Sqrt(a), math.Sqrt(1 - a), nil
}

// Clean are the coefficients of the predicted clean latents after step i: of the
// latents before it, and of the prediction that Step returns.
func (s *Schedule) Clean(i int) (latents, prediction float64) {
	if s.Kind == "pndm" { // whose predictions are the net's outputs
		return s.picture(s.alpha(s.timesteps[s.start+i]))
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
