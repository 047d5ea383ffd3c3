package matmul

import (
	"fmt"
	"sync/atomic"
	"time"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/simd"
	"parley/kernels/storage"
)

// blockSizes are the panels of rows, the K and the columns of what is multiplied at
// a time: the left operand's block stays in the second-level cache while the
// panels of weights pass through the first, and so does its result. Tiles of
// bfloat16 are so fast that to begin and end one costs as much as a K of 768 saves,
// and that the cache has to feed them both operands. Run asks gather for
// k columns at most.
func blockSizes(g simd.Kernel) (rows, k, cols int) {
	if g.Format == simd.F32 {
		return 8, 384, 1024
	}
	return 4, 768, 2048
}

// Key is what a product with weights of in by out is called in a device's choices.
func Key(in, out int) string { return fmt.Sprintf("product %d>%d", in, out) }

// Blockings are what a choice may be: panels of rows by columns of a block. They change
// no bit of a result, as another K would.
func Blockings() []string {
	var l []string
	for _, rows := range []int{4, 8, 16} {
		for _, cols := range []int{512, 1024, 2048, 4096} {
			l = append(l, blocking(rows, cols))
		}
	}
	return l
}

func blocking(rows, cols int) string { return fmt.Sprintf("blocks %dx%d", rows, cols) }

// Blocking is the choice that d's own blocks are.
func Blocking(d engine.Device) string {
	rows, _, cols := blockSizes(Gemm(d))
	return blocking(rows, cols)
}

// chosenBlocks are a choice's panels of rows and columns, or others where it is none.
func chosenBlocks(choice string, rows, cols int) (int, int) {
	var r, c int
	if n, err := fmt.Sscanf(choice, "blocks %dx%d", &r, &c); n == 2 && err == nil && r > 0 && c > 0 {
		return r, c
	}
	return rows, cols
}

// Gemm is the kernel of d's products: of those that its precision allows, the one
// that was measured as the fastest.
func Gemm(d engine.Device) simd.Kernel {
	if h, ok := host.On(d); ok {
		switch h.Precision() {
		case host.F32:
			return Speeds(h).Fastest(simd.BF16x3)
		case host.Fast:
			return Speeds(h).Fastest(simd.BF16)
		}
	}
	return simd.Gemm(simd.F32)
}

// Speeds are those of the formats in which d can multiply; the device keeps them.
func Speeds(d *host.Device) *simd.Speeds { return host.Owned(d, simd.NewSpeeds) }

// Operand is the left operand of a product: linear layers read its rows as they lie,
// convolutions gather patches.
type Operand interface {
	// Pack packs rows row to row+rows, columns k to k+kc, as PackA of the weights'
	// kernel does. k is a multiple of the kernel's KR.
	Pack(dst []float32, row, rows, k, kc int)
}

// Run multiplies m rows of a with w into c [m, Out], and returns the bytes of the
// panels of a that it takes for it.
func Run(d *host.Device, m int, w *Weights, c []float32, e Epilogue, a Operand) (workspace int) {
	g := w.gemm
	if m == 0 {
		return 0
	}
	// Blocks of about the same number of panels, of which every worker gets as
	// many; where there are few, columns are split too.
	rowBlock, most, colBlock := blockSizes(g)
	if d.Chooses() {
		rowBlock, colBlock = chosenBlocks(d.Choice(Key(w.In, w.Out)), rowBlock, colBlock)
	}
	p := host.Scratch[product](d)
	*p = product{d: d, m: m, w: w, weights: w.panels.Words(), c: c, e: e, a: a}
	p.panels = (m + g.MR - 1) / g.MR
	p.mBlocks = (p.panels + rowBlock - 1) / rowBlock
	p.mBlocks = min(p.panels, (p.mBlocks+d.Workers()-1)/d.Workers()*d.Workers())
	p.colPanels = (w.Out + g.NR - 1) / g.NR
	p.nBlocks = min(p.colPanels, max((4*d.Workers()+p.mBlocks-1)/p.mBlocks, (w.Out+colBlock-1)/colBlock))
	parts := max(1, (w.In+most-1)/most)
	p.step = (w.In + parts - 1) / parts
	p.step = (p.step + g.KR - 1) / g.KR * g.KR
	var mem engine.Memory
	if m <= g.MR {
		workspace = 4 * g.SizeA(m, w.In)
		mem, _ = d.Alloc(workspace)
		p.whole = mem.F32()
		for k := 0; k < w.In; k += most {
			a.Pack(p.whole[g.LenA(k):], 0, m, k, min(most, w.In-k))
		}
	} else {
		rows := (p.panels + p.mBlocks - 1) / p.mBlocks * g.MR
		workspace = min(d.Workers(), p.mBlocks*p.nBlocks) * 4 * g.SizeA(min(rows, m), min(w.In, p.step))
	}
	d.Run(p.mBlocks*p.nBlocks, p)
	d.Free(mem)
	*p = product{}
	host.Recycle(d, p)
	return workspace
}

// product is one Run.
type product struct {
	d                                   *host.Device
	m                                   int
	w                                   *Weights
	weights                             []float32
	c                                   []float32
	e                                   Epilogue
	a                                   Operand
	panels, mBlocks, colPanels, nBlocks int
	step                                int       // of K: the same for any m, whose bits do not depend on it
	whole                               []float32 // the left operand, where all jobs take the same rows
}

// Do multiplies one block of rows and columns.
func (p *product) Do(job int) {
	g, c := p.w.gemm, p.c
	n, in := p.w.Out, p.w.In
	block := job / p.nBlocks
	i0 := block * p.panels / p.mBlocks * g.MR
	rows := min((block+1)*p.panels/p.mBlocks*g.MR, p.m) - i0
	s0, s1 := job%p.nBlocks*p.colPanels/p.nBlocks, (job%p.nBlocks+1)*p.colPanels/p.nBlocks
	j0, j1 := s0*g.NR, min(s1*g.NR, n)
	if in == 0 {
		g.Set(0, nil, 0, nil, 0, c[i0*n+j0:], n, rows, j1-j0)
	}
	var a []float32
	if p.whole == nil {
		mem, _ := p.d.Alloc(4 * g.SizeA(rows, min(in, p.step)))
		defer p.d.Free(mem)
		a = mem.F32()
	}
	for k := 0; k < in; k += p.step {
		kc := min(p.step, in-k)
		if p.whole == nil {
			p.a.Pack(a, i0, rows, k, kc)
		} else {
			a = p.whole[g.LenA(k):]
		}
		product := g.Tile
		if k == 0 {
			product = g.Set
		}
		product(kc, a, g.LenA(kc), p.weights[s0*g.LenB(in)+g.LenB(k):], g.LenB(in), c[i0*n+j0:], n, rows, j1-j0)
	}
	for i := i0; i < i0+rows; i++ {
		p.e.Rows(c, c[i*n+j0:i*n+j1], n, j1-j0, p.m, n, i, j0, 1)
	}
}

// Peak is how many FLOPs a second the workers' multiply-adds make when nothing
// makes them wait: what a product's speed is to be held against.
func Peak(d *host.Device, length time.Duration) float64 {
	var flops atomic.Int64
	start := time.Now()
	d.For(d.Workers(), func(int) {
		for time.Since(start) < length {
			flops.Add(int64(simd.Peak(10000)))
		}
	})
	return float64(flops.Load()) / time.Since(start).Seconds()
}

// packPanels packs rows of weights on all workers, each some panels at a time.
func packPanels(d engine.Device, p *Weights, w storage.Source) (storage.Panels, error) {
	g, in, nr := p.gemm, p.In, p.gemm.NR
	panels := storage.NewPanels(p.Format, p.elems)
	words := panels.Words()
	host.Huge(words)
	var failed atomic.Pointer[error]
	pack := func(lo, hi int) {
		step := 1 + 1<<18/(nr*max(in, 1))
		part := make([]float32, min(step, hi-lo)*nr*in)
		for i := lo; i < hi; i += step {
			rows := min(min(i+step, hi)*nr, p.Out) - i*nr
			if err := w.F32(part[:rows*in], i*nr*in); err != nil {
				failed.Store(&err)
				return
			}
			g.PackBT(words[i*g.LenB(in):], part, in, rows, in)
		}
	}
	n := (p.Out + nr - 1) / nr
	if h, ok := host.On(d); ok {
		h.Range(n, 1+1<<16/(nr*max(in, 1)), pack)
	} else {
		pack(0, n)
	}
	if err := failed.Load(); err != nil {
		return storage.Panels{}, *err
	}
	return panels, nil
}

// Gemm is the host's kernel for which w is packed.
func (w *Weights) Gemm() simd.Kernel { return w.gemm }

// Panel is one panel of columns, as the host's kernel reads it.
func (w *Weights) Panel(i int) []float32 {
	n := w.gemm.LenB(w.In)
	return w.panels.Words()[i*n : (i+1)*n]
}

// rows are those of a matrix [., in], from row first on.
type rows struct {
	g         simd.Kernel
	x         []float32
	in, first int
}

// Pack implements Operand.
func (r *rows) Pack(dst []float32, row, n, k, kc int) {
	r.g.PackA(dst, r.x[(r.first+row)*r.in+k:], r.in, n, kc)
}

// onHost multiplies m rows of x, and returns the bytes of its workspace.
func onHost(h *host.Device, m int, x []float32, w *Weights, y []float32, e Epilogue) (workspace int) {
	a := host.Scratch[rows](h)
	*a = rows{g: w.gemm, x: x, in: w.In}
	if e.GEGLU {
		workspace = gegluOnHost(h, m, a, w, y, e)
	} else {
		workspace = Run(h, m, w, y, e, a)
	}
	*a = rows{}
	host.Recycle(h, a)
	return workspace
}

// gegluOnHost halves the product while it is in the third-level cache.
func gegluOnHost(h *host.Device, m int, a *rows, w *Weights, y []float32, e Epilogue) (workspace int) {
	_, third := simd.Caches()
	most := max(1, min(m, min(third/4, 8<<20)/(4*w.Out)))
	mem, _ := h.Alloc(4 * most * w.Out)
	gate := host.Scratch[gated](h)
	blocks := (m + most - 1) / most
	for b := range blocks {
		i0, i1 := b*m/blocks, (b+1)*m/blocks
		a.first = i0
		*gate = gated{y: y, wide: mem.F32(), first: i0, c: w.Out / 2}
		workspace = max(workspace, Run(h, i1-i0, w, gate.wide, Epilogue{Bias: e.Bias, Scale: e.Scale}, a))
		h.RunRange(i1-i0, 1+16384/w.Out, gate)
	}
	h.Free(mem)
	*gate = gated{}
	host.Recycle(h, gate)
	return workspace + 4*most*w.Out
}

// gated makes rows of y, from first on, of rows of twice their width c.
type gated struct {
	y, wide  []float32
	first, c int
}

// DoRange implements host.RangeJob.
func (g *gated) DoRange(lo, hi int) {
	c := g.c
	for i := lo; i < hi; i++ {
		row := g.y[(g.first+i)*c : (g.first+i+1)*c]
		simd.GELU(row, g.wide[(2*i+1)*c:(2*i+2)*c])
		simd.Mul(row, row, g.wide[2*i*c:(2*i+1)*c])
	}
}

// Rows makes of a product's count rows from row i on, of m rows of n columns, the result
// in y. They are of one sample; x has their columns from j0 on, cols of each in lines of
// ld, is written over, and may be what they become. It reads what was just written, in the
// cache, so that a product begins with its first term and not with sums from memory.
func (e Epilogue) Rows(y, x []float32, ld, cols, m, n, i, j0, count int) {
	at := i*n + j0
	from, to := simd.Lines{Data: x, Step: ld}, simd.Lines{Data: y[at:], Step: n}
	var terms [3]simd.Lines
	sums := terms[:0]
	if e.Bias != nil {
		sums = append(sums, simd.Lines{Data: e.Bias.F32()[j0:]})
	}
	if e.SampleBias != nil {
		bias := e.SampleBias.F32()
		sums = append(sums, simd.Lines{Data: bias[i/(m*n/len(bias))*n+j0:]})
	}
	if f := e.scale(); f != 1 {
		simd.Scale(x, x, float32(f))
	}
	if e.Act != None {
		for _, t := range sums {
			simd.AddLines(from, from, t, cols, count)
		}
		e.Act.Apply(x, x)
		sums = terms[:0]
	}
	if e.Residual != nil {
		sums = append(sums, simd.Lines{Data: e.Residual.F32()[at:], Step: n})
	}
	for k, t := range sums {
		dst := from
		if k == len(sums)-1 {
			dst = to
		}
		simd.AddLines(dst, from, t, cols, count)
	}
	if len(sums) == 0 && len(x) > 0 && &y[at] != &x[0] {
		for r := range count {
			copy(y[at+r*n:][:cols], x[r*ld:])
		}
	}
}

// Apply computes the activation on the host; dst may be x.
func (a Act) Apply(dst, x []float32) {
	switch a {
	case SiLU:
		simd.SiLU(dst, x)
	case GELU:
		simd.GELU(dst, x)
	case QuickGELU:
		simd.QuickGELU(dst, x)
	case GELUTanh:
		simd.GELUTanh(dst, x)
	case Tanh:
		simd.Tanh(dst, x)
	default:
		copy(dst, x)
	}
}
