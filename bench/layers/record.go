package layers

import (
	"slices"
	"time"

	"parley/engine"
)

// recorder adds up the spans of a workload by layer, round for round.
type recorder struct {
	layers []Layer
	rounds int
	at     map[key]int
	began  time.Time // of the round
	ended  []ended   // what nobody around it has taken yet
	events []Event   // of the round
	scopes map[string][]float64
	// between is what each round takes beside its operations, where that is known.
	between []float64
}

// key is what makes a layer.
type key struct{ path, kernel string }

// ended is a span that may lie in a later one.
type ended struct {
	start time.Time
	took  time.Duration
}

func newRecorder() *recorder { return &recorder{at: map[key]int{}} }

// round begins the next one.
func (r *recorder) round() {
	r.rounds++
	for i := range r.layers {
		r.layers[i].Rounds = append(r.layers[i].Rounds, 0)
	}
	r.began, r.ended, r.events, r.scopes = time.Now(), r.ended[:0], r.events[:0], map[string][]float64{}
}

// Record implements engine.Recorder. Spans come in the order in which they ended, so
// that those that began within this one are those before it.
func (r *recorder) Record(sp engine.Span) {
	own := sp.Time
	n := len(r.ended)
	for n > 0 && !r.ended[n-1].start.Before(sp.Start) {
		n--
		own -= r.ended[n].took
	}
	r.ended = append(r.ended[:n], ended{sp.Start, sp.Time})
	e := Event{Path: sp.Path, Op: sp.Op, Kernel: sp.Kernel, Start: sp.Start.Sub(r.began).Seconds(), Seconds: sp.Time.Seconds()}
	r.events = append(r.events, e)
	if sp.Op == "" {
		r.scopes[sp.Path] = append(r.scopes[sp.Path], e.Seconds)
		return
	}
	k := key{sp.Path, sp.Kernel}
	i, ok := r.at[k]
	if !ok {
		i = len(r.layers)
		r.at[k] = i
		r.layers = append(r.layers, describe(sp))
		r.layers[i].Rounds = make([]float64, r.rounds)
	}
	l := &r.layers[i]
	last := len(l.Rounds) - 1
	l.Rounds[last] += max(0, own).Seconds()
	if last > 0 {
		return
	}
	l.Calls++
	l.FLOPs += sp.FLOPs
	l.Bytes += sp.Bytes
	l.Workspace = max(l.Workspace, sp.Workspace)
	if sp.Out != nil && !sp.Out.Shape().Equal(l.Out) {
		l.Varies = true
	}
}

// took says how long the round took, by the clock that the spans have.
func (r *recorder) took(all time.Duration) {
	rest := all.Seconds()
	for _, l := range r.layers {
		rest -= l.Rounds[len(l.Rounds)-1]
	}
	r.between = append(r.between, max(0, rest))
}

// all are the layers, and what lies between them.
func (r *recorder) all() []Layer {
	if r.between == nil {
		return r.layers
	}
	return append(r.layers, Layer{Path: Between, Calls: 1, In: []engine.Shape{}, Dims: map[string]int{}, Rounds: r.between})
}

// describe is a layer of its first call, without what calls add up to.
func describe(sp engine.Span) Layer {
	l := Layer{Path: sp.Path, Op: sp.Op, Kernel: sp.Kernel, In: []engine.Shape{}, Dims: map[string]int{}}
	for _, t := range sp.In {
		if t != nil {
			l.In = append(l.In, slices.Clone(t.Shape()))
		}
	}
	if sp.Out != nil {
		l.Out = slices.Clone(sp.Out.Shape())
	}
	for _, d := range sp.Dims {
		if d.Name != "" {
			l.Dims[d.Name] = d.Size
		}
	}
	return l
}
