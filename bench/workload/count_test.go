package workload

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"parley/bench/random"
	"parley/engine"
	"parley/nets/unet"
)

// counter adds up what spans say, by kinds.
type counter map[string][2]int64 // FLOPs and bytes

func (c counter) Record(s engine.Span) {
	if s.Op == "" {
		return
	}
	kind := s.Op
	if s.Op == "groupnorm" || s.Op == "layernorm" {
		kind = "norm"
	}
	v := c[kind]
	c[kind] = [2]int64{v[0] + s.FLOPs, v[1] + s.Bytes}
}

// TestCountOfSD15 holds the FLOPs and bytes of Stable Diffusion 1.5's UNet at 512 x 512
// against a count over the modules of diffusers' (testdata/count.py), within 1 %.
func TestCountOfSD15(t *testing.T) {
	data, err := os.ReadFile("testdata/count.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Kinds map[string]struct{ FLOPs, Bytes int64 }
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	dry := engine.DryRun{Elem: engine.F32, Host: true}
	m, err := random.UNet(unet.SD15(), dry)
	if err != nil {
		t.Fatal(err)
	}
	have := counter{}
	run := engine.NewRun(t.Context()).On(dry)
	run.Recorder = have
	s := run.Stream()
	defer s.Close()
	x, text := s.New(engine.F32, 1, 64, 64, 4), s.New(engine.F32, 1, 77, 768)
	if _, err := m.Forward(s, x, []float64{500}, text, nil); err != nil {
		t.Fatal(err)
	}
	near := func(what string, have, want int64) {
		t.Helper()
		if d := float64(have)/float64(want) - 1; math.Abs(d) > 0.01 || want == 0 {
			t.Errorf("%s: %d, counted %d (%+.2f %%)", what, have, want, 100*d)
		} else {
			t.Logf("%s: %d, counted %d (%+.3f %%)", what, have, want, 100*d)
		}
	}
	var flops, bytes, wantFLOPs, wantBytes int64
	for kind, v := range have {
		flops += v[0]
		bytes += v[1]
		w, ok := want.Kinds[kind]
		if !ok {
			t.Logf("%s is not counted: %d FLOPs, %d bytes", kind, v[0], v[1])
			continue
		}
		near(kind+"'s bytes", v[1], w.Bytes)
		if w.FLOPs > 0 {
			near(kind+"'s FLOPs", v[0], w.FLOPs)
		}
	}
	for _, w := range want.Kinds {
		wantFLOPs += w.FLOPs
		wantBytes += w.Bytes
	}
	near("FLOPs", flops, wantFLOPs)
	near("bytes", bytes, wantBytes)
}

// TestCountOfPresets holds the FLOPs of each net of each published configuration against
// torch's own counter (testdata/flops.py), within 1 %, and has all of them.
func TestCountOfPresets(t *testing.T) {
	data, err := os.ReadFile("testdata/flops.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		FLOPs map[string]struct{ Products, Attention int64 }
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	published := []string{"clip-b32", "clip-h14", "clip-l14", "blip-base", "blip-large", "sd15", "sd21", "sd21v"}
	dry := engine.DryRun{Elem: engine.F32, Host: true}
	for _, net := range Nets() {
		counted := 0
		for _, preset := range published {
			name := net + " " + preset
			w, ok := want.FLOPs[name]
			if !ok {
				continue
			}
			counted++
			set, err := Open(Options{Net: net, Preset: preset, Tokens: 20}, dry)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			have := counter{}
			run := engine.NewRun(t.Context()).On(dry)
			run.Recorder = have
			s := run.Stream()
			if net == "unet" { // a guided step has parts that both of its halves share
				side := set.Size / set.factor
				_, err = set.unet.Forward(s, s.New(engine.F32, 1, side, side, 4), []float64{500}, s.New(engine.F32, 1, 77, set.unet.Cross), nil)
			} else {
				var pass func() error
				if pass, err = set.Of(1).Start(s); err == nil {
					err = pass()
				}
			}
			s.Close()
			set.Close()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if strings.Contains(net, "text") { // causal: of 77 x 77 pairs those up to each query are attended to
				w.Attention = w.Attention * 78 / (2 * 77)
			}
			for what, v := range map[string][2]int64{"products": {have["linear"][0] + have["conv"][0], w.Products},
				"attention": {have["attention"][0], w.Attention}} {
				if d := float64(v[0])/float64(v[1]) - 1; math.Abs(d) > 0.01 || v[1] == 0 {
					t.Errorf("%s, %s: %d, counted %d (%+.2f %%)", name, what, v[0], v[1], 100*d)
				} else {
					t.Logf("%s, %s: %d, counted %d (%+.3f %%)", name, what, v[0], v[1], 100*d)
				}
			}
			delete(want.FLOPs, name)
		}
		if joined := []string{"pipeline", "loop"}; (counted == 0) != slices.Contains(joined, net) {
			t.Errorf("%s: %d configurations are counted", net, counted)
		}
	}
	for name := range want.FLOPs {
		t.Errorf("%s: nobody measures it", name)
	}
}
