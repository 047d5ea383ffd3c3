package ptx

import "math/bits"

// The sanitizer (Options.Check).
//
// Every warp has a vector clock, a count for each warp of the block. A barrier
// joins the clocks of those that meet at it, and moves each one's own count on;
// so does bar.warp.sync for the lanes of one warp. What a thread did is known to
// have happened before another's access when the count that its warp had then is
// below the one that the other's warp knows of it. Each granule of shared memory
// (the least width of the kernel's accesses, 4 bytes at most) remembers its last
// writer and up to two readers of different warps, with their counts. Two
// accesses of different threads of which one writes, and neither happened before
// the other, are a race.
//
// Counts never go down, so that what is left of earlier blocks is old and needs
// no clearing; a granule whose last write is older than the block was never
// written by it.

// stamp is who and when: the thread in the low 10 bits, flags, the count above.
type stamp uint64

const (
	stampThread = 1<<10 - 1
	stampAtomic = 1 << 10 // by an atomic or the like
	stampAsync  = 1 << 11 // by a cp.async that was not waited for
	stampMany   = 1 << 12 // by more lanes of the warp than this one
	stampShift  = 16
)

func (s stamp) clock() uint64 { return uint64(s >> stampShift) }
func (s stamp) thread() int   { return int(s & stampThread) }
func (s stamp) warp() int     { return s.thread() / warpSize }

type blockCheck struct {
	b      *block
	base   uint64     // counts below are of earlier blocks
	clocks [][]uint64 // by warp, then by warp
	write  []stamp
	read   [2][]stamp
	shift  uint // of a granule
	syncs  map[uint64][]uint64
	waits  []stamp // by warp: its first griddepcontrol.wait (depend.go)
}

func newBlockCheck(b *block) *blockCheck {
	c := &blockCheck{b: b, base: 1, shift: uint(bits.TrailingZeros64(b.l.p.granule))}
	n := len(b.smem)>>c.shift + 1
	c.write = make([]stamp, n)
	c.read[0], c.read[1] = make([]stamp, n), make([]stamp, n)
	c.waits = make([]stamp, len(b.warps))
	c.clocks = make([][]uint64, len(b.warps))
	for i := range c.clocks {
		c.clocks[i] = make([]uint64, len(b.warps))
	}
	return c
}

// reset begins a new block.
func (c *blockCheck) reset() {
	for i := range c.clocks {
		c.base = max(c.base, c.clocks[i][i]+1)
	}
	for i := range c.clocks {
		for j := range c.clocks[i] {
			c.clocks[i][j] = c.base
		}
		c.clocks[i][i]++
	}
	c.syncs = nil
	clear(c.waits)
}

// known reports whether what s says happened before w's present.
func (c *blockCheck) known(w *warp, s stamp) bool { return s.clock() < c.clocks[w.id][s.warp()] }

// The clock of a warp u at its accesses is clocks[u][u]; another warp that has
// joined knows clocks[u][u] after u moved on, which is one more.

func (c *blockCheck) warpSync(w *warp) { c.clocks[w.id][w.id]++ }

// arrive gives the barrier what the warp knows.
func (c *blockCheck) arrive(w *warp, bar *barrier) {
	if bar.clocks == nil {
		bar.clocks = make([]uint64, len(c.clocks))
	}
	c.clocks[w.id][w.id]++
	for i, v := range c.clocks[w.id] {
		bar.clocks[i] = max(bar.clocks[i], v)
	}
}

// leave gives the warp what the barrier knows.
func (c *blockCheck) leave(w *warp, bar *barrier) {
	for i, v := range bar.clocks {
		c.clocks[w.id][i] = max(c.clocks[w.id][i], v)
	}
}

// release and acquire are the same for a word of shared memory by which threads
// synchronise: an mbarrier, or a flag with .release and .acquire.
func (c *blockCheck) release(w *warp, addr uint64) {
	if c.syncs == nil {
		c.syncs = map[uint64][]uint64{}
	}
	s := c.syncs[addr]
	if s == nil {
		s = make([]uint64, len(c.clocks))
		c.syncs[addr] = s
	}
	c.clocks[w.id][w.id]++
	for i, v := range c.clocks[w.id] {
		s[i] = max(s[i], v)
	}
}

func (c *blockCheck) acquire(w *warp, addr uint64) {
	for i, v := range c.syncs[addr] {
		c.clocks[w.id][i] = max(c.clocks[w.id][i], v)
	}
	c.clocks[w.id][w.id]++
}

// ended: nothing has to be kept of a warp that has ended; copies that it did not
// wait for stay pending.
func (c *blockCheck) ended(*warp) {}

// ordered reports whether an earlier access of s is before this one of a thread.
func (c *blockCheck) ordered(w *warp, thread int, s stamp) bool {
	if s.clock() < c.base || c.known(w, s) {
		return true
	}
	return s.thread() == thread && s&stampMany == 0
}

// checkShared checks an access of the lanes of mask to shared memory and notes it.
func (w *warp) checkShared(in *inst, m *memOp, mask uint32) {
	c := w.blk.check
	now := c.clocks[w.id][w.id] << stampShift
	flags := stamp(0)
	if m.atomic {
		flags = stampAtomic
	}
	async := in.class == ClassAsync
	if async {
		flags = stampAsync
	}
	for l := mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		thread := w.id*warpSize + i
		me := stamp(now) | stamp(thread) | flags
		a := w.addr[i]
		if m.acq {
			c.acquire(w, a)
			now = c.clocks[w.id][w.id] << stampShift
			me = stamp(now) | stamp(thread) | flags
		}
		for g := a >> c.shift; g <= (a+m.total-1)>>c.shift; g++ {
			at := g << c.shift
			wr := c.write[g]
			old := wr.clock() < c.base
			switch {
			case wr&stampAsync != 0 && !old:
				what := "written"
				if !m.write || m.read {
					what = "read"
				}
				w.fault(in, i, at, "shared memory at %#x is %s before the cp.async of thread %v to it was waited for", at, what,
					w.blk.threadIndex(wr.thread()))
			case m.read && old:
				w.fault(in, i, at, "uninitialised: shared memory at %#x is read before the block wrote it", at)
			case !old && !(m.atomic && wr&stampAtomic != 0) && !c.ordered(w, thread, wr):
				what := "write"
				if !m.write {
					what = "read"
				}
				w.fault(in, i, at, "race: %s of shared memory at %#x, which thread %v wrote with no barrier between", what, at,
					w.blk.threadIndex(wr.thread()))
			}
			if m.write {
				for k := range c.read {
					if rd := c.read[k][g]; !(m.atomic && rd&stampAtomic != 0) && !c.ordered(w, thread, rd) {
						w.fault(in, i, at, "race: write of shared memory at %#x, which thread %v read with no barrier between", at,
							w.blk.threadIndex(rd.thread()))
					}
				}
				c.write[g] = me
				continue
			}
			c.noteRead(w, g, me)
		}
		if m.rel {
			c.release(w, a)
			now = c.clocks[w.id][w.id] << stampShift
		}
		if async {
			w.copies = append(w.copies, asyncCopy{lane: i, dst: a, size: m.total, open: true})
		}
	}
}

// noteRead keeps the read me of granule g.
func (c *blockCheck) noteRead(w *warp, g uint64, me stamp) {
	for k := range c.read {
		rd := c.read[k][g]
		if rd.warp() == w.id && rd.clock() >= c.base {
			if rd.clock() == me.clock() && rd.thread() != me.thread() {
				me |= stampMany
			}
			if rd.clock() == me.clock() {
				me |= rd & stampMany
				if rd&stampAtomic == 0 {
					me &^= stampAtomic
				}
			}
			c.read[k][g] = me
			return
		}
	}
	for k := range c.read {
		if rd := c.read[k][g]; rd.clock() < c.base || c.known(w, rd) {
			c.read[k][g] = me
			return
		}
	}
	c.read[1][g] = me
}

func (b *block) threadIndex(t int) [3]uint32 { return b.warps[t/warpSize].thread(t % warpSize) }

// commit closes the open copies of the lanes of the mask into a group.
func (w *warp) commit() {
	for l := w.mask; l != 0; l &= l - 1 {
		w.async[bits.TrailingZeros32(l)&31]++
	}
	for i := range w.copies {
		if c := &w.copies[i]; c.open && w.mask>>c.lane&1 == 1 {
			c.open, c.group = false, w.async[c.lane]
		}
	}
}

// waitGroup completes all but the last n groups of the lanes of the mask: from
// here on their bytes are as if the lane had written them now.
func (w *warp) waitGroup(n uint32) {
	c := w.blk.check
	now := c.clocks[w.id][w.id] << stampShift
	keep := w.copies[:0]
	for _, cp := range w.copies {
		if cp.open || w.mask>>cp.lane&1 == 0 || cp.group+n > w.async[cp.lane] {
			keep = append(keep, cp)
			continue
		}
		for g := cp.dst >> c.shift; g <= (cp.dst+cp.size-1)>>c.shift; g++ {
			c.write[g] = stamp(now) | stamp(w.id*warpSize+cp.lane)
		}
	}
	w.copies = keep
}

// checkGlobal checks an access of the lanes of mask that is no atomic. It looks
// at what other blocks did first: of blocks that race, one gets no further, so
// that r.init, as the memory itself, is used by several workers only in an order.
func (w *warp) checkGlobal(in *inst, m *memOp, r *region, mask uint32) {
	w.checkOrder(in, m, r, mask)
	w.checkWritten(in, m, r, mask)
}

func (w *warp) checkOrder(in *inst, m *memOp, r *region, mask uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.checkBlocks(in, m, r, mask)
}

// checkWritten checks that what the lanes of mask read was written, and notes
// what they write.
func (w *warp) checkWritten(in *inst, m *memOp, r *region, mask uint32) {
	for l := mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		off := w.addr[i] - r.Addr
		if m.read {
			if at, ok := firstZero(r.init, off, m.total); !ok {
				w.fault(in, i, r.Addr+at, "uninitialised: byte %d of the %v is read before it was written", at, r.Allocation)
			}
		}
		if m.write {
			r.mark(off, m.total)
		}
	}
}

// checkLocal does the same for local memory.
func (w *warp) checkLocal(in *inst, m *memOp, lane int, a uint64) {
	off := w.addr[lane]
	if m.read {
		if at, ok := firstZero(w.linit, off, m.total); !ok {
			w.fault(in, lane, a, "uninitialised: local memory at %#x is read before it was written", a+at-off)
		}
	}
	if m.write {
		for k := range w.linit[off : off+m.total] {
			w.linit[off+uint64(k)] = 1
		}
	}
}
