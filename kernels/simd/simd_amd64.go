//go:build amd64 && !noasm

package simd

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// bf16Level is the level of the kernel of a format of bfloat16.
func bf16Level(f Format, l Level) Level {
	switch {
	case l == AMX:
		return AMX
	case l == AVX512 && f == BF16 && cpuid.CPU.Supports(cpuid.AVX512BF16):
		return AVX512
	}
	return Go
}

// detect asks the processor, and whether the system saves its registers.
func detect() Level {
	has := cpuid.CPU.Supports
	if !has(cpuid.AVX2, cpuid.FMA3, cpuid.F16C, cpuid.BMI2) {
		return Go
	}
	if !has(cpuid.AVX512F, cpuid.AVX512DQ, cpuid.AVX512BW, cpuid.AVX512VL) {
		return AVX2
	}
	if has(cpuid.AMXTILE, cpuid.AMXBF16, cpuid.AVX512BF16) && tilesAllowed() {
		return AMX
	}
	return AVX512
}

// p is where a slice begins; the assembly reads nothing of an empty one.
func p[T any](s []T) *T { return unsafe.SliceData(s) }

func gemmOf(l Level) Kernel {
	switch l {
	case AVX512:
		return Kernel{MR: 14, NR: 32, KR: 1, level: l}
	case AVX2:
		return Kernel{MR: 6, NR: 16, KR: 1, level: l}
	}
	return gemmGo
}

func (g Kernel) tile(k int, a []float32, lda int, b, next, c []float32, ldc, m, n int, add bool) {
	switch {
	case g.level == AMX:
		g.amx(k, a, lda, b, next, c, ldc, m, n, add)
	case g.level == AVX512 && g.Format == BF16:
		g.dp(k, a, lda, b, c, ldc, m, n, add)
	case g.level == AVX512 && add:
		tileAVX512(k, p(a), lda, p(b), p(c), ldc, m, n)
	case g.level == AVX512:
		tileSetAVX512(k, p(a), lda, p(b), p(c), ldc, m, n)
	case g.level == AVX2 && add:
		tileAVX2(k, p(a), lda, p(b), p(c), ldc, m, n)
	case g.level == AVX2:
		tileSetAVX2(k, p(a), lda, p(b), p(c), ldc, m, n)
	default:
		g.tileGo(k, a, lda, b, c, ldc, m, n, add)
	}
}

func peak(n int) int {
	const sums = 12
	switch vector {
	case AVX512:
		peakAVX512(n)
		return 2 * 16 * sums * n
	case AVX2:
		peakAVX2(n)
		return 2 * 8 * sums * n
	default:
		return peakGo(n)
	}
}

func columnMax(top, x []float32) {
	switch {
	case len(x) == 0:
	case vector == AVX512 && len(top) == 32:
		columnMaxAVX512(p(top), p(x), len(x)/32)
	case vector == AVX2 && len(top) == 16:
		columnMaxAVX2(p(top), p(x), len(x)/16)
	default:
		columnMaxGo(top, x)
	}
}

func columnExp2(x, top, sum []float32) {
	switch {
	case len(x) == 0:
	case vector == AVX512 && len(top) == 32:
		columnExp2AVX512(p(x), p(top), p(sum), len(x)/32)
	case vector == AVX2 && len(top) == 16:
		columnExp2AVX2(p(x), p(top), p(sum), len(x)/16)
	default:
		columnExp2Go(x, top, sum)
	}
}

func scaleColumns(x, by []float32) {
	switch {
	case len(x) == 0:
	case vector == AVX512 && len(by) == 32:
		scaleColumnsAVX512(p(x), p(by), len(x)/32)
	case vector == AVX2 && len(by) == 16:
		scaleColumnsAVX2(p(x), p(by), len(x)/16)
	default:
		scaleColumnsGo(x, by)
	}
}

// packTransposed transposes the first columns of the first rows of src, as many of
// both as it returns: 16 or 8, or 14 or 6 where that is a panel.
func packTransposed(dst, src []float32, ld, rows, k, r int) (n, done int) {
	whole := k / 4
	switch {
	case whole == 0:
	case vector >= AVX512 && rows >= 16:
		transpose16AVX512(p(dst), p(src), ld, r, whole)
		return 16, 4 * whole
	case vector >= AVX512 && rows == 14 && r == 14:
		transpose14AVX512(p(dst), p(src), ld, r, whole)
		return 14, 4 * whole
	case vector >= AVX2 && rows >= 8:
		transpose8AVX2(p(dst), p(src), ld, r, whole)
		return 8, 4 * whole
	case vector >= AVX2 && rows == 6 && r == 6:
		transpose6AVX2(p(dst), p(src), ld, r, whole)
		return 6, 4 * whole
	}
	return rows, 0
}

// packPanel copies a whole panel of PackCols, if there is assembly for it.
func packPanel(dst, src []float32, ld, k, r int) bool {
	switch {
	case vector >= AVX512 && r == 32:
		copyCols32AVX512(p(dst), p(src), ld, k)
	case vector >= AVX512 && r == 14:
		copyCols14AVX512(p(dst), p(src), ld, k)
	case vector >= AVX2 && r == 16:
		copyCols16AVX2(p(dst), p(src), ld, k)
	case vector >= AVX2 && r == 6:
		copyCols6AVX2(p(dst), p(src), ld, k)
	default:
		return false
	}
	return true
}

func dot(a, b []float32) float32 {
	switch vector {
	case AVX512:
		return dotAVX512(p(a), p(b), len(a))
	case AVX2:
		return dotAVX2(p(a), p(b), len(a))
	default:
		return dotGo(a, b)
	}
}

func axpy(alpha float32, x, y []float32) {
	switch vector {
	case AVX512:
		axpyAVX512(alpha, p(x), p(y), len(x))
	case AVX2:
		axpyAVX2(alpha, p(x), p(y), len(x))
	default:
		axpyGo(alpha, x, y)
	}
}

func add(dst, a, b []float32) {
	switch vector {
	case AVX512:
		addAVX512(p(dst), p(a), p(b), len(dst))
	case AVX2:
		addAVX2(p(dst), p(a), p(b), len(dst))
	default:
		addGo(dst, a, b)
	}
}

func mul(dst, a, b []float32) {
	switch vector {
	case AVX512:
		mulAVX512(p(dst), p(a), p(b), len(dst))
	case AVX2:
		mulAVX2(p(dst), p(a), p(b), len(dst))
	default:
		mulGo(dst, a, b)
	}
}

func scale(dst, a []float32, alpha float32) {
	switch vector {
	case AVX512:
		scaleAVX512(p(dst), p(a), alpha, len(dst))
	case AVX2:
		scaleAVX2(p(dst), p(a), alpha, len(dst))
	default:
		scaleGo(dst, a, alpha)
	}
}

func scaleShift(dst, x, scale, shift []float32) {
	switch vector {
	case AVX512:
		scaleShiftAVX512(p(dst), p(x), p(scale), p(shift), len(dst))
	case AVX2:
		scaleShiftAVX2(p(dst), p(x), p(scale), p(shift), len(dst))
	default:
		scaleShiftGo(dst, x, scale, shift)
	}
}

func sum(x []float32) float32 {
	switch vector {
	case AVX512:
		return sumAVX512(p(x), len(x))
	case AVX2:
		return sumAVX2(p(x), len(x))
	default:
		return sumGo(x)
	}
}

func moments(x []float32, at float32) (sum, squares float32) {
	switch vector {
	case AVX512:
		return momentsAVX512(p(x), at, len(x))
	case AVX2:
		return momentsAVX2(p(x), at, len(x))
	default:
		return momentsGo(x, at)
	}
}

func columnMoments(sum, squares, x, at []float32) {
	switch vector {
	case AVX512:
		columnMomentsAVX512(p(sum), p(squares), p(x), p(at), len(x)/len(sum), len(sum))
	case AVX2:
		columnMomentsAVX2(p(sum), p(squares), p(x), p(at), len(x)/len(sum), len(sum))
	default:
		columnMomentsGo(sum, squares, x, at)
	}
}

func normalise(dst, x, gamma, beta []float32, mean, low, rstd float32) {
	switch vector {
	case AVX512:
		normaliseAVX512(p(dst), p(x), p(gamma), p(beta), mean, low, rstd, len(dst))
	case AVX2:
		normaliseAVX2(p(dst), p(x), p(gamma), p(beta), mean, low, rstd, len(dst))
	default:
		normaliseGo(dst, x, gamma, beta, mean, low, rstd)
	}
}

func maxVal(x []float32) float32 {
	switch vector {
	case AVX512:
		return maxValAVX512(p(x), len(x))
	case AVX2:
		return maxValAVX2(p(x), len(x))
	default:
		return maxValGo(x)
	}
}

func expSub(dst, x []float32, sub float32) float32 {
	switch vector {
	case AVX512:
		return expSubAVX512(p(dst), p(x), sub, len(dst))
	case AVX2:
		return expSubAVX2(p(dst), p(x), sub, len(dst))
	default:
		return expSubGo(dst, x, sub)
	}
}

func silu(dst, x []float32) {
	switch vector {
	case AVX512:
		siluAVX512(p(dst), p(x), len(dst))
	case AVX2:
		siluAVX2(p(dst), p(x), len(dst))
	default:
		siluGo(dst, x)
	}
}

func quickGELU(dst, x []float32) {
	switch vector {
	case AVX512:
		quickGELUAVX512(p(dst), p(x), len(dst))
	case AVX2:
		quickGELUAVX2(p(dst), p(x), len(dst))
	default:
		quickGELUGo(dst, x)
	}
}

func gelu(dst, x []float32) {
	switch vector {
	case AVX512:
		geluAVX512(p(dst), p(x), len(dst))
	case AVX2:
		geluAVX2(p(dst), p(x), len(dst))
	default:
		geluGo(dst, x)
	}
}

func geluTanh(dst, x []float32) {
	switch vector {
	case AVX512:
		geluTanhAVX512(p(dst), p(x), len(dst))
	case AVX2:
		geluTanhAVX2(p(dst), p(x), len(dst))
	default:
		geluTanhGo(dst, x)
	}
}

func tanh(dst, x []float32) {
	switch vector {
	case AVX512:
		tanhAVX512(p(dst), p(x), len(dst))
	case AVX2:
		tanhAVX2(p(dst), p(x), len(dst))
	default:
		tanhGo(dst, x)
	}
}

func fromF16(dst []float32, src []uint16) {
	n := 0
	switch {
	case vector == AVX512 && len(dst) >= 16:
		n = len(dst) &^ 15
		fromF16AVX512(p(dst), p(src), n)
	case vector >= AVX2 && len(dst) >= 8:
		n = len(dst) &^ 7
		fromF16AVX2(p(dst), p(src), n)
	}
	fromF16Go(dst[n:], src[n:])
}

func fromBF16(dst []float32, src []uint16) {
	n := 0
	switch {
	case vector == AVX512 && len(dst) >= 16:
		n = len(dst) &^ 15
		fromBF16AVX512(p(dst), p(src), n)
	case vector >= AVX2 && len(dst) >= 8:
		n = len(dst) &^ 7
		fromBF16AVX2(p(dst), p(src), n)
	}
	fromBF16Go(dst[n:], src[n:])
}

func toF16(dst []uint16, src []float32) {
	n := 0
	switch {
	case vector == AVX512 && len(dst) >= 16:
		n = len(dst) &^ 15
		toF16AVX512(p(dst), p(src), n)
	case vector >= AVX2 && len(dst) >= 8:
		n = len(dst) &^ 7
		toF16AVX2(p(dst), p(src), n)
	}
	toF16Go(dst[n:], src[n:])
}

func toBF16(dst []uint16, src []float32) {
	n := 0
	switch {
	case vector == AVX512 && len(dst) >= 16:
		n = len(dst) &^ 15
		toBF16AVX512(p(dst), p(src), n)
	case vector >= AVX2 && len(dst) >= 8:
		n = len(dst) &^ 7
		toBF16AVX2(p(dst), p(src), n)
	}
	toBF16Go(dst[n:], src[n:])
}

type winogradFunc func(dst, src *float32, dstStride, dstStep, srcStride, srcStep, n, count int)

func (f winogradFunc) run(dst, src Lines, n, count int) {
	f(p(dst.Data), p(src.Data), 4*dst.Stride, 4*dst.Step, 4*src.Stride, 4*src.Step, n, count)
}

func (w *Winograd) input(dst, src Lines, n, count int) {
	switch {
	case vector == AVX512 && w.M == 4:
		winogradFunc(winogradInput4AVX512).run(dst, src, n, count)
	case vector == AVX512:
		winogradFunc(winogradInput6AVX512).run(dst, src, n, count)
	case vector == AVX2 && w.M == 4:
		winogradFunc(winogradInput4AVX2).run(dst, src, n, count)
	case vector == AVX2:
		winogradFunc(winogradInput6AVX2).run(dst, src, n, count)
	default:
		w.inputGo(dst, src, n, count)
	}
}

func (w *Winograd) filter(dst, src Lines, n, count int) {
	switch {
	case vector == AVX512 && w.M == 4:
		winogradFunc(winogradFilter4AVX512).run(dst, src, n, count)
	case vector == AVX512:
		winogradFunc(winogradFilter6AVX512).run(dst, src, n, count)
	case vector == AVX2 && w.M == 4:
		winogradFunc(winogradFilter4AVX2).run(dst, src, n, count)
	case vector == AVX2:
		winogradFunc(winogradFilter6AVX2).run(dst, src, n, count)
	default:
		w.filterGo(dst, src, n, count)
	}
}

func (w *Winograd) output(dst, src Lines, n, count int) {
	switch {
	case vector == AVX512 && w.M == 4:
		winogradFunc(winogradOutput4AVX512).run(dst, src, n, count)
	case vector == AVX512:
		winogradFunc(winogradOutput6AVX512).run(dst, src, n, count)
	case vector == AVX2 && w.M == 4:
		winogradFunc(winogradOutput4AVX2).run(dst, src, n, count)
	case vector == AVX2:
		winogradFunc(winogradOutput6AVX2).run(dst, src, n, count)
	default:
		w.outputGo(dst, src, n, count)
	}
}

func combine(dst, src Lines, c [3]float32, n, count int) {
	f := combineAVX2
	switch vector {
	case Go:
		combineGo(dst, src, c, n, count)
		return
	case AVX512:
		f = combineAVX512
	}
	f(p(dst.Data), p(src.Data), 4*dst.Stride, 4*dst.Step, 4*src.Stride, 4*src.Step, n, count, c[0], c[1], c[2])
}

func addLines(dst, x, y Lines, n, count int) {
	f := addLinesAVX2
	switch vector {
	case Go:
		addLinesGo(dst, x, y, n, count)
		return
	case AVX512:
		f = addLinesAVX512
	}
	f(p(dst.Data), p(x.Data), p(y.Data), 4*dst.Step, 4*x.Step, 4*y.Step, n, count)
}

// Caches are the sizes in bytes of a core's second-level cache and of the one
// behind it, or what most machines have at least where they do not say.
func Caches() (second, third int) {
	second, third = 512<<10, 8<<20
	if n := cpuid.CPU.Cache.L2; n > 0 {
		second = n
	}
	if n := cpuid.CPU.Cache.L3; n > 0 {
		third = n
	}
	return second, third
}
