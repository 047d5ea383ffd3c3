package schedule

import (
	"math"
	"slices"

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
		case "unipc":
			r = s.unipcStep(i)
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

// split are the parts of picture and noise in latents of a noise level, and half the
// logarithm of the signal-to-noise ratio.
func split(sigma float64) (alpha, noise, lambda float64) {
	alpha = 1 / math.Sqrt(sigma*sigma+1)
	noise = sigma * alpha
	return alpha, noise, math.Log(alpha) - math.Log(noise)
}

// dpmpp2m is arXiv 2211.01095, multistep, of order 2.
func (s *Schedule) dpmpp2m(i int) denoise.Coefficients {
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

// unipcStep is arXiv 2302.04867, algorithms 5 and 7 (8 for noise): the latents are
// corrected by what the net says of them, and the next ones are predicted from there.
// A corrector begins as the predictor before it did, from the latents of one step ago,
// so that those cancel: the corrected latents are the predicted ones with other weights
// of the differences of predictions.
func (s *Schedule) unipcStep(i int) denoise.Coefficients {
	var r denoise.Coefficients
	a, sg, _ := split(s.sigmas[i])
	switch {
	case s.unipc.noise && s.prediction == "epsilon", !s.unipc.noise && s.prediction == "sample":
		r.PredictionModel = 1
	case s.unipc.noise && s.prediction == "v_prediction":
		r.PredictionLatents, r.PredictionModel = sg, a
	case s.unipc.noise:
		r.PredictionLatents, r.PredictionModel = 1/sg, -a/sg
	case s.prediction == "v_prediction":
		r.PredictionLatents, r.PredictionModel = a, -sg
	default:
		r.PredictionLatents, r.PredictionModel = 1/a, -sg/a
	}
	// 1. The predictor, from corrected latents.
	way := s.unipcWay(i)
	r.Latents, r.Prediction = way.latents, way.prediction
	past := make([]float64, denoise.MaxPast)
	for k, w := range way.predictor() {
		r.Prediction -= w
		past[k] += w
	}
	n := len(way.ratios)
	// 2. The corrector.
	if i > s.start && !slices.Contains(s.unipc.disabled, i-1) {
		before := s.unipcWay(i - 1)
		predictor, corrector := before.predictor(), before.corrector()
		last := way.latents * corrector[len(corrector)-1]
		r.Prediction += last
		past[0] -= last
		for k, w := range predictor {
			w = way.latents * (corrector[k] - w)
			past[0] -= w
			past[k+1] += w
		}
		n = max(n, len(corrector))
	}
	if n > 0 {
		r.Past = past[:n]
	}
	return r
}

// unipcWay is a step of UniPC from one noise level to the next.
type unipcWay struct {
	latents, prediction float64   // of the first order
	scale               float64   // of what the other orders add
	ratios              []float64 // r_k of the earlier predictions, the latest first
	b                   []float64 // right-hand sides, one for each order
}

// unipcOrder is the order of a step, counted from 0 over all timesteps.
func (s *Schedule) unipcOrder(i int) int {
	order := min(s.unipc.order, i-s.start+1)
	if s.unipc.lowerFinal {
		order = min(order, len(s.timesteps)-i)
	}
	return order
}

func (s *Schedule) unipcWay(i int) unipcWay {
	a, sg, lam := split(s.sigmas[i+1])
	a0, sg0, lam0 := split(s.sigmas[i])
	if s.sigmas[i+1] == 0 {
		// Only the first order has a limit here, the predicted picture. diffusers gives
		// NaN where lower_order_final, solver_type or predict_x0 asks for another one.
		if s.unipc.noise {
			return unipcWay{latents: 1 / a0, prediction: -sg0 / a0}
		}
		return unipcWay{prediction: 1}
	}
	h := lam - lam0
	signed, w := -h, unipcWay{latents: sg / sg0, scale: -a}
	if s.unipc.noise {
		signed, w = h, unipcWay{latents: a / a0, scale: -sg}
	}
	w.prediction = w.scale * math.Expm1(signed)
	if h == 0 { // the last of Karras' levels, twice
		return w
	}
	bh := math.Expm1(signed)
	if s.unipc.bh1 {
		bh = signed
	}
	phi, factorial := math.Expm1(signed)/signed-1, 1.0
	for k := range s.unipcOrder(i) {
		if k > 0 {
			_, _, earlier := split(s.sigmas[i-k])
			w.ratios = append(w.ratios, (earlier-lam0)/h)
		}
		w.b = append(w.b, phi*factorial/bh)
		factorial *= float64(k + 2)
		phi = phi/signed - 1/factorial
	}
	w.scale *= bh
	return w
}

// predictor are the weights of the differences of earlier predictions to the latest.
func (w unipcWay) predictor() []float64 {
	if len(w.ratios) == 1 {
		return []float64{w.scale / 2 / w.ratios[0]} // as in diffusers, whatever b is
	}
	rho := vandermonde(w.ratios, w.b)
	for k := range rho {
		rho[k] *= w.scale / w.ratios[k]
	}
	return rho
}

// corrector are those weights with, at the end, that of the new prediction.
func (w unipcWay) corrector() []float64 {
	if len(w.ratios) == 0 {
		return []float64{w.scale / 2} // likewise
	}
	ratios := append(slices.Clone(w.ratios), 1)
	rho := vandermonde(ratios, w.b)
	for k := range rho {
		rho[k] *= w.scale / ratios[k]
	}
	return rho
}

// vandermonde are the rho with sum_k x_k^i rho_k = b_i for each i below len(x): by
// Gaussian elimination of a matrix of at most 3 x 3, whose x differ.
func vandermonde(x, b []float64) []float64 {
	n := len(x)
	m := make([][]float64, n)
	for i := range m {
		for _, v := range x {
			m[i] = append(m[i], math.Pow(v, float64(i)))
		}
		m[i] = append(m[i], b[i])
	}
	for i := range m { // its minors at the upper left are Vandermonde's too, and not 0
		for j := i + 1; j < n; j++ {
			f := m[j][i] / m[i][i]
			for k := i; k <= n; k++ {
				m[j][k] -= f * m[i][k]
			}
		}
	}
	rho := make([]float64, n)
	for i := n - 1; i >= 0; i-- {
		rho[i] = m[i][n]
		for k := i + 1; k < n; k++ {
			rho[i] -= m[i][k] * rho[k]
		}
		rho[i] /= m[i][i]
	}
	return rho
}
