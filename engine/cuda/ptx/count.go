package ptx

import (
	"math/bits"
	"slices"
)

// Class is a class of instructions, as Counts has them.
type Class uint8

const (
	ClassInt Class = iota
	ClassFloat
	ClassFMA
	ClassHalf // f16, bf16 and their pairs
	ClassDouble
	ClassSpecial // division, roots, ex2, ...
	ClassConvert
	ClassCompare
	ClassMove
	ClassWarp     // shfl, vote, match, redux
	ClassWarpSync // bar.warp.sync
	ClassMMA
	ClassLoadMatrix
	ClassLoadGlobal
	ClassStoreGlobal
	ClassLoadShared
	ClassStoreShared
	ClassLoadLocal
	ClassStoreLocal
	ClassLoadParam
	ClassLoadGeneric
	ClassStoreGeneric
	ClassAtomic
	ClassAsync // cp.async and its groups
	ClassBarrier
	ClassFence
	ClassBranch
	ClassControl
	Classes // how many there are
)

func (c Class) String() string {
	return [...]string{"int", "float", "fma", "half", "double", "special", "convert", "compare", "move", "warp", "warp sync",
		"mma", "ldmatrix", "ld.global", "st.global", "ld.shared", "st.shared", "ld.local", "st.local", "ld.param",
		"ld.generic", "st.generic", "atomic", "cp.async", "barrier", "fence", "branch", "control"}[c]
}

// Counts is what one launch did.
type Counts struct {
	Kernel      string
	Grid, Block [3]uint32
	Shared      int // bytes of shared memory of a block

	Warp   [Classes]uint64 // instructions that warps ran
	Thread [Classes]uint64 // the same, by the threads that took part

	FMAs     uint64 // scalar ones of f32: an FMA counts 2, an add or mul 1; divisions and the like are not in it
	MMAFLOPs uint64 // 2·m·n·k of each mma

	// Global memory: requests are warps' instructions, sectors the 32 bytes that
	// they touch, ideal sectors the fewest that hold as many bytes.
	Load, Store Traffic
	LocalBytes  uint64

	// Shared memory: wavefronts are the cycles that the banks need, ideal ones
	// those without conflicts.
	SharedLoad, SharedStore Banks

	Barriers uint64 // completed barriers of blocks

	Lines []Line // the instructions that touch global or shared memory, as they stand in the text
}

// A Line is what one instruction of the PTX text did in a launch.
type Line struct {
	Line                    int
	Instruction             string
	Warp, Thread            uint64 // how often warps ran it, and in how many threads
	Load, Store             Traffic
	SharedLoad, SharedStore Banks
}

// Traffic is what went over the bus to global memory.
type Traffic struct{ Requests, Bytes, Sectors, Ideal uint64 }

// Efficiency is the part of the sectors' bytes that was asked for.
func (t Traffic) Efficiency() float64 {
	if t.Sectors == 0 {
		return 1
	}
	return float64(t.Bytes) / float64(32*t.Sectors)
}

// Banks is the use of shared memory.
type Banks struct{ Requests, Bytes, Wavefronts, Ideal uint64 }

// Conflicts is how many wavefronts bank conflicts added.
func (b Banks) Conflicts() uint64 { return b.Wavefronts - b.Ideal }

// stats is the part of Counts that a worker gathers while it runs.
type stats struct {
	mmaFLOPs   uint64
	localBytes uint64
	barriers   uint64
	sites      []site // by instruction; nil without Options.Count
}

type site struct {
	load, store             Traffic
	sharedLoad, sharedStore Banks
}

func (t *Traffic) add(o Traffic) {
	t.Requests += o.Requests
	t.Bytes += o.Bytes
	t.Sectors += o.Sectors
	t.Ideal += o.Ideal
}

func (b *Banks) add(o Banks) {
	b.Requests += o.Requests
	b.Bytes += o.Bytes
	b.Wavefronts += o.Wavefronts
	b.Ideal += o.Ideal
}

// Counts lists what the launches since New or ResetCounts did, in their order.
// It is empty without Options.Count.
func (m *Machine) Counts() []Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.counts)
}

// ResetCounts forgets the launches so far.
func (m *Machine) ResetCounts() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts = nil
}

func (m *Machine) record(l *launch, workers []*worker) {
	c := Counts{Kernel: l.f.name, Grid: l.grid, Block: l.block, Shared: l.p.dynamic + int(l.shared)}
	for pc := range l.p.code {
		in := &l.p.code[pc]
		line := Line{Line: int(in.line)}
		var s site
		for _, w := range workers {
			line.Warp += w.runs[pc]
			line.Thread += w.lanes[pc]
			o := &w.stats.sites[pc]
			s.load.add(o.load)
			s.store.add(o.store)
			s.sharedLoad.add(o.sharedLoad)
			s.sharedStore.add(o.sharedStore)
		}
		c.Warp[in.class] += line.Warp
		c.Thread[in.class] += line.Thread
		if s == (site{}) {
			continue
		}
		line.Load, line.Store, line.SharedLoad, line.SharedStore = s.load, s.store, s.sharedLoad, s.sharedStore
		c.Load.add(s.load)
		c.Store.add(s.store)
		c.SharedLoad.add(s.sharedLoad)
		c.SharedStore.add(s.sharedStore)
		line.Instruction = in.st.text()
		c.Lines = append(c.Lines, line)
	}
	for _, w := range workers {
		c.MMAFLOPs += w.stats.mmaFLOPs
		c.LocalBytes += w.stats.localBytes
		c.Barriers += w.stats.barriers
	}
	c.FMAs = 2*c.Thread[ClassFMA] + c.Thread[ClassFloat]
	m.mu.Lock()
	m.counts = append(m.counts, c)
	m.mu.Unlock()
}

// countGlobal counts the sectors of an access of the lanes of mask.
func (w *warp) countGlobal(in *inst, m *memOp, mask uint32) {
	var s [2 * warpSize]uint64
	n := 0
	for l := mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		first := w.addr[i] >> 5
		if n == 0 || s[n-1] != first { // neighbours are often in one sector
			s[n] = first
			n++
		}
	}
	// An access is aligned to its size, 16 bytes at most: it has one sector.
	u := s[:n]
	slices.Sort(u)
	u = slices.Compact(u)
	bytes := uint64(bits.OnesCount32(mask)) * m.total
	t := Traffic{Requests: 1, Bytes: bytes, Sectors: uint64(len(u)), Ideal: (bytes + 31) / 32}
	if m.write {
		w.wk.stats.sites[in.index].store.add(t)
	}
	if m.read {
		w.wk.stats.sites[in.index].load.add(t)
	}
}

// countShared counts the wavefronts of an access: 32 banks of 4 bytes; one
// wavefront serves each bank one word, to all lanes that want it. Accesses of 8
// bytes are served by half warps, of 16 bytes by quarters (and so ldmatrix, a
// matrix at a time).
func (w *warp) countShared(in *inst, m *memOp, mask uint32) {
	per := warpSize
	switch {
	case m.total == 16:
		per = 8
	case m.total == 8:
		per = 16
	}
	var b Banks
	b.Requests = 1
	b.Bytes = uint64(bits.OnesCount32(mask)) * m.total
	for lo := 0; lo < warpSize; lo += per {
		part := mask >> lo & uint32(1<<per-1)
		if part == 0 {
			continue
		}
		var words [32][]uint64
		var store [4 * warpSize]uint64
		used := 0
		most := 0
		for l := part; l != 0; l &= l - 1 {
			a := w.addr[lo+bits.TrailingZeros32(l)]
			for k := uint64(0); k < max(m.total, 4); k += 4 {
				word := (a + k) >> 2
				bank := word & 31
				if slices.Contains(words[bank], word) {
					continue
				}
				if words[bank] == nil && used+4 <= len(store) {
					words[bank] = store[used : used : used+4]
					used += 4
				}
				words[bank] = append(words[bank], word)
				most = max(most, len(words[bank]))
			}
		}
		b.Wavefronts += uint64(most)
		b.Ideal++
	}
	if m.write {
		w.wk.stats.sites[in.index].sharedStore.add(b)
	}
	if m.read {
		w.wk.stats.sites[in.index].sharedLoad.add(b)
	}
}
