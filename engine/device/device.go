// Package device opens the devices that there are, by the names that people
// give them.
package device

import (
	"fmt"
	"strconv"
	"strings"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// Options say how a device computes; the zero value is the device's own way on
// all cores.
type Options struct {
	Threads int // of the CPU; 0 means all
	// Precision is "exact": f32 sums as they stand, within 1e-5 of the reference
	// for each net; "f32": f32 with faster methods, within 1e-4; "fast": products
	// of bfloat16 where the CPU is faster at them, within 4e-2, and f16 on a GPU; or
	// "", the device's own: "f32" on the CPU (or with Exact, exact), f16 on a GPU.
	Precision string
	Exact     bool
	// Choices are methods that were measured to be the fastest on this CPU
	// (host.Options).
	Choices map[string]string
}

// Open opens where nets run, by name: "cpu"; "cuda:N", the N-th GPU, or
// "cuda", the one with the most free memory; "auto", which is that GPU where
// there is one and the CPU elsewhere; "ptx", the GPU's code on an interpreter,
// which is slow and checks every access.
func Open(name string, o Options) (engine.Device, error) {
	if o.Threads < 0 {
		return nil, fmt.Errorf("%d threads: want 0 or more", o.Threads)
	}
	precision := host.F32
	if o.Exact {
		precision = host.Exact
	}
	if o.Precision != "" {
		var err error
		if precision, err = host.ParsePrecision(o.Precision); err != nil {
			return nil, err
		}
	}
	cpu := func() engine.Device {
		return host.NewWith(host.Options{Workers: o.Threads, Precision: precision, Choices: o.Choices})
	}
	gpu := cuda.Options{Float32: o.Precision != "" && precision != host.Fast}
	switch {
	case name == "cpu":
		return cpu(), nil
	case name == "ptx":
		gpu.Emulated, gpu.Check = true, true
		return opened(cuda.Open(gpu))
	case name == "auto":
		best, err := mostFree()
		if err != nil {
			return cpu(), nil
		}
		gpu.Ordinal = best
		return opened(cuda.Open(gpu))
	case name == "cuda":
		best, err := mostFree()
		if err != nil {
			return nil, fmt.Errorf("device cuda: %w", err)
		}
		gpu.Ordinal = best
		return opened(cuda.Open(gpu))
	}
	if rest, ok := strings.CutPrefix(name, "cuda:"); ok {
		if n, err := strconv.Atoi(rest); err == nil && n >= 0 {
			gpu.Ordinal = n
			return opened(cuda.Open(gpu))
		}
	}
	return nil, &UnknownError{name}
}

// opened keeps a nil device from becoming an interface that is not nil.
func opened(d *cuda.Device, err error) (engine.Device, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// mostFree is the GPU with the most free memory.
func mostFree() (ordinal int, err error) {
	all, err := cuda.Devices()
	if err != nil {
		return 0, err
	}
	if len(all) == 0 {
		return 0, fmt.Errorf("the driver has no device")
	}
	best := all[0]
	for _, d := range all[1:] {
		if d.Free > best.Free {
			best = d
		}
	}
	return best.Ordinal, nil
}

// UnknownError is a name that Open does not know.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("device %q: want auto, cpu, cuda:N or ptx", e.Name)
}
