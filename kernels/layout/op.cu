// Rows that lie apart, one behind the other: a range of channels of every pixel, a
// token of every sequence. Copies, bounded by bytes; 256 threads a block, any grid.
#include "grid.cuh"

#define ENTRY extern "C" __global__ void __launch_bounds__(256)
#define LAYOUT(type, T)                                                                       \
  ENTRY rows_##type(const T* from, T* to, int n, int width, long long at, long long stride) { \
    box(from + at, to, 1, n, width, 0, stride, 0, width);                                     \
  }

LAYOUT(f16, f16)
LAYOUT(f32, float)
