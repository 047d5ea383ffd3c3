package export

import (
	"encoding/json"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/google/pprof/profile"

	"parley/bench/layers"
)

// PProf writes a profile that `go tool pprof` reads: a sample for each layer, whose
// stack is its path below its workload, with its time, FLOPs and bytes. Times are
// the layers' shares of a recorded pass, whose sum is the pass and not that of medians.
func PProf(w io.Writer, results []*layers.Result) error {
	first := results[0]
	p := &profile.Profile{TimeNanos: first.Taken.UnixNano(), DefaultSampleType: "time", Comments: []string{first.Command}}
	p.SampleType = []*profile.ValueType{{Type: "time", Unit: "nanoseconds"}, {Type: "flops", Unit: "count"}, {Type: "bytes", Unit: "bytes"}}
	scale := 1e9
	if first.Unit == layers.Counts {
		p.SampleType[0], p.DefaultSampleType, scale = &profile.ValueType{Type: "instructions", Unit: "count"}, "instructions", 1
	}
	at := map[string]*profile.Location{}
	locate := func(key, path string) *profile.Location {
		if l, ok := at[key]; ok {
			return l
		}
		id := uint64(len(at) + 1)
		f := &profile.Function{ID: id, Name: path, SystemName: path}
		l := &profile.Location{ID: id, Line: []profile.Line{{Function: f}}}
		at[key] = l
		p.Function, p.Location = append(p.Function, f), append(p.Location, l)
		return l
	}
	for _, r := range results {
		root := r.Workload.String()
		p.DurationNanos += int64(1e9 * r.Seconds)
		pass := r.Recorded()
		for _, l := range r.Layers {
			s := &profile.Sample{Value: []int64{int64(math.Round(scale * pass * l.Share)), l.FLOPs, l.Bytes},
				Label: map[string][]string{"op": {l.Op}, "kernel": {l.Kernel}}, Location: []*profile.Location{locate(root, root)}}
			for i, c := range l.Path {
				if c == '.' {
					s.Location = append(s.Location, locate(root+l.Path[:i], l.Path[:i]))
				}
			}
			s.Location = append(s.Location, locate(root+l.Path, l.Path))
			slices.Reverse(s.Location) // the innermost first
			p.Sample = append(p.Sample, s)
		}
	}
	if err := p.CheckValid(); err != nil {
		return err
	}
	return p.Write(w)
}

// Trace writes the last recorded round in the trace event format that Perfetto
// (ui.perfetto.dev) and Chrome's tracing read. Each result is a process with one thread,
// in which scopes and operations are complete events that lie within each other.
func Trace(w io.Writer, results []*layers.Result) error {
	type event struct {
		Name  string         `json:"name"`
		Cat   string         `json:"cat"` // which some readers want of each event
		Phase string         `json:"ph"`
		TS    float64        `json:"ts"` // us, as is Dur
		Dur   float64        `json:"dur"`
		PID   int            `json:"pid"`
		TID   int            `json:"tid"`
		Args  map[string]any `json:"args,omitempty"`
	}
	all := struct {
		Events []event        `json:"traceEvents"`
		Unit   string         `json:"displayTimeUnit"`
		Other  map[string]any `json:"otherData"`
	}{Events: []event{}, Unit: "ms", Other: map[string]any{"unit": "us"}}
	for i, r := range results {
		if r.Unit == layers.Counts {
			all.Other["unit"] = "instructions of the interpreter: no times"
		}
		for _, m := range [][2]string{{"process_name", r.Workload.String()}, {"thread_name", r.Machine.Device}} {
			all.Events = append(all.Events, event{Name: m[0], Cat: "__metadata", Phase: "M", PID: i + 1, TID: 1, Args: map[string]any{"name": m[1]}})
		}
		info := map[string]layers.Layer{}
		for _, l := range r.Layers {
			info[l.Path] = l
		}
		scale := 1e6
		if r.Unit == layers.Counts {
			scale = 1
		}
		for _, e := range r.Timeline {
			v := event{Name: e.Path[strings.LastIndexByte(e.Path, '.')+1:], Cat: "scope", Phase: "X", TS: scale * e.Start, Dur: scale * e.Seconds,
				PID: i + 1, TID: 1, Args: map[string]any{"path": e.Path}}
			if e.Op != "" {
				l := info[e.Path]
				v.Cat, v.Args["kernel"], v.Args["out"] = e.Op, e.Kernel, shape(l.Out)
				v.Args["flops"], v.Args["bytes"] = l.FLOPs/int64(max(l.Calls, 1)), l.Bytes/int64(max(l.Calls, 1))
			}
			all.Events = append(all.Events, v)
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(all)
}
