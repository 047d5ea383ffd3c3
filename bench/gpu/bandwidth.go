package main

import (
	"fmt"

	"parley/bench/probe"
	"parley/engine"
)

// bandwidth probes memory and the second-level cache: the rates that the plans of
// products and the model of bench/ROOFLINE.md assume.
func bandwidth(b *bench) error {
	if err := b.open(engine.F16); err != nil {
		return err
	}
	t := b.timer()
	sms := b.dev.SMs()
	megabytes := []int{4, 8, 16, 24, 32, 40, 64, 256, 2048}
	if b.small {
		megabytes = []int{1}
		sms = 2
	}
	cache := b.dev.Info().L2
	b.Figure("second-level cache", float64(cache)/1e6, "MB")
	b.Figure("multiprocessors", float64(b.dev.SMs()), "multiprocessors")
	for _, mb := range megabytes {
		s := engine.NewStream(b.ctx, b.dev)
		n := mb << 20
		if b.small {
			n = 1 << 12
		}
		// Random values: zeros can be faster.
		r, err := t.Rotation(s, n, 1)
		if err != nil {
			return fmt.Errorf("%d MB: %w", mb, err)
		}
		x := r.Copy(engine.NewTensor(engine.F16, engine.Memory{}, n/2), 0)
		y, sink := s.New(engine.F16, n/2), s.Put(engine.FromI32([]int32{0}, 1))
		err = s.Err()
		// In one launch a buffer is read several times, so that what is short is not
		// lost in the launch: 64 MB at least.
		rounds := max(1, 64/mb)
		where := fmt.Sprintf("%g MB", float64(n)/(1<<20))
		for _, blocks := range []int{2 * sms, sms, sms / 4, 1} {
			if mb != 16 && blocks != 2*sms || blocks < 1 || err != nil {
				continue
			}
			tm, e := t.Repeated(s, 2, func(int) error {
				probe.Read(b.dev, s, x, rounds, blocks, sink)
				return s.Err()
			})
			if err = e; err == nil {
				work := float64(n) * float64(rounds)
				b.Figure(fmt.Sprintf("read %s, %d times, %d blocks", where, rounds, blocks), work/tm.Median/1e9, "GB/s", work/tm.Most/1e9,
					work/tm.Least/1e9)
			}
		}
		if err == nil {
			tm, e := t.Repeated(s, 2, func(int) error {
				probe.Copy(b.dev, s, x, y, rounds, 2*sms)
				return s.Err()
			})
			if err = e; err == nil {
				work := 2 * float64(n) * float64(rounds)
				b.Figure(fmt.Sprintf("copy %s, %d times, read and written", where, rounds), work/tm.Median/1e9, "GB/s", work/tm.Most/1e9,
					work/tm.Least/1e9)
			}
		}
		s.Close()
		b.dev.Trim()
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	return nil
}
