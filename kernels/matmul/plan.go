package matmul

import (
	"iter"

	"parley/engine"
)

// Plan is how the matrix kernels of this room and of conv compute a product: a
// block for each tile of it, or, where there are few tiles, Splits blocks a tile
// that divide its K (split-K).
type Plan struct {
	Kernel   string
	Threads  int // of a block
	Shared   int // dynamic shared memory of a block, bytes
	Blocks   int // of each split
	Splits   int
	Partials int // elements of the f32 partial sums of all splits, 0 for one
}

// tile is a shape that op.cu has kernels of.
type tile struct {
	name       string
	rows, cols int
	threads    int
	stages     int
	resident   int // blocks on one multiprocessor of sm_80
}

var (
	f16Tiles = []tile{
		{"f16_256x128x32", 256, 128, 256, 4, 1},
		{"f16_128x160x32", 128, 160, 256, 4, 1},
		{"f16_256x64x32", 256, 64, 256, 4, 1},
		{"f16_128x128x32", 128, 128, 128, 4, 2},
		{"f16_64x64x32", 64, 64, 128, 4, 4},
	}
	f32Tile = tile{"f32_64x64x16", 64, 64, 128, 3, 4}
)

// The device that plans are made for. It is not the one at hand, so that one
// seed gives one result on every device, and a dry run knows the workspace. The
// figures are near to those of sm_80 and sm_90, and none is measured here; the
// cache's are those of bench/roofline.
const (
	multiprocessors = 128
	kTileBytes      = 64       // of a row in a K tile
	latency         = 270      // cycles before a lone block's next K tile is there: a third of a read's
	perBlock        = 1500     // cycles to fill the stages and to write the tile
	perSplit        = 1000     // cycles until a block's partial sums are seen and counted
	perCycle        = 26       // bytes that each multiprocessor reads from the second-level cache
	aloneCycle      = 64       // and where few others do
	reducers        = 2        // blocks that have the last warps of a tile between them
	tensorRate      = 1024     // multiplications of f16 in a cycle of a multiprocessor
	scalarRate      = 80       // of f32
	maxSplits       = 32       // blocks that divide a K
	maxTiles        = 1024     // tiles that are split: their counters are gemm.cuh's kMaxTiles
	maxWorkspace    = 32 << 20 // bytes of partial sums
)

// NewPlan chooses the tile and the split that should take the fewest cycles for
// op (linear, geglu or conv), m x n with K k. The largest tiles read the
// fewest bytes a FLOP, the smallest leave no multiprocessor idle, and splits make
// more blocks for the price of f32 partial sums that are written and read once
// more, at the end by the few blocks that came last. Rows that are not aligned to
// 16 bytes have one tile. geglu computes two columns for one of the result and is
// not split.
func NewPlan(op string, m, n, k int, dtype engine.DType, aligned bool) Plan {
	var best Plan
	least := 0.0
	for p, cycles := range plans(op, m, n, k, dtype, aligned) {
		if least == 0 || cycles < least {
			best, least = p, cycles
		}
	}
	return best
}

// Plans lists the plans that NewPlan chooses from, for measurements.
func Plans(op string, m, n, k int, dtype engine.DType, aligned bool) []Plan {
	var l []Plan
	for p := range plans(op, m, n, k, dtype, aligned) {
		l = append(l, p)
	}
	return l
}

// plans gives each plan with the cycles that it should take.
func plans(op string, m, n, k int, dtype engine.DType, aligned bool) iter.Seq2[Plan, float64] {
	return func(yield func(Plan, float64) bool) {
		tiles, rate, gated := f16Tiles, float64(tensorRate), op == "geglu"
		switch {
		case dtype == engine.F32:
			tiles, rate = []tile{f32Tile}, scalarRate
		case !aligned:
			tiles = f16Tiles[4:]
		case gated:
			tiles = f16Tiles[3:]
		}
		kTiles := ceil(k*dtype.Size(), kTileBytes)
		for _, t := range tiles {
			name := t.name
			if !aligned {
				name = dtype.String() + "_any"
			}
			stage := (t.rows + t.cols) * kTileBytes
			math := float64(t.rows*t.cols*kTileBytes/dtype.Size()) / rate
			partial := float64(4 * t.rows * t.cols)
			cols := t.cols
			if gated {
				cols /= 2
			}
			blocks := ceil(m, t.rows) * ceil(n, cols)
			for splits := 1; splits <= min(maxSplits, kTiles); splits++ {
				partials := 0
				if splits > 1 {
					partials = splits * blocks * t.rows * t.cols
				}
				if splits > 1 && (gated || 4*partials > maxWorkspace || blocks > maxTiles) {
					break
				}
				per := ceil(kTiles, splits)
				if ceil(kTiles, per) != splits {
					continue // the last would be empty
				}
				cycles := 0.0
				for left := ceil(blocks*splits, multiprocessors); left > 0; left -= t.resident {
					r := float64(min(left, t.resident))
					cycles += perBlock + float64(per)*max(latency, r*math, r*float64(stage)/perCycle)
					if splits > 1 { // out, and in the mean back
						cycles += perSplit + 2*r*partial/perCycle
					}
				}
				if splits > 1 {
					cycles += float64(splits-1) * partial / aloneCycle / reducers
				}
				if !yield(Plan{op + "_" + name, t.threads, t.stages * stage, blocks, splits, partials}, cycles) {
					return
				}
			}
		}
	}
}

// fewRows is up to how many rows the kernel for decoding is taken, which reads
// the weights once for every 16 of them.
const fewRows = 48

// plan is NewPlan for linear layers, whose few rows have a kernel of their own.
func plan(m, n, k int, dtype engine.DType, gated bool) Plan {
	aligned := k*dtype.Size()%16 == 0
	switch {
	case gated:
		return NewPlan("geglu", m, n, k, dtype, aligned)
	case dtype == engine.F32 || m > fewRows:
		return NewPlan("linear", m, n, k, dtype, aligned)
	}
	p := Plan{Kernel: "linear_f16_16x16", Threads: 256, Blocks: ceil(m, 16) * ceil(n, 16), Splits: 1}
	if !aligned {
		p.Kernel += "_any"
	}
	return p
}

func ceil(a, b int) int { return (a + b - 1) / b }
