package optest

import (
	"fmt"
	"math"
	"testing"

	"parley/engine"
	"parley/kernels/activate"
	"parley/kernels/embed"
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
		x = u.round(x)
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
	u.refuses([]refusal{
		{"add", "activate: net: [2 3] + [4]", func(s *engine.Stream) *engine.Tensor {
			return activate.Add(s, s.New(engine.F32, 2, 3), s.New(engine.F32, 4))
		}},
		{"add nothing", "activate: net: [2 3] + [0]", func(s *engine.Stream) *engine.Tensor {
			return activate.Add(s, s.New(engine.F32, 2, 3), s.New(engine.F32, 0))
		}},
	})
}

// exact is what the bound is multiplied with where values are only moved.
func (u *suite) exact() float64 { return 1e-9 / u.bound }

// Resample is the suite of package resample.
func Resample(t *testing.T, dev engine.Device) {
	u := start(t, dev)
	for _, c := range []struct {
		dims   []int
		lo, hi int
	}{{[]int{7}, 2, 5}, {[]int{1, 1}, 0, 1}, {[]int{2, 3, 5, 8}, 0, 4}, {[]int{301, 64}, 8, 64}, {[]int{3, 6}, 2, 2}} {
		x := u.random(c.dims...)
		n, w := x.Dim(-1), c.hi-c.lo
		y := zeros(append(append([]int(nil), c.dims[:len(c.dims)-1]...), w)...)
		for i := range y.v {
			y.v[i] = float64(x.F32()[i/w*n+c.lo+i%w])
		}
		u.want(fmt.Sprintf("channels %d to %d of %v", c.lo, c.hi, c.dims), y, u.exact(), func(s *engine.Stream) *engine.Tensor {
			return resample.Channels(s, s.Put(x), c.lo, c.hi)
		})
	}
	for _, c := range []struct {
		dims            []int
		top, left, h, w int
	}{{[]int{1, 1, 1, 1}, 0, 0, 1, 1}, {[]int{2, 5, 7, 3}, 1, 2, 3, 4}, {[]int{1, 9, 8, 16}, 0, 3, 9, 5}, {[]int{3, 4, 4, 5}, 2, 2, 2, 2}} {
		x, base := u.random(c.dims...), u.random(c.dims...)
		n, ch := c.dims[0], c.dims[3]
		crop, paste := zeros(n, c.h, c.w, ch), zeros(c.dims...)
		for i, v := range base.F32() {
			paste.v[i] = float64(v)
		}
		for b := range n {
			for i := range c.h {
				for j := range c.w {
					for k := range ch {
						in := func(y, x int) int { return ((b*c.dims[1]+y)*c.dims[2]+x)*ch + k }
						crop.v[((b*c.h+i)*c.w+j)*ch+k] = float64(x.F32()[in(c.top+i, c.left+j)])
						paste.v[in(c.top+i, c.left+j)] = float64(x.F32()[in(i, j)])
					}
				}
			}
		}
		name := fmt.Sprintf("%d x %d at %d, %d of %v", c.h, c.w, c.top, c.left, c.dims)
		u.want("crop "+name, crop, u.exact(), func(s *engine.Stream) *engine.Tensor {
			return resample.Crop(s, s.Put(x), c.top, c.left, c.h, c.w)
		})
		u.want("paste "+name, paste, u.exact(), func(s *engine.Stream) *engine.Tensor {
			y := s.Put(base)
			resample.Paste(s, y, s.Put(x), c.top, c.left, c.h, c.w)
			return y
		})
	}
	for _, dims := range [][]int{{1, 1, 1, 1}, {2, 3, 5, 7}, {3, 4, 1, 16}, {1, 40, 33, 8}} {
		x := u.random(dims...)
		h, w, c := 2*dims[1], 2*dims[2], dims[3]
		y := zeros(dims[0], h, w, c)
		for i := range y.v {
			b, row, col, k := i/c/w/h, i/c/w%h, i/c%w, i%c
			y.v[i] = float64(x.F32()[((b*dims[1]+row/2)*dims[2]+col/2)*c+k])
		}
		u.want(fmt.Sprintf("upsample %v", dims), y, u.exact(), func(s *engine.Stream) *engine.Tensor { return resample.Upsample(s, s.Put(x)) })
	}
	for _, c := range []struct {
		a, b   []int
		extent int
		down   bool
	}{{[]int{1, 4, 3, 3}, []int{1, 5, 3, 3}, 2, true}, {[]int{2, 4, 6, 3}, []int{2, 4, 5, 3}, 4, false}, {[]int{1, 8, 9, 3}, []int{1, 8, 7, 3}, 8, true}, {[]int{1, 6, 4, 3}, []int{1, 5, 4, 3}, 1, false}} {
		a, b := u.random(c.a...), u.random(c.b...)
		y := zeros(c.b...)
		for i, v := range b.F32() {
			k, col, row, n := i%3, i/3%c.b[2], i/3/c.b[2]%c.b[1], i/3/c.b[2]/c.b[1]
			y.v[i] = float64(v)
			t, ay, ax := row, c.a[1]-c.extent+row, col
			if !c.down {
				t, ay, ax = col, row, c.a[2]-c.extent+col
			}
			if t < c.extent && ay < c.a[1] && ax < c.a[2] {
				f := float64(t) / float64(c.extent)
				y.v[i] = float64(a.F32()[((n*c.a[1]+ay)*c.a[2]+ax)*3+k])*(1-f) + float64(v)*f
			}
		}
		u.want(fmt.Sprintf("fade %v into %v over %d, down %t", c.a, c.b, c.extent, c.down), y, 1, func(s *engine.Stream) *engine.Tensor {
			to := s.Put(b)
			resample.Fade(s, s.Put(a), to, c.extent, c.down)
			return to
		})
	}
	fails := func(f func(*engine.Stream, *engine.Tensor)) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			x := s.New(s.Float(), 1, 4, 4, 3)
			f(s, x)
			return x
		}
	}
	u.refuses([]refusal{
		{"channels", "resample: net: channels 2 to 4 of [1 4 4 3]", fails(func(s *engine.Stream, x *engine.Tensor) { resample.Channels(s, x, 2, 4) })},
		{"crop", "resample: net: crop of 3 x 3 at 2, 0 from [1 4 4 3]", fails(func(s *engine.Stream, x *engine.Tensor) { resample.Crop(s, x, 2, 0, 3, 3) })},
		{"paste", "resample: net: 4 x 4 of [1 4 4 3] at 0, 1 of [1 4 4 3]", fails(func(s *engine.Stream, x *engine.Tensor) { resample.Paste(s, x, x, 0, 1, 4, 4) })},
		{"fade", "resample: net: fade of [1 4 4 3] into [1 4 4 3] over 5", fails(func(s *engine.Stream, x *engine.Tensor) { resample.Fade(s, x, x, 5, true) })},
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
		u.want("rows, "+c.name, y, u.exact(), func(s *engine.Stream) *engine.Tensor {
			return embed.Rows(s, s.Put(table), ids(s, c.ids, len(c.ids)))
		})
	}
	for _, c := range []struct {
		n      int
		length int
		width  int
	}{{1, 1, 1}, {3, 5, 7}, {2, 77, 96}} {
		table, positions := u.random(13, c.width), u.random(c.length, c.width)
		words := make([]int32, c.n*c.length)
		for i := range words {
			words[i] = int32(u.rng.IntN(13))
		}
		y := zeros(c.n, c.length, c.width)
		for i := range y.v {
			y.v[i] = float64(table.F32()[int(words[i/c.width])*c.width+i%c.width]) + float64(positions.F32()[i%(c.length*c.width)])
		}
		u.want(fmt.Sprintf("tokens %d x %d x %d", c.n, c.length, c.width), y, 1, func(s *engine.Stream) *engine.Tensor {
			return embed.Tokens(s, s.Put(table), ids(s, words, c.n, c.length), s.Put(positions), 0, nil)
		})
		later := u.random(c.length+5, c.width)
		for i := range y.v {
			y.v[i] += float64(later.F32()[i%(c.length*c.width)+3*c.width]) - float64(positions.F32()[i%(c.length*c.width)])
		}
		u.want(fmt.Sprintf("tokens %d x %d x %d at 3", c.n, c.length, c.width), y, 1, func(s *engine.Stream) *engine.Tensor {
			return embed.Tokens(s, s.Put(table), ids(s, words, c.n, c.length), s.Put(later), 1, ids(s, []int32{2}, 1))
		})
		patches, class := u.random(c.n, c.length, c.width), u.random(c.width)
		positions = u.random(c.length+1, c.width)
		y = zeros(c.n, c.length+1, c.width)
		for i := range y.v {
			row, j := i/c.width%(c.length+1), i%c.width
			y.v[i] = float64(positions.F32()[row*c.width+j])
			if row == 0 {
				y.v[i] += float64(class.F32()[j])
			} else {
				y.v[i] += float64(patches.F32()[(i/c.width/(c.length+1)*c.length+row-1)*c.width+j])
			}
		}
		u.want(fmt.Sprintf("patches %d x %d x %d", c.n, c.length, c.width), y, 1, func(s *engine.Stream) *engine.Tensor {
			return embed.Patches(s, s.Put(patches), s.Put(class), s.Put(positions))
		})
	}
	for _, c := range []struct{ n, room, length, width, at int }{{1, 1, 1, 1, 0}, {3, 20, 1, 7, 19}, {2, 9, 4, 96, 3}, {2, 5, 5, 8, 0}} {
		cache, rows := u.random(c.n, c.room, c.width), u.random(c.n, c.length, c.width)
		y := zeros(c.n, c.room, c.width)
		for i, v := range cache.F32() {
			y.v[i] = float64(v)
			if r := i/c.width%c.room - c.at; r >= 0 && r < c.length {
				y.v[i] = float64(rows.F32()[(i/c.width/c.room*c.length+r)*c.width+i%c.width])
			}
		}
		u.want(fmt.Sprintf("append %d at %d", c.length, c.at), y, u.exact(), func(s *engine.Stream) *engine.Tensor {
			to := s.Put(cache)
			embed.Append(s, to, s.Put(rows), c.at/2, ids(s, []int32{int32(c.at - c.at/2)}, 1))
			return to
		})
		// Of wider rows, the last columns.
		wide := columns(u.random(c.n, c.length, c.width), rows)
		u.want(fmt.Sprintf("append %d at %d, of wider rows", c.length, c.at), y, u.exact(), func(s *engine.Stream) *engine.Tensor {
			to := s.Put(cache)
			embed.Append(s, to, s.Put(wide), c.at, nil)
			return to
		})
	}
	for _, c := range []struct{ n, room, width, used int }{{1, 1, 1, 1}, {3, 9, 8, 5}, {4, 5, 7, 5}, {2, 40, 96, 1}} {
		cache := u.random(c.n, c.room, c.width)
		from := make([]int32, c.n)
		y := zeros(c.n, c.used, c.width)
		for i := range from {
			from[i] = int32(u.rng.IntN(c.n))
			for j := range c.used * c.width {
				y.v[i*c.used*c.width+j] = float64(cache.F32()[int(from[i])*c.room*c.width+j])
			}
		}
		u.want(fmt.Sprintf("select %d of %d rows", c.used, c.room), y, u.exact(), func(s *engine.Stream) *engine.Tensor {
			return embed.Select(s, s.Put(cache), ids(s, from, c.n), c.used)
		})
	}
	for _, c := range []struct {
		ts  []float64
		dim int
		// The angle, t times a frequency, is rounded before its sine is taken.
		more float64
		o    embed.Sinusoids
	}{{[]float64{0}, 2, 1, embed.Sinusoids{}}, {[]float64{1, 0.5, 3}, 320, 1, embed.Sinusoids{}}, {[]float64{999, 261, 1}, 24, 20, embed.Sinusoids{}},
		{[]float64{981, 37.5}, 33, 20, embed.Sinusoids{}}, {[]float64{1, 0.5, 3}, 64, 1, embed.Sinusoids{SineFirst: true, Shift: 1}}} {
		y := zeros(len(c.ts), c.dim)
		half := c.dim / 2
		for i, t := range c.ts {
			for j := range half {
				a := t * math.Pow(10000, -float64(j)/(float64(half)-c.o.Shift))
				y.v[i*c.dim+j], y.v[i*c.dim+half+j] = math.Cos(a), math.Sin(a)
				if c.o.SineFirst {
					y.v[i*c.dim+j], y.v[i*c.dim+half+j] = math.Sin(a), math.Cos(a)
				}
			}
		}
		u.want(fmt.Sprintf("timesteps %v in %d", c.ts, c.dim), y, c.more, func(s *engine.Stream) *engine.Tensor { return embed.Timesteps(s, c.ts, c.dim, c.o) })
	}

	tokens := func(n, length, positions, width int) func(*engine.Stream) *engine.Tensor {
		return func(s *engine.Stream) *engine.Tensor {
			return embed.Tokens(s, s.New(s.Float(), 9, 4), s.New(engine.I32, n, length), s.New(s.Float(), positions, width), 0, nil)
		}
	}
	list := []refusal{
		{"ids", "embed: net: ids [2 4] at 0, table [9 4], positions [3 4]", tokens(2, 4, 3, 4)},
		{"positions", "embed: net: ids [2 3] at 0, table [9 4], positions [3 5]", tokens(2, 3, 3, 5)},
		{"patches", "embed: net: patches [2 3 4], class [4], positions [5 4]", func(s *engine.Stream) *engine.Tensor {
			return embed.Patches(s, s.New(s.Float(), 2, 3, 4), s.New(s.Float(), 4), s.New(s.Float(), 5, 4))
		}},
		{"cache", "embed: net: rows [2 3 4] at 3 of a cache of [2 5 4]", func(s *engine.Stream) *engine.Tensor {
			cache := s.New(s.Float(), 2, 5, 4)
			embed.Append(s, cache, s.New(s.Float(), 2, 3, 4), 3, nil)
			return cache
		}},
	}
	list = append(list, refusal{"select", "embed: net: 6 rows of a cache of [2 5 4]", func(s *engine.Stream) *engine.Tensor {
		return embed.Select(s, s.New(s.Float(), 2, 5, 4), ids(s, []int32{1, 0}, 2), 6)
	}})
	if dev.Local() { // elsewhere ids are not looked at: nets check what users give
		list = append(list, refusal{"high id", "embed: net: row 9 of [9 4]", func(s *engine.Stream) *engine.Tensor {
			return embed.Rows(s, s.New(s.Float(), 9, 4), ids(s, []int32{1, 9}, 2))
		}}, refusal{"negative id", "embed: net: row -1 of [9 4]", func(s *engine.Stream) *engine.Tensor {
			return embed.Rows(s, s.New(s.Float(), 9, 4), ids(s, []int32{-1}, 1))
		}})
	}
	u.refuses(list)
}
