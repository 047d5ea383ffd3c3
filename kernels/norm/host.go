package norm

import (
	"math"

	"parley/engine/host"
	"parley/kernels/simd"
)

// layerOnHost takes the moments around a mean that is nearly right, so that
// nothing cancels, and then corrects it.
func layerOnHost(h *host.Device, c int, x, y, gamma, beta []float32, eps float64) {
	h.Range(len(x)/c, 1+16384/c, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := x[i*c : (i+1)*c]
			mean := simd.Sum(row) / float32(c)
			sum, squares := simd.Moments(row, mean)
			off := float64(sum) / float64(c)
			exact := float64(mean) + off
			variance := max(0, float64(squares)/float64(c)-off*off)
			// Where the mean is large, its rounding shows: low is the rest.
			mean = float32(exact)
			low := float32(exact - float64(mean))
			simd.Normalise(y[i*c:(i+1)*c], row, gamma, beta, mean, low, float32(1/math.Sqrt(variance+eps)))
		}
	})
}

// grouped normalises one sample, whose channels lie in up to two inputs.
type grouped struct {
	d           *host.Device
	in          [2][]float32
	widths      [2]int
	positions   int
	groups      int
	gamma, beta []float32
	eps         float64
	silu        bool
}

// rows of a sample's positions are summed up in f32 before float64 takes the
// sums.
const rows = 32

func (g *grouped) run(y []float32) {
	c := g.widths[0] + g.widths[1]
	if len(y) == 0 {
		return
	}
	parts := max(1, min(4*g.d.Workers(), len(y)/16384))
	// Each channel's moments are taken around its mean at the first positions:
	// near enough to the mean of all that neither the sums nor the variance of
	// the group, which is found in float64, lose digits to it.
	around, few := make([]float32, c), make([]float32, 2*c)
	at := 0
	for k, w := range g.widths {
		n, a := min(rows, g.positions), around[at:at+w]
		copy(a, g.in[k][:w])
		simd.ColumnMoments(few[:w], few[w:2*w], g.in[k][:n*w], a)
		simd.Axpy(1/float32(n), few[:w], a)
		at += w
	}
	sums := make([]float64, parts*2*c)
	g.d.For(parts, func(p int) {
		few := make([]float32, 2*max(g.widths[0], g.widths[1]))
		sum, squares := sums[p*2*c:p*2*c+c], sums[p*2*c+c:(p+1)*2*c]
		lo, hi := p*g.positions/parts, (p+1)*g.positions/parts
		for i := lo; i < hi; i += rows {
			n, at := min(rows, hi-i), 0
			for k, w := range g.widths {
				s, q := few[:w], few[w:2*w]
				simd.ColumnMoments(s, q, g.in[k][i*w:(i+n)*w], around[at:at+w])
				for j, v := range s {
					sum[at+j] += float64(v)
					squares[at+j] += float64(q[j])
				}
				at += w
			}
		}
	})
	scale, shift := make([]float32, c), make([]float32, c)
	per := c / g.groups
	for k := range g.groups {
		count := float64(g.positions)
		var sum, squares float64
		for j := k * per; j < (k+1)*per; j++ {
			for p := range parts {
				sum += sums[p*2*c+j]
			}
			sum += count * float64(around[j])
		}
		mean := sum / (count * float64(per))
		for j := k * per; j < (k+1)*per; j++ {
			off := float64(around[j]) - mean
			for p := range parts {
				squares += sums[p*2*c+c+j] + 2*off*sums[p*2*c+j]
			}
			squares += count * off * off
		}
		rstd := 1 / math.Sqrt(max(squares, 0)/(count*float64(per))+g.eps)
		for j := k * per; j < (k+1)*per; j++ {
			scale[j] = float32(rstd * float64(g.gamma[j]))
			// With the rounded scale, whose error the mean would multiply.
			shift[j] = float32(float64(g.beta[j]) - mean*float64(scale[j]))
		}
	}
	g.d.For(parts, func(p int) {
		for i := p * g.positions / parts; i < (p+1)*g.positions/parts; i++ {
			row := y[i*c : (i+1)*c]
			at := 0
			for k, w := range g.widths {
				simd.ScaleShift(row[at:at+w], g.in[k][i*w:(i+1)*w], scale[at:at+w], shift[at:at+w])
				at += w
			}
			if g.silu {
				simd.SiLU(row, row)
			}
		}
	})
}
