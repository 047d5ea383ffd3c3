package simd

import (
	"fmt"
	"testing"
)

// benchLevels runs f as a sub-benchmark at every level this machine has.
func benchLevels(b *testing.B, f func(b *testing.B)) {
	for l := Go; l <= detect(); l++ {
		b.Run(l.String(), func(b *testing.B) {
			defer use(active)
			use(l)
			f(b)
		})
	}
}

func benchKernels(b *testing.B, f func(b *testing.B, g Kernel)) {
	benchLevels(b, func(b *testing.B) {
		for _, format := range []Format{F32, BF16x3, BF16} {
			if g := Gemm(format); format == F32 || g.level > Go {
				b.Run(format.String(), func(b *testing.B) { f(b, g) })
			}
		}
	})
}

func rate(b *testing.B, perOp float64, unit string) {
	b.ReportMetric(perOp*float64(b.N)/b.Elapsed().Seconds()/1e9, unit)
}

// BenchmarkPeak is what BenchmarkTile is to be held against.
func BenchmarkPeak(b *testing.B) {
	benchLevels(b, func(b *testing.B) {
		n := 0
		for b.Loop() {
			n = Peak(1000)
		}
		rate(b, float64(n), "GFLOP/s")
	})
}

func BenchmarkTile(b *testing.B) {
	benchKernels(b, func(b *testing.B, g Kernel) {
		const k = 384
		shapes := [][2]int{{g.MR, g.NR}, {g.MR, g.NR - 1}, {g.MR / 2, g.NR}, {g.MR, g.NR / 2}, {g.MR / 2, g.NR / 2}, {8 * g.MR, g.NR}}
		for _, s := range shapes {
			b.Run(fmt.Sprintf("%dx%dx%d", s[0], s[1], k), func(b *testing.B) {
				a, x, c := random(b, 8*g.LenA(k)), random(b, g.LenB(k)), random(b, 8*g.MR*320)
				for b.Loop() {
					g.Tile(k, a, g.LenA(k), x, 0, c, 320, s[0], s[1])
				}
				rate(b, float64(2*s[0]*s[1]*k), "GFLOP/s")
			})
		}
	})
}

func BenchmarkPack(b *testing.B) {
	const rows, k = 14 * 32, 384
	benchKernels(b, func(b *testing.B, g Kernel) {
		src, dst := random(b, rows*k), make([]float32, (rows+32)*k)
		for _, c := range []struct {
			name string
			run  func()
		}{
			{"A", func() { g.PackA(dst, src, k, rows, k) }},
			{"AT", func() { g.PackAT(dst, src, k, rows, k) }},
			{"B", func() { g.PackB(dst, src, k, rows, k) }},
			{"BT", func() { g.PackBT(dst, src, k, rows, k) }},
		} {
			b.Run(c.name, func(b *testing.B) {
				for b.Loop() {
					c.run()
				}
				rate(b, rows*k*4, "GB/s")
			})
		}
	})
}

func BenchmarkVec(b *testing.B) {
	const n = 4096
	x, y, z, w := random(b, n), random(b, n), random(b, n), random(b, n)
	h := make([]uint16, n)
	ToF16(h, x)
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"Dot", func() { Dot(x, y) }},
		{"Axpy", func() { Axpy(1e-9, x, y) }},
		{"Add", func() { Add(z, x, y) }},
		{"ScaleShift", func() { ScaleShift(z, x, y, w) }},
		{"Sum", func() { Sum(x) }},
		{"Moments", func() { Moments(x, 1) }},
		{"MaxVal", func() { MaxVal(x) }},
		{"ExpSub", func() { ExpSub(z, x, 1) }},
		{"ColumnExp2", func() { // of zeros: what it makes stays in its range
			clear(z)
			nr := Gemm(F32).NR
			ColumnExp2(z, y[:nr], w[:nr])
		}},
		{"SiLU", func() { SiLU(z, x) }},
		{"QuickGELU", func() { QuickGELU(z, x) }},
		{"GELU", func() { GELU(z, x) }},
		{"GELUTanh", func() { GELUTanh(z, x) }},
		{"Tanh", func() { Tanh(z, x) }},
		{"FromF16", func() { FromF16(z, h) }},
		{"FromBF16", func() { FromBF16(z, h) }},
		{"ToF16", func() { ToF16(h, x) }},
		{"ToBF16", func() { ToBF16(h, x) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			benchLevels(b, func(b *testing.B) {
				for b.Loop() {
					c.run()
				}
				rate(b, n, "Gelem/s")
			})
		})
	}
}
