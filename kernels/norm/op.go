// Package norm is layer norm, group norm and the L2 norm of rows. Statistics
// are kept in float64 on the host.
package norm

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/simd"
)

// Layer normalises each row of x [..., C], then scales by gamma and adds beta,
// both [C] (arXiv 1607.06450).
func Layer(s *engine.Stream, x, gamma, beta *engine.Tensor, eps float64) *engine.Tensor {
	c := x.Dim(-1)
	if gamma.Elems() != c || beta.Elems() != c {
		s.Fail(fmt.Errorf("norm: %s: x %v, gamma %v, beta %v", s.Path(), x.Shape(), gamma.Shape(), beta.Shape()))
	}
	y := s.New(engine.F32, x.Shape()...)
	work := engine.Work{Op: "layernorm", Out: y, FLOPs: 8 * int64(x.Elems()), Bytes: 8 * int64(x.Elems())}
	return s.Do(work, func(d engine.Device) {
		h, ok := host.On(d)
		if !ok {
			return
		}
		xs, ys, g, b := x.F32(), y.F32(), gamma.F32(), beta.F32()
		h.Range(len(xs)/c, 1+4096/c, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				row, out := xs[i*c:(i+1)*c], ys[i*c:(i+1)*c]
				var sum float64
				for _, v := range row {
					sum += float64(v)
				}
				// Where the mean is large, its rounding shows: low is the rest.
				exact := sum / float64(c)
				mean := float32(exact)
				low := float32(exact - float64(mean))
				variance := max(0, float64(simd.SumSquares(row, mean))/float64(c)-float64(low)*float64(low))
				rstd := float32(1 / math.Sqrt(variance+eps))
				for j, v := range row {
					out[j] = (v-mean-low)*rstd*g[j] + b[j]
				}
			}
		})
	})
}

// Group normalises groups of channels of x [N, ..., C] over all positions of a
// sample (arXiv 1803.08494), and applies SiLU when silu is set.
func Group(s *engine.Stream, x *engine.Tensor, groups int, gamma, beta *engine.Tensor, eps float64, silu bool) *engine.Tensor {
	c := x.Dim(-1)
	if gamma.Elems() != c || beta.Elems() != c || groups < 1 || c%groups != 0 {
		s.Fail(fmt.Errorf("norm: %s: x %v in %d groups, gamma %v, beta %v", s.Path(), x.Shape(), groups, gamma.Shape(), beta.Shape()))
	}
	y := s.New(engine.F32, x.Shape()...)
	work := engine.Work{Op: "groupnorm", Out: y, FLOPs: 8 * int64(x.Elems()), Bytes: 12 * int64(x.Elems())}
	return s.Do(work, func(d engine.Device) {
		h, ok := host.On(d)
		if !ok {
			return
		}
		n := x.Dim(0)
		positions := x.Elems() / n / c
		for i := range n {
			at := i * positions * c
			group(h, y.F32()[at:at+positions*c], x.F32()[at:at+positions*c], c, groups, gamma.F32(), beta.F32(), eps, silu)
		}
	})
}

func group(d *host.Device, y, x []float32, c, groups int, gamma, beta []float32, eps float64, silu bool) {
	positions := len(x) / c
	parts := max(1, min(4*d.Workers(), len(x)/16384))
	// Sums of each part and channel; float64 leaves nothing to lose in
	// E[x²] - E[x]².
	sums := make([]float64, parts*2*c)
	d.For(parts, func(p int) {
		sum, sq := sums[p*2*c:p*2*c+c], sums[p*2*c+c:(p+1)*2*c]
		for i := p * positions / parts; i < (p+1)*positions/parts; i++ {
			for j, v := range x[i*c : (i+1)*c] {
				f := float64(v)
				sum[j] += f
				sq[j] += f * f
			}
		}
	})
	scale, shift := make([]float32, c), make([]float32, c)
	per := c / groups
	for g := range groups {
		var sum, sq float64
		for p := range parts {
			for j := g * per; j < (g+1)*per; j++ {
				sum += sums[p*2*c+j]
				sq += sums[p*2*c+c+j]
			}
		}
		count := float64(positions * per)
		mean := sum / count
		rstd := 1 / math.Sqrt(max(sq/count-mean*mean, 0)+eps)
		for j := g * per; j < (g+1)*per; j++ {
			scale[j] = float32(rstd * float64(gamma[j]))
			// With the rounded scale, whose error the mean would multiply.
			shift[j] = float32(float64(beta[j]) - mean*float64(scale[j]))
		}
	}
	d.For(parts, func(p int) {
		for i := p * positions / parts; i < (p+1)*positions/parts; i++ {
			row := y[i*c : (i+1)*c]
			simd.ScaleShift(row, x[i*c:(i+1)*c], scale, shift)
			if silu {
				simd.SiLU(row, row)
			}
		}
	})
}

// L2 divides each row of x [..., C] by its Euclidean length.
func L2(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	y := s.New(engine.F32, x.Shape()...)
	work := engine.Work{Op: "l2", Out: y, FLOPs: 3 * int64(x.Elems()), Bytes: 8 * int64(x.Elems())}
	return s.Do(work, func(d engine.Device) {
		if _, ok := host.On(d); !ok {
			return
		}
		c := x.Dim(-1)
		xs, ys := x.F32(), y.F32()
		for i := 0; i < len(xs); i += c {
			var sum float64
			for _, v := range xs[i : i+c] {
				sum += float64(v) * float64(v)
			}
			simd.Scale(ys[i:i+c], xs[i:i+c], float32(1/math.Sqrt(sum)))
		}
	})
}
