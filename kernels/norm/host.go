package norm

import (
	"math"

	"parley/engine/host"
	"parley/kernels/simd"
)

// layered normalises rows of c numbers.
type layered struct {
	c                 int
	x, y, gamma, beta []float32
	eps               float64
}

func layerOnHost(h *host.Device, c int, x, y, gamma, beta []float32, eps float64) {
	l := host.Scratch[layered](h)
	*l = layered{c, x, y, gamma, beta, eps}
	h.RunRange(len(x)/c, 1+16384/c, l)
	*l = layered{}
	host.Recycle(h, l)
}

// DoRange takes the moments of rows lo to hi around a mean that is nearly right, so
// that nothing cancels, and then corrects it.
func (l *layered) DoRange(lo, hi int) {
	c := l.c
	for i := lo; i < hi; i++ {
		row := l.x[i*c : (i+1)*c]
		mean := simd.Sum(row) / float32(c)
		sum, squares := simd.Moments(row, mean)
		off := float64(sum) / float64(c)
		exact := float64(mean) + off
		variance := max(0, float64(squares)/float64(c)-off*off)
		// Where the mean is large, its rounding shows: low is the rest.
		mean = float32(exact)
		low := float32(exact - float64(mean))
		simd.Normalise(l.y[i*c:(i+1)*c], row, l.gamma, l.beta, mean, low, float32(1/math.Sqrt(variance+l.eps)))
	}
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

	y                         []float32
	parts                     int       // of the positions
	normalise                 bool      // the second pass
	around, scale, shift, few []float32 // by channel; few by part
	sums                      []float64 // by part: sums of the channels, and of their squares
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
	few := 2 * max(g.widths[0], g.widths[1])
	mem, _ := g.d.Alloc(4 * (3*c + parts*few))
	wide, _ := g.d.Alloc(8 * parts * 2 * c)
	buf := mem.F32()
	g.y, g.parts, g.normalise = y, parts, false
	g.around, g.scale, g.shift, g.few = buf[:c], buf[c:2*c], buf[2*c:3*c], buf[3*c:]
	g.sums = wide.F64()[:parts*2*c]
	// Each channel's moments are taken around its mean at the first positions:
	// near enough to the mean of all that neither the sums nor the variance of
	// the group, which is found in float64, lose digits to it.
	at := 0
	for k, w := range g.widths {
		n, a := min(rows, g.positions), g.around[at:at+w]
		copy(a, g.in[k][:w])
		simd.ColumnMoments(g.few[:w], g.few[w:2*w], g.in[k][:n*w], a)
		simd.Axpy(1/float32(n), g.few[:w], a)
		at += w
	}
	clear(g.sums)
	g.d.Run(parts, g)
	sums := g.sums
	per := c / g.groups
	for k := range g.groups {
		count := float64(g.positions)
		var sum, squares float64
		for j := k * per; j < (k+1)*per; j++ {
			for p := range parts {
				sum += sums[p*2*c+j]
			}
			sum += count * float64(g.around[j])
		}
		mean := sum / (count * float64(per))
		for j := k * per; j < (k+1)*per; j++ {
			off := float64(g.around[j]) - mean
			for p := range parts {
				squares += sums[p*2*c+c+j] + 2*off*sums[p*2*c+j]
			}
			squares += count * off * off
		}
		rstd := 1 / math.Sqrt(max(squares, 0)/(count*float64(per))+g.eps)
		for j := k * per; j < (k+1)*per; j++ {
			g.scale[j] = float32(rstd * float64(g.gamma[j]))
			// With the rounded scale, whose error the mean would multiply.
			g.shift[j] = float32(float64(g.beta[j]) - mean*float64(g.scale[j]))
		}
	}
	g.normalise = true
	g.d.Run(parts, g)
	g.d.Free(mem)
	g.d.Free(wide)
}

// workspace is what run kept, in bytes.
func (g *grouped) workspace() int {
	c := g.widths[0] + g.widths[1]
	return 4*(3*c+g.parts*2*max(g.widths[0], g.widths[1])) + 8*g.parts*2*c
}

// Do sums up a part of the positions, or normalises them.
func (g *grouped) Do(p int) {
	lo, hi := p*g.positions/g.parts, (p+1)*g.positions/g.parts
	if g.normalise {
		g.write(lo, hi)
		return
	}
	c := g.widths[0] + g.widths[1]
	room := len(g.few) / g.parts
	few := g.few[p*room : (p+1)*room]
	sum, squares := g.sums[p*2*c:p*2*c+c], g.sums[p*2*c+c:(p+1)*2*c]
	for i := lo; i < hi; i += rows {
		n, at := min(rows, hi-i), 0
		for k, w := range g.widths {
			s, q := few[:w], few[w:2*w]
			simd.ColumnMoments(s, q, g.in[k][i*w:(i+n)*w], g.around[at:at+w])
			for j, v := range s {
				sum[at+j] += float64(v)
				squares[at+j] += float64(q[j])
			}
			at += w
		}
	}
}

// write normalises positions lo to hi.
func (g *grouped) write(lo, hi int) {
	c := g.widths[0] + g.widths[1]
	for i := lo; i < hi; i++ {
		row := g.y[i*c : (i+1)*c]
		at := 0
		for k, w := range g.widths {
			simd.ScaleShift(row[at:at+w], g.in[k][i*w:(i+1)*w], g.scale[at:at+w], g.shift[at:at+w])
			at += w
		}
		if g.silu {
			simd.SiLU(row, row)
		}
	}
}
