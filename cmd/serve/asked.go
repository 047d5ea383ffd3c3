package serve

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"parley/cmd/serve/work"
	"parley/engine"
	"parley/nets/pixels"
	"parley/nets/schedule"
)

// asked is what all routes can ask of a drawing; nil and zero leave it to the model.
type asked struct {
	prompt, negative string
	seed             *int64
	steps            *int
	guidance         *float64
	scheduler        string
	w, h             int // 0: the model's, or the picture's
	from             source
	strength         *float64
	chunks           bool
}

// source is what a drawing starts from; mask, or nil, is white where picture is drawn anew.
type source struct{ picture, mask *pixels.Image }

// drawing makes a drawing of what is asked for, to be checked; the first seed is told in it.
func (s *Server) drawing(a asked) (work.Drawing, error) {
	d := work.Drawing{Prompt: a.prompt, Negative: a.negative, Chunks: a.chunks, Init: a.from.picture, Mask: a.from.mask,
		Options: s.work.SD.Defaults.Options}
	o := &d.Options
	if len(a.prompt)+len(a.negative) > s.o.Text {
		return d, wrong("prompt", "a prompt may have %d bytes", s.o.Text)
	}
	if d.Seed = uint64(rand.Int64N(1 << 32)); a.seed != nil && *a.seed >= 0 {
		d.Seed = uint64(*a.seed)
	}
	if o.Steps = min(o.Steps, s.o.Steps); a.steps != nil {
		o.Steps = *a.steps
	}
	if o.Steps < 1 || o.Steps > s.o.Steps {
		return d, wrong("steps", "%d: want 1 to %d", o.Steps, s.o.Steps)
	}
	if a.guidance != nil {
		o.Guidance = *a.guidance
	}
	if !(o.Guidance >= 0 && o.Guidance <= 100) {
		return d, wrong("guidance", "%v: want 0 to 100", o.Guidance)
	}
	if a.scheduler != "" {
		if !slices.Contains(schedule.Kinds, a.scheduler) {
			return d, wrong("scheduler", "%q: want one of %s", a.scheduler, strings.Join(schedule.Kinds, ", "))
		}
		o.Scheduler = a.scheduler
	}
	if a.from.picture != nil {
		if o.Strength = 0.8; a.strength != nil {
			o.Strength = *a.strength
		}
		if !(o.Strength > 0 && o.Strength <= 1) {
			return d, wrong("strength", "%v: want more than 0, at most 1", o.Strength)
		}
		o.Width, o.Height = s.work.SD.SizeOf(a.from.picture, a.w, a.h)
	} else {
		if a.strength != nil {
			return d, wrong("strength", "is for a drawing that starts from a picture")
		}
		if a.w != 0 || a.h != 0 {
			o.Width, o.Height = a.w, a.h
		}
	}
	if step := s.work.SD.VAE.Factor; o.Width < step || o.Height < step || o.Width%step != 0 || o.Height%step != 0 {
		return d, wrong("size", "%dx%d: width and height have to be multiples of %d", o.Width, o.Height, step)
	}
	if o.Width > s.o.Pixels/o.Height {
		return d, &apiError{http.StatusRequestEntityTooLarge, "too_large", "size",
			fmt.Sprintf("size: %dx%d: a picture may have %d pixels", o.Width, o.Height, s.o.Pixels)}
	}
	return d, nil
}

// check refuses a drawing that the model cannot make, or that no memory has room for.
func (s *Server) check(ctx context.Context, d work.Drawing) (work.Drawing, error) {
	d, err := s.work.Check(ctx, d)
	var memory *engine.MemoryError
	if err != nil && ctx.Err() == nil && !errors.As(err, &memory) {
		err = wrong("", "%v", err)
	}
	return d, err
}

// series are n drawings, checked, with the seeds from the first one's on.
func (s *Server) series(ctx context.Context, param string, d work.Drawing, n *int) ([]work.Drawing, error) {
	count := 1
	if n != nil {
		count = *n
	}
	if count < 1 || count > s.o.N {
		return nil, wrong(param, "%d: want 1 to %d", count, s.o.N)
	}
	d, err := s.check(ctx, d)
	if err != nil {
		return nil, err
	}
	list := make([]work.Drawing, count)
	for i := range list {
		list[i] = d
		list[i].Seed += uint64(i)
	}
	return list, nil
}

// known refuses a model that is not the one there is.
func known(model string, names ...string) error {
	if model == "" || slices.Contains(names, model) {
		return nil
	}
	return &apiError{http.StatusNotFound, "model_not_found", "model",
		fmt.Sprintf("model: there is no %q here, but %s", model, strings.Join(names, ", "))}
}

// sizeOf reads "WxH".
func sizeOf(param, text string) (w, h int, err error) {
	a, b, ok := strings.Cut(text, "x")
	w, e1 := strconv.Atoi(a)
	h, e2 := strconv.Atoi(b)
	if !ok || e1 != nil || e2 != nil || w < 1 || h < 1 {
		return 0, 0, wrong(param, "%q is no size: want WxH", text)
	}
	return w, h, nil
}
