//go:build cuda

package cuda

import (
	"fmt"
	"math/bits"
	"syscall"

	"gorgonia.org/cu"

	"parley/engine"
	"parley/engine/cuda/driver"
)

// allocator hands out blocks of device memory and keeps what comes back, by
// size class, for the next that asks: the driver's own allocation waits for
// the device. A block may be given out again while work on it is still in the
// stream, since what the next owner does comes after it there.
type allocator struct {
	exact  bool // no classes, no cache
	live   map[uintptr]*block
	free   map[int][]uintptr
	cached int
	bytes  int // live
	graphs int // kept by graphs
}

type block struct {
	size  int    // its class
	graph *Graph // who keeps it when it comes back
}

// class rounds n up to one of eight sizes an octave: a freed block serves the
// next tensor of about its size and wastes an eighth at most.
func (a *allocator) class(n int) int {
	if a.exact {
		return n
	}
	if n <= 512 {
		return 512
	}
	step := max(512, 1<<(bits.Len(uint(n-1))-4))
	return (n + step - 1) / step * step
}

func (a *allocator) add(addr uintptr, b *block) {
	if a.live == nil {
		a.live = map[uintptr]*block{}
	}
	a.live[addr] = b
	a.bytes += b.size
}

// keep puts a block that nobody uses in the cache, or gives it back.
func (a *allocator) keep(addr uintptr, class int) error {
	if a.exact {
		return cu.MemFree(cu.DevicePtr(addr))
	}
	if a.free == nil {
		a.free = map[int][]uintptr{}
	}
	a.free[class] = append(a.free[class], addr)
	a.cached += class
	return nil
}

// trim gives the cache back to the driver.
func (a *allocator) trim() error {
	var first error
	for _, l := range a.free {
		for _, addr := range l {
			if err := cu.MemFree(cu.DevicePtr(addr)); err != nil && first == nil {
				first = err
			}
		}
	}
	a.free, a.cached = nil, 0
	return first
}

func pop(free map[int][]uintptr, class int) uintptr {
	l := free[class]
	if len(l) == 0 {
		return 0
	}
	free[class] = l[:len(l)-1]
	return l[len(l)-1]
}

// recording is the capture that the calling thread is in, or nil.
func (d *Device) recording() *capture {
	if c := d.capturing.Load(); c != nil && c.thread == syscall.Gettid() {
		return c
	}
	return nil
}

// Alloc implements engine.Device. Nothing is allocated for n of 0. The error
// is an *OutOfMemory where there is no room.
func (d *Device) Alloc(n int) (engine.Memory, error) {
	if n <= 0 {
		return engine.Memory{}, nil
	}
	if err := d.enter(); err != nil {
		return engine.Memory{}, err
	}
	defer d.leave()
	a := &d.memory
	b := &block{size: a.class(n)}
	var addr uintptr
	if c := d.recording(); c != nil {
		b.graph = c.graph
		if addr = pop(c.graph.free, b.size); addr != 0 {
			a.graphs -= b.size
		}
	}
	if addr == 0 {
		if addr = pop(a.free, b.size); addr != 0 {
			a.cached -= b.size
		}
	}
	if addr == 0 {
		var err error
		if addr, err = d.allocate(n, b.size); err != nil {
			return engine.Memory{}, err
		}
	}
	a.add(addr, b)
	return engine.Memory{Addr: addr}, nil
}

// allocate asks the driver, a second time without the cache.
func (d *Device) allocate(n, class int) (uintptr, error) {
	p, err := cu.MemAlloc(int64(class))
	if driver.Code(err) == driver.OutOfMemory && d.memory.cached > 0 {
		if err := d.memory.trim(); err != nil {
			return 0, d.failed("free cached memory", err)
		}
		p, err = cu.MemAlloc(int64(class))
	}
	if driver.Code(err) == driver.OutOfMemory {
		free, total, infoErr := cu.MemInfo()
		if infoErr != nil {
			return 0, d.failed("ask for free memory", infoErr)
		}
		return 0, &OutOfMemory{Device: d.name, Want: n, Free: int(free), Total: int(total), Err: driver.OutOfMemory}
	}
	return uintptr(p), d.failed(fmt.Sprintf("allocate %s", size(n)), err)
}

// Free implements engine.Device. Memory that is not from Alloc, such as a
// view's, is left alone.
func (d *Device) Free(m engine.Memory) {
	if m.Addr == 0 || d.enter() != nil {
		return
	}
	defer d.leave()
	a := &d.memory
	b := a.live[m.Addr]
	if b == nil {
		return
	}
	delete(a.live, m.Addr)
	a.bytes -= b.size
	owner := b.graph
	if c := d.recording(); c != nil {
		// The graph will work in this block at each launch, whoever had it
		// before.
		owner = c.graph
	}
	if owner != nil {
		owner.keep(m.Addr, b.size)
		a.graphs += b.size
		return
	}
	if err := a.keep(m.Addr, b.size); err != nil {
		// Remembered where it is the device's end; a block that cannot be
		// freed otherwise is not this caller's to mend.
		_ = d.failed("free memory", err)
	}
}

// Trim gives cached memory back to the driver, for other programs.
func (d *Device) Trim() {
	if d.enter() != nil {
		return
	}
	defer d.leave()
	_ = d.failed("free cached memory", d.memory.trim()) // remembered if it is the end
}

// Usage is what is in use: blocks and events that are left when a computation
// is over have leaked.
func (d *Device) Usage() Usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Usage{Blocks: len(d.memory.live), Bytes: d.memory.bytes, Cached: d.memory.cached, Graphs: d.memory.graphs, Events: d.timed}
}
