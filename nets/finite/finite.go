// Package finite watches what nets give for NaNs and infinities, and finds the
// layer that they come from.
package finite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"parley/engine"
	"parley/kernels/elementwise"
)

// Error says that a net gave numbers that are not finite.
type Error struct {
	Net   string // what a person calls it: "the UNet"
	Layer string // the first whose output has one: "unet.conv_in"; "" where none could be told
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s's output is not finite (NaN or infinity)", e.Net)
	if e.Layer != "" {
		s += ": the first layer that gives one is " + e.Layer
	}
	return s
}

// Items are the errors of some of several items, by their numbers; what else was
// asked for is there.
type Items map[int]error

func (e Items) Error() string {
	all := e.Unwrap()
	if len(all) == 1 {
		return all[0].Error()
	}
	return fmt.Sprintf("%d items failed, the first with: %v", len(all), all[0])
}

// Unwrap gives the errors in the order of their items.
func (e Items) Unwrap() []error {
	var all []error
	for _, i := range slices.Sorted(maps.Keys(e)) {
		all = append(all, e[i])
	}
	return all
}

// Rows are the numbers of those rows of x [N, ...] that are not finite. Where all
// are, a few bytes leave the device, once.
func Rows(s *engine.Stream, x *engine.Tensor) []int {
	if elementwise.Finite(s, x) {
		return nil
	}
	var bad []int
	for i := range x.Dim(0) {
		if !elementwise.Finite(s, s.Rows(x, i, i+1)) {
			bad = append(bad, i)
		}
	}
	return bad
}

// Find does work again that gave what is not finite, under a run whose operations
// are looked at one by one until one gives it, too. The error is an Error, of net
// where no operation does; or what ended the run.
func Find(run engine.Run, net string, again func(engine.Run) error) error {
	parent := run.Context
	if parent == nil {
		parent = context.Background()
	}
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	own := engine.NewRun(parent).On(run.Device).Stream()
	defer own.Close()
	w := &watch{s: own, stop: stop}
	run.Context, run.Recorder, run.Observer, run.Path = ctx, nil, w, ""
	err := again(run)
	if e := parent.Err(); e != nil {
		return context.Cause(parent)
	}
	e := &Error{Net: net, Layer: w.layer}
	if w.layer == "" && err != nil && !errors.As(err, &e) {
		return err
	}
	first, _, _ := strings.Cut(w.layer, ".")
	if name, ok := nets()[first]; ok {
		e.Net = name
	}
	return e
}

// nets are what people call the nets whose paths begin so.
func nets() map[string]string {
	return map[string]string{"text_encoder": "the text encoder", "unet": "the UNet", "vae": "the VAE"}
}

// watch ends a run behind the first operation whose output is not finite.
type watch struct {
	s     *engine.Stream // of its own: nobody observes it
	stop  context.CancelCauseFunc
	layer string
}

// Observe implements engine.Observer.
func (w *watch) Observe(sp engine.Span) {
	if w.layer != "" || sp.Out == nil || sp.Out.DType() != engine.F32 && sp.Out.DType() != engine.F16 {
		return
	}
	switch sp.Op {
	case "", "upload", "download", "copy", "append", "paste":
		return // a scope; or numbers that were there before, some beside others that nobody has written yet
	}
	if !elementwise.Finite(w.s, sp.Out) && w.s.Err() == nil {
		w.layer = strings.TrimSuffix(sp.Path, "."+sp.Op)
		w.stop(&Error{Layer: w.layer})
	}
}
