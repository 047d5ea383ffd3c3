package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"parley/bench/random"
	"parley/engine"
	"parley/engine/host"
	"parley/kernels/conv"
	"parley/kernels/denoise"
	"parley/kernels/elementwise"
	"parley/kernels/embed"
	"parley/kernels/layout"
	"parley/kernels/matmul"
	"parley/kernels/norm"
	"parley/kernels/optest"
	"parley/kernels/pool"
	"parley/kernels/resize"
	"parley/kernels/rgb"
	"parley/kernels/storage"
	"parley/kernels/tiles"
	"parley/nets/forward"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights"
)

// operations are optest's suites.
var operations = []struct {
	name  string
	suite func(*testing.T, engine.Device)
	quick bool // on the interpreter
}{
	{"Embed", optest.Embed, true},
	{"Layout", optest.Layout, false},
	{"Tiles", optest.Tiles, false},
	{"Resize", optest.Resize, false},
	{"RGB", optest.RGB, false},
	{"Norm", optest.Norm, false},
	{"Linear", optest.Linear, false},
	{"Conv2D", optest.Conv2D, false},
	{"Attend", optest.Attend, false},
}

// runOperations runs the suites as `go test -v` would, and ends the process.
func runOperations(o options) {
	var tests []testing.InternalTest
	for _, op := range operations {
		if o.small && !op.quick {
			continue
		}
		tests = append(tests, testing.InternalTest{Name: op.name, F: func(t *testing.T) {
			for _, float := range []engine.DType{engine.F16, engine.F32} {
				t.Run(float.String(), func(t *testing.T) {
					b := &bench{options: o}
					if err := b.open(float); err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() {
						if err := b.dev.Close(); err != nil {
							t.Error(err)
						}
					})
					op.suite(t, b.dev)
				})
			}
		}})
	}
	os.Args = []string{os.Args[0], "-test.v"}
	testing.Main(func(pat, str string) (bool, error) { return regexp.MatchString(pat, str) }, tests, nil, nil)
}

var (
	running = regexp.MustCompile(`^=== (?:RUN|NAME|CONT) +(\S+)`)
	worst   = regexp.MustCompile(`worst of (\d+) cases: (\S+) `)
	verdict = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+)`)
)

// suites runs the operations' suites in one more process: a test that panics
// would end this one.
func suites(b *bench) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	return b.tests(exec.CommandContext(b.ctx, exe, append([]string{"operations"}, b.args()...)...), "")
}

// tests runs a program that writes as `go test -v` does, and says what each test
// found as it comes.
func (b *bench) tests(cmd *exec.Cmd, under string) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	name, passed, last := "", 0, ""
	for s := bufio.NewScanner(out); s.Scan(); {
		line := s.Text()
		fmt.Fprintln(os.Stderr, line) // to the log
		if m := running.FindStringSubmatch(line); m != nil {
			name = m[1]
		} else if m := worst.FindStringSubmatch(line); m != nil {
			var e float64
			if _, err := fmt.Sscan(m[2], &e); err != nil {
				b.Fail("%q: %v", line, err)
				continue
			}
			b.Figure(under+name+", worst of "+m[1]+" cases", e, "relative error")
		} else if m := verdict.FindStringSubmatch(line); m != nil {
			switch m[1] {
			case "PASS":
				passed++
			case "FAIL":
				b.Fail("%s%s: %s", under, m[2], last)
			}
		} else {
			last = strings.TrimSpace(line)
		}
	}
	failed := cmd.Wait()
	if failed != nil || passed == 0 {
		return fmt.Errorf("%sthe suites: %v, %d passed: %s", under, failed, passed, last)
	}
	b.Figure(under+"suites passed", float64(passed), "tests")
	return nil
}

// find is a folder of the checkout.
func (o options) find(dir string) (string, error) {
	dir = filepath.Join(o.data, dir)
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return "", fmt.Errorf("there is no %s: run in a checkout, or name it by --data", dir)
	}
	return dir, nil
}

// check is what a golden's model is asked, with the names of Forward's inputs and
// outputs beside the golden's.
type check struct {
	net     string
	in, out map[string]string
}

var checks = map[string][]check{
	"clip": {
		{"clip-text", map[string]string{"input_ids": "in.ids"}, map[string]string{"last_hidden_state": "out.text.hidden",
			"pooler_output": "out.text.pooled", "text_embeds": "out.text.embeds"}},
		{"clip-image", map[string]string{"pixel_values": "in.pixels"}, map[string]string{"last_hidden_state": "out.vision.hidden",
			"pooler_output": "out.vision.pooled", "image_embeds": "out.vision.embeds"}},
	},
	"blip": {
		{"blip-vision", map[string]string{"pixel_values": "in.pixels"}, map[string]string{"last_hidden_state": "out.hidden"}},
		{"blip-text", map[string]string{"input_ids": "in.ids", "encoder_hidden_states": "out.hidden"}, map[string]string{"logits": "out.logits"}},
	},
	"unet": {{"unet", map[string]string{"sample": "in.sample", "timestep": "in.timesteps", "encoder_hidden_states": "in.context"},
		map[string]string{"sample": "out.sample"}}},
	"vae": {
		{"vae-encode", map[string]string{"sample": "in.pixels"}, map[string]string{"latent_mean": "out.mean"}},
		{"vae-decode", map[string]string{"latents": "in.latents"}, map[string]string{"sample": "out.pixels"}},
	},
	"bert": {{"bert", map[string]string{"input_ids": "in.ids"}, map[string]string{"last_hidden_state": "out.hidden"}}},
	"vit":  {{"vit", map[string]string{"pixel_values": "in.pixels"}, map[string]string{"last_hidden_state": "out.hidden"}}},
}

// goldens holds each net on the device against nets/testdata.
func goldens(b *bench) error {
	root, err := b.find(filepath.Join("nets", "testdata"))
	if err != nil {
		return err
	}
	dirs, err := filepath.Glob(filepath.Join(root, "*_*"))
	if err != nil {
		return err
	}
	kinds, floats := map[string]bool{}, []engine.DType{engine.F16, engine.F32}
	if b.small {
		floats = floats[:1]
	}
	for _, float := range floats {
		bound := map[engine.DType]float64{engine.F16: 5e-3, engine.F32: 1e-5}[float]
		if err := b.open(float); err != nil {
			return err
		}
		for _, dir := range dirs {
			kind, _, _ := strings.Cut(filepath.Base(dir), "_")
			if b.small && kinds[kind] {
				continue
			}
			kinds[kind] = true
			for _, c := range checks[kind] {
				name := fmt.Sprintf("%s %s %v", filepath.Base(dir), c.net, float)
				e, err := b.golden(dir, c)
				if err != nil {
					b.Fail("%s: %v", name, err)
					continue
				}
				b.Figure(name, e, "relative error")
				if !(e <= bound) {
					b.Fail("%s: relative error %.3g, want at most %g", name, e, bound)
				}
			}
		}
		b.close()
	}
	if len(kinds) != len(checks) {
		return fmt.Errorf("goldens of %d kinds of nets in %s, want %d", len(kinds), root, len(checks))
	}
	return nil
}

// golden is the worst relative error of one net's outputs.
func (b *bench) golden(dir string, c check) (float64, error) {
	set, err := weights.Open(filepath.Join(dir, "golden.safetensors"))
	if err != nil {
		return 0, err
	}
	defer set.Close()
	values, err := forward.ReadTensors(set)
	if err != nil {
		return 0, err
	}
	src, err := models.At(dir)
	if err != nil {
		return 0, err
	}
	// Goldens of maps are [N, H, W, C], Forward's are [N, C, H, W].
	value := func(name string) *engine.Tensor {
		t := values[name]
		if t != nil && len(t.Shape()) == 4 {
			t = layout.ToNCHW(t)
		}
		return t
	}
	in := forward.Tensors{}
	for ours, golden := range c.in {
		in[ours] = value(golden)
	}
	out, err := forward.Once(engine.NewRun(b.ctx), c.net, src, b.dev, in, forward.Options{})
	if err != nil {
		return 0, err
	}
	worst := 0.0
	for ours, golden := range c.out {
		have, want := out[ours], value(golden)
		if have == nil || want == nil {
			return 0, fmt.Errorf("%s or %s is missing", ours, golden)
		}
		e, err := relative(have, want)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", ours, err)
		}
		if !(e <= worst) {
			worst = e
		}
	}
	return worst, nil
}

// bitwise is an operation whose result PTX defines to the last bit: it moves
// values, or its arithmetic is IEEE's in an order that the code fixes. Sums of
// mma have no such order: there the operands are whole numbers, and every order
// gives the same. One freedom is left: ptxas may make one fma of a mul and an add
// that have no rounding of their own, which would show here.
type bitwise struct {
	name  string
	float engine.DType
	run   func(s *engine.Stream) (*engine.Tensor, error)
}

func bitwises() []bitwise {
	both := func(name string, run func(s *engine.Stream) (*engine.Tensor, error)) []bitwise {
		return []bitwise{{name + " f16", engine.F16, run}, {name + " f32", engine.F32, run}}
	}
	only := func(float engine.DType, name string, run func(s *engine.Stream) (*engine.Tensor, error)) []bitwise {
		return []bitwise{{name + " " + float.String(), float, run}}
	}
	linear := func(m, k, n int, x func(uint64, ...int) *engine.Tensor) func(s *engine.Stream) (*engine.Tensor, error) {
		return func(s *engine.Stream) (*engine.Tensor, error) {
			w, err := matmul.Pack(s.Device(), storage.Values(x(2, n, k).F32()), n, k)
			if err != nil {
				return nil, err
			}
			return matmul.Linear(s, s.Put(x(1, m, k)), w, matmul.Epilogue{Bias: s.PutAs(engine.F32, x(3, n)), Residual: s.Put(x(4, m, n))}), nil
		}
	}
	convolve := func(size, in, out int, o conv.Options, x func(uint64, ...int) *engine.Tensor) func(s *engine.Stream) (*engine.Tensor, error) {
		return func(s *engine.Stream) (*engine.Tensor, error) {
			w, err := conv.Pack(s.Device(), storage.Values(x(2, out, in, 3, 3).F32()), out, in, 3, 3)
			if err != nil {
				return nil, err
			}
			return conv.Conv2D(s, s.Put(x(1, 2, size, size, in)), w, o), nil
		}
	}
	normal := func(seed uint64, dims ...int) *engine.Tensor { return random.Normal(seed, 1, dims...) }
	return slices.Concat(
		only(engine.F16, "matmul 300x136x132", linear(300, 136, 132, random.Whole)),
		only(engine.F16, "matmul 130x320x640", linear(130, 320, 640, random.Whole)),
		only(engine.F16, "matmul 3x200x333", linear(3, 200, 333, random.Whole)),
		only(engine.F16, "matmul 65x33x37", linear(65, 33, 37, random.Whole)),
		only(engine.F32, "matmul 70x200x40", linear(70, 200, 40, normal)),
		only(engine.F32, "matmul 5x13x7", linear(5, 13, 7, normal)),
		only(engine.F16, "conv 9x9 24 to 40", convolve(9, 24, 40, conv.Options{Pad: conv.Same(3)}, random.Whole)),
		only(engine.F16, "conv 8x8 16 to 72, upsampled", convolve(8, 16, 72, conv.Options{Pad: conv.Same(3), Upsample: true}, random.Whole)),
		only(engine.F16, "conv 11x11 3 to 8, stride 2", convolve(11, 3, 8, conv.Options{Pad: conv.Pad{Bottom: 1, Right: 1}, Stride: 2},
			random.Whole)),
		only(engine.F32, "conv 9x9 12 to 20", convolve(9, 12, 20, conv.Options{Pad: conv.Same(3)}, normal)),
		both("channels", func(s *engine.Stream) (*engine.Tensor, error) {
			return layout.Channels(s, s.Put(normal(1, 2, 5, 7, 19)), 3, 14), nil
		}),
		both("crop", func(s *engine.Stream) (*engine.Tensor, error) {
			return tiles.Crop(s, s.Put(normal(1, 2, 9, 8, 5)), 2, 1, 6, 7), nil
		}),
		both("max pool", func(s *engine.Stream) (*engine.Tensor, error) {
			return pool.Max(s, s.Put(normal(1, 2, 9, 8, 5)), pool.Window{H: 3, W: 3, Stride: 2, Pad: 1}), nil
		}),
		both("average pool, without what is below zero", func(s *engine.Stream) (*engine.Tensor, error) {
			x := s.Put(normal(1, 2, 9, 8, 5))
			elementwise.ReLU(s, x)
			return pool.Average(s, x, pool.Window{H: 3, W: 3, Pad: 1}), nil
		}),
		both("a picture's bytes, resized, as activations", func(s *engine.Stream) (*engine.Tensor, error) {
			x := rgb.Bytes(s, s.Put(normal(1, 2, 31, 45, 3)))
			return pixels.Signed(s, resize.Resize(s, x, 20, 64, resize.Bicubic, resize.Window{Top: 2, Left: 5, H: 17, W: 50})), nil
		}),
		both("rows", func(s *engine.Stream) (*engine.Tensor, error) {
			return embed.Rows(s, s.Put(normal(1, 50, 37)), s.Put(engine.FromI32([]int32{49, 0, 7, 7}, 4))), nil
		}),
		both("patches", func(s *engine.Stream) (*engine.Tensor, error) {
			return embed.Patches(s, s.Put(normal(1, 3, 4, 4, 20)), s.Put(normal(2, 20)), s.Put(normal(3, 17, 20))), nil
		}),
		both("fade", func(s *engine.Stream) (*engine.Tensor, error) {
			y := s.Put(normal(2, 1, 9, 8, 3))
			tiles.Fade(s, s.Put(normal(1, 1, 9, 8, 3)), y, 4, true)
			return y, nil
		}),
		both("layer norm of 320", func(s *engine.Stream) (*engine.Tensor, error) {
			return norm.Layer(s, s.Put(normal(1, 9, 320)), s.PutAs(engine.F32, normal(2, 320)), s.PutAs(engine.F32, normal(3, 320)), 1e-5), nil
		}),
		both("layer norm of 77", func(s *engine.Stream) (*engine.Tensor, error) {
			return norm.Layer(s, s.Put(normal(1, 9, 77)), s.PutAs(engine.F32, normal(2, 77)), s.PutAs(engine.F32, normal(3, 77)), 1e-5), nil
		}),
		both("group norm of two inputs", func(s *engine.Stream) (*engine.Tensor, error) {
			return norm.Group(s, s.Put(normal(1, 2, 8, 8, 64)), s.Put(normal(4, 2, 8, 8, 32)), 32, s.PutAs(engine.F32, normal(2, 96)),
				s.PutAs(engine.F32, normal(3, 96)), 1e-5, false), nil
		}),
		both("group norm of a large map", func(s *engine.Stream) (*engine.Tensor, error) {
			return norm.Group(s, s.Put(normal(1, 1, 40, 32, 96)), nil, 4, s.PutAs(engine.F32, normal(2, 96)), s.PutAs(engine.F32, normal(3, 96)),
				1e-5, false), nil
		}),
		both("lengths of rows", func(s *engine.Stream) (*engine.Tensor, error) { return norm.L2(s, s.Put(normal(1, 5, 513))), nil }),
		both("cast by scale", func(s *engine.Stream) (*engine.Tensor, error) {
			y := s.New(s.Float(), 1000)
			elementwise.Scale(s, y, s.PutAs(engine.F32, normal(1, 1000)), 0.8125)
			return y, nil
		}),
		both("mix", func(s *engine.Stream) (*engine.Tensor, error) {
			return elementwise.Mix(s, 0.3, s.PutAs(engine.F32, normal(1, 999)), -1.7, s.PutAs(engine.F32, normal(2, 999))), nil
		}),
		both("scheduler step with guidance", func(s *engine.Stream) (*engine.Tensor, error) {
			r := denoise.Coefficients{PredictionLatents: 1.1, PredictionModel: -0.4, Latents: 0.2, Model: 0.1, Prediction: 0.9,
				Past: []float64{0.5, -0.25}, Guidance: 7.5}
			past := []*engine.Tensor{s.PutAs(engine.F32, normal(3, 2, 500)), s.PutAs(engine.F32, normal(4, 2, 500))}
			next, _ := denoise.Step(s, r, s.PutAs(engine.F32, normal(1, 2, 500)), s.Put(normal(2, 4, 500)), past, nil, nil)
			return next, nil
		}),
	)
}

// bits compares the hardware's results with the interpreter's.
func bits(b *bench) error {
	cases := bitwises()
	results := func() ([][]byte, error) {
		out := make([][]byte, len(cases))
		for _, float := range []engine.DType{engine.F16, engine.F32} {
			if err := b.open(float); err != nil {
				return nil, err
			}
			for i, c := range cases {
				if c.float != float {
					continue
				}
				s := engine.NewStream(b.ctx, b.dev)
				y, err := c.run(s)
				if err == nil {
					err = s.Err()
				}
				if err == nil {
					out[i] = make([]byte, y.Bytes())
					err = b.dev.Download(out[i], y)
				}
				s.Close()
				if err != nil {
					return nil, fmt.Errorf("%s on %s: %w", c.name, b.dev.Name(), err)
				}
			}
			b.close()
		}
		return out, nil
	}
	have, err := results()
	if err != nil {
		return err
	}
	b.device = "ptx"
	want, err := results()
	if err != nil {
		return err
	}
	equal := 0
	for i, c := range cases {
		at := 0
		for at < len(want[i]) && have[i][at] == want[i][at] {
			at++
		}
		if at == len(want[i]) {
			equal++
			continue
		}
		lo := at &^ 3
		hi := min(lo+4, len(want[i]))
		b.Fail("%s: bytes %d to %d are %x, the interpreter gives %x", c.name, lo, hi, have[i][lo:hi], want[i][lo:hi])
	}
	b.Figure(fmt.Sprintf("operations of %d that give the same bits", len(cases)), float64(equal), "operations")
	return nil
}

// trio are the miniature models on a device.
type trio struct {
	loop rerank.Loop
	sd   *models.StableDiffusion
	draw models.DrawOptions
}

func openTrio(dir string, dev engine.Device, steps int) (t trio, err error) {
	source := func(name string) models.Source {
		src, e := models.At(filepath.Join(dir, name))
		err = errors.Join(err, e)
		return src
	}
	blip, sd, clip := source("blip"), source("sd"), source("clip")
	if err != nil {
		return t, err
	}
	c, err := models.OpenBLIP(blip, dev)
	if err != nil {
		return t, err
	}
	if t.sd, err = models.OpenStableDiffusion(sd, dev); err != nil {
		return t, err
	}
	t.draw = t.sd.Defaults
	t.draw.Steps, t.draw.Guidance = steps, 4
	j, err := models.OpenCLIP(clip, dev)
	if err != nil {
		return t, err
	}
	t.loop = rerank.Loop{Captioner: c.Captioner(models.Nucleus()), Painter: t.sd.Painter(t.draw), Judge: j.Judge(models.EmbedOptions{}),
		RedrawDuplicates: true}
	return t, nil
}

// run gives both reconstructions of a scene.
func (t trio) run(ctx context.Context, i int, picture *pixels.Image, text string, k int) ([2]*rerank.Result, error) {
	t.loop.K = k
	run, seed := engine.NewRun(ctx), uint64(i*k)
	image, err := t.loop.One(run, rerank.Source{Name: fmt.Sprint(i), Picture: picture, Seed: seed})
	if err != nil {
		return [2]*rerank.Result{}, err
	}
	texts, err := t.loop.One(run, rerank.Source{Name: text, Seed: seed})
	return [2]*rerank.Result{image, texts}, err
}

// tie is how close two cosines are that f16 may exchange.
const tie = 1e-3

// same says whether the device chose what the CPU did, ties aside.
func same(cpu, dev *rerank.Result) bool {
	return cpu.Selected == dev.Selected || math.Abs(cpu.Candidates[cpu.Selected].Score-cpu.Candidates[dev.Selected].Score) <= tie
}

// loops runs both reconstructions on the miniature models, on the CPU and on the
// device: in at least 95 of 100 scenes they choose the same candidate.
func loops(b *bench) error {
	mini, err := b.find(filepath.Join("weights", "mini", "models"))
	if err != nil {
		return err
	}
	dir, err := b.find(filepath.Join("weights", "mini", "test"))
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.png"))
	if err != nil || len(files) < b.scenes {
		return fmt.Errorf("%d scenes in %s, want %d: %w", len(files), dir, b.scenes, err)
	}
	k, steps, n := 3, 4, b.scenes
	if b.small {
		k, steps, n = 2, 1, 1
	}
	cpu, err := openTrio(mini, host.New(0), steps)
	if err != nil {
		return err
	}
	if err := b.open(engine.F16); err != nil {
		return err
	}
	dev, err := openTrio(mini, b.dev, steps)
	if err != nil {
		return err
	}
	if b.small {
		for _, t := range []*trio{&cpu, &dev} {
			t.draw.Width, t.draw.Height = 64, 64
			t.loop.Painter = t.sd.Painter(t.draw)
		}
	}
	var chosen, alike [2]int
	captions, words, done := 0, 0, 0
	for i, f := range files[:n] {
		if b.late() && done > 0 {
			b.Note("%d of %d scenes in the time that there was", done, n)
			break
		}
		picture, err := pixels.Read(f)
		if err != nil {
			return err
		}
		// The text of a scene is what the CPU's captioner says of it.
		text, err := cpu.loop.Captioner.Caption(engine.NewRun(b.ctx), []pixels.Picture{picture}, 1, []uint64{99})
		if err != nil {
			return err
		}
		want, err := cpu.run(b.ctx, i, picture, text[0][0].Text, k)
		if err != nil {
			return fmt.Errorf("%s on the CPU: %w", f, err)
		}
		have, err := dev.run(b.ctx, i, picture, text[0][0].Text, k)
		if err != nil {
			return fmt.Errorf("%s on %s: %w", f, b.dev.Name(), err)
		}
		for l := range 2 {
			if have[l].Selected == want[l].Selected {
				alike[l]++
			}
			if same(want[l], have[l]) {
				chosen[l]++
			} else {
				b.Note("%s, %s reconstruction: candidate %d on the CPU, %d here", filepath.Base(f), [2]string{"image", "text"}[l],
					want[l].Selected, have[l].Selected)
			}
		}
		equal := 0
		for j, c := range want[0].Candidates {
			if words++; c.Text == have[0].Candidates[j].Text {
				equal++
			}
		}
		captions += equal
		done++
	}
	for l, name := range []string{"image", "text"} {
		share := float64(chosen[l]) / float64(done)
		b.Figure(name+" reconstruction, same candidate, ties aside", 100*share, "% of scenes")
		b.Figure(name+" reconstruction, same candidate", 100*float64(alike[l])/float64(done), "% of scenes")
		if share < 0.95 {
			b.Note("%s reconstruction: the same candidate in %d of %d scenes, 95 %% were expected", name, chosen[l], done)
		}
	}
	b.Figure("captions that are equal, word by word", 100*float64(captions)/float64(words), "% of captions")
	b.Figure("scenes", float64(done), "scenes")
	return nil
}

// relative is |a-b| / |b|.
func relative(a, b *engine.Tensor) (float64, error) {
	if !a.Shape().Equal(b.Shape()) {
		return math.Inf(1), fmt.Errorf("shape %v, want %v", a.Shape(), b.Shape())
	}
	var diff, sum float64
	x, y := a.F32(), b.F32()
	for i := range y {
		d, v := float64(x[i])-float64(y[i]), float64(y[i])
		diff += d * d
		sum += v * v
	}
	return math.Sqrt(diff / sum), nil
}

// finite fails where a net gave something that is no number.
func finite(what string, t *engine.Tensor) error {
	for i, v := range t.F32() {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("%s: element %d of %v is %v", what, i, t.Shape(), v)
		}
	}
	return nil
}
