// Package timing says how long work takes on a GPU: captured graphs between two
// events of the device, after a warm-up by the clock, repeated, the median. A card
// idles at a sixth of its clock, so that what is timed cold is not timed at all; and
// an operation that is repeated on the same weights finds them in the second-level
// cache, which in a net they are not: Rotation gives it others each time.
package timing

import (
	"slices"
	"time"

	"parley/engine"
	"parley/engine/cuda"
)

// Timer times work on a device.
type Timer struct {
	Device *cuda.Device
	Warmup time.Duration // of the work itself, before it counts
	Rounds int           // that count
	Launch int           // repetitions in a graph, so that a short operation is not lost in the graph's launch
	Cache  int           // bytes of the second-level cache that a rotation is to exceed
}

// On is a timer as the reports use it: 80 ms of warm-up, the median of 7 graphs of 20
// repetitions. A quick one, for the interpreter, sees only that everything runs.
func On(d *cuda.Device, quick bool) *Timer {
	if quick {
		return &Timer{Device: d, Rounds: 1, Launch: 2, Cache: 16 << 10}
	}
	return &Timer{Device: d, Warmup: 80 * time.Millisecond, Rounds: 7, Launch: 20, Cache: d.Info().L2}
}

// Time is a median, with the least and the largest, in seconds.
type Time struct{ Median, Least, Most float64 }

// Of is the time of a part of the work.
func (t Time) Of(parts int) Time {
	n := float64(parts)
	return Time{t.Median / n, t.Least / n, t.Most / n}
}

// Between is the extent in other units: of seconds times scale.
func (t Time) Between(scale float64) []float64 { return []float64{scale * t.Least, scale * t.Most} }

// Rates is the extent of what is work divided by the time.
func (t Time) Rates(work float64) []float64 { return []float64{work / t.Most, work / t.Least} }

func of(times []float64) Time {
	slices.Sort(times)
	return Time{times[len(times)/2], times[0], times[len(times)-1]}
}

// Op is the time of one op, which launches on the stream and frees what it makes.
// i counts its repetitions in the graph: it may choose among buffers by it.
func (t *Timer) Op(s *engine.Stream, op func(i int) error) (Time, error) {
	return t.Repeated(s, t.Launch, op)
}

// Repeated is Op with that many repetitions in the graph.
func (t *Timer) Repeated(s *engine.Stream, n int, op func(i int) error) (Time, error) {
	// Once before, so that kernels are loaded and memory of its sizes is at hand.
	if err := op(0); err != nil {
		return Time{}, err
	}
	var inner error
	g, err := t.Device.Capture(s, func() {
		for i := range n {
			if inner == nil {
				inner = op(i)
			}
		}
	})
	if err != nil {
		return Time{}, err
	}
	defer g.Free()
	if inner != nil {
		return Time{}, inner
	}
	all, err := t.Graph(s, g)
	return all.Of(n), err
}

// Graph is the time of a graph's launch.
func (t *Timer) Graph(s *engine.Stream, g engine.Graph) (Time, error) {
	for start := time.Now(); ; {
		g.Launch(s)
		if err := t.Device.Synchronize(); err != nil {
			return Time{}, err
		}
		if time.Since(start) >= t.Warmup {
			break
		}
	}
	all, err := t.Marked(t.Rounds, func() { g.Launch(s) })
	if err == nil {
		err = s.Err()
	}
	return all, err
}

// Marked is the time of f on the device, by events before and after it.
func (t *Timer) Marked(rounds int, f func()) (Time, error) {
	var times []float64
	for range rounds {
		from, err := t.Device.Event()
		if err != nil {
			return Time{}, err
		}
		f()
		to, err := t.Device.Event()
		if err != nil {
			return Time{}, err
		}
		d, err := to.Since(from)
		if err != nil {
			return Time{}, err
		}
		from.Free()
		to.Free()
		times = append(times, d.Seconds())
	}
	return of(times), nil
}

// Host is the time of f by the host's clock, the device's work included, after one
// run that does not count: for what the host takes part in.
func (t *Timer) Host(rounds int, f func() error) (Time, error) {
	var times []float64
	for i := range rounds + 1 {
		start := time.Now()
		if err := f(); err != nil {
			return Time{}, err
		}
		if err := t.Device.Synchronize(); err != nil {
			return Time{}, err
		}
		if i > 0 {
			times = append(times, time.Since(start).Seconds())
		}
	}
	return of(times), nil
}

// Rotation are copies of a buffer that do not fit in the second-level cache
// together: whoever takes them in turn finds none there. They are ranges of one
// block, each as random as the buffer.
type Rotation struct {
	block *engine.Tensor
	bytes int // of the block
}

// align is what a copy's address is a multiple of.
const align = 256

// Rotation fills twice the device's second-level cache, and what a buffer of that
// many bytes takes, with random values of f16 times scale.
func (t *Timer) Rotation(s *engine.Stream, most int, scale float64) (*Rotation, error) {
	bytes := (2*t.Cache + most + align) / align * align
	values := engine.FromF32(make([]float32, min(bytes/2, 1<<20)), min(bytes/2, 1<<20))
	// A linear congruential generator: quality does not matter, that no value is 0 does.
	x := uint32(1)
	for i := range values.F32() {
		x = x*1664525 + 1013904223
		values.F32()[i] = float32((float64(x>>8)/(1<<23) - 1) * scale * 1.7)
	}
	part := engine.Convert(engine.F16, values)
	r := &Rotation{block: s.New(engine.F16, bytes/2), bytes: bytes}
	for at := 0; at < bytes/2; at += part.Elems() {
		n := min(part.Elems(), bytes/2-at)
		m := r.block.Memory()
		m.Addr += uintptr(2 * at)
		if err := s.Err(); err != nil {
			return nil, err
		}
		if err := t.Device.Upload(engine.NewTensor(engine.F16, m, n), part.Memory().Host[:2*n]); err != nil {
			return nil, err
		}
	}
	return r, s.Err()
}

// Copies is how many buffers of so many bytes there are.
func (r *Rotation) Copies(bytes int) int {
	step := (bytes + align - 1) / align * align
	return max(1, (r.bytes-bytes)/max(step, 1)+1)
}

// Copy is the i-th buffer in the place of like: of its type and shape, f16 or wider.
func (r *Rotation) Copy(like *engine.Tensor, i int) *engine.Tensor {
	bytes := like.Bytes()
	step := (bytes + align - 1) / align * align
	m := r.block.Memory()
	m.Addr += uintptr(i % r.Copies(bytes) * step)
	return engine.NewTensor(like.DType(), m, like.Shape()...)
}
