//go:build cuda

package driver

/*
#include "driver.h"
*/
import "C"

import (
	"fmt"
	"reflect"
)

// Result is an answer of the driver that is not success. gorgonia.org/cu has a
// type of its own for it, unexported; Code turns one into the other.
type Result int

// The results that somebody acts on.
const (
	InvalidValue      Result = C.CUDA_ERROR_INVALID_VALUE
	OutOfMemory       Result = C.CUDA_ERROR_OUT_OF_MEMORY
	NotInitialized    Result = C.CUDA_ERROR_NOT_INITIALIZED
	DeviceUnavailable Result = C.CUDA_ERROR_DEVICE_UNAVAILABLE
	InvalidImage      Result = C.CUDA_ERROR_INVALID_IMAGE
	NoBinary          Result = C.CUDA_ERROR_NO_BINARY_FOR_GPU
	InvalidContext    Result = C.CUDA_ERROR_INVALID_CONTEXT
	NotFound          Result = C.CUDA_ERROR_NOT_FOUND
	NotReady          Result = C.CUDA_ERROR_NOT_READY
	IllegalAddress    Result = C.CUDA_ERROR_ILLEGAL_ADDRESS
	MisalignedAddress Result = C.CUDA_ERROR_MISALIGNED_ADDRESS
	LaunchFailed      Result = C.CUDA_ERROR_LAUNCH_FAILED
	NotSupported      Result = C.CUDA_ERROR_NOT_SUPPORTED
	// CooperativeTooLarge is a cooperative launch of more blocks than the device
	// holds at once.
	CooperativeTooLarge Result = C.CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE
)

// Code is the driver's result in an error of this package or of
// gorgonia.org/cu, and 0 for any other error.
func Code(err error) Result {
	for err != nil {
		if v := reflect.ValueOf(err); v.Kind() == reflect.Int {
			return Result(v.Int())
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			break
		}
		err = u.Unwrap()
	}
	return 0
}

// Sticky reports whether the result leaves the context unusable: every later
// call in it answers the same, and what lay in its memory is lost.
func (r Result) Sticky() bool {
	switch C.CUresult(r) {
	case C.CUDA_ERROR_DEVICE_UNAVAILABLE, C.CUDA_ERROR_DEINITIALIZED, C.CUDA_ERROR_ECC_UNCORRECTABLE,
		C.CUDA_ERROR_NVLINK_UNCORRECTABLE, C.CUDA_ERROR_CONTEXT_IS_DESTROYED, C.CUDA_ERROR_LAUNCH_TIMEOUT,
		C.CUDA_ERROR_EXTERNAL_DEVICE, C.CUDA_ERROR_UNKNOWN:
		return true
	}
	return r == IllegalAddress || r >= C.CUDA_ERROR_ASSERT && r <= C.CUDA_ERROR_LAUNCH_FAILED &&
		r != C.CUDA_ERROR_TOO_MANY_PEERS &&
		r != C.CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED && r != C.CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED
}

// Error implements error with the code's name and the driver's words for it.
func (r Result) Error() string {
	name := C.parley_error_name(C.CUresult(r))
	if name == nil {
		return fmt.Sprintf("CUDA error %d", int(r))
	}
	s := C.GoString(name)
	var text *C.char
	if C.cuGetErrorString(C.CUresult(r), &text) == C.CUDA_SUCCESS && text != nil {
		s += " (" + C.GoString(text) + ")"
	}
	return s
}

func check(r C.CUresult) error {
	if r == C.CUDA_SUCCESS {
		return nil
	}
	return Result(r)
}
