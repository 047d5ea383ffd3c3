package layers

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"

	"parley/bench/workload"
	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/simd"
)

// Options say how it is measured.
type Options struct {
	Rounds   int           // that count; 0: 10, or fewer where they would take more than 40 s, 3 at least
	Warmup   time.Duration // of passes before them; one at least
	Command  string        // that a reader would repeat
	Progress func(done, of int)
}

// Measure runs workloads on their device, in rounds that take turns, so that what
// slows the machine for a while slows all of them. Each round is a pass that nobody
// records, the whole, and one that is recorded, the parts; each is first as often as
// second.
func Measure(ctx context.Context, dev engine.Device, works []*workload.Work, o Options) (_ []*Result, err error) {
	if o.Rounds < 0 {
		return nil, fmt.Errorf("%d rounds: want 0 or more", o.Rounds)
	}
	load := systemLoad()
	machine, peak := look(dev), measurePeak(ctx, dev)
	var all []*session
	defer func() {
		for _, m := range all {
			m.close()
		}
	}()
	for _, w := range works {
		m, err := begin(ctx, dev, w, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.result.Workload, err)
		}
		all = append(all, m)
		m.result.Machine, m.result.Load = machine, load
	}
	if o.Rounds == 0 {
		o.Rounds = fitting(all)
	}
	before := readGauges(machine)
	for i := range o.Rounds {
		for k, m := range all {
			if err := m.round(); err != nil {
				return nil, fmt.Errorf("%s: %w", m.result.Workload, err)
			}
			if o.Progress != nil {
				o.Progress(i*len(all)+k+1, o.Rounds*len(all))
			}
		}
	}
	gauges := before.with(readGauges(machine))
	if _, ok := host.On(dev); ok {
		peak = peak.best(measurePeak(ctx, dev))
	}
	var results []*Result
	for _, m := range all {
		m.result.Peak = peak
		if err := m.finish(); err != nil {
			return nil, fmt.Errorf("%s: %w", m.result.Workload, err)
		}
		m.result.Machine.Gauges = gauges
		results = append(results, m.result)
	}
	return results, nil
}

// fitting is how many rounds are taken where nobody says.
func fitting(all []*session) int {
	const most, least, limit = 10, 3, 40 * time.Second
	var pass time.Duration
	for _, m := range all {
		pass += 2 * m.pass // with and without a recorder
	}
	return int(min(most, max(least, limit/max(pass, 1))))
}

// session is a workload under way.
type session struct {
	work   *workload.Work
	s      *engine.Stream
	dev    engine.Device
	net    engine.Graphed
	rec    *recorder
	steps  []float64
	pass   time.Duration // of a warm one, by the host's clock
	result *Result
}

// begin prepares a workload and runs it until it is warm.
func begin(ctx context.Context, dev engine.Device, w *workload.Work, o Options) (*session, error) {
	m := &session{work: w, dev: dev, s: engine.NewStream(ctx, dev), rec: newRecorder(), result: &Result{
		Schema: Schema, Unit: Seconds, Command: o.Command, Taken: time.Now().UTC().Truncate(time.Second), Build: build(),
		Workload: Workload{Net: w.Net, Preset: w.Preset, Weights: w.Weights, Batch: w.Batch, Size: w.Size, Steps: w.Steps, Tokens: w.Tokens}}}
	if emulated(dev) {
		m.result.Unit = Counts
	}
	pass, err := w.Start(m.s)
	if err != nil {
		m.close()
		return m, err
	}
	m.net = engine.Graphed{Eager: !w.Graph(), Run: func() (*engine.Tensor, error) { return nil, pass() }}
	for start := time.Now(); ; {
		last := time.Now()
		if _, err := m.whole(); err != nil {
			m.close()
			return m, err
		}
		m.pass = time.Since(last)
		if m.result.Unit == Counts || time.Since(start) >= o.Warmup {
			return m, nil
		}
	}
}

func (m *session) close() {
	m.net.Free(m.s)
	m.s.Close()
}

// emulated reports whether a device is the interpreter.
func emulated(dev engine.Device) bool {
	_, ok := cuda.On(dev)
	return ok && dev.Name() == "ptx"
}

// whole is the time of a pass that nobody records: the device's own of what it can
// capture as a graph, and the host's where the host takes part.
func (m *session) whole() (float64, error) {
	timer, ok := engine.As[engine.EventTimer](m.dev)
	if ok && (m.work.Graph() || m.result.Unit == Counts) {
		from, err := timer.Event()
		if err != nil {
			return 0, err
		}
		defer from.Free()
		if _, err := m.net.Next(m.s); err != nil {
			return 0, err
		}
		to, err := timer.Event()
		if err != nil {
			return 0, err
		}
		defer to.Free()
		t, err := to.Since(from)
		return t.Seconds(), err
	}
	start := time.Now()
	if _, err := m.net.Next(m.s); err != nil {
		return 0, err
	}
	err := m.s.Synchronize()
	return time.Since(start).Seconds(), err
}

// round is one pass of each kind.
func (m *session) round() error {
	first := len(m.result.Rounds)%2 == 1
	if first {
		if err := m.recorded(); err != nil {
			return err
		}
	}
	t, err := m.whole()
	m.result.Rounds = append(m.result.Rounds, t)
	if err != nil || first {
		return err
	}
	return m.recorded()
}

// recorded is a pass whose operations are timed.
func (m *session) recorded() error {
	m.rec.round()
	m.s.Watch(m.rec, nil)
	start := time.Now()
	_, err := m.net.Next(m.s)
	if err == nil {
		err = m.s.Synchronize()
	}
	if _, ok := host.On(m.dev); ok {
		m.rec.took(time.Since(start))
	}
	m.s.Watch(nil, nil)
	if scope := m.work.StepScope(); scope != "" && err == nil {
		if all := m.rec.scopes[scope]; len(all) > 1 {
			m.steps = append(m.steps, Median(all[1:]))
		}
	}
	return err
}

// finish makes the result.
func (m *session) finish() error {
	r := m.result
	r.Layers, r.Timeline, r.Method = m.rec.all(), m.rec.events, "spans by the host's clock"
	if d, ok := cuda.On(m.dev); ok {
		r.Method = "spans between the device's events"
		if m.work.Graph() && r.Unit == Seconds {
			if err := m.repeat(d, len(r.Rounds)); err != nil {
				return err
			}
		}
	}
	if r.Unit == Counts {
		r.Method = "instructions of the interpreter of PTX: no times"
		scale := func(v []float64) {
			for i := range v {
				v[i] = math.Round(v[i] * 1e9) // its events count in nanoseconds
			}
		}
		scale(r.Rounds)
		for i := range r.Layers {
			scale(r.Layers[i].Rounds)
		}
		for i := range r.Timeline {
			r.Timeline[i].Seconds *= 1e9
			r.Timeline[i].Start *= 1e9
		}
	}
	r.finish()
	if r.Unit == Seconds {
		m.rates()
	}
	return nil
}

// rates are what people ask of a workload.
func (m *session) rates() {
	r := m.result
	what, n := m.work.Makes()
	add := func(name string, v float64, note string) { r.Rates = append(r.Rates, Rate{name, v, note}) }
	add(what+"/s", float64(n)/r.Seconds, "")
	if len(m.steps) == 0 {
		return
	}
	const usual = 50
	step := Median(m.steps)
	add("steps/s", float64(n)/step, "guided, of one picture each")
	if r.Workload.Steps != usual {
		whole := r.Seconds + float64(usual-r.Workload.Steps)*step
		add(fmt.Sprintf("seconds with %d steps", usual), whole, fmt.Sprintf("projected from %d", r.Workload.Steps))
	}
}

// systemLoad is how many processes want a core now, this one not counted: of Linux,
// and 0 elsewhere.
func systemLoad() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	return runningOf(string(text))
}

// runningOf reads the fourth field of /proc/loadavg, "3/612": what runs or waits to run
// at the moment, the reader with it.
func runningOf(text string) float64 {
	fields := strings.Fields(text)
	if len(fields) < 4 {
		return 0
	}
	n, _, _ := strings.Cut(fields[3], "/")
	running, err := strconv.Atoi(n)
	if err != nil {
		return 0
	}
	return float64(max(0, running-1))
}

// look describes the machine.
func look(dev engine.Device) Machine {
	m := Machine{OS: runtime.GOOS + "/" + runtime.GOARCH, CPU: cpuid.CPU.BrandName, Threads: runtime.GOMAXPROCS(0),
		Kernels: simd.Active().String(), Device: dev.Name(), Precision: dev.Float().String()}
	if h, ok := host.On(dev); ok {
		m.Threads, m.Precision = h.Workers(), h.Precision().String()
	}
	if d, ok := cuda.On(dev); ok {
		m.GPU = d.Info().Name
		_, m.Driver = cuda.Driver()
	}
	return m
}

// build says what the program was made of.
func build() Build {
	b := Build{Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time, _ = time.Parse(time.RFC3339, s.Value)
		case "vcs.modified":
			b.Changed = s.Value == "true"
		}
	}
	return b
}
