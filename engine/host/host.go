// Package host is the CPU as a device: a pool of workers and recycled memory.
package host

import (
	"fmt"
	"runtime"
	"sync"

	"parley/engine"
)

// Precision says how much of f32's precision operations may give away for
// speed.
type Precision uint8

// Each level's bound is on a net's relative error, ‖ours-ref‖/‖ref‖.
const (
	// Exact sums every product in f32 as the operation is written: 1e-5.
	Exact Precision = iota
	// F32 computes on float32 by whatever method is fastest: Winograd's
	// convolutions, or products of pairs of bfloat16: 1e-4.
	F32
	// Fast rounds the factors of products to bfloat16 where that is faster: 4e-2.
	Fast
)

func (p Precision) String() string { return [...]string{"exact", "f32", "fast"}[p] }

// ParsePrecision reads exact, f32 or fast.
func ParsePrecision(name string) (Precision, error) {
	for p := Exact; p <= Fast; p++ {
		if name == p.String() {
			return p, nil
		}
	}
	return Exact, fmt.Errorf("precision %q: want exact, f32 or fast", name)
}

// Options are how the CPU is to be used; the zero value is exact on every core
// that the process may use.
type Options struct {
	Workers   int // 0 means one for each core
	Precision Precision
	// Choices are methods that were measured to be the fastest on this machine, by
	// operation and shape, as the operations name both (bench/tuning). What a room does
	// not know, it passes over.
	Choices map[string]string
}

// Device is the CPU. Its methods are safe for concurrent use.
type Device struct {
	workers   int
	precision Precision
	choices   map[string]string

	pool    pool
	scratch sync.Map // by type, *sync.Pool: Scratch
	mu      sync.Mutex
	arena   arena
	owned   sync.Map // by type: func() T, which computes once (Owned)
}

// New returns the CPU with that many workers and exact operations.
func New(workers int) *Device { return NewWith(Options{Workers: workers}) }

// NewWith returns the CPU.
func NewWith(o Options) *Device {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return &Device{workers: o.Workers, precision: o.Precision, choices: o.Choices}
}

// Precision is what operations may give away.
func (d *Device) Precision() Precision { return d.precision }

// Choice is the method that was chosen for a key, "" where none was.
func (d *Device) Choice(key string) string { return d.choices[key] }

// Chooses reports whether there are choices: a key costs its making.
func (d *Device) Chooses() bool { return len(d.choices) > 0 }

// On returns the CPU when that is where a stream runs.
func On(d engine.Device) (*Device, bool) { return engine.As[*Device](d) }

// Name implements engine.Device.
func (d *Device) Name() string { return "cpu" }

// Float implements engine.Device.
func (d *Device) Float() engine.DType { return engine.F32 }

// Local implements engine.Device.
func (d *Device) Local() bool { return true }

// Workers is the number of goroutines that For uses.
func (d *Device) Workers() int { return d.workers }

// Alloc implements engine.Device. Blocks start at a multiple of 64 bytes.
func (d *Device) Alloc(n int) (engine.Memory, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return engine.Memory{Host: d.arena.take(n)}, nil
}

// Free implements engine.Device.
func (d *Device) Free(m engine.Memory) {
	if cap(m.Host) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.arena.give(m.Host)
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

// Copy implements engine.Copier.
func (d *Device) Copy(dst, src *engine.Tensor) error {
	copy(dst.Memory().Host, src.Memory().Host)
	return nil
}
