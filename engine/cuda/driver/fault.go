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
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(f.What, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("align"):
		return C.CUDA_ERROR_MISALIGNED_ADDRESS
	case has("never written"):
		return C.CUDA_ERROR_LAUNCH_FAILED
	case has("allocat", "variable", "outside"):
		return C.CUDA_ERROR_ILLEGAL_ADDRESS
	case has("assert"):
		return C.CUDA_ERROR_ASSERT
	}
	return C.CUDA_ERROR_LAUNCH_FAILED
}
