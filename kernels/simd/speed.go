package simd

import (
	"sync"
	"time"
)

// Speeds are how fast the formats' kernels are on this machine. Each is measured
// once, when it is first asked for. Safe for concurrent use.
type Speeds struct{ of [BF16 + 1]func() float64 }

// NewSpeeds has measured nothing yet.
func NewSpeeds() *Speeds {
	var s Speeds
	for f := range s.of {
		s.of[f] = sync.OnceValue(func() float64 { return measure(Gemm(Format(f))) })
	}
	return &s
}

// Of is how many terms of a product a core adds up in a second in a format, in the
// cache.
func (s *Speeds) Of(f Format) float64 { return s.of[f]() }

// Fastest is the kernel of the fastest of the formats up to limit: F32, and those
// for which the active level has assembly.
func (s *Speeds) Fastest(limit Format) Kernel {
	best := Gemm(F32)
	for f := BF16x3; f <= limit; f++ {
		if g := Gemm(f); g.level > Go && s.Of(f) > s.Of(best.Format) {
			best = g
		}
	}
	return best
}

func measure(g Kernel) float64 {
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
	return best
}
