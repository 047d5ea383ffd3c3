package models_test

import (
	"slices"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
)

// operations keeps those of operations.
type operations []engine.Span

func (s *operations) Record(sp engine.Span) {
	if sp.Op != "" {
		*s = append(*s, sp)
	}
}

// record draws, describes and compares with the embedded models.
func record(t *testing.T, dev engine.Device) operations {
	t.Helper()
	var all operations
	run := engine.NewRun(t.Context())
	run.Recorder = &all
	sd, blip, clip := opened(t, dev)
	o := sd.Defaults
	o.Steps = 2
	var drawing *pixels.Image
	var err error
	err = sd.Draw(run.In("sd"), []string{"a cat on the grass"}, []uint64{7}, o, func(_ int, d rerank.Drawing) {
		if d.Err != nil {
			t.Fatal(d.Err)
		}
		if drawing, err = d.Picture.Host(); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	pictures := []pixels.Picture{drawing}
	for _, c := range []models.CaptionOptions{models.Nucleus(), models.Beam()} {
		if _, err := blip.Caption(run.In("blip"), pictures, 2, []uint64{0}, c); err != nil {
			t.Fatal(err)
		}
	}
	source, err := clip.EmbedTexts(run.In("clip"), []string{"a cat"}, models.EmbedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clip.ScoreImages(run.In("clip"), source, pictures, models.EmbedOptions{}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestSpansAreWhole: each operation of the loop tells what a profiler asks.
func TestSpansAreWhole(t *testing.T) {
	moves := []string{"upload", "download", "copy", "rows", "append", "select", "channels", "token", "crop", "paste", "normalise", "resize",
		"finite"}
	seen := map[string]int{}
	for _, s := range record(t, host.New(2)) {
		seen[s.Op]++
		if s.Out == nil || s.In[0] == nil || s.Kernel == "" || s.Bytes <= 0 || s.Dims[0].Name == "" {
			t.Errorf("%s: out %v, in %v, kernel %q, %d bytes, dims %v", s.Path, s.Out, s.In, s.Kernel, s.Bytes, s.Dims)
		}
		for _, d := range s.Dims {
			if d.Name != "" && d.Size < 1 && d.Name != "past" {
				t.Errorf("%s: %s is %d", s.Path, d.Name, d.Size)
			}
		}
		if slices.Contains(moves, s.Op) != (s.FLOPs == 0) || s.FLOPs < 0 {
			t.Errorf("%s: %d FLOPs", s.Path, s.FLOPs)
		}
	}
	for _, op := range []string{"linear", "conv", "attention", "groupnorm", "layernorm", "l2", "step", "cosine", "patches", "append",
		"bytes", "continuations", "upload", "download"} {
		if seen[op] == 0 {
			t.Errorf("no span of %s among %v", op, seen)
		}
	}
}

// TestSpansCountFLOPs holds what operations say of their cost against loops over
// their dims, and the bytes against the tensors.
func TestSpansCountFLOPs(t *testing.T) {
	causal, masked := 0, 0
	for _, s := range record(t, host.New(2)) {
		d := s.Dims.Of
		want, moved := int64(0), int64(s.Out.Bytes())
		switch s.Op {
		case "linear":
			for range d("m") {
				for range d("n") {
					want += 2 * int64(d("k"))
				}
			}
			if d("m")*d("k") != s.In[0].Elems() {
				t.Errorf("%s: %v of x %v", s.Path, s.Dims, s.In[0].Shape())
			}
			moved += int64(s.In[0].Bytes() + 4*d("n")*d("k"))
		case "conv":
			for range d("n") * d("h") * d("w") {
				for range d("out") {
					want += 2 * int64(d("in")*d("kh")*d("kw"))
				}
			}
			if d("n")*d("h")*d("w")*d("out") != s.Out.Elems() {
				t.Errorf("%s: %v of y %v", s.Path, s.Dims, s.Out.Shape())
			}
			moved += int64(s.In[0].Bytes() + 4*d("out")*d("in")*d("kh")*d("kw"))
		case "attention":
			pairs := 0
			for q := range d("queries") {
				if seen := d("keys") - d("queries") + q + 1; d("pairs") < d("queries")*d("keys") {
					pairs += seen
				} else {
					pairs += d("keys")
				}
			}
			if pairs < d("queries")*d("keys") {
				causal++
			}
			if d("queries") == 1 && d("keys") > 1 {
				masked++ // a token of a caption, whose keys are the cache's
			}
			for range d("batch") * d("heads") * pairs {
				want += 4 * int64(d("head dim"))
			}
			moved += int64(s.Out.Bytes())
		default:
			continue
		}
		if s.FLOPs != want {
			t.Errorf("%s: %v: %d FLOPs, want %d", s.Path, s.Dims, s.FLOPs, want)
		}
		if s.Bytes < moved {
			t.Errorf("%s: %v: %d bytes, want %d at least", s.Path, s.Dims, s.Bytes, moved)
		}
	}
	if causal == 0 || masked == 0 {
		t.Errorf("%d causal attentions, %d of single tokens", causal, masked)
	}
}
