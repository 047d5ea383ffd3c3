package work

import (
	"bytes"
	"context"
	"errors"
	"image/color"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/mini"
)

func open(t testing.TB, l Limits) (*Scheduler, *quiet) {
	t.Helper()
	dev := host.New(2)
	blip, err := models.OpenBLIP(models.Embedded("blip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	sd, err := models.OpenStableDiffusion(models.Embedded("sd"), dev)
	if err != nil {
		t.Fatal(err)
	}
	clip, err := models.OpenCLIP(models.Embedded("clip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	q := &quiet{}
	s := New(Models{blip, sd, clip, dev}, l, q)
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		blip.Close()
		sd.Close()
		clip.Close()
	})
	return s, q
}

func (s *Scheduler) drawing(prompt string, seed uint64) Drawing {
	d := Drawing{Prompt: prompt, Seed: seed, Options: s.SD.Defaults.Options}
	d.Options.Steps = 4
	return d
}

// settled waits until the drawings' lane has told all, and forgets it.
func (s *Scheduler) settled(q *quiet) (batches []int, steps int) {
	for {
		s.draws.mu.Lock()
		idle := s.draws.waiting == 0 && s.draws.now == nil
		s.draws.mu.Unlock()
		if idle {
			break
		}
		time.Sleep(time.Millisecond)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	batches, steps = q.batches, q.steps
	q.batches, q.steps = nil, 0
	return batches, steps
}

// one draws one picture for a client.
func (s *Scheduler) one(ctx context.Context, client Client, d Drawing) (m *pixels.Image, err error) {
	e := s.Draw(ctx, client, []Drawing{d}, func(_ int, picture *pixels.Image, failed error) { m, err = picture, failed })
	return m, errors.Join(e, err)
}

// TestBatch: requests of several clients share batches, and each gets the bits that it
// gets alone; another size has its own batch; previews come on the way.
func TestBatch(t *testing.T) {
	s, q := open(t, Limits{Waiting: 100, Batch: 4})
	prompts := []string{"a cat on the grass", "two red apples", "a dog at night"}
	var alone []*pixels.Image
	for i, p := range prompts {
		m, err := s.one(t.Context(), "a", s.drawing(p, uint64(i)))
		if err != nil {
			t.Fatal(err)
		}
		alone = append(alone, m)
	}
	s.settled(q)
	block := s.drawing("something first", 9) // while it is drawn the others gather
	block.Options.Guidance = 1               // which none of them can join
	begun := make(chan struct{})
	var once sync.Once
	block.Step = func(int, int, *pixels.Image) {
		once.Do(func() {
			close(begun)
			for gathered := 0; gathered < len(prompts)+1; time.Sleep(time.Millisecond) {
				s.draws.mu.Lock()
				gathered = s.draws.waiting
				s.draws.mu.Unlock()
			}
		})
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := s.one(t.Context(), "z", block); err != nil {
			t.Error(err)
		}
	})
	<-begun
	var previews [3]int
	for i, p := range prompts {
		wait.Go(func() {
			d := s.drawing(p, uint64(i))
			d.Previews = i
			d.Step = func(step, steps int, m *pixels.Image) {
				if m != nil {
					previews[i]++
				}
			}
			m, err := s.one(t.Context(), Client(p), d)
			if err != nil || !bytes.Equal(m.Pix, alone[i].Pix) {
				t.Errorf("%s: another picture than alone, %v", p, err)
			}
		})
	}
	wait.Go(func() {
		d := s.drawing("a wide one", 1)
		d.Options.Width = 96
		m, err := s.one(t.Context(), "w", d)
		if err != nil || m.W != 96 || m.H != 64 {
			t.Errorf("%v", err)
		}
	})
	wait.Wait()
	batches, _ := s.settled(q)
	if slices.Sort(batches); !slices.Equal(batches, []int{1, 1, 3}) {
		t.Errorf("batches of %v, want the three together", batches)
	}
	if previews != [3]int{0, 1, 2} {
		t.Errorf("previews %v, want 0, 1 and 2", previews)
	}
}

// TestJoins: a request that comes while a drawing is under way joins it between two steps,
// and both get the bits that they get alone; one of another size has its own batch.
func TestJoins(t *testing.T) {
	s, q := open(t, Limits{Waiting: 100, Batch: 4})
	prompts := []string{"a cat on the grass", "two red apples", "a dog at night"}
	// They have a size in common, and nothing else.
	drawing := func(i int) Drawing {
		d := s.drawing(prompts[i], uint64(i))
		switch i {
		case 1:
			d.Options.Steps, d.Options.Scheduler, d.Options.Guidance, d.Negative = 7, "euler-a", 2, "a dog"
		case 2:
			d.Init, d.Mask = pixels.New(64, 64, color.RGBA{R: 200, G: 100}), pixels.New(2, 1, color.RGBA{})
			copy(d.Mask.Pix, []uint8{255, 255, 255})
			d.Options.Steps, d.Options.Scheduler, d.Options.Strength = 9, "dpmpp2m", 0.7
			d.Options.ClipSkip, d.Options.Fill = 1, diffusion.FillNoise
		}
		return d
	}
	var want []*pixels.Image
	for i := range prompts {
		m, err := s.one(t.Context(), "a", drawing(i))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, m)
	}
	s.settled(q)
	var wait sync.WaitGroup
	draw := func(i int, step func(step int)) {
		wait.Go(func() {
			d := drawing(i)
			d.Step = func(n, _ int, _ *pixels.Image) { step(n) }
			m, err := s.one(t.Context(), Client(prompts[i]), d)
			if err != nil || !bytes.Equal(m.Pix, want[i].Pix) {
				t.Errorf("%s: another picture than alone, %v", prompts[i], err)
			}
		})
	}
	queued := func(n int) { // waits until so many wait
		for {
			s.draws.mu.Lock()
			waiting := s.draws.waiting
			s.draws.mu.Unlock()
			if waiting == n {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	draw(0, func(n int) {
		if n == 2 {
			draw(1, func(n int) {
				if n == 1 {
					draw(2, func(int) {})
					queued(1)
				}
			})
			queued(1)
		}
	})
	wait.Wait()
	if batches, _ := s.settled(q); !slices.Equal(batches, []int{3}) || q.joined != 2 {
		t.Errorf("batches of %v, %d joined; want one of 3, which 2 joined", batches, q.joined)
	}
	other := s.drawing("a wide one", 1)
	other.Options.Width = 96
	draw(0, func(n int) {
		if n == 2 {
			wait.Go(func() {
				if m, err := s.one(t.Context(), "w", other); err != nil || m.W != 96 {
					t.Error(err)
				}
			})
			queued(1)
		}
	})
	wait.Wait()
	if batches, _ := s.settled(q); !slices.Equal(batches, []int{1, 1}) || q.joined != 2 {
		t.Errorf("batches of %v, %d joined; want two of 1", batches, q.joined)
	}
}

// TestLeaves: who leaves in the middle of a batch ends their drawing within a step, and
// the others of the batch are not changed; a batch of nobody ends.
func TestLeaves(t *testing.T) {
	s, q := open(t, Limits{Waiting: 100, Batch: 4})
	want, err := s.one(t.Context(), "a", s.drawing("a cat", 1))
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	s.settled(q)
	leaver := s.drawing("a dog", 2)
	leaver.Step = func(step, _ int, _ *pixels.Image) {
		if step == 2 {
			leave()
		}
	}
	block := s.drawing("something first", 9)
	begun := make(chan struct{})
	var once sync.Once
	block.Step = func(int, int, *pixels.Image) { once.Do(func() { close(begun) }); time.Sleep(20 * time.Millisecond) }
	var wait sync.WaitGroup
	wait.Go(func() { s.one(t.Context(), "z", block) })
	<-begun
	wait.Go(func() {
		if _, err := s.one(ctx, "b", leaver); !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
	})
	wait.Go(func() {
		if m, err := s.one(t.Context(), "a", s.drawing("a cat", 1)); err != nil || !bytes.Equal(m.Pix, want.Pix) {
			t.Errorf("who stayed got another picture, %v", err)
		}
	})
	wait.Wait()
	if _, steps := s.settled(q); steps > 4+4+3 {
		t.Errorf("%d steps were made, want %d at most", steps, 4+4+3)
	}

	ctx, leave = context.WithCancel(t.Context())
	defer leave()
	leaver.Options.Steps = 200
	if _, err := s.one(ctx, "b", leaver); !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
	_, err = s.one(t.Context(), "a", s.drawing("a cat", 1))
	if _, steps := s.settled(q); err != nil || steps > 3+4 {
		t.Errorf("%d steps, %v", steps, err)
	}
}

// TestCheck: what no memory has room for is refused before it is drawn.
func TestCheck(t *testing.T) {
	s, _ := open(t, Limits{Waiting: 10, Batch: 4})
	d := s.drawing("a cat", 1)
	if _, err := s.Check(t.Context(), d); err != nil {
		t.Error(err)
	}
	d.Options.Width, d.Options.Height = 8192, 1<<16
	var memory *engine.MemoryError
	if _, err := s.Check(t.Context(), d); !errors.As(err, &memory) {
		t.Errorf("have %v", err)
	}
	d.Options.Width = 63
	if _, err := s.Check(t.Context(), d); err == nil || errors.As(err, &memory) {
		t.Errorf("have %v", err)
	}
}

// TestLoop: a reconstruction through the scheduler is the one without it.
func TestLoop(t *testing.T) {
	s, _ := open(t, Limits{Waiting: 100, Batch: 4})
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	m, err := pixels.Decode(bytes.NewReader(scenes[7].PNG))
	if err != nil {
		t.Fatal(err)
	}
	o := s.SD.Defaults
	o.Steps = 2
	want := rerank.Loop{Captioner: s.BLIP.Captioner(models.Nucleus()), Describer: s.BLIP.Captioner(models.Beam()),
		Painter: s.SD.Painter(o), Judge: s.CLIP.Judge(models.EmbedOptions{}), K: 3}
	have := s.Loop("a", models.Nucleus(), Drawing{Options: o.Options}, Told{})
	have.K = 3
	for _, src := range []rerank.Source{{Name: "a picture", Picture: m, Seed: 5}, {Name: "a cat on the grass", Seed: 6}} {
		x, err := want.One(engine.NewRun(t.Context()), src)
		if err != nil {
			t.Fatal(err)
		}
		y, err := have.One(engine.NewRun(t.Context()), src)
		if err != nil {
			t.Fatal(err)
		}
		if x.Selected != y.Selected || len(x.Candidates) != len(y.Candidates) {
			t.Errorf("%s: selects %d of %d, want %d of %d", src.Name, y.Selected, len(y.Candidates), x.Selected, len(x.Candidates))
		}
		for i, c := range x.Candidates {
			d := y.Candidates[i]
			if c.Text != d.Text || math.Abs(c.Score-d.Score) > 1e-5 || !bytes.Equal(c.Picture.Pix, d.Picture.Pix) {
				t.Errorf("%s: candidate %d is %q %.6f, want %q %.6f", src.Name, i, d.Text, d.Score, c.Text, c.Score)
			}
		}
	}
}
