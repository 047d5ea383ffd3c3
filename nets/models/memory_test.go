package models_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/diffusion"
	"parley/nets/forward"
	"parley/nets/models"
	"parley/nets/rerank"
)

// TestTilesForWantOfMemory: a picture is decoded whole where that fits, in tiles
// where it does not, which is told; and as the option says.
func TestTilesForWantOfMemory(t *testing.T) {
	p := openMini(t, models.Extras{})
	o := p.Defaults
	o.Steps, o.Guidance, o.Width, o.Height = 1, 1, 320, 288
	need := func(tiling diffusion.Tiling) int {
		o := o.Options
		o.Tiling = tiling
		plan, err := p.Pipeline.Plan(o)
		if err != nil {
			t.Fatal(err)
		}
		n, err := plan.Need(host.New(2), 1, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	whole, tiled := need(diffusion.TilingOff), need(diffusion.TilingOn)
	if tiled >= whole {
		t.Fatalf("%d bytes in tiles, %d whole", tiled, whole)
	}
	for _, c := range []struct {
		tiling diffusion.Tiling
		memory int
		tiled  bool
		note   string
		err    string
	}{
		{"", whole, false, "", ""},
		{diffusion.TilingAuto, whole - 1, true, "tiles", ""},
		{diffusion.TilingOn, whole, true, "", ""},
		{diffusion.TilingOff, whole, false, "", ""},
		{diffusion.TilingOff, whole - 1, false, "", "320 x 288 pixels needs"},
		{diffusion.TilingAuto, tiled - 1, false, "", "would fit"},
	} {
		options := o.Options
		options.Tiling = c.tiling
		plan, err := p.Pipeline.Plan(options)
		if err != nil {
			t.Fatal(err)
		}
		n, err := plan.Batch(host.New(2), 1, c.memory)
		if c.err != "" {
			var m *engine.MemoryError
			if !errors.As(err, &m) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q in %d bytes: %v, want an error with %q", c.tiling, c.memory, err, c.err)
			}
			continue
		}
		after, e := plan.Need(host.New(2), 1, 1<<40)
		if want := map[bool]int{true: tiled, false: whole}[c.tiled]; err != nil || e != nil || n != 1 || after != want {
			t.Errorf("%q in %d bytes: %d drawings that need %d, %v, want %d", c.tiling, c.memory, n, after, err, want)
		}
		if !strings.Contains(plan.Note(), c.note) || c.note == "" && plan.Note() != "" {
			t.Errorf("%q in %d bytes: note %q", c.tiling, c.memory, plan.Note())
		}
	}
	told := ""
	o.Note = func(s string) { told = s }
	run := engine.NewRun(t.Context())
	run.Memory = whole - 1
	if err := p.Draw(run, []string{"a cat"}, []uint64{1}, o, func(_ int, d rerank.Drawing) {
		if d.Err != nil {
			t.Error(d.Err)
		}
	}); err != nil || !strings.Contains(told, "tiles") {
		t.Errorf("%v, told %q", err, told)
	}
	run.Memory = tiled / 2
	if err := p.Draw(run, []string{"a cat"}, []uint64{1}, o, func(int, rerank.Drawing) { t.Error("drawn") }); err == nil {
		t.Error("half the memory is enough")
	}
}

// TestAdviceKeepsTheShape: what would fit has the shape of what was asked for, does
// fit, and is no picture that nobody wants.
func TestAdviceKeepsTheShape(t *testing.T) {
	p := openMini(t, models.Extras{})
	for _, c := range []struct{ w, h int }{{640, 320}, {256, 1024}, {512, 512}, {64, 100000}, {100000, 64}, {40, 36}} {
		o := p.Defaults.Options
		o.Width, o.Height = c.w, c.h
		plan, err := p.Pipeline.Plan(o)
		if err != nil {
			t.Fatal(err)
		}
		need, err := plan.Need(host.New(2), 1, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		memory := need / 8
		switch {
		case c.w == 40:
			memory = 1 << 16
		case c.w > 16*c.h || c.h > 16*c.w: // a little less of it would fit
			memory = need - 1
		}
		_, err = plan.Batch(host.New(2), 1, memory)
		var m *engine.MemoryError
		if !errors.As(err, &m) {
			t.Errorf("%v: %v", c, err)
			continue
		}
		if c.w > 16*c.h || c.h > 16*c.w || c.w == 40 {
			if m.Fits != "" {
				t.Errorf("%v: %q", c, m.Fits)
			}
			continue
		}
		if _, err := fmt.Sscanf(m.Fits, "%d x %d pixels would fit", &o.Width, &o.Height); err != nil {
			t.Errorf("%v: %q", c, m.Fits)
			continue
		}
		if have, want := float64(o.Width)/float64(o.Height), float64(c.w)/float64(c.h); have < 0.8*want || have > 1.25*want {
			t.Errorf("%v: %d x %d is of another shape", c, o.Width, o.Height)
		}
		if plan, err = p.Pipeline.Plan(o); err == nil {
			_, err = plan.Batch(host.New(2), 1, memory)
		}
		if err != nil {
			t.Errorf("%v: what would fit: %v", c, err)
		}
	}
}

// TestPipelineOfForwardIsWeighed: forward's pipeline refuses what does not fit.
func TestPipelineOfForwardIsWeighed(t *testing.T) {
	in := goldens(t, "img2img.safetensors")
	var o forward.Options
	o.Draw = diffusion.Options{Steps: 1, Guidance: 4, Width: 2 << 20, Height: 64}
	run := engine.NewRun(t.Context())
	run.Memory = 1 << 30
	_, err := forward.Once(run, "pipeline", at(t, "testdata/sd"), host.New(2), in, o)
	var m *engine.MemoryError
	if !errors.As(err, &m) {
		t.Errorf("%v, want a MemoryError", err)
	}
}
