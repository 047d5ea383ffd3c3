//go:build cuda

#include "driver.h"

// Device addresses are numbers in Go: the cast to a pointer is made here.
CUresult parley_tensor_map(CUtensorMap *out, CUtensorMapDataType type, cuuint32_t rank,
                           CUdeviceptr address, const cuuint64_t *dims, const cuuint64_t *strides,
                           const cuuint32_t *box, const cuuint32_t *steps) {
    return cuTensorMapEncodeTiled(out, type, rank, (void *)(uintptr_t)address, dims, strides, box,
                                  steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                  CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}
