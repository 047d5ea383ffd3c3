package conv

import (
	"fmt"
	"strings"

	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
)

// winograd convolves with 3x3 filters and stride 1 by minimal filtering in two
// dimensions (Lavin and Gray, arXiv 1509.09308): M x M results of a tile of
// (M+2) x (M+2) pixels cost one multiplication for each of these pixels, where
// the plain sum takes nine for each result.
//
// The filters' transform is not kept. It would be four or seven times as large
// as the filters, more than many layers' activations, and reading it from
// memory takes longer than making it anew for a panel of columns and a block
// of tiles, in the cache, from the panels that the direct product uses too.
type winograd struct {
	d       *host.Device
	g       *geometry
	mat     *matmul.Weights
	in, out int
	e       matmul.Epilogue
	y       []float32
	pixels  int // of y, all samples

	t      *simd.Winograd
	m, a   int // results and pixels along a tile's side
	ty, tx int // tiles of a sample
	kernel simd.Kernel

	// Tiles first to end are at work. v has their pixels transformed, a
	// product's left operand for each of the a x a positions: [a²][panel][in][MR].
	first, end, panels          int
	chunks, filterPanels, parts int // of a pass
	v                           []float32
}

// kBlock is the K of a product for which a row of positions of the filters'
// transform stays in the second-level cache; piece is what is transformed at a
// time.
const (
	kBlock = 384
	piece  = 16
)

// samples is how many a plan is made for, however many there are: a sample's bits
// do not depend on what is convolved beside it. Guidance makes two of a drawing.
const samples = 2

// plan returns the transforms that should convolve samples of g fastest with
// filters from in to out channels, or nil for the plain sum. The costs are in
// multiply-adds, with what else was measured to take as long.
func plan(g *geometry, in, out int) *simd.Winograd {
	if g.kh != 3 || g.kw != 3 || g.stride != 1 {
		return nil
	}
	const (
		call      = 8  // of K, for the tile of sums that begins and ends a product
		transform = 16 // for each position of a tile and channel, in or out
		filters   = 8  // for each position and pair of channels, once a block of tiles
	)
	k := simd.Gemm(simd.F32)
	up := func(x, unit int) float64 { return float64((x + unit - 1) / unit * unit) }
	cols := up(out, k.NR/2)
	least := 0.9 * up(samples*g.oh*g.ow, k.MR/2) * float64(9*in+call) * cols
	var best *simd.Winograd
	for _, t := range []*simd.Winograd{simd.Winograd4, simd.Winograd6} {
		tiles := samples * ((g.oh + t.M - 1) / t.M) * ((g.ow + t.M - 1) / t.M)
		positions := float64((t.M + 2) * (t.M + 2))
		cost := positions * (up(tiles, k.MR/2)*float64(in+call)*cols +
			transform*float64(tiles*(in+out)) + filters*up(tiles, tileBlock)/tileBlock*float64(in)*cols)
		if cost < least {
			best, least = t, cost
		}
	}
	return best
}

// Key is what a convolution of 3 x 3 with stride 1 is called in a device's choices, by
// the result's size: not by how many samples there are, whose bits depend on it.
func Key(h, w, in, out int) string { return fmt.Sprintf("conv3x3 %dx%d %d>%d", h, w, in, out) }

// Methods are what a choice may be: the plain sum, and minimal filterings.
func Methods() []string { return []string{"sum", "winograd f4", "winograd f6"} }

// Saves is how many multiply-adds of the plain sum there are for one of a method's, by its
// name in records: 9 M² for (M+2)² of a minimal filtering, 1 for any other.
func Saves(kernel string) float64 {
	for _, t := range []*simd.Winograd{simd.Winograd4, simd.Winograd6} {
		if strings.Contains(kernel, winogradName(t)) {
			return float64(9*t.M*t.M) / float64((t.M+2)*(t.M+2))
		}
	}
	return 1
}

// chosen obeys the device's choices, and plans what they do not name.
func chosen(h *host.Device) chooser {
	if !h.Chooses() {
		return plan
	}
	return func(g *geometry, in, out int) *simd.Winograd {
		if g.kh != 3 || g.kw != 3 || g.stride != 1 {
			return nil
		}
		switch h.Choice(Key(g.oh, g.ow, in, out)) {
		case "sum":
			return nil
		case "winograd f4":
			return simd.Winograd4
		case "winograd f6":
			return simd.Winograd6
		}
		return plan(g, in, out)
	}
}

// tileBlock is about as many tiles as one panel's products are made for at a
// time: sums, and what becomes of them, stay in the second-level cache.
const tileBlock = 84

// winogradName is a method's in records, by the results of a tile's side.
func winogradName(t *simd.Winograd) string { return fmt.Sprintf("winograd f%d", t.M) }

// run convolves n samples, and returns the bytes of its workspace.
func (c *winograd) run(n int) (workspace int) {
	c.m, c.a, c.kernel = c.t.M, c.t.M+2, simd.Gemm(simd.F32)
	c.ty, c.tx = (c.g.oh+c.m-1)/c.m, (c.g.ow+c.m-1)/c.m
	tiles, mr := n*c.ty*c.tx, c.kernel.MR
	if tiles == 0 {
		return 0
	}
	// The transformed pixels are read once a panel of filters: they have to stay in the
	// third-level cache.
	_, third := simd.Caches()
	bytes := min(max(third/2, 4<<20), 16<<20)
	most := max(1, bytes/(4*c.a*c.a*c.in*mr)) * mr
	blocks := (tiles + most - 1) / most
	kept := 4 * c.a * c.a * c.in * min(most, (tiles+mr-1)/mr*mr)
	mem, _ := c.d.Alloc(kept)
	defer c.d.Free(mem)
	c.v = mem.F32()
	nr := c.kernel.NR
	filterPanels, chunks := (c.out+nr-1)/nr, (c.in+chunk-1)/chunk
	for b := range blocks {
		c.first, c.end = b*tiles/blocks, (b+1)*tiles/blocks
		c.panels = (c.end - c.first + mr - 1) / mr
		c.chunks, c.filterPanels, c.parts = chunks, filterPanels, 0
		c.d.Run(c.panels*chunks, c)
		parts := max((c.panels*mr+tileBlock-1)/tileBlock, (2*c.d.Workers()+filterPanels-1)/filterPanels)
		c.parts = min(parts, c.panels)
		c.d.Run(c.parts*filterPanels, c)
		_, _, _, product := c.sizes(0, (c.panels+c.parts-1)/c.parts)
		pass := max(c.inputSize(min(chunk, c.in))*min(c.d.Workers(), c.panels*chunks), product*min(c.d.Workers(), c.parts*filterPanels))
		workspace = max(workspace, kept+4*pass)
	}
	return workspace
}

// sizes are the lengths, in float32, of what a product of panels p0 to p1 keeps: a
// row of positions of the filters' transform, a position's sums, what a row of
// positions gives, and all together.
func (c *winograd) sizes(p0, p1 int) (u, sums, row, all int) {
	const gap = 32 // keeps lines from falling on each other's places in the cache
	nr := c.kernel.NR
	tiles := min((p1-p0)*c.kernel.MR, c.end-c.first-p0*c.kernel.MR)
	u, sums, row = min(c.in, kBlock)*nr+gap, tiles*nr+gap, c.m*tiles*nr+gap
	return u, sums, row, 3*piece*nr + c.a*(u+sums+row) + c.m*(row-gap)
}

// Do implements host.Job: the first pass transforms pixels, the second multiplies.
func (c *winograd) Do(i int) {
	if c.parts == 0 {
		c.input(i/c.chunks, i%c.chunks)
		return
	}
	p := i / c.filterPanels
	c.product(i%c.filterPanels, p*c.panels/c.parts, (p+1)*c.panels/c.parts)
}

// chunk is as many channels as are transformed at a time.
const chunk = 64

// where finds a tile: its sample and its first result.
func (c *winograd) where(tile int) (n, y, x int) {
	return tile / (c.ty * c.tx), tile / c.tx % c.ty * c.m, tile % c.tx * c.m
}

// inputSize is the length, in float32, of what a panel's transform of so many
// channels keeps.
func (c *winograd) inputSize(channels int) int {
	mr := c.kernel.MR
	return c.a * channels * (2*(mr*c.m+2) + c.a*mr)
}

// input transforms a panel's pixels, of a chunk of channels.
func (c *winograd) input(panel, part int) {
	mr, a, m := c.kernel.MR, c.a, c.m
	c0 := part * chunk
	ch := min(chunk, c.in-c0)
	room := a * (mr*m + 2) * ch
	mem, _ := c.d.Alloc(4 * c.inputSize(ch))
	defer c.d.Free(mem)
	buf := mem.F32()
	pixels, down, both := buf[:room], buf[room:2*room], buf[2*room:]

	from := c.first + panel*mr
	count := min(mr, c.end-from)
	for t := 0; t < count; {
		n, y, x := c.where(from + t)
		run := min(count-t, c.tx-x/m)
		cols := run*m + 2
		row := cols * ch
		for i := range a {
			c.g.row(pixels[i*row:(i+1)*row], n, y-c.g.pad.Top+i, x-c.g.pad.Left, c0, ch)
		}
		c.t.Input(simd.Lines{Data: down, Stride: row}, simd.Lines{Data: pixels, Stride: row}, row, 1)
		for i := range a {
			c.t.Input(simd.Lines{Data: both[(i*a*mr+t)*ch:], Stride: mr * ch, Step: ch},
				simd.Lines{Data: down[i*row : (i+1)*row], Stride: ch, Step: m * ch}, ch, run)
		}
		t += run
	}
	for p := range a * a {
		simd.PackRows(c.v[((p*c.panels+panel)*c.in+c0)*mr:], both[p*mr*ch:], ch, count, ch, mr)
	}
}

// row copies channels c0 to c0+ch of pixels (y, x), (y, x+1), ... of a sample,
// zeros where there are none.
func (g *geometry) row(dst []float32, n, y, x, c0, ch int) {
	if y < 0 || y>>g.shift >= g.h {
		clear(dst)
		return
	}
	base := (n*g.h + y>>g.shift) * g.w
	for ; len(dst) > 0; dst, x = dst[ch:], x+1 {
		if x < 0 || x>>g.shift >= g.w {
			clear(dst[:ch])
			continue
		}
		at := base + x>>g.shift
		k := 0
		if c0 < g.c {
			k = copy(dst[:ch], g.x[at*g.c+c0:(at+1)*g.c])
		}
		if k < ch {
			copy(dst[k:ch], g.concat[at*g.c2+c0+k-g.c:])
		}
	}
}

// product makes the results of a panel of filters for the tiles of panels p0
// to p1.
func (c *winograd) product(panel, p0, p1 int) {
	k, a, m := c.kernel, c.a, c.m
	tiles := min((p1-p0)*k.MR, c.end-c.first-p0*k.MR)
	rowLen := m * tiles * k.NR // of what a row of positions gives
	uLen, sLen, rowStep, all := c.sizes(p0, p1)
	mem, _ := c.d.Alloc(4 * all)
	defer c.d.Free(mem)
	buf := mem.F32()
	take := func(n int) []float32 { t := buf[:n:n]; buf = buf[n:]; return t }
	taps, u, sums, rows, results := take(3*piece*k.NR), take(a*uLen), take(a*sLen), take(a*rowStep), take(m*rowLen)

	j0 := panel * k.NR
	j1 := min(j0+k.NR, c.out)
	filters := c.mat.Panel(panel)
	blocks := (c.in + kBlock - 1) / kBlock
	for i := range a {
		for b := range blocks {
			k0, k1 := b*c.in/blocks, (b+1)*c.in/blocks
			for at := k0; at < k1; at += piece {
				n := min(piece, k1-at) * k.NR
				c.t.FilterRow(i, simd.Lines{Data: taps, Step: n},
					simd.Lines{Data: filters[at*k.NR:], Stride: 3 * c.in * k.NR, Step: c.in * k.NR}, n, 3)
				c.t.Filter(simd.Lines{Data: u[(at-k0)*k.NR:], Stride: uLen}, simd.Lines{Data: taps, Stride: n}, n, 1)
			}
			for q := range a {
				product := k.Tile
				if b == 0 {
					product = k.Set
				}
				pixels := c.v[(((i*a+q)*c.panels+p0)*c.in+k0)*k.MR:]
				product(k1-k0, pixels, c.in*k.MR, u[q*uLen:], 0, sums[q*sLen:], k.NR, tiles, j1-j0)
			}
		}
		// Results of tiles side by side become a row of pixels.
		c.t.Output(simd.Lines{Data: rows[i*rowStep:], Stride: k.NR, Step: m * k.NR}, simd.Lines{Data: sums, Stride: sLen, Step: k.NR},
			k.NR, tiles)
	}
	c.t.Output(simd.Lines{Data: results, Stride: rowLen}, simd.Lines{Data: rows, Stride: rowStep}, rowLen, 1)

	for t := 0; t < tiles; {
		n, y, x := c.where(c.first + p0*k.MR + t)
		run := min(tiles-t, c.tx-x/m)
		count := min(run*m, c.g.ow-x)
		for i := range min(m, c.g.oh-y) {
			pixel := (n*c.g.oh+y+i)*c.g.ow + x
			c.e.Rows(c.y, results[i*rowLen+t*m*k.NR:][:count*k.NR], k.NR, j1-j0, c.pixels, c.out, pixel, j0, count)
		}
		t += run
	}
}
