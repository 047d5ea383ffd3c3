package optest

import (
	"fmt"
	"math"
	"testing"

	"parley/engine"
	"parley/kernels/embed"
)

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
