package layers

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"parley/bench/probe"
	"parley/bench/timing"
	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/cuda/chip"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
)

// measurePeak is what a device could do at most. On the CPU it is measured, in some
// tenths of a second; on a GPU, memory is measured and arithmetic is the data
// sheet's. What cannot be said is 0.
func measurePeak(ctx context.Context, dev engine.Device) Peak {
	if h, ok := host.On(dev); ok {
		return hostPeak(h)
	}
	d, ok := cuda.On(dev)
	if !ok || emulated(dev) {
		return Peak{}
	}
	p := Peak{Source: "memory measured"}
	if rate, err := readRate(ctx, d); err == nil {
		p.Bytes = rate
	}
	c, known := chip.Find(d.Info().Name)
	switch {
	case !known:
		p.Source += "; no data sheet of " + d.Info().Name
	case d.Float() != engine.F16:
		p.Source += "; of products in f32 nothing is known"
	default:
		p.Products, p.Source = c.PeakF16*1e12, p.Source+"; products of "+c.Name+"'s data sheet"
		if p.Bytes == 0 {
			p.Bytes, p.Source = c.DRAM*1e9, c.Name+"'s data sheet"
		}
	}
	return p
}

// hostPeak times multiply-adds in registers and reads of memory, on all workers and on
// one: the best of some short looks, since others' work can only slow one down.
func hostPeak(h *host.Device) Peak {
	const looks, length = 3, 25 * time.Millisecond
	speeds, format := matmul.Speeds(h), matmul.Gemm(h).Format
	x := beyondCaches(h)
	on := func(h *host.Device) (p Peak) {
		for range looks {
			v := Peak{FLOPs: matmul.Peak(h, length), Bytes: readMemory(h, x, length)}
			v.Products = v.FLOPs * speeds.Of(format) / speeds.Of(simd.F32)
			p = p.best(v)
		}
		return p
	}
	p := on(h)
	core := p
	if h.Workers() > 1 {
		core = on(host.New(1))
		p = p.best(core) // what one can, all can
	}
	p.Core = &core
	p.Source = fmt.Sprintf("measured: multiply-adds in registers, of products as %v; reads of memory", format)
	return p
}

// best are the higher rates of two looks at one machine.
func (p Peak) best(o Peak) Peak {
	p.Products, p.FLOPs, p.Bytes = max(p.Products, o.Products), max(p.FLOPs, o.FLOPs), max(p.Bytes, o.Bytes)
	if p.Core != nil && o.Core != nil {
		core := p.Core.best(*o.Core)
		p.Core = &core
	}
	return p
}

const readBlock = 1 << 16 // numbers that a worker reads between two looks at the clock

// beyondCaches is memory that no cache holds.
func beyondCaches(h *host.Device) []float32 {
	_, third := simd.Caches()
	size := min(max(4*third, 256<<20), 1<<30)
	if free := engine.FreeMemory(h); free > 0 {
		size = min(size, free/4)
	}
	x := make([]float32, max(size/4/readBlock, 1)*readBlock)
	h.Range(len(x), readBlock, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			x[i] = 1
		}
	})
	return x
}

// readMemory is how many bytes a second the workers read of x.
func readMemory(h *host.Device, x []float32, length time.Duration) float64 {
	var read, kept atomic.Int64
	start := time.Now()
	workers := h.Workers()
	h.For(workers, func(w int) {
		part := x[w*len(x)/workers : (w+1)*len(x)/workers]
		for at := 0; time.Since(start) < length; at = (at + readBlock) % max(len(part)/readBlock*readBlock, readBlock) {
			some := part[at:min(at+readBlock, len(part))]
			kept.Add(int64(simd.Sum(some)))
			read.Add(int64(4 * len(some)))
		}
	})
	return float64(read.Load()) / time.Since(start).Seconds()
}

// readRate is how many bytes a second a GPU's multiprocessors read of its memory.
func readRate(ctx context.Context, d *cuda.Device) (float64, error) {
	const size = 1 << 30
	s := engine.NewStream(ctx, d)
	defer s.Close()
	t := timing.On(d, false)
	r, err := t.Rotation(s, size, 1)
	if err != nil {
		return 0, err
	}
	x, sink := r.Copy(engine.NewTensor(engine.F16, engine.Memory{}, size/2), 0), s.Put(engine.FromI32([]int32{0}, 1))
	tm, err := t.Repeated(s, 2, func(int) error {
		probe.Read(d, s, x, 1, 2*d.SMs(), sink)
		return s.Err()
	})
	if err != nil {
		return 0, err
	}
	return size / tm.Median, nil
}
