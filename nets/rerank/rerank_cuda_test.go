//go:build cuda

package rerank_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"testing"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/cuda/ptx"
	"parley/engine/host"
	"parley/kernels/optest"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/mini"
)

// Candidates whose scores are nearer than a tie are one to f16. What it changes by
// itself is 0.001 on average and 0.008 at most, of 40 drawings
// (TestWhatHalfCostsAScore in nets/models): the GPU's scores may change by three
// times that.
const (
	tie      = 5e-3
	halfMean = 3e-3
	halfMost = 24e-3
)

// TestLoopsAgreeCUDA: both loops choose on the GPU, in f16, what they choose on
// the CPU in f32, in at least 95 % of the choices: over a held-out scene each on
// the interpreter, over 8 where PARLEY_FULL is set (10 minutes of a core), over
// 200 on hardware.
func TestLoopsAgreeCUDA(t *testing.T) {
	n, k := 2, 2
	switch {
	case os.Getenv("PARLEY_DEVICE") != "":
		n, k = 200, 4
	case os.Getenv("PARLEY_FULL") != "":
		n, k = 8, 3
	}
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	gpu := optest.GPU(t, false)
	var agree, ties, sources, texts, same int
	worst, sum := 0., 0.
	var loops [2]rerank.Loop
	for i, dev := range []engine.Device{host.New(2), gpu} {
		blip, sd, clip := open(t, dev)
		t.Cleanup(clip.Close)
		loops[i] = loopOf(blip, sd, clip, steps(sd, 4), k)
		loops[i].Describer = blip.Captioner(models.Beam())
	}
	for i := range n {
		scene := scenes[(i*7)%len(scenes)]
		picture, err := pixels.Decode(bytes.NewReader(scene.PNG))
		if err != nil {
			t.Fatal(err)
		}
		for _, image := range []bool{true, false} {
			if n == 2 && image != (i == 0) {
				continue // one loop each
			}
			var rs [2]*rerank.Result
			for d, l := range loops {
				src := rerank.Source{Name: scene.Captions[0], Seed: 5}
				if image {
					src = rerank.Source{Name: scene.File, Picture: picture, Seed: 5}
				}
				if rs[d], err = l.One(background, src); err != nil {
					t.Fatal(err)
				}
			}
			cpu, dev := rs[0], rs[1]
			words := fmt.Sprintf("%s, image %v:", scene.File, image)
			alike := true
			for j, c := range cpu.Candidates {
				texts++
				words += fmt.Sprintf(" %q %.4f / %q %.4f", c.Text, c.Score, dev.Candidates[j].Text, dev.Candidates[j].Score)
				if c.Text != dev.Candidates[j].Text {
					alike = false
					t.Logf("%s, image %v, candidate %d: the CPU writes %q, the GPU %q", scene.File, image, j, c.Text, dev.Candidates[j].Text)
					continue
				}
				same++
				off := math.Abs(c.Score - dev.Candidates[j].Score)
				worst, sum = max(worst, off), sum+off
			}
			sources++
			best, theirs := cpu.Candidates[cpu.Selected], dev.Candidates[dev.Selected]
			// A candidate of a picture is its caption, one of a text its drawing.
			switch gap := best.Score - cpu.Candidates[dev.Selected].Score; {
			case image && theirs.Text == best.Text || !image && dev.Selected == cpu.Selected:
				agree++
			case gap <= tie && alike:
				agree++
				ties++
				t.Logf("%s: the CPU chooses %d, the GPU %d; to the CPU they are %.2g apart", words, cpu.Selected, dev.Selected, gap)
			default:
				t.Logf("%s: the CPU chooses %d, the GPU %d", words, cpu.Selected, dev.Selected)
			}
		}
	}
	mean := sum / float64(max(same, 1))
	t.Logf("%d of %d choices agree, %d of them ties; %d of %d captions are equal; scores differ by %.2g on average where they are, by %.2g "+
		"at most", agree, sources, ties, same, texts, mean, worst)
	if agree*100 < 95*sources {
		t.Errorf("%d of %d choices agree", agree, sources)
	}
	if !(mean <= halfMean && worst <= halfMost) {
		t.Errorf("scores differ by %.2g on average and %.2g at most, want at most %g and %g", mean, worst, halfMean, halfMost)
	}
	if 2*same < texts {
		t.Errorf("%d of %d captions are equal", same, texts)
	}
}

// small is a loop of small drawings, one at a time, on a device that can be made
// to fail.
type small struct {
	dev   *cuda.Device
	clip  *models.CLIP
	sd    *models.StableDiffusion
	draw  models.DrawOptions
	loop  rerank.Loop
	bytes int // that one drawing takes
}

func newSmall(t *testing.T) *small {
	t.Helper()
	dev, err := cuda.Emulate(ptx.New(ptx.Options{}), engine.F16)
	if err != nil {
		t.Fatal(err)
	}
	blip, sd, clip := open(t, dev)
	t.Cleanup(clip.Close)
	short := models.CaptionOptions{Prompt: "a picture of "}
	short.MaxLength = 8
	w := &small{dev: dev, clip: clip, sd: sd, draw: steps(sd, 3)}
	w.draw.Width, w.draw.Height, w.draw.Guidance = 16, 16, 1
	w.loop = loopOf(blip, sd, clip, w.draw, 1)
	w.loop.Captioner = blip.Captioner(short)
	little := background
	little.Memory = 1
	var memory *engine.MemoryError
	if _, err := w.loop.One(little, rerank.Source{Name: "a cat", Seed: 5}); !errors.As(err, &memory) {
		t.Fatalf("a drawing in one byte: %v", err)
	}
	w.bytes = memory.Need
	return w
}

// text is the reconstruction of a text in k drawings.
func (w *small) text(ctx context.Context, k int) (*rerank.Result, error) {
	w.loop.K = k
	return w.loop.One(w.run(ctx), rerank.Source{Name: "a cat on the grass", Seed: 5})
}

func (w *small) run(ctx context.Context) engine.Run {
	run := engine.NewRun(ctx)
	run.Memory = w.bytes
	return run
}

// TestWhatLeavesTheDevice: between a drawing and its score nothing is copied to
// the host but whether its numbers are finite and, where it is described, its words
// with whether their logits are; then come the score and, to be shown, the drawing.
func TestWhatLeavesTheDevice(t *testing.T) {
	w := newSmall(t)
	dev := w.dev
	defer dev.Close()
	const picture, score, flag, answer = 3 * 16 * 16, 8 + 4, 4, 16
	source := 4 * w.clip.Projection
	for _, image := range []bool{true, false} {
		var left []int
		dev.WatchDownloads(func(bytes int) { left = append(left, bytes) })
		var r *rerank.Result
		var err error
		if image {
			w.loop.K = 2
			r, err = w.loop.One(w.run(t.Context()), rerank.Source{Name: "a scene", Picture: pixels.New(70, 50, color.RGBA{200, 30, 90, 255}),
				Seed: 5})
		} else {
			r, err = w.text(t.Context(), 2)
		}
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		word := func() {
			for at < len(left) && (left[at] == flag || left[at]%answer == 0) && left[at] < source {
				at++
			}
		}
		want := func(what string, bytes int) {
			t.Helper()
			if at == len(left) || left[at] != bytes {
				t.Fatalf("image %v: copy %d of %v bytes is not %s of %d", image, at, left, what, bytes)
			}
			at++
		}
		word() // the captions
		want("the source's embedding", source)
		for i, c := range r.Candidates {
			if c.Duplicate >= 0 {
				continue
			}
			want("whether the latents are finite", flag)
			want("the watch for overflow", flag)
			if !image {
				word()
			}
			want("a score", score)
			want("a drawing", picture)
			if c.Picture == nil || len(c.Picture.Pix) != picture {
				t.Errorf("image %v: candidate %d has no picture", image, i)
			}
		}
		if at != len(left) {
			t.Errorf("image %v: %v bytes leave at the end", image, left[at:])
		}
	}
	dev.WatchDownloads(nil)

	// The loop's parts may be on different devices.
	cpu := host.New(2)
	judge, err := models.OpenCLIP(models.Embedded("clip"), cpu)
	if err != nil {
		t.Fatal(err)
	}
	want, err := w.text(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	w.loop.Judge = judge.Judge(models.EmbedOptions{})
	for _, image := range []bool{true, false} {
		var r *rerank.Result
		if image {
			r, err = w.loop.One(w.run(t.Context()), rerank.Source{Name: "a drawing", Picture: want.Candidates[0].Picture, Seed: 5})
		} else {
			r, err = w.text(t.Context(), 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		c, ref := r.Candidates[0], want.Candidates[0]
		if !image && (c.Text != ref.Text || math.Abs(c.Score-ref.Score) > tie || !bytes.Equal(c.Picture.Pix, ref.Picture.Pix)) {
			t.Errorf("judged on the CPU: %q %.4f, want %q %.4f", c.Text, c.Score, ref.Text, ref.Score)
		}
		if image && (c.Err != nil || c.Score < -1 || c.Score > 1) {
			t.Errorf("judged on the CPU: %+v", c)
		}
	}
}

// TestCandidatesAreKept: what goes wrong with one candidate is told in its
// place; those before it are kept, and those after it are drawn where the
// device still works.
func TestCandidatesAreKept(t *testing.T) {
	w := newSmall(t)
	dev := w.dev
	ask := func(ctx context.Context) (*rerank.Result, error) { return w.text(ctx, 3) }
	whole, err := ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := dev.Usage()
	equal := func(i int, c rerank.Candidate) {
		t.Helper()
		ref := whole.Candidates[i]
		if c.Err != nil || c.Rank == 0 || c.Text != ref.Text || c.Score != ref.Score || !bytes.Equal(c.Picture.Pix, ref.Picture.Pix) {
			t.Errorf("candidate %d: %q %.4f %v, want %q %.4f", i, c.Text, c.Score, c.Err, ref.Text, ref.Score)
		}
	}
	// when the first candidate is done
	first := func(f func()) {
		w.loop.Report = func(i int, _ rerank.Candidate) {
			if i == 0 {
				f()
			}
		}
	}

	for _, n := range []int{400} {
		first(func() { dev.Emulation().FailAlloc(n) })
		r, err := ask(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var memory *cuda.OutOfMemory
		if c := r.Candidates[1]; !errors.As(c.Err, &memory) || c.Rank != 0 {
			t.Errorf("the second candidate: %+v", c)
		}
		equal(0, r.Candidates[0])
		equal(2, r.Candidates[2])
		if have := dev.Usage(); have != before {
			t.Errorf("%+v is held, %+v before", have, before)
		}
	}

	steps := 0
	ctx, cancel := context.WithCancel(t.Context())
	first(func() {})
	w.draw.Progress = func(done, total int) {
		if steps++; done == 5 { // the second step of the second candidate
			cancel()
		}
	}
	w.loop.Painter = w.sd.Painter(w.draw)
	r, err := ask(ctx)
	if !errors.Is(err, context.Canceled) || steps != 5 || r.Selected != 0 || r.Candidates[1].Rank != 0 || r.Candidates[2].Picture != nil {
		t.Errorf("cancelled at step %d: %v, %+v", steps, err, r)
	}
	equal(0, r.Candidates[0])
	if have := dev.Usage(); have != before {
		t.Errorf("%+v is held, %+v before", have, before)
	}
	w.draw.Progress = nil
	w.loop.Painter = w.sd.Painter(w.draw)

	first(dev.Emulation().Lose)
	if r, err = ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	var lost *cuda.Lost
	for i, c := range r.Candidates {
		if i == 0 {
			equal(0, c)
		} else if !errors.As(c.Err, &lost) || c.Rank != 0 {
			t.Errorf("candidate %d of a lost device: %+v", i, c)
		}
	}
	if _, err = ask(t.Context()); !errors.As(err, &lost) {
		t.Errorf("a lost device: %v", err)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
	w = newSmall(t)
	dev = w.dev
	if r, err = ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, c := range r.Candidates {
		equal(i, c)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}
