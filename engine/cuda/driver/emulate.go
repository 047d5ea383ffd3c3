//go:build cuda

package driver

/*
#include <stdlib.h>
#include "driver.h"
*/
import "C"

import (
	"errors"
	"sync"
	"unsafe"

	"parley/engine/cuda/ptx"
)

// Emulation is an interpreter of PTX that stands where the driver does, as one
// device. What it is told to do runs at once: its streams are in order by
// having nothing in them. Its events tell the interpreter's own time
// (ptx.Machine.Clock) as nanoseconds: a count of work, which is no measure of speed.
type Emulation struct {
	m       *ptx.Machine
	ordinal int

	mu         sync.Mutex // held while the machine works
	primary    *context
	retained   int
	result     C.CUresult // what a kernel's fault left behind, for every call
	fault      error
	late       bool
	allocs     int
	launches   int
	dependents int // of the launches, those that could start early
	timed      int
	badAlloc   int // the number of the allocation that fails; 0 for none
	badStart   int // likewise of the launch
	lost       bool
	leaks      []ptx.Allocation
}

// table guards what stands where the driver does.
var (
	table      sync.RWMutex
	emulations []*Emulation // by ordinal; nil where one was released
	handles    = map[unsafe.Pointer]any{}
)

// Emulate puts m in the driver's place as a device, beside the machines that
// are there already; the devices of a real driver are out of reach until the
// last one is released. A machine is used by nobody else meanwhile.
func Emulate(m *ptx.Machine) *Emulation {
	table.Lock()
	defer table.Unlock()
	e := &Emulation{m: m, ordinal: -1}
	if live() == 0 {
		C.parley_emulation_on()
		emulations = emulations[:0]
	}
	for i := range emulations {
		if emulations[i] == nil {
			emulations[i], e.ordinal = e, i
			return e
		}
	}
	e.ordinal = len(emulations)
	emulations = append(emulations, e)
	return e
}

func live() int {
	n := 0
	for _, e := range emulations {
		if e != nil {
			n++
		}
	}
	return n
}

// Emulated reports whether interpreters stand in the driver's place.
func Emulated() bool {
	table.RLock()
	defer table.RUnlock()
	return live() > 0
}

// Release takes the machine out of the driver's place.
func (e *Emulation) Release() {
	table.Lock()
	defer table.Unlock()
	if e.ordinal < len(emulations) && emulations[e.ordinal] == e {
		emulations[e.ordinal] = nil
		if live() == 0 {
			C.parley_restore()
		}
	}
}

// Ordinal is the number of the device.
func (e *Emulation) Ordinal() int { return e.ordinal }

// FailAlloc makes the n-th allocation of device memory from now on fail for
// want of memory; 1 is the next one, 0 lets all succeed.
func (e *Emulation) FailAlloc(n int) {
	e.mu.Lock()
	e.allocs, e.badAlloc = 0, n
	e.mu.Unlock()
}

// FailLaunch makes the n-th launch from now on fail as a kernel does that
// faults: the context is unusable afterwards.
func (e *Emulation) FailLaunch(n int) {
	e.mu.Lock()
	e.launches, e.badStart = 0, n
	e.mu.Unlock()
}

// Launches counts the launches since the start or the last FailLaunch, and
// Allocs the allocations likewise.
func (e *Emulation) Launches() int { e.mu.Lock(); defer e.mu.Unlock(); return e.launches }

// Allocs counts the allocations since the start or the last FailAlloc.
func (e *Emulation) Allocs() int { e.mu.Lock(); defer e.mu.Unlock(); return e.allocs }

// Dependents counts the launches that could start before the one before had ended.
func (e *Emulation) Dependents() int { e.mu.Lock(); defer e.mu.Unlock(); return e.dependents }

// Timed counts the events with a time that have happened.
func (e *Emulation) Timed() int { e.mu.Lock(); defer e.mu.Unlock(); return e.timed }

// Lose makes the device fail in everything from now on, as one does that fell
// off its bus; no reset brings it back.
func (e *Emulation) Lose() {
	e.mu.Lock()
	e.lost, e.fault = true, errors.New("the device was taken away")
	e.mu.Unlock()
}

// Late makes a kernel's fault show in the call after the launch, as hardware
// does, instead of in the launch itself.
func (e *Emulation) Late(on bool) { e.mu.Lock(); e.late = on; e.mu.Unlock() }

// Leaks lists what contexts still had allocated when they were destroyed.
func (e *Emulation) Leaks() []ptx.Allocation { e.mu.Lock(); defer e.mu.Unlock(); return e.leaks }

// LastFault is the interpreter's own account of the last fault, which the
// driver's API has only a number for.
func (e *Emulation) LastFault() error { e.mu.Lock(); defer e.mu.Unlock(); return e.fault }

// failed keeps a fault's words, and its code for every call after.
func (e *Emulation) failed(err error, code C.CUresult) C.CUresult {
	e.fault, e.result = err, code
	if e.late {
		return C.CUDA_SUCCESS
	}
	return code
}

// What handles stand for. A handle is an address of C's heap, so that Go's
// collector never takes it for one of its own.
type (
	context struct {
		e       *Emulation
		handle  unsafe.Pointer
		flags   C.uint
		allocs  map[C.CUdeviceptr]C.size_t
		modules map[*module]bool
		primary bool
		capture int         // how many streams of it are being captured, other than relaxed
		main    ptx.Series  // of the default stream
		series  *ptx.Series // of the stream whose work is being done
	}
	module struct {
		ctx    *context
		handle unsafe.Pointer
		mod    *ptx.Module
		funcs  map[string]*kernel
	}
	kernel struct {
		ctx    *context
		handle unsafe.Pointer
		f      *ptx.Function
		params []ptx.Param
	}
	queue struct { // a stream
		ctx      *context
		flags    C.uint
		priority C.int
		series   ptx.Series
		graph    *graph // what it is captured to
		mode     C.CUstreamCaptureMode
	}
	event struct {
		ctx      *context
		timing   bool
		happened bool
		captured bool   // only orders the streams of a capture
		when     uint64 // by the machine's clock
	}
	graph struct {
		nodes  []func() C.CUresult
		broken bool // something was asked that a capture cannot record
	}
	executable struct {
		ctx   *context
		nodes []func() C.CUresult
	}
	pinned struct{ ctx *context }
)

func newHandle(v any) unsafe.Pointer {
	h := C.malloc(1)
	setHandle(h, v)
	return h
}

func setHandle(h unsafe.Pointer, v any) {
	table.Lock()
	handles[h] = v
	table.Unlock()
}

func drop(h unsafe.Pointer) {
	table.Lock()
	delete(handles, h)
	table.Unlock()
	C.free(h)
}

// resolve finds what a handle stands for; false if it is not of that kind.
func resolve[T any](h unsafe.Pointer) (T, bool) {
	table.RLock()
	defer table.RUnlock()
	v, ok := handles[h].(T)
	return v, ok
}

// enter finds the thread's context and takes its machine. The caller releases
// e.mu when the result is success.
func enter() (*context, C.CUresult) {
	ctx, ok := resolve[*context](C.parley_current())
	if !ok {
		return nil, C.CUDA_ERROR_INVALID_CONTEXT
	}
	ctx.e.mu.Lock()
	if r := ctx.e.state(); r != C.CUDA_SUCCESS {
		ctx.e.mu.Unlock()
		return nil, r
	}
	return ctx, C.CUDA_SUCCESS
}

func (e *Emulation) state() C.CUresult {
	if e.lost {
		return C.CUDA_ERROR_DEVICE_UNAVAILABLE
	}
	return e.result
}

// with is a call in the thread's context.
func with(f func(*context) C.CUresult) C.CUresult {
	ctx, r := enter()
	if ctx == nil {
		return r
	}
	defer ctx.e.mu.Unlock()
	return f(ctx)
}

// withUnsafe is a call that waits for the device or allocates, which a capture
// that is not relaxed forbids.
func withUnsafe(f func(*context) C.CUresult) C.CUresult {
	return with(func(ctx *context) C.CUresult {
		if ctx.capture > 0 {
			return C.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
		}
		return f(ctx)
	})
}

// inStream runs f, or records it if the stream is captured.
func inStream(h C.CUstream, f func(*context) C.CUresult) C.CUresult {
	return with(func(ctx *context) C.CUresult {
		if h == nil {
			ctx.series = &ctx.main
			return f(ctx)
		}
		q, ok := resolve[*queue](unsafe.Pointer(h))
		if !ok || q.ctx != ctx {
			return C.CUDA_ERROR_INVALID_HANDLE
		}
		if q.graph != nil {
			q.graph.nodes = append(q.graph.nodes, func() C.CUresult { return f(ctx) })
			return C.CUDA_SUCCESS
		}
		ctx.series = &q.series
		return f(ctx)
	})
}

// behind is a copy or a fill as work of a stream: it starts when all before it has
// ended.
func behind(f func(*context) C.CUresult) func(*context) C.CUresult {
	return func(ctx *context) C.CUresult {
		ctx.series.Wait()
		return f(ctx)
	}
}

// memory turns an answer of the interpreter about an address into a result:
// the driver calls a bad address of a copy an invalid value, and goes on.
func (e *Emulation) memory(err error) C.CUresult {
	switch {
	case err == nil:
		return C.CUDA_SUCCESS
	case errors.Is(err, ptx.ErrOutOfMemory):
		return C.CUDA_ERROR_OUT_OF_MEMORY
	}
	e.fault = err
	return C.CUDA_ERROR_INVALID_VALUE
}

// destroy gives back what a context holds.
func (ctx *context) destroy() {
	e := ctx.e
	for a, n := range ctx.allocs {
		e.leaks = append(e.leaks, ptx.Allocation{Addr: uint64(a), Size: uint64(n)})
		e.m.Free(uint64(a))
	}
	for m := range ctx.modules {
		m.unload()
	}
	ctx.allocs, ctx.modules = map[C.CUdeviceptr]C.size_t{}, map[*module]bool{}
	table.Lock()
	for h, v := range handles {
		var owner *context
		switch v := v.(type) {
		case *queue:
			owner = v.ctx
		case *event:
			owner = v.ctx
		case *executable:
			owner = v.ctx
		case *pinned:
			owner = v.ctx
		}
		if owner == ctx {
			delete(handles, h)
			C.free(h)
		}
	}
	table.Unlock()
	e.result = C.CUDA_SUCCESS
	ctx.capture = 0
}

func (m *module) unload() {
	for _, k := range m.funcs {
		drop(k.handle)
	}
	drop(m.handle)
	m.mod.Unload()
	delete(m.ctx.modules, m)
}
