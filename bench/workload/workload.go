// Package workload is what a measurement runs: a net, the drawing of pictures, or a
// whole reconstruction, with random weights of a known configuration or those of a
// checkpoint, on inputs of a seed. Texts are tokens and pictures are numbers here:
// what they say changes no time.
package workload

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"parley/engine"
)

// Random is the name of weights of no checkpoint.
const Random = "random"

// Options say what runs.
type Options struct {
	Net     string // one of Nets
	Preset  string // names of bench/random by commas, for Random; "" is the net's usual one
	Weights string // Random, or a checkpoint's folder or file
	Size    int    // side of the pictures, 0: the model's
	Steps   int    // of denoising
	Tokens  int    // of a caption, its prompt's four included
}

// kind is how a net is loaded, and how it runs.
type kind struct {
	preset string // by default
	parts  string // of the checkpoint: the first letters of unet, vae, text, blip, clip
	graph  bool   // a pass is one sequence of launches: it neither uploads nor downloads
	what   string // a pass makes one of these for each sample
	start  func(*Work, *engine.Stream) (func() error, error)
}

// kinds are the nets by name.
func kinds() map[string]kind {
	return map[string]kind{
		"unet":          {"sd15", "u", true, "steps", step},
		"vae-decode":    {"sd15", "v", true, "images", decodeVAE},
		"vae-encode":    {"sd15", "v", true, "images", encodeVAE},
		"text-encoder":  {"sd15", "t", true, "texts", encodeText},
		"clip-text":     {"clip-b32", "c", true, "texts", clipText},
		"clip-image":    {"clip-b32", "c", true, "images", clipImage},
		"blip-vision":   {"blip-base", "b", true, "images", blipVision},
		"blip-generate": {"blip-base", "b", false, "captions", captions},
		"pipeline":      {"sd15", "uvt", false, "images", pipeline},
		"loop":          {"sd15,blip-base,clip-b32", "uvtbc", false, "candidates", loop},
	}
}

// Nets are the names of what can be measured.
func Nets() []string {
	var l []string
	for name := range kinds() {
		l = append(l, name)
	}
	slices.Sort(l)
	return l
}

// Single reports whether a net's name is of one net, and of one pass through it.
func Single(net string) bool { return kinds()[net].graph }

// Set is the nets that a workload needs, on a device.
type Set struct {
	Options
	kind
	nets
	dev   engine.Device
	close []func()
}

// Check says what is wrong with options before anything is loaded. steps and tokens
// say that somebody asked for theirs.
func Check(o Options, steps, tokens bool) error {
	k, ok := kinds()[o.Net]
	switch {
	case !ok:
		return fmt.Errorf("net %q: choose one of %s", o.Net, strings.Join(Nets(), ", "))
	case o.Weights != "" && o.Weights != Random && o.Preset != "":
		return errors.New("a preset is for random weights: a checkpoint has its own configuration")
	case steps && !k.steps():
		return fmt.Errorf("%s has no steps", o.Net)
	case tokens && !k.captions():
		return fmt.Errorf("%s writes no captions", o.Net)
	}
	return nil
}

// steps and captions report what a pass does.
func (k kind) steps() bool    { return k.has("u") && !k.graph }
func (k kind) captions() bool { return k.has("b") && !k.graph }

// Open loads what the options ask for.
func Open(o Options, dev engine.Device) (_ *Set, err error) {
	if err := Check(o, false, false); err != nil {
		return nil, err
	}
	k := kinds()[o.Net]
	if o.Weights == "" {
		o.Weights = Random
	}
	if !k.steps() {
		o.Steps = 0
	}
	if !k.captions() {
		o.Tokens = 0
	}
	if o.Weights == Random && o.Preset == "" {
		o.Preset = k.preset
	}
	s := &Set{Options: o, kind: k, dev: dev}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if o.Weights == Random {
		return s, s.makeRandom()
	}
	if err := s.load(); err != nil {
		return s, err
	}
	return s, s.size()
}

// Close gives the weights back.
func (s *Set) Close() {
	for _, f := range s.close {
		f()
	}
	s.close = nil
}

// Graph reports whether a pass is one sequence of launches, which a device can
// capture.
func (s *Set) Graph() bool { return s.graph }

// Work is a workload of a batch.
type Work struct {
	*Set
	Batch int
}

// Of is the workload of so many samples: pictures, texts, or candidates of a
// reconstruction.
func (s *Set) Of(batch int) *Work { return &Work{s, batch} }

// Start puts the inputs on a stream. What it returns makes one pass.
func (w *Work) Start(s *engine.Stream) (pass func() error, err error) {
	pass, err = w.kind.start(w, s)
	if err == nil {
		err = s.Err()
	}
	return pass, err
}

// Makes is what a pass makes, and how many of it.
func (w *Work) Makes() (what string, n int) { return w.what, w.Batch }

// StepScope is the path of the spans that are steps of denoising, behind a first one
// that prepares them; "" where a pass has none.
func (w *Work) StepScope() string {
	switch w.Net {
	case "pipeline":
		return "unet"
	case "loop":
		return "draw.unet"
	}
	return ""
}
