// Package simd holds the inner loops of the CPU: the matrix product's
// micro-kernel with its packing, and elementwise and reducing functions of
// float32 slices. Each exists as pure Go, which documents it and runs
// everywhere, and as AVX2 and AVX-512 assembly that asm/ generates; products
// of bfloat16 are written by hand, for AMX and AVX512_BF16. Build with -tags
// noasm for the pure Go alone.
//
// Slices that a function combines are taken at the length of the first; it
// panics when another one's capacity is smaller. A destination may be one of
// the sources, but not overlap it otherwise.
package simd

import (
	"math"
	"os"
)

//go:generate go run ./asm -out simd_amd64.s -stubs stubs_amd64.go -pkg simd

// Level is an instruction set, lowest first.
type Level int

// The levels: pure Go, AVX2 with FMA and F16C, AVX-512 F, DQ, BW and VL, and
// that with AMX's tiles of bfloat16.
const (
	Go Level = iota
	AVX2
	AVX512
	AMX
)

func (l Level) String() string {
	switch l {
	case AVX2:
		return "avx2"
	case AVX512:
		return "avx512"
	case AMX:
		return "amx"
	}
	return "go"
}

// active is the level of products of bfloat16, vector that of everything else. They
// are what the processor has and do not change while a program runs; tests lower
// them.
var active, vector = levels(Best())

func levels(l Level) (active, vector Level) { return l, min(l, AVX512) }

// Best is the highest level that this build and this machine have. The
// environment variable PARLEY_SIMD (go, avx2, avx512 or amx) can lower it.
func Best() Level {
	have := detect()
	switch os.Getenv("PARLEY_SIMD") {
	case "go":
		return Go
	case "avx2":
		return min(have, AVX2)
	case "avx512":
		return min(have, AVX512)
	}
	return have
}

// Active is the level that the functions of this package use: Best, as it
// was when the program started.
func Active() Level { return active }

// Vector names the method of functions of vectors in records: "vectors avx512".
func Vector() string {
	return [...]string{Go: "vectors go", AVX2: "vectors avx2", AVX512: "vectors avx512", AMX: "vectors amx"}[vector]
}

// Peak runs n rounds of multiply-adds that wait for nothing, and returns how many
// floating-point operations these were: the speed that others are held against.
func Peak(n int) int { return peak(max(n, 1)) }

// Dot returns the inner product of a and b.
func Dot(a, b []float32) float32 { return dot(a, b[:len(a)]) }

// Axpy adds alpha x to y.
func Axpy(alpha float32, x, y []float32) { axpy(alpha, x, y[:len(x)]) }

// Add sets dst to a + b.
func Add(dst, a, b []float32) { add(dst, a[:len(dst)], b[:len(dst)]) }

// Mul sets dst to a times b, elementwise.
func Mul(dst, a, b []float32) { mul(dst, a[:len(dst)], b[:len(dst)]) }

// Scale sets dst to alpha a.
func Scale(dst, a []float32, alpha float32) { scale(dst, a[:len(dst)], alpha) }

// ScaleShift sets dst to x*scale + shift, elementwise.
func ScaleShift(dst, x, scale, shift []float32) {
	scaleShift(dst, x[:len(dst)], scale[:len(dst)], shift[:len(dst)])
}

// Sum returns the sum of x.
func Sum(x []float32) float32 { return sum(x) }

// Moments returns the sums of x-at and of (x-at)².
func Moments(x []float32, at float32) (sum, squares float32) { return moments(x, at) }

// ColumnMoments sets sum and squares to the sums of x-at and of (x-at)² down
// the columns of x, whose rows are as long as sum.
func ColumnMoments(sum, squares, x, at []float32) {
	n := len(sum)
	if n == 0 || len(x) < n {
		clear(sum)
		clear(squares[:n])
		return
	}
	columnMoments(sum, squares[:n], x[:len(x)/n*n], at[:n])
}

// Normalise sets dst to (x-mean-low) rstd gamma + beta, elementwise in gamma
// and beta. The mean has two parts because its rounding shows where it is
// large.
func Normalise(dst, x, gamma, beta []float32, mean, low, rstd float32) {
	normalise(dst, x[:len(dst)], gamma[:len(dst)], beta[:len(dst)], mean, low, rstd)
}

// MaxVal returns the largest element, -Inf for an empty slice. What it
// returns where x holds a NaN is not defined.
func MaxVal(x []float32) float32 { return maxVal(x) }

// ExpSub sets dst to exp(x-sub) and returns its sum, the two middle steps of
// a softmax whose maximum is sub. An x of -Inf gives 0, also where sub is
// -Inf because a whole row is masked.
func ExpSub(dst, x []float32, sub float32) float32 {
	if math.IsInf(float64(sub), -1) {
		sub = 0
	}
	return expSub(dst, x[:len(dst)], sub)
}

// ColumnMax raises top to the largest element of each column of x, whose rows
// are as long as top.
func ColumnMax(top, x []float32) {
	if len(top) > 0 {
		columnMax(top, x[:len(x)/len(top)*len(top)])
	}
}

// ColumnExp2 sets each element of x, whose rows are as long as top, to 2^(x -
// top) and adds the columns to sum: a softmax over the columns whose maxima are
// about top. Below 2^-126 it gives 0, as for an x of -Inf under a finite top. No x is
// 127 above its top.
func ColumnExp2(x, top, sum []float32) {
	if len(top) > 0 {
		columnExp2(x[:len(x)/len(top)*len(top)], top, sum[:len(top)])
	}
}

// ScaleColumns multiplies each column of x, whose rows are as long as by, by a number
// of its own.
func ScaleColumns(x, by []float32) {
	if len(by) > 0 {
		scaleColumns(x[:len(x)/len(by)*len(by)], by)
	}
}

// SiLU sets dst to x sigmoid(x).
func SiLU(dst, x []float32) { silu(dst, x[:len(dst)]) }

// QuickGELU sets dst to x sigmoid(1.702 x), CLIP's activation.
func QuickGELU(dst, x []float32) { quickGELU(dst, x[:len(dst)]) }

// GELU sets dst to x Φ(x), with the exact normal distribution.
func GELU(dst, x []float32) { gelu(dst, x[:len(dst)]) }

// GELUTanh sets dst to the tanh approximation of GELU,
// x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))).
func GELUTanh(dst, x []float32) { geluTanh(dst, x[:len(dst)]) }

// Tanh sets dst to tanh(x).
func Tanh(dst, x []float32) { tanh(dst, x[:len(dst)]) }

// FromF16 widens float16.
func FromF16(dst []float32, src []uint16) { fromF16(dst, src[:len(dst)]) }

// FromBF16 widens bfloat16 values.
func FromBF16(dst []float32, src []uint16) { fromBF16(dst, src[:len(dst)]) }

// ToF16 rounds to float16, to nearest even; what is too large
// becomes Inf.
func ToF16(dst []uint16, src []float32) { toF16(dst, src[:len(dst)]) }

// ToBF16 rounds to bfloat16, to nearest even: for weights that are stored so.
func ToBF16(dst []uint16, src []float32) { toBF16(dst, src[:len(dst)]) }
