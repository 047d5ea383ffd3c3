package engine

import "time"

// Device is where tensors lie and operations run. What only some devices can do
// is an optional capability: an interface that As finds.
type Device interface {
	// Name is what a person calls the device: "cpu", "cuda:0".
	Name() string
	// Float is the type that activations and weights have there: F32 or F16.
	Float() DType
	// Local reports whether the device works on the host's own memory.
	Local() bool
	// Alloc returns at least n bytes whose content is undefined.
	Alloc(n int) (Memory, error)
	// Free gives a block from Alloc back for reuse.
	Free(Memory)
	// Upload copies host bytes to a tensor, Download the other way.
	Upload(dst *Tensor, src []byte) error
	Download(dst []byte, src *Tensor) error
}

// As finds a capability of a device, or of one that it stands in front of (an
// AllocationScope).
func As[T any](d Device) (T, bool) {
	for {
		if c, ok := d.(T); ok {
			return c, true
		}
		u, ok := d.(interface{ Unwrap() Device })
		if !ok {
			var none T
			return none, false
		}
		d = u.Unwrap()
	}
}

// SameMemory reports whether two devices work on one memory, so that a tensor of
// one is a tensor of the other.
func SameMemory(a, b Device) bool {
	if a.Local() || b.Local() {
		return a.Local() && b.Local()
	}
	return behind(a) == behind(b)
}

// behind is the device that d and all its wrappers stand in front of.
func behind(d Device) Device {
	for {
		u, ok := d.(interface{ Unwrap() Device })
		if !ok {
			return d
		}
		d = u.Unwrap()
	}
}

// Copier copies between tensors of the device, of one size. A graph may hold it.
type Copier interface{ Copy(dst, src *Tensor) error }

// Synchronizer is a device that works behind the host's back. Synchronize waits
// until it has done what it was given, and returns what went wrong meanwhile.
type Synchronizer interface{ Synchronize() error }

// MemoryReporter tells what is free of the memory that tensors take, and how
// much there is, in bytes.
type MemoryReporter interface {
	Memory() (free, total int, err error)
}

// Widener is a device whose activations are f16 and that can compute in f32:
// Wide is the same memory and the same stream of work with f32 activations, for
// what overflows.
type Widener interface{ Wide() Device }

// EventTimer is a device that works behind the host's back and has a clock of
// its own. An event happens when the device has done what it was given before;
// one that is made in a capture happens at each launch of the graph.
type EventTimer interface{ Event() (Event, error) }

// Event is a moment in a device's work.
type Event interface {
	// Since waits for the event and returns the time since an earlier one.
	Since(earlier Event) (time.Duration, error)
	// Free gives the event back.
	Free()
}

// Capturer is a device that can record a sequence of operations as a graph.
type Capturer interface {
	// Capture records what f does through s, without running it. f works in the
	// calling goroutine only, allocates and frees as ever, and neither uploads
	// nor downloads. Tensors that f leaves are the graph's outputs: each launch
	// fills them anew, until the graph is freed; tensors from before are read and
	// written where they are. f has run once before, so that its kernels are
	// loaded and memory of its sizes is at hand.
	Capture(s *Stream, f func()) (Graph, error)
}

// Graph is a captured sequence of operations, which the device runs again
// without the host's work for each.
type Graph interface {
	// Launch runs the graph after what the device was given before.
	Launch(s *Stream)
	// Free gives the graph back, and the memory that it kept. Outputs stay until
	// they are freed themselves.
	Free()
}

// DryRun is a device that holds nothing and runs nothing: a computation on it
// tells what it will need on a GPU with activations of the type Elem, or on the
// host. Nets that are loaded for it have shapes and no values.
type DryRun struct {
	Elem DType
	Host bool
}

// DryRunOf is a DryRun that needs what d would need.
func DryRunOf(d Device) DryRun { return DryRun{Elem: d.Float(), Host: d.Local()} }

// IsDryRun reports whether a device only counts.
func IsDryRun(d Device) bool { _, ok := As[DryRun](d); return ok }

// Name implements Device.
func (DryRun) Name() string { return "dry run" }

// Float implements Device.
func (d DryRun) Float() DType { return d.Elem }

// Local implements Device.
func (d DryRun) Local() bool { return d.Host }

// Alloc implements Device.
func (DryRun) Alloc(int) (Memory, error) { return Memory{}, nil }

// Free implements Device.
func (DryRun) Free(Memory) {}

// Upload implements Device.
func (DryRun) Upload(*Tensor, []byte) error { return nil }

// Download implements Device.
func (DryRun) Download([]byte, *Tensor) error { return nil }
