package layers

import (
	"fmt"
	"math"

	"parley/bench/roofline"
	"parley/bench/timing"
	"parley/engine/cuda"
)

const (
	grain = 0.5e-6 // seconds, that an event's time is good to
	most  = 1000   // repetitions of a launch
)

// repeat times each operation's launches by themselves, one behind another between
// two events until the events' grain is under 1 % of it, with weights of another
// place in memory each time, as a net's pass finds them. What no launch does keeps the
// time of its span.
func (m *session) repeat(d *cuda.Device, rounds int) error {
	var pass error
	g, ops, err := roofline.Follow(d, m.s, func() error { _, pass = m.net.Run(); return pass })
	if err != nil {
		return err
	}
	defer g.Free()
	largest := 0
	for _, o := range ops {
		largest = max(largest, timing.Largest(o.Launches, o.Out))
	}
	t := timing.On(d, m.result.Unit == Counts)
	rotation, err := t.Rotation(m.s, largest, 0.05)
	if err != nil {
		return err
	}
	fresh := map[key][]float64{}
	for _, o := range ops {
		i, ok := m.rec.at[key{o.Path, o.Kernel}]
		if !ok || len(o.Launches) == 0 {
			continue
		}
		l := &m.rec.layers[i]
		once := Median(l.Rounds) / float64(max(l.Calls, 1))
		n := min(most, max(1, int(math.Ceil(100*grain/max(once, 1e-7)))))
		times, err := m.times(t, rotation, o, n, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", o.Path, err)
		}
		k := key{o.Path, o.Kernel}
		if fresh[k] == nil {
			fresh[k] = make([]float64, rounds)
		}
		for r, v := range times {
			fresh[k][r] += v
		}
	}
	for k, times := range fresh {
		m.rec.layers[m.rec.at[k]].Rounds = times
	}
	m.result.Method = "launches repeated between two events, with weights from memory"
	return nil
}

// times are rounds of an operation's launches, n times each.
func (m *session) times(t *timing.Timer, r *timing.Rotation, o roofline.Operation, n, rounds int) ([]float64, error) {
	g, err := t.Device.Capture(m.s, func() {
		for i := range n {
			for _, l := range o.Launches {
				roofline.Start(t.Device, m.s, r.With(l, timing.Weights(l, o.Out), i))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	defer g.Free()
	g.Launch(m.s)
	var times []float64
	for range rounds {
		all, err := t.Marked(1, func() { g.Launch(m.s) })
		if err != nil {
			return nil, err
		}
		times = append(times, all.Median/float64(n))
	}
	return times, m.s.Err()
}
