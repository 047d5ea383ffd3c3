package norm_test

import (
	_ "embed"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"parley/engine/cuda/ptx"
	"parley/kernels/optest/kernel"
)

//go:embed op.tar.zst
var image string

func randoms(rng *rand.Rand, n int, mean, spread float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(mean + spread*rng.NormFloat64())
	}
	return v
}

func moments(x []float32, eps float64) (mean, rstd float64) {
	for _, v := range x {
		mean += float64(v)
	}
	mean /= float64(len(x))
	var sq float64
	for _, v := range x {
		sq += (float64(v) - mean) * (float64(v) - mean)
	}
	return mean, 1 / math.Sqrt(sq/float64(len(x))+eps)
}

func TestLayerKernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		rows, c      int
		mean, spread float64
	}{
		{1, 1, 0, 1}, {3, 7, 0, 1}, {5, 4, 0, 1}, {2, 64, 0, 1}, {9, 77, 0, 1}, {5, 128, 0, 1}, {6, 320, 0, 1}, {7, 768, 0, 1},
		{3, 1280, 0, 1}, {2, 2048, 0, 1}, {2, 2052, 0, 1}, {2, 5000, 0, 1}, {4, 1000, -100, 1}, {4, 320, 1000, 1}, {3, 96, 1000, 0},
	} {
		for _, f16 := range []bool{true, false} {
			x, g, b := randoms(rng, c.rows*c.c, c.mean, c.spread), randoms(rng, c.c, 0, 1), randoms(rng, c.c, 0, 1)
			xs, gs, bs := r.Float(f16, x), r.Put(g), r.Put(b)
			want := make([]float64, len(x))
			const eps = 1e-5
			for i := range c.rows {
				mean, rstd := moments(x[i*c.c:(i+1)*c.c], eps)
				for j := range c.c {
					want[i*c.c+j] = (float64(x[i*c.c+j])-mean)*rstd*float64(g[j]) + float64(b[j])
				}
			}
			names := []string{"layer_" + kernel.Type(f16) + "_any"}
			for v := 1; v <= 16; v *= 2 {
				if c.c%4 == 0 && c.c <= 128*v {
					names = append(names, fmt.Sprintf("layer_%s_v%d", kernel.Type(f16), v))
				}
			}
			for _, name := range names {
				y := r.New(len(x), kernel.Size(f16))
				grid, block := kernel.Blocks(c.rows, 4), 128
				if name[len(name)-3:] == "any" {
					grid, block = c.rows, 256
				}
				r.Run(name, kernel.Dim{grid}, kernel.Dim{block}, 0, xs, gs, bs, y, c.rows, c.c, float32(eps))
				r.Close(fmt.Sprintf("%s: [%d %d] of %g ± %g", name, c.rows, c.c, c.mean, c.spread), r.Floats(y), want, f16, 1)
			}
		}
	}
}

func TestGroupKernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(2, 2))
	for _, c := range []struct {
		n, positions, width, rest, groups, bundle int
		mean                                      float64
	}{
		{n: 1, positions: 1, width: 4, groups: 1}, {n: 2, positions: 15, width: 4, groups: 4},
		{n: 2, positions: 15, width: 24, groups: 8, bundle: 8},
		{n: 1, positions: 21, width: 40, groups: 8, bundle: 8}, {n: 3, positions: 4, width: 72, groups: 8, bundle: 8},
		{n: 1, positions: 64, width: 320, groups: 32, bundle: 8},
		{n: 2, positions: 9, width: 96, groups: 32, bundle: 32}, {n: 1, positions: 3, width: 27, groups: 9},
		{n: 2, positions: 1, width: 5, groups: 1},
		{n: 1, positions: 3, width: 9000, groups: 30}, {n: 1, positions: 500, width: 64, groups: 32, bundle: 16, mean: -100},
		{n: 2, positions: 30, width: 1280, groups: 32, bundle: 2}, {n: 1, positions: 600, width: 32, groups: 4, bundle: 4, mean: 3},
		{n: 2, positions: 33, width: 64, rest: 32, groups: 32, bundle: 8},
		{n: 2, positions: 33, width: 48, rest: 32, groups: 10, bundle: 5},
		{n: 2, positions: 5, width: 7, rest: 2, groups: 3},
		{n: 1, positions: 130, width: 64, groups: 32, bundle: 16, mean: 1000},
	} {
		for _, f16 := range []bool{true, false} {
			ch := c.width + c.rest
			x, more := randoms(rng, c.n*c.positions*c.width, c.mean, 1), randoms(rng, c.n*c.positions*c.rest, c.mean, 1)
			g, b := randoms(rng, ch, 0, 1), randoms(rng, ch, 0, 1)
			xs, ms, gs, bs := r.Float(f16, x), any(nil), r.Put(g), r.Put(b)
			if c.rest > 0 {
				ms = r.Float(f16, more)
			}
			at := func(n, p, k int) float32 {
				if k < c.width {
					return x[(n*c.positions+p)*c.width+k]
				}
				return more[(n*c.positions+p)*c.rest+k-c.width]
			}
			for _, silu := range []int{0, 1} {
				const eps = 1e-5
				want := make([]float64, c.n*c.positions*ch)
				per := ch / c.groups
				for n := range c.n {
					for k := range c.groups {
						var values []float32
						for p := range c.positions {
							for j := k * per; j < (k+1)*per; j++ {
								values = append(values, at(n, p, j))
							}
						}
						mean, rstd := moments(values, eps)
						for p := range c.positions {
							for j := k * per; j < (k+1)*per; j++ {
								v := (float64(at(n, p, j))-mean)*rstd*float64(g[j]) + float64(b[j])
								if silu == 1 {
									v /= 1 + math.Exp(-v)
								}
								want[(n*c.positions+p)*ch+j] = v
							}
						}
					}
				}
				name := fmt.Sprintf("%s: [%d %d %d+%d] in %d, %d a block, mean %g, silu %d",
					kernel.Type(f16), c.n, c.positions, c.width, c.rest,
					c.groups, c.bundle, c.mean, silu)
				if silu == 0 || c.bundle == 0 {
					y := r.New(len(want), kernel.Size(f16))
					r.Run("group_"+kernel.Type(f16)+"_any", kernel.Dim{c.n * c.groups}, kernel.Dim{512}, 0,
						xs, ms, gs, bs, y, c.positions, c.width,
						c.rest, c.groups, float32(eps), silu)
					r.Close("any "+name, r.Floats(y), want, f16, 1)
				}
				if c.bundle == 0 {
					continue
				}
				bundles := c.groups / c.bundle
				strip := (ch / bundles) * kernel.Size(f16) // bytes of a bundle at a position
				for _, kept := range []int{0, 1} {
					y := r.New(len(want), kernel.Size(f16))
					r.Run("group_"+kernel.Type(f16), kernel.Dim{bundles * c.n}, kernel.Dim{512}, kept*c.positions*strip,
						xs, ms, gs, bs, y, nil, c.n, c.positions, c.width, c.rest, c.groups, c.bundle, 1, kept, float32(eps), silu)
					r.Close(fmt.Sprintf("whole, %d kept: %s", kept, name), r.Floats(y), want, f16, 1)
				}
				for _, slabs := range []int{3, 40} {
					if slabs > c.positions || silu == 0 {
						continue
					}
					// How many blocks there are, and what they keep, changes no bit.
					var first []float32
					items, slab := slabs*bundles*c.n, kernel.Blocks(c.positions, slabs)*strip
					for _, l := range [][2]int{{items, 1}, {min(items, 108), 0}, {kernel.Blocks(items, 4), 3}, {1, 2}} {
						y := r.New(len(want), kernel.Size(f16))
						part := r.New(c.n*c.groups*slabs, 8)
						if l[0] > 108 || l[1]*slab > 100<<10 {
							continue
						}
						r.Together("group_slabs_"+kernel.Type(f16), kernel.Dim{l[0]}, kernel.Dim{512}, l[1]*slab,
							xs, ms, gs, bs, y, part, c.n, c.positions, c.width, c.rest, c.groups, c.bundle, slabs, l[1], float32(eps), silu)
						have := r.Floats(y)
						r.Close(fmt.Sprintf("%d slabs, %d blocks, %d kept: %s", slabs, l[0], l[1], name), have, want, f16, 1)
						if first == nil {
							first = have
						}
						if !slices.Equal(have, first) {
							t.Errorf("%d slabs, %d blocks, %d kept: other bits: %s", slabs, l[0], l[1], name)
						}
					}
				}
			}
		}
	}
}

func TestL2Kernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(3, 3))
	for _, c := range [][2]int{{1, 1}, {3, 7}, {2, 512}, {15, 33}, {1, 5000}} {
		for _, f16 := range []bool{true, false} {
			x := randoms(rng, c[0]*c[1], 0, 1)
			xs, y := r.Float(f16, x), r.New(c[0]*c[1], 4)
			want := make([]float64, len(x))
			for i := range c[0] {
				var sum float64
				for _, v := range x[i*c[1] : (i+1)*c[1]] {
					sum += float64(v) * float64(v)
				}
				for j := range c[1] {
					want[i*c[1]+j] = float64(x[i*c[1]+j]) / math.Sqrt(sum)
				}
			}
			r.Run("l2_"+kernel.Type(f16), kernel.Dim{c[0]}, kernel.Dim{256}, 0, xs, y, c[1])
			r.Close(fmt.Sprintf("l2_%s %v", kernel.Type(f16), c), r.Floats(y), want, false, 1)
		}
	}
}

// TestCounts holds what the kernels cost: the bytes of the operation, in whole
// sectors.
func TestCounts(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(4, 4))
	check := func(name string, c ptx.Counts, load, store int) {
		t.Helper()
		if c.Load.Efficiency() < 0.9 || c.Store.Efficiency() < 0.9 || c.LocalBytes > 0 {
			t.Errorf("%s: %.0f %% of what is loaded was asked for, %.0f %% of what is stored, %d bytes of local memory", name,
				100*c.Load.Efficiency(), 100*c.Store.Efficiency(), c.LocalBytes)
		}
		if float64(c.Load.Bytes) > 1.05*float64(load) || int(c.Store.Bytes) != store {
			t.Errorf("%s: %d bytes loaded and %d stored, want %d and %d", name, c.Load.Bytes, c.Store.Bytes, load, store)
		}
	}
	for _, f16 := range []bool{true, false} {
		size := kernel.Size(f16)
		const rows, c = 16, 768
		x, y := r.Float(f16, randoms(rng, rows*c, 0, 1)), r.New(rows*c, size)
		g, b := r.Put(randoms(rng, c, 0, 1)), r.Put(randoms(rng, c, 0, 1))
		n := r.Run(fmt.Sprintf("layer_%s_v8", kernel.Type(f16)), kernel.Dim{4}, kernel.Dim{128}, 0, x, g, b, y, rows, c, float32(1e-5))
		check("layer "+kernel.Type(f16), n, rows*c*(size+8), rows*c*size)
		const positions, ch = 240, 320
		x, g, b, y = r.Float(f16, randoms(rng, positions*ch, 0, 1)), r.Put(randoms(rng, ch, 0, 1)), r.Put(randoms(rng, ch, 0, 1)),
			r.New(positions*ch, size)
		for _, kept := range []int{0, 1} { // the map is read twice, or once
			n = r.Run("group_"+kernel.Type(f16), kernel.Dim{4}, kernel.Dim{512}, kept*positions*ch/4*size,
				x, nil, g, b, y, nil, 1, positions,
				ch, 0, 32, 8, 1, kept, float32(1e-5), 1)
			check("group "+kernel.Type(f16), n, (2-kept)*positions*ch*size, positions*ch*size)
			const slabs, bundle = 8, 32
			part := r.New(32*slabs, 8)
			// How often a block looks whether the others are there is the machine's.
			n = r.Together("group_slabs_"+kernel.Type(f16), kernel.Dim{slabs}, kernel.Dim{512}, kept*positions*ch/slabs*size,
				x, nil, g, b, y,
				part, 1, positions, ch, 0, 32, bundle, slabs, kept, float32(1e-5), 1)
			for _, l := range n.Lines {
				if strings.HasPrefix(l.Instruction, "ld.volatile") {
					n.Load.Bytes -= l.Load.Bytes
					n.Load.Sectors -= l.Load.Sectors
				}
			}
			check("group in slabs "+kernel.Type(f16), n, (2-kept)*positions*ch*size+slabs*(32*slabs*8+ch*(8+size)),
				positions*ch*size+slabs*(32*8+4))
		}
	}
}
