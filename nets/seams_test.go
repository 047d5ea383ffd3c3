package nets_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/clip"
	"parley/nets/unet"
	"parley/weights/convert"
)

// seam is a UNet of testdata with the inputs and outputs of seams.py.
type seam struct {
	golden
	name string
	m    *unet.Model
	s    *engine.Stream
	x, e *engine.Tensor // latents and context
	c    *unet.Conditions
	in   unet.Input // of the latents, each at its own step
}

// openSeam loads a net and conditions it, with an embedding where there is one.
func openSeam(t *testing.T, dev engine.Device, name string, added *engine.Tensor) *seam {
	t.Helper()
	g := open(t, name, convert.UNet)
	m, err := unet.Load(g.config, g.model.Loader(dev))
	if err != nil {
		t.Fatal(err)
	}
	var times []float64
	for _, v := range g.tensor("in.timesteps").F32() {
		times = append(times, float64(v))
	}
	z := &seam{golden: g, name: name, m: m, s: engine.NewStream(t.Context(), dev)}
	t.Cleanup(z.s.Close)
	z.x, z.e = z.s.Put(g.tensor("in.sample")), z.s.Put(g.tensor("in.context"))
	if added != nil {
		added = z.s.Put(added)
	}
	if z.c, err = m.Condition(z.s, times, z.e, unet.Embeddings{Added: added}); err != nil {
		t.Fatal(err)
	}
	rows := make([]int32, len(times))
	for i := range rows {
		rows[i] = z.c.Row(i, i)
	}
	z.in = unet.Input{Latents: z.x, Step: z.s.Put(engine.FromI32(rows, len(rows)))}
	z.values = openSet(t, filepath.Join("testdata", "seams.safetensors"))
	return z
}

// step is a pass's result on the host.
func (z *seam) step(in unet.Input) *engine.Tensor {
	z.t.Helper()
	y, err := z.m.Step(z.s, z.c, in)
	if err != nil {
		z.t.Fatal(err)
	}
	h, err := z.s.Get(y)
	if err != nil {
		z.t.Fatal(err)
	}
	z.s.Free(y)
	return h
}

// near fails where a result is not a golden of seams.py.
func (z *seam) near(have *engine.Tensor, name string) {
	z.t.Helper()
	if e, err := relative(have, z.tensor(z.name+".out."+name)); err != nil || !(e <= bounds[z.s.Float()]) {
		z.t.Errorf("%s: relative error %.3g, %v; want at most %g", name, e, err, bounds[z.s.Float()])
	}
}

// residuals are seams.py's, or zeros.
func (z *seam) residuals(skips, mid bool) (f unet.Features) {
	put := func(name string, keep bool) *engine.Tensor {
		x := z.tensor(z.name + ".in." + name)
		if !keep {
			x = engine.FromF32(make([]float32, x.Elems()), x.Shape()...)
		}
		return z.s.Put(x)
	}
	for i := 0; ; i++ {
		if _, ok := z.values.Entry(fmt.Sprintf("%s.in.skip.%d", z.name, i)); !ok {
			break
		}
		f.Skips = append(f.Skips, put(fmt.Sprintf("skip.%d", i), skips))
	}
	f.Mid = put("mid", mid)
	return f
}

// TestResiduals: residuals are added where diffusers adds them, and zeros change no
// bit.
func TestResiduals(t *testing.T) {
	for _, name := range []string{"unet_sd1", "unet_odd"} {
		t.Run(name, func(t *testing.T) { testResiduals(t, host.New(2), name) })
	}
}

func testResiduals(t *testing.T, dev engine.Device, name string) {
	z := openSeam(t, dev, name, nil)
	in := z.in
	plain := z.step(in)
	in.Residuals = z.residuals(false, false)
	if zeros := z.step(in); !slices.Equal(zeros.F32(), plain.F32()) {
		t.Error("residuals of zeros change the result")
	}
	for _, c := range []struct {
		name       string
		skips, mid bool
	}{{"skips", true, false}, {"mid", false, true}, {"all", true, true}} {
		in.Residuals = z.residuals(c.skips, c.mid)
		z.near(z.step(in), c.name)
	}
	in.Residuals.Mid, in.Residuals.Skips = nil, z.residuals(true, false).Skips
	z.near(z.step(in), "skips")

	in.Residuals.Skips = in.Residuals.Skips[1:]
	if _, err := z.m.Step(z.s, z.c, in); err == nil || !strings.Contains(err.Error(), "residuals for") {
		t.Errorf("a residual too few: %v", err)
	}
	in.Residuals = unet.Features{Mid: z.x}
	var shape interface{ Error() string }
	if _, err := z.m.Step(z.s, z.c, in); !errors.As(err, &shape) || !strings.Contains(err.Error(), "mid_block_additional_residual") {
		t.Errorf("a residual of another shape: %v", err)
	}
}

// TestResidualsOfMany: residuals for latents that several texts share, and for each
// text.
func TestResidualsOfMany(t *testing.T) {
	z := openSeam(t, host.New(2), "unet_odd", nil)
	rows := func(n int) unet.Features {
		var f unet.Features
		for _, x := range append(z.residuals(true, true).Skips, z.residuals(true, true).Mid) {
			first := x.Rows(0, 1).F32()
			f.Skips = append(f.Skips, engine.FromF32(slices.Repeat(first, n), append([]int{n}, x.Shape()[1:]...)...))
		}
		last := len(f.Skips) - 1
		f.Skips, f.Mid = f.Skips[:last], f.Skips[last]
		return f
	}
	step := z.s.Put(engine.FromI32([]int32{1}, 1))
	one, two := z.x.Rows(0, 1), z.s.New(engine.F32, z.x.Shape()...)
	z.s.Copy(two.Rows(0, 1), one)
	z.s.Copy(two.Rows(1, 2), one)
	want := z.step(unet.Input{Latents: two, Step: step, Residuals: rows(2)})
	for _, n := range []int{1, 2} {
		have := z.step(unet.Input{Latents: one, Step: step, Residuals: rows(n)})
		if e, err := relative(have, want); err != nil || !(e <= bounds[engine.F32]) {
			t.Errorf("residuals of %d samples: relative error %.3g, %v", n, e, err)
		}
	}
}

// TestAddedEmbedding: an embedding of each text is added to the timestep's before
// its SiLU.
func TestAddedEmbedding(t *testing.T) {
	for _, name := range []string{"unet_sd1", "unet_odd"} {
		t.Run(name, func(t *testing.T) { testAdded(t, host.New(2), name) })
	}
}

func testAdded(t *testing.T, dev engine.Device, name string) {
	plain := openSeam(t, dev, name, nil)
	added := plain.tensor(name + ".in.added")
	z := openSeam(t, dev, name, added)
	z.near(z.step(z.in), "added")
	// Zeros for all texts at once are none.
	none := openSeam(t, dev, name, engine.FromF32(make([]float32, added.Dim(1)), 1, added.Dim(1)))
	if !slices.Equal(none.step(none.in).F32(), plain.step(plain.in).F32()) {
		t.Error("an embedding of zeros changes the result")
	}
	if _, err := z.m.Step(z.s, z.c, unet.Input{Latents: z.x, Step: z.s.Put(engine.FromI32([]int32{0}, 1))}); err == nil {
		t.Error("one step index was taken for texts with an embedding each")
	}
}

// TestStepPerSample: samples at different steps share a batch, and get the bits of
// Forward; one index for all gives those of an index for each.
func TestStepPerSample(t *testing.T) {
	for _, name := range []string{"unet_sd1", "unet_odd", "unet_deep"} {
		t.Run(name, func(t *testing.T) { testStepPerSample(t, host.New(2), name) })
	}
}

func testStepPerSample(t *testing.T, dev engine.Device, name string) {
	z := openSeam(t, dev, name, nil)
	var times []float64
	g := open(t, name, convert.UNet)
	for _, v := range g.tensor("in.timesteps").F32() {
		times = append(times, float64(v))
	}
	y, err := z.m.Forward(z.s, z.x, times, z.e, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := z.s.Get(y)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(z.step(z.in).F32(), want.F32()) {
		t.Error("samples at their own steps differ from Forward")
	}
	index := func(i ...int32) *engine.Tensor { return z.s.Put(engine.FromI32(i, len(i))) }
	n := z.x.Dim(0)
	one := z.step(unet.Input{Latents: z.x, Step: index(1)})
	each := z.step(unet.Input{Latents: z.x, Step: index(slices.Repeat([]int32{1}, n)...)})
	if !slices.Equal(one.F32(), each.F32()) {
		t.Error("one index for all differs from an index for each")
	}
	if slices.Equal(one.F32(), want.F32()) {
		t.Error("the step index changes nothing")
	}
	if _, err := z.m.Step(z.s, z.c, unet.Input{Latents: z.x, Step: index(slices.Repeat([]int32{1}, n+1)...)}); err == nil {
		t.Error("an index too many was taken")
	}
}

// TestConvInConcat: channels beside the latents' are as one tensor of all.
func TestConvInConcat(t *testing.T) { testConcat(t, host.New(2)) }

func testConcat(t *testing.T, dev engine.Device) {
	z := openSeam(t, dev, "unet_odd", nil)
	want := z.step(z.in)
	host := open(t, "unet_odd", convert.UNet).tensor("in.sample")
	part := func(lo, hi int) *engine.Tensor {
		var v []float32
		for i := 0; i < host.Elems(); i += 4 {
			v = append(v, host.F32()[i+lo:i+hi]...)
		}
		sh := host.Shape()
		return z.s.Put(engine.FromF32(v, sh[0], sh[1], sh[2], hi-lo))
	}
	in := z.in
	in.Latents, in.Concat = part(0, 3), part(3, 4)
	if e, err := relative(z.step(in), want); err != nil || !(e <= bounds[dev.Float()]) {
		t.Errorf("relative error %.3g, %v", e, err)
	}
	in.Concat = nil
	if _, err := z.m.Step(z.s, z.c, in); err == nil || !strings.Contains(err.Error(), "sample has shape") {
		t.Errorf("a channel is missing: %v", err)
	}
}

// TestEncoder: the contracting half alone gives what it gives within the net, and a
// hint is added to conv_in's output.
func TestEncoder(t *testing.T) {
	dev := host.New(2)
	z := openSeam(t, dev, "unet_odd", nil)
	taps := &taps{s: z.s, want: map[string]bool{"conv_in": true, "mid_block": true}, have: map[string]*engine.Tensor{}}
	z.s.Watch(nil, taps)
	z.step(z.in)
	z.s.Watch(nil, nil)

	e, err := unet.LoadEncoder(z.config, z.model.Loader(dev))
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Condition(z.s, []float64{37, 640}, z.e, unet.Embeddings{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := e.Forward(z.s, c, z.in)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.Mid.F32(), taps.have["mid_block"].F32()) {
		t.Error("the mid block's output differs")
	}
	if want := len(z.residuals(true, true).Skips); len(f.Skips) != want {
		t.Errorf("%d skip connections, want %d", len(f.Skips), want)
	}
	in := z.in
	in.Hint = z.s.Put(taps.have["conv_in"])
	h, err := e.Forward(z.s, c, in)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range taps.have["conv_in"].F32() {
		if d := h.Skips[0].F32()[i] - 2*v; d > 1e-5 || d < -1e-5 {
			t.Fatalf("conv_in with its own output as a hint: %v, want %v", h.Skips[0].F32()[i], 2*v)
		}
	}
	f.Free(z.s)
	h.Free(z.s)
	c.Free(z.s)
}

// TestClipSkip holds the hidden states of earlier layers against transformers'.
func TestClipSkip(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers int
	}{{"clip_quick", 2}, {"clip_mixed", 3}} {
		t.Run(c.name, func(t *testing.T) { testClipSkip(t, host.New(2), c.name, c.layers) })
	}
}

func testClipSkip(t *testing.T, dev engine.Device, name string, layers int) {
	g := open(t, name, convert.CLIP)
	m, err := clip.Load(g.config, g.model.Loader(dev))
	if err != nil {
		t.Fatal(err)
	}
	ids := g.ids()
	pooled := g.tensor("out.text.pooled")
	g.values = openSet(t, filepath.Join("testdata", "seams.safetensors"))
	s := engine.NewStream(t.Context(), dev)
	defer s.Close()
	near := func(what string, x, want *engine.Tensor) {
		t.Helper()
		h, err := s.Get(x)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := relative(h, want); err != nil || !(e <= bounds[dev.Float()]) {
			t.Errorf("%s: relative error %.3g, %v", what, e, err)
		}
	}
	for skip := 1; skip < layers; skip++ {
		for _, o := range []clip.TextOptions{{Skip: skip}, {Skip: skip, NoNorm: true}, {Skip: skip, HiddenOnly: true}} {
			out, err := m.Text.Forward(s, ids, o)
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("%s.out.skip.%d", name, skip)
			if !o.NoNorm {
				want += ".norm"
			}
			near(fmt.Sprintf("%+v", o), out.Hidden, g.tensor(want))
			if !o.HiddenOnly {
				near(fmt.Sprintf("pooled beside %+v", o), out.Pooled, pooled)
			} else if out.Pooled != nil || out.Embeds != nil {
				t.Errorf("%+v gives more than hidden states", o)
			}
			s.Free(out.Hidden, out.Pooled, out.Embeds)
		}
	}
	for _, skip := range []int{-1, layers} {
		if _, err := m.Text.Forward(s, ids, clip.TextOptions{Skip: skip}); err == nil || !strings.Contains(err.Error(), "clip skip") {
			t.Errorf("clip skip %d of %d layers: %v", skip, layers, err)
		}
	}
}

// TestTwoTowers runs text towers of different widths beside each other, as SDXL
// does.
func TestTwoTowers(t *testing.T) { testTwoTowers(t, host.New(2)) }

func testTwoTowers(t *testing.T, dev engine.Device) {
	s := engine.NewStream(t.Context(), dev)
	defer s.Close()
	ids := [][]int32{{1, 2, 3, 4, 5}, {5, 4, 3, 2, 1}}
	var hidden, alone []*engine.Tensor
	for _, name := range []string{"clip_quick", "clip_mixed"} {
		g := open(t, name, convert.CLIP)
		m, err := clip.Load(g.config, g.model.Loader(dev))
		if err != nil {
			t.Fatal(err)
		}
		out, err := m.Text.Forward(s, ids, clip.TextOptions{Skip: 1, NoNorm: true, HiddenOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		h, err := s.Get(out.Hidden)
		if err != nil {
			t.Fatal(err)
		}
		hidden, alone = append(hidden, out.Hidden), append(alone, h)
	}
	y, err := clip.Concat(s, hidden...)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Get(y)
	if err != nil {
		t.Fatal(err)
	}
	a, b := alone[0].Dim(2), alone[1].Dim(2)
	if a == b || !h.Shape().Equal(engine.Shape{2, 5, a + b}) {
		t.Fatalf("widths of %d and %d give %v", a, b, h.Shape())
	}
	for i := range 10 {
		row := h.F32()[i*(a+b) : (i+1)*(a+b)]
		if !slices.Equal(row[:a], alone[0].F32()[i*a:(i+1)*a]) || !slices.Equal(row[a:], alone[1].F32()[i*b:(i+1)*b]) {
			t.Fatalf("row %d is not both towers' side by side", i)
		}
	}
	if _, err := clip.Concat(s, hidden[0], s.New(s.Float(), 1, 5, 8)); err == nil {
		t.Error("hidden states of other texts were taken")
	}
}
