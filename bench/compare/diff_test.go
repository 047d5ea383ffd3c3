package compare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/bench/layers"
)

// noisy is a result of many layers whose rounds scatter as a machine's do: by some
// per cent, with a long tail. Each layer's time is multiplied by what slow says.
func noisy(rng *rand.Rand, n, rounds int, slow map[int]float64) *layers.Result {
	r := &layers.Result{Schema: layers.Schema, Unit: layers.Seconds, Workload: layers.Workload{Net: "unet", Weights: "random", Batch: 1},
		Rounds: make([]float64, rounds)}
	for i := range n {
		l := layers.Layer{Path: fmt.Sprintf("blocks.%d.linear", i), Op: "linear", Kernel: "tiles"}
		base := 1e-3 * float64(1+i%17)
		if f, ok := slow[i]; ok {
			base *= f
		}
		for k := range rounds {
			t := base * (1 + 0.015*rng.NormFloat64() + 0.02*rng.ExpFloat64())
			l.Rounds = append(l.Rounds, t)
			r.Rounds[k] += t
		}
		l.Seconds = layers.Median(l.Rounds)
		r.Layers = append(r.Layers, l)
	}
	r.Seconds = layers.Median(r.Rounds)
	return r
}

// TestPlantedSlowdown: one layer of 200 that is 10 % slower is found in 19 of 20
// comparisons, and nothing in 19 of 20 where nothing changed.
func TestPlantedSlowdown(t *testing.T) {
	const tries, n, rounds = 100, 200, 12
	rng := rand.New(rand.NewPCG(18, 18))
	found, others, falsely := 0, 0, 0
	for try := range tries {
		planted := rng.IntN(n)
		for _, slow := range []map[int]float64{{planted: 1.1}, nil} {
			a, b := noisy(rng, n, rounds, nil), noisy(rng, n, rounds, slow)
			diffs, err := Compare([]*layers.Result{a}, []*layers.Result{b}, Options{Least: 0.03})
			if err != nil {
				t.Fatal(err)
			}
			hit, other := false, false
			for _, c := range diffs[0].Layers {
				if c.Changed {
					if slow != nil && c.Path == fmt.Sprintf("blocks.%d.linear", planted) && c.Ratio > 1 {
						hit = true
					} else {
						other = true
					}
				}
			}
			switch {
			case slow == nil && (other || Regressions(diffs, 0.05) != nil):
				falsely++
			case slow != nil && other:
				others++
			}
			if hit {
				found++
				if err := Regressions(diffs, 0.05); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("blocks.%d.", planted)) {
					t.Errorf("try %d: regressions %v", try, err)
				}
			}
		}
	}
	t.Logf("found %d of %d, with others %d; nothing changed, something told: %d", found, tries, others, falsely)
	if found < tries*19/20 || falsely > tries/20 || others > tries/20 {
		t.Errorf("found %d, others %d, falsely %d of %d", found, others, falsely, tries)
	}
}

// TestNeeds: with the rounds that a note asks for, a layer can be told, and with one
// less it cannot.
func TestNeeds(t *testing.T) {
	for _, count := range []int{1, 20, 500} {
		n := needs(count, 0.05)
		for rounds, want := range map[int]bool{n: true, n - 1: false} {
			a, b := &layers.Result{Unit: layers.Seconds}, &layers.Result{Unit: layers.Seconds}
			for i := range count {
				for _, r := range []*layers.Result{a, b} {
					l := layers.Layer{Path: fmt.Sprint(i)}
					for k := range rounds {
						v := 1 + 0.001*float64(k)
						if r == b && i == 0 {
							v *= 2
						}
						l.Rounds = append(l.Rounds, v)
					}
					l.Seconds = layers.Median(l.Rounds)
					r.Layers = append(r.Layers, l)
				}
			}
			a.Rounds, b.Rounds = a.Layers[0].Rounds, b.Layers[0].Rounds
			diffs, err := Compare([]*layers.Result{a}, []*layers.Result{b}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			d := diffs[0]
			if d.Layers[0].Changed != want || (len(d.Notes) == 0) != want {
				t.Errorf("%d layers, %d rounds: %+v, %v; want %v", count, rounds, d.Layers[0], d.Notes, want)
			}
		}
	}
}

// TestGoneAndNew: a layer of one side alone is a change.
func TestGoneAndNew(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	a, b := noisy(rng, 3, 5, nil), noisy(rng, 3, 5, nil)
	b.Layers[2].Path = "blocks.2.fused"
	b.Layers[1].Kernel = "other"
	b.Machine.CPU, b.Load = "another", 7
	diffs, err := Compare([]*layers.Result{a}, []*layers.Result{b}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Table(&out, diffs, true, 100); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gone", "new", "blocks.2.fused", "tiles -> other", "other machines", "noise  the whole",
		"7 others were"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	b.Workload.Batch = 2
	if _, err := Compare([]*layers.Result{a}, []*layers.Result{b}, Options{}); err == nil || !strings.Contains(err.Error(), "batch 2") {
		t.Errorf("other workloads: %v", err)
	}
	b.Workload, b.Unit = a.Workload, layers.Counts
	if _, err := Compare([]*layers.Result{a}, []*layers.Result{b}, Options{}); err == nil {
		t.Error("times beside counts")
	}
}

// TestRead: runs of one workload are one sample; what is no result is refused.
func TestRead(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	a, b := noisy(rng, 3, 5, nil), noisy(rng, 4, 2, nil)
	var text bytes.Buffer
	for _, v := range []any{a, []*layers.Result{b}} {
		if err := json.NewEncoder(&text).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "a.json")
	if err := os.WriteFile(path, text.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	all, err := Read(path)
	if err != nil || len(all) != 1 || len(all[0].Rounds) != 7 || len(all[0].Layers) != 4 {
		t.Fatalf("%v, %v", all, err)
	}
	if l := all[0].Layers[3]; len(l.Rounds) != 7 || l.Rounds[0] != 0 || l.Rounds[6] != b.Layers[3].Rounds[1] {
		t.Errorf("a layer of the second alone: %v", l.Rounds)
	}
	for _, bad := range []string{"", "{}", "[null]", "3", `{"schema": 99, "rounds": [1]}`, "no JSON", `{"schema": 1}`} {
		if _, err := Decode(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// TestNotMeasured: what no measurement gives is refused with its name.
func TestNotMeasured(t *testing.T) {
	for want, spoil := range map[string]func(r *layers.Result){
		"unit":                      func(r *layers.Result) { r.Unit = "" },
		"a round of 0 seconds":      func(r *layers.Result) { r.Rounds[1] = 0 },
		"0.linear has 4 rounds":     func(r *layers.Result) { r.Layers[0].Rounds = r.Layers[0].Rounds[:4] },
		"1.linear has a round of -": func(r *layers.Result) { r.Layers[1].Rounds[2] = -1 },
		"with rounds":               func(r *layers.Result) { r.Rounds = nil },
	} {
		r := noisy(rand.New(rand.NewPCG(1, 1)), 3, 5, nil)
		spoil(r)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestAlone: a workload of one side is named, not passed over.
func TestAlone(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	of := func(batches ...int) (l []*layers.Result) {
		for _, n := range batches {
			r := noisy(rng, 3, 9, nil)
			r.Workload.Batch = n
			l = append(l, r)
		}
		return l
	}
	diffs, err := Compare(of(1, 4), of(1, 8), Options{})
	if err != nil || len(diffs) != 1 {
		t.Fatalf("%d, %v", len(diffs), err)
	}
	if notes := strings.Join(diffs[0].Notes, "; "); !strings.Contains(notes, "batch 4") || !strings.Contains(notes, "batch 8") {
		t.Errorf("%q", notes)
	}
}
