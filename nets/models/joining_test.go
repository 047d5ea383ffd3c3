package models_test

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"slices"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
)

// alone draws one picture.
func alone(t *testing.T, p *models.StableDiffusion, o models.DrawOptions, text string, seed uint64) (m *pixels.Image) {
	t.Helper()
	err := p.Draw(engine.NewRun(t.Context()), []string{text}, []uint64{seed}, o, func(_ int, d rerank.Drawing) {
		var err error
		if err = d.Err; err == nil {
			m, err = d.Picture.Host()
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestDrawJoining: drawings that come while others are under way are to the bit what they
// are alone, from a picture and with long prompts too, and those that are given up
// meanwhile are not handed on.
func TestDrawJoining(t *testing.T) {
	for _, precision := range []host.Precision{host.Exact, host.F32} {
		p, err := models.OpenStableDiffusion(models.Embedded("sd"), host.NewWith(host.Options{Workers: 2, Precision: precision}))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		o := p.Defaults
		o.Width, o.Height, o.Steps = 32, 40, 4
		from := o
		from.Init, from.Strength, from.Scheduler = alone(t, p, o, "a dog", 9), 0.8, "euler-a"
		masked := from
		masked.Mask = pixels.New(2, 1, color.RGBA{})
		copy(masked.Mask.Pix, []uint8{255, 255, 255})
		long := o
		long.Chunks, long.Guidance = true, 1
		for name, o := range map[string]models.DrawOptions{"texts": o, "from a picture": from, "masked": masked, "weights": long} {
			t.Run(fmt.Sprintf("%v, %s", precision, name), func(t *testing.T) { testDrawJoining(t, p, o, o) })
		}
		other := o
		other.Steps, other.Scheduler, other.Guidance, other.Negative = 7, "euler-a", 2, "a dog"
		t.Run(fmt.Sprintf("%v, all", precision), func(t *testing.T) { testDrawJoining(t, p, o, other, masked, from) })
	}
}

// testDrawJoining draws prompts that come one after another with options in turn.
func testDrawJoining(t *testing.T, p *models.StableDiffusion, options ...models.DrawOptions) {
	texts := [][]string{{"a (cat:1.5) on the grass", "two red apples"}, {"a dog at night"}, nil, {"a house", "a tree"}}
	var all []models.Prompt
	optionsOf := func(i int) models.DrawOptions { return options[i%len(options)] }
	var requests []*models.Request
	for _, o := range options {
		r, err := p.Request(engine.NewRun(t.Context()), "a cat", o)
		if err != nil {
			t.Fatal(err)
		}
		if requests = append(requests, r); r.Shape() != requests[0].Shape() {
			t.Fatalf("shapes %v and %v", r.Shape(), requests[0].Shape())
		}
	}
	steps := map[int][]int{}
	step := func(st diffusion.Step) (keep []int, err error) {
		keep = []int{}
		for row, i := range st.Samples {
			if i != 1 || st.Index == 0 { // number 1 is given up after its second step
				keep = append(keep, row)
			}
			steps[i] = append(steps[i], st.Index)
		}
		return keep, nil
	}
	have := map[int]*pixels.Image{}
	asked := 0
	next := func() (models.Prompt, bool) {
		if asked == len(texts) {
			return models.Prompt{}, false
		}
		if len(texts[asked]) == 0 {
			asked++
			return models.Prompt{}, false
		}
		text := texts[asked][0]
		texts[asked] = texts[asked][1:]
		r, err := p.Request(engine.NewRun(t.Context()), text, optionsOf(len(all)))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, models.Prompt{Request: r, Seed: uint64(len(all) + 1)})
		return all[len(all)-1], true
	}
	err := p.DrawJoining(engine.NewRun(t.Context()), next, step, func(i int, d rerank.Drawing) {
		if d.Err != nil {
			t.Errorf("drawing %d: %v", i, d.Err)
			return
		}
		have[i], _ = d.Picture.Host()
	})
	if err != nil || len(all) != 5 {
		t.Fatalf("%d came, %v", len(all), err)
	}
	for i, prompt := range all {
		plan, err := p.Pipeline.Plan(optionsOf(i).Options)
		if err != nil {
			t.Fatal(err)
		}
		n := plan.Steps()
		if i == 1 {
			n = 2
			if have[i] != nil {
				t.Error("what was given up is handed on")
			}
		} else if m := alone(t, p, optionsOf(i), prompt.Text, prompt.Seed); have[i] == nil || !bytes.Equal(have[i].Pix, m.Pix) {
			t.Errorf("drawing %d is not what it is alone", i)
		}
		if len(steps[i]) != n || !slices.IsSorted(steps[i]) {
			t.Errorf("drawing %d is told of steps %v, want %d", i, steps[i], n)
		}
	}
}

// TestRequest: what is refused before it is drawn.
func TestRequest(t *testing.T) {
	p, err := models.OpenStableDiffusion(models.Embedded("sd"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	o := p.Defaults
	o.Width, o.Height = 16, 16
	for want, change := range map[string]func(*models.DrawOptions, *engine.Run){
		"a mask is for a drawing that starts from a picture": func(o *models.DrawOptions, _ *engine.Run) {
			o.Mask = pixels.New(1, 1, color.RGBA{})
		},
		"leaves no step": func(o *models.DrawOptions, _ *engine.Run) {
			o.Init, o.Strength = pixels.New(1, 1, color.RGBA{}), 0.01
		},
		"multiples of": func(o *models.DrawOptions, _ *engine.Run) { o.Width = 17 },
		"are free":     func(_ *models.DrawOptions, r *engine.Run) { r.Memory = 1 },
	} {
		o, run := o, engine.NewRun(t.Context())
		change(&o, &run)
		if _, err := p.Request(run, "a cat", o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestDrawJoiningRoom: no more are drawn at once than fit in the memory of each; who does
// not fit waits. Another shape is an error, and so is what the callback gives.
func TestDrawJoiningRoom(t *testing.T) {
	p, err := models.OpenStableDiffusion(models.Embedded("sd"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	o := p.Defaults
	o.Width, o.Height, o.Steps = 16, 16, 2
	plan, err := p.Pipeline.Plan(o.Options)
	if err != nil {
		t.Fatal(err)
	}
	need := func(n int) int {
		bytes, err := plan.Need(host.New(2), n, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	with := func(bytes int) engine.Run {
		run := engine.NewRun(t.Context())
		run.Memory = bytes
		return run
	}
	request := func(run engine.Run, o models.DrawOptions) *models.Request {
		r, err := p.Request(run, "a cat", o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	one, three := request(with(need(1)), o), request(with(need(1)+2*(need(2)-need(1))), o)
	for want, list := range map[string][]*models.Request{"[1 1 1 1]": {one, one, three, one}, "[3 3 1 1]": {three, three, three, three},
		"[2 2 1 1]": {three, three, one}, "[3 3 3 3]": {three, three, three, three, three, three}} {
		var atOnce []int
		left := list
		drawn := 0
		seen := map[int]int{}
		err := p.DrawJoining(engine.NewRun(t.Context()), func() (models.Prompt, bool) {
			if len(left) == 0 {
				return models.Prompt{}, false
			}
			r := left[0]
			left = left[1:]
			return models.Prompt{Request: r, Seed: uint64(len(left))}, true
		}, func(st diffusion.Step) ([]int, error) {
			atOnce = append(atOnce, len(st.Samples))
			for _, i := range st.Samples {
				seen[i]++
			}
			return nil, nil
		}, func(_ int, d rerank.Drawing) {
			if drawn++; d.Err != nil {
				t.Error(d.Err)
			}
		})
		if err != nil || drawn != len(list) || !strings.HasPrefix(fmt.Sprint(atOnce), want[:len(want)-1]) {
			t.Errorf("%v at once, %d of %d drawn, %v; want %s", atOnce, drawn, len(list), err, want)
		}
	}
	wide := o
	wide.Width = 32
	list := []*models.Request{three, request(engine.NewRun(t.Context()), wide)}
	err = p.DrawJoining(engine.NewRun(t.Context()), func() (models.Prompt, bool) {
		if len(list) == 0 {
			return models.Prompt{}, false
		}
		r := list[0]
		list = list[1:]
		return models.Prompt{Request: r}, true
	}, nil, func(int, rerank.Drawing) { t.Error("a drawing is handed on") })
	if err == nil || !strings.Contains(err.Error(), "beside those of") {
		t.Errorf("another shape: %v", err)
	}
	gone := errors.New("nobody waits")
	if err := p.DrawJoining(engine.NewRun(t.Context()), func() (models.Prompt, bool) { return models.Prompt{Request: one}, true },
		func(diffusion.Step) ([]int, error) { return nil, gone },
		func(int, rerank.Drawing) { t.Error("a drawing is handed on") }); !errors.Is(err, gone) {
		t.Errorf("have %v", err)
	}
}
