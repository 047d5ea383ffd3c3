package workload

import (
	"encoding/json"
	"math"
	"os"
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
	if _, err := m.Forward(s, x, []float64{500}, text); err != nil {
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
