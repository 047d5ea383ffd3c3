package inpaint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"slices"
	"testing"

	"parley/nets/pixels"
	"parley/weights"
)

// golden is a case of testdata/goldens.py.
type golden struct {
	Options
	set  *weights.Set
	name string
}

func goldens(t *testing.T) (list []golden) {
	t.Helper()
	s, err := weights.Open("testdata/goldens.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := json.Unmarshal([]byte(s.Metadata["cases"]), &list); err != nil || len(list) < 10 {
		t.Fatalf("%d cases, %v", len(list), err)
	}
	for i := range list {
		list[i].set, list[i].name, list[i].Latent = s, fmt.Sprint(i), 8
	}
	return list
}

// picture is a golden, grey ones too.
func (g golden) picture(t *testing.T, name string) *pixels.Image {
	t.Helper()
	e, ok := g.set.Entry(g.name + "." + name)
	if !ok {
		t.Fatalf("case %s has no %s", g.name, name)
	}
	m := pixels.New(e.Shape[1], e.Shape[0], color.RGBA{})
	if len(e.Shape) == 3 {
		copy(m.Pix, e.Data)
		return m
	}
	for i, v := range e.Data {
		m.Pix[3*i], m.Pix[3*i+1], m.Pix[3*i+2] = v, v, v
	}
	return m
}

func same(t *testing.T, what string, have, want *pixels.Image) {
	t.Helper()
	if have.W != want.W || have.H != want.H {
		t.Errorf("%s: %dx%d, want %dx%d", what, have.W, have.H, want.W, want.H)
		return
	}
	n, first := 0, -1
	for i, v := range have.Pix {
		if v != want.Pix[i] {
			if n++; first < 0 {
				first = i
			}
		}
	}
	if n > 0 {
		t.Errorf("%s: %d of %d bytes differ; at (%d, %d) it is %d, want %d", what, n, len(have.Pix), first/3%have.W, first/3/have.W,
			have.Pix[first], want.Pix[first])
	}
}

// TestGoldens: every step's pixels are those of Pillow and OpenCV.
func TestGoldens(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			m, mask := g.picture(t, "image"), g.picture(t, "mask")
			z := sizer{ctx: t.Context()}
			same(t, "the mask's edges", z.blur(mask, g.BlurX, g.BlurY), g.picture(t, "blurred"))
			before := slices.Clone(mask.Pix)
			p, err := Prepare(t.Context(), m, mask, g.Options)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "what is drawn from", p.Init, g.picture(t, "init"))
			latents := g.picture(t, "latents")
			for y := range g.H {
				for x := range g.W {
					if have, want := p.Mask.Pix[3*(y*g.W+x)], 255*latents.Pix[3*(y/8*latents.W+x/8)]; have != want {
						t.Fatalf("the mask at (%d, %d) is %d, want %d", x, y, have, want)
					}
				}
			}
			done, err := p.Finish(t.Context(), g.picture(t, "drawn"))
			if err != nil {
				t.Fatal(err)
			}
			same(t, "the result", done, g.picture(t, "done"))
			if !slices.Equal(before, mask.Pix) || !slices.Equal(m.Pix, g.picture(t, "image").Pix) {
				t.Error("the caller's pictures have changed")
			}
		})
	}
}

// TestResize: as the pictures of the cases without a filling are fitted.
func TestResize(t *testing.T) {
	for _, g := range goldens(t) {
		if g.Fill || g.OnlyMasked {
			continue
		}
		m, err := Resize(t.Context(), g.picture(t, "image"), g.W, g.H, g.Fit)
		if err != nil {
			t.Fatal(err)
		}
		same(t, g.name, m, g.picture(t, "init"))
	}
}

// TestBlank: a black mask is refused, whole or in part; one pixel is not.
func TestBlank(t *testing.T) {
	m, mask := pixels.New(20, 20, color.RGBA{R: 9}), pixels.New(20, 20, color.RGBA{})
	o := Options{W: 16, H: 16, Latent: 8}
	for _, o.OnlyMasked = range []bool{false, true} {
		if _, err := Prepare(t.Context(), m, mask, o); !errors.Is(err, ErrBlank) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	copy(mask.Pix, []uint8{255, 255, 255})
	if _, err := Prepare(t.Context(), m, mask, o); err != nil {
		t.Error(err)
	}
}

// TestLeft: who leaves is not worked for.
func TestLeft(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	leave()
	m := pixels.New(64, 64, color.RGBA{R: 255, G: 255, B: 255})
	if _, err := Prepare(ctx, m, m, Options{W: 16, H: 16, Latent: 8, BlurX: 4, BlurY: 4}); !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
}

// TestWide: the widest edges take no more taps than weights.
func TestWide(t *testing.T) {
	for _, deviation := range []float64{0.4, 4, 64, MostBlur} {
		k, sum := gaussian(deviation), uint32(0)
		for _, tap := range k.taps {
			if sum += tap.weight; tap.weight > 256 {
				t.Errorf("%v: a tap of %d", deviation, tap.weight)
			}
		}
		if sum != 256 || len(k.taps) > 256 {
			t.Errorf("%v: %d taps, together %d", deviation, len(k.taps), sum)
		}
	}
}

// TestExtremes: parts and pictures of one pixel, and far wider than high, give what they
// are asked for.
func TestExtremes(t *testing.T) {
	for _, size := range []image.Point{{1, 1}, {1, 700}, {700, 1}, {3, 2}} {
		for _, fit := range []Fit{Stretch, Crop, Pad} {
			for _, only := range []bool{false, true} {
				m, mask := pixels.New(size.X, size.Y, color.RGBA{G: 200}), pixels.New(size.X, size.Y, color.RGBA{R: 255, G: 255, B: 255})
				p, err := Prepare(t.Context(), m, mask, Options{W: 24, H: 16, Latent: 8, BlurX: 4, BlurY: 4, Fill: true, OnlyMasked: only,
					Padding: 7, Fit: fit})
				if err != nil {
					t.Errorf("%v, %v, %v: %v", size, fit, only, err)
					continue
				}
				if p.Init.W != 24 || p.Init.H != 16 || p.Mask.W != 24 || p.Mask.H != 16 {
					t.Errorf("%v, %v, %v: %dx%d", size, fit, only, p.Init.W, p.Init.H)
				}
				done, err := p.Finish(t.Context(), pixels.New(24, 16, color.RGBA{B: 50}))
				want := image.Pt(24, 16)
				if only {
					want = size
				}
				if err != nil || image.Pt(done.W, done.H) != want {
					t.Errorf("%v, %v, %v: %v, %v", size, fit, only, done, err)
				}
			}
		}
	}
}
