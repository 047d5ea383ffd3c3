package workload

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/bench/random"
	"parley/engine"
	"parley/engine/host"
)

// paths keeps those of operations.
type paths []string

func (p *paths) Record(s engine.Span) {
	if s.Op != "" {
		*p = append(*p, s.Path)
	}
}

// TestEveryNet: each runs with random weights, twice the same operations, and with
// those of a checkpoint; a batch does more of the same.
func TestEveryNet(t *testing.T) {
	dev := host.New(2)
	mini, err := filepath.Abs("../../weights/mini/models")
	if err != nil {
		t.Fatal(err)
	}
	// The checkpoints are opened for some, and for the loop, which has all of them.
	checkpoints := map[string]string{"text-encoder": "sd", "clip-image": "clip", "blip-vision": "blip", "loop": ""}
	for _, net := range Nets() {
		options := []Options{{Net: net, Preset: "small", Steps: 2, Tokens: 8}}
		if folder, ok := checkpoints[net]; ok {
			options = []Options{{Net: net, Preset: "mini", Steps: 2, Tokens: 8},
				{Net: net, Weights: filepath.Join(mini, folder), Steps: 2, Tokens: 8}}
		}
		var all []string
		for _, o := range options {
			set, err := Open(o, dev)
			if err != nil {
				t.Errorf("%s: %v", net, err)
				continue
			}
			var seen paths
			run := engine.NewRun(context.Background()).On(dev)
			run.Recorder = &seen
			s := run.Stream()
			w := set.Of(2)
			pass, err := w.Start(s)
			seen = nil
			if err == nil {
				err = pass()
			}
			first := slices.Clone(seen)
			seen = nil
			if err == nil {
				err = pass()
			}
			if err != nil || len(first) == 0 || !slices.Equal(first, seen) {
				t.Errorf("%s: %d operations, then %d, %v", net, len(first), len(seen), err)
			}
			if set.Graph() && slices.ContainsFunc(first, func(p string) bool {
				return strings.HasSuffix(p, "upload") || strings.HasSuffix(p, "download")
			}) {
				t.Errorf("%s uploads or downloads, and is to be a graph", net)
			}
			if all == nil {
				all = first
			}
			if !slices.Equal(all, first) {
				t.Errorf("%s: other operations with %q: %d and %d", net, o.Weights, len(all), len(first))
			}
			if scope := w.StepScope(); scope != "" && !strings.Contains(strings.Join(first, "\n"), scope+".") {
				t.Errorf("%s: no step in %s", net, scope)
			}
			s.Close()
			set.Close()
		}
	}
}

// TestRefused: what cannot be measured is refused with its name.
func TestRefused(t *testing.T) {
	dev := host.New(1)
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Net: "what"}, "choose one of blip-generate"},
		{Options{Net: "unet", Preset: "sd9"}, "want one of mini, sd15"},
		{Options{Net: "unet", Preset: "small,clip-b32"}, "clip-b32"},
		{Options{Net: "unet", Preset: "small", Weights: "x"}, "its own configuration"},
		{Options{Net: "unet", Weights: "/nowhere"}, "/nowhere"},
		{Options{Net: "loop", Weights: t.TempDir()}, "sd"},
		{Options{Net: "unet", Preset: "small", Size: 9}, "multiple of 2"},
		{Options{Net: "clip-image", Preset: "small", Size: 224}, "side of 32"},
		{Options{Net: "clip-text", Preset: "small", Size: 224}, "no pictures"},
	} {
		set, err := Open(c.o, dev)
		if err == nil {
			set.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
		if c.o.Size != 0 && (set.unet != nil || set.clip != nil) {
			t.Errorf("%+v: weights were made before it was refused", c.o)
		}
	}
	if err := Check(Options{Net: "unet"}, true, false); err == nil {
		t.Error("steps of a step")
	}
	if err := Check(Options{Net: "pipeline"}, false, true); err == nil {
		t.Error("tokens of a drawing")
	}
}

// TestSize: pictures of another size are other work.
func TestSize(t *testing.T) {
	dry := engine.DryRun{Elem: engine.F32, Host: true}
	work := map[int]int64{}
	for _, size := range []int{0, 32} {
		set, err := Open(Options{Net: "unet", Preset: "small", Size: size}, dry)
		if err != nil {
			t.Fatal(err)
		}
		c := counter{}
		run := engine.NewRun(t.Context()).On(dry)
		run.Recorder = c
		s := run.Stream()
		pass, err := set.Of(1).Start(s)
		if err == nil {
			err = pass()
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		work[set.Size] = c["conv"][0]
	}
	if len(work) != 2 || work[random.SmallSD().UNet.Width*2] == 0 || work[32] != 4*work[16] {
		t.Errorf("FLOPs of convolutions by size: %v", work)
	}
}
