package attention

import (
	"math"
	"unsafe"

	"parley/engine/host"
	"parley/kernels/simd"
)

type attn struct {
	d                      *host.Device
	q, k, v, y             []float32
	n, lq, share           int
	room, keys, heads, dim int
	scale                  float32
	causal                 bool
}

// keyBlock scores of a strip of queries at a time stay in the cache.
const keyBlock = 256

func (a *attn) run() {
	if a.lq <= 2 {
		a.d.For(a.n*a.heads, func(i int) { a.few(i/a.heads, i%a.heads) })
		return
	}
	parts := 1
	if jobs := a.n * a.heads; jobs < 2*a.d.Workers() {
		parts = min((2*a.d.Workers()+jobs-1)/jobs, (a.lq+15)/16)
	}
	a.d.For(a.n*a.heads*parts, func(i int) {
		p := i % parts
		i /= parts
		a.strip(i/a.heads, i%a.heads, p*a.lq/parts, (p+1)*a.lq/parts)
	})
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
	kv := (b / a.share * a.room) * width
	score := make([]float32, a.keys)
	for i := range a.lq {
		at := (b*a.lq+i)*width + h*a.dim
		q, y := a.q[at:at+a.dim], a.y[at:at+a.dim]
		n := a.sees(i)
		for j := range n {
			score[j] = a.scale * simd.Dot(q, a.k[kv+j*width+h*a.dim:][:a.dim])
		}
		sum := simd.ExpSub(score[:n], score[:n], simd.MaxVal(score[:n]))
		clear(y)
		for j := range n {
			simd.Axpy(score[j]/sum, a.v[kv+j*width+h*a.dim:][:a.dim], y)
		}
	}
}

// strip serves queries lo to hi of one head: blocks of scores with a running
// maximum and sum, the output rescaled when the maximum grows.
func (a *attn) strip(b, h, lo, hi int) {
	g := simd.Gemm()
	width, dim := a.heads*a.dim, a.dim
	rows := 4 * g.MR
	kLen, vLen := simd.PackedLen(a.keys, dim, g.NR), simd.PackedLen(dim, a.keys, g.NR)
	qLen, pLen := simd.PackedLen(rows, dim, g.MR), simd.PackedLen(rows, keyBlock, g.MR)
	mem, _ := a.d.Alloc(4 * (kLen + vLen + qLen + pLen + rows*(keyBlock+dim+2)))
	defer a.d.Free(mem)
	buf := unsafe.Slice((*float32)(unsafe.Pointer(&mem.Host[0])), len(mem.Host)/4)
	take := func(n int) []float32 { t := buf[:n:n]; buf = buf[n:]; return t }
	kp, vp, qp, pp := take(kLen), take(vLen), take(qLen), take(pLen)
	score, out, top, sum := take(rows*keyBlock), take(rows*dim), take(rows), take(rows)

	kv := b/a.share*a.room*width + h*dim
	simd.PackRows(kp, a.k[kv:], width, a.keys, dim, g.NR)
	simd.PackCols(vp, a.v[kv:], width, a.keys, dim, g.NR)
	for i0 := lo; i0 < hi; i0 += rows {
		n := min(rows, hi-i0)
		simd.PackRows(qp, a.q[(b*a.lq+i0)*width+h*dim:], width, n, dim, g.MR)
		simd.Scale(qp, qp, a.scale)
		clear(out)
		clear(sum)
		for i := range top {
			top[i] = float32(math.Inf(-1))
		}
		for k0 := 0; k0 < a.sees(i0+n-1); k0 += keyBlock {
			kc := min(keyBlock, a.keys-k0)
			clear(score)
			for j := 0; j < kc; j += g.NR {
				for i := 0; i < n; i += g.MR {
					g.Tile(dim, qp[i*dim:], kp[(k0+j)*dim:], score[i*keyBlock+j:], keyBlock, min(g.MR, n-i), min(g.NR, kc-j))
				}
			}
			for i := range n {
				row := score[i*keyBlock : i*keyBlock+kc]
				seen := max(0, min(kc, a.sees(i0+i)-k0))
				clear(row[seen:])
				if seen == 0 {
					continue
				}
				m := max(top[i], simd.MaxVal(row[:seen]))
				if m > top[i] {
					f := float32(math.Exp(float64(top[i] - m)))
					sum[i] *= f
					simd.Scale(out[i*dim:(i+1)*dim], out[i*dim:(i+1)*dim], f)
					top[i] = m
				}
				sum[i] += simd.ExpSub(row[:seen], row[:seen], m)
			}
			simd.PackRows(pp, score, keyBlock, n, kc, g.MR)
			for j := 0; j < dim; j += g.NR {
				for i := 0; i < n; i += g.MR {
					g.Tile(kc, pp[i*kc:], vp[j*a.keys+k0*g.NR:], out[i*dim+j:], dim, min(g.MR, n-i), min(g.NR, dim-j))
				}
			}
		}
		for i := range n {
			at := (b*a.lq+i0+i)*width + h*dim
			simd.Scale(a.y[at:at+dim], out[i*dim:(i+1)*dim], 1/sum[i])
		}
	}
}
