package models

import (
	"fmt"
	"strconv"
	"strings"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
)

// OpenDevice opens where nets run, by name: "cpu"; "cuda:N", the N-th GPU, or
// "cuda", the one with the most free memory; "auto", which is that GPU where
// there is one and the CPU elsewhere; "ptx", the GPU's code on an interpreter,
// which is slow and checks every access. threads are the CPU's; 0 means all.
func OpenDevice(name string, threads int) (engine.Device, error) {
	switch {
	case threads < 0:
		return nil, fmt.Errorf("%d threads: want 0 or more", threads)
	case name == "cpu":
		return host.New(threads), nil
	case name == "ptx":
		return opened(cuda.Open(cuda.Options{Emulated: true, Check: true}))
	case name == "auto":
		best, err := roomiest()
		if err != nil {
			return host.New(threads), nil
		}
		return opened(cuda.Open(cuda.Options{Ordinal: best}))
	case name == "cuda":
		best, err := roomiest()
		if err != nil {
			return nil, fmt.Errorf("device cuda: %w", err)
		}
		return opened(cuda.Open(cuda.Options{Ordinal: best}))
	}
	if rest, ok := strings.CutPrefix(name, "cuda:"); ok {
		if n, err := strconv.Atoi(rest); err == nil && n >= 0 {
			return opened(cuda.Open(cuda.Options{Ordinal: n}))
		}
	}
	return nil, &UnknownDeviceError{name}
}

// opened keeps a nil device from becoming an interface that is not nil.
func opened(d *cuda.Device, err error) (engine.Device, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// roomiest is the GPU with the most free memory.
func roomiest() (ordinal int, err error) {
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

// UnknownDeviceError is a name that OpenDevice does not know.
type UnknownDeviceError struct{ Name string }

func (e *UnknownDeviceError) Error() string {
	return fmt.Sprintf("device %q: want auto, cpu, cuda:N or ptx", e.Name)
}
