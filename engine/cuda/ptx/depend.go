package ptx

import (
	"math/bits"
	"slices"
)

// Programmatic dependent launch: launches of one stream that overlap.
//
// A dependent launch may start before the one before it in its stream has ended.
// The machine runs it afterwards all the same. With Options.Check it reports what
// would be wrong if it did start early: a thread that reads what a launch that may
// still run wrote, or writes what such a one read or wrote, before it runs
// griddepcontrol.wait or is ordered behind a thread of its block that did.
//
// griddepcontrol.wait is for the end of the launch before, and no other. A dependent
// launch none of whose threads wait may end before those that it overlaps; these
// may still run until a launch that is not dependent.

// A Series is the launches of a stream, in their order; the zero value has none.
// It is used by one goroutine at a time.
type Series struct{ open []grid }

// grid is a launch that may still run.
type grid struct {
	id   uint64
	name string
}

// Wait waits for the launches: none of them still runs.
func (s *Series) Wait() { s.open = nil }

// begin tells a launch what may still run beside it.
func (l *launch) begin(d Launch) {
	if d.Series == nil {
		return
	}
	if !d.Dependent {
		d.Series.Wait()
	}
	l.open = d.Series.open
}

// end adds the launch to its series.
func (l *launch) end(s *Series) {
	if s == nil {
		return
	}
	s.open = append(slices.Clone(l.running(l.waited.Load())), grid{l.gridID, l.f.name})
}

// running lists the launches that may still run, before and behind a wait.
func (l *launch) running(waited bool) []grid {
	if waited && len(l.open) > 0 {
		return l.open[:len(l.open)-1]
	}
	return l.open
}

// awaited notes that the lanes of w.mask have waited for the launch before.
func (w *warp) awaited() {
	w.blk.l.waited.Store(true)
	w.waited |= w.mask
	c := w.blk.check
	if c == nil || c.waits[w.id] != 0 {
		return
	}
	c.waits[w.id] = stamp(c.clocks[w.id][w.id])<<stampShift | stamp(w.id*warpSize+bits.TrailingZeros32(w.mask))
}

// behind reports whether a lane has waited for the launch before, or is ordered
// behind a thread of its block that has.
func (w *warp) behind(lane int) bool {
	if w.waited>>lane&1 == 1 {
		return true
	}
	c := w.blk.check
	for _, s := range c.waits {
		if s != 0 && c.known(w, s) {
			return true
		}
	}
	return false
}

// checkOverlap checks an access to a granule against launches that may still run.
func (w *warp) checkOverlap(in *inst, m *memOp, r *region, lane int, at uint64, o *owner) {
	for _, g := range w.blk.l.running(w.behind(lane)) {
		what := ""
		switch uint32(g.id) {
		case o.wrote:
			what = "written"
		case o.read:
			what = "read"
		}
		if what == "written" || what == "read" && m.write {
			w.fault(in, lane, w.addr[lane], "race: byte %d of the %v was %s by %s, which may still run: no griddepcontrol.wait was for its end",
				at, r.Allocation, what, g.name)
		}
	}
}
