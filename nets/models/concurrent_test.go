package models_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/mini"
)

// TestTwoRequestsAtATime: different requests on one model at the same time give
// the bits of each alone, and each is told of its own progress.
func TestTwoRequestsAtATime(t *testing.T) {
	testTwoRequests(t, host.New(2), 16)
}

// opened are the embedded models, until the test ends.
func opened(t *testing.T, dev engine.Device) (*models.StableDiffusion, *models.BLIP, *models.CLIP) {
	t.Helper()
	sd, err := models.OpenStableDiffusion(models.Embedded("sd"), dev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sd.Close)
	blip, err := models.OpenBLIP(models.Embedded("blip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(blip.Close)
	clip, err := models.OpenCLIP(models.Embedded("clip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clip.Close)
	return sd, blip, clip
}

// testTwoRequests draws pictures of a size, describes and embeds them.
func testTwoRequests(t *testing.T, dev engine.Device, size int) {
	sd, blip, clip := opened(t, dev)
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	picture, err := pixels.Decode(bytes.NewReader(scenes[3].PNG))
	if err != nil {
		t.Fatal(err)
	}
	pictures := []pixels.Picture{picture}
	small := func(steps int, scheduler, negative string) models.DrawOptions {
		o := sd.Defaults
		o.Width, o.Height, o.Steps, o.Scheduler, o.Negative = size, size, steps, scheduler, negative
		return o
	}
	draw := func(o models.DrawOptions, text string) func(engine.Run) (string, error) {
		return func(run engine.Run) (out string, err error) {
			o, most := o, 0 // two goroutines make each request
			o.Progress = func(done, total int) { most = max(most, total) }
			err = sd.Draw(run, []string{text}, []uint64{4}, o, func(_ int, d rerank.Drawing) {
				if d.Err != nil {
					out = d.Err.Error()
					return
				}
				m, err := d.Picture.Host()
				out = fmt.Sprint(m, err)
			})
			return fmt.Sprint(most, " steps ", out), err
		}
	}
	caption := func(o models.CaptionOptions, k int) func(engine.Run) (string, error) {
		o.MaxLength = 9
		return func(run engine.Run) (string, error) {
			c, err := blip.Caption(run, pictures, k, []uint64{7}, o)
			return fmt.Sprint(c), err
		}
	}
	embed := func(o models.EmbedOptions, text string) func(engine.Run) (string, error) {
		return func(run engine.Run) (string, error) {
			x, err := clip.EmbedTexts(run, []string{text}, o)
			if err != nil {
				return "", err
			}
			y, err := clip.EmbedImages(run, pictures, o)
			if err != nil {
				return "", err
			}
			return fmt.Sprint(x.Data(), y.Data()), nil
		}
	}
	requests := []func(engine.Run) (string, error){
		draw(small(3, "euler", ""), "a cat"), draw(small(4, "ddim", "dogs"), "a dog at night"),
		caption(models.Nucleus(), 3), caption(models.Beam(), 1),
		embed(models.EmbedOptions{}, "a cat"), embed(models.EmbedOptions{Pooled: true}, "two dogs"),
	}
	run := engine.NewRun(t.Context())
	var alone []string
	for _, r := range requests {
		out, err := r(run)
		if err != nil {
			t.Fatal(err)
		}
		alone = append(alone, out)
	}
	if c := slices.Clone(alone); len(slices.Compact(c)) != len(requests) {
		t.Fatal("two different requests give the same")
	}
	var wait sync.WaitGroup
	for i, r := range requests {
		for range 2 {
			wait.Add(1)
			go func() {
				defer wait.Done()
				if out, err := r(run); err != nil || out != alone[i] {
					t.Errorf("request %d beside others: %.300s, %v; alone: %.300s", i, out, err, alone[i])
				}
			}()
		}
	}
	wait.Wait()
}

// spans count what a run's streams do, by the first name of their paths.
type spans struct {
	mu   sync.Mutex
	tops map[string]int
	none int // without a time
}

func (s *spans) Record(sp engine.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	top := sp.Path
	for i, c := range top {
		if c == '.' {
			top = top[:i]
			break
		}
	}
	s.tops[top]++
	if sp.Time <= 0 && sp.Op != "" {
		s.none++
	}
}

// TestRecorderSeesEverything: one recorder on a run sees the captioner's, the
// painter's and the judge's operations, and uploads and downloads among them.
func TestRecorderSeesEverything(t *testing.T) {
	dev := host.New(2)
	sd, err := models.OpenStableDiffusion(models.Embedded("sd"), dev)
	if err != nil {
		t.Fatal(err)
	}
	blip, err := models.OpenBLIP(models.Embedded("blip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	clip, err := models.OpenCLIP(models.Embedded("clip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	o := sd.Defaults
	o.Width, o.Height, o.Steps = 16, 16, 2
	rec := &spans{tops: map[string]int{}}
	run := engine.NewRun(t.Context())
	run.Recorder = rec
	l := rerank.Loop{Captioner: blip.Captioner(models.Beam()), Painter: sd.Painter(o), Judge: clip.Judge(models.EmbedOptions{}), K: 1}
	if _, err := l.One(run, rerank.Source{Name: "a cat"}); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"caption", "draw", "judge"} {
		if rec.tops[part] < 50 {
			t.Errorf("%d spans of %s in %v", rec.tops[part], part, rec.tops)
		}
	}
	if len(rec.tops) != 3 || rec.none > 0 {
		t.Errorf("paths begin with %v; %d operations have no time", rec.tops, rec.none)
	}
}
