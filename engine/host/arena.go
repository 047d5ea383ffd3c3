package host

import (
	"slices"
	"unsafe"
)

// arena is the memory of tensors that come and go: a few large chunks, of which
// blocks are cut and into which they melt again. One net's maps lie where another's
// of other sizes have been, so that the most that is taken is what the largest
// takes, not the sum.
type arena struct {
	chunks []*chunk
	taken  map[uintptr]place // by address
}

// A chunk has its gaps in the order of their addresses, no two of them side by side.
type chunk struct {
	mem  []byte
	gaps []gap
}

type gap struct{ lo, hi int }

type place struct {
	in *chunk
	gap
}

// Bytes: of a block's start, and of the first chunk and the largest that is not a
// block's own. Memory that nobody has written to is not there yet.
const align, least, most = 64, 1 << 20, 1 << 30

// take cuts a block of n bytes from the smallest gap that has room.
func (a *arena) take(n int) []byte {
	room := (max(n, 1) + align - 1) / align * align
	var in *chunk
	at := 0
	for _, c := range a.chunks {
		for i, g := range c.gaps {
			if size := g.hi - g.lo; size >= room && (in == nil || size < in.gaps[at].hi-in.gaps[at].lo) {
				in, at = c, i
			}
		}
	}
	if in == nil {
		in, at = a.grow(room), 0
	}
	g := &in.gaps[at]
	lo := g.lo
	if g.lo += room; g.lo == g.hi {
		in.gaps = slices.Delete(in.gaps, at, at+1)
	}
	b := in.mem[lo : lo+n : lo+room]
	if a.taken == nil {
		a.taken = map[uintptr]place{}
	}
	a.taken[address(b)] = place{in, gap{lo, lo + room}}
	return b
}

// grow adds a chunk with room for a block, each as large as all before it.
func (a *arena) grow(room int) *chunk {
	size := least
	for _, c := range a.chunks {
		size += len(c.mem)
	}
	raw := make([]byte, max(room, min(size, most))+align)
	off := int(-address(raw) & (align - 1))
	mem := raw[off : len(raw)-align+off]
	c := &chunk{mem: mem, gaps: []gap{{0, len(mem) / align * align}}}
	a.chunks = append(a.chunks, c)
	return c
}

// give takes a block back. What is not the start of one is nobody's: a view, or the
// caller's own slice.
func (a *arena) give(b []byte) {
	b = b[:cap(b)]
	p, ok := a.taken[address(b)]
	if !ok || len(b) != p.hi-p.lo {
		return
	}
	delete(a.taken, address(b))
	gaps := p.in.gaps
	i, _ := slices.BinarySearchFunc(gaps, p.lo, func(g gap, lo int) int { return g.lo - lo })
	gaps = slices.Insert(gaps, i, p.gap)
	if i+1 < len(gaps) && gaps[i].hi == gaps[i+1].lo {
		gaps[i].hi = gaps[i+1].hi
		gaps = slices.Delete(gaps, i+1, i+2)
	}
	if i > 0 && gaps[i-1].hi == gaps[i].lo {
		gaps[i-1].hi = gaps[i].hi
		gaps = slices.Delete(gaps, i, i+1)
	}
	p.in.gaps = gaps
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
