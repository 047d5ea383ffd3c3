package rerank_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"math"
	"testing"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/mini"
)

var background = engine.NewRun(context.Background())

// steps are a model's own options with another number of steps.
func steps(sd *models.StableDiffusion, n int) models.DrawOptions {
	o := sd.Defaults
	o.Steps = n
	return o
}

// loopOf is both loops over models, captions by nucleus sampling.
func loopOf(blip *models.BLIP, sd *models.StableDiffusion, clip *models.CLIP, o models.DrawOptions, k int) rerank.Loop {
	return rerank.Loop{Captioner: blip.Captioner(models.Nucleus()), Painter: sd.Painter(o), Judge: clip.Judge(models.EmbedOptions{}), K: k}
}

// grey is a picture whose brightness is all there is to it.
func grey(v uint8) *pixels.Image { return pixels.New(1, 1, color.RGBA{v, v, v, 255}) }

// toys: texts are numbers, a drawing has the number's brightness, embeddings
// are angles.
type toys struct {
	captions []string
	fail     string
	painted  []string
}

func (t *toys) Caption(_ engine.Run, ps []pixels.Picture, k int, _ []uint64) (out [][]rerank.Caption, _ error) {
	for _, p := range ps {
		p, err := p.Host()
		if err != nil {
			return nil, err
		}
		var list []rerank.Caption
		for i := range k {
			text := fmt.Sprint(p.Pix[0])
			if t.captions != nil {
				text = t.captions[i]
			}
			list = append(list, rerank.Caption{Text: text})
		}
		out = append(out, list)
	}
	return out, nil
}

func (t *toys) Draw(_ engine.Run, texts []string, seeds []uint64, each func(int, rerank.Drawing)) error {
	for i, x := range texts {
		t.painted = append(t.painted, x)
		if x == t.fail {
			each(i, rerank.Drawing{Err: errors.New("out of paint")})
			continue
		}
		var v int
		fmt.Sscan(x, &v)
		each(i, rerank.Drawing{Picture: grey(uint8(v + int(seeds[i]%7)))})
	}
	return nil
}

func angle(list ...float64) (*tensor.Dense, error) {
	var x []float32
	for _, v := range list {
		x = append(x, float32(math.Cos(v/1e3)), float32(math.Sin(v/1e3)))
	}
	return tensor.New(tensor.WithShape(len(list), 2), tensor.WithBacking(x)), nil
}

func (*toys) EmbedImages(_ engine.Run, ps []pixels.Picture) (*tensor.Dense, error) {
	var angles []float64
	for _, p := range ps {
		m, err := p.Host()
		if err != nil {
			return nil, err
		}
		angles = append(angles, float64(m.Pix[0]))
	}
	return angle(angles...)
}

func (*toys) EmbedTexts(_ engine.Run, ts []string) (*tensor.Dense, error) {
	angles := make([]float64, len(ts))
	for i, t := range ts {
		fmt.Sscan(t, &angles[i])
	}
	return angle(angles...)
}

func (t *toys) ScoreImages(run engine.Run, source *tensor.Dense, ps []pixels.Picture) ([]float64, error) {
	return score(source)(t.EmbedImages(run, ps))
}

func (t *toys) ScoreTexts(run engine.Run, source *tensor.Dense, ts []string) ([]float64, error) {
	return score(source)(t.EmbedTexts(run, ts))
}

func score(source *tensor.Dense) func(*tensor.Dense, error) ([]float64, error) {
	return func(e *tensor.Dense, err error) ([]float64, error) {
		if err != nil {
			return nil, err
		}
		x, y := source.Data().([]float32), e.Data().([]float32)
		return []float64{float64(x[0])*float64(y[0]) + float64(x[1])*float64(y[1])}, nil
	}
}

func TestImage(t *testing.T) {
	toy := &toys{captions: []string{"20", "90", "200", "90", "13"}, fail: "13"}
	reported := 0
	l := rerank.Loop{Captioner: toy, Painter: toy, Judge: toy, K: 5, Report: func(int, rerank.Candidate) { reported++ }}
	r, err := l.One(background, rerank.Source{Name: "x", Picture: grey(100)})
	if err != nil {
		t.Fatal(err)
	}
	if r.Selected != 1 {
		t.Errorf("selected %d", r.Selected)
	}
	if got := fmt.Sprint(toy.painted); got != "[20 90 200 13]" {
		t.Errorf("painted %s: the same text is drawn once", got)
	}
	if c := r.Candidates[3]; c.Duplicate != 1 || c.Picture != r.Candidates[1].Picture || c.Score != r.Candidates[1].Score || c.Seed != 1 {
		t.Errorf("the duplicate is %+v", c)
	}
	if c := r.Candidates[4]; c.Err == nil || c.Rank != 0 {
		t.Errorf("the failed one is %+v", c)
	}
	if reported != 5 {
		t.Errorf("%d reports", reported)
	}
	ranked := r.Ranked()
	for i := range 4 {
		if ranked[i].Rank != i+1 || i > 0 && ranked[i].Score > ranked[i-1].Score {
			t.Errorf("place %d has rank %d, score %v", i, ranked[i].Rank, ranked[i].Score)
		}
	}
	if ranked[4].Err == nil {
		t.Error("the failed one is not last")
	}
	toy.painted, l.RedrawDuplicates = nil, true
	if _, err := l.One(background, rerank.Source{Name: "x", Picture: grey(100)}); err != nil || len(toy.painted) != 5 {
		t.Errorf("painted %v, error %v", toy.painted, err)
	}
	l.K = 0
	if _, err := l.One(background, rerank.Source{Name: "x", Picture: grey(100)}); err == nil {
		t.Error("k 0 was taken")
	}
	toy.captions, toy.fail, l.K = []string{"13"}, "13", 1
	if r, err := l.One(background, rerank.Source{Name: "x", Picture: grey(1)}); err == nil || r.Selected != -1 {
		t.Errorf("all failed, error %v", err)
	}
}

func TestText(t *testing.T) {
	toy := &toys{}
	l := rerank.Loop{Captioner: toy, Painter: toy, Judge: toy, K: 4}
	r, err := l.One(background, rerank.Source{Name: "100", Seed: 5})
	if err != nil {
		t.Fatal(err)
	}
	// Seeds 5, 6, 7, 8 draw 105, 106, 100, 101.
	if r.Candidates[0].Text != "105" || r.Candidates[3].Seed != 8 || len(toy.painted) != 4 {
		t.Errorf("candidates %+v", r.Candidates)
	}
}

// open is both loops' models, the embedded ones, on a device.
func open(t *testing.T, dev engine.Device) (*models.BLIP, *models.StableDiffusion, *models.CLIP) {
	t.Helper()
	c, err := models.OpenBLIP(models.Embedded("blip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	p, err := models.OpenStableDiffusion(models.Embedded("sd"), dev)
	if err != nil {
		t.Fatal(err)
	}
	j, err := models.OpenCLIP(models.Embedded("clip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	return c, p, j
}

// TestChoicesOfFasterMethods: both loops write and choose the same with the CPU's
// faster methods as with exact ones. Products of bfloat16 change words between which
// the model hardly decides, and choices between scores that are almost equal.
func TestChoicesOfFasterMethods(t *testing.T) {
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	loop := func(p host.Precision) rerank.Loop {
		blip, sd, clip := open(t, host.NewWith(host.Options{Workers: 2, Precision: p}))
		return loopOf(blip, sd, clip, steps(sd, 6), 3)
	}
	// Each scene both ways: its picture described, its first caption drawn.
	results := func(l rerank.Loop) (all []*rerank.Result) {
		for i := range 8 {
			scene := scenes[23*i%len(scenes)]
			picture, err := pixels.Decode(bytes.NewReader(scene.PNG))
			if err != nil {
				t.Fatal(err)
			}
			image, err1 := l.One(background, rerank.Source{Name: scene.File, Picture: picture, Seed: 11})
			text, err2 := l.One(background, rerank.Source{Name: scene.Captions[0], Seed: 11})
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			all = append(all, image, text)
		}
		return all
	}
	exact := results(loop(host.Exact))
	for _, p := range []struct {
		host.Precision
		captions, choices, score float64 // shares that are the same at least, and how far scores may differ
	}{{host.F32, 1, 1, 1e-3}, {host.Fast, 0.75, 0.75, 0.1}} {
		t.Run(p.String(), func(t *testing.T) {
			var captions, same, choices, chosen, mean, worst float64
			for i, have := range results(loop(p.Precision)) {
				want := exact[i]
				choices++
				if want.Selected == have.Selected {
					chosen++
				} else {
					t.Logf("%s: %d is chosen, exactly %d", want.Source.Name, have.Selected, want.Selected)
				}
				for k, c := range want.Candidates {
					captions++
					if f := have.Candidates[k]; f.Text == c.Text {
						d := math.Abs(f.Score - c.Score)
						same, mean, worst = same+1, mean+d, max(worst, d)
					} else {
						t.Logf("%s: %q, exactly %q", want.Source.Name, f.Text, c.Text)
					}
				}
			}
			t.Logf("%g of %g choices and %g of %g captions are the same; scores differ by %.2g on average and by %.2g at most", chosen, choices,
				same, captions, mean/same, worst)
			if chosen < p.choices*choices || same < p.captions*captions || !(worst <= p.score) {
				t.Errorf("want shares of %g and %g, and scores within %g", p.choices, p.captions, p.score)
			}
		})
	}
}

// TestMiniature runs both loops on the embedded models, twice.
func TestMiniature(t *testing.T) {
	blip, sd, clip := open(t, host.New(2))
	l := loopOf(blip, sd, clip, steps(sd, 6), 2)
	apples := rerank.Source{Name: "two red apples on the grass", Seed: 3}
	first, err := l.One(background, apples)
	if err != nil {
		t.Fatal(err)
	}
	little := background
	little.Memory = 1 // too little for anything
	if _, err := l.One(little, rerank.Source{Name: "a cat"}); err == nil {
		t.Error("a drawing in one byte succeeded")
	}
	again, err := l.One(background, apples)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range first.Candidates {
		b := again.Candidates[i]
		if a.Text != b.Text || a.Score != b.Score || !bytes.Equal(a.Picture.Pix, b.Picture.Pix) {
			t.Errorf("candidate %d differs: %q %v, %q %v", i, a.Text, a.Score, b.Text, b.Score)
		}
	}
	if bytes.Equal(first.Candidates[0].Picture.Pix, first.Candidates[1].Picture.Pix) {
		t.Error("two seeds draw the same")
	}
	l.K = 3
	r, err := l.One(background, rerank.Source{Name: "drawing", Picture: first.Candidates[first.Selected].Picture, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Ranked() {
		t.Logf("%d %.3f %s", c.Rank, c.Score, c.Text)
		if len(c.Text) < 5 || c.Score < 0.2 || c.Score > 1.0001 {
			t.Errorf("candidate %+v", c)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.One(engine.NewRun(ctx), rerank.Source{Name: "a cat"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestDrawings: of several drawings of a caption the closest counts.
func TestDrawings(t *testing.T) {
	toy := &toys{captions: []string{"20", "90", "20"}, fail: "90"}
	l := rerank.Loop{Captioner: toy, Painter: toy, Judge: toy, K: 3, Drawings: 4}
	r, err := l.One(background, rerank.Source{Name: "grey", Picture: grey(25)})
	if err != nil {
		t.Fatal(err)
	}
	// Seeds 0, 3, 6 and 9 make 20 to 20, 23, 26 and 22.
	for i, c := range r.Candidates {
		if failed := i == 1; failed != (c.Err != nil) || !failed && (c.Picture.Pix[0] != 26 || c.Seed != 6) {
			t.Errorf("candidate %d: %+v", i, c)
		}
	}
	if len(toy.painted) != 8 || r.Selected != 0 || r.Candidates[2].Duplicate != 0 {
		t.Errorf("%d drawings, selected %d", len(toy.painted), r.Selected)
	}
}
