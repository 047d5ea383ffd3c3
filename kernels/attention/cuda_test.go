package attention_test

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

// call is one attention: samples of q and of k and v, lengths, and how far
// apart their rows lie (0: as wide as all heads).
type call struct {
	n, share, lq, room, keys, heads, dim int
	causal                               bool
	stride                               int
	spread, values                       float64
}

func (c call) String() string {
	return fmt.Sprintf("q [%d %d], k [%d %d of %d], %d heads of %d, stride %d, causal %t, spread %g", c.n, c.lq, c.n/c.share, c.keys,
		c.room, c.heads, c.dim, c.stride, c.causal, c.spread)
}

// run holds kernels against a loop in float64. Those for few queries get the
// last key from device memory.
func run(t *testing.T, r *kernel.Room, c call, f16 bool, names ...string) (last ptx.Counts) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(c.lq), uint64(c.dim)))
	width := c.heads * c.dim
	stride := max(c.stride, width)
	m := c.n / c.share
	fill := func(n int, mean, spread float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(mean + spread*rng.NormFloat64())
		}
		return v
	}
	spread := c.spread
	if spread == 0 {
		spread = 1
	}
	q, k, v := fill(c.n*c.lq*stride, 0, spread), fill(m*c.room*stride, 0, 1), fill(m*c.room*stride, c.values, 1)
	// What lies behind the keys, and between rows, is not to be looked at.
	for b := range m {
		for i := range c.room {
			for j := range stride {
				if i >= c.keys || j >= width {
					k[(b*c.room+i)*stride+j], v[(b*c.room+i)*stride+j] = float32(math.NaN()), float32(math.NaN())
				}
			}
		}
	}
	for i := range q {
		if i%stride >= width {
			q[i] = float32(math.NaN())
		}
	}
	qs, ks, vs := r.Float(f16, q), r.Float(f16, k), r.Float(f16, v)
	scale := 1 / math.Sqrt(float64(c.dim))
	want := make([]float64, c.n*c.lq*width)
	for b := range c.n {
		for h := range c.heads {
			for i := range c.lq {
				seen := c.keys
				if c.causal {
					seen = c.keys - c.lq + i + 1
				}
				score := make([]float64, seen)
				top, sum := math.Inf(-1), 0.
				for j := range score {
					for d := range c.dim {
						score[j] += float64(q[(b*c.lq+i)*stride+h*c.dim+d]) * float64(k[(b/c.share*c.room+j)*stride+h*c.dim+d])
					}
					score[j] *= scale
					top = max(top, score[j])
				}
				for j := range score {
					score[j] = math.Exp(score[j] - top)
					sum += score[j]
				}
				for j, p := range score {
					for d := range c.dim {
						want[(b*c.lq+i)*width+h*c.dim+d] += p / sum * float64(v[(b/c.share*c.room+j)*stride+h*c.dim+d])
					}
				}
			}
		}
	}
	causal := 0
	if c.causal {
		causal = 1
	}
	bits := map[string][]float32{} // of the kernels of a head dim: one result
	for _, name := range names {
		y := r.New(c.n*c.lq*width, kernel.Size(f16))
		shape := func(keys int) []any {
			return []any{qs, ks, vs, y, c.lq, keys, c.heads, c.dim, c.share, stride, stride, int64(c.lq * stride), int64(c.room * stride),
				float32(scale), causal}
		}
		var queries, block, shared int
		heads := c.heads
		switch {
		case len(name) > 4 && name[:4] == "few:":
			warps := int(name[4] - '0')
			name = name[6:]
			last = r.Run(name, kernel.Dim{c.heads, m}, kernel.Dim{32 * warps}, 0, append(shape(c.keys-1), r.Put([]int32{1}))...)
		case !f16:
			last = r.Run(name, kernel.Dim{kernel.Blocks(c.lq, 4), c.heads, c.n}, kernel.Dim{128}, 0, append(shape(c.keys), nil)...)
		default:
			queries, block = 64, 128
			if name == "attention_f16_d512" {
				queries, block, shared = 32, 256, 80<<10
			} else if strings.Contains(name, "_m2") {
				queries = 128
			}
			if strings.Contains(name, "_h2") {
				heads, block = kernel.Blocks(heads, 2), 256
			}
			last = r.Run(name, kernel.Dim{kernel.Blocks(c.lq, queries), heads, c.n}, kernel.Dim{block}, shared,
				append(shape(c.keys), nil)...)
		}
		more := max(1, spread/2)
		if !f16 {
			more = max(1, spread)
		}
		have, dims := r.Floats(y), strings.Join(strings.SplitN(name, "_", 4)[:3], "_")
		r.Close(name+": "+c.String(), have, want, f16, more)
		if first := bits[dims]; first == nil {
			bits[dims] = have
		} else if !slices.Equal(have, first) {
			t.Errorf("%s: %s: other bits than the first kernel's of its head dim", name, c)
		}
	}
	return last
}

func padded(dim int) string {
	for _, d := range []int{16, 32, 40, 64, 80, 96, 128, 160} {
		if dim <= d {
			return fmt.Sprintf("attention_f16_d%d", d)
		}
	}
	return "attention_f16_d512"
}

func padded32(dim int) string {
	for _, d := range []int{32, 64, 96, 160} {
		if dim <= d {
			return fmt.Sprintf("attention_f32_d%d", d)
		}
	}
	return "attention_f32_d512"
}

var shapes = []call{
	{n: 1, share: 1, lq: 1, room: 1, keys: 1, heads: 1, dim: 1},
	{n: 2, share: 1, lq: 9, room: 1, keys: 1, heads: 3, dim: 5},
	{n: 2, share: 1, lq: 3, room: 33, keys: 33, heads: 3, dim: 7},
	{n: 1, share: 1, lq: 70, room: 70, keys: 70, heads: 1, dim: 24},
	{n: 2, share: 1, lq: 77, room: 77, keys: 77, heads: 2, dim: 64, causal: true},
	{n: 2, share: 1, lq: 5, room: 12, keys: 12, heads: 2, dim: 8, causal: true},
	{n: 1, share: 1, lq: 130, room: 200, keys: 200, heads: 1, dim: 16, causal: true},
	{n: 3, share: 1, lq: 7, room: 40, keys: 11, heads: 2, dim: 16, causal: true},
	{n: 6, share: 3, lq: 9, room: 37, keys: 37, heads: 3, dim: 8},
	{n: 2, share: 1, lq: 130, room: 77, keys: 77, heads: 2, dim: 40},
	{n: 1, share: 1, lq: 64, room: 64, keys: 64, heads: 2, dim: 80},
	{n: 1, share: 1, lq: 40, room: 65, keys: 65, heads: 1, dim: 160},
	{n: 1, share: 1, lq: 40, room: 129, keys: 129, heads: 1, dim: 33},
	{n: 1, share: 1, lq: 33, room: 40, keys: 40, heads: 1, dim: 97},
	{n: 1, share: 1, lq: 60, room: 90, keys: 90, heads: 1, dim: 512},
	{n: 1, share: 1, lq: 10, room: 40, keys: 33, heads: 1, dim: 300, causal: true},
	{n: 1, share: 1, lq: 5, room: 9, keys: 9, heads: 2, dim: 161},
	{n: 2, share: 1, lq: 20, room: 20, keys: 20, heads: 2, dim: 64, stride: 384},
	{n: 2, share: 1, lq: 20, room: 20, keys: 20, heads: 2, dim: 40, stride: 243},
	{n: 1, share: 1, lq: 30, room: 200, keys: 200, heads: 2, dim: 16, spread: 20},
	{n: 1, share: 1, lq: 30, room: 100, keys: 100, heads: 2, dim: 16, values: 100},
}

func TestKernels(t *testing.T) {
	r := kernel.Open(t, image)
	for _, c := range shapes {
		names := []string{padded(c.dim)}
		if c.dim <= 40 {
			names = append(names, "attention_f16_d40_m2", "attention_f16_d40_m2_h2")
		}
		if c.dim <= 64 {
			names = append(names, "attention_f16_d64_m2", "attention_f16_d64_m2_h2")
		}
		if c.dim <= 96 {
			names = append(names, padded(c.dim)+"_h2")
		}
		run(t, r, c, true, names...)
		run(t, r, c, false, padded32(c.dim))
	}
	for _, dim := range []int{2, 3, 8, 15, 16, 17, 31, 32, 33, 39, 40, 41, 48, 63, 65, 80, 88, 96, 104, 128, 159, 160} {
		run(t, r, call{n: 1, share: 1, lq: 21, room: 35, keys: 35, heads: 2, dim: dim}, true, padded(dim))
		run(t, r, call{n: 1, share: 1, lq: 5, room: 11, keys: 11, heads: 2, dim: dim}, false, padded32(dim))
	}
}

func TestFewQueries(t *testing.T) {
	r := kernel.Open(t, image)
	for _, c := range []call{
		{n: 1, share: 1, lq: 1, room: 2, keys: 2, heads: 1, dim: 8},
		{n: 3, share: 1, lq: 1, room: 40, keys: 11, heads: 2, dim: 64, causal: true},
		{n: 3, share: 1, lq: 5, room: 40, keys: 11, heads: 2, dim: 16, causal: true},
		{n: 2, share: 1, lq: 4, room: 80, keys: 80, heads: 2, dim: 40, causal: true, stride: 240},
		{n: 10, share: 10, lq: 1, room: 577, keys: 577, heads: 2, dim: 64},
		{n: 6, share: 3, lq: 1, room: 37, keys: 37, heads: 3, dim: 24},
		{n: 6, share: 3, lq: 4, room: 50, keys: 50, heads: 1, dim: 128, causal: true},
		{n: 16, share: 16, lq: 1, room: 30, keys: 30, heads: 1, dim: 160},
		{n: 2, share: 1, lq: 1, room: 30, keys: 17, heads: 2, dim: 80},
		{n: 2, share: 2, lq: 2, room: 200, keys: 199, heads: 1, dim: 32, spread: 20},
	} {
		for _, warps := range []int{1, 2, 3, 4, 8} {
			name := fmt.Sprintf("few:%d:attention_few_f16_d64", warps)
			if c.dim > 64 {
				name = fmt.Sprintf("few:%d:attention_few_f16_d%d", min(4, warps), (c.dim+63)/64*64)
			}
			run(t, r, c, true, name)
		}
	}
}

// TestCounts holds what the kernels cost: no bank conflicts, whole sectors, and
// the FLOPs of the arithmetic with dims as the kernel pads them.
func TestCounts(t *testing.T) {
	r := kernel.Open(t, image)
	check := func(name string, c call) {
		t.Helper()
		n := run(t, r, c, true, name)
		if n.SharedLoad.Conflicts() > 0 || n.SharedStore.Conflicts() > 0 {
			t.Errorf("%s: bank conflicts: %d wavefronts of loads, %d of stores", name, n.SharedLoad.Conflicts(), n.SharedStore.Conflicts())
		}
		whole := 0.9
		if c.dim%16 == 8 && !strings.Contains(name, "_h2") {
			whole *= float64(c.dim) / float64(c.dim+8) // a head begins or ends within a sector
		}
		if n.Load.Efficiency() < whole || n.Store.Efficiency() < whole {
			t.Errorf("%s: %.0f %% of what is loaded was asked for, %.0f %% of what is stored", name, 100*n.Load.Efficiency(),
				100*n.Store.Efficiency())
		}
		if n.LocalBytes > 0 {
			t.Errorf("%s: %d bytes of local memory", name, n.LocalBytes)
		}
		padded := 0
		if _, err := fmt.Sscanf(name, "attention_f16_d%d", &padded); err != nil {
			t.Fatal(err)
		}
		padded = (padded + 15) / 16 * 16
		want := uint64(4 * c.n * c.heads * c.lq * c.keys * padded)
		if n.MMAFLOPs < want || n.MMAFLOPs > want*21/20 {
			t.Errorf("%s: %d FLOPs on tensor cores, the padded arithmetic is %d", name, n.MMAFLOPs, want)
		}
		// q and the result once, keys and values once for each block of queries.
		tile := 64
		if name == "attention_f16_d512" {
			tile = 32
		} else if strings.Contains(name, "_m2") {
			tile = 128
		}
		bytes := uint64(2 * c.n * c.heads * c.dim * (c.lq + 2*c.keys*(c.lq/tile)))
		if n.Load.Bytes < bytes || n.Load.Bytes > bytes*21/20 {
			t.Errorf("%s: %d bytes loaded, want %d", name, n.Load.Bytes, bytes)
		}
	}
	for dim := 8; dim <= 160; dim += 8 {
		name := padded(dim)
		if dim%16 == 8 && dim <= 96 {
			name += "_h2"
		}
		check(name, call{n: 1, share: 1, lq: 128, room: 128, keys: 128, heads: 4, dim: dim})
		// Queries, keys and values in one.
		check(name, call{n: 1, share: 1, lq: 128, room: 128, keys: 128, heads: 4, dim: dim, stride: 12 * dim})
	}
	for _, c := range []struct {
		name string
		dim  int
	}{{"d40_m2", 40}, {"d64_m2", 64}, {"d40_m2_h2", 40}, {"d64_m2_h2", 56}} {
		check("attention_f16_"+c.name, call{n: 1, share: 1, lq: 128, room: 192, keys: 192, heads: 2, dim: c.dim})
	}
	check("attention_f16_d512", call{n: 1, share: 1, lq: 64, room: 64, keys: 64, heads: 1, dim: 512})
	// A decoding step of 16 sequences reads the keys and values that they share
	// once, in whole sectors, and the queries once for each of four warps.
	c := call{n: 16, share: 16, lq: 1, room: 192, keys: 192, heads: 2, dim: 64}
	n := run(t, r, c, true, "few:4:attention_few_f16_d64")
	if want := uint64(2 * c.heads * c.dim * (4*c.n + 2*c.keys)); n.Load.Efficiency() < 0.9 || n.Load.Bytes < want ||
		n.Load.Bytes > want*21/20 {
		t.Errorf("few: %d bytes loaded, want %d; %.0f %% was asked for", n.Load.Bytes, want, 100*n.Load.Efficiency())
	}
	if n.SharedLoad.Conflicts() > 0 || n.SharedStore.Conflicts() > 0 {
		t.Errorf("few: bank conflicts %d and %d", n.SharedLoad.Conflicts(), n.SharedStore.Conflicts())
	}
}
