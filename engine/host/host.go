// Package host is the CPU as a device: a pool of workers and recycled memory.
package host

import (
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"parley/engine"
)

// Device is the CPU. Its methods are safe for concurrent use.
type Device struct {
	workers int

	mu   sync.Mutex
	free map[int][][]byte // by size class
	kept int              // bytes in free
}

// New returns the CPU with that many workers; 0 means one for each core that
// the process may use.
func New(workers int) *Device {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &Device{workers: workers, free: map[int][][]byte{}}
}

// On returns the CPU when that is where a stream runs.
func On(d engine.Device) (*Device, bool) { h, ok := d.(*Device); return h, ok }

// Name implements engine.Device.
func (d *Device) Name() string { return "cpu" }

// Float implements engine.Device.
func (d *Device) Float() engine.DType { return engine.F32 }

// Local implements engine.Device.
func (d *Device) Local() bool { return true }

// Workers is the number of goroutines that For uses.
func (d *Device) Workers() int { return d.workers }

// class rounds n up to one of eight sizes an octave, so that a freed block
// serves the next tensor of about its size and wastes an eighth at most.
func class(n int) int {
	if n <= 4096 {
		return 4096
	}
	step := 1 << (bits.Len(uint(n-1)) - 4)
	return (n + step - 1) / step * step
}

// Alloc implements engine.Device. Blocks start at a multiple of 64 bytes.
func (d *Device) Alloc(n int) (engine.Memory, error) {
	c := class(n)
	d.mu.Lock()
	if l := d.free[c]; len(l) > 0 {
		b := l[len(l)-1]
		d.free[c] = l[:len(l)-1]
		d.kept -= c
		d.mu.Unlock()
		return engine.Memory{Host: b[:n]}, nil
	}
	d.mu.Unlock()
	raw := make([]byte, c+64)
	off := int(-uintptr(unsafe.Pointer(&raw[0])) & 63)
	return engine.Memory{Host: raw[off : off+n : off+c]}, nil
}

// Free implements engine.Device.
func (d *Device) Free(m engine.Memory) {
	c := cap(m.Host)
	if c == 0 || class(c) != c {
		return // not ours: a view or the caller's own slice
	}
	d.mu.Lock()
	d.free[c] = append(d.free[c], m.Host[:c])
	d.kept += c
	d.mu.Unlock()
}

// Trim gives the memory of freed blocks back to the collector.
func (d *Device) Trim() {
	d.mu.Lock()
	d.free, d.kept = map[int][][]byte{}, 0
	d.mu.Unlock()
}

// Upload implements engine.Device.
func (d *Device) Upload(dst *engine.Tensor, src []byte) error {
	copy(dst.Memory().Host, src)
	return nil
}

// Download implements engine.Device.
func (d *Device) Download(dst []byte, src *engine.Tensor) error {
	copy(dst, src.Memory().Host)
	return nil
}

// For calls f(i) for every i below n, on all workers; which worker takes
// which i depends on who is free. f does not call For.
func (d *Device) For(n int, f func(i int)) {
	d.Split(n, func(_, i int) { f(i) })
}

// Split is For with the worker's number, for scratch that belongs to it.
func (d *Device) Split(n int, f func(worker, i int)) {
	w := min(d.workers, n)
	if w <= 1 {
		for i := range n {
			f(0, i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Value
	loop := func(worker int) {
		// A fault in a worker would end the process; the caller's goroutine
		// has to have it, where a test or a command can say what happened.
		defer func() {
			if r := recover(); r != nil {
				failed.CompareAndSwap(nil, fault{r})
			}
		}()
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			f(worker, i)
		}
	}
	wg.Add(w - 1)
	for k := 1; k < w; k++ {
		go func() { defer wg.Done(); loop(k) }()
	}
	loop(0)
	wg.Wait()
	if v, ok := failed.Load().(fault); ok {
		panic(v.value)
	}
}

type fault struct{ value any }

// Range splits n items in even runs of at least grain items, one call each.
func (d *Device) Range(n, grain int, f func(lo, hi int)) {
	if n <= 0 {
		return
	}
	parts := max(1, min(4*d.workers, n/max(grain, 1)))
	d.For(parts, func(i int) { f(i*n/parts, (i+1)*n/parts) })
}
