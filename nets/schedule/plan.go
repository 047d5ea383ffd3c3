package schedule

import (
	"math"

	"parley/kernels/denoise"
)

// plan writes the recipe of every step from start on.
func (s *Schedule) plan() {
	s.recipes = s.recipes[:0]
	for i := s.start; i < len(s.timesteps); i++ {
		var r denoise.Coefficients
		switch s.Kind {
		case "pndm":
			r = s.pndm(i)
		case "ddim":
			r = s.ddim(i)
		case "lcm":
			r = s.lcm(i)
		case "dpmpp2m":
			r = s.dpmpp2m(i)
		default:
			r = s.eulerStep(i)
		}
		s.recipes = append(s.recipes, r)
	}
}

// picture are the coefficients (of the latents, of the model's output) of the
// predicted picture at a cumulative alpha.
func (s *Schedule) picture(alpha float64) (x, e float64) {
	switch s.prediction {
	case "v_prediction":
		return math.Sqrt(alpha), -math.Sqrt(1 - alpha)
	case "sample":
		return 0, 1
	}
	// Without signal there is infinitely much of it, of which clipping leaves the sign.
	alpha = max(alpha, 1e-20)
	return 1 / math.Sqrt(alpha), -math.Sqrt((1 - alpha) / alpha)
}

// ddim is arXiv 2010.02502, formula 12, without noise.
func (s *Schedule) ddim(i int) denoise.Coefficients {
	t := s.timesteps[i]
	a, prev := s.alpha(t), s.alpha(t-float64(s.train/s.steps))
	r := denoise.Coefficients{Clip: s.clip}
	r.PredictionLatents, r.PredictionModel = s.picture(a)
	// The direction is the noise that the model sees, whatever becomes of the
	// picture by clipping.
	d := math.Sqrt(1 - prev)
	r.Prediction = math.Sqrt(prev)
	switch s.prediction {
	case "epsilon":
		r.Model = d
	case "v_prediction":
		r.Model, r.Latents = d*math.Sqrt(a), d*math.Sqrt(1-a)
	case "sample":
		r.Model, r.Latents = -d*math.Sqrt(a/(1-a)), d/math.Sqrt(1-a)
	}
	return r
}

// lcm is arXiv 2310.04378: the picture, and noise for the next step.
func (s *Schedule) lcm(i int) denoise.Coefficients {
	t := s.timesteps[i]
	r := denoise.Coefficients{Clip: s.clip}
	r.PredictionLatents, r.PredictionModel = s.picture(s.alpha(t))
	const data = 0.5
	scaled := t * s.scaling
	skip, out := data*data/(scaled*scaled+data*data), scaled/math.Sqrt(scaled*scaled+data*data)
	r.Latents, r.Prediction = skip, out
	if i < len(s.timesteps)-1 {
		prev := s.alpha(s.timesteps[i+1])
		r.Latents, r.Prediction, r.Noise = r.Latents*math.Sqrt(prev), r.Prediction*math.Sqrt(prev), math.Sqrt(1-prev)
	}
	return r
}

// pndm is arXiv 2202.09778's linear multistep part; predictions are the
// model's outputs.
func (s *Schedule) pndm(i int) denoise.Coefficients {
	n := i - s.start // steps since the start
	t, stride := s.timesteps[i], float64(s.train/s.steps)
	prev := t - stride
	var now float64
	var past []float64
	switch n {
	case 0:
		now = 1
	case 1: // once more over the first step, now with its end's slope
		prev, t = t, t+stride
		now, past = 1./2, []float64{1. / 2}
	case 2:
		now, past = 3./2, []float64{-1. / 2}
	case 3:
		now, past = 23./12, []float64{-16. / 12, 5. / 12}
	default:
		now, past = 55./24, []float64{-59. / 24, 37. / 24, -9. / 24}
	}
	a, b := s.alpha(t), s.alpha(prev)
	x := math.Sqrt(b / a)
	e := -(b - a) / (a*math.Sqrt(1-b) + math.Sqrt(a*(1-a)*b))
	if s.prediction == "v_prediction" {
		x, e = x+e*math.Sqrt(1-a), e*math.Sqrt(a)
	}
	r := denoise.Coefficients{PredictionModel: 1, Latents: x, Prediction: e * now}
	for _, c := range past {
		r.Past = append(r.Past, e*c)
	}
	if n == 1 {
		r.Latents, r.First = 0, x
	}
	return r
}

// eulerStep is algorithm 2 of arXiv 2206.00364 without churn; the ancestral
// one goes further down and comes back up with noise.
func (s *Schedule) eulerStep(i int) denoise.Coefficients {
	sigma, to := s.sigmas[i], s.sigmas[i+1]
	r := denoise.Coefficients{Prediction: 1}
	switch s.prediction { // the predicted picture
	case "epsilon":
		r.PredictionLatents, r.PredictionModel = 1, -sigma
	case "v_prediction":
		r.PredictionLatents, r.PredictionModel = 1/(sigma*sigma+1), -sigma/math.Sqrt(sigma*sigma+1)
	case "sample":
		r.PredictionModel = 1
	}
	down := to
	if s.Kind == "euler-a" {
		up := math.Sqrt(to * to * (sigma*sigma - to*to) / (sigma * sigma))
		down = math.Sqrt(to*to - up*up)
		r.Noise = up
	}
	// x + (x-p)/sigma * (down-sigma)
	r.Latents, r.Prediction = down/sigma, 1-down/sigma
	return r
}

// dpmpp2m is arXiv 2211.01095, multistep, of order 2.
func (s *Schedule) dpmpp2m(i int) denoise.Coefficients {
	split := func(sigma float64) (alpha, noise, lambda float64) {
		alpha = 1 / math.Sqrt(sigma*sigma+1)
		noise = sigma * alpha
		return alpha, noise, math.Log(alpha) - math.Log(noise)
	}
	n, last := i-s.start, len(s.timesteps)-1
	a, sg, lam := split(s.sigmas[i+1])
	a0, sg0, lam0 := split(s.sigmas[i])
	var r denoise.Coefficients
	switch s.prediction {
	case "epsilon":
		r.PredictionLatents, r.PredictionModel = 1/a0, -sg0/a0
	case "v_prediction":
		r.PredictionLatents, r.PredictionModel = a0, -sg0
	case "sample":
		r.PredictionModel = 1
	}
	h := lam - lam0
	k := a * math.Expm1(-h)
	r.Latents, r.Prediction = sg/sg0, -k
	v := s.solver
	lower := i == last && (v.eulerFinal || v.lowerFinal && len(s.timesteps) < 15 || v.zeroFinal)
	if n == 0 || v.order1 || lower {
		return r
	}
	_, _, lam1 := split(s.sigmas[i-1])
	d := h / (lam0 - lam1) // 1/r0
	c := -k / 2
	if v.heun {
		c = a * (math.Expm1(-h)/h + 1)
	}
	r.Prediction += c * d
	r.Past = []float64{-c * d}
	return r
}
