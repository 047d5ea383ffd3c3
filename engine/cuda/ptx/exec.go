package ptx

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
)

// A Launch is what a kernel is started with.
type Launch struct {
	Grid, Block [3]uint32 // a 0 counts as 1
	Shared      uint32    // bytes of dynamic shared memory
	Params      []byte    // Function.ParamBytes of them
	Cooperative bool      // all blocks run at once, so that they may wait for each other

	// Series is the stream's launches before this one, which is added to them; nil
	// is no stream. A Dependent launch may start before they have ended
	// (programmatic stream serialization).
	Series    *Series
	Dependent bool
}

// A Fault is what went wrong in a kernel, and where.
type Fault struct {
	Kernel        string
	Block, Thread [3]uint32
	Line          int    // of the PTX text
	Instruction   string // as it stands there
	What          string
	Addr          uint64 // 0 where none is involved
}

func (f *Fault) Error() string {
	return fmt.Sprintf("ptx: %s: block (%d,%d,%d), thread (%d,%d,%d): line %d: %s: %s",
		f.Kernel, f.Block[0], f.Block[1], f.Block[2], f.Thread[0], f.Thread[1], f.Thread[2], f.Line, f.Instruction, f.What)
}

// launch is a running kernel.
type launch struct {
	m      *Machine
	f      *Function
	p      *program
	mem    table
	params []byte
	grid   [3]uint32
	block  [3]uint32
	shared uint32 // dynamic
	blocks uint64
	next   atomic.Uint64
	failed atomic.Pointer[Fault]
	gridID uint64
	count  bool
	check  bool

	open   []grid      // launches that may still run beside this one
	waited atomic.Bool // griddepcontrol.wait was run

	together bool // a cooperative launch
	workers  []*worker
	epoch    atomic.Uint64 // moves on when a block has done something
}

// Launch runs a kernel to its end. An error of the launch itself is a plain
// error, one of the kernel a *Fault.
func (m *Machine) Launch(f *Function, l Launch) error {
	for i := range 3 {
		l.Grid[i] = max(l.Grid[i], 1)
		l.Block[i] = max(l.Block[i], 1)
	}
	threads := uint64(l.Block[0]) * uint64(l.Block[1]) * uint64(l.Block[2])
	var err error
	switch {
	case f.m != m:
		err = errors.New("a kernel of another machine")
	case l.Block[0] > 1024 || l.Block[1] > 1024 || l.Block[2] > 64 || threads > uint64(f.threads):
		err = fmt.Errorf("block %v: the most is %d threads", l.Block, f.threads)
	case l.Grid[0] > MaxGridX || l.Grid[1] > MaxGridYZ || l.Grid[2] > MaxGridYZ:
		err = fmt.Errorf("grid %v: the most is [%d %d %d]", l.Grid, MaxGridX, MaxGridYZ, MaxGridYZ)
	case int(l.Shared) > f.MaxDynamicShared():
		err = fmt.Errorf("%d bytes of dynamic shared memory: the most is %d", l.Shared, f.MaxDynamicShared())
	case len(l.Params) != f.paramBytes:
		err = fmt.Errorf("%d bytes of parameters, want %d", len(l.Params), f.paramBytes)
	case l.Cooperative && uint64(l.Grid[0])*uint64(l.Grid[1])*uint64(l.Grid[2]) > uint64(f.AtOnce(int(threads), int(l.Shared))):
		err = fmt.Errorf("cooperative grid %v: %d blocks run at once", l.Grid, f.AtOnce(int(threads), int(l.Shared)))
	}
	if err != nil {
		return fmt.Errorf("ptx: launch of %s: %w", f.name, err)
	}
	m.mu.Lock()
	m.grids++
	id := m.grids
	m.mu.Unlock()
	r := &launch{
		m: m, f: f, p: f.prog, mem: *m.mem.Load(), params: l.Params,
		grid: l.Grid, block: l.Block, shared: l.Shared, gridID: id,
		blocks: uint64(l.Grid[0]) * uint64(l.Grid[1]) * uint64(l.Grid[2]),
		count:  m.opts.Count, check: m.opts.Check, together: l.Cooperative,
	}
	r.begin(l)
	defer r.end(l.Series)
	n := int(min(uint64(m.opts.Workers), r.blocks))
	for i := range n {
		r.workers = append(r.workers, newWorker(r, i))
	}
	var wg sync.WaitGroup
	for _, wk := range r.workers[1:] {
		wg.Go(wk.run)
	}
	r.workers[0].run()
	wg.Wait()
	for _, wk := range r.workers {
		n := uint64(0)
		for _, k := range wk.runs {
			n += k
		}
		m.clock.Add(n)
	}
	if m.opts.Count {
		m.record(r, r.workers)
	}
	if fault := r.failed.Load(); fault != nil {
		return fault
	}
	return nil
}

// worker runs blocks, one after the other. Where a block only spins, waiting
// for another one, it is left and the next block is started beside it.
type worker struct {
	l     *launch
	id    int
	hits  []*region // by instruction: where its last access to global memory was
	idle  []*block
	runs  []uint64 // by instruction: how often a warp ran it
	lanes []uint64 // by instruction: in how many lanes
	stats stats
	steps uint64 // what the clocks show
	frag  *fragments

	busy  bool          // the running block did more than poll
	calm  int           // turns of blocks that did not, one after the other
	since uint64        // the epoch in which they were
	quiet atomic.Uint64 // that epoch and 1, when they were enough
}

// patience is how many turns a block may do nothing but poll, in a launch whose
// other blocks do nothing else either, before it is said to wait for nothing.
const patience = 256

// stalled reports that all blocks of the launch wait, and have for long: none has
// written anything since each of them last looked.
func (wk *worker) stalled(blocks int) bool {
	if e := wk.l.epoch.Load(); e != wk.since {
		wk.since, wk.calm = e, 0
	}
	if wk.calm < patience*blocks {
		return false
	}
	wk.quiet.Store(wk.since + 1)
	for _, other := range wk.l.workers {
		if q := other.quiet.Load(); q != wk.since+1 && q != math.MaxUint64 {
			return false
		}
	}
	return wk.l.epoch.Load() == wk.since
}

// resident is the most blocks that a worker has at once.
const resident = 64

func newWorker(l *launch, id int) *worker {
	n := len(l.p.code)
	wk := &worker{l: l, id: id, hits: make([]*region, n), runs: make([]uint64, n), lanes: make([]uint64, n)}
	if l.count {
		wk.stats.sites = make([]site, n)
	}
	return wk
}

func (wk *worker) run() {
	defer wk.quiet.Store(math.MaxUint64)
	l := wk.l
	var active []*block
	start := func() bool {
		i := l.next.Add(1) - 1
		if i >= l.blocks {
			return false
		}
		active = append(active, wk.block(i))
		return true
	}
	if l.together {
		for n := uint64(wk.id); n < l.blocks; n += uint64(len(l.workers)) {
			start()
		}
	}
	for i := 0; l.failed.Load() == nil; {
		if len(active) == 0 && !start() {
			return
		}
		i %= len(active)
		b := active[i]
		done, fault := b.run()
		if wk.busy {
			wk.calm = 0
			wk.quiet.Store(0)
			l.epoch.Add(1)
		} else {
			wk.calm++
		}
		switch {
		case fault != nil:
			l.failed.CompareAndSwap(nil, fault)
			return
		case done:
			wk.idle = append(wk.idle, b)
			active = append(active[:i], active[i+1:]...)
		default:
			if len(active) < resident {
				start()
			}
			if wk.stalled(len(active)) {
				l.failed.CompareAndSwap(nil, b.abandoned())
			}
			i++
		}
	}
}

// block is a resident block.
type block struct {
	wk    *worker
	l     *launch
	idx   [3]uint32
	smem  []byte
	warps []*warp
	bars  [16]barrier
	check *blockCheck
	known known  // of other blocks
	clock uint32 // its own, from 1
}

type barrier struct {
	expected int // threads; 0: all that live
	arrived  int
	line     int32
	pc       int32
	red      [3]uint32 // popc, and, or of bar.red
	waiting  []*warp
	clocks   []uint64 // of those that arrived (check.go)
}

func (wk *worker) block(n uint64) *block {
	l := wk.l
	var b *block
	if k := len(wk.idle); k > 0 {
		b = wk.idle[k-1]
		wk.idle = wk.idle[:k-1]
	} else {
		b = &block{wk: wk, l: l, smem: make([]byte, l.p.dynamic+int(l.shared))}
		threads := int(l.block[0] * l.block[1] * l.block[2])
		for i := 0; i < threads; i += warpSize {
			b.warps = append(b.warps, newWarp(b, i/warpSize, min(threads-i, warpSize)))
		}
		if l.check {
			b.check = newBlockCheck(b)
		}
	}
	b.idx[0] = uint32(n % uint64(l.grid[0]))
	b.idx[1] = uint32(n / uint64(l.grid[0]) % uint64(l.grid[1]))
	b.idx[2] = uint32(n / uint64(l.grid[0]) / uint64(l.grid[1]))
	// What a block finds in shared memory is undefined; these bytes are NaN in
	// every float format, so that using them shows.
	for k := range b.smem {
		b.smem[k] = 0xff
	}
	for i := range b.bars {
		b.bars[i].clear()
	}
	for _, w := range b.warps {
		w.reset()
	}
	if b.check != nil {
		b.check.reset()
	}
	b.known, b.clock = nil, 1
	return b
}

func (b *barrier) clear() {
	b.expected, b.arrived, b.red = 0, 0, [3]uint32{0, 1, 0}
	b.waiting = b.waiting[:0]
	clear(b.clocks)
}

type status uint8

const (
	running status = iota
	waiting        // at a barrier
	ended
)

// group is lanes of a warp that are at the same instruction.
type group struct {
	pc     int32
	mask   uint32
	parked bool // at an instruction that needs more lanes
}

const noPC = math.MaxInt32

// warp is 32 threads. Lanes that took different ways are groups; the one with
// the least program counter runs, so that the others are met where their ways
// join.
type warp struct {
	r32  [][warpSize]uint32
	r64  [][warpSize]uint64
	p    []uint32
	mask uint32 // lanes of the instruction being run
	pc   int32

	active uint32 // lanes of the running group
	live   uint32 // lanes that have not ended
	cc     uint32 // carry flags
	others []group
	wait   int32  // least pc of others
	fair   int    // instructions for which the running group is kept
	met    uint32 // the member mask with which the running group may pass its kSync
	misses int    // waits for an mbarrier that failed, one after the other
	turns  int
	polls  int // atomics and volatile accesses since the last yield
	status status
	yield  bool

	blk      *block
	wk       *worker
	id       int
	specials [][warpSize]uint64 // values of program.specials
	size     int
	addr     [warpSize]uint64

	local []byte // of all lanes
	linit []byte

	hand, found known  // blocks.go's
	waited      uint32 // lanes that ran griddepcontrol.wait

	async  [warpSize]uint32 // cp.async groups committed, by lane
	copies []asyncCopy
}

func newWarp(b *block, id, size int) *warp {
	p := b.l.p
	w := &warp{blk: b, wk: b.wk, id: id, size: size,
		r32: make([][warpSize]uint32, len(p.init32)),
		r64: make([][warpSize]uint64, len(p.init64)),
		p:   make([]uint32, p.npred+1),
	}
	copy(w.r32, p.init32)
	copy(w.r64, p.init64)
	for _, s := range p.specials {
		var v [warpSize]uint64
		for i := range v {
			v[i] = w.special(s.name, i)
		}
		w.specials = append(w.specials, v)
	}
	w.local = make([]byte, p.local*warpSize)
	if b.l.check {
		w.linit = make([]byte, len(w.local))
	}
	return w
}

func (w *warp) reset() {
	p := w.blk.l.p
	// Constants are never written, and what a program reads of its other registers
	// it wrote before; where programs are checked they begin as zeros all the same.
	if w.blk.l.check {
		copy(w.r32, p.init32)
		copy(w.r64, p.init64)
		clear(w.p)
	}
	w.live = ^uint32(0) >> (warpSize - w.size)
	w.active, w.pc, w.others, w.wait = w.live, 0, w.others[:0], noPC
	w.status, w.cc, w.fair, w.met, w.turns, w.misses, w.polls = running, 0, 0, 0, 0, 0, 0
	w.waited = 0
	w.async, w.copies, w.hand, w.found = [warpSize]uint32{}, w.copies[:0], nil, nil
	clear(w.linit)
	for i := range w.local {
		w.local[i] = 0xff
	}
	for k, s := range p.specials {
		if s.block { // the same in all threads, other in the next block
			v := w.special(s.name, 0)
			for i := range w.specials[k] {
				w.specials[k][i] = v
			}
		}
		if s.wide {
			w.r64[s.slot] = w.specials[k]
			continue
		}
		for i, v := range w.specials[k] {
			w.r32[s.slot][i] = uint32(v)
		}
	}
}

// thread gives a lane's thread index.
func (w *warp) thread(lane int) [3]uint32 {
	t := uint32(w.id*warpSize + lane)
	d := w.blk.l.block
	return [3]uint32{t % d[0], t / d[0] % d[1], t / d[0] / d[1]}
}

func (w *warp) special(name string, lane int) uint64 {
	l := w.blk.l
	axis := func(v [3]uint32, zero uint32) uint64 {
		switch c := name[len(name)-1]; c {
		case 'x', 'y', 'z':
			return uint64(v[c-'x'])
		}
		return uint64(zero)
	}
	switch name {
	case "%laneid":
		return uint64(lane)
	case "%warpid":
		return uint64(w.id)
	case "%nwarpid":
		return uint64(len(w.blk.warps))
	case "%smid":
		return uint64(w.wk.id)
	case "%nsmid":
		return uint64(l.f.m.SMs())
	case "%gridid":
		return l.gridID
	case "%lanemask_eq":
		return 1 << lane
	case "%lanemask_lt":
		return 1<<lane - 1
	case "%lanemask_le":
		return 2<<lane - 1
	case "%lanemask_gt":
		return uint64(^uint32(2<<lane - 1))
	case "%lanemask_ge":
		return uint64(^uint32(1<<lane - 1))
	case "%dynamic_smem_size":
		return uint64(l.shared)
	case "%total_smem_size", "%aggr_smem_size":
		return uint64(l.p.dynamic) + uint64(l.shared)
	case "%cluster_ctarank":
		return 0
	case "%cluster_nctarank":
		return 1
	}
	switch name[:len(name)-2] {
	case "%tid":
		return axis(w.thread(lane), 0)
	case "%ntid":
		return axis(l.block, 1)
	case "%ctaid", "%clusterid":
		return axis(w.blk.idx, 0)
	case "%nctaid", "%nclusterid":
		return axis(l.grid, 1)
	case "%cluster_nctaid":
		return 1
	}
	return 0 // %cluster_ctaid: a cluster is one block
}

// fault ends the launch.
func (w *warp) fault(in *inst, lane int, addr uint64, format string, args ...any) {
	panic(w.faulty(in, lane, addr, format, args...))
}

func (w *warp) faulty(in *inst, lane int, addr uint64, format string, args ...any) *Fault {
	return &Fault{Kernel: w.blk.l.f.name, Block: w.blk.idx, Thread: w.thread(lane), Line: int(in.line),
		Instruction: in.st.text(), What: fmt.Sprintf(format, args...), Addr: addr}
}

// run runs the block's warps in turn. It comes back when the block has ended,
// when its warps do nothing but poll, or when they have had their share.
func (b *block) run() (done bool, fault *Fault) {
	worked := false
	defer func() {
		b.wk.busy = b.wk.busy || worked
		switch e := recover().(type) {
		case nil:
		case *Fault:
			fault = e
		default:
			panic(e)
		}
	}()
	for round := 0; round < 64; round++ {
		ran, left := false, false
		b.wk.busy = false
		for _, w := range b.warps {
			if w.status == running {
				w.run()
				ran = true
				b.wk.busy = b.wk.busy || !w.yield
			}
			left = left || w.status != ended
		}
		if !left {
			return true, nil
		}
		if !ran {
			b.deadlock()
		}
		b.spinning()
		if b.l.failed.Load() != nil {
			return true, nil
		}
		if !b.wk.busy {
			return false, nil
		}
		worked = true
	}
	return false, nil
}

// deadlock reports that every warp waits at a barrier that cannot complete.
func (b *block) deadlock() {
	for i := range b.bars {
		if bar := &b.bars[i]; len(bar.waiting) > 0 {
			w := bar.waiting[0]
			in := &b.l.p.code[w.pc]
			want := "all living"
			if bar.expected > 0 {
				want = fmt.Sprint(bar.expected)
			}
			w.fault(in, bits.TrailingZeros32(w.live), 0, "deadlock: barrier %d has %d threads, waits for %s, and every other warp waits too", i,
				bar.arrived, want)
		}
	}
	panic("ptx: block waits for nothing")
}

// abandoned is the fault of a block that polls, as all others do.
func (b *block) abandoned() *Fault {
	more := ""
	if started := b.l.next.Load(); started < b.l.blocks {
		more = fmt.Sprintf("; %d blocks have not started, and without a cooperative launch nothing says that they will", b.l.blocks-started)
	}
	for _, w := range b.warps {
		if w.status == running {
			lane := bits.TrailingZeros32(w.active) & 31
			return w.faulty(&b.l.p.code[w.pc], lane, 0, "deadlock: every block that runs waits for another%s", more)
		}
	}
	panic("ptx: a block that does not end waits for nothing")
}

// spinning reports that all warps wait for mbarriers or at barriers, and have for
// so long that nothing can come of it. An mbarrier is the block's own.
func (b *block) spinning() {
	var last *warp
	for _, w := range b.warps {
		if w.status == running {
			if w.misses < 10000 {
				return
			}
			last = w
		}
	}
	if last != nil {
		in := &b.l.p.code[last.pc]
		last.fault(in, bits.TrailingZeros32(last.live), 0, "deadlock: every warp waits for an mbarrier or at a barrier")
	}
}

// quota is how many instructions a warp runs before others get their turn.
const quota = 1 << 14

func (w *warp) run() {
	code := w.blk.l.p.code
	runs, lanes := w.wk.runs, w.wk.lanes
	w.yield = false
	for n := 0; ; n++ {
		if w.pc >= w.wait && w.fair == 0 {
			w.pick()
		}
		if n >= quota || w.yield {
			w.rotate()
			return
		}
		if w.fair > 0 {
			w.fair--
			if w.fair == 0 {
				w.pick()
			}
		}
		in := &code[w.pc]
		mask := w.active
		if in.pred >= 0 {
			p := w.p[in.pred]
			if in.neg {
				p = ^p
			}
			mask &= p
			if mask == 0 {
				w.pc++
				continue
			}
		}
		runs[w.pc]++
		lanes[w.pc] += uint64(bits.OnesCount32(mask))
		w.mask = mask
		switch in.kind {
		case kPure:
			if mask == w.live {
				in.exec(w, in)
			} else {
				in.exec(w, in.alt)
				w.merge(in, mask)
			}
			w.pc++
		case kMasked:
			in.exec(w, in)
			w.pc++
		case kYield:
			w.yield = true
			in.exec(w, in)
			w.pc++
		case kSync:
			if w.together(in, mask) {
				w.pc++
			}
		case kBarrier:
			if !w.together(in, mask) {
				continue
			}
			if w.status == waiting {
				return
			}
			w.pc++
		case kBranch:
			if mask == w.active {
				w.pc = in.target
			} else {
				w.split(in.target, mask)
			}
		case kIndexed:
			w.indexed(in)
		case kExit:
			w.live &^= mask
			w.active &^= mask
			if w.active == 0 {
				if w.live == 0 {
					w.status = ended
					w.blk.left(w)
					return
				}
				w.pick()
			} else {
				w.pc++
			}
		}
	}
}

// merge copies what a kPure left in the scratch slot to the lanes of mask.
func (w *warp) merge(in *inst, mask uint32) {
	if in.wide {
		s, d := &w.r64[scratch], &w.r64[in.d]
		for m := mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m) & 31
			d[i] = s[i]
		}
		return
	}
	s, d := &w.r32[scratch], &w.r32[in.d]
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m) & 31
		d[i] = s[i]
	}
}

// split lets the lanes of mask go to pc and the group's others on.
func (w *warp) split(pc int32, mask uint32) {
	w.others = append(w.others, group{pc: pc, mask: mask})
	w.active &^= mask
	w.pc++
	w.pick()
}

// pick chooses the group to run: the running one, if any, is put back, and the
// one with the least pc that is not parked is taken, with all at the same pc.
func (w *warp) pick() {
	if w.active != 0 {
		w.others = append(w.others, group{pc: w.pc, mask: w.active})
	}
	best := int32(noPC)
	for _, g := range w.others {
		if !g.parked && g.pc < best {
			best = g.pc
		}
	}
	if best == noPC {
		w.stuck()
		return
	}
	w.take(best)
}

func (w *warp) take(pc int32) {
	w.pc, w.active, w.wait = pc, 0, noPC
	n := 0
	for _, g := range w.others {
		if g.pc == pc || g.mask == 0 {
			w.active |= g.mask
			continue
		}
		if g.pc < w.wait && !g.parked {
			w.wait = g.pc
		}
		w.others[n] = g
		n++
	}
	w.others = w.others[:n]
}

// stuck: every group is parked. One that waits for lanes that have ended since,
// or that meets the lanes it waits for at another bar.warp.sync, can go; where
// none can, the program is wrong.
func (w *warp) stuck() {
	code := w.blk.l.p.code
	for _, g := range w.others {
		in := &code[g.pc]
		for m := g.mask; m != 0; {
			v := w.member(in, bits.TrailingZeros32(m))
			have := uint32(0)
			for _, h := range w.others {
				if h.pc == g.pc || in.class == ClassWarpSync && code[h.pc].class == ClassWarpSync {
					have |= w.naming(&code[h.pc], h.mask, v)
				}
			}
			if v&w.live&^have != 0 {
				m &^= w.naming(in, g.mask, v)
				continue
			}
			// The lanes that came by another way are done with theirs too.
			for j := range w.others {
				h := &w.others[j]
				if h.pc == g.pc {
					continue
				}
				if met := w.naming(&code[h.pc], h.mask, v); in.class == ClassWarpSync && met != 0 {
					h.mask &^= met
					w.others = append(w.others, group{pc: h.pc + 1, mask: met})
				}
			}
			w.take(g.pc)
			w.met = v
			return
		}
	}
	g := w.others[0]
	in := &code[g.pc]
	v := w.member(in, bits.TrailingZeros32(g.mask))
	w.fault(in, bits.TrailingZeros32(g.mask), 0, "divergent: lanes %#08x are here and wait for lanes %#08x, which are elsewhere", g.mask,
		v&w.live&^g.mask)
}

// member gives the lanes that a lane at a kSync or kBarrier has to meet: those of
// its member mask, or all of the warp.
func (w *warp) member(in *inst, lane int) uint32 {
	if in.aligned {
		return w.live
	}
	return w.r32[in.e][lane&31]
}

// naming gives the lanes of mask whose member mask is v.
func (w *warp) naming(in *inst, mask, v uint32) uint32 {
	if in.aligned {
		return mask
	}
	e := &w.r32[in.e]
	r := mask
	for m := mask; m != 0; m &= m - 1 {
		if i := bits.TrailingZeros32(m) & 31; e[i] != v {
			r &^= 1 << i
		}
	}
	return r
}

// together runs a kSync or kBarrier for the lanes of mask that have all that they
// need with them; the others are parked. It reports whether the running group is
// done with the instruction.
func (w *warp) together(in *inst, mask uint32) bool {
	if in.pred >= 0 && mask != w.active { // those that do not take part go on
		w.others = append(w.others, group{pc: w.pc + 1, mask: w.active &^ mask})
		w.active = mask
		w.wait = min(w.wait, w.pc+1)
	}
	done := uint32(0)
	for m := mask; m != 0; {
		lane := bits.TrailingZeros32(m)
		v := w.member(in, lane)
		part := w.naming(in, mask, v)
		m &^= part
		if part&^v != 0 {
			w.fault(in, bits.TrailingZeros32(part&^v), 0, "the member mask %#08x does not name this lane", v)
		}
		if v&w.live&^part == 0 || w.met != 0 && w.met == v {
			w.mask = part
			in.exec(w, in)
			done |= part
		}
	}
	w.met = 0
	if done == mask {
		return true
	}
	w.others = append(w.others, group{pc: w.pc, mask: mask &^ done, parked: true})
	w.active = done
	if done != 0 {
		w.pc++
	}
	w.pick()
	return false
}

// rotate gives another group its turn, for programs in which one lane waits for
// another.
func (w *warp) rotate() {
	w.turns++
	if len(w.others) == 0 || w.active == 0 || !w.yield && w.turns%64 != 0 {
		return
	}
	for i, g := range w.others {
		if g.parked {
			continue
		}
		w.others = append(append(w.others[:i:i], w.others[i+1:]...), group{pc: w.pc, mask: w.active})
		w.others = append(w.others, g)
		w.take(g.pc)
		w.fair = quota / 4
		return
	}
}

func (w *warp) indexed(in *inst) {
	idx := &w.r32[in.a]
	var pcs []int32
	for m := w.mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m)
		if int(idx[i]) >= len(in.jumps) {
			w.fault(in, i, 0, "branch index %d of %d targets", idx[i], len(in.jumps))
		}
		pcs = append(pcs, in.jumps[idx[i]])
	}
	k := 0
	for m := w.mask; m != 0; m &= m - 1 {
		w.others = append(w.others, group{pc: pcs[k], mask: m & -m})
		k++
	}
	w.active &^= w.mask
	w.pc++
	w.pick()
}
