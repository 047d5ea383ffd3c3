//go:build !amd64 || noasm

package simd

func detect() Level { return Go }

func bf16Level(Format, Level) Level { return Go }

func gemmOf(Level) Kernel { return gemmGo }

func (g Kernel) rows(dst, src []float32, from []int, k int) { g.rowsGo(dst, src, from, k) }
func (g Kernel) pairs(dst, src []float32, ld, k, n int)     { g.pairsGo(dst, src, ld, k, n) }

func (g Kernel) pairsExp2(dst, x, top, sum []float32) bool { return false }

func (g Kernel) tile(k int, a []float32, lda int, b, _, c []float32, ldc, m, n int, add bool) {
	g.tileGo(k, a, lda, b, c, ldc, m, n, add)
}

func peak(n int) int                                                      { return peakGo(n) }
func columnMax(top, x []float32)                                          { columnMaxGo(top, x) }
func columnExp2(x, top, sum []float32)                                    { columnExp2Go(x, top, sum) }
func scaleColumns(x, by []float32)                                        { scaleColumnsGo(x, by) }
func packTransposed(dst, src []float32, ld, rows, k, r int) (n, done int) { return rows, 0 }
func packPanel(dst, src []float32, ld, k, r int) bool                     { return false }
func dot(a, b []float32) float32                                          { return dotGo(a, b) }
func axpy(alpha float32, x, y []float32)                                  { axpyGo(alpha, x, y) }
func add(dst, a, b []float32)                                             { addGo(dst, a, b) }
func mul(dst, a, b []float32)                                             { mulGo(dst, a, b) }
func scale(dst, a []float32, alpha float32)                               { scaleGo(dst, a, alpha) }
func scaleShift(dst, x, scale, shift []float32)                           { scaleShiftGo(dst, x, scale, shift) }
func sum(x []float32) float32                                             { return sumGo(x) }
func moments(x []float32, at float32) (sum, squares float32)              { return momentsGo(x, at) }
func columnMoments(sum, squares, x, at []float32)                         { columnMomentsGo(sum, squares, x, at) }
func normalise(dst, x, gamma, beta []float32, mean, low, rstd float32) {
	normaliseGo(dst, x, gamma, beta, mean, low, rstd)
}
func maxVal(x []float32) float32                   { return maxValGo(x) }
func expSub(dst, x []float32, sub float32) float32 { return expSubGo(dst, x, sub) }
func silu(dst, x []float32)                        { siluGo(dst, x) }
func quickGELU(dst, x []float32)                   { quickGELUGo(dst, x) }
func gelu(dst, x []float32)                        { geluGo(dst, x) }
func geluTanh(dst, x []float32)                    { geluTanhGo(dst, x) }
func tanh(dst, x []float32)                        { tanhGo(dst, x) }
func fromF16(dst []float32, src []uint16)          { fromF16Go(dst, src) }
func fromBF16(dst []float32, src []uint16)         { fromBF16Go(dst, src) }
func toF16(dst []uint16, src []float32)            { toF16Go(dst, src) }
func toBF16(dst []uint16, src []float32)           { toBF16Go(dst, src) }

func (w *Winograd) input(dst, src Lines, n, count int)   { w.inputGo(dst, src, n, count) }
func (w *Winograd) filter(dst, src Lines, n, count int)  { w.filterGo(dst, src, n, count) }
func (w *Winograd) output(dst, src Lines, n, count int)  { w.outputGo(dst, src, n, count) }
func combine(dst, src Lines, c [3]float32, n, count int) { combineGo(dst, src, c, n, count) }
func addLines(dst, x, y Lines, n, count int)             { addLinesGo(dst, x, y, n, count) }

// Caches are what most machines have at least: bytes of a core's second-level
// cache and of the one behind it.
func Caches() (second, third int) { return 512 << 10, 8 << 20 }
