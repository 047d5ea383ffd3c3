package ptx

import (
	"encoding/binary"
	"math/bits"
)

// Barriers of a block (bar, barrier, mbarrier) and of a warp, and asynchronous
// copies.

var syncOps = map[string]decoder{
	"bar":      func(x *ins) { bar(x, true) },
	"barrier":  func(x *ins) { bar(x, false) },
	"cp":       cp,
	"mbarrier": mbarrier,
}

// bar decodes bar.{sync,arrive,red,warp.sync} and barrier.*. bar means
// barrier.cta.aligned: all lanes of a warp run it together. A barrier without
// .aligned would be met lane by lane; here it too waits for the warp's lanes.
func bar(x *ins, aligned bool) {
	if x.has("warp") {
		x.sync()
		x.nargs(1)
		x.out.e = x.src(0, 32)
		x.put(kSync, ClassWarpSync, func(w *warp, in *inst) {
			if c := w.blk.check; c != nil {
				c.warpSync(w)
			}
		})
		return
	}
	x.has("cta")
	x.out.strict = x.has("aligned") || aligned
	if x.has("cluster") {
		x.fail("clusters are not supported")
	}
	x.out.aligned = true
	op := x.one("sync", "arrive", "red")
	args := x.args
	var red string
	var not bool
	x.out.d, x.out.c = -1, -1
	if op == "red" {
		red = x.one("popc", "and", "or")
		t := x.typ()
		if red == "popc" {
			x.check(t, "u32")
			x.out.d = x.dst(0, 32)
		} else {
			x.check(t, "pred")
			x.out.d = x.dst(0, 1)
		}
		if len(args) < 3 {
			x.fail("needs a result, a barrier and a predicate")
		}
		x.out.c, not = x.srcPred(len(args) - 1)
		args = args[1 : len(args)-1]
	}
	if op == "" || len(args) < 1 || len(args) > 2 || op == "arrive" && len(args) != 2 {
		x.fail("needs .sync, .arrive or .red, a barrier, and perhaps a count")
	}
	x.out.a = x.source(args[0], 32)
	x.out.b = -1
	if len(args) == 2 {
		x.out.b = x.source(args[1], 32)
	}
	k := kBarrier
	if op == "arrive" {
		k = kSync
	}
	x.out.imm = uint64(map[string]int{"popc": redPopc, "and": redAnd, "or": redOr}[red])
	x.put(k, ClassBarrier, func(w *warp, in *inst) { w.barrier(in, op, red, not) })
}

func (w *warp) barrier(in *inst, op, red string, not bool) {
	b := w.blk
	first := bits.TrailingZeros32(w.mask) & 31
	id := w.r32[in.a][first]
	if id >= uint32(len(b.bars)) {
		w.fault(in, first, 0, "barrier %d of %d", id, len(b.bars))
	}
	bar := &b.bars[id]
	expected := 0
	if in.b >= 0 {
		expected = int(w.r32[in.b][first])
		if expected == 0 || expected%warpSize != 0 {
			w.fault(in, first, 0, "barrier count %d is not a multiple of the warp's size", expected)
		}
	}
	if bar.arrived > 0 && bar.expected != expected {
		w.fault(in, first, 0, "barrier %d waits for %d threads, this one for %d", id, bar.expected, expected)
	}
	if b.check != nil {
		if all := ^uint32(0) >> (warpSize - w.size); w.mask != all && in.strict {
			w.fault(in, first, 0, "divergent barrier: lanes %#08x have ended without it, and it is for whole warps", all&^w.mask)
		}
		if expected == 0 && bar.arrived > 0 && bar.pc != in.index {
			w.fault(in, first, 0, "divergent barrier: other warps of the block wait for barrier %d at line %d", id, bar.line)
		}
		b.check.arrive(w, bar)
	}
	if bar.arrived == 0 {
		bar.expected, bar.pc, bar.line = expected, in.index, in.line
	}
	// A warp counts in full, as on the hardware, also where lanes have ended.
	bar.arrived += warpSize
	if red != "" {
		p := flip(w.p[in.c], not) & w.mask
		bar.red[0] += uint32(bits.OnesCount32(p))
		bar.red[1] &= uint32(btoi(p == w.mask))
		bar.red[2] |= uint32(btoi(p != 0))
	}
	if op != "arrive" {
		bar.waiting = append(bar.waiting, w)
		w.status = waiting
	}
	b.complete(bar, w)
}

// complete releases the warps at a barrier that has all it waits for. self, if
// among them, moves on by itself.
func (b *block) complete(bar *barrier, self *warp) {
	if bar.arrived == 0 {
		return
	}
	want := bar.expected
	if want == 0 {
		for _, w := range b.warps {
			if w.status != ended {
				want += warpSize
			}
		}
	}
	if bar.arrived < want {
		return
	}
	code := b.l.p.code
	for _, w := range bar.waiting {
		in := &code[w.pc]
		w.status = running
		if in.d >= 0 { // bar.red
			if in.imm == redPopc {
				w.spread(in.d, bar.red[redPopc])
			} else {
				w.setPred(in.d, uint32(-btoi(bar.red[in.imm] != 0)))
			}
		}
		if b.check != nil {
			b.check.leave(w, bar)
		}
		if w != self {
			w.pc++
		}
	}
	if b.l.count {
		b.wk.stats.barriers++
	}
	bar.clear()
}

// The reductions of bar.red, as places in barrier.red.
const (
	redPopc = iota
	redAnd
	redOr
)

// left is called when a warp has ended: barriers may now be complete.
func (b *block) left(w *warp) {
	for i := range b.bars {
		if bar := &b.bars[i]; bar.expected == 0 {
			b.complete(bar, nil)
		}
	}
	if b.check != nil {
		b.check.ended(w)
	}
}

// asyncCopy is a cp.async that its thread has not waited for (check.go).
type asyncCopy struct {
	lane  int
	dst   uint64
	size  uint64
	group uint32 // number of the lane's group
	open  bool   // not committed
}

// cp decodes cp.async and its groups. The copy is done at once; with
// Options.Check its bytes cannot be used before the wait.
func cp(x *ins) {
	if !x.has("async") {
		x.fail("unknown instruction")
	}
	switch {
	case x.has("commit_group"):
		x.nargs(0)
		x.put(kMasked, ClassAsync, func(w *warp, in *inst) {
			if w.blk.check != nil {
				w.commit()
			}
		})
		return
	case x.has("wait_all"):
		x.nargs(0)
		x.put(kMasked, ClassAsync, func(w *warp, in *inst) {
			if w.blk.check != nil {
				w.commit()
				w.waitGroup(0)
			}
		})
		return
	case x.has("wait_group"):
		x.nargs(1)
		if x.args[0].kind != opInt || x.args[0].val < 0 {
			x.fail("the number of groups is not a constant")
		}
		n := uint32(x.args[0].val)
		x.put(kMasked, ClassAsync, func(w *warp, in *inst) {
			if w.blk.check != nil {
				w.waitGroup(n)
			}
		})
		return
	case x.has("bulk"):
		x.fail("bulk copies need sm_90")
	case x.has("mbarrier"):
		x.fail("cp.async.mbarrier.arrive is not supported")
	}
	cache := x.one("ca", "cg")
	if cache == "" {
		x.fail("needs .ca or .cg")
	}
	x.one("shared", "shared::cta")
	x.has("global")
	for x.one("L2::64B", "L2::128B", "L2::256B") != "" {
	}
	if x.has("L2::cache_hint") {
		x.args = x.args[:max(0, len(x.args)-1)]
	}
	x.nargs(3, 4)
	if x.args[2].kind != opInt {
		x.fail("the size is not a constant")
	}
	size := uint64(x.args[2].val)
	if size != 16 && (cache == "cg" || size != 4 && size != 8) {
		x.fail("%d bytes", size)
	}
	dst := &memOp{space: spaceShared, write: true, size: size, total: size}
	src := &memOp{space: spaceGlobal, read: true, size: size, total: size}
	x.addressOperand(x.args[0], dst)
	x.addressOperand(x.args[1], src)
	ignore, not := int32(-1), false
	x.out.c = -1
	if len(x.args) == 4 {
		o := x.args[3]
		if o.kind == opName {
			if r, ok := x.lookup(o.name); ok && r.bits == 1 {
				ignore, not = r.slot, o.not
			}
		}
		if ignore < 0 {
			x.out.c = x.src(3, 32)
		}
	}
	x.used(dst, 4)
	x.out.m = dst
	dst.access = func(w *warp, in *inst, buf []byte, base uint64, mask uint32) {}
	x.put(kMasked, ClassAsync, func(w *warp, in *inst) { w.copyAsync(in, dst, src, ignore, not) })
}

func (w *warp) copyAsync(in *inst, dst, src *memOp, ignore int32, not bool) {
	w.addresses(dst)
	to := w.addr
	size := dst.total
	for l := w.mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		if to[i]&(size-1) != 0 {
			w.fault(in, i, to[i], "misaligned: shared address %#x for a copy of %d bytes", to[i], size)
		}
	}
	w.access(in, dst, spaceShared, w.mask)
	w.addresses(src)
	skip := uint32(0)
	if ignore >= 0 {
		skip = flip(w.p[ignore], not)
	}
	smem := w.blk.smem
	for l := w.mask; l != 0; {
		i := bits.TrailingZeros32(l) & 31
		n := size
		if in.c >= 0 {
			n = uint64(w.r32[in.c][i])
			if n > size {
				w.fault(in, i, 0, "source size %d of a copy of %d bytes", n, size)
			}
		}
		if skip>>i&1 == 1 {
			n = 0
		}
		if n == size { // the frequent case, as many lanes as are in one allocation
			full := uint32(0)
			for k := l; k != 0; k &= k - 1 {
				j := bits.TrailingZeros32(k) & 31
				if skip>>j&1 == 0 && (in.c < 0 || uint64(w.r32[in.c][j]) == size) {
					full |= 1 << j
					if w.addr[j]&(size-1) != 0 {
						w.fault(in, j, w.addr[j], "misaligned: global address %#x for a copy of %d bytes", w.addr[j], size)
					}
				}
			}
			r, part := w.region(in, src, full)
			if w.blk.check != nil {
				w.checkGlobal(in, src, r, part)
			}
			if w.blk.l.count {
				w.countGlobal(in, src, part)
			}
			for k := part; k != 0; k &= k - 1 {
				j := bits.TrailingZeros32(k) & 31
				off := w.addr[j] - r.Addr
				copy(smem[to[j]:to[j]+size], r.data[off:off+size])
			}
			l &^= part
			continue
		}
		d := smem[to[i] : to[i]+size]
		clear(d)
		if n > 0 {
			if w.addr[i]&(size-1) != 0 {
				w.fault(in, i, w.addr[i], "misaligned: global address %#x for a copy of %d bytes", w.addr[i], size)
			}
			m := *src
			m.total, m.size = n, n
			r, part := w.region(in, &m, 1<<i)
			if w.blk.check != nil {
				w.checkGlobal(in, &m, r, part)
			}
			if w.blk.l.count {
				w.countGlobal(in, &m, part)
			}
			copy(d, r.data[w.addr[i]-r.Addr:][:n])
		}
		l &^= 1 << i
	}
}

// mbarrier keeps its state in the 64 bits of shared memory that are its object:
// the phase in bit 63, the count for the next phases, the pending count and the
// pending transaction bytes (biased, 22 bits). The manual leaves the layout open.
const (
	mbPending = 0  // 20 bits
	mbCount   = 20 // 20 bits
	mbTx      = 40 // 22 bits
	mbPhase   = 63
	mbTxBias  = 1 << 21
)

func mbarrier(x *ins) {
	op := x.one("init", "inval", "arrive", "arrive_drop", "test_wait", "try_wait", "expect_tx", "complete_tx", "pending_count")
	sp := x.one("shared", "shared::cta")
	if x.has("shared::cluster") {
		x.fail("clusters are not supported")
	}
	x.one("release", "acquire", "relaxed")
	x.one("cta", "cluster")
	x.check(x.typ(), "b64")
	if op == "pending_count" {
		x.nargs(2)
		x.out.d, x.out.a = x.dst(0, 32), x.src(1, 64)
		x.put(kPure, ClassBarrier, func(w *warp, in *inst) {
			for i, v := range w.r64[in.a] {
				w.r32[in.d][i] = uint32(v >> mbPending & 0xfffff)
			}
		})
		return
	}
	m := &memOp{read: true, write: true, atomic: true, space: spaceShared, size: 8, total: 8}
	if sp == "" {
		m.space = spaceGeneric
	}
	x.used(m, 4)
	x.out.m = m
	expect := false
	parity := false
	args := x.args
	x.out.d, x.out.a, x.out.b = -1, -1, -1
	switch op {
	case "init":
		x.nargs(2)
		x.out.a = x.src(1, 32)
		m.read, m.atomic = false, false
	case "inval":
		x.nargs(1)
	case "arrive", "arrive_drop":
		expect = x.has("expect_tx")
		x.has("noComplete")
		x.nargs(1, 2, 3)
		if args[0].kind != opAddress {
			if args[0].name != "_" {
				x.out.d = x.dst(0, 64)
			}
			args = args[1:]
		}
		if len(args) == 2 {
			x.out.a = x.source(args[1], 32)
		} else if expect {
			x.fail("needs the bytes")
		}
	case "expect_tx", "complete_tx":
		x.nargs(2)
		x.out.a = x.src(1, 32)
	case "test_wait", "try_wait":
		parity = x.has("parity")
		if op == "try_wait" {
			x.nargs(3, 4)
		} else {
			x.nargs(3)
		}
		x.out.d = x.dst(0, 1)
		bits := 64
		if parity {
			bits = 32
		}
		x.out.a = x.src(2, bits)
		args = args[1:]
	default:
		x.fail("unknown instruction")
	}
	x.addressOperand(args[0], m)
	m.access = func(w *warp, in *inst, buf []byte, base uint64, mask uint32) {
		for l := mask; l != 0; l &= l - 1 {
			i := bits.TrailingZeros32(l) & 31
			b := buf[w.addr[i]-base:]
			v := binary.LittleEndian.Uint64(b)
			old := v
			var done bool
			switch op {
			case "init":
				n := w.r32[in.a][i]
				if n < 1 || n > 1<<20-1 {
					w.fault(in, i, w.addr[i], "mbarrier count %d", n)
				}
				v = uint64(n)<<mbPending | uint64(n)<<mbCount | mbTxBias<<mbTx
			case "inval":
				v = 0xffffffffffffffff
			case "arrive", "arrive_drop":
				n := uint64(1)
				if in.a >= 0 && expect {
					v += uint64(w.r32[in.a][i]) << mbTx
				} else if in.a >= 0 {
					n = uint64(w.r32[in.a][i])
				}
				if v>>mbPending&0xfffff < n {
					w.fault(in, i, w.addr[i], "mbarrier: %d arrive where %d are awaited", n, v>>mbPending&0xfffff)
				}
				v -= n << mbPending
				if op == "arrive_drop" {
					v -= n << mbCount
				}
				if w.blk.check != nil {
					w.blk.check.release(w, w.addr[i])
				}
			case "expect_tx":
				v += uint64(w.r32[in.a][i]) << mbTx
			case "complete_tx":
				v -= uint64(w.r32[in.a][i]) << mbTx
			case "test_wait", "try_wait":
				if parity {
					done = v>>mbPhase != uint64(w.r32[in.a][i])&1
				} else {
					done = v>>mbPhase != w.r64[in.a][i]>>mbPhase
				}
				if done && w.blk.check != nil {
					w.blk.check.acquire(w, w.addr[i])
				}
				w.p[in.d] = w.p[in.d]&^(1<<i) | uint32(btoi(done))<<i
				w.misses++
				w.yield = !done
				if done {
					w.misses = 0
				}
				continue
			}
			if op != "init" && op != "inval" && v>>mbPending&0xfffff == 0 && v>>mbTx&(1<<22-1) == mbTxBias {
				v = v&^(0xfffff<<mbPending) | v>>mbCount&0xfffff<<mbPending
				v ^= 1 << mbPhase
			}
			binary.LittleEndian.PutUint64(b, v)
			if in.d >= 0 {
				w.r64[in.d][i] = old
			}
		}
	}
	x.put(kMasked, ClassBarrier, memory)
}
