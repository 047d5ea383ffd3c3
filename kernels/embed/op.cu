// Rows of tables: token embeddings with positions, rows of a cache and what is
// appended to it, the tokens of a vision transformer. Copies, bounded by bytes.
//
// A row is moved as 16-byte vectors where its width, its stride and both ends
// are whole vectors, else element by element, by the same kernel. grid.x is the
// row, grid.y shares one row's vectors among blocks where rows are few and long
// (a cache's); 128 threads a block. No shared memory.
//
// What grows from one decoding step to the next may lie in device memory, so
// that a captured graph serves all steps: `more`, where it is not null, is
// added to the number beside it.
#include "depend.cuh"
#include "vec.cuh"

namespace {

constexpr int kThreads = 128;

// across calls f(i) for i below n, sharing them among the blocks of grid.y.
template <typename F> inline void across(int n, F f) {
  for (int i = blockIdx.y * kThreads + threadIdx.x; i < n; i += gridDim.y * kThreads) f(i);
}

// copy moves n elements; whole vectors where it can.
template <typename T> inline void copy(const T* from, T* to, int n, bool vectors) {
  if (vectors) {
    across(n / kVec<T>, [&](int i) { reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i]; });
  } else {
    across(n, [&](int i) { to[i] = from[i]; });
  }
}

// sum writes p + q, n elements.
template <typename T> inline void sum(const T* p, const T* q, T* to, int n, bool vectors) {
  constexpr int V = kVec<T>;
  if (vectors) {
    across(n / V, [&](int i) {
      float v[V], w[V];
      load(v, p + i * V);
      load(w, q + i * V);
#pragma unroll
      for (int j = 0; j < V; j++) v[j] += w[j];
      store(to + i * V, v);
    });
  } else {
    across(n, [&](int i) { to[i] = from_float<T>(to_float(p[i]) + to_float(q[i])); });
  }
}

// rows: y[i, :n] = table[ids[i], :n].
template <typename T> inline void rows(const T* table, const int* ids, T* y, int n, long long table_stride, long long y_stride) {
  constexpr int V = kVec<T>;
  const bool vectors = aligned16(table, y) && n % V == 0 && table_stride % V == 0 && y_stride % V == 0;
  copy(table + ids[blockIdx.x] * table_stride, y + blockIdx.x * y_stride, n, vectors);
}

// tokens: y[r, l] = table[ids[r, l]] + positions[offset + l].
template <typename T>
inline void tokens(const T* table, const int* ids, const T* positions, T* y, int length, int c, int offset, const int* more) {
  constexpr int V = kVec<T>;
  if (more != nullptr) offset += *more;
  const T* p = table + (long long)ids[blockIdx.x] * c;
  const T* q = positions + (long long)(offset + blockIdx.x % length) * c;
  T* out = y + (long long)blockIdx.x * c;
  sum(p, q, out, c, aligned16(table, positions, y) && c % V == 0);
}

// patches: y[n, 0] = first + position[0], y[n, 1 + p] = grid[n, p] + position[1 + p].
template <typename T> inline void patches(const T* grid, const T* first, const T* position, T* y, int rows, int c) {
  constexpr int V = kVec<T>;
  const int row = blockIdx.x % rows, n = blockIdx.x / rows;
  const T* p = row == 0 ? first : grid + ((long long)n * (rows - 1) + row - 1) * c;
  const T* q = position + (long long)row * c;
  sum(p, q, y + (long long)blockIdx.x * c, c, aligned16(grid, y, first, position) && c % V == 0);
}

// append: cache[r, used + l] = rows[r, l]. Row (r, l) begins at (r * length + l) *
// stride; a sample of the cache has `capacity` rows.
template <typename T>
inline void append(const T* rows, T* cache, int length, int width, int stride, int capacity, int used, const int* more) {
  constexpr int V = kVec<T>;
  if (more != nullptr) used += *more;
  const bool vectors = aligned16(rows, cache) && width % V == 0 && stride % V == 0;
  const int r = blockIdx.x / length, l = blockIdx.x % length;
  copy(rows + (long long)blockIdx.x * stride, cache + ((long long)r * capacity + used + l) * width, width, vectors);
}

}  // namespace

#define ENTRY extern "C" __global__ void __launch_bounds__(kThreads)
#define EMBED(type, T)                                                                                                            \
  ENTRY rows_##type(const T* table, const int* ids, T* y, int n, long long table_stride, long long y_stride) {                    \
    start_dependent();                                                                                                            \
    rows(table, ids, y, n, table_stride, y_stride);                                                                               \
  }                                                                                                                               \
  ENTRY tokens_##type(const T* table, const int* ids, const T* positions, T* y, int length, int c, int offset, const int* more) { \
    start_dependent();                                                                                                            \
    tokens(table, ids, positions, y, length, c, offset, more);                                                                    \
  }                                                                                                                               \
  ENTRY patches_##type(const T* grid, const T* first, const T* position, T* y, int rows, int c) {                                 \
    start_dependent();                                                                                                            \
    patches(grid, first, position, y, rows, c);                                                                                   \
  }                                                                                                                               \
  ENTRY append_##type(const T* rows, T* cache, int length, int width, int stride, int capacity, int used, const int* more) {      \
    start_dependent();                                                                                                            \
    append(rows, cache, length, width, stride, capacity, used, more);                                                             \
  }

EMBED(f16, f16)
EMBED(f32, float)
