package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"parley/engine"
)

// rounds is how often a graph is timed; the median counts.
func (b *bench) rounds() int {
	if b.small {
		return 1
	}
	return 7
}

// reps is how often an operation stands in a graph, so that a short one is not
// lost in what a graph's launch takes.
func (b *bench) reps() int {
	if b.small {
		return 2
	}
	return 20
}

// time is how long op takes on the device, in seconds: reps of it in a graph
// between two marks, the median of several. op frees what it makes.
func (b *bench) time(s *engine.Stream, reps int, op func() error) (float64, error) {
	var inner error
	again := func(n int) {
		for range n {
			if inner == nil {
				inner = op()
			}
		}
	}
	again(1)
	if inner != nil {
		return 0, inner
	}
	g, err := b.dev.Capture(s, func() { again(reps) })
	if err != nil {
		return 0, err
	}
	defer g.Free()
	if inner != nil {
		return 0, inner
	}
	g.Launch(s)
	if err := b.dev.Synchronize(); err != nil {
		return 0, err
	}
	t, err := b.between(b.rounds(), func() { g.Launch(s) })
	if err != nil {
		return 0, err
	}
	return t / float64(reps), s.Err()
}

// between is the median time of f on the device, in seconds.
func (b *bench) between(rounds int, f func()) (float64, error) {
	var times []float64
	for range rounds {
		from, err := b.dev.Event()
		if err != nil {
			return 0, err
		}
		f()
		to, err := b.dev.Event()
		if err != nil {
			return 0, err
		}
		d, err := to.Since(from)
		if err != nil {
			return 0, err
		}
		from.Free()
		to.Free()
		times = append(times, d.Seconds())
	}
	return median(times), nil
}

// clock is the median time of f by the host's clock, the device's work included,
// after one run that does not count.
func (b *bench) clock(rounds int, f func() error) (float64, error) {
	var times []float64
	for i := range rounds + 1 {
		start := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		if err := b.dev.Synchronize(); err != nil {
			return 0, err
		}
		if i > 0 {
			times = append(times, time.Since(start).Seconds())
		}
	}
	return median(times), nil
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// random is a host tensor of normal values times a scale.
func random(seed uint64, scale float64, dims ...int) *engine.Tensor {
	rng := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, engine.Shape(dims).Elems())
	for i := range v {
		v[i] = float32(scale * rng.NormFloat64())
	}
	return engine.FromF32(v, dims...)
}

// whole is a host tensor of small whole numbers: sums of their products are
// exact in f32, in whatever order.
func whole(seed uint64, dims ...int) *engine.Tensor {
	rng := rand.New(rand.NewPCG(seed, 2))
	v := make([]float32, engine.Shape(dims).Elems())
	for i := range v {
		v[i] = float32(rng.IntN(9) - 4)
	}
	return engine.FromF32(v, dims...)
}

// relative is |a-b| / |b|.
func relative(a, b *engine.Tensor) (float64, error) {
	if !a.Shape().Equal(b.Shape()) {
		return math.Inf(1), fmt.Errorf("shape %v, want %v", a.Shape(), b.Shape())
	}
	var diff, sum float64
	x, y := a.F32(), b.F32()
	for i := range y {
		d, v := float64(x[i])-float64(y[i]), float64(y[i])
		diff += d * d
		sum += v * v
	}
	return math.Sqrt(diff / sum), nil
}

// finite fails where a net gave something that is no number.
func finite(what string, t *engine.Tensor) error {
	for i, v := range t.F32() {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("%s: element %d of %v is %v", what, i, t.Shape(), v)
		}
	}
	return nil
}
