package ptx

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Loads, stores and atomics: from the lanes' addresses to bytes.

type space uint8

const (
	spaceGeneric space = iota
	spaceGlobal
	spaceShared
	spaceLocal
	spaceParam // of the kernel
	spaceArg   // of a call; lies in local memory
)

func (s space) String() string {
	return [...]string{"generic", "global", "shared", "local", "param", "param"}[s]
}

// memOp is the memory side of an instruction.
type memOp struct {
	space  space
	size   uint64 // bytes of an element
	total  uint64 // bytes of a lane's access
	base   int32  // slot of the address
	base64 bool
	off    uint64
	write  bool
	read   bool
	atomic bool // no race among such: atomics, volatile, relaxed and ordered accesses
	acq    bool
	rel    bool
	ext    bool // sign-extend
	reg    int  // bits of the registers
	access func(w *warp, in *inst, buf []byte, base uint64, mask uint32)
}

func putUint(b []byte, size uint64, v uint64) {
	switch size {
	case 1:
		b[0] = byte(v)
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(v))
	default:
		binary.LittleEndian.PutUint64(b, v)
	}
}

func getUint(b []byte, size uint64) uint64 {
	switch size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// addresses fills w.addr.
func (w *warp) addresses(m *memOp) {
	if m.base64 {
		b := &w.r64[m.base]
		for i := range w.addr {
			w.addr[i] = b[i] + m.off
		}
		return
	}
	b := &w.r32[m.base]
	for i := range w.addr {
		w.addr[i] = uint64(b[i] + uint32(m.off))
	}
}

// memory runs an access of the lanes of w.mask.
func memory(w *warp, in *inst) {
	m := in.m
	w.addresses(m)
	if m.atomic {
		// Many of these may be a lane or block that waits for another: let it run.
		if w.polls++; w.polls == 64 {
			w.polls, w.yield = 0, true
		}
	}
	if m.total > 1 {
		low := uint64(0)
		for i, a := range w.addr {
			low |= a & -uint64(w.mask>>i&1)
		}
		if low&(m.total-1) != 0 {
			for l := w.mask; l != 0; l &= l - 1 {
				if i := bits.TrailingZeros32(l); w.addr[i]&(m.total-1) != 0 {
					w.fault(in, i, w.addr[i], "misaligned: address %#x in %v memory for an access of %d bytes", w.addr[i], m.space, m.total)
				}
			}
		}
	}
	w.access(in, m, m.space, w.mask)
}

// access runs the part of an access that goes to one space.
func (w *warp) access(in *inst, m *memOp, sp space, mask uint32) {
	switch sp {
	case spaceGlobal:
		for mask != 0 {
			r, part := w.region(in, m, mask)
			if r.ronly && m.write {
				w.fault(in, bits.TrailingZeros32(part), w.addr[bits.TrailingZeros32(part)], "write to constant memory: %v", r.Allocation)
			}
			if w.blk.check != nil && !m.atomic {
				w.checkGlobal(in, m, r, part)
			}
			if w.blk.l.count {
				w.countGlobal(in, m, part)
			}
			if m.atomic {
				w.atomically(in, m, r, part)
			} else {
				m.access(w, in, r.data, r.Addr, part)
			}
			w.wk.busy = w.wk.busy || m.write && !m.read
			mask &^= part
		}
	case spaceShared:
		size := uint64(len(w.blk.smem))
		for l := mask; l != 0; l &= l - 1 {
			i := bits.TrailingZeros32(l) & 31
			if a := w.addr[i]; a >= size || size-a < m.total {
				w.fault(in, i, a, "out of bounds: %d bytes at %#x of shared memory, which has %d bytes", m.total, a, size)
			}
		}
		if w.blk.check != nil {
			w.checkShared(in, m, mask)
		}
		if w.blk.l.count {
			w.countShared(in, m, mask)
		}
		m.access(w, in, w.blk.smem, 0, mask)
	case spaceLocal, spaceArg:
		size := uint64(w.blk.l.p.local)
		for l := mask; l != 0; l &= l - 1 {
			i := bits.TrailingZeros32(l) & 31
			a := w.addr[i]
			if a >= size || size-a < m.total {
				w.fault(in, i, a, "out of bounds: %d bytes at %#x of local memory, which has %d bytes", m.total, a, size)
			}
			w.addr[i] = a + uint64(i)*size
			if w.linit != nil {
				w.checkLocal(in, m, i, a)
			}
		}
		if w.blk.l.count && sp == spaceLocal {
			w.wk.stats.localBytes += uint64(bits.OnesCount32(mask)) * m.total
		}
		m.access(w, in, w.local, 0, mask)
	case spaceParam:
		size := uint64(len(w.blk.l.params))
		for l := mask; l != 0; l &= l - 1 {
			i := bits.TrailingZeros32(l) & 31
			if m.write {
				w.fault(in, i, w.addr[i], "write to a kernel's parameters")
			}
			if a := w.addr[i]; a >= size || size-a < m.total {
				w.fault(in, i, a, "out of bounds: %d bytes at %d of the parameters, which have %d bytes", m.total, a, size)
			}
		}
		m.access(w, in, w.blk.l.params, 0, mask)
	case spaceGeneric:
		var shared, local, param uint32
		for l := mask; l != 0; l &= l - 1 {
			i := bits.TrailingZeros32(l) & 31
			switch a := w.addr[i]; {
			case a-sharedBase < windowSize:
				w.addr[i] = a - sharedBase
				shared |= 1 << i
			case a-localBase < windowSize:
				w.addr[i] = a - localBase
				local |= 1 << i
			case a-paramBase < windowSize:
				w.addr[i] = a - paramBase
				param |= 1 << i
			}
		}
		if global := mask &^ shared &^ local &^ param; global != 0 {
			w.access(in, m, spaceGlobal, global)
		}
		if shared != 0 {
			w.access(in, m, spaceShared, shared)
		}
		if local != 0 {
			w.access(in, m, spaceLocal, local)
		}
		if param != 0 {
			w.access(in, m, spaceParam, param)
		}
	}
}

// atomically runs an atomic, or what is volatile, relaxed and the like.
func (w *warp) atomically(in *inst, m *memOp, r *region, mask uint32) {
	if w.blk.check != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		w.checkBlocks(in, m, r, mask)
		w.checkWritten(in, m, r, mask)
	}
	if m.read && m.write { // has its own locks
		m.access(w, in, r.data, r.Addr, mask)
		return
	}
	for l := mask; l != 0; l &= l - 1 {
		lock := &w.blk.l.m.locks[w.addr[bits.TrailingZeros32(l)&31]>>3&255]
		lock.Lock()
		m.access(w, in, r.data, r.Addr, l&-l)
		lock.Unlock()
	}
}

// region finds the allocation of the first lane and the lanes whose accesses lie
// in it too.
func (w *warp) region(in *inst, m *memOp, mask uint32) (*region, uint32) {
	first := bits.TrailingZeros32(mask) & 31
	a := w.addr[first]
	r := w.wk.hits[in.index]
	if r == nil || a-r.Addr >= r.Size {
		r = w.blk.l.mem.find(a)
		if r == nil || r.Size-(a-r.Addr) < m.total {
			w.fault(in, first, a, "out of bounds: %d bytes at %#x, %s", m.total, a, w.blk.l.m.near(a))
		}
		w.wk.hits[in.index] = r
	}
	base, size := r.Addr, r.Size
	part := mask
	for l := mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		off := w.addr[i] - base
		if off < size && size-off >= m.total {
			continue
		}
		if off < size {
			w.fault(in, i, w.addr[i], "out of bounds: %d bytes at %#x, across the end of the %v", m.total, w.addr[i], r.Allocation)
		}
		part &^= 1 << i
	}
	return r, part
}

// addressOperand decodes [name+off].
func (x *ins) addressOperand(o operand, m *memOp) {
	if o.kind != opAddress {
		x.fail("operand %v is not an address", o)
	}
	m.off = uint64(o.val)
	if o.name == "" {
		m.base, m.base64, m.off = x.const64(uint64(o.val)), true, 0
		return
	}
	if r, ok := x.lookup(o.name); ok {
		switch {
		case r.bits == 64:
			m.base, m.base64 = r.slot, true
		case r.bits == 32 && m.space != spaceGlobal && m.space != spaceGeneric:
			m.base = r.slot
		default:
			x.fail("%s has %d bits, for an address in %v memory", o.name, r.bits, m.space)
		}
		return
	}
	l := x.variable(o.name)
	if l == nil {
		x.fail("%s is not declared", o.name)
	}
	if l.space != m.space {
		switch {
		case l.space == spaceArg && m.space == spaceParam:
			m.space = spaceArg
		case m.space == spaceGeneric && l.space == spaceGlobal:
		default:
			x.fail("%s lies in %v memory", o.name, l.space)
		}
	}
	m.base, m.base64 = x.address(l, 0), true
}

// stateSpace takes the space's modifier.
func (x *ins) stateSpace() space {
	switch s := x.one("global", "const", "shared", "shared::cta", "local", "param", "param::entry", "param::func"); s {
	case "global", "const":
		return spaceGlobal
	case "shared", "shared::cta":
		return spaceShared
	case "local":
		return spaceLocal
	case "param", "param::entry", "param::func":
		return spaceParam
	}
	return spaceGeneric
}

// hints takes the modifiers that change no result: cache operators, eviction
// priorities and prefetch sizes.
func (x *ins) hints() {
	x.one("ca", "cg", "cs", "lu", "cv", "wb", "wt")
	for x.one("L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate",
		"L2::evict_normal", "L2::evict_first", "L2::evict_last", "L2::64B", "L2::128B", "L2::256B") != "" {
	}
	if x.has("L2::cache_hint") {
		x.args = x.args[:max(0, len(x.args)-1)]
	}
}

// ordering takes the memory model's modifiers.
func (x *ins) ordering(m *memOp) {
	switch x.one("weak", "volatile", "relaxed", "acquire", "release", "acq_rel") {
	case "volatile", "relaxed":
		m.atomic = true
	case "acquire":
		m.atomic, m.acq = true, true
	case "release":
		m.atomic, m.rel = true, true
	case "acq_rel":
		m.atomic, m.acq, m.rel = true, true, true
	}
	x.one("cta", "cluster", "gpu", "sys")
}

// shape takes .vN and the type of a load or store.
func (x *ins) shape(m *memOp) (n int, t string) {
	n = 1
	switch x.one("v2", "v4") {
	case "v2":
		n = 2
	case "v4":
		n = 4
	}
	t = x.typ()
	if t == "f16x2" || t == "bf16x2" || t == "tf32" || t == "b128" || typeSize(t) == 0 {
		x.fail("type .%s", t)
	}
	m.size = uint64(typeSize(t))
	m.total = m.size * uint64(n)
	if m.total > 16 {
		x.fail("%d bytes at once", m.total)
	}
	return n, t
}

// elements gives the registers of a load or store, and their width.
func (x *ins) elements(o operand, n int, m *memOp, dst bool) []int32 {
	l := []operand{o}
	if o.kind == opVector {
		l = o.list
	}
	if len(l) != n {
		x.fail("%v has %d elements, want %d", o, len(l), n)
	}
	regs := make([]int32, n)
	m.reg = max(int(m.size)*8, 16)
	for _, e := range l {
		if r, ok := x.lookup(e.name); ok && e.kind == opName {
			m.reg = max(m.reg, r.bits)
		}
	}
	for i, e := range l {
		if dst {
			regs[i] = x.dest(e, m.reg)
		} else {
			regs[i] = x.source(e, m.reg)
		}
	}
	return regs
}

// used notes the least width of accesses to shared memory (check.go).
func (x *ins) used(m *memOp, size uint64) {
	if m.space == spaceShared || m.space == spaceGeneric {
		x.prog.granule = min(x.prog.granule, size)
	}
	if m.space == spaceGlobal || m.space == spaceGeneric {
		x.prog.global = min(x.prog.global, size)
	}
}

func load(x *ins) {
	m := &memOp{read: true}
	x.ordering(m)
	m.space = x.stateSpace()
	x.has("nc")
	x.hints()
	n, t := x.shape(m)
	x.nargs(2)
	x.addressOperand(x.args[1], m)
	x.out.regs = x.elements(x.args[0], n, m, true)
	m.ext = signed(t)
	x.used(m, m.size)
	switch {
	case m.reg == 32 && m.size == 4:
		m.access = [...]func(*warp, *inst, []byte, uint64, uint32){1: load32x1, 2: load32x2, 4: load32x4}[n]
	default:
		m.access = loadAny
	}
	if m.space == spaceParam && m.reg <= 64 && n == 1 && x.args[1].name != "" {
		m.access = loadParam
		if _, ok := x.lookup(x.args[1].name); ok {
			m.access = loadAny
		}
	}
	x.out.m = m
	x.put(kMasked, loadClass[m.space], memory)
}

var loadClass = [...]Class{spaceGeneric: ClassLoadGeneric, spaceGlobal: ClassLoadGlobal, spaceShared: ClassLoadShared,
	spaceLocal: ClassLoadLocal, spaceParam: ClassLoadParam, spaceArg: ClassLoadParam}

var storeClass = [...]Class{spaceGeneric: ClassStoreGeneric, spaceGlobal: ClassStoreGlobal, spaceShared: ClassStoreShared,
	spaceLocal: ClassStoreLocal, spaceParam: ClassStoreLocal, spaceArg: ClassLoadParam}

func load32x1(w *warp, in *inst, buf []byte, base uint64, mask uint32) {
	d := &w.r32[in.regs[0]]
	for l := mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		d[i] = binary.LittleEndian.Uint32(buf[w.addr[i]-base:])
	}
}

func load32x2(w *warp, in *inst, buf []byte, base uint64, mask uint32) {
	d0, d1 := &w.r32[in.regs[0]], &w.r32[in.regs[1]]
	for l := mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		v := binary.LittleEndian.Uint64(buf[w.addr[i]-base:])
		d0[i], d1[i] = uint32(v), uint32(v>>32)
	}
}

func load32x4(w *warp, in *inst, buf []byte, base uint64, mask uint32) {
	d0, d1, d2, d3 := &w.r32[in.regs[0]], &w.r32[in.regs[1]], &w.r32[in.regs[2]], &w.r32[in.regs[3]]
	for l := mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		b := buf[w.addr[i]-base:][:16]
		d0[i], d1[i] = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		d2[i], d3[i] = binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	}
}

func loadAny(w *warp, in *inst, buf []byte, base uint64, mask uint32) {
	m := in.m
	n := int(m.size) * 8
	for l := mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		off := w.addr[i] - base
		for k, r := range in.regs {
			v := getUint(buf[off+uint64(k)*m.size:], m.size)
			if m.ext {
				v = uint64(sx(v, n))
			}
			w.set(r, m.reg, i, v)
		}
	}
}

// loadParam loads what is the same in every lane.
func loadParam(w *warp, in *inst, buf []byte, base uint64, mask uint32) {
	m := in.m
	v := getUint(buf[w.addr[bits.TrailingZeros32(mask)&31]-base:], m.size)
	if m.ext {
		v = uint64(sx(v, int(m.size)*8))
	}
	for l := mask; l != 0; l &= l - 1 {
		w.set(in.regs[0], m.reg, bits.TrailingZeros32(l)&31, v)
	}
}

func store(x *ins) {
	m := &memOp{write: true}
	x.ordering(m)
	m.space = x.stateSpace()
	x.hints()
	n, _ := x.shape(m)
	x.nargs(2)
	x.addressOperand(x.args[0], m)
	x.out.regs = x.elements(x.args[1], n, m, false)
	x.used(m, m.size)
	switch {
	case m.space == spaceParam:
		x.fail("a kernel's parameters cannot be written")
	case m.reg == 32 && m.size == 4 && n == 4:
		m.access = store32x4
	case m.reg == 32 && m.size == 4 && n == 1:
		m.access = store32x1
	default:
		m.access = storeAny
	}
	x.out.m = m
	x.put(kMasked, storeClass[m.space], memory)
}

func store32x1(w *warp, in *inst, buf []byte, base uint64, mask uint32) {
	d := &w.r32[in.regs[0]]
	for l := mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		binary.LittleEndian.PutUint32(buf[w.addr[i]-base:], d[i])
	}
}

func store32x4(w *warp, in *inst, buf []byte, base uint64, mask uint32) {
	d0, d1, d2, d3 := &w.r32[in.regs[0]], &w.r32[in.regs[1]], &w.r32[in.regs[2]], &w.r32[in.regs[3]]
	for l := mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		b := buf[w.addr[i]-base:][:16]
		binary.LittleEndian.PutUint32(b, d0[i])
		binary.LittleEndian.PutUint32(b[4:], d1[i])
		binary.LittleEndian.PutUint32(b[8:], d2[i])
		binary.LittleEndian.PutUint32(b[12:], d3[i])
	}
}

func storeAny(w *warp, in *inst, buf []byte, base uint64, mask uint32) {
	m := in.m
	for l := mask; l != 0; l &= l - 1 {
		i := bits.TrailingZeros32(l) & 31
		off := w.addr[i] - base
		for k, r := range in.regs {
			putUint(buf[off+uint64(k)*m.size:], m.size, w.get(r, m.reg, i))
		}
	}
}

// atomicOp decodes atom and red.
func atomicOp(x *ins, result bool) {
	m := &memOp{read: true, write: true, atomic: true}
	x.ordering(m)
	m.atomic = true
	m.space = x.stateSpace()
	x.has("noftz")
	x.hints()
	op := x.one("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")
	t := x.typ()
	switch op {
	case "add":
		x.check(t, "u32", "s32", "u64", "s64", "f32", "f64", "f16", "f16x2", "bf16", "bf16x2")
	case "min", "max":
		x.check(t, "u32", "s32", "u64", "s64")
	case "and", "or", "xor":
		x.check(t, "b32", "b64")
	case "exch":
		x.check(t, "b32", "b64")
	case "cas":
		x.check(t, "b16", "b32", "b64")
	case "inc", "dec":
		x.check(t, "u32")
	default:
		x.fail("needs an operation")
	}
	if !result && (op == "exch" || op == "cas") {
		x.fail("red has no .%s", op)
	}
	n := width(t)
	m.size = uint64(n / 8)
	m.total, m.reg = m.size, n
	args := x.args
	if result {
		x.nargs(3 + btoi(op == "cas"))
		x.out.d = x.dst(0, n)
		args = args[1:]
	} else {
		x.nargs(2)
		x.out.d = scratch
	}
	x.addressOperand(args[0], m)
	x.out.a = x.source(args[1], n)
	if op == "cas" {
		x.out.b = x.source(args[2], n)
	}
	x.used(m, m.size)
	f := atomicFunc(op, t, n)
	global := m.space != spaceShared
	m.access = func(w *warp, in *inst, buf []byte, base uint64, mask uint32) {
		for l := mask; l != 0; l &= l - 1 {
			i := bits.TrailingZeros32(l) & 31
			b := buf[w.addr[i]-base:]
			var lock = &w.blk.l.m.locks[w.addr[i]>>3&255]
			if global {
				lock.Lock()
			}
			old := getUint(b, m.size)
			v := f(old, w.get(in.a, n, i), w.get(in.b, n, i))
			putUint(b, m.size, v)
			if global {
				lock.Unlock()
			}
			w.wk.busy = w.wk.busy || v != old
			w.set(in.d, n, i, old)
		}
	}
	x.out.m = m
	x.put(kMasked, ClassAtomic, memory)
}

func atomicFunc(op, t string, n int) func(old, a, b uint64) uint64 {
	sign := signed(t)
	less := func(a, b uint64) bool {
		if sign {
			return sx(a, n) < sx(b, n)
		}
		return a < b
	}
	half := func(f format) func(old, a uint64) uint64 {
		return func(old, a uint64) uint64 { return uint64(addMode(f, uint32(old)&0xffff, uint32(a)&0xffff, rn)) }
	}
	switch op {
	case "add":
		switch t {
		case "f32":
			return func(old, a, _ uint64) uint64 { return uint64(bits32(flt(uint32(old)) + flt(uint32(a)))) }
		case "f64":
			return func(old, a, _ uint64) uint64 { return addF64(old, a) }
		case "f16", "bf16", "f16x2", "bf16x2":
			f := half(fmtF16)
			if t[0] == 'b' {
				f = half(fmtBF16)
			}
			if n == 16 {
				return func(old, a, _ uint64) uint64 { return f(old, a) }
			}
			return func(old, a, _ uint64) uint64 { return f(old, a) | f(old>>16, a>>16)<<16 }
		}
		return func(old, a, _ uint64) uint64 { return old + a }
	case "min":
		return func(old, a, _ uint64) uint64 {
			if less(a, old) {
				return a
			}
			return old
		}
	case "max":
		return func(old, a, _ uint64) uint64 {
			if less(old, a) {
				return a
			}
			return old
		}
	case "and":
		return func(old, a, _ uint64) uint64 { return old & a }
	case "or":
		return func(old, a, _ uint64) uint64 { return old | a }
	case "xor":
		return func(old, a, _ uint64) uint64 { return old ^ a }
	case "exch":
		return func(_, a, _ uint64) uint64 { return a }
	case "cas":
		return func(old, a, b uint64) uint64 {
			if old == a {
				return b
			}
			return old
		}
	case "inc":
		return func(old, a, _ uint64) uint64 {
			if old >= a {
				return 0
			}
			return old + 1
		}
	}
	return func(old, a, _ uint64) uint64 { // dec
		if old == 0 || old > a {
			return a
		}
		return old - 1
	}
}

func addF64(a, b uint64) uint64 {
	return math.Float64bits(math.Float64frombits(a) + math.Float64frombits(b))
}

var memoryOps = map[string]decoder{
	"ld":   load,
	"ldu":  load,
	"st":   store,
	"atom": func(x *ins) { atomicOp(x, true) },
	"red":  func(x *ins) { atomicOp(x, false) },
}
