package diffusion_test

import (
	"image/color"
	"math"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/simd"
	"parley/nets/diffusion"
	"parley/nets/pixels"
)

// sized is a Stable Diffusion of which the memory is known: floats of a step for each
// of its texts, of a decoder and of an encoder.
type sized struct {
	toy
	step, decode, encode int
	text                 engine.Shape // that the last condition had
}

func (n *sized) Condition(_ *engine.Stream, _ []diffusion.Time, text *engine.Tensor) (diffusion.Conditions, error) {
	n.text = text.Shape()
	return n, nil
}

func (n *sized) Step(s *engine.Stream, _, _ *engine.Tensor) (*engine.Tensor, error) {
	return s.New(engine.F32, n.step*n.text[0]), s.Err()
}

func (n *sized) Free(*engine.Stream) {}

func (n *sized) Decode(s *engine.Stream, _ *engine.Tensor) (*engine.Tensor, error) {
	return s.New(engine.F32, n.decode), s.Err()
}

func (n *sized) Moments(s *engine.Stream, _ *engine.Tensor) (*engine.Tensor, error) {
	return s.New(engine.F32, n.encode), s.Err()
}

func (n *sized) plan(t *testing.T, o diffusion.Options) *diffusion.Plan {
	t.Helper()
	p := &diffusion.Pipeline{Text: n, Denoiser: n, VAE: n, Scheduler: config}
	o.Steps, o.Scheduler, o.Width, o.Height = 4, "ddim", 8, 16
	plan, err := p.Plan(o)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestWhatIsNeeded: the steps' memory grows with the texts, the decoder's and the
// encoder's do not, and the latents with their past lie beside the decoder.
func TestWhatIsNeeded(t *testing.T) {
	const big, latents = 1 << 20, 2 * 8 * 16
	need := func(n *sized, o diffusion.Options, k int) int {
		t.Helper()
		v, err := n.plan(t, o).Need(host.New(1), k, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		name string
		net  sized
		o    diffusion.Options
		k    int
		want int // in floats, but for small ones
	}{
		{"steps", sized{step: big}, diffusion.Options{}, 1, big},
		{"guided steps", sized{step: big}, diffusion.Options{Guidance: 2}, 1, 2 * big},
		{"steps of three", sized{step: big}, diffusion.Options{Guidance: 2}, 3, 6 * big},
		{"a decoder", sized{decode: big}, diffusion.Options{}, 3, big},
		{"an encoder", sized{encode: big}, diffusion.Options{Strength: 0.5}, 3, big},
		{"an encoder that nobody asks", sized{encode: big}, diffusion.Options{}, 3, 0},
	} {
		if have := need(&c.net, c.o, c.k); have < 4*c.want || have > 4*c.want+big/8 {
			t.Errorf("%s: %d bytes, want %d and little more", c.name, have, 4*c.want)
		}
	}
	// Of each drawing: six latents, a text of one number, those that are decoded, and the picture of three.
	n := &sized{decode: big}
	if have, want := need(n, diffusion.Options{}, 9)-need(n, diffusion.Options{}, 8), 4*(6*latents+1+latents+3*8*16); have != want {
		t.Errorf("another drawing beside the decoder takes %d bytes, want %d", have, want)
	}
	n = &sized{step: 1}
	if need(n, diffusion.Options{Tokens: 5}, 2); n.text[1] != 5 {
		t.Errorf("long rows are weighed as %v", n.text)
	}
	if need(n, diffusion.Options{}, 2); n.text[1] != 1 {
		t.Errorf("rows are weighed as %v", n.text)
	}
}

// TestBatches: as many drawings are drawn at once as fit beside what all share, but no
// more than are there in time, and large ones one by one.
func TestBatches(t *testing.T) {
	batch := func(n sized, k, memory int) int {
		t.Helper()
		b, err := n.plan(t, diffusion.Options{}).Batch(host.New(1), k, memory)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	decoder := sized{step: 1000, decode: 1 << 20} // which is there once
	three, err := decoder.plan(t, diffusion.Options{}).Need(host.New(1), 3, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	_, third := simd.Caches()
	for _, c := range []struct {
		name            string
		net             sized
		k, memory, want int
	}{
		{"without a bound", sized{step: 1}, 100, 0, 8},
		{"three without a bound", sized{step: 1}, 3, 0, 3},
		{"in all memory", sized{step: 1}, 100, 1 << 40, 32},
		{"three fit", decoder, 9, three, 3},
		{"three do not fit", decoder, 9, three - 1, 2},
		{"larger than the caches", sized{step: third/4 + 1}, 5, 1 << 40, 1},
		{"within the caches", sized{step: third / 8}, 5, 1 << 40, 5},
	} {
		if have := batch(c.net, c.k, c.memory); have != c.want {
			t.Errorf("%s: %d of %d at once, want %d", c.name, have, c.k, c.want)
		}
	}
}

// wild is an autoencoder with logarithms of variances beyond all bounds.
type wild struct{ toy }

func (*wild) Moments(s *engine.Stream, _ *engine.Tensor) (*engine.Tensor, error) {
	return s.PutAs(engine.F32, engine.FromF32([]float32{1, 2, 3, 4, 30, 20.5, -30.5, -40}, 1, 1, 1, 8)), s.Err()
}

// TestDeviationIsBounded: the logarithm of an init image's variance is taken as -30 to
// 20, as diffusers' DiagonalGaussianDistribution takes it.
func TestDeviationIsBounded(t *testing.T) {
	n := &wild{}
	p := &diffusion.Pipeline{Text: n, Denoiser: n, VAE: n, Scheduler: config}
	plan, err := p.Plan(diffusion.Options{Steps: 4, Scheduler: "ddim", Width: 8, Height: 8, Strength: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	m, err := plan.EncodeImage(engine.NewRun(t.Context()).On(host.New(1)), pixels.New(8, 8, color.RGBA{A: 255}))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{math.Exp(10), math.Exp(10), math.Exp(-15), math.Exp(-15)} {
		if have := float64(m.Deviation.F32()[i]); math.Abs(have-want) > 1e-5*want || m.Mean.F32()[i] != float32(i+1) {
			t.Errorf("element %d: mean %v, deviation %v, want %v", i, m.Mean.F32()[i], have, want)
		}
	}
}
