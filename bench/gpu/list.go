package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// part is one of the list: a process of its own, so that what goes wrong in one
// leaves the others be.
type part struct {
	name, what   string
	run          func(*bench) error
	calls        string        // which calls it belongs to
	limit, least time.Duration // at most; not begun with less
}

// list is the parts by their worth: what is found first is kept whatever comes.
func list() []part {
	s := time.Second
	return []part{
		{"environment", "the machine, and one launch of each room", environment, "12", 25 * s, 5 * s},
		{"suites", "each operation against loops in float64", suites, "1", 90 * s, 10 * s},
		{"goldens", "each net against transformers and diffusers", goldens, "1", 60 * s, 10 * s},
		{"bits", "the hardware against the interpreter, bit for bit", bits, "1", 60 * s, 10 * s},
		{"diffusion", "Stable Diffusion 1.5 with random weights, one picture, and its step by kernels", stableDiffusion, "12", 50 * s, 15 * s},
		{"ordered", "a guided step whose kernels do not overlap", ordered, "1", 25 * s, 10 * s},
		{"batches", "Stable Diffusion 1.5 with random weights, 4 and 10 pictures", batches, "1", 60 * s, 20 * s},
		{"bandwidth", "what memory and the second-level cache give", bandwidth, "1", 15 * s, 5 * s},
		{"tune", "every plan of every product of the nets, and attention's variants", tune, "2", 110 * s, 10 * s},
		{"kernels", "matrix products, convolutions, attention and norms at the nets' shapes", kernels, "2", 50 * s, 10 * s},
		{"torch", "the same by PyTorch, in CUDA graphs, each attention backend by name", torchOperations, "2", 70 * s, 15 * s},
		{"peers", "diffusers' and transformers' nets with random weights, eager and in CUDA graphs", torchNets, "2", 90 * s, 25 * s},
		{"captions", "BLIP base with random weights", captions, "2", 30 * s, 10 * s},
		{"embeddings", "CLIP B/32 with random weights", embeddings, "2", 30 * s, 10 * s},
		{"ncu", "the profiler on the heaviest launch of each kernel of a step", profile, "2", 60 * s, 20 * s},
		{"loops", "both reconstructions on the miniature models, against the CPU", loops, "2", 60 * s, 20 * s},
		{"sanitizer", "compute-sanitizer over the operations' suites", sanitize, "2", 60 * s, 20 * s},
		{"jit", "loading each room from PTX instead of machine code", jit, "2", 40 * s, 15 * s},
		{"compile", "the same nets by torch.compile", torchCompiled, "2", 0, 60 * s},
	}
}

func names(l []part) []string {
	var out []string
	for _, p := range l {
		out = append(out, p.name)
	}
	return out
}

func find(name string) (part, error) {
	l := list()
	if i := slices.Index(names(l), name); i >= 0 {
		return l[i], nil
	}
	return part{}, fmt.Errorf("part %q: choose from %s", name, strings.Join(names(l), ","))
}

// choose is the parts that the options ask for, in the list's order.
func choose(o options) ([]part, error) {
	if o.call < 0 || o.call > 2 {
		return nil, fmt.Errorf("call %d: there are 1 and 2, and 0 for everything", o.call)
	}
	only := strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
	for _, n := range only {
		if _, err := find(n); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(list(), func(p part) bool {
		if len(only) > 0 {
			return !slices.Contains(only, p.name)
		}
		return o.call > 0 && !strings.Contains(p.calls, fmt.Sprint(o.call))
	}), nil
}
