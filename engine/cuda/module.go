// Package cuda is the GPU as a device: memory, copies, and launches of the
// kernels that the rooms of kernels/ bring as PTX and as machine code. It drives
// NVIDIA's driver through gorgonia.org/cu, or the interpreter of PTX in the
// driver's place, and knows no kernel.
//
// A build without the tag cuda has the same names and no device to open.
package cuda

import (
	"fmt"
	"strings"
)

// Dim counts blocks of a grid or threads of a block in three directions. 0
// means 1.
type Dim struct{ X, Y, Z int }

func (d Dim) ones() Dim { return Dim{max(d.X, 1), max(d.Y, 1), max(d.Z, 1)} }

// Struct is an argument that is no number: the bytes of a struct of the kernel's, or
// of what the driver encodes for one, such as a tensor map.
type Struct []byte

// Launched is a launch as Watch is told of it: the arguments of Device.Launch.
type Launched struct {
	Module      *Module
	Kernel      string
	Grid, Block Dim
	Shared      int // dynamic shared memory in bytes
	Args        []any
	Cooperative bool // by LaunchCooperative
	Dependent   bool // by LaunchDependent
}

// Options say which device Open opens, and how.
type Options struct {
	Ordinal  int  // the driver's number of the device
	Emulated bool // the interpreter of PTX instead of a device
	Check    bool // with the interpreter's sanitizer
	SMs      int  // multiprocessors that the interpreter says it has, 0: an A100's
	Float32  bool // activations and weights in f32 instead of f16
	JIT      bool // modules from PTX, even where there is machine code for the device
	Ordered  bool // each kernel starts when the one before has ended: no programmatic dependent launch
}

// Info describes a device that could be opened.
type Info struct {
	Ordinal      int
	Name         string
	Major, Minor int // compute capability
	Free, Total  int // bytes of its memory
	L2           int // bytes of its second-level cache
}

func (i Info) String() string {
	return fmt.Sprintf("cuda:%d: %s, sm_%d%d, %s of %s free", i.Ordinal, i.Name, i.Major, i.Minor, size(i.Free), size(i.Total))
}

// Usage is what of a device is in use.
type Usage struct {
	Blocks, Bytes int // given out and not given back
	Cached        int // bytes kept for the next allocation
	Graphs        int // bytes that captured graphs work in
	Events        int // given out and not freed
}

// OutOfMemory is an allocation that the device has no room for. The device
// goes on.
type OutOfMemory struct {
	Device            string
	Want, Free, Total int // bytes
	Err               error
}

// Error implements error.
func (e *OutOfMemory) Error() string {
	return fmt.Sprintf("%s: %s are wanted, %s of %s are free", e.Device, size(e.Want), size(e.Free), size(e.Total))
}

// Unwrap is the driver's error.
func (e *OutOfMemory) Unwrap() error { return e.Err }

// Lost is the end of a device: a kernel faulted or the hardware failed, and
// what lay in its memory is gone. Close it and open it again.
type Lost struct {
	Device string
	During string // what was being done when the driver said so
	Err    error  // the driver's error
	Fault  error  // the interpreter's account of it, which hardware has none of
}

// Error implements error.
func (e *Lost) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is lost: %s: %v", e.Device, e.During, e.Err)
	if e.Fault != nil {
		fmt.Fprintf(&b, ": %v", e.Fault)
	}
	return b.String()
}

// Unwrap is the driver's error and the interpreter's.
func (e *Lost) Unwrap() []error {
	if e.Fault == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Fault}
}

func size(n int) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d bytes", n)
}
