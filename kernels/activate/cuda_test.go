package activate_test

import (
	_ "embed"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"parley/kernels/matmul"
	"parley/kernels/optest/kernel"
)

//go:embed op.tar.zst
var image string

func activation(a matmul.Act, x float64) float64 {
	switch a {
	case matmul.SiLU:
		return x / (1 + math.Exp(-x))
	case matmul.GELU:
		return x / 2 * math.Erfc(-x/math.Sqrt2)
	case matmul.QuickGELU:
		return x / (1 + math.Exp(-1.702*x))
	case matmul.GELUTanh:
		return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	case matmul.Tanh:
		return math.Tanh(x)
	}
	return x
}

func TestKernels(t *testing.T) {
	r := kernel.Open(t, image)
	rng := rand.New(rand.NewPCG(1, 1))
	randoms := func(n int, spread float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(spread * rng.NormFloat64())
		}
		return v
	}
	for _, half := range []bool{true, false} {
		typ, size := kernel.Type(half), kernel.Size(half)
		// Lengths of whole vectors and not, begun at a vector and not.
		for _, c := range []struct{ n, at, blocks int }{{1, 0, 1}, {7, 0, 1}, {8, 0, 2}, {1029, 0, 1}, {1029, 0, 7}, {4096, 0, 2}, {301, 1, 1}, {300, 4, 1}} {
			for _, spread := range []float64{0.01, 3, 30} {
				if c.n == 1 && spread > 3 {
					continue // what is below f16's smallest number is no relative error
				}
				x := randoms(c.n+c.at, spread)
				xs := r.Float(half, x).At(c.at)
				for act := matmul.None; act <= matmul.Tanh; act++ {
					want := make([]float64, c.n)
					for i := range want {
						want[i] = activation(act, float64(x[c.at+i]))
					}
					y := r.New(c.n+c.at, size).At(c.at)
					r.Run("act_"+typ, kernel.Dim{c.blocks}, kernel.Dim{256}, 0, xs, y, int64(c.n), int(act))
					r.Close(fmt.Sprintf("act %d of %s, %+v, spread %g", act, typ, c, spread), r.Floats(y), want, half, 1)
				}
			}
		}
		for _, c := range []struct{ n, period, at int }{{1, 1, 0}, {99, 99, 0}, {99, 33, 0}, {2048, 2048, 0}, {2048, 64, 0}, {45, 5, 0}, {640, 320, 1}, {2051, 2051, 0}, {50, 1, 0}} {
			x, b := randoms(c.n+c.at, 1), randoms(c.period+c.at, 1)
			xs, bs, y := r.Float(half, x).At(c.at), r.Float(half, b).At(c.at), r.New(c.n+c.at, size).At(c.at)
			want := make([]float64, c.n)
			for i := range want {
				want[i] = float64(x[c.at+i]) + float64(b[c.at+i%c.period])
			}
			r.Run("add_"+typ, kernel.Dim{2}, kernel.Dim{256}, 0, xs, bs, y, int64(c.n), int64(c.period))
			r.Close(fmt.Sprintf("add_%s %+v", typ, c), r.Floats(y), want, half, 1)
		}
	}
}

func TestCounts(t *testing.T) {
	r := kernel.Open(t, image)
	const n = 8192
	for _, half := range []bool{true, false} {
		size := kernel.Size(half)
		x, b, y := r.Float(half, make([]float32, n)), r.Float(half, make([]float32, 512)), r.New(n, size)
		run := func(name string, load, store int, args ...any) {
			t.Helper()
			c := r.Run(name, kernel.Dim{4}, kernel.Dim{256}, 0, args...)
			if int(c.Load.Bytes) != load || int(c.Store.Bytes) != store || c.Load.Efficiency() < 1 || c.Store.Efficiency() < 1 || c.LocalBytes > 0 {
				t.Errorf("%s: %+v loaded, %+v stored, %d bytes of local memory", name, c.Load, c.Store, c.LocalBytes)
			}
		}
		run("act_"+kernel.Type(half), n*size, n*size, x, y, int64(n), int(matmul.GELU))
		run("add_"+kernel.Type(half), 2*n*size, n*size, x, b, y, int64(n), int64(512))
	}
}
