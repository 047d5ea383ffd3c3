//go:build cuda

#include "driver.h"

// The pointers to arguments, and the attributes, are made here: Go's memory holds no
// pointers that C reads.
CUresult parley_launch(CUfunction fn, const unsigned grid[3], const unsigned block[3],
                       unsigned shared, CUstream stream, int cooperative, int programmatic,
                       char *args, const uint32_t *offsets, size_t n) {
    CUlaunchAttribute attrs[2] = {{CU_LAUNCH_ATTRIBUTE_IGNORE}, {CU_LAUNCH_ATTRIBUTE_IGNORE}};
    CUlaunchConfig config = {grid[0], grid[1], grid[2], block[0], block[1], block[2],
                             shared,  stream,  attrs,   0};
    if (cooperative) {
        attrs[config.numAttrs].id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
        attrs[config.numAttrs++].value.cooperative = 1;
    }
    if (programmatic) {
        attrs[config.numAttrs].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        attrs[config.numAttrs++].value.programmaticStreamSerializationAllowed = 1;
    }
    void *params[n + 1];
    for (size_t i = 0; i < n; i++)
        params[i] = args + offsets[i];
    return cuLaunchKernelEx(&config, fn, params, 0);
}

// Device addresses are numbers in Go: the cast to a pointer is made here.
CUresult parley_tensor_map(CUtensorMap *out, CUtensorMapDataType type, cuuint32_t rank,
                           CUdeviceptr address, const cuuint64_t *dims, const cuuint64_t *strides,
                           const cuuint32_t *box, const cuuint32_t *steps) {
    return cuTensorMapEncodeTiled(out, type, rank, (void *)(uintptr_t)address, dims, strides, box,
                                  steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                  CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}
