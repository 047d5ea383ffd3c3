package ptx

import "math/bits"

// Blocks of one launch and global memory (Options.Check).
//
// Two blocks that touch the same bytes, one of them with a write that is no atomic,
// have to be ordered: by a fence and an atomic of the one, and an atomic of the same
// word and a fence of the other. As within a block (check.go), each block has a
// clock for every block it knows of. A fence takes what its block knows into the
// warp's hand, the warp's next atomics leave that at their word, others' atomics
// find it there, and their next fence makes it known to their block. What is missed:
// a thread that fences for others of its block without a barrier between, and a
// write over what more than one block has read.

// known is how far a block has seen others, by number.
type known map[int32]uint32

func (k *known) join(o known) {
	if *k == nil && len(o) > 0 {
		*k = known{}
	}
	for b, c := range o {
		(*k)[b] = max((*k)[b], c)
	}
}

// owner is who last touched a granule of global memory, in which launch.
type owner struct {
	grid                 uint32
	writer, reader       int32 // a block's number and 1; many for more of them
	writeClock, readTime uint32
	wrote, read          uint32 // the last launches that did (depend.go)
}

const many = -1

// fenced takes what the block knows into the warp's hand, and tells the block what
// the warp has found.
func (w *warp) fenced() {
	b := w.blk
	b.known.join(w.found)
	w.found = nil
	w.hand = known{b.number(): b.clock}
	w.hand.join(b.known)
	b.clock++
}

func (b *block) number() int32 {
	g := b.l.grid
	return int32(uint64(b.idx[0])+uint64(g[0])*(uint64(b.idx[1])+uint64(g[1])*uint64(b.idx[2]))) + 1
}

// after reports whether what another block did at its clock happened before now.
func (b *block) after(other int32, clock uint32) bool {
	c, ok := b.known[other]
	return ok && clock <= c
}

// granules makes owners of another size, and keeps what launches did to each.
func (r *region) granules(shift uint, keep bool) {
	old, was := r.owners, r.shift
	r.owners, r.shift = make([]owner, r.Size>>shift+1), shift
	if !keep || old == nil {
		return
	}
	for g := range r.owners {
		o := &r.owners[g]
		for k := g << shift >> was; k < len(old) && k<<was < (g+1)<<shift; k++ {
			o.wrote, o.read = max(o.wrote, old[k].wrote), max(o.read, old[k].read)
		}
	}
}

// checkBlocks checks an access of the lanes of mask to r against other blocks'.
// The caller holds r.mu, for an atomic until that is done.
func (w *warp) checkBlocks(in *inst, m *memOp, r *region, mask uint32) {
	b, l := w.blk, w.blk.l
	shift := uint(bits.TrailingZeros64(l.p.global))
	me := b.number()
	if m.rel {
		w.fenced()
	}
	if r.owners == nil || r.shift != shift {
		r.granules(shift, len(l.open) > 0)
	}
	for l2 := mask; l2 != 0; l2 &= l2 - 1 {
		i := bits.TrailingZeros32(l2) & 31
		off := w.addr[i] - r.Addr
		for g := off >> shift; g <= (off+m.total-1)>>shift; g++ {
			o := &r.owners[g]
			if len(l.open) > 0 {
				w.checkOverlap(in, m, r, i, g<<shift, o)
			}
			if o.grid != uint32(l.gridID) {
				*o = owner{grid: uint32(l.gridID), wrote: o.wrote, read: o.read}
			}
			if m.write {
				o.wrote = o.grid
			}
			if m.read {
				o.read = o.grid
			}
			if o.writer != 0 && o.writer != me && !b.after(o.writer, o.writeClock) {
				w.fault(in, i, w.addr[i], "race: block %d wrote byte %d of the %v, with no fence and atomic between", o.writer-1, g<<shift,
					r.Allocation)
			}
			if !m.write || m.atomic {
				if o.reader == 0 || o.reader == me {
					o.reader, o.readTime = me, b.clock
				} else {
					o.reader = many
				}
				continue
			}
			if o.reader > 0 && o.reader != me && !b.after(o.reader, o.readTime) {
				w.fault(in, i, w.addr[i], "race: block %d read byte %d of the %v, with no fence and atomic between", o.reader-1, g<<shift, r.Allocation)
			}
			o.writer, o.writeClock, o.reader = me, b.clock, 0
		}
		if !m.atomic {
			continue
		}
		if r.syncs == nil || r.syncsOf != l.gridID {
			r.syncs, r.syncsOf = map[uint64]known{}, l.gridID
		}
		word := r.syncs[off]
		if m.write {
			word.join(w.hand)
			r.syncs[off] = word
		}
		if m.read {
			w.found.join(word)
		}
	}
	if m.acq {
		w.fenced()
	}
}
