// Feature maps and pictures moved about: boxes of maps, the blending of tiles,
// their doubling, and a picture's way from a decoder's output to the next
// net's input (8 bits, Pillow's antialiased resize, normalisation) without
// leaving the device. Bytes bound everything here.
//
// 256 threads a block, strides of the whole grid: any grid gives the same.
// Neighbouring threads take neighbouring vectors of 16 bytes, elements where
// rows are not whole vectors, bytes of pictures.
//
// resize is Pillow's for 8 bits (ImagingResample): along the rows, then along
// the columns, each with weights in fixed point of 22 bits and rounded to 8
// bits; first, count and weights of each target pixel come from the host, so
// that the two are equal bit for bit.
#include "vec.cuh"

namespace {

using u8 = unsigned char;

template <typename F> inline void each(long long n, F f) {
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

// box copies n x h rows of `width` elements from one array to another, in which
// samples and rows have strides. Indices are below 2^32, offsets may be beyond.
template <typename T>
inline void box(const T* from, T* to, unsigned n, unsigned h, unsigned width, long long from_sample, long long from_row, long long to_sample,
                long long to_row) {
  constexpr int V = kVec<T>;
  const bool vectors = aligned16(from, to) && width % V == 0 && from_sample % V == 0 && from_row % V == 0 && to_sample % V == 0 && to_row % V == 0;
  const unsigned w = vectors ? width / V : width;
  each((long long)n * h * w, [&](long long at) {
    const unsigned i = (unsigned)at, row = i / w, column = i % w, sample = row / h, y = row % h;
    const T* p = from + sample * from_sample + y * from_row;
    T* q = to + sample * to_sample + y * to_row;
    if (vectors) {
      reinterpret_cast<uint4*>(q)[column] = reinterpret_cast<const uint4*>(p)[column];
    } else {
      q[column] = p[column];
    }
  });
}

// fade blends the end of a [n, ah, aw, c] into the beginning of b [n, bh, bw, c]
// over `extent` rows or columns.
template <typename T>
inline void fade(const T* a, T* b, int n, int ah, int aw, int bh, int bw, int c, int extent, int down) {
  const int h = down ? extent : min(ah, bh), w = down ? min(aw, bw) : extent;
  each((long long)n * h * w * c, [&](long long at) {
    const unsigned i = (unsigned)at, ch = i % c, x = i / c % w, y = i / c / w % h, sample = i / c / w / h;
    const int ay = down ? ah - extent + y : y, ax = down ? x : aw - extent + x;
    const float f = (float)(down ? y : x) / (float)extent;
    const T p = a[(((long long)sample * ah + ay) * aw + ax) * c + ch];
    T& q = b[(((long long)sample * bh + y) * bw + x) * c + ch];
    q = from_float<T>(__fadd_rn(__fmul_rn(to_float(p), 1.0f - f), __fmul_rn(to_float(q), f)));
  });
}

// nearest doubles height and width.
template <typename T> inline void nearest(const T* x, T* y, int n, int h, int w, int c) {
  constexpr int V = kVec<T>;
  const bool vectors = aligned16(x, y) && c % V == 0;
  const unsigned cv = vectors ? c / V : c;
  each((long long)n * 4 * h * w * cv, [&](long long at) {
    const unsigned i = (unsigned)at, ch = i % cv, ox = i / cv % (2 * w), oy = i / cv / (2 * w) % (2 * h), sample = i / cv / (2 * w) / (2 * h);
    const long long from = (((long long)sample * h + oy / 2) * w + ox / 2) * cv + ch;
    if (vectors) {
      reinterpret_cast<uint4*>(y)[at] = reinterpret_cast<const uint4*>(x)[from];
    } else {
      y[at] = x[from];
    }
  });
}

// Weights are of 22 bits behind the point.
inline u8 fixed_to_byte(int v) { return (u8)min(max(v >> 22, 0), 255); }

// resize_rows: pixel i of a row of y is a sum over pixels first[i] on of one of x,
// 3 bytes each; of the h rows of each of n pictures those from `from` on. weights
// are [out, taps], of which count[i] are used.
inline void resize_rows(const u8* x, u8* y, const int* first, const int* count, const int* weights, int n, int h, int from, int rows, int in, int out,
                        int taps) {
  each((long long)n * rows * out * 3, [&](long long at) {
    const unsigned i = (unsigned)at, ch = i % 3, column = i / 3 % out, row = i / 3 / out % rows, picture = i / 3 / out / rows;
    const u8* p = x + (((long long)picture * h + from + row) * in + first[column]) * 3 + ch;
    const int* w = weights + (long long)column * taps;
    int sum = 1 << 21;
#pragma unroll 4
    for (int j = 0; j < count[column]; j++) sum += p[3 * j] * w[j];
    y[at] = fixed_to_byte(sum);
  });
}

// resize_columns: the same along the columns of n pictures of `in` rows of
// `width` bytes.
inline void resize_columns(const u8* x, u8* y, const int* first, const int* count, const int* weights, int n, int width, int in, int out, int taps) {
  each((long long)n * out * width, [&](long long at) {
    const unsigned i = (unsigned)at, column = i % width, row = i / width % out, picture = i / width / out;
    const u8* p = x + ((long long)picture * in + first[row]) * width + column;
    const int* w = weights + (long long)row * taps;
    int sum = 1 << 21;
#pragma unroll 4
    for (int j = 0; j < count[row]; j++) sum += p[(long long)j * width] * w[j];
    y[at] = fixed_to_byte(sum);
  });
}

// normalise cuts [n, oh, ow, 3] at (top, left) out of pictures [n, h, w, 3],
// black where there is none, and looks each byte up in table [3, 256].
template <typename T>
inline void normalise(const u8* x, const float* table, T* y, int n, int h, int w, int top, int left, int oh, int ow) {
  each((long long)n * oh * ow * 3, [&](long long at) {
    const unsigned i = (unsigned)at, ch = i % 3, column = i / 3 % ow, row = i / 3 / ow % oh, picture = i / 3 / ow / oh;
    const int sx = (int)column + left, sy = (int)row + top;
    int v = 0;
    if (sx >= 0 && sx < w && sy >= 0 && sy < h) v = x[(((long long)picture * h + sy) * w + sx) * 3 + ch];
    y[at] = from_float<T>(table[ch * 256 + v]);
  });
}

// bytes: 0 to 255 of -1 to 1, rounded half to even.
template <typename T> inline void bytes(const T* x, u8* y, long long n) {
  each(n, [&](long long i) { y[i] = (u8)__float2int_rn(fminf(fmaxf(to_float(x[i]) * 0.5f + 0.5f, 0.0f), 1.0f) * 255.0f); });
}

}  // namespace

#define ENTRY extern "C" __global__ void __launch_bounds__(256)
#define RESAMPLE(type, T)                                                                                                                  \
  ENTRY box_##type(const T* from, T* to, int n, int h, int width, long long from_at, long long from_sample, long long from_row,            \
                   long long to_at, long long to_sample, long long to_row) {                                                               \
    box(from + from_at, to + to_at, n, h, width, from_sample, from_row, to_sample, to_row);                                                \
  }                                                                                                                                        \
  ENTRY fade_##type(const T* a, T* b, int n, int ah, int aw, int bh, int bw, int c, int extent, int down) {                                \
    fade(a, b, n, ah, aw, bh, bw, c, extent, down);                                                                                        \
  }                                                                                                                                        \
  ENTRY nearest_##type(const T* x, T* y, int n, int h, int w, int c) { nearest(x, y, n, h, w, c); }                                        \
  ENTRY normalise_##type(const u8* x, const float* table, T* y, int n, int h, int w, int top, int left, int oh, int ow) {                  \
    normalise(x, table, y, n, h, w, top, left, oh, ow);                                                                                    \
  }                                                                                                                                        \
  ENTRY bytes_##type(const T* x, u8* y, long long n) { bytes(x, y, n); }

RESAMPLE(f16, __half)
RESAMPLE(f32, float)

ENTRY resize_rows_u8(const u8* x, u8* y, const int* first, const int* count, const int* weights, int n, int h, int from, int rows, int in, int out,
                     int taps) {
  resize_rows(x, y, first, count, weights, n, h, from, rows, in, out, taps);
}
ENTRY resize_columns_u8(const u8* x, u8* y, const int* first, const int* count, const int* weights, int n, int width, int in, int out, int taps) {
  resize_columns(x, y, first, count, weights, n, width, in, out, taps);
}
