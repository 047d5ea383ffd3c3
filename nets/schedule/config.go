package schedule

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"parley/weights"
)

// Config is what a scheduler_config.json says to one kind of sampler, with the
// defaults of that sampler's class in diffusers.
type Config struct {
	Kind       string // one of Kinds, without -karras
	Prediction string // of the net: epsilon, v_prediction or sample
	Train      int    // timesteps of the training

	BetaStart, BetaEnd float64
	BetaSchedule       string    // linear, scaled_linear or squaredcos_cap_v2
	Betas              []float64 // trained ones, which go first
	ZeroSNR            bool      // the last timestep has no signal (arXiv 2305.08891)

	Spacing   string  // of timesteps: leading, linspace or trailing
	Offset    int     // of timesteps where they are leading
	AlphaOne  bool    // behind the last step there is no noise at all
	Clip      float64 // of predicted samples, 0 for none
	Karras    bool    // noise levels of arXiv 2206.00364
	SigmaMin  float64 // of those levels; 0 for the training's
	SigmaMax  float64
	LastSigma bool // a drawing ends at the training's smallest noise level instead of none

	Continuous bool    // Euler's timesteps of v prediction are logarithms of noise levels
	Order      int     // of DPM-Solver++, 1 or 2, and of UniPC, 1 to 3
	Heun       bool    // its second order is Heun's, not the midpoint's
	LowerFinal bool    // fewer than 15 of its steps end with one of first order; UniPC's end so however many they are
	EulerFinal bool    // its last step is of first order
	MinLambda  float64 // below which it uses no timestep
	// UniPC's own.
	BH1              bool  // its B(h) is h, not e^h - 1
	PredictNoise     bool  // its predictions are noise, not pictures
	DisableCorrector []int // steps behind which nothing is corrected

	Original int     // timesteps that LCM was distilled for
	Scaling  float64 // of LCM's timesteps
}

// SD15 is Stable Diffusion 1's scheduler.
func SD15() Config {
	return Config{Kind: "pndm", Prediction: "epsilon", Train: 1000, BetaStart: 0.00085, BetaEnd: 0.012, BetaSchedule: "scaled_linear",
		Spacing: "leading", Offset: 1}
}

// SD21 is that of Stable Diffusion 2's base models.
func SD21() Config { return SD15() }

// SD21V is that of Stable Diffusion 2 for 768 pixels.
func SD21V() Config {
	c := SD15()
	c.Kind, c.Prediction = "ddim", "v_prediction"
	return c
}

// Mini is that of the embedded Stable Diffusion.
func Mini() Config {
	return Config{Kind: "dpmpp2m", Prediction: "epsilon", Train: 1000, BetaStart: 0.00085, BetaEnd: 0.012, BetaSchedule: "scaled_linear",
		Spacing: "linspace", Offset: 1, Order: 2, LowerFinal: true, MinLambda: math.Inf(-1)}
}

// ParseConfig reads a scheduler_config.json. kind is one of Kinds, whatever class
// the configuration is of, as diffusers' from_config; "" is the configuration's
// own.
func ParseConfig(c weights.Config, kind string) (Config, error) {
	r := c.Reader()
	class := r.String("_class_name", "PNDMScheduler")
	own := kind == ""
	if own {
		if kind = classes[class]; kind == "" {
			return Config{}, fmt.Errorf("%s: _class_name %q: choose one of %s", c.File(), class, strings.Join(Kinds, ", "))
		}
	} else if !slices.Contains(Kinds, kind) {
		return Config{}, fmt.Errorf("scheduler %q: choose one of %s", kind, strings.Join(Kinds, ", "))
	}
	out := Config{Kind: strings.TrimSuffix(kind, "-karras"), Karras: strings.HasSuffix(kind, "-karras")}
	out.training(c, r)
	kind = out.Kind
	levels := hasLevels(kind)
	spacing := "leading"
	if levels {
		spacing = "linspace"
	}
	out.Spacing = r.OneOf("timestep_spacing", spacing, "leading", "linspace", "trailing")
	out.Offset = r.Within("steps_offset", 0, 0, max(out.Train-1, 0))
	// What no sampler of ours does is refused of every class.
	for _, key := range []string{"thresholding", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas",
		"use_dynamic_shifting"} {
		if r.Bool(key, false) {
			r.Fail(fmt.Errorf("%s: %s is not supported", c.File(), key))
		}
	}
	switch kind {
	case "pndm":
		if out.Prediction == "sample" {
			r.Fail(fmt.Errorf("%s: prediction_type sample: pndm takes epsilon and v_prediction", c.File()))
		}
		// A saved default of PNDM has Runge-Kutta steps first; Stable
		// Diffusion's have not.
		if own && !r.Bool("skip_prk_steps", false) {
			r.Fail(fmt.Errorf("%s: skip_prk_steps is false: only the multistep part of PNDM is supported", c.File()))
		}
		out.AlphaOne = r.Bool("set_alpha_to_one", false)
	case "ddim", "lcm":
		out.AlphaOne = r.Bool("set_alpha_to_one", true)
		if r.Bool("clip_sample", kind == "ddim") {
			out.Clip = r.Float("clip_sample_range", 1)
			if out.Clip <= 0 {
				r.Fail(fmt.Errorf("%s: clip_sample_range is %v, want more than 0", c.File(), out.Clip))
			}
		}
	}
	if kind == "lcm" {
		out.Spacing, out.Offset = "", 0 // its timesteps are those that it was distilled for
		out.Original, out.Scaling = r.Within("original_inference_steps", 50, 1, max(out.Train, 1)), r.Float("timestep_scaling", 10)
	}
	if levels {
		out.SigmaMin, out.SigmaMax = level(c, r, "sigma_min"), level(c, r, "sigma_max")
	}
	switch kind {
	case "euler":
		if r.OneOf("interpolation_type", "linear", "linear", "log_linear") == "log_linear" {
			// diffusers' own spaces one level more than there are steps.
			r.Fail(fmt.Errorf("%s: interpolation_type log_linear is not supported", c.File()))
		}
		out.Karras = r.Bool("use_karras_sigmas", false)
		out.LastSigma = r.OneOf("final_sigmas_type", "zero", "zero", "sigma_min") == "sigma_min"
		out.Continuous = r.OneOf("timestep_type", "discrete", "discrete", "continuous") == "continuous" &&
			out.Prediction == "v_prediction"
	case "dpmpp2m":
		out.dpm(r, own)
	case "unipc":
		out.unipc(r)
	}
	return out, r.Err()
}

// training reads what a net was trained on.
func (out *Config) training(c weights.Config, r *weights.Reader) {
	out.Prediction = r.OneOf("prediction_type", "epsilon", "epsilon", "v_prediction", "sample")
	out.Train = r.Size("num_train_timesteps", 1000)
	start, end, schedule := 0.0001, 0.02, "linear"
	if out.Kind == "lcm" {
		start, end, schedule = 0.00085, 0.012, "scaled_linear"
	}
	out.BetaStart, out.BetaEnd = r.Float("beta_start", start), r.Float("beta_end", end)
	out.BetaSchedule = r.OneOf("beta_schedule", schedule, "linear", "scaled_linear", "squaredcos_cap_v2")
	for key, beta := range map[string]float64{"beta_start": out.BetaStart, "beta_end": out.BetaEnd} {
		if beta < 0 || beta >= 1 {
			r.Fail(fmt.Errorf("%s: %s is %v, want 0 to less than 1", c.File(), key, beta))
		}
	}
	if r.Has("trained_betas") {
		if _, isList := c["trained_betas"].([]any); !isList {
			r.Fail(fmt.Errorf("%s: trained_betas: want %d numbers", c.File(), out.Train))
		}
		out.Betas = r.Floats("trained_betas", out.Train, nil)
		for _, b := range out.Betas {
			if b < 0 || b >= 1 {
				r.Fail(fmt.Errorf("%s: trained_betas has %v, want 0 to less than 1", c.File(), b))
				break
			}
		}
	}
	out.ZeroSNR = out.Kind != "pndm" && r.Bool("rescale_betas_zero_snr", false)
}

// level is a noise level, more than 0; 0 where it is not said.
func level(c weights.Config, r *weights.Reader, key string) float64 {
	const none = -1
	v := r.Float(key, none)
	if v == none {
		return 0
	}
	if v <= 0 {
		r.Fail(fmt.Errorf("%s: %s is %v, want more than 0", c.File(), key, v))
	}
	return v
}

// dpm reads what DPM-Solver++ alone has.
func (out *Config) dpm(r *weights.Reader, own bool) {
	if own {
		out.Karras = r.Bool("use_karras_sigmas", false)
		r.OneOf("algorithm_type", "dpmsolver++", "dpmsolver++", "deis")
	}
	out.Order = r.Within("solver_order", 2, 1, 2)
	out.Heun = r.OneOf("solver_type", "midpoint", "midpoint", "heun", "logrho", "bh1", "bh2") == "heun"
	out.LowerFinal, out.EulerFinal = r.Bool("lower_order_final", true), r.Bool("euler_at_final", false)
	out.LastSigma = r.OneOf("final_sigmas_type", "zero", "zero", "sigma_min") == "sigma_min"
	out.MinLambda = r.Real("lambda_min_clipped", math.Inf(-1))
	r.Only("variance_type", nil, "a net that predicts a variance, too, is not supported")
}

// hasLevels reports whether a sampler goes by noise levels.
func hasLevels(kind string) bool {
	return slices.Contains([]string{"euler", "euler-a", "dpmpp2m", "unipc"}, kind)
}

// unipc reads what UniPC has.
func (out *Config) unipc(r *weights.Reader) {
	out.Karras = r.Bool("use_karras_sigmas", false)
	out.Order = r.Within("solver_order", 2, 1, 3)
	// Those of DPM-Solver++ are bh2 here, as in diffusers.
	out.BH1 = r.OneOf("solver_type", "bh2", "bh1", "bh2", "midpoint", "heun", "logrho") == "bh1"
	out.PredictNoise = !r.Bool("predict_x0", true)
	out.LowerFinal = r.Bool("lower_order_final", true)
	out.LastSigma = r.OneOf("final_sigmas_type", "zero", "zero", "sigma_min") == "sigma_min"
	out.MinLambda = math.Inf(-1) // it has none
	out.DisableCorrector = r.Ints("disable_corrector", []int{})
	r.Only("solver_p", nil, "another scheduler as UniPC's predictor is not supported")
	r.Only("shift_terminal", nil, "sigmas of flow matching are not supported")
}
