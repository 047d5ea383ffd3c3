//go:build cuda

package driver

/*
#include "driver.h"
*/
import "C"

import (
	"strings"

	"parley/engine/cuda/ptx"
)

// faultCode is what hardware would have answered to a fault. What only the
// sanitizer sees, hardware does not answer at all; here it is a failed launch.
func faultCode(f *ptx.Fault) C.CUresult {
	kind, _, _ := strings.Cut(f.What, ":")
	switch kind {
	case "misaligned":
		return C.CUDA_ERROR_MISALIGNED_ADDRESS
	case "out of bounds", "write to constant memory":
		return C.CUDA_ERROR_ILLEGAL_ADDRESS
	case "assertion failed":
		return C.CUDA_ERROR_ASSERT
	}
	return C.CUDA_ERROR_LAUNCH_FAILED
}
