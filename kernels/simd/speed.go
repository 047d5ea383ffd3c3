package simd

import (
	"sync"
	"time"
)

var (
	speeds     = map[Kernel]float64{}
	speedsLock sync.Mutex
)

// Speed is how many terms of a product a core adds up in a second in a format, as
// measured once, in the cache.
func Speed(f Format) float64 {
	g := Gemm(f)
	speedsLock.Lock()
	defer speedsLock.Unlock()
	if s, ok := speeds[g]; ok {
		return s
	}
	const k, panels, rounds, least = 128, 4, 5, 100 * time.Microsecond
	a, b := make([]float32, panels*g.LenA(k)), make([]float32, g.LenB(k))
	c := make([]float32, panels*g.MR*g.NR)
	best := 0.0
	for range rounds {
		n, start := 0, time.Now()
		for ; n == 0 || time.Since(start) < least; n++ {
			g.Set(k, a, g.LenA(k), b, 0, c, g.NR, panels*g.MR, g.NR)
		}
		best = max(best, float64(n*k*panels*g.MR*g.NR)/time.Since(start).Seconds())
	}
	speeds[g] = best
	return best
}

// Fastest is the kernel of the fastest of the formats up to limit: F32, and those
// for which the active level has assembly.
func Fastest(limit Format) Kernel {
	best := Gemm(F32)
	for f := BF16x3; f <= limit; f++ {
		if g := Gemm(f); g.level > Go && Speed(f) > Speed(best.Format) {
			best = g
		}
	}
	return best
}
