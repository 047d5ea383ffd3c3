//go:build cuda

package driver

/*
#cgo LDFLAGS: -ldl
#include "driver.h"
*/
import "C"

import (
	"fmt"
	"sync"
)

// Oldest is the CUDA version that a driver has to speak: the shipped PTX is
// 8.4, which drivers compile from 550 on.
const Oldest = 12040

// State says what there is of the host's driver.
type State int

// The states, from the best to the worst.
const (
	Ready     State = iota // a driver with a device
	NoDevice               // a driver that finds no device
	TooOld                 // a driver from before 550
	Broken                 // a driver that does not start
	NoLibrary              // no libcuda.so.1
)

var start = sync.OnceValue(func() C.CUresult { return C.parley_start() })

// Status starts the host's driver, if nobody did so before, and says what
// became of it. An emulation does not change it.
func Status() (State, string) {
	if why := C.GoString(C.parley_load_error()); why != "" {
		return NoLibrary, "no NVIDIA driver: " + why
	}
	res := start()
	var version C.int
	if C.parley_driver_version(&version) == C.CUDA_SUCCESS && version < Oldest {
		return TooOld, fmt.Sprintf("the NVIDIA driver is for CUDA %s; Parley needs one for %s, which is 550 or later",
			dotted(int(version)), dotted(Oldest))
	}
	if res == C.CUDA_ERROR_NO_DEVICE {
		return NoDevice, fmt.Sprintf("an NVIDIA driver for CUDA %s, and no device", dotted(int(version)))
	}
	if res != C.CUDA_SUCCESS {
		return Broken, fmt.Sprintf("the NVIDIA driver does not start: %v", Result(res))
	}
	var n C.int
	if res := C.parley_driver_devices(&n); res != C.CUDA_SUCCESS || n == 0 {
		return NoDevice, fmt.Sprintf("an NVIDIA driver for CUDA %s, and no device", dotted(int(version)))
	}
	return Ready, fmt.Sprintf("an NVIDIA driver for CUDA %s, devices: %d", dotted(int(version)), n)
}

func dotted(version int) string { return fmt.Sprintf("%d.%d", version/1000, version%1000/10) }

// Missing is how many of the functions that Parley knows the host's driver
// lacks. Calls of those answer CUDA_ERROR_NOT_FOUND.
func Missing() int { return int(C.parley_missing()) }
