// Package random gives the random numbers that others draw by the same seed:
// torch's CPU generator for a drawing's noise, and CUDA's Philox for sampled
// tokens. Both are computed on the host; kernels/cuda/philox.cuh is Philox on
// the device.
package random

import "math"

// Torch gives the numbers of torch.Generator("cpu"): MT19937 (Matsumoto and
// Nishimura, 1998), and normals in the order in which torch.randn draws them.
type Torch struct {
	state  [624]uint32
	at     int
	cached float64 // the second normal of a pair, of the scalar path
	has    bool
}

// NewTorch is torch.Generator("cpu").manual_seed(seed). Of the seed, torch uses
// the low 32 bits.
func NewTorch(seed uint64) *Torch {
	g := &Torch{at: 624}
	g.state[0] = uint32(seed)
	for i := 1; i < 624; i++ {
		g.state[i] = 1812433253*(g.state[i-1]^g.state[i-1]>>30) + uint32(i)
	}
	return g
}

// Uint32 is the next 32 bits.
func (g *Torch) Uint32() uint32 {
	if g.at == 624 {
		twist := func(i, next, far int) {
			y := g.state[i]&0x80000000 | g.state[next]&0x7fffffff
			g.state[i] = g.state[far] ^ y>>1 ^ -(y&1)&0x9908b0df
		}
		for i := range 227 {
			twist(i, i+1, i+397)
		}
		for i := 227; i < 623; i++ {
			twist(i, i+1, i-227)
		}
		twist(623, 0, 396)
		g.at = 0
	}
	y := g.state[g.at]
	g.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// Normal fills dst with what torch.randn(len(dst), generator=g) gives. From 16
// elements on, torch draws all uniforms first and pairs the i-th with the
// (i+8)-th of each 16, and draws the last 16 anew where the length is not a
// multiple of 16; below, it takes pairs in double precision and keeps the
// second one for later.
func (g *Torch) Normal(dst []float32) {
	if len(dst) < 16 {
		for i := range dst {
			dst[i] = float32(g.scalar())
		}
		return
	}
	uniform := func(d []float32) {
		for i := range d {
			d[i] = float32(g.Uint32()&(1<<24-1)) * (1.0 / (1 << 24))
		}
	}
	uniform(dst)
	for i := 0; i+16 <= len(dst); i += 16 {
		pair16(dst[i : i+16])
	}
	if len(dst)%16 != 0 {
		tail := dst[len(dst)-16:]
		uniform(tail)
		pair16(tail)
	}
}

// pair16 is the Box-Muller transform of eight pairs.
func pair16(d []float32) {
	for j := range 8 {
		r := math.Sqrt(-2 * math.Log(float64(1-d[j])))
		sin, cos := math.Sincos(2 * math.Pi * float64(d[j+8]))
		d[j], d[j+8] = float32(r*cos), float32(r*sin)
	}
}

func (g *Torch) double() float64 {
	hi, lo := uint64(g.Uint32()), uint64(g.Uint32())
	return float64((hi<<32|lo)&(1<<53-1)) * (1.0 / (1 << 53))
}

func (g *Torch) scalar() float64 {
	if g.has {
		g.has = false
		return g.cached
	}
	u1, u2 := g.double(), g.double()
	r := math.Sqrt(-2 * math.Log1p(-u2))
	sin, cos := math.Sincos(2 * math.Pi * u1)
	g.cached, g.has = r*sin, true
	return r * cos
}
