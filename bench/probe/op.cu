// What memory and the second-level cache give: streams of 16 bytes a thread, four of
// them in flight, past the first-level cache. Whole blocks of 512 threads walk the
// buffer `rounds` times; a buffer that fits in the second-level cache is read from
// there but the first time.
//
// Bound: bytes. 512 threads x 4 x 16 B = 32 KiB in flight a block, two blocks a
// multiprocessor.

constexpr int kThreads = 512, kUnroll = 4;

extern "C" __global__ void __launch_bounds__(kThreads) probe_read(const uint4 *x, unsigned n, int rounds, unsigned *sink)
{
    unsigned sum = 0;
    const unsigned step = gridDim.x * kThreads;
    for (int r = 0; r < rounds; r++)
        for (unsigned i = blockIdx.x * kThreads + threadIdx.x; i < n; i += kUnroll * step) {
            uint4 v[kUnroll];
#pragma unroll
            for (int u = 0; u < kUnroll; u++)
                v[u] = i + u * step < n ? __ldcg(x + i + u * step) : make_uint4(0, 0, 0, 0);
#pragma unroll
            for (int u = 0; u < kUnroll; u++)
                sum += v[u].x ^ v[u].y ^ v[u].z ^ v[u].w;
        }
    // Read by whoever wants to know whether all was read.
    atomicAdd(sink, sum);
}

extern "C" __global__ void __launch_bounds__(kThreads) probe_copy(const uint4 *x, uint4 *y, unsigned n, int rounds)
{
    const unsigned step = gridDim.x * kThreads;
    for (int r = 0; r < rounds; r++)
        for (unsigned i = blockIdx.x * kThreads + threadIdx.x; i < n; i += kUnroll * step) {
            uint4 v[kUnroll];
#pragma unroll
            for (int u = 0; u < kUnroll; u++)
                if (i + u * step < n)
                    v[u] = __ldcg(x + i + u * step);
#pragma unroll
            for (int u = 0; u < kUnroll; u++)
                if (i + u * step < n)
                    __stcg(y + i + u * step, v[u]);
        }
}
