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
		if long.Tokens, err = p.TokensOf(t.Context(), "(a cat:1.2)", long); err != nil {
			t.Fatal(err)
		}
		for name, o := range map[string]models.DrawOptions{"texts": o, "from a picture": from, "masked": masked, "weights": long} {
			t.Run(fmt.Sprintf("%v, %s", precision, name), func(t *testing.T) { testDrawJoining(t, p, o) })
		}
	}
}

func testDrawJoining(t *testing.T, p *models.StableDiffusion, o models.DrawOptions) {
	come := [][]models.Prompt{{{"a (cat:1.5) on the grass", 1}, {"two red apples", 2}}, {{"a dog at night", 3}}, nil,
		{{"a house", 4}, {"a tree", 5}}}
	var all []models.Prompt
	var events []string
	asked := 0
	o.Step = func(st diffusion.Step) (keep []int, err error) {
		keep = []int{}
		for row, i := range st.Samples {
			if i != 1 || st.Index == 0 { // number 1 is given up after its second step
				keep = append(keep, row)
			}
		}
		events = append(events, fmt.Sprint(st.Samples, st.Index))
		return keep, nil
	}
	have := map[int]*pixels.Image{}
	err := p.DrawJoining(engine.NewRun(t.Context()), o, func(room int) []models.Prompt {
		if asked == len(come) {
			return nil
		}
		some := come[asked]
		asked++
		all = append(all, some...)
		return some
	}, func(i int, d rerank.Drawing) {
		if d.Err != nil {
			t.Errorf("drawing %d: %v", i, d.Err)
			return
		}
		have[i], _ = d.Picture.Host()
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"[0 1] 0", "[0 1] 1", "[2] 0", "[0] 2", "[2] 1"}
	if plan, _ := p.Pipeline.Plan(o.Options); plan.Steps() == 5 {
		want = append(want, "[0] 3", "[2] 2", "[3 4] 0", "[0] 4", "[2] 3", "[3 4] 1", "[2] 4", "[3 4] 2", "[3 4] 3", "[3 4] 4")
	}
	if !slices.Equal(events[:len(want)], want) {
		t.Errorf("steps %q, want %q", events, want)
	}
	o.Step = nil
	for i, prompt := range all {
		if i == 1 {
			if have[i] != nil {
				t.Error("what was given up is handed on")
			}
			continue
		}
		if m := alone(t, p, o, prompt.Text, prompt.Seed); have[i] == nil || !bytes.Equal(have[i].Pix, m.Pix) {
			t.Errorf("drawing %d is not what it is alone", i)
		}
	}
}

// TestDrawJoiningRefuses: a prompt that does not fit fails alone; more than there is room
// for is an error.
func TestDrawJoiningRefuses(t *testing.T) {
	p, err := models.OpenStableDiffusion(models.Embedded("sd"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	o := p.Defaults
	o.Width, o.Height, o.Steps, o.Chunks = 16, 16, 1, true
	var errs [2]error
	times := 0
	err = p.DrawJoining(engine.NewRun(t.Context()), o, func(int) []models.Prompt {
		if times++; times > 1 {
			return nil
		}
		return []models.Prompt{{"a cat", 1}, {strings.Repeat("many words and ", 200), 2}}
	}, func(i int, d rerank.Drawing) { errs[i] = d.Err })
	if err != nil || errs[0] != nil || errs[1] == nil {
		t.Errorf("have %v and %v", err, errs)
	}
	one := engine.NewRun(t.Context())
	plan, err := p.Pipeline.Plan(o.Options)
	if err == nil {
		one.Memory, err = plan.Need(host.New(2), 1, 1<<40)
	}
	if err != nil {
		t.Fatal(err)
	}
	err = p.DrawJoining(one, o, func(room int) []models.Prompt { return make([]models.Prompt, room+1) }, func(int, rerank.Drawing) {})
	if err == nil || !strings.Contains(err.Error(), "room for 1") {
		t.Errorf("have %v", err)
	}
	ctx := errors.New("nobody waits")
	o.Step = func(diffusion.Step) ([]int, error) { return nil, ctx }
	if err := p.DrawJoining(one, o, func(room int) []models.Prompt { return []models.Prompt{{"a cat", 1}} }, func(int, rerank.Drawing) {
		t.Error("a drawing is handed on")
	}); !errors.Is(err, ctx) {
		t.Errorf("have %v", err)
	}
}
