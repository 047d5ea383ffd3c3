package main

import (
	"fmt"

	"parley/bench/random"
	"parley/bench/roofline"
	"parley/bench/timing"
	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/cuda/chip"
	"parley/kernels/attention"
	"parley/kernels/conv"
	"parley/kernels/matmul"
	"parley/kernels/norm"
	"parley/kernels/storage"
)

// measured is the time of launches that find their weights in memory, and in the
// second-level cache.
type measured struct{ cold, hot timing.Time }

// measure times launches one behind another.
func (b *bench) measure(t *timing.Timer, s *engine.Stream, launches []cuda.Launched, out *engine.Tensor, r *timing.Rotation) (m measured,
	err error) {
	run := func(cold bool) (timing.Time, error) {
		return t.Op(s, func(i int) error {
			for _, l := range launches {
				if cold {
					l = r.With(l, timing.Weights(l, out), i)
				}
				roofline.Start(b.dev, s, l)
			}
			return s.Err()
		})
	}
	if m.cold, err = run(true); err != nil {
		return m, err
	}
	m.hot, err = run(false)
	return m, err
}

// kernels times single operations.
func kernels(b *bench) error {
	if err := b.open(engine.F16); err != nil {
		return err
	}
	c, _ := chip.Find(b.dev.Info().Name)
	t := b.timer()
	one := func(name string, flops, bytes float64, op func(s *engine.Stream) (func() *engine.Tensor, error)) {
		s := engine.NewStream(b.ctx, b.dev)
		defer s.Close()
		m, err := b.operation(t, s, op)
		if err != nil {
			b.Fail("%s: %v", name, err)
			return
		}
		for _, v := range []struct {
			how  string
			time timing.Time
		}{{"cold", m.cold}, {"hot", m.hot}} {
			b.Figure(name+", "+v.how, 1e6*v.time.Median, "us", v.time.Between(1e6)...)
			switch {
			case flops > 0:
				b.Figure(name+", "+v.how+", rate", flops/v.time.Median/1e12, "TFLOP/s")
				if c.PeakF16 > 0 {
					b.Figure(name+", "+v.how+", of the data sheet", 100*flops/v.time.Median/1e12/c.PeakF16, "%")
				}
			default:
				b.Figure(name+", "+v.how+", rate", bytes/v.time.Median/1e9, "GB/s")
			}
		}
	}
	for _, p := range b.products() {
		one(p.name(), p.flops(), 0, func(s *engine.Stream) (func() *engine.Tensor, error) {
			w, err := matmul.Pack(b.dev, storage.Values(random.Normal(1, 0.05, p.n, p.k).F32()), p.n, p.k)
			x := s.Put(random.Normal(2, 1, p.m, p.k))
			return func() *engine.Tensor { return matmul.Linear(s, x, w, matmul.Epilogue{}) }, err
		})
	}
	for _, c := range b.convolutions() {
		one(c.name(), c.flops(), 0, func(s *engine.Stream) (func() *engine.Tensor, error) {
			w, err := conv.Pack(b.dev, storage.Values(random.Normal(1, 0.02, c.out, c.in, 3, 3).F32()), c.out, c.in, 3, 3)
			x := s.Put(random.Normal(2, 1, c.n, c.size, c.size, c.in))
			return func() *engine.Tensor { return conv.Conv2D(s, x, w, c.o) }, err
		})
	}
	for _, l := range b.attentions() {
		one(l.name(), l.flops(), 0, func(s *engine.Stream) (func() *engine.Tensor, error) {
			q := s.Put(random.Normal(1, 1, l.n, l.lq, l.heads*l.dim))
			k, v := s.Put(random.Normal(2, 1, l.n, l.keys, l.heads*l.dim)), s.Put(random.Normal(3, 1, l.n, l.keys, l.heads*l.dim))
			return func() *engine.Tensor {
				return attention.Attend(s, q, k, v, attention.Options{Heads: l.heads, Causal: l.causal})
			}, nil
		})
	}
	sizes := [][3]int{{2, 64, 320}, {2, 32, 640}, {2, 16, 1280}, {1, 512, 128}}
	if b.small {
		sizes = [][3]int{{1, 8, 32}}
	}
	for _, z := range sizes {
		n, side, c := z[0], z[1], z[2]
		for _, group := range []bool{true, false} {
			name := fmt.Sprintf("layer norm of %d x %d", n*side*side, c)
			if group {
				name = fmt.Sprintf("group norm and silu of %dx%dx%dx%d", n, side, side, c)
			}
			one(name, 0, 2*2*float64(n*side*side*c), func(s *engine.Stream) (func() *engine.Tensor, error) {
				x := s.Put(random.Normal(1, 1, n, side*side, c))
				gamma, beta := s.PutAs(engine.F32, random.Normal(2, 1, c)), s.PutAs(engine.F32, random.Normal(3, 1, c))
				return func() *engine.Tensor {
					if group {
						return norm.Group(s, x, nil, 32, gamma, beta, 1e-5, true)
					}
					return norm.Layer(s, x, gamma, beta, 1e-5)
				}, nil
			})
		}
	}
	return nil
}

// operation times one, cold and hot.
func (b *bench) operation(t *timing.Timer, s *engine.Stream, op func(s *engine.Stream) (func() *engine.Tensor, error)) (measured, error) {
	run, err := op(s)
	if err != nil {
		return measured{}, err
	}
	s.Free(run()) // loads what it takes
	var out *engine.Tensor
	g, ops, err := roofline.Follow(b.dev, s, func() error { out = run(); return s.Err() })
	if err != nil {
		return measured{}, err
	}
	defer g.Free()
	var launches []cuda.Launched
	for _, o := range ops {
		launches = append(launches, o.Launches...)
	}
	if len(launches) == 0 {
		return measured{}, fmt.Errorf("no launch")
	}
	r, err := t.Rotation(s, timing.Largest(launches, out), 0.05)
	if err != nil {
		return measured{}, err
	}
	return b.measure(t, s, launches, out, r)
}
