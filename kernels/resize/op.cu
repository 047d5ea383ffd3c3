// Pillow's resize for 8 bits (ImagingResample): along the rows, then along the
// columns, each with weights in fixed point of 22 bits and rounded to 8 bits;
// first, count and weights of each target pixel come from the host, so that the
// two are equal bit for bit. Bytes bound it.
//
// 256 threads a block, any grid; neighbouring threads take neighbouring bytes.
#include "grid.cuh"

namespace {

using u8 = unsigned char;

constexpr int kPrecision = 22;  // bits of a weight behind the point
constexpr int kHalf = 1 << (kPrecision - 1);

inline u8 fixed_to_byte(int v) { return (u8)min(max(v >> kPrecision, 0), 255); }

// resize_rows: pixel i of a row of y is a sum over pixels first[i] on of one of x,
// 3 bytes each; of the h rows of each of n pictures those from `from` on. weights
// are [out, taps], of which count[i] are used.
inline void resize_rows(const u8* x, u8* y, const int* first, const int* count, const int* weights, int n, int h, int from, int rows,
                        int in, int out, int taps) {
  grid_stride((long long)n * rows * out * 3, [&](long long at) {
    const unsigned i = (unsigned)at, ch = i % 3, column = i / 3 % out, row = i / 3 / out % rows, picture = i / 3 / out / rows;
    const u8* p = x + (((long long)picture * h + from + row) * in + first[column]) * 3 + ch;
    const int* w = weights + (long long)column * taps;
    int sum = kHalf;
#pragma unroll 4
    for (int j = 0; j < count[column]; j++) sum += p[3 * j] * w[j];
    y[at] = fixed_to_byte(sum);
  });
}

// resize_columns: the same along the columns of n pictures of `in` rows of
// `width` bytes.
inline void resize_columns(const u8* x, u8* y, const int* first, const int* count, const int* weights, int n, int width, int in, int out,
                           int taps) {
  grid_stride((long long)n * out * width, [&](long long at) {
    const unsigned i = (unsigned)at, column = i % width, row = i / width % out, picture = i / width / out;
    const u8* p = x + ((long long)picture * in + first[row]) * width + column;
    const int* w = weights + (long long)row * taps;
    int sum = kHalf;
#pragma unroll 4
    for (int j = 0; j < count[row]; j++) sum += p[(long long)j * width] * w[j];
    y[at] = fixed_to_byte(sum);
  });
}

}  // namespace

#define ENTRY extern "C" __global__ void __launch_bounds__(256)

ENTRY resize_rows_u8(const u8* x, u8* y, const int* first, const int* count, const int* weights, int n, int h, int from, int rows, int in,
                     int out, int taps) {
  resize_rows(x, y, first, count, weights, n, h, from, rows, in, out, taps);
}
ENTRY resize_columns_u8(const u8* x, u8* y, const int* first, const int* count, const int* weights, int n, int width, int in, int out,
                        int taps) {
  resize_columns(x, y, first, count, weights, n, width, in, out, taps);
}
