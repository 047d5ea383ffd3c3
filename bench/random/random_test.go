package random

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/storage"
	"parley/nets/blip"
	"parley/nets/clip"
	"parley/nets/unet"
	"parley/nets/vae"
	"parley/weights"
	"parley/weights/convert"
	"parley/weights/mini"
)

// asked is a maker that remembers what it was asked for.
type asked struct {
	maker
	mu    sync.Mutex
	elems map[string]int
}

func (a *asked) Make(name string, shape engine.Shape) storage.Source {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.elems[name] = shape.Elems()
	return a.maker.Make(name, shape)
}

// ask builds a net on a dry run and returns what it asks for.
func ask[C, T any](t *testing.T, build func(C, *weights.Loader) (T, error), c C, absent maker) map[string]int {
	t.Helper()
	a := &asked{maker: absent, elems: map[string]int{}}
	if _, err := build(c, weights.Made(a).Loader(engine.DryRun{Elem: engine.F16})); err != nil {
		t.Fatal(err)
	}
	return a.elems
}

// TestCheckpointsParameters: what is made for a configuration has as many parameters as
// the published checkpoint.
func TestCheckpointsParameters(t *testing.T) {
	for _, c := range []struct {
		name  string
		elems map[string]int
		want  int
	}{
		{"Stable Diffusion 1's UNet", ask(t, unet.New, unet.SD15(), unets()), 859520964},
		{"Stable Diffusion 2's UNet", ask(t, unet.New, unet.SD21(), unets()), 865910724},
		{"autoencoder", ask(t, vae.New, vae.SD(), nil), 83653863},
		{"text encoder", ask(t, clip.NewText, clip.SD15(), nil), 123060480},
		{"ViT-B/32 without its logit_scale", ask(t, clip.New, clip.B32(), clips()), 151277313 - 1},
		{"ViT-L/14 without its logit_scale", ask(t, clip.New, clip.L14(), clips()), 427616513 - 1},
	} {
		n := 0
		for _, e := range c.elems {
			n += e
		}
		if n != c.want {
			t.Errorf("%s: %d parameters, want %d", c.name, n, c.want)
		}
	}
}

// TestNamesAreACheckpoints: a net asks for the tensors that the embedded checkpoint
// of its kind has, and for no other.
func TestNamesAreACheckpoints(t *testing.T) {
	for _, c := range []struct {
		dir, part string
		elems     map[string]int
	}{
		{"sd/unet", convert.UNet, ask(t, unet.New, unet.Mini(), unets())},
		{"sd/vae", convert.VAE, ask(t, vae.New, vae.Mini(), nil)},
		{"sd/text_encoder", convert.TextEncoder, ask(t, clip.NewText, clip.MiniText(), nil)},
		{"clip", convert.CLIP, ask(t, clip.New, clip.Mini(), clips())},
		{"blip", convert.BLIP, ask(t, blip.New, blip.Mini(), blips())},
	} {
		set, err := weights.OpenFS(mini.FS(), c.dir)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := convert.Canonical(set)
		if err != nil {
			t.Fatal(err)
		}
		var have, want []string
		for name := range c.elems {
			have = append(have, strings.TrimPrefix(name, "text_model."))
		}
		for _, name := range parts[c.part].Names() {
			if name != "logit_scale" && !strings.HasSuffix(name, "position_ids") {
				want = append(want, strings.TrimPrefix(name, "text_model."))
			}
		}
		for _, name := range have {
			if !slices.Contains(want, name) {
				t.Errorf("%s: %s is asked for, and not there", c.dir, name)
			}
		}
		for _, name := range want {
			if !slices.Contains(have, name) {
				t.Errorf("%s: %s is there, and not asked for", c.dir, name)
			}
		}
	}
}

// TestSmallNetsRun: a step, a picture, a text and a caption's beginning of random
// weights are of ordinary size, and the same each time.
func TestSmallNetsRun(t *testing.T) {
	run := func() (sums []float64) {
		dev := host.New(2)
		s := engine.NewStream(t.Context(), dev)
		defer s.Close()
		sum := func(x *engine.Tensor, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			h, err := s.Get(x)
			if err != nil {
				t.Fatal(err)
			}
			var squares float64
			for _, v := range h.F32() {
				squares += float64(v) * float64(v)
			}
			if mean := squares / float64(h.Elems()); !(mean > 1e-6 && mean < 1e6) {
				t.Errorf("a mean square of %v", mean)
			}
			sums = append(sums, squares)
		}
		p, err := StableDiffusion(SmallSD(), dev)
		if err != nil {
			t.Fatal(err)
		}
		x := s.Put(p.Latents(1))
		sum(p.UNet.Forward(s, x, []float64{500}, s.Put(Normal(3, 1, 1, p.Text.Length, p.Text.Width)), nil))
		sum(p.VAE.Decode(s, x))
		c, err := CLIP(SmallCLIP(), dev)
		if err != nil {
			t.Fatal(err)
		}
		o, err := c.Text.Forward(s, IDs(SmallCLIP().Text, 2), clip.TextOptions{})
		sum(o.Embeds, err)
		b, err := BLIP(SmallBLIP(), dev)
		if err != nil {
			t.Fatal(err)
		}
		sum(b.Vision.Forward(s, s.Put(Normal(1, 1, 1, 32, 32, 3))))
		return sums
	}
	if a, b := run(), run(); !slices.Equal(a, b) {
		t.Errorf("%v, and then %v", a, b)
	}
}

// TestPresets: every name builds.
func TestPresets(t *testing.T) {
	dry := engine.DryRun{Elem: engine.F16}
	for name, c := range Diffusions() {
		if _, err := StableDiffusion(c, dry); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range CLIPs() {
		if _, err := CLIP(c, dry); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range BLIPs() {
		if _, err := BLIP(c, dry); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
