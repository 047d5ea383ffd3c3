package optest

import (
	"fmt"
	"math"
	"testing"

	"parley/engine"
	"parley/kernels/activate"
	"parley/kernels/embed"
	"parley/kernels/matmul"
	"parley/kernels/resample"
)

// Activate is the suite of package activate.
func Activate(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	for _, dims := range [][]int{{1}, {7}, {3, 33}, {2, 5, 7, 9}, {50001}, {40, 1031}} {
		x := u.random(dims...)
		for i := range x.F32() {
			x.F32()[i] *= 3
		}
		for _, a := range acts {
			y := zeros(dims...)
			for i, v := range x.F32() {
				y.v[i] = activation(a.act, float64(v))
			}
			u.want(fmt.Sprintf("%s %v", a.name, dims), y, 1, func(s *engine.Stream) *engine.Tensor { return activate.Act(s, s.Put(x), a.act) })
		}
	}
	// The sum's last dimensions are those of x; b stands under each sample.
	for _, c := range []struct{ x, b []int }{
		{[]int{1}, []int{1}}, {[]int{3, 33}, []int{3, 33}}, {[]int{3, 33}, []int{33}}, {[]int{4, 5, 7}, []int{5, 7}},
		{[]int{2, 3, 4, 5}, []int{5}}, {[]int{70000}, []int{70000}}, {[]int{9000, 9}, []int{9}}, {[]int{3, 20001}, []int{20001}}, {[]int{50, 1}, []int{1}},
	} {
		x, b := u.random(c.x...), u.random(c.b...)
		y := zeros(c.x...)
		for i, v := range x.F32() {
			y.v[i] = float64(v) + float64(b.F32()[i%b.Elems()])
		}
		u.want(fmt.Sprintf("add %v + %v", c.x, c.b), y, 1, func(s *engine.Stream) *engine.Tensor { return activate.Add(s, s.Put(x), s.Put(b)) })
	}
	for _, dims := range [][]int{{1, 1, 1, 1}, {2, 3, 5, 7}, {3, 1, 9, 40}, {2, 31, 33, 24}, {5, 8}, {2, 4, 20001}} {
		n, c := dims[0], dims[len(dims)-1]
		x, b := u.random(dims...), u.random(n, c)
		y := zeros(dims...)
		for i, v := range x.F32() {
			y.v[i] = float64(v) + float64(b.F32()[i/(x.Elems()/n)*c+i%c])
		}
		u.want(fmt.Sprintf("add to each sample of %v", dims), y, 1, func(s *engine.Stream) *engine.Tensor {
			h := s.Put(x)
			if have := activate.AddPerSample(s, h, s.Put(b)); have != h {
				u.Error("AddPerSample did not work in place")
			}
			return h
		})
	}
	for _, dims := range [][]int{{2}, {1, 6}, {3, 2, 66}, {5, 100, 194}, {2, 20002}, {3000, 18}} {
		x := u.random(dims...)
		c := x.Dim(-1) / 2
		y := zeros(append(append([]int(nil), dims[:len(dims)-1]...), c)...)
		for i := range y.v {
			row := x.F32()[i/c*2*c:]
			y.v[i] = float64(row[i%c]) * activation(matmul.GELU, float64(row[c+i%c]))
		}
		u.want(fmt.Sprintf("geglu %v", dims), y, 1, func(s *engine.Stream) *engine.Tensor { return activate.GEGLU(s, s.Put(x)) })
	}

	u.refuses([]refusal{
		{"add", "activate: net: [2 3] + [4]", func(s *engine.Stream) *engine.Tensor {
			return activate.Add(s, s.New(engine.F32, 2, 3), s.New(engine.F32, 4))
		}},
		{"add nothing", "activate: net: [2 3] + [0]", func(s *engine.Stream) *engine.Tensor {
			return activate.Add(s, s.New(engine.F32, 2, 3), s.New(engine.F32, 0))
		}},
		{"samples", "activate: net: [2 4 3] + [4 3] for each sample", func(s *engine.Stream) *engine.Tensor {
			return activate.AddPerSample(s, s.New(engine.F32, 2, 4, 3), s.New(engine.F32, 4, 3))
		}},
		{"halves", "activate: net: [2 3] has no halves", func(s *engine.Stream) *engine.Tensor { return activate.GEGLU(s, s.New(engine.F32, 2, 3)) }},
	})
}

// Resample is the suite of package resample.
func Resample(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	for _, c := range []struct {
		lead []int
		a, b int
	}{{nil, 3, 2}, {[]int{1}, 1, 1}, {[]int{2, 3, 5}, 7, 9}, {[]int{1, 40, 40}, 24, 72}, {[]int{301}, 5, 640}} {
		dims := func(n int) []int { return append(append([]int(nil), c.lead...), n) }
		a, b := u.random(dims(c.a)...), u.random(dims(c.b)...)
		y := zeros(dims(c.a + c.b)...)
		for i := range y.v {
			if row, j := i/(c.a+c.b), i%(c.a+c.b); j < c.a {
				y.v[i] = float64(a.F32()[row*c.a+j])
			} else {
				y.v[i] = float64(b.F32()[row*c.b+j-c.a])
			}
		}
		u.want(fmt.Sprintf("concat %v and %v", a.Shape(), b.Shape()), y, 0x1p-20, func(s *engine.Stream) *engine.Tensor { return resample.Concat(s, s.Put(a), s.Put(b)) })
	}
	u.refuses([]refusal{
		{"rows", "resample: net: concat [2 3 4] and [2 2 4]", func(s *engine.Stream) *engine.Tensor {
			return resample.Concat(s, s.New(engine.F32, 2, 3, 4), s.New(engine.F32, 2, 2, 4))
		}},
		{"as many rows", "resample: net: concat [2 3 4] and [3 2 4]", func(s *engine.Stream) *engine.Tensor {
			return resample.Concat(s, s.New(engine.F32, 2, 3, 4), s.New(engine.F32, 3, 2, 4))
		}},
	})
}

// Embed is the suite of package embed.
func Embed(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	for _, c := range []struct {
		name  string
		table []int
		ids   []int32
	}{
		{"one", []int{1, 1}, []int32{0}},
		{"any order", []int{11, 7}, []int32{10, 0, 3, 3, 9, 0}},
		{"cache", []int{3, 5, 8}, []int32{2, 2, 0}},
		{"none", []int{3, 5}, nil},
		{"wide", []int{300, 769}, []int32{299, 1, 150}},
	} {
		table := u.random(c.table...)
		row := table.Elems() / c.table[0]
		y := zeros(append([]int{len(c.ids)}, c.table[1:]...)...)
		for i := range y.v {
			y.v[i] = float64(table.F32()[int(c.ids[i/row])*row+i%row])
		}
		u.want("rows, "+c.name, y, 0x1p-20, func(s *engine.Stream) *engine.Tensor { return embed.Rows(s, s.Put(table), c.ids) })
	}
	for _, c := range []struct {
		n      int
		length int
		width  int
	}{{1, 1, 1}, {3, 5, 7}, {2, 77, 96}} {
		table, positions := u.random(13, c.width), u.random(c.length, c.width)
		ids := make([]int32, c.n*c.length)
		for i := range ids {
			ids[i] = int32(u.rng.IntN(13))
		}
		y := zeros(c.n, c.length, c.width)
		for i := range y.v {
			y.v[i] = float64(table.F32()[int(ids[i/c.width])*c.width+i%c.width]) + float64(positions.F32()[i%(c.length*c.width)])
		}
		u.want(fmt.Sprintf("add %d x %d x %d", c.n, c.length, c.width), y, 1, func(s *engine.Stream) *engine.Tensor {
			return embed.Add(s, s.Put(table), ids, s.Put(positions), c.n)
		})
	}
	for _, c := range []struct {
		ts  []float64
		dim int
		// The angle, t times a frequency, is rounded before its sine is taken.
		more float64
	}{{[]float64{0}, 2, 1}, {[]float64{1, 0.5, 3}, 320, 1}, {[]float64{999, 261, 1}, 24, 20}, {[]float64{981, 37.5}, 33, 20}} {
		y := zeros(len(c.ts), c.dim)
		half := c.dim / 2
		for i, t := range c.ts {
			for j := range half {
				a := t * math.Pow(10000, -float64(j)/float64(half))
				y.v[i*c.dim+j], y.v[i*c.dim+half+j] = math.Cos(a), math.Sin(a)
			}
		}
		u.want(fmt.Sprintf("timesteps %v in %d", c.ts, c.dim), y, c.more, func(s *engine.Stream) *engine.Tensor { return embed.Timesteps(s, c.ts, c.dim) })
	}

	add := func(ids, length, width, n int) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			return embed.Add(s, s.New(engine.F32, 9, 4), make([]int32, ids), s.New(engine.F32, length, width), n)
		}
	}
	u.refuses([]refusal{
		{"high id", "embed: net: row 9 of [9 4]", func(s *engine.Stream) *engine.Tensor { return embed.Rows(s, s.New(engine.F32, 9, 4), []int32{1, 9}) }},
		{"negative id", "embed: net: row -1 of [9 4]", func(s *engine.Stream) *engine.Tensor { return embed.Rows(s, s.New(engine.F32, 9, 4), []int32{-1}) }},
		{"ids", "embed: net: 5 ids in 2 rows, table [9 4], positions [3 4]", add(5, 3, 4, 2)},
		{"positions", "embed: net: 6 ids in 2 rows, table [9 4], positions [3 5]", add(6, 3, 5, 2)},
	})
}
