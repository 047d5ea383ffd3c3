//go:build amd64 && !noasm

package simd

import "testing"

// BenchmarkPeak is what BenchmarkTile is to be held against: multiply-adds of
// registers alone.
func BenchmarkPeak(b *testing.B) {
	for l, peak := range map[Level]func(n int){AVX2: peakAVX2, AVX512: peakAVX512} {
		if l > detect() {
			continue
		}
		lanes := 8
		if l == AVX512 {
			lanes = 16
		}
		b.Run(l.String(), func(b *testing.B) {
			const n, sums = 1000, 12
			for b.Loop() {
				peak(n)
			}
			rate(b, float64(n*sums*lanes*2), "GFLOP/s")
		})
	}
}
