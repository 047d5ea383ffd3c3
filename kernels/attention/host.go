package attention

import (
	"math"

	"parley/engine/host"
	"parley/kernels/simd"
)

type attn struct {
	d                      *host.Device
	q, k, v, y             []float32
	qRow, kvRow            int // from row to row of q, and of k and v
	n, lq, share           int
	room, keys, heads, dim int
	scale                  float32
	causal                 bool
	gemm                   simd.Kernel
	parts                  int // of a head's queries
}

// The scores of keyBlock keys with a panel of queries stay in the first-level cache.
// A job takes few panels, so that a block of keys and values is read from the
// second-level cache for all but the first.
const (
	keyBlock  = 264
	most      = 4
	outFloats = 1 << 15 // of the panels' results
)

// So few queries have all of their scores at once, in a row of keys each: keys and values
// are then packed as columns, in half of the time that they take as rows, and queries fill
// rows better than panels of columns.
const together = 24

// lag is how far a score, in units of which one doubles a weight, may lie above what is
// taken for its query's maximum, until results are rescaled: most blocks of keys have a
// new maximum, and few one that a float32's exponent would notice.
const lag = 8

// method names what serves a head's queries: one at a time, with all of their
// scores at once, or by blocks of keys. Rows that share their keys become one row of
// more queries.
func (a *attn) method() string {
	a.causal = a.causal && a.lq > 1 // the last query sees all keys
	if !a.causal {
		a.n, a.lq, a.share = a.n/a.share, a.lq*a.share, 1
	}
	switch {
	case a.lq <= 2:
		return "row-wise attention"
	case a.oneBlock():
		return "one-block attention"
	}
	return "blocked attention"
}

// oneBlock reports whether a head's queries, more than two, are served by short. Causal
// ones are texts, padded to the longest of their batch, which may not choose how a shorter
// one is summed.
func (a *attn) oneBlock() bool { return !a.causal && a.lq <= max(a.gemm.MR, together) }

// run returns the bytes of its workspace.
func (a *attn) run() int {
	jobs := a.n * a.heads
	a.parts = 1
	if !a.oneBlock() && jobs < 2*a.d.Workers() {
		a.parts = min((2*a.d.Workers()+jobs-1)/jobs, (a.lq+15)/16)
	}
	a.d.Run(jobs*a.parts, a)
	return 4 * min(jobs*a.parts, a.d.Workers()) * a.workspace((a.lq+a.parts-1)/a.parts)
}

// workspace is what a job of so many queries keeps, in float32.
func (a *attn) workspace(queries int) int {
	g := a.gemm
	switch {
	case a.lq <= 2:
		return a.keys
	case a.oneBlock():
		return g.SizeA(a.lq, a.dim) + g.SizeA(a.lq, a.keys) + max(g.SizeB(a.dim, a.keys), g.SizeB(a.keys, a.dim)) +
			a.lq*((a.keys+g.NR-1)/g.NR*g.NR)
	}
	block, count := a.blocks(queries)
	n := g.SizeA(a.keys, a.dim) + g.SizeA(a.dim, a.keys) + count*g.LenB(a.dim) + count*a.dim*g.NR + (block+2*count+2)*g.NR
	if g.Format != simd.F32 {
		n += count*a.dim*g.NR + g.LenB(block)
	}
	return n
}

// blocks are the keys and the panels of queries that are taken at a time. Blocks of
// keys are about equal: a small one at the end would cost as much as it has tiles.
func (a *attn) blocks(queries int) (keys, panels int) {
	g := a.gemm
	n := (a.keys + keyBlock - 1) / keyBlock
	keys = (a.keys + n - 1) / n
	return (keys + g.MR - 1) / g.MR * g.MR, max(1, min(most, outFloats/(a.dim*g.NR), (queries+g.NR-1)/g.NR))
}

// Do serves one head of one row, or a part of its queries.
func (a *attn) Do(i int) {
	p := i % a.parts
	i /= a.parts
	switch b, h := i/a.heads, i%a.heads; {
	case a.lq <= 2:
		a.few(b, h)
	case a.oneBlock():
		a.short(b, h)
	default:
		a.blocked(b, h, p*a.lq/a.parts, (p+1)*a.lq/a.parts)
	}
}

// sees is the number of keys that query i attends to.
func (a *attn) sees(i int) int {
	if a.causal {
		return max(0, min(a.keys, a.keys-a.lq+i+1))
	}
	return a.keys
}

// few serves one or two queries, as in decoding: no packing pays.
func (a *attn) few(b, h int) {
	width := a.heads * a.dim
	kv := b/a.share*a.room*a.kvRow + h*a.dim
	mem, _ := a.d.Alloc(4 * a.workspace(a.lq))
	defer a.d.Free(mem)
	score := mem.F32()
	for i := range a.lq {
		row := b*a.lq + i
		q, y := a.q[row*a.qRow+h*a.dim:][:a.dim], a.y[row*width+h*a.dim:][:a.dim]
		n := a.sees(i)
		for j := range n {
			score[j] = a.scale * simd.Dot(q, a.k[kv+j*a.kvRow:][:a.dim])
		}
		sum := simd.ExpSub(score[:n], score[:n], simd.MaxVal(score[:n]))
		clear(y)
		for j := range n {
			simd.Axpy(score[j]/sum, a.v[kv+j*a.kvRow:][:a.dim], y)
		}
	}
}

// short serves few queries: all of their scores at once, a row of keys each.
func (a *attn) short(b, h int) {
	g := a.gemm
	width, dim, keys, nr := a.heads*a.dim, a.dim, a.keys, g.NR
	room := (keys + nr - 1) / nr * nr
	mem, _ := a.d.Alloc(4 * a.workspace(a.lq))
	defer a.d.Free(mem)
	buf := mem.F32()
	take := func(n int) []float32 { t := buf[:n:n]; buf = buf[n:]; return t }
	qp, weights, score, packed := take(g.SizeA(a.lq, dim)), take(g.SizeA(a.lq, keys)), take(a.lq*room), buf

	q := a.q[b*a.lq*a.qRow+h*dim:]
	kv := b/a.share*a.room*a.kvRow + h*dim
	g.PackA(qp, q, a.qRow, a.lq, dim)
	g.PackBT(packed, a.k[kv:], a.kvRow, keys, dim)
	g.Set(dim, qp, g.LenA(dim), packed, g.LenB(dim), score, room, a.lq, keys)
	for i := range a.lq {
		row := score[i*room:][:keys]
		simd.Scale(row, row, a.scale)
		simd.Scale(row, row, 1/simd.ExpSub(row, row, simd.MaxVal(row)))
	}
	g.PackA(weights, score, room, a.lq, keys)
	g.PackB(packed, a.v[kv:], a.kvRow, keys, dim)
	y := a.y[b*a.lq*width+h*dim:]
	g.Set(keys, weights, g.LenA(keys), packed, g.LenB(keys), y, width, a.lq, dim)
}

// blocked serves queries lo to hi of one head: blocks of scores with a running
// maximum and sum, the results rescaled when a maximum grows. Scores are in
// units of which one doubles a weight.
//
// Scores lie as [key][query], so that they are, as the first product leaves
// them, an operand of the second, that a softmax runs down columns without
// adding up the lanes of a register, and that the head's size fills panels of
// rows, which are finer than those of columns.
func (a *attn) blocked(b, h, lo, hi int) {
	g := a.gemm
	width, dim, nr := a.heads*a.dim, a.dim, g.NR
	block, count := a.blocks(hi - lo)
	packs := g.Format != simd.F32 // else scores are panels as they are
	mem, _ := a.d.Alloc(4 * a.workspace(hi-lo))
	defer a.d.Free(mem)
	buf := mem.F32()
	take := func(n int) []float32 { t := buf[:n:n]; buf = buf[n:]; return t }
	kp, vp, qp := take(g.SizeA(a.keys, dim)), take(g.SizeA(dim, a.keys)), take(count*g.LenB(dim))
	score, out := take(block*nr), take(count*dim*nr)
	tops, sums, was, spare := take(count*nr), take(count*nr), take(nr), take(nr)
	var scaled, wp []float32
	if packs {
		scaled, wp = take(count*nr*dim), take(g.LenB(block))
	}

	kv := b/a.share*a.room*a.kvRow + h*dim
	g.PackA(kp, a.k[kv:], a.kvRow, a.keys, dim)
	g.PackAT(vp, a.v[kv:], a.kvRow, a.keys, dim)
	for i0 := lo; i0 < hi; i0 += count * nr {
		n := min(count*nr, hi-i0)
		q := a.q[(b*a.lq+i0)*a.qRow+h*dim:]
		if packs {
			for i := range n {
				simd.Scale(scaled[i*dim:(i+1)*dim], q[i*a.qRow:], a.scale*math.Log2E)
			}
			g.PackBT(qp, scaled, dim, n, dim)
		} else {
			g.PackBT(qp, q, a.qRow, n, dim)
			simd.Scale(qp[:g.SizeB(dim, n)], qp, a.scale*math.Log2E)
		}
		clear(sums)
		for i := range tops {
			tops[i] = float32(math.Inf(-1))
		}
		for k0 := 0; k0 < a.sees(i0+n-1); k0 += block {
			for s := 0; s*nr < n; s++ {
				first := i0 + s*nr
				cols := min(nr, hi-first)
				kc := min(block, a.sees(first+cols-1)-k0)
				if kc <= 0 {
					continue
				}
				g.Set(dim, kp[k0/g.MR*g.LenA(dim):], g.LenA(dim), qp[s*g.LenB(dim):], 0, score, nr, kc, cols)
				score := score[:kc*nr]
				if cols < nr {
					for j := range kc {
						clear(score[j*nr+cols : (j+1)*nr])
					}
				}
				if a.causal {
					for j := max(0, a.sees(first)-k0); j < kc; j++ {
						unseen := score[j*nr:][:min(cols, k0+j+1-a.sees(first))]
						for i := range unseen {
							unseen[i] = float32(math.Inf(-1))
						}
					}
				}
				top, sum, y := tops[s*nr:(s+1)*nr], sums[s*nr:(s+1)*nr], out[s*dim*nr:(s+1)*dim*nr]
				copy(was, top)
				simd.ColumnMax(top, score)
				product := g.Set
				if k0 > 0 {
					product = g.Tile
					if grown(top, was) {
						simd.ColumnExp2(was, top, spare)
						simd.ScaleColumns(sum, was)
						simd.ScaleColumns(y, was)
					}
				}
				weights := score
				if packs {
					weights = wp
				}
				g.PackExp2(weights, score, top, sum, kc)
				product(kc, vp[g.LenA(k0):], g.LenA(a.keys), weights, 0, y, nr, dim, cols)
			}
		}
		for s := 0; s*nr < n; s++ {
			sum, y := sums[s*nr:(s+1)*nr], out[s*dim*nr:(s+1)*dim*nr]
			for i := range sum {
				sum[i] = 1 / sum[i]
			}
			simd.ScaleColumns(y, sum)
			simd.Transpose(a.y[(b*a.lq+i0+s*nr)*width+h*dim:], width, y, nr, dim, min(nr, n-s*nr))
		}
	}
}

// grown leaves of maxima those that were there, but for what lies too far above them,
// and reports whether anything does. Each query is by itself: its bits do not depend on
// which others are in its panel.
func grown(top, was []float32) bool {
	any := false
	for i, t := range top {
		if t > was[i]+lag {
			any = true
		} else {
			top[i] = was[i]
		}
	}
	return any
}
