package layers

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/bench/workload"
	"parley/engine"
	"parley/engine/host"
)

var update = flag.Bool("update", false, "write testdata/schema.txt anew")

// measure runs a small workload.
func measure(t *testing.T, dev engine.Device, net string, batches ...int) []*Result {
	t.Helper()
	set, err := workload.Open(workload.Options{Net: net, Preset: "small", Steps: 3, Tokens: 8}, dev)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var works []*workload.Work
	for _, n := range batches {
		works = append(works, set.Of(n))
	}
	results, err := Measure(t.Context(), dev, works, Options{Rounds: 3})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// span is one for the recorder: from and to in milliseconds.
func span(path, op string, start time.Time, from, to int, flops int64) engine.Span {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	return engine.Span{Path: path, Start: start.Add(ms(from)), Time: ms(to - from), Work: engine.Work{Op: op, FLOPs: flops}}
}

// TestRecorder: an operation's time is without those in its course, scopes have none,
// and rounds stay apart.
func TestRecorder(t *testing.T) {
	r := newRecorder()
	start := time.Now()
	for round := range 2 {
		r.round()
		r.Record(span("a.inner", "inner", start, 2, 5, 1))
		r.Record(span("a.inner", "inner", start, 5, 6, 1))
		r.Record(span("a.outer", "outer", start, 1, 8, 10))
		r.Record(span("a", "", start, 0, 9, 0))
		r.Record(span("b.after", "after", start, 9, 10+round, 5))
		r.took(time.Duration(12+3*round) * time.Millisecond)
	}
	want := map[string]struct {
		rounds []float64
		calls  int
		flops  int64
	}{"a.inner": {[]float64{0.004, 0.004}, 2, 2}, "a.outer": {[]float64{0.003, 0.003}, 1, 10}, "b.after": {[]float64{0.001, 0.002}, 1, 5}}
	if len(r.layers) != len(want) || len(r.scopes["a"]) != 1 || r.scopes["a"][0] != 0.009 || len(r.events) != 5 {
		t.Fatalf("%+v, scopes %v, %d events", r.layers, r.scopes, len(r.events))
	}
	if all := r.all(); len(all) != 4 || all[3].Path != Between || math.Abs(all[3].Rounds[0]-0.004) > 1e-9 ||
		math.Abs(all[3].Rounds[1]-0.006) > 1e-9 {
		t.Errorf("between operations: %+v", all[len(all)-1])
	}
	for _, l := range r.layers {
		if w := want[l.Path]; !slices.Equal(l.Rounds, w.rounds) || l.Calls != w.calls || l.FLOPs != w.flops {
			t.Errorf("%s: %v, %d calls, %d FLOPs; want %v", l.Path, l.Rounds, l.Calls, l.FLOPs, w)
		}
	}
}

// TestMeasure: the work of a batch is that of one, as often as it has samples, and
// what is derived fits together.
func TestMeasure(t *testing.T) {
	shares := func(r *Result) (sum float64) {
		for _, l := range r.Layers {
			sum += l.Share
		}
		return sum
	}
	both := measure(t, host.New(2), "clip-image", 1, 4)
	one, four := both[0], both[1]
	if one.FLOPs == 0 || math.Abs(float64(four.FLOPs)/float64(one.FLOPs)-4) > 0.01 || four.Bytes <= one.Bytes {
		t.Errorf("%d and %d FLOPs, %d and %d bytes", one.FLOPs, four.FLOPs, one.Bytes, four.Bytes)
	}
	for _, r := range both {
		share, of, between := shares(r), 0.0, 0
		for i, l := range r.Layers {
			of += l.Roof
			if l.Path == Between {
				between++
				if i != len(r.Layers)-1 || l.Roof != 0 || l.FLOPs != 0 || !(l.Seconds > 0) || len(l.Rounds) != 3 {
					t.Errorf("layer %d: %+v", i, l)
				}
				continue
			}
			if l.Calls < 1 || l.Kernel == "" || len(l.Rounds) != 3 || !(l.Roof > 0) || l.Bound == "" || len(l.In) == 0 || l.Bytes <= 0 {
				t.Errorf("%+v", l)
			}
		}
		if between != 1 {
			t.Errorf("%d times what lies between operations", between)
		}
		if len(r.Rounds) != 3 || r.Unit != Seconds || !(r.Seconds > 0) || math.Abs(share-1) > 1e-9 || of > 10*r.Seconds {
			t.Errorf("%s: rounds %v, shares' sum %v, roof %v of %v s", r.Workload, r.Rounds, share, of, r.Seconds)
		}
		if c := r.Peak.Core; c == nil || c.Products < 1e8 || c.FLOPs < 1e8 || c.Bytes < 1e8 || c.Core != nil {
			t.Errorf("a core's peak: %+v", c)
		}
		if r.Peak.Products < 1e8 || r.Peak.Bytes < 1e8 || r.Peak.Bytes > 1e13 || len(r.Timeline) < len(r.Layers) {
			t.Errorf("peak %+v, %d events", r.Peak, len(r.Timeline))
		}
		if len(r.Rates) != 1 || r.Rates[0].Name != "images/s" || math.Abs(r.Rates[0].Value*r.Seconds/float64(r.Workload.Batch)-1) > 1e-9 {
			t.Errorf("rates %v", r.Rates)
		}
		far := slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "from the whole") })
		busy := slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "at work when it began") })
		if (math.Abs(r.Difference) > 0.05) != far || (r.Load > 0.5) != busy {
			t.Errorf("difference %v, load %v, warnings %v", r.Difference, r.Load, r.Warnings)
		}
	}
}

// TestAdditive: shares add up to 1 and a profile to a pass, whatever rounds scatter, and
// what slows single rounds is not taken for a difference of the parts from the whole.
func TestAdditive(t *testing.T) {
	r := &Result{Unit: Seconds, Rounds: []float64{0.031, 0.030, 0.045, 0.030}}
	for i := range 3 { // another layer is slow in each round but the last
		l := Layer{Path: fmt.Sprint("a.", i), Op: "linear", Rounds: []float64{0.01, 0.01, 0.01, 0.01}}
		l.Rounds[i] = 0.02
		r.Layers = append(r.Layers, l)
	}
	r.Layers = append(r.Layers, Layer{Path: Between, Rounds: make([]float64, 4)})
	r.finish()
	share := 0.0
	for _, l := range r.Layers {
		share += l.Share
	}
	if math.Abs(share-1) > 1e-12 || math.Abs(r.Recorded()-0.04) > 1e-9 {
		t.Errorf("shares %v, recorded %v", share, r.Recorded())
	}
	told := slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "rounds scatter") })
	if !told {
		t.Errorf("warnings %v", r.Warnings)
	}
	for depth := range 3 {
		share := 0.0
		for _, l := range Fold(r.Layers, depth) {
			share += l.Share
		}
		if math.Abs(share-1) > 1e-12 {
			t.Errorf("depth %d: shares %v", depth, share)
		}
	}
	if d := difference([]Layer{{Rounds: []float64{0.09, 0.0303, 0.05}}}, []float64{0.03, 0.2, 0.04}); math.Abs(d-0.01) > 1e-9 {
		t.Errorf("difference %v", d)
	}
}

// TestRoofOfMethod: a minimal filtering's roof is of what it multiplies.
func TestRoofOfMethod(t *testing.T) {
	for kernel, saves := range map[string]float64{"winograd f4": 4, "winograd f6": 5.0625, "im2col + tiles avx2 f32": 1, "": 1} {
		r := &Result{Unit: Seconds, Rounds: []float64{1}, Peak: Peak{Products: 1e9, FLOPs: 1e9, Bytes: 1e9},
			Layers: []Layer{{Op: "conv", Kernel: kernel, FLOPs: 1e9, Bytes: 1, Rounds: []float64{1}}}}
		r.finish()
		if have := r.Layers[0].Roof; math.Abs(have*saves-1) > 1e-9 {
			t.Errorf("%q: roof %v s, want %v", kernel, have, 1/saves)
		}
	}
}

// TestBest: a second look raises a peak and never lowers it.
func TestBest(t *testing.T) {
	a := Peak{Products: 1, FLOPs: 5, Bytes: 3, Source: "s", Core: &Peak{Products: 1, FLOPs: 2, Bytes: 3}}
	p := a.best(Peak{Products: 2, FLOPs: 4, Bytes: 4, Core: &Peak{Products: 3, FLOPs: 1, Bytes: 1}})
	if p.Products != 2 || p.FLOPs != 5 || p.Bytes != 4 || p.Source != "s" || *p.Core != (Peak{Products: 3, FLOPs: 2, Bytes: 3}) {
		t.Errorf("%+v, %+v", p, p.Core)
	}
}

// began is a session of a net with random weights, before its first round.
func began(t *testing.T, dev engine.Device, net, preset string) *session {
	t.Helper()
	set, err := workload.Open(workload.Options{Net: net, Preset: preset}, dev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	m, err := begin(t.Context(), dev, set.Of(1), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	return m
}

// TestTurns: the recorded pass of a round is first as often as second.
func TestTurns(t *testing.T) {
	m := began(t, host.New(1), "clip-text", "small")
	var recorded []bool
	m.net.Run = func() (*engine.Tensor, error) {
		recorded = append(recorded, m.s.Run().Recorder != nil)
		return nil, nil
	}
	for range 3 {
		if err := m.round(); err != nil {
			t.Fatal(err)
		}
	}
	if want := []bool{false, true, true, false, false, true}; !slices.Equal(recorded, want) || len(m.result.Rounds) != 3 {
		t.Errorf("recorded %v, want %v", recorded, want)
	}
}

// TestReached: arithmetic at more than the peak says that the peak is higher; reads at more
// than memory's say that there are caches.
func TestReached(t *testing.T) {
	layer := func(op string, flops, bytes int64) Layer {
		return Layer{Path: op, Op: op, FLOPs: flops, Bytes: bytes, Rounds: []float64{1}}
	}
	r := &Result{Unit: Seconds, Rounds: []float64{3}, Peak: Peak{Products: 2e9, FLOPs: 1e9, Bytes: 1e9, Source: "s", Core: &Peak{}},
		Layers: []Layer{layer("linear", 3e9, 1), layer("attention", 1e9, 1), layer("copy", 0, 5e9)}}
	r.finish()
	if r.Peak.Products != 3e9 || r.Peak.FLOPs != 1.5e9 || r.Peak.Bytes != 1e9 || !strings.Contains(r.Peak.Source, "raised") {
		t.Errorf("%+v", r.Peak)
	}
	for i, want := range []float64{1, 1. / 3, 5} {
		if l := r.Layers[i]; math.Abs(l.OfRoof-want) > 1e-9 {
			t.Errorf("%s: %v of the roof, want %v", l.Path, l.OfRoof, want)
		}
	}
}

// TestLoopsRates: what 50 steps would take is projected from fewer.
func TestLoopsRates(t *testing.T) {
	r := measure(t, host.New(2), "loop", 2)[0]
	rates := map[string]float64{}
	for _, v := range r.Rates {
		rates[v.Name] = v.Value
	}
	step := 2 / rates["steps/s"]
	if want := r.Seconds + 47*step; rates["candidates/s"] == 0 || math.Abs(rates["seconds with 50 steps"]/want-1) > 1e-9 || !(step > 0) ||
		3*step > 2*r.Seconds {
		t.Errorf("%v, %v s a round", r.Rates, r.Seconds)
	}
}

// TestFold: joined layers have the sum of everything, and all of them the whole's.
func TestFold(t *testing.T) {
	r := measure(t, host.New(1), "unet", 1)[0]
	for depth := range 4 {
		folded := Fold(r.Layers, depth)
		var flops, bytes int64
		calls, share := 0, 0.0
		for _, l := range folded {
			flops, bytes, calls, share = flops+l.FLOPs, bytes+l.Bytes, calls+l.Calls, share+l.Share
			if depth > 0 && strings.Count(l.Path, ".") >= depth {
				t.Errorf("depth %d: %s", depth, l.Path)
			}
		}
		if flops != r.FLOPs || bytes != r.Bytes || calls < len(r.Layers) || depth == 1 && len(folded) > 8 {
			t.Errorf("depth %d: %d layers, %d FLOPs of %d, %d bytes of %d", depth, len(folded), flops, r.FLOPs, bytes, r.Bytes)
		}
	}
	Sort(r.Layers, ByRoof)
	for i, l := range r.Layers[1:] {
		if p := r.Layers[i]; p.Seconds-p.Roof < l.Seconds-l.Roof {
			t.Fatalf("%s has less to win than %s", p.Path, l.Path)
		}
	}
}

// TestNobodyRecords: what an operation costs that nobody records is less than 0.5 % of
// a small UNet's step, whose operations are short.
func TestNobodyRecords(t *testing.T) {
	dev := host.New(2)
	r := measure(t, dev, "unet", 1)[0]
	s := engine.NewStream(t.Context(), dev)
	defer s.Close()
	x := s.New(engine.F32, 1)
	const n = 200_000
	least := math.Inf(1)
	for range 5 {
		start := time.Now()
		for range n {
			s.Enter("a")
			s.Do(engine.Work{Op: "nothing", Out: x, In: engine.Inputs{x}, Dims: engine.Dims{{Name: "n", Size: 1}}},
				func(engine.Device) { s.Took("k") })
			s.Leave(x)
		}
		least = min(least, time.Since(start).Seconds()/n)
	}
	calls := 0
	for _, l := range r.Layers {
		calls += l.Calls
	}
	if cost := least * float64(calls) / r.Seconds; cost > 0.005 {
		t.Errorf("%d operations of %.0f ns are %.2f %% of %.3f ms", calls, 1e9*least, 100*cost, 1e3*r.Seconds)
	} else {
		t.Logf("%d operations of %.0f ns are %.3f %% of %.3f ms", calls, 1e9*least, 100*cost, 1e3*r.Seconds)
	}
}

// TestSchema holds the JSON's names and types to testdata/schema.txt: a change is one
// of Schema.
func TestSchema(t *testing.T) {
	r := measure(t, host.New(1), "clip-text", 1)[0]
	r.Warnings, r.Machine.Gauges, r.Layers[0].Varies, r.Layers[0].Workspace = []string{"x"}, &Gauges{}, true, 1
	r.Machine.GPU, r.Machine.Driver, r.Build.Commit, r.Build.Changed, r.Command, r.Rates[0].Note = "x", "x", "x", true, "x", "x"
	r.Build.Time = r.Taken
	r.Workload.Size, r.Workload.Steps, r.Workload.Tokens = 1, 1, 1
	r.Layers = r.Layers[:1]
	r.Layers[0].Dims = map[string]int{"n": 1}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	var lines []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(path+"."+k, e)
			}
		case []any:
			walk(path+"[]", v[0])
		default:
			lines = append(lines, fmt.Sprintf("%s %T", path, v))
		}
	}
	walk("", v)
	slices.Sort(lines)
	have := fmt.Sprintf("schema %d\n%s\n", Schema, strings.Join(lines, "\n"))
	if *update {
		if err := os.WriteFile("testdata/schema.txt", []byte(have), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/schema.txt")
	if err != nil || have != string(want) {
		t.Errorf("%v; the schema is now\n%s", err, have)
	}
}

func TestGauges(t *testing.T) {
	if runningOf("0.20 0.18 0.12 3/612 4242\n") != 2 || runningOf("") != 0 || runningOf("a b c d") != 0 {
		t.Error("what waits for a core")
	}
	r := parseGauges("1980, 41, 118.25\n")
	if r == nil || *r != [3]float64{1980, 41, 118.25} || parseGauges("[N/A], 41, 3") != nil || parseGauges("") != nil {
		t.Errorf("%v", r)
	}
	if g := r.with(&reading{1, 2, 3}); g == nil || g.MHz != [2]float64{1980, 1} || r.with(nil) != nil {
		t.Errorf("%+v", g)
	}
}
