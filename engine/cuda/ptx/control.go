package ptx

import "math/bits"

// Branches, calls and the instructions by which threads talk.

var controlOps = map[string]decoder{
	"bra": func(x *ins) {
		x.has("uni")
		x.nargs(1)
		x.branch(x.args[0].name)
	},
	"brx": brx,
	"ret": func(x *ins) {
		x.has("uni")
		x.nargs(0)
		if x.depth > 0 {
			x.returns = append(x.returns, len(x.prog.code))
			x.put(kBranch, ClassControl, nil)
			return
		}
		x.put(kExit, ClassControl, nil)
	},
	"exit": func(x *ins) {
		x.nargs(0)
		x.put(kExit, ClassControl, nil)
	},
	"trap": func(x *ins) {
		x.nargs(0)
		x.put(kMasked, ClassControl, func(w *warp, in *inst) {
			w.fault(in, bits.TrailingZeros32(w.mask), 0, "trap")
		})
	},
	"brkpt": func(x *ins) { x.nothing(0) },
	"call":  call,
	"nanosleep": func(x *ins) {
		x.check(x.typ(), "u32")
		x.nargs(1)
		x.src(0, 32)
		x.put(kYield, ClassControl, func(*warp, *inst) {})
	},
	"pmevent":        func(x *ins) { x.nothing(1) },
	"griddepcontrol": griddepcontrol,
	"setmaxnreg":     func(x *ins) { x.fail("needs sm_90a") },
	"activemask":     activemask,
	"elect":          elect,
	"shfl":           shfl,
	"vote":           vote,
	"match":          match,
	"redux":          redux,
	"prefetch":       prefetch,
	"prefetchu":      prefetch,
	"applypriority":  prefetch,
	"discard":        prefetch,
	"createpolicy":   createpolicy,
	"membar":         fence,
	"fence":          fence,
	"getctarank":     func(x *ins) { x.fail("clusters are not supported") },
	"mapa":           func(x *ins) { x.fail("clusters are not supported") },
	"alloca":         func(x *ins) { x.fail("is not supported") },
	"stacksave":      func(x *ins) { x.fail("is not supported") },
	"stackrestore":   func(x *ins) { x.fail("is not supported") },
}

// nothing emits an instruction without an effect here.
func (x *ins) nothing(n int) {
	x.nargs(n)
	x.put(kMasked, ClassControl, func(*warp, *inst) {})
}

// griddepcontrol: launch_dependents lets the next launch start, which here it does
// when this one has ended; wait is for the launches before (depend.go).
func griddepcontrol(x *ins) {
	switch x.one("launch_dependents", "wait") {
	case "launch_dependents":
		x.nothing(0)
	case "wait":
		x.nargs(0)
		x.put(kMasked, ClassControl, func(w *warp, in *inst) { w.awaited() })
	default:
		x.fail("needs .launch_dependents or .wait")
	}
}

func (x *ins) branch(label string) {
	x.fixups = append(x.fixups, fixup{len(x.prog.code), -1, label, x.st.line, x.sc})
	x.put(kBranch, ClassBranch, nil)
}

func brx(x *ins) {
	if !x.has("idx") {
		x.fail("needs .idx")
	}
	x.has("uni")
	x.nargs(2)
	x.out.a = x.src(0, 32)
	var list []operand
	for sc := x.sc; sc != nil && list == nil; sc = sc.parent {
		list = sc.targets[x.args[1].name]
	}
	if list == nil {
		x.fail("no .branchtargets %s before this", x.args[1].name)
	}
	x.out.jumps = make([]int32, len(list))
	for i, o := range list {
		x.fixups = append(x.fixups, fixup{len(x.prog.code), i, o.name, x.st.line, x.sc})
	}
	x.put(kIndexed, ClassBranch, nil)
}

// call inlines the function: its statements are decoded here, its parameters
// being places in the thread's local memory, as the caller's are.
func call(x *ins) {
	x.has("uni")
	args := x.args
	var ret, params []operand
	if len(args) > 0 && args[0].kind == opList {
		ret, args = args[0].list, args[1:]
	}
	if len(args) == 0 || args[0].kind != opName {
		x.fail("no function")
	}
	name := args[0].name
	args = args[1:]
	if len(args) > 0 && args[0].kind == opList {
		params, args = args[0].list, args[1:]
	}
	if len(args) > 0 {
		x.fail("indirect calls are not supported")
	}
	var fn *function
	for _, f := range x.f.funcs {
		if f.name == name && !f.entry && (fn == nil || fn.proto) {
			fn = f
		}
	}
	switch {
	case fn == nil:
		x.fail("no function %s", name)
	case fn.proto && name == "__assertfail":
		x.put(kMasked, ClassControl, func(w *warp, in *inst) {
			w.fault(in, bits.TrailingZeros32(w.mask), 0, "assertion failed")
		})
		return
	case fn.proto:
		x.fail("%s has no body", name)
	case x.calling[name]:
		x.fail("recursion in %s", name)
	case len(ret) != len(fn.ret) || len(params) != len(fn.params):
		x.fail("%s has %d parameters and %d results", name, len(fn.params), len(fn.ret))
	case len(x.prog.code) > 1<<22:
		x.fail("program too large with its calls inlined")
	}
	c := x.compiler
	outer, returns := c.sc, c.returns
	inner := newScope(c.module)
	bind := func(formal []*variable, actual []operand) {
		for i, v := range formal {
			l := x.variable(actual[i].name)
			if l == nil || l.space != spaceArg || l.v.size < v.size {
				x.fail("argument %v is not a .param variable of %d bytes", actual[i], v.size)
			}
			inner.vars[v.name] = l
		}
	}
	bind(fn.ret, ret)
	bind(fn.params, params)
	// A predicated call is a branch around it.
	skip := -1
	if x.out.pred >= 0 {
		x.out.neg = !x.out.neg
		skip = len(x.prog.code)
		x.put(kBranch, ClassControl, nil)
	}
	c.sc, c.returns = inner, nil
	c.depth++
	c.calling[name] = true
	c.body(fn)
	delete(c.calling, name)
	c.depth--
	end := int32(len(x.prog.code))
	for _, pc := range c.returns {
		x.prog.code[pc].target = end
	}
	if skip >= 0 {
		x.prog.code[skip].target = end
	}
	c.sc, c.returns = outer, returns
}

func activemask(x *ins) {
	x.check(x.typ(), "b32")
	x.nargs(1)
	x.out.d = x.dst(0, 32)
	x.put(kMasked, ClassWarp, func(w *warp, in *inst) { w.spread(in.d, w.mask) })
}

// spread writes one value to the lanes of the mask.
func (w *warp) spread(slot int32, v uint32) {
	d := &w.r32[slot]
	for m := w.mask; m != 0; m &= m - 1 {
		d[bits.TrailingZeros32(m)&31] = v
	}
}

func elect(x *ins) {
	x.sync()
	x.nargs(2)
	if x.args[0].kind != opPair {
		x.fail("needs d|p")
	}
	x.out.d, x.out.d2 = x.dest(x.args[0].list[0], 32), x.dest(x.args[0].list[1], 1)
	x.out.e = x.src(1, 32)
	x.put(kSync, ClassWarp, func(w *warp, in *inst) {
		lane := bits.TrailingZeros32(w.mask)
		w.spread(in.d, uint32(lane))
		w.setPred(in.d2, 1<<lane)
	})
}

// sync takes .sync, which every instruction between lanes needs since sm_70.
func (x *ins) sync() {
	if !x.has("sync") {
		x.fail("needs .sync")
	}
}

func shfl(x *ins) {
	x.sync()
	mode := x.one("up", "down", "bfly", "idx")
	if mode == "" {
		x.fail("needs a mode")
	}
	x.check(x.typ(), "b32", "u32", "s32", "f32")
	x.nargs(5)
	x.out.d2 = -1
	d := x.args[0]
	if d.kind == opPair {
		x.out.d2 = x.dest(d.list[1], 1)
		d = d.list[0]
	}
	x.out.d, x.out.a, x.out.b, x.out.c, x.out.e = x.dest(d, 32), x.src(1, 32), x.src(2, 32), x.src(3, 32), x.src(4, 32)
	x.put(kSync, ClassWarp, func(w *warp, in *inst) {
		a, b, c := w.r32[in.a], &w.r32[in.b], &w.r32[in.c]
		var out [warpSize]uint32
		var ok uint32
		for m := w.mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m) & 31
			lane := i
			n, clamp, seg := int(b[i]&31), int(c[i]&31), int(c[i]>>8&31)
			top := lane&seg | clamp&^seg
			bottom := lane & seg
			var j int
			var in bool
			switch mode {
			case "up":
				j = lane - n
				in = j >= top
			case "down":
				j = lane + n
				in = j <= top
			case "bfly":
				j = lane ^ n
				in = j <= top
			case "idx":
				j = bottom | n&^seg
				in = j <= top
			}
			if in {
				ok |= 1 << i
			} else {
				j = lane
			}
			if w.mask>>j&1 == 0 {
				// The value of a lane that takes no part is undefined: a NaN shows it.
				out[i] = 0xffffffff
				continue
			}
			out[i] = a[j&31]
		}
		d := &w.r32[in.d]
		for m := w.mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m) & 31
			d[i] = out[i]
		}
		if in.d2 >= 0 {
			w.setPred(in.d2, ok)
		}
	})
}

func vote(x *ins) {
	x.sync()
	mode := x.one("all", "any", "uni", "ballot")
	t := x.typ()
	if mode == "ballot" {
		x.check(t, "b32")
		x.nargs(3)
		x.out.d = x.dst(0, 32)
	} else {
		x.check(t, "pred")
		x.nargs(3)
		x.out.d = x.dst(0, 1)
	}
	var not bool
	x.out.a, not = x.srcPred(1)
	x.out.e = x.src(2, 32)
	x.put(kSync, ClassWarp, func(w *warp, in *inst) {
		p := flip(w.p[in.a], not) & w.mask
		var r bool
		switch mode {
		case "ballot":
			w.spread(in.d, p)
			return
		case "all":
			r = p == w.mask
		case "any":
			r = p != 0
		case "uni":
			r = p == 0 || p == w.mask
		}
		w.setPred(in.d, uint32(-btoi(r)))
	})
}

func match(x *ins) {
	x.sync()
	mode := x.one("any", "all")
	t := x.typ()
	x.check(t, "b32", "b64")
	n := width(t)
	x.nargs(3)
	d := x.args[0]
	x.out.d2 = -1
	if d.kind == opPair {
		if mode == "any" {
			x.fail("match.any has no predicate")
		}
		x.out.d2 = x.dest(d.list[1], 1)
		d = d.list[0]
	}
	x.out.d, x.out.a, x.out.e = x.dest(d, 32), x.src(1, n), x.src(2, 32)
	x.put(kSync, ClassWarp, func(w *warp, in *inst) {
		equal := func(i int) (r uint32) {
			for m := w.mask; m != 0; m &= m - 1 {
				if j := bits.TrailingZeros32(m); w.get(in.a, n, j) == w.get(in.a, n, i) {
					r |= 1 << j
				}
			}
			return r
		}
		if mode == "all" {
			r := equal(bits.TrailingZeros32(w.mask))
			if r != w.mask {
				r = 0
			}
			if in.d2 >= 0 {
				w.setPred(in.d2, uint32(-btoi(r != 0)))
			}
			w.spread(in.d, r)
			return
		}
		var out [warpSize]uint32
		for m := w.mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m)
			out[i] = equal(i)
		}
		for m := w.mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m)
			w.r32[in.d][i] = out[i]
		}
	})
}

func redux(x *ins) {
	x.sync()
	op := x.one("add", "min", "max", "and", "or", "xor")
	t := x.typ()
	switch op {
	case "add", "min", "max":
		x.check(t, "u32", "s32")
	case "and", "or", "xor":
		x.check(t, "b32")
	default:
		x.fail("needs an operation")
	}
	x.nargs(3)
	x.out.d, x.out.a, x.out.e = x.dst(0, 32), x.src(1, 32), x.src(2, 32)
	f := atomicFunc(op, t, 32)
	x.put(kSync, ClassWarp, func(w *warp, in *inst) {
		first := true
		var v uint64
		for m := w.mask; m != 0; m &= m - 1 {
			a := uint64(w.r32[in.a][bits.TrailingZeros32(m)])
			if first {
				v, first = a, false
			} else {
				v = f(v, a, 0)
			}
		}
		w.spread(in.d, uint32(v))
	})
}

// prefetch and its like change nothing that a program can see.
func prefetch(x *ins) {
	x.stateSpace()
	x.one("L1", "L2", "L2::evict_last", "L2::evict_normal")
	x.has("L2")
	x.mods = nil
	x.put(kMasked, ClassControl, func(*warp, *inst) {})
}

// createpolicy gives the descriptor of a cache policy, which hints take.
func createpolicy(x *ins) {
	x.mods = nil
	x.check(x.typ(), "b64")
	x.out.d = x.dst(0, 64)
	x.out.wide = true
	x.put(kPure, ClassMove, func(w *warp, in *inst) { w.r64[in.d] = [warpSize]uint64{} })
}

// fence: workers are goroutines on x86 or arm64; a locked instruction orders
// their accesses.
func fence(x *ins) {
	x.one("gl", "cta", "sys", "sc", "acq_rel", "mbarrier_init", "proxy")
	x.one("gpu", "cta", "sys", "cluster", "async", "release", "alias")
	x.one("cluster", "cta", "gpu")
	x.one("async::shared::cta", "async.shared::cta")
	x.one("shared::cta", "global", "shared")
	x.nargs(0)
	x.put(kMasked, ClassFence, func(w *warp, in *inst) {
		w.blk.l.m.locks[255].Lock()
		//lint:ignore SA2001 the lock itself is the fence
		w.blk.l.m.locks[255].Unlock()
		if w.blk.check != nil {
			w.fenced()
		}
	})
}
