package schedule_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/random"
	"parley/nets/schedule"
	"parley/weights"
)

type golden struct {
	Kind      string
	Config    map[string]any
	Steps     int
	Strength  float64
	Seed      uint64
	Timesteps []float64
	Latents   []float64
}

func goldens(t *testing.T) []golden {
	f, err := os.Open("testdata/goldens.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var gs []golden
	if err := json.NewDecoder(z).Decode(&gs); err != nil {
		t.Fatal(err)
	}
	if len(gs) < 250 {
		t.Fatalf("only %d goldens", len(gs))
	}
	return gs
}

// model is what testdata/goldens.py draws with.
func model(x []float32, t float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(0.4*float64(v)*math.Cos(t/300) + 0.6*math.Sin(float64(i)+t/100))
	}
	return y
}

func scale(x []float32, by float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(float64(v) * by)
	}
	return y
}

func draw(s *schedule.Schedule, g golden, guidance float64) ([]float32, *schedule.Schedule, error) {
	st := engine.NewStream(context.Background(), host.New(1))
	rng := random.NewTorch(g.Seed)
	n := len(g.Latents)
	x := make([]float32, n)
	rng.Normal(x)
	if g.Strength > 0 {
		late, a, b, err := s.StartingAt(g.Strength)
		if s = late; err != nil {
			return nil, nil, err
		}
		for i, v := range x {
			x[i] = float32(a*float64(float32(math.Cos(float64(i)))) + b*float64(v))
		}
	} else {
		x = scale(x, s.InitSigma())
	}
	run := s.Begin()
	for i := range s.Steps() {
		e := model(scale(x, s.Scale(i)), s.Timestep(i))
		out := st.Put(engine.FromF32(e, 1, n))
		if guidance > 1 {
			// c = u + (e-u)/g gives e again, whatever u is.
			both := make([]float32, 2*n)
			for j, v := range e {
				u := float32(math.Sin(float64(j * 7)))
				both[j], both[n+j] = u, u+(v-u)/float32(guidance)
			}
			out = st.Put(engine.FromF32(both, 2, n))
		}
		var noise *engine.Tensor
		if s.Noisy(i) {
			z := make([]float32, n)
			rng.Normal(z)
			noise = st.Put(engine.FromF32(z, 1, n))
		}
		in := st.Put(engine.FromF32(x, 1, n))
		next, _ := run.Step(st, i, in, out, noise, guidance)
		x = append([]float32(nil), next.F32()...)
		st.Free(next, in, out, noise)
	}
	run.Free(st)
	return x, s, st.Err()
}

func TestAgainstDiffusers(t *testing.T) {
	worst := map[string]float64{}
	for _, g := range goldens(t) {
		for _, own := range []bool{false, true} {
			kind := g.Kind
			if own {
				kind = ""
			}
			name := fmt.Sprintf("%s own %v %v steps %d strength %v", g.Kind, own, g.Config, g.Steps, g.Strength)
			s, err := schedule.New(weights.Config(g.Config), kind, g.Steps)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			x, s, err := draw(s, g, 1)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if s.Steps() != len(g.Timesteps) {
				t.Errorf("%s: %d steps, want %d", name, s.Steps(), len(g.Timesteps))
				continue
			}
			for i, want := range g.Timesteps {
				if math.Abs(s.Timestep(i)-want) > 1e-3 {
					t.Errorf("%s: timestep %d is %v, want %v", name, i, s.Timestep(i), want)
					break
				}
			}
			bound := 1e-5
			if g.Config["rescale_betas_zero_snr"] == true {
				// The first sigma is 4096, and diffusers' own float32 rounds there.
				bound = 5e-5
			}
			if e := far(x, g.Latents); !(e <= bound) {
				t.Errorf("%s: relative error %.2g", name, e)
			} else {
				worst[g.Kind] = max(worst[g.Kind], e)
			}
		}
	}
	t.Logf("worst relative errors: %v", worst)
}

func far(x []float32, want []float64) float64 {
	var d, n float64
	for i, w := range want {
		d += (float64(x[i]) - w) * (float64(x[i]) - w)
		n += w * w
	}
	return math.Sqrt(d / n)
}

// TestKarrasBounds: both samplers that take Karras' levels take their ends from
// a configuration. The timesteps are those of diffusers 0.42.1.
func TestKarrasBounds(t *testing.T) {
	c := weights.Config{"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1,
		"sigma_min": 0.05, "sigma_max": 10.0, "use_karras_sigmas": true}
	for kind, want := range map[string][]float64{
		"dpmpp2m-karras": {934, 725, 397, 75, 2},
		"euler":          {933.5066528320312, 724.98583984375, 397.2528381347656, 74.74005126953125, 1.9338457584381104},
	} {
		s, err := schedule.New(c, kind, 5)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range want {
			if got := s.Timestep(i); math.Abs(got-v) > 1e-3 {
				t.Errorf("%s: step %d at %v, want %v", kind, i, got, v)
			}
		}
	}
}

// TestNoiseIsClipped: lambda_min_clipped leaves the noisiest timesteps out. The
// timesteps are those of diffusers 0.42.1.
func TestNoiseIsClipped(t *testing.T) {
	for _, c := range []struct {
		spacing string
		lambda  float64
		want    []float64
	}{
		{"linspace", -5.1, []float64{995, 871, 746, 622, 498, 373, 249, 124}}, {"linspace", -3,
			[]float64{967, 846, 725, 604, 484, 363, 242, 121}},
		{"leading", -5.1, []float64{881, 771, 661, 551, 441, 331, 221, 111}}, {"leading", -3, []float64{857, 750, 643, 536, 429, 322, 215, 108}},
		{"trailing", -5.1, []float64{995, 870, 745, 620, 495, 370, 245, 120}}, {"trailing", -3, []float64{967, 842, 717, 592, 467, 342, 217, 92}},
	} {
		s, err := schedule.New(weights.Config{"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": c.lambda,
			"timestep_spacing": c.spacing, "steps_offset": 1}, "dpmpp2m", len(c.want))
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range c.want {
			if got := s.Timestep(i); got != v {
				t.Errorf("%s, %v: step %d at %v, want %v", c.spacing, c.lambda, i, got, v)
			}
		}
	}
}

// TestEnds: the noisiest levels, a timestep each, and continuous timesteps of
// levels so low that their logarithms are below -1. The numbers are diffusers
// 0.42.1's.
func TestEnds(t *testing.T) {
	c := weights.Config{"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "timestep_spacing": "linspace"}
	s, err := schedule.New(c, "euler", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i, sigma := range []float64{14.614646911621094, 14.526281356811523, 14.438573837280273} {
		if got := math.Sqrt(1/(s.Scale(i)*s.Scale(i)) - 1); math.Abs(got-sigma) > 1e-5 || s.Timestep(i) != float64(999-i) {
			t.Errorf("step %d at %v with noise of %v, want %v", i, s.Timestep(i), got, sigma)
		}
	}
	c["timestep_type"], c["use_karras_sigmas"], c["sigma_min"], c["sigma_max"] = "continuous", true, 0.002, 80.0
	c["prediction_type"] = "v_prediction"
	if s, err = schedule.New(c, "euler", 4); err != nil {
		t.Fatal(err)
	}
	for i, v := range []float64{1.0955066680908203, 0.56862872838974, -0.18876679241657257, -1.553652048110962} {
		if got := s.Timestep(i); math.Abs(got-v) > 1e-6 {
			t.Errorf("step %d at %v, want %v", i, got, v)
		}
	}
}

// TestRounding: halves of trailing timesteps fall as numpy's stride has it, and
// Karras' timesteps of a cosine schedule are cut off. The numbers are diffusers
// 0.42.1's.
func TestRounding(t *testing.T) {
	cosine := weights.Config{"beta_schedule": "squaredcos_cap_v2"}
	for _, c := range []struct {
		config weights.Config
		kind   string
		steps  int
		want   []float64
	}{
		{weights.Config{"timestep_spacing": "trailing"}, "ddim", 48, []float64{999, 978, 957, 936, 916, 895, 874, 853}},
		{cosine, "dpmpp2m-karras", 8, []float64{998, 998, 998, 998, 994, 965, 508, 0}},
		{weights.Config{"num_train_timesteps": 1}, "dpmpp2m-karras", 1, []float64{0}},
	} {
		s, err := schedule.New(c.config, c.kind, c.steps)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range c.want {
			if got := s.Timestep(i); got != v {
				t.Errorf("%s of %v: step %d of %d at %v, want %v", c.kind, c.config, i, c.steps, got, v)
			}
		}
	}
}

// TestWithoutSignal: from a timestep that has no signal epsilon tells what clipping
// leaves of it, as in diffusers 0.42.1, or nothing.
func TestWithoutSignal(t *testing.T) {
	c := weights.Config{"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "rescale_betas_zero_snr": true,
		"timestep_spacing": "trailing"}
	s, err := schedule.New(c, "ddim", 2)
	if err != nil {
		t.Fatal(err)
	}
	st := engine.NewStream(context.Background(), host.New(1))
	run := s.Begin()
	x, e := st.Put(engine.FromF32([]float32{1, -2, 0.5}, 1, 3)), st.Put(engine.FromF32([]float32{0.5, 0.5, 0.75}, 1, 3))
	next, _ := run.Step(st, 0, x, e, nil, 1)
	if e := far(next.F32(), []float64{0.9275125861167908, -0.057086825370788574, 0.16051962971687317}); !(e <= 1e-6) {
		t.Errorf("have %v: relative error %.2g", next.F32(), e)
	}
	c["clip_sample"] = false
	for _, kind := range []string{"ddim", "lcm"} {
		if _, err := schedule.New(c, kind, 2); err == nil || !strings.Contains(err.Error(), "rescale_betas_zero_snr") {
			t.Errorf("%s: error %v", kind, err)
		}
	}
}

func TestGuidance(t *testing.T) {
	for _, g := range goldens(t)[:40] {
		s, err := schedule.New(weights.Config(g.Config), g.Kind, g.Steps)
		if err != nil {
			t.Fatal(err)
		}
		x, _, err := draw(s, g, 7.5)
		if err != nil {
			t.Fatal(err)
		}
		if e := far(x, g.Latents); !(e <= 1e-4) {
			t.Errorf("%s %v steps %d: relative error %.2g with guidance", g.Kind, g.Config, g.Steps, e)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, config, kind string
		steps              int
		want               string
	}{
		{"kind", `{}`, "heun", 5, "choose one of pndm"},
		{"class", `{"_class_name":"HeunDiscreteScheduler"}`, "", 5, "HeunDiscreteScheduler"},
		{"no steps", `{}`, "ddim", 0, "at least 1"},
		{"steps", `{}`, "ddim", 1001, "1000 timesteps"},
		{"lcm steps", `{}`, "lcm", 51, "original_inference_steps"},
		{"prediction", `{"prediction_type":"flow"}`, "ddim", 5, "prediction_type"},
		{"betas", `{"beta_schedule":"x"}`, "ddim", 5, "beta_schedule"},
		{"trained", `{"trained_betas":[0.1]}`, "ddim", 5, "trained_betas"},
		{"thresholding", `{"thresholding":true}`, "ddim", 5, "thresholding"},
		{"prk", `{"_class_name":"PNDMScheduler"}`, "", 5, "skip_prk_steps"},
		{"train", `{"num_train_timesteps":0}`, "ddim", 5, "num_train_timesteps"},
		{"type", `{"beta_start":"x"}`, "ddim", 5, "beta_start"},
	} {
		cfg, err := weights.ParseConfig("scheduler_config.json", []byte(c.config))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := schedule.New(cfg, c.kind, c.steps); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// TestToNoNoise: UniPC's last step to no noise at all is of the first order, the predicted
// picture, where diffusers 0.42.1 gives NaN, too.
func TestToNoNoise(t *testing.T) {
	var once []float32
	for _, more := range []weights.Config{{}, {"predict_x0": false}, {"solver_type": "bh1"}, {"lower_order_final": false},
		{"predict_x0": false, "solver_type": "bh1", "lower_order_final": false, "solver_order": json.Number("3")}} {
		for _, steps := range []int{1, 6} {
			s, err := schedule.New(more, "unipc", steps)
			if err != nil {
				t.Fatal(err)
			}
			x, _, err := draw(s, golden{Latents: make([]float64, 20), Seed: 3}, 1)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]float64, len(x))
			for i, v := range x {
				if want[i] = float64(v); math.IsNaN(want[i]) || math.IsInf(want[i], 0) {
					t.Fatalf("%v, %d steps: %v", more, steps, x)
				}
			}
			if steps > 1 {
				continue
			}
			if once == nil {
				once = x
			}
			if e := far(once, want); !(e <= 1e-6) {
				t.Errorf("%v: one step gives another picture: relative error %.2g", more, e)
			}
		}
	}
}
