//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"gorgonia.org/cu"

	"parley/engine"
	"parley/engine/cuda/driver"
	"parley/engine/cuda/ptx"
)

// Built says whether the program has the CUDA side.
const Built = true

// Device is one GPU, or the interpreter as one, with one stream of work. Its
// methods are safe for concurrent use; what they start runs in the order of
// the calls.
type Device struct {
	name      string
	info      Info
	float     engine.DType
	sms       int
	maxShared int
	dev       cu.Device
	ctx       cu.CUContext
	jit       bool
	ordered   bool         // no dependent launches
	machine   *ptx.Machine // of an emulated device
	emulation *driver.Emulation
	watch     func(Launched) bool
	leaving   func(bytes int)

	capturing atomic.Pointer[capture]
	captures  sync.Mutex // one capture at a time

	// mu is held during every call of the driver that does not wait for the
	// device, and for what follows.
	mu       sync.Mutex
	lost     error // why nothing goes any more
	work     queue
	recorder queue // what captures record from
	modules  map[*Module]*loaded
	args     []byte // of the launch under way, packed
	memory   allocator
	staging  staging
	events   []*event // not in use
	timed    int      // how many are
}

// Driver starts the host's driver and says what there is of it, in words for
// `parley doctor`.
func Driver() (ready bool, words string) {
	state, words := driver.Status()
	return state == driver.Ready, words
}

// Devices lists the devices of the host's driver that Open would open, by
// opening each for a moment to ask what is free. The error says what is wrong
// with the others, and with the driver if there are none.
func Devices() ([]Info, error) {
	if ready, words := Driver(); !ready {
		return nil, errors.New(words)
	}
	if driver.Emulated() {
		return nil, errEmulated
	}
	n, err := cu.NumDevices()
	if err != nil {
		return nil, fmt.Errorf("count the CUDA devices: %w", err)
	}
	var l []Info
	var errs []error
	for i := range n {
		d, err := Open(Options{Ordinal: i})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l = append(l, d.Info())
		errs = append(errs, d.Close())
	}
	return l, errors.Join(errs...)
}

var errEmulated = errors.New("the interpreter of PTX stands in the driver's place")

// Open opens a device. The interpreter and the devices of the driver exclude
// each other: one has to be closed before the other is opened.
func Open(o Options) (*Device, error) {
	float := engine.F16
	if o.Float32 {
		float = engine.F32
	}
	if o.Emulated {
		d, err := Emulate(ptx.New(ptx.Options{Check: o.Check, SMs: o.SMs}), float)
		if err == nil {
			d.ordered = o.Ordered
		}
		return d, err
	}
	if driver.Emulated() {
		return nil, fmt.Errorf("cuda:%d: %w", o.Ordinal, errEmulated)
	}
	if ready, words := Driver(); !ready {
		return nil, fmt.Errorf("cuda:%d: %s", o.Ordinal, words)
	}
	d, err := open(o.Ordinal, float)
	if err != nil {
		return nil, err
	}
	d.jit, d.ordered = o.JIT, o.Ordered
	real.Add(1)
	return d, nil
}

// real counts the open devices of the host's driver.
var real atomic.Int64

// Emulate opens an interpreter of PTX as a device, with activations of the type
// float. Its memory is allocated to the byte and freed at once, so that the
// interpreter sees what is out of bounds and what is left.
func Emulate(m *ptx.Machine, float engine.DType) (*Device, error) {
	if real.Load() > 0 {
		return nil, errors.New("cuda: a device of the driver is open; the interpreter of PTX would take its place")
	}
	e := driver.Emulate(m)
	d, err := open(e.Ordinal(), float)
	if err != nil {
		e.Release()
		return nil, err
	}
	d.name, d.machine, d.emulation = "ptx", m, e
	d.memory.exact = true
	return d, nil
}

func open(ordinal int, float engine.DType) (d *Device, err error) {
	d = &Device{name: fmt.Sprintf("cuda:%d", ordinal), float: float, modules: map[*Module]*loaded{}}
	defer func() {
		if err != nil {
			d, err = nil, fmt.Errorf("open cuda:%d: %w", ordinal, err)
		}
	}()
	if d.dev, err = cu.GetDevice(ordinal); err != nil {
		return
	}
	if d.info.Name, err = d.dev.Name(); err != nil {
		return
	}
	attrs, err := d.dev.Attributes(cu.ComputeCapabilityMajor, cu.ComputeCapabilityMinor, cu.MultiprocessorCount, driver.MaxSharedOptIn,
		cu.L2CacheSize)
	if err != nil {
		return
	}
	d.info.Ordinal, d.info.Major, d.info.Minor = ordinal, attrs[0], attrs[1]
	d.sms, d.maxShared, d.info.L2 = attrs[2], attrs[3], attrs[4]
	if d.info.Major < 8 {
		return d, fmt.Errorf("%s has compute capability %d.%d, the kernels need 8.0", d.info.Name, d.info.Major, d.info.Minor)
	}
	if d.ctx, err = d.dev.RetainPrimaryCtx(); err != nil {
		return
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.dev.ReleasePrimaryCtx())
		}
	}()
	if err = d.enter(); err != nil {
		return
	}
	defer d.leave()
	for _, q := range []*queue{&d.work, &d.recorder} {
		if q.Stream, err = cu.MakeStream(cu.NonBlocking); err != nil {
			return
		}
	}
	free, total, err := cu.MemInfo()
	d.info.Free, d.info.Total = int(free), int(total)
	return
}

// On returns the GPU when that is where a stream runs.
func On(d engine.Device) (*Device, bool) { return engine.As[*Device](d) }

// Wide implements engine.Widener.
func (d *Device) Wide() engine.Device { return Wide{d} }

// Name implements engine.Device: "cuda:0", or "ptx" for the interpreter.
func (d *Device) Name() string { return d.name }

// Float implements engine.Device.
func (d *Device) Float() engine.DType { return d.float }

// Local implements engine.Device.
func (d *Device) Local() bool { return false }

// Info describes the device; its free memory is that of when it was opened.
func (d *Device) Info() Info { return d.info }

// SMs is the number of multiprocessors.
func (d *Device) SMs() int { return d.sms }

// MaxShared is the most shared memory of a block in bytes.
func (d *Device) MaxShared() int { return d.maxShared }

// Machine is the interpreter of an emulated device, and nil otherwise.
func (d *Device) Machine() *ptx.Machine { return d.machine }

// Emulation is where an emulated device can be made to fail; nil otherwise.
func (d *Device) Emulation() *driver.Emulation { return d.emulation }

// queue is a stream of the driver.
type queue struct {
	cu.Stream
	kernel bool // what it was given last is a kernel
}

// queue is what the calling thread's work goes to; kernel says what is put there now,
// and after whether that follows a kernel. The caller holds d.mu.
func (d *Device) queue(kernel bool) (s cu.Stream, after bool) {
	q := &d.work
	if d.recording() != nil {
		q = &d.recorder
	}
	after, q.kernel = q.kernel, kernel
	return q.Stream, after
}

// enter takes the device for a call of the driver, which knows the context by
// the thread that calls.
func (d *Device) enter() error {
	d.mu.Lock()
	if d.lost != nil {
		d.mu.Unlock()
		return d.lost
	}
	runtime.LockOSThread()
	if err := cu.SetCurrentContext(d.ctx); err != nil {
		err = d.failed("make the context current", err)
		d.leave()
		return err
	}
	return nil
}

func (d *Device) leave() {
	runtime.UnlockOSThread()
	d.mu.Unlock()
}

// failed puts an error of the driver in words, and remembers it where it is
// the device's end. The caller holds d.mu.
func (d *Device) failed(during string, err error) error {
	if err == nil {
		return nil
	}
	if d.lost != nil {
		return d.lost
	}
	if !driver.Code(err).Sticky() {
		return fmt.Errorf("%s: %s: %w", d.name, during, err)
	}
	l := &Lost{Device: d.name, During: during, Err: err}
	if d.emulation != nil {
		l.Fault = d.emulation.LastFault()
	}
	d.lost = l
	return l
}

// Synchronize waits until the device has done what it was given, and returns
// what went wrong meanwhile.
func (d *Device) Synchronize() error {
	return d.wait("synchronize", func() error { return d.work.Synchronize() })
}

// wait is a call that waits for the device, during which others may give it
// more work.
func (d *Device) wait(during string, f func() error) error {
	if err := d.enter(); err != nil {
		return err
	}
	d.mu.Unlock()
	err := f()
	d.mu.Lock()
	defer d.leave()
	return d.failed(during, err)
}

// Memory is what is free of the device's memory and what it has, in bytes.
// Cached blocks count as taken: see Trim.
func (d *Device) Memory() (free, total int, err error) {
	if err := d.enter(); err != nil {
		return 0, 0, err
	}
	defer d.leave()
	f, t, err := cu.MemInfo()
	return int(f), int(t), d.failed("ask for free memory", err)
}

var errClosed = errors.New("the device is closed")

// Close gives everything back. Tensors and graphs of the device are invalid
// from then on.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(d.lost, errClosed) {
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var errs []error
	if d.lost != nil {
		// Nothing in the context answers any more; without the reset the next
		// Open would get it back as it is.
		errs = append(errs, d.dev.ResetPrimaryCtx())
	} else {
		errs = append(errs, cu.SetCurrentContext(d.ctx), d.work.Synchronize())
		errs = append(errs, d.memory.trim(), d.staging.close())
		for _, e := range d.events {
			errs = append(errs, cu.DestroyEvent(&e.event))
		}
		for _, l := range d.modules {
			errs = append(errs, l.mod.Unload())
		}
		errs = append(errs, d.recorder.Destroy(), d.work.Destroy())
	}
	errs = append(errs, cu.SetCurrentContext(cu.CUContext{}), d.dev.ReleasePrimaryCtx())
	if d.emulation != nil {
		d.emulation.Release()
	} else {
		real.Add(-1)
	}
	lost := d.lost
	d.lost = errClosed
	if lost != nil {
		return nil // a lost device has nothing to close properly
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close %s: %w", d.name, err)
	}
	return nil
}
