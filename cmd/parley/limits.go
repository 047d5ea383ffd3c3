package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"parley/bench/eval"
	"parley/bench/layers"
	"parley/nets/diffusion"
	"parley/nets/schedule"
	"parley/weights/convert"
)

// limit is what a flag may be set to: a range of numbers, or one of some words.
// What a model allows of it, the model says.
type limit struct {
	min, max float64
	above    bool // more than min
	one      []string
}

func (l limit) String() string {
	switch {
	case l.one != nil:
		return "one of " + strings.Join(l.one, ", ")
	case l.above:
		return fmt.Sprintf("more than %v, at most %v", l.min, l.max)
	}
	f := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	return f(l.min) + " to " + f(l.max)
}

// most is how many captions or drawings of one source, and beams, there may be.
const (
	mostK     = 10000
	mostBeams = 64
)

// limits are those of every flag that is a number, and of those that are one of
// some words, whatever command they belong to. The help states the ranges.
func limits() map[string]limit {
	between := func(min, max float64) limit { return limit{min: min, max: max} }
	return map[string]limit{
		// Drawing.
		"steps":      between(1, 1000),
		"guidance":   between(0, 100),
		"strength":   {min: 0, max: 1, above: true},
		"width":      between(8, 8192),
		"height":     between(8, 8192),
		"drawings":   between(1, 100),
		"scheduler":  {one: schedule.Kinds},
		"prediction": {one: convert.Predictions},
		"vae-tiling": {one: diffusion.Tilings()},
		"clip-skip":  between(0, 1000),
		"max-pixels": between(1, 1<<32),
		// Texts.
		"long-prompt": {one: []string{"cut", "chunks"}},
		"clean":       {one: strings.Split(cleanings(), ", ")},
		// Describing.
		"beam":               between(1, mostBeams),
		"top-p":              {min: 0, max: 1, above: true},
		"top-k":              between(0, 1_000_000),
		"temperature":        between(0.01, 100),
		"repetition-penalty": between(0.01, 100),
		"length-penalty":     between(-100, 100),
		"min-length":         between(0, 4096),
		"max-length":         between(1, 4096),
		// Experiments.
		"limit":   between(0, 1e9),
		"shards":  between(0, 100_000),
		"at-once": between(1, 1024),
		"keep":    {one: []string{"png", "webp"}},
		"task":    {one: []string{eval.Image, eval.Text}},
		"split":   {one: []string{"train", "restval", "val", "test"}},
		"domain":  {one: []string{"in", "near", "out"}},
		// Measuring.
		"size":   between(8, 8192),
		"tokens": between(5, 512),
		"rounds": between(0, 10_000),
		"depth":  between(0, 100),
		"top":    between(0, 1_000_000),
		"turns":  between(1, 1000),
		"sort":   {one: []string{layers.ByTime, layers.ByRoof, layers.ByOrder}},
		// The work, the machine, checkpoints.
		"k":               between(1, mostK),
		"repeat":          between(1, 1_000_000),
		"length":          between(2, 1<<16),
		"threads":         between(0, 1024),
		"precision":       {one: []string{"exact", "f32", "fast"}},
		"dtype":           {one: []string{"f32", "f16", "bf16"}},
		"clip-act":        {one: []string{"gelu", "quick_gelu"}},
		"clip-head-width": between(1, 1024),
		// The server.
		"max-body":   between(1, 1024),
		"max-prompt": between(1, 1<<20),
		"max-n":      between(1, mostK),
		"max-steps":  between(1, 1000),
		"queue":      between(1, 1_000_000),
		"keep-jobs":  between(1, 1_000_000),
		"batch":      between(1, 1024),
	}
}

// state adds the ranges to the help of a command's own flags.
func state(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if l, ok := limits()[f.Name]; ok && l.one == nil {
			f.Usage += " [" + l.String() + "]"
		}
	})
}

// within checks every flag that is set, before a model is loaded.
func within(c *cobra.Command) (err error) {
	all := limits()
	c.Flags().Visit(func(f *pflag.Flag) {
		l, ok := all[f.Name]
		if !ok || err != nil {
			return
		}
		name, text := "--"+f.Name, f.Value.String()
		if len(f.Name) == 1 {
			name = "-" + f.Name
		}
		if l.one != nil {
			if text != "" && !slices.Contains(l.one, text) {
				err = usage("%s %s: choose %v", name, text, l)
			}
			return
		}
		numbers := []string{text}
		if several, ok := f.Value.(pflag.SliceValue); ok {
			numbers = several.GetSlice()
		}
		for _, text := range numbers {
			v, bad := strconv.ParseFloat(text, 64)
			// Written so that NaN fails.
			if bad != nil || math.IsInf(v, 0) || !(v >= l.min && v <= l.max) || l.above && v == l.min {
				err = usage("%s %s: want %v", name, text, l)
			}
		}
	})
	return err
}
