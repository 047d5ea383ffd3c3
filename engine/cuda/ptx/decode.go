package ptx

import (
	"fmt"
	"strconv"
	"strings"
)

// Decoding turns a kernel's statements into a program: one inst for each
// instruction, its operands as slots of the warp's register files. Immediates,
// addresses of variables and special registers get slots of their own, filled
// before the warp starts, so that an operand is always a slot.

type kind uint8

const (
	kPure    kind = iota // computes d from its sources; lanes that are off may be computed too
	kMasked              // looks at w.mask itself
	kSync                // needs the lanes of its member mask, or all live ones, together
	kBarrier             // waits for other warps
	kBranch
	kIndexed // brx.idx
	kExit
	kYield // masked, and lets other warps run
)

type execFn func(w *warp, in *inst)

type inst struct {
	exec    execFn
	kind    kind
	neg     bool // predicate negated
	wide    bool // d is a 64-bit register
	aligned bool // all living lanes have to be here
	strict  bool // and none may have ended (bar, barrier.aligned)
	class   Class
	pred    int32 // -1: none
	d, d2   int32
	a, b, c int32
	e       int32
	target  int32
	line    int32
	index   int32
	imm     uint64
	alt     *inst // of a kPure: the same into the scratch slot
	m       *memOp
	jumps   []int32
	regs    []int32 // vector operands
	regs2   []int32
	regs3   []int32
	regs4   []int32
	st      *stmt
}

// Slot 0 of each file is scratch: what "_" writes and what a masked kPure
// computes into.
const scratch = 0

type special struct {
	name  string
	slot  int32
	wide  bool
	block bool // has the block's index
}

type program struct {
	name     string
	code     []inst
	n32, n64 int32
	npred    int32
	init32   [][warpSize]uint32 // the register files at a warp's start
	init64   [][warpSize]uint64
	specials []special
	shared   int // static bytes
	dynamic  int // offset of the dynamic shared memory
	local    int
	granule  uint64 // least width of accesses to shared memory
	global   uint64 // and to global memory; 4 at most, both
}

type regRange struct {
	typ   string
	count int
	slots map[int]int32
}

type location struct {
	space  space
	addr   uint64
	dyn    bool
	v      *variable
	placed bool
}

type scope struct {
	parent  *scope
	regs    map[string]*regRange
	vars    map[string]*location
	labels  map[string]int32
	targets map[string][]operand
}

func newScope(parent *scope) *scope {
	return &scope{parent, map[string]*regRange{}, map[string]*location{}, map[string]int32{}, map[string][]operand{}}
}

type fixup struct {
	pc    int
	entry int // index into jumps, -1: target
	label string
	line  int
	sc    *scope
}

type compiler struct {
	mod      *Module
	f        *file
	prog     *program
	sc       *scope
	module   *scope
	fixups   []fixup
	returns  []int // branches of an inlined function's ret to its end
	depth    int
	dynAlign int
	consts32 map[uint32]int32
	consts64 map[uint64]int32
	dyn      map[uint64]int32 // slots of addresses in dynamic shared memory
	special  map[string]int32
	calling  map[string]bool
	ops      map[string]decoder
}

// decode makes the module's functions.
func (mod *Module) decode(f *file) (err error) {
	defer catch(&err)
	for _, fn := range f.funcs {
		if !fn.entry || fn.proto {
			continue
		}
		if mod.funcs[fn.name] != nil {
			failAt(fn.line, fn.name, "defined twice")
		}
		fun := &Function{name: fn.name, m: mod.m, threads: MaxThreads}
		if fn.threads > 0 {
			fun.threads = fn.threads
		}
		c := &compiler{
			mod: mod, f: f,
			prog:     &program{name: fn.name, n32: 1, n64: 1, granule: 4, global: 4},
			consts32: map[uint32]int32{}, consts64: map[uint64]int32{}, dyn: map[uint64]int32{},
			special: map[string]int32{}, calling: map[string]bool{},
			dynAlign: 16,
			ops:      decoders,
		}
		c.module = newScope(nil)
		for _, v := range f.vars {
			l := &location{v: v, space: spaceShared}
			if v.space != "shared" {
				r := mod.globals[v.name]
				l.space, l.addr, l.placed = spaceGlobal, r.Addr, true
			}
			c.module.vars[v.name] = l
		}
		c.sc = newScope(c.module)
		for _, p := range fn.params {
			off := align(fun.paramBytes, p.align)
			fun.params = append(fun.params, Param{off, p.size, p.align})
			fun.paramBytes = off + p.size
			c.sc.vars[p.name] = &location{space: spaceParam, addr: uint64(off), placed: true, v: p}
		}
		c.body(fn)
		c.emit(inst{kind: kExit, pred: -1, line: int32(fn.line), st: &stmt{name: "exit"}, class: ClassControl})
		c.finish()
		fun.prog = c.prog
		mod.funcs[fn.name] = fun
	}
	return nil
}

func align(n, a int) int { return (n + a - 1) / a * a }

func (c *compiler) body(fn *function) {
	for i := range fn.body {
		s := &fn.body[i]
		switch s.kind {
		case stOpen:
			c.sc = newScope(c.sc)
		case stClose:
			c.sc = c.sc.parent
		case stReg:
			if c.sc.regs[s.name] != nil {
				failAt(s.line, s.name, "declared twice")
			}
			c.sc.regs[s.name] = &regRange{s.typ, s.count, map[int]int32{}}
		case stVar:
			l := &location{v: s.v}
			switch s.v.space {
			case "shared":
				l.space = spaceShared
				if !s.v.open {
					c.place(l)
				}
			case "local":
				l.space = spaceLocal
				c.place(l)
			case "param": // of a call: a place of the thread's own
				l.space = spaceArg
				c.place(l)
			default:
				failAt(s.line, s.name, ".%s inside a function is not supported", s.v.space)
			}
			if s.v.init != nil {
				failAt(s.line, s.name, "initialised variable inside a function")
			}
			c.sc.vars[s.name] = l
		case stLabel:
			if _, ok := c.sc.labels[s.name]; ok {
				failAt(s.line, s.name, "label defined twice")
			}
			c.sc.labels[s.name] = int32(len(c.prog.code))
		case stTargets:
			c.sc.targets[s.name] = s.args
		case stInstr:
			c.instr(s)
		}
	}
}

// place gives a variable its offset.
func (c *compiler) place(l *location) {
	if l.placed {
		return
	}
	l.placed = true
	switch {
	case l.space == spaceShared && l.v.open:
		l.dyn = true
		c.dynAlign = max(c.dynAlign, l.v.align)
	case l.space == spaceShared:
		c.prog.shared = align(c.prog.shared, l.v.align)
		l.addr = uint64(c.prog.shared)
		c.prog.shared += l.v.size
		if c.prog.shared > MaxShared {
			failAt(l.v.line, l.v.name, "%d bytes of static shared memory", c.prog.shared)
		}
	default:
		c.prog.local = align(c.prog.local, l.v.align)
		l.addr = uint64(c.prog.local)
		c.prog.local += l.v.size
		if c.prog.local > 512<<10 {
			failAt(l.v.line, l.v.name, "%d bytes of local memory", c.prog.local)
		}
	}
}

func (c *compiler) emit(in inst) *inst {
	in.index = int32(len(c.prog.code))
	c.prog.code = append(c.prog.code, in)
	return &c.prog.code[len(c.prog.code)-1]
}

// finish resolves labels and builds the initial register files.
func (c *compiler) finish() {
	p := c.prog
	for _, f := range c.fixups {
		t := int32(-1)
		for sc := f.sc; sc != nil; sc = sc.parent {
			if pc, ok := sc.labels[f.label]; ok {
				t = pc
				break
			}
		}
		if t < 0 {
			failAt(f.line, f.label, "no such label")
		}
		if f.entry < 0 {
			p.code[f.pc].target = t
		} else {
			p.code[f.pc].jumps[f.entry] = t
		}
	}
	p.dynamic = align(p.shared, c.dynAlign)
	p.init32 = make([][warpSize]uint32, p.n32)
	p.init64 = make([][warpSize]uint64, p.n64)
	for v, s := range c.consts32 {
		for i := range p.init32[s] {
			p.init32[s][i] = v
		}
	}
	fill := func(s int32, v uint64) {
		for i := range p.init64[s] {
			p.init64[s][i] = v
		}
	}
	for v, s := range c.consts64 {
		fill(s, v)
	}
	for v, s := range c.dyn {
		fill(s, v+uint64(p.dynamic))
	}
	for i := range p.code {
		in := &p.code[i]
		if in.kind == kPure {
			alt := *in
			alt.d = scratch
			in.alt = &alt
		}
	}
}

// register is a resolved register.
type register struct {
	slot int32
	bits int // 1 for a predicate
	typ  string
}

func regBits(typ string) int {
	if typ == "pred" {
		return 1
	}
	return 8 * typeSize(typ)
}

// lookup finds a register by name.
func (c *compiler) lookup(name string) (register, bool) {
	for sc := c.sc; sc != nil; sc = sc.parent {
		if r := sc.regs[name]; r != nil && r.count == 0 {
			return c.slot(r, 0), true
		}
		for i := len(name) - 1; i > 0 && isDigit(name[i]); i-- {
			r := sc.regs[name[:i]]
			if r == nil || r.count <= 0 {
				continue
			}
			n, err := strconv.Atoi(name[i:])
			if err == nil && n < r.count && (name[i] != '0' || i == len(name)-1) {
				return c.slot(r, n), true
			}
		}
	}
	return register{}, false
}

func (c *compiler) slot(r *regRange, n int) register {
	s, ok := r.slots[n]
	if !ok {
		switch regBits(r.typ) {
		case 1:
			s = c.prog.npred
			c.prog.npred++
		case 64:
			s = c.prog.n64
			c.prog.n64++
		default:
			s = c.prog.n32
			c.prog.n32++
		}
		r.slots[n] = s
	}
	return register{s, regBits(r.typ), r.typ}
}

func (c *compiler) variable(name string) *location {
	for sc := c.sc; sc != nil; sc = sc.parent {
		if l := sc.vars[name]; l != nil {
			c.place(l)
			return l
		}
	}
	return nil
}

func (c *compiler) const32(v uint32) int32 {
	s, ok := c.consts32[v]
	if !ok {
		s = c.prog.n32
		c.prog.n32++
		c.consts32[v] = s
	}
	return s
}

func (c *compiler) const64(v uint64) int32 {
	s, ok := c.consts64[v]
	if !ok {
		s = c.prog.n64
		c.prog.n64++
		c.consts64[v] = s
	}
	return s
}

// address gives a 64-bit slot that holds a variable's address in its space.
func (c *compiler) address(l *location, add int64) int32 {
	if l.dyn {
		s, ok := c.dyn[uint64(add)]
		if !ok {
			s = c.prog.n64
			c.prog.n64++
			c.dyn[uint64(add)] = s
		}
		return s
	}
	return c.const64(l.addr + uint64(add))
}

// specialBits has the special registers that do not change while a warp runs.
var specialBits = map[string]int{
	"%tid.x": 32, "%tid.y": 32, "%tid.z": 32, "%tid.w": 32,
	"%ntid.x": 32, "%ntid.y": 32, "%ntid.z": 32, "%ntid.w": 32,
	"%ctaid.x": 32, "%ctaid.y": 32, "%ctaid.z": 32, "%ctaid.w": 32,
	"%nctaid.x": 32, "%nctaid.y": 32, "%nctaid.z": 32, "%nctaid.w": 32,
	"%laneid": 32, "%warpid": 32, "%nwarpid": 32, "%smid": 32, "%nsmid": 32, "%gridid": 64,
	"%lanemask_eq": 32, "%lanemask_lt": 32, "%lanemask_le": 32, "%lanemask_gt": 32, "%lanemask_ge": 32,
	"%dynamic_smem_size": 32, "%total_smem_size": 32, "%aggr_smem_size": 32,
	"%clusterid.x": 32, "%clusterid.y": 32, "%clusterid.z": 32,
	"%nclusterid.x": 32, "%nclusterid.y": 32, "%nclusterid.z": 32,
	"%cluster_ctaid.x": 32, "%cluster_ctaid.y": 32, "%cluster_ctaid.z": 32,
	"%cluster_nctaid.x": 32, "%cluster_nctaid.y": 32, "%cluster_nctaid.z": 32,
	"%cluster_ctarank": 32, "%cluster_nctarank": 32,
}

// specialReg gives the slot of a special register.
func (c *compiler) specialReg(name string) (register, bool) {
	b, ok := specialBits[name]
	if !ok {
		return register{}, false
	}
	s, ok := c.special[name]
	if !ok {
		if b == 64 {
			s = c.prog.n64
			c.prog.n64++
		} else {
			s = c.prog.n32
			c.prog.n32++
		}
		c.special[name] = s
		c.prog.specials = append(c.prog.specials, special{name, s, b == 64, strings.HasPrefix(name, "%ctaid") ||
			strings.HasPrefix(name, "%clusterid")})
	}
	return register{s, b, "b" + strconv.Itoa(b)}, true
}

// ins is an instruction while it is decoded. Every modifier has to be taken by
// the opcode's decoder: one that is left is an error.
type ins struct {
	*compiler
	st    *stmt
	op    string
	mods  []string
	types []string
	args  []operand
	out   inst
}

func (x *ins) fail(format string, args ...any) {
	failAt(x.st.line, x.st.name, format, args...)
}

// has takes a modifier if it is there.
func (x *ins) has(mod string) bool {
	for i, m := range x.mods {
		if m == mod {
			x.mods = append(x.mods[:i:i], x.mods[i+1:]...)
			return true
		}
	}
	return false
}

// one takes the first of the modifiers that is there; "" where none is.
func (x *ins) one(mods ...string) string {
	for _, m := range mods {
		if x.has(m) {
			return m
		}
	}
	return ""
}

// typ takes the next type.
func (x *ins) typ() string {
	if len(x.types) == 0 {
		x.fail("no type")
	}
	t := x.types[0]
	x.types = x.types[1:]
	return t
}

func (x *ins) nargs(n ...int) {
	for _, k := range n {
		if len(x.args) == k {
			return
		}
	}
	x.fail("%d operands, want %v", len(x.args), n)
}

func (c *compiler) instr(s *stmt) {
	parts := strings.Split(s.name, ".")
	x := &ins{compiler: c, st: s, op: parts[0], args: s.args}
	for _, m := range parts[1:] {
		if typeSize(m) > 0 || m == "pred" || m == "s4" || m == "u4" || m == "b1" {
			x.types = append(x.types, m)
		} else {
			x.mods = append(x.mods, m)
		}
	}
	dec, ok := c.ops[x.op]
	if !ok {
		x.fail("unknown instruction")
	}
	x.out = inst{pred: -1, line: int32(s.line), st: s}
	if s.pred != "" {
		r, ok := c.lookup(s.pred)
		if !ok || r.bits != 1 {
			x.fail("%s is not a predicate", s.pred)
		}
		x.out.pred, x.out.neg = r.slot, s.predNot
	}
	dec(x)
	if len(x.mods) > 0 {
		x.fail("modifier .%s is not supported", strings.Join(x.mods, "."))
	}
	if len(x.types) > 0 {
		x.fail("type .%s has no use here", x.types[0])
	}
}

// put emits the instruction.
func (x *ins) put(k kind, class Class, exec execFn) *inst {
	x.out.kind, x.out.class, x.out.exec = k, class, exec
	return x.emit(x.out)
}

// src gives the slot of a source of so many bits.
func (x *ins) src(i, bits int) int32 {
	if i >= len(x.args) {
		x.fail("operand %d is missing", i+1)
	}
	return x.source(x.args[i], bits)
}

func (x *ins) source(o operand, bits int) int32 {
	switch o.kind {
	case opInt:
		if bits == 64 {
			return x.const64(uint64(o.val))
		}
		return x.const32(uint32(uint64(o.val) & (1<<bits - 1)))
	case opFloat:
		if bits == 64 {
			return x.const64(floatBits(o, 64))
		}
		if bits == 16 {
			x.fail("a float immediate in 16 bits")
		}
		return x.const32(uint32(floatBits(o, 32)))
	case opName:
		if o.not {
			x.fail("negated operand %v", o)
		}
		r, ok := x.lookup(o.name)
		if !ok {
			r, ok = x.specialReg(o.name)
		}
		if ok && o.val == 0 {
			if r.bits != bits {
				x.fail("%s has %d bits, want %d", o.name, r.bits, bits)
			}
			return r.slot
		}
		if l := x.variable(o.name); l != nil {
			s := x.address(l, o.val)
			if bits == 64 {
				return s
			}
			if bits == 32 && (l.space == spaceShared || l.space == spaceLocal) {
				if l.dyn {
					x.fail("use mov for the address of %s", o.name)
				}
				return x.const32(uint32(l.addr) + uint32(o.val))
			}
		}
		x.fail("%s is not declared, or not of %d bits", o.name, bits)
	}
	x.fail("operand %v is not a register or number", o)
	return 0
}

// dst gives the slot of a destination of so many bits; "_" is the scratch slot.
func (x *ins) dst(i, bits int) int32 {
	if i >= len(x.args) {
		x.fail("operand %d is missing", i+1)
	}
	return x.dest(x.args[i], bits)
}

func (x *ins) dest(o operand, bits int) int32 {
	if o.kind != opName || o.not || o.val != 0 {
		x.fail("operand %v is not a destination", o)
	}
	if o.name == "_" {
		if bits == 1 {
			return x.sinkPred()
		}
		return scratch
	}
	r, ok := x.lookup(o.name)
	if !ok {
		x.fail("%s is not declared", o.name)
	}
	if r.bits != bits {
		x.fail("%s has %d bits, want %d", o.name, r.bits, bits)
	}
	return r.slot
}

func (x *ins) sinkPred() int32 {
	s := x.prog.npred
	x.prog.npred++
	return s
}

// srcPred gives the slot of a predicate and whether it is negated.
func (x *ins) srcPred(i int) (int32, bool) {
	if i >= len(x.args) {
		x.fail("operand %d is missing", i+1)
	}
	o := x.args[i]
	if o.kind == opName {
		if r, ok := x.lookup(o.name); ok && r.bits == 1 {
			return r.slot, o.not
		}
	}
	x.fail("operand %v is not a predicate", o)
	return 0, false
}

// pure emits a kPure of n sources, all with the destination's width.
func (x *ins) pure(class Class, bits, n int, exec execFn) {
	x.nargs(n + 1)
	x.out.d = x.dst(0, bits)
	x.out.wide = bits == 64
	s := []*int32{&x.out.a, &x.out.b, &x.out.c}
	for i := range n {
		*s[i] = x.src(i+1, bits)
	}
	x.put(kPure, class, exec)
}

// vector gives the slots of {a, b, ...}, or of the one register.
func (x *ins) vector(o operand, n, bits int, dst bool) []int32 {
	l := []operand{o}
	if o.kind == opVector {
		l = o.list
	}
	if len(l) != n {
		x.fail("%v has %d elements, want %d", o, len(l), n)
	}
	out := make([]int32, n)
	for i, e := range l {
		if dst {
			out[i] = x.dest(e, bits)
		} else {
			out[i] = x.source(e, bits)
		}
	}
	return out
}

func signed(t string) bool { return t[0] == 's' }

func (p *program) String() string { return fmt.Sprintf("%s: %d instructions", p.name, len(p.code)) }
