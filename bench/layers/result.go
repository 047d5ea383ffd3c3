// Package layers measures a workload operation by operation, on the spans that every
// operation leaves (engine.Span): how long each takes, what it computes and moves,
// and how far it is from what the machine could do. The sum of the parts is held
// against the whole, which is timed without a recorder.
package layers

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"parley/engine"
	"parley/kernels/conv"
)

// Schema is the version of Result's JSON. A reader refuses another.
const Schema = 1

// What a Result's numbers are.
const (
	Seconds = "seconds"
	// Counts are instructions of the interpreter of PTX in the place of times: the
	// same for the same work, and nothing about speed.
	Counts = "counts"
)

// Between is the path of a layer that is none: what of a recorded pass lies in no
// operation, such as shapes, allocations and the recorder itself. Only where the host's
// clock times the operations is it known.
const Between = "between operations"

// Result is what was found about one workload.
type Result struct {
	Schema   int       `json:"schema"`
	Workload Workload  `json:"workload"`
	Machine  Machine   `json:"machine"`
	Build    Build     `json:"build"`
	Command  string    `json:"command,omitempty"` // that found it
	Taken    time.Time `json:"taken"`
	Unit     string    `json:"unit"` // Seconds or Counts, of every number that is called seconds
	Load     float64   `json:"load"` // processes that waited for a core just before, where the system says

	// Seconds are the whole's median, without a recorder; Rounds are all of them.
	Seconds float64   `json:"seconds"`
	Rounds  []float64 `json:"rounds"`
	// Parts is the median of the operations' sum; Between is not in it. Difference is what
	// the quickest of these sums is more than the quickest whole, as a share of it: what
	// others do on the machine adds to some rounds of either, and least to these.
	Parts      float64  `json:"parts_seconds"`
	Difference float64  `json:"difference"`
	Method     string   `json:"method"` // how layers were timed
	Warnings   []string `json:"warnings,omitempty"`

	FLOPs  int64   `json:"flops"`
	Bytes  int64   `json:"bytes"`
	Peak   Peak    `json:"peak"`
	Rates  []Rate  `json:"rates"`
	Layers []Layer `json:"layers"` // in the order of their first call; Between is last

	Timeline []Event `json:"-"` // the last round that was recorded
}

// Workload is what ran.
type Workload struct {
	Net     string `json:"net"`
	Preset  string `json:"preset,omitempty"`
	Weights string `json:"weights"`
	Batch   int    `json:"batch"`
	Size    int    `json:"size,omitempty"` // side of the pictures
	Steps   int    `json:"steps,omitempty"`
	Tokens  int    `json:"tokens,omitempty"`
}

func (w Workload) String() string {
	name := w.Preset
	if name == "" {
		name = w.Weights
	}
	s := fmt.Sprintf("%s of %s, batch %d", w.Net, name, w.Batch)
	if w.Size > 0 {
		s += fmt.Sprintf(", %d x %d", w.Size, w.Size)
	}
	if w.Steps > 0 {
		s += fmt.Sprintf(", %d steps", w.Steps)
	}
	if w.Tokens > 0 {
		s += fmt.Sprintf(", %d tokens", w.Tokens)
	}
	return s
}

// Machine is where it ran.
type Machine struct {
	OS        string  `json:"os"`
	CPU       string  `json:"cpu"`
	Threads   int     `json:"threads"`
	Kernels   string  `json:"kernels"` // the level of the CPU's
	Device    string  `json:"device"`
	Precision string  `json:"precision"`
	GPU       string  `json:"gpu,omitempty"`
	Driver    string  `json:"driver,omitempty"`
	Gauges    *Gauges `json:"gauges,omitempty"`
}

// Gauges are what the driver said of the GPU before and after the rounds. Nothing is
// set.
type Gauges struct {
	MHz     [2]float64 `json:"sm_mhz"`
	Celsius [2]float64 `json:"celsius"`
	Watts   [2]float64 `json:"watts"`
}

// Build is what the program was made of.
type Build struct {
	Commit  string    `json:"commit,omitempty"`
	Time    time.Time `json:"time,omitzero"`     // of the commit
	Changed bool      `json:"changed,omitempty"` // the tree had changes that are in no commit
	Go      string    `json:"go"`
}

// Peak is what the run could reach at most with the threads that it had. 0 is not known.
type Peak struct {
	Products float64 `json:"product_flops"` // a second, of matrix products at the precision
	FLOPs    float64 `json:"flops"`         // a second, of other arithmetic
	Bytes    float64 `json:"bytes"`         // a second, of memory
	Source   string  `json:"source,omitempty"`
	Core     *Peak   `json:"core,omitempty"` // of one core of a CPU alone
}

// Rate is how much of something is made in a second, or how long something takes.
type Rate struct {
	Name  string  `json:"name"` // "steps/s"
	Value float64 `json:"value"`
	Note  string  `json:"note,omitempty"`
}

// Layer is an operation at a path.
type Layer struct {
	Path   string `json:"path"`
	Op     string `json:"op"`
	Kernel string `json:"kernel"`
	Calls  int    `json:"calls"` // in a round
	// Shapes of what the first call read and gave; Varies says that others had others.
	In     []engine.Shape `json:"in"`
	Out    engine.Shape   `json:"out"`
	Dims   map[string]int `json:"dims"`
	Varies bool           `json:"varies,omitempty"`

	// Of all calls of a round; an operation within another is not counted twice.
	Seconds   float64   `json:"seconds"` // median
	Rounds    []float64 `json:"rounds"`
	Share     float64   `json:"share"` // of the sum of all layers' medians, Between with them: shares add up to 1
	FLOPs     int64     `json:"flops"`
	Bytes     int64     `json:"bytes"`
	Workspace int       `json:"workspace,omitempty"`

	// Roof is the time that its method would take at the peak, OfRoof that over Seconds:
	// more than 1 where its data lay in a cache. 0 where no peak is known.
	Roof   float64 `json:"roof_seconds"`
	OfRoof float64 `json:"of_roof"`
	Bound  string  `json:"bound,omitempty"` // products, arithmetic or memory
}

// Event is a span of the timeline.
type Event struct {
	Path, Op, Kernel string // Op is empty of a scope
	Start, Seconds   float64
}

// Median of values, which stay in their order; NaN of none.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Computed are the FLOPs that its method takes, which are fewer than the plain sum's
// where a convolution is a minimal filtering.
func (l Layer) Computed() float64 { return float64(l.FLOPs) / conv.Saves(l.Kernel) }

// perFLOP is how fast a layer's arithmetic could be.
func (p Peak) perFLOP(op string) (float64, string) {
	switch op {
	case "linear", "conv", "attention":
		return p.Products, "products"
	}
	return p.FLOPs, "arithmetic"
}

// reached is a measured peak that is no lower than what a layer has reached: the looks at
// it had a worse share of the machine than that layer then.
func (p Peak) reached(parts []Layer) Peak {
	const least = 10e-6 // seconds, of which a clock's grain is nothing
	more := 1.0
	for _, l := range parts {
		if rate, _ := p.perFLOP(l.Op); rate > 0 && l.Seconds >= least {
			more = max(more, l.Computed()/l.Seconds/rate)
		}
	}
	if more > 1 {
		p.Products, p.FLOPs = p.Products*more, p.FLOPs*more
		p.Source += "; raised to what a layer reached"
	}
	return p
}

// finish derives what follows from the rounds.
func (r *Result) finish() {
	r.FLOPs, r.Bytes = 0, 0
	parts := r.Layers
	if n := len(parts); n > 0 && parts[n-1].Path == Between {
		parts = parts[:n-1]
	}
	r.Seconds, r.Parts = Median(r.Rounds), sum(parts)
	r.Difference = difference(parts, r.Rounds)
	for i := range r.Layers {
		l := &r.Layers[i]
		r.FLOPs += l.FLOPs
		r.Bytes += l.Bytes
		l.Seconds = Median(l.Rounds)
	}
	if r.Unit == Seconds && r.Peak.Core != nil {
		r.Peak = r.Peak.reached(parts)
	}
	for i := range r.Layers {
		l := &r.Layers[i]
		if r.Unit == Counts || l.Path == Between {
			continue
		}
		rate, name := r.Peak.perFLOP(l.Op)
		if rate > 0 {
			l.Roof, l.Bound = l.Computed()/rate, name
		}
		if r.Peak.Bytes > 0 {
			if t := float64(l.Bytes) / r.Peak.Bytes; t > l.Roof {
				l.Roof, l.Bound = t, "memory"
			}
		}
		if l.Seconds > 0 {
			l.OfRoof = l.Roof / l.Seconds
		}
	}
	shares(r.Layers)
	if r.Unit == Seconds && r.Load > 0.5 {
		others := "1 other process was"
		if r.Load > 1 {
			others = fmt.Sprintf("%.0f other processes were", r.Load)
		}
		r.Warnings = append(r.Warnings, others+" at work when it began: times are too long, and the roof too low")
	}
	if math.Abs(r.Difference) > far {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the layers' sum is %+.1f %% from the whole: times of layers are not to be trusted "+
			"beyond that", 100*r.Difference))
	}
	if w := r.scatter(); w != "" {
		r.Warnings = append(r.Warnings, w)
	}
}

// far is the share from which on sums that should be equal are a warning.
const far = 0.05

// scatter says where layers' medians add up to another time than a pass takes: what slows
// one layer in this round and another in that is in each pass, and in no median.
func (r *Result) scatter() string {
	pass, medians := sum(r.Layers), 0.0
	for _, l := range r.Layers {
		medians += l.Seconds
	}
	if r.Unit != Seconds || math.Abs(medians/pass-1) <= far {
		return ""
	}
	return fmt.Sprintf("rounds scatter: the layers' medians, of whose sum shares are, add up to %.0f %% of a recorded pass", 100*medians/pass)
}

// shares says what of the sum of all medians each layer is.
func shares(layers []Layer) {
	all := 0.0
	for _, l := range layers {
		all += l.Seconds
	}
	for i := range layers {
		layers[i].Share = 0
		if all > 0 {
			layers[i].Share = layers[i].Seconds / all
		}
	}
}

// Recorded is what a recorded pass takes: the median of what all layers take together,
// Between with them.
func (r *Result) Recorded() float64 { return sum(r.Layers) }

// sum is the median of what layers take together in a round.
func sum(layers []Layer) float64 { return Median(sums(layers)) }

// sums are what layers take together in each round.
func sums(layers []Layer) (all []float64) {
	for _, l := range layers {
		for len(all) < len(l.Rounds) {
			all = append(all, 0)
		}
		for k, v := range l.Rounds {
			all[k] += v
		}
	}
	return all
}

// difference is what the parts' quickest round is more than the quickest whole, as a share
// of it.
func difference(parts []Layer, wholes []float64) float64 {
	if len(parts) == 0 || len(wholes) == 0 {
		return 0
	}
	return slices.Min(sums(parts))/slices.Min(wholes) - 1
}

// Fold joins layers whose paths have the same first depth names: 0 leaves all as they
// are. Rounds are added up one by one.
func Fold(layers []Layer, depth int) []Layer {
	if depth <= 0 {
		return slices.Clone(layers)
	}
	var out []Layer
	at := map[string]int{}
	for _, l := range layers {
		names := strings.Split(l.Path, ".")
		if len(names) > depth {
			l.Path = strings.Join(names[:depth], ".")
			l.Op, l.Kernel, l.In, l.Out, l.Dims = "", "", nil, nil, nil
		}
		i, ok := at[l.Path]
		if !ok {
			at[l.Path] = len(out)
			l.Rounds = slices.Clone(l.Rounds)
			out = append(out, l)
			continue
		}
		o := &out[i]
		o.Calls += l.Calls
		for k := range o.Rounds {
			o.Rounds[k] += l.Rounds[k]
		}
		o.FLOPs += l.FLOPs
		o.Bytes += l.Bytes
		o.Workspace = max(o.Workspace, l.Workspace)
		o.Roof += l.Roof
		o.Op, o.Kernel, o.Bound, o.In, o.Out, o.Dims = "", "", "", nil, nil, nil
	}
	for i := range out {
		o := &out[i]
		o.Seconds = Median(o.Rounds)
		if o.Seconds > 0 {
			o.OfRoof = o.Roof / o.Seconds
		}
	}
	shares(out)
	return out
}

// The orders of Sort.
const (
	ByTime  = "time"  // what takes longest first
	ByRoof  = "roof"  // what is furthest from its roof first, in seconds
	ByOrder = "order" // as they run
)

// Sort orders layers.
func Sort(layers []Layer, by string) {
	switch by {
	case ByTime:
		slices.SortStableFunc(layers, func(a, b Layer) int { return cmp.Compare(b.Seconds, a.Seconds) })
	case ByRoof:
		slices.SortStableFunc(layers, func(a, b Layer) int { return cmp.Compare(b.Seconds-b.Roof, a.Seconds-a.Roof) })
	}
}
