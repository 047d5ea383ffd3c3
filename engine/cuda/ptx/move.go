package ptx

import (
	"math"
	"math/bits"
	"strings"
)

// Moves, conversions, comparisons and selections.

var moveOps = map[string]decoder{
	"mov":      mov,
	"cvt":      cvt,
	"cvta":     cvta,
	"setp":     setp,
	"set":      set,
	"selp":     selp,
	"slct":     slct,
	"isspacep": isspacep,
}

func mov(x *ins) {
	t := x.typ()
	x.nargs(2)
	if t == "pred" {
		x.out.d = x.dst(0, 1)
		if x.args[1].kind == opInt {
			v := uint32(-btoi(x.args[1].val != 0))
			x.put(kMasked, ClassMove, func(w *warp, in *inst) { w.setPred(in.d, v) })
			return
		}
		var not bool
		x.out.a, not = x.srcPred(1)
		x.put(kMasked, ClassMove, func(w *warp, in *inst) { w.setPred(in.d, flip(w.p[in.a], not)) })
		return
	}
	n := width(t)
	if n == 8 || n == 128 {
		x.fail("type .%s", t)
	}
	d, a := x.args[0], x.args[1]
	switch {
	case a.kind == opVector: // pack
		k := len(a.list)
		if k != 2 && k != 4 || n/k < 8 {
			x.fail("%d values in %d bits", k, n)
		}
		x.out.d, x.out.regs = x.dst(0, n), x.vector(a, k, n/k, false)
		x.out.wide = n == 64
		x.put(kPure, ClassMove, pack(n, n/k))
	case d.kind == opVector: // unpack
		k := len(d.list)
		if k != 2 && k != 4 || n/k < 8 {
			x.fail("%d values in %d bits", k, n)
		}
		x.out.a, x.out.regs = x.src(1, n), x.vector(d, k, n/k, true)
		x.put(kMasked, ClassMove, unpack(n, n/k))
	case a.kind == opName && clocks[a.name] != 0:
		if clocks[a.name] != n {
			x.fail("%s has %d bits", a.name, clocks[a.name])
		}
		x.out.d = x.dst(0, n)
		hi := strings.HasSuffix(a.name, "hi")
		x.put(kMasked, ClassMove, func(w *warp, in *inst) {
			// A clock that only says how many instructions the worker ran: it moves
			// forward, and runs the same way twice.
			w.wk.steps++
			v := w.wk.steps
			if hi {
				v >>= 32
			}
			for m := w.mask; m != 0; m &= m - 1 {
				w.set(in.d, n, bits.TrailingZeros32(m), v)
			}
		})
	default:
		f := movFast32
		if n == 64 {
			f = movFast64
		}
		if l := x.symbol(a); l != nil && l.dyn && n == 32 {
			// The address of dynamic shared memory is known when decoding ends.
			x.out.d, x.out.a = x.dst(0, 32), x.address(l, a.val)
			x.put(kPure, ClassMove, cvtU32U64)
			return
		}
		x.pure(ClassMove, n, 1, f)
	}
}

// symbol gives the variable that an operand names, nil where it is none.
func (x *ins) symbol(o operand) *location {
	if o.kind != opName {
		return nil
	}
	if _, ok := x.lookup(o.name); ok {
		return nil
	}
	return x.variable(o.name)
}

var clocks = map[string]int{"%clock": 32, "%clock_hi": 32, "%clock64": 64,
	"%globaltimer": 64, "%globaltimer_lo": 32, "%globaltimer_hi": 32}

func pack(n, k int) execFn {
	switch {
	case n == 32 && k == 16:
		return func(w *warp, in *inst) {
			d, a, b := &w.r32[in.d], &w.r32[in.regs[0]], &w.r32[in.regs[1]]
			for i := range d {
				d[i] = a[i] | b[i]<<16
			}
		}
	case n == 64 && k == 32:
		return func(w *warp, in *inst) {
			d, a, b := &w.r64[in.d], &w.r32[in.regs[0]], &w.r32[in.regs[1]]
			for i := range d {
				d[i] = uint64(a[i]) | uint64(b[i])<<32
			}
		}
	}
	return func(w *warp, in *inst) {
		for i := range warpSize {
			var v uint64
			for j, r := range in.regs {
				v |= w.get(r, k, i) << (j * k)
			}
			w.set(in.d, n, i, v)
		}
	}
}

func unpack(n, k int) execFn {
	return func(w *warp, in *inst) {
		for m := w.mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m) & 31
			v := w.get(in.a, n, i)
			for j, r := range in.regs {
				w.r32[r][i] = uint32(v >> (j * k) & maskBits(k))
			}
		}
	}
}

// cvta: the addresses of .global and .const are generic ones; the windows of
// .shared and .local have an offset.
func cvta(x *ins) {
	t := x.typ()
	x.check(t, "u64", "u32")
	to := x.has("to")
	sp := x.one("global", "const", "shared", "shared::cta", "local", "param")
	if t != "u64" {
		x.fail("only 64-bit generic addresses")
	}
	var base uint64
	switch sp {
	case "shared", "shared::cta":
		base = sharedBase
	case "local":
		base = localBase
	case "param":
		base = paramBase
	case "":
		x.fail("no state space")
	}
	if to {
		base = -base
	}
	x.pure(ClassMove, 64, 1, func(w *warp, in *inst) {
		d, a := &w.r64[in.d], &w.r64[in.a]
		for i := range d {
			d[i] = a[i] + base
		}
	})
}

func isspacep(x *ins) {
	sp := x.one("global", "const", "shared", "shared::cta", "local", "param")
	if sp == "" {
		x.fail("no state space")
	}
	x.nargs(2)
	x.out.d, x.out.a = x.dst(0, 1), x.src(1, 64)
	x.put(kMasked, ClassMove, func(w *warp, in *inst) {
		var r uint32
		for i, a := range w.r64[in.a] {
			var ok bool
			switch sp {
			case "shared", "shared::cta":
				ok = a-sharedBase < windowSize
			case "local":
				ok = a-localBase < windowSize
			case "param":
				ok = a-paramBase < windowSize
			default:
				g := w.blk.l.mem.find(a)
				ok = a < sharedBase && (g == nil || g.ronly == (sp == "const"))
				if g == nil && sp == "const" {
					ok = false
				}
			}
			if ok {
				r |= 1 << i
			}
		}
		w.setPred(in.d, r)
	})
}

// compare gives the comparison of two values of a type.
func (x *ins) compare(op, t string) func(a, b uint64) bool {
	n := width(t)
	ftz := x.has("ftz")
	if isFloat(t) {
		val := map[string]func(uint64) float64{
			"f16": func(v uint64) float64 { return float64(f16Float(uint32(v))) },
			"f32": func(v uint64) float64 {
				if ftz {
					v = uint64(ftz32(uint32(v)))
				}
				return float64(flt(uint32(v)))
			},
			"bf16": func(v uint64) float64 { return float64(bf16Float(uint32(v))) },
			"f64":  math.Float64frombits,
		}[strings.TrimSuffix(t, "x2")]
		if ftz && t[0] == 'f' && n == 16 {
			f := val
			val = func(v uint64) float64 { return f(uint64(ftz16(uint32(v)))) }
		}
		var f func(a, b float64) bool
		nan := func(a, b float64) bool { return a != a || b != b }
		base := op
		unordered := len(op) == 3 && op[2] == 'u'
		if unordered {
			base = op[:2]
		}
		switch base {
		case "eq":
			f = func(a, b float64) bool { return a == b }
		case "ne": // ordered: false for a NaN
			f = func(a, b float64) bool { return a < b || a > b }
		case "lt":
			f = func(a, b float64) bool { return a < b }
		case "le":
			f = func(a, b float64) bool { return a <= b }
		case "gt":
			f = func(a, b float64) bool { return a > b }
		case "ge":
			f = func(a, b float64) bool { return a >= b }
		case "num":
			f = func(a, b float64) bool { return !nan(a, b) }
		case "nan":
			f = nan
		default:
			x.fail("comparison .%s of floats", op)
		}
		return func(a, b uint64) bool {
			x, y := val(a), val(b)
			return f(x, y) || unordered && nan(x, y)
		}
	}
	if ftz {
		x.fail(".ftz of integers")
	}
	sign := signed(t)
	less := func(a, b uint64) bool { return a < b }
	if sign {
		less = func(a, b uint64) bool { return sx(a, n) < sx(b, n) }
	}
	switch op {
	case "eq":
		return func(a, b uint64) bool { return a == b }
	case "ne":
		return func(a, b uint64) bool { return a != b }
	case "lt", "lo":
		return less
	case "le", "ls":
		return func(a, b uint64) bool { return !less(b, a) }
	case "gt", "hi":
		return func(a, b uint64) bool { return less(b, a) }
	case "ge", "hs":
		return func(a, b uint64) bool { return !less(a, b) }
	}
	x.fail("comparison .%s of integers", op)
	return nil
}

var comparisons = []string{"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs",
	"equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"}

func setp(x *ins) {
	t := x.typ()
	x.check(t, "b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64", "f16", "f16x2", "bf16", "bf16x2")
	n := width(t)
	op := x.one(comparisons...)
	combine := x.one("and", "or", "xor")
	x.nargs(3 + btoi(combine != ""))
	two := x.args[0].kind == opPair
	packed := strings.HasSuffix(t, "x2")
	x.out.d2 = -1
	if two {
		x.out.d, x.out.d2 = x.dest(x.args[0].list[0], 1), x.dest(x.args[0].list[1], 1)
	} else {
		x.out.d = x.dst(0, 1)
	}
	if packed && !two {
		x.fail("packed values give two predicates")
	}
	x.out.a, x.out.b = x.src(1, n), x.src(2, n)
	var not bool
	if combine != "" {
		x.out.c, not = x.srcPred(3)
	}
	cmp := x.compare(op, t)
	all := allLanes(n, cmp, op, t)
	x.put(kMasked, ClassCompare, func(w *warp, in *inst) {
		var r, r2 uint32
		if packed {
			a, b := &w.r32[in.a], &w.r32[in.b]
			for i := range a {
				r |= uint32(btoi(cmp(uint64(a[i]&0xffff), uint64(b[i]&0xffff)))) << i
				r2 |= uint32(btoi(cmp(uint64(a[i]>>16), uint64(b[i]>>16)))) << i
			}
		} else {
			r = all(w, in)
			r2 = ^r
		}
		if combine != "" {
			c := flip(w.p[in.c], not)
			r, r2 = combinePred(combine, r, c), combinePred(combine, r2, c)
		}
		w.setPred(in.d, r)
		if in.d2 >= 0 {
			w.setPred(in.d2, r2)
		}
	})
}

func combinePred(op string, r, c uint32) uint32 {
	switch op {
	case "and":
		return r & c
	case "or":
		return r | c
	}
	return r ^ c
}

// allLanes compares in every lane; the frequent comparisons have their loops.
func allLanes(n int, cmp func(a, b uint64) bool, op, t string) func(w *warp, in *inst) uint32 {
	if n == 32 && (t == "s32" || t == "u32" || t == "b32") {
		flipSign := uint32(0)
		if t == "s32" {
			flipSign = 1 << 31
		}
		switch op {
		case "eq", "ne":
			inv := uint32(0)
			if op == "ne" {
				inv = ^inv
			}
			return func(w *warp, in *inst) (r uint32) {
				a, b := &w.r32[in.a], &w.r32[in.b]
				for i := range a {
					if a[i] == b[i] {
						r |= 1 << i
					}
				}
				return r ^ inv
			}
		case "lt", "ge", "lo", "hs":
			inv := uint32(0)
			if op == "ge" || op == "hs" {
				inv = ^inv
			}
			return func(w *warp, in *inst) (r uint32) {
				a, b := &w.r32[in.a], &w.r32[in.b]
				for i := range a {
					if a[i]^flipSign < b[i]^flipSign {
						r |= 1 << i
					}
				}
				return r ^ inv
			}
		case "gt", "le", "hi", "ls":
			inv := uint32(0)
			if op == "le" || op == "ls" {
				inv = ^inv
			}
			return func(w *warp, in *inst) (r uint32) {
				a, b := &w.r32[in.a], &w.r32[in.b]
				for i := range a {
					if a[i]^flipSign > b[i]^flipSign {
						r |= 1 << i
					}
				}
				return r ^ inv
			}
		}
	}
	return func(w *warp, in *inst) (r uint32) {
		for i := range warpSize {
			if cmp(w.get(in.a, n, i), w.get(in.b, n, i)) {
				r |= 1 << i
			}
		}
		return r
	}
}

// set gives a number instead of a predicate: all ones or 1.0.
func set(x *ins) {
	dt, t := x.typ(), x.typ()
	x.check(t, "b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64", "f16", "f16x2", "bf16", "bf16x2")
	x.check(dt, "u32", "s32", "f32", "f16", "bf16", "u16", "s16", "f16x2", "bf16x2")
	n := width(t)
	op := x.one(comparisons...)
	combine := x.one("and", "or", "xor")
	x.nargs(3 + btoi(combine != ""))
	x.out.d, x.out.a, x.out.b = x.dst(0, width(dt)), x.src(1, n), x.src(2, n)
	var not bool
	if combine != "" {
		x.out.c, not = x.srcPred(3)
	}
	cmp := x.compare(op, t)
	packed := strings.HasSuffix(t, "x2")
	yes := map[string]uint32{"u32": ^uint32(0), "s32": ^uint32(0), "f32": 0x3f800000, "f16": 0x3c00, "bf16": 0x3f80,
		"u16": 0xffff, "s16": 0xffff, "f16x2": 0x3c00, "bf16x2": 0x3f80}[dt]
	if packed && (dt == "u32" || dt == "s32") {
		yes = 0xffff
	}
	if packed != (dt == t) && strings.HasSuffix(dt, "x2") {
		x.fail("packed and single values")
	}
	x.put(kPure, ClassCompare, func(w *warp, in *inst) {
		for i := range warpSize {
			a, b := w.get(in.a, n, i), w.get(in.b, n, i)
			c := true
			if combine != "" {
				c = flip(w.p[in.c], not)>>i&1 == 1
			}
			test := func(a, b uint64) uint32 {
				r := uint32(btoi(cmp(a, b)))
				if combine != "" {
					r = combinePred(combine, r, uint32(btoi(c)))
				}
				return r * yes
			}
			if packed {
				w.r32[in.d][i] = test(a&0xffff, b&0xffff) | test(a>>16, b>>16)<<16
			} else {
				w.r32[in.d][i] = test(a, b)
			}
		}
	})
}

func selp(x *ins) {
	t := x.typ()
	n := width(t)
	if n < 16 || n > 64 {
		x.fail("type .%s", t)
	}
	x.nargs(4)
	x.out.d, x.out.a, x.out.b = x.dst(0, n), x.src(1, n), x.src(2, n)
	var not bool
	x.out.c, not = x.srcPred(3)
	x.out.wide = n == 64
	if n == 64 {
		x.put(kPure, ClassMove, func(w *warp, in *inst) {
			d, a, b, p := &w.r64[in.d], &w.r64[in.a], &w.r64[in.b], flip(w.p[in.c], not)
			for i := range d {
				m := -uint64(p >> i & 1)
				d[i] = a[i]&m | b[i]&^m
			}
		})
		return
	}
	x.put(kPure, ClassMove, func(w *warp, in *inst) {
		d, a, b, p := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b], flip(w.p[in.c], not)
		for i := range d {
			m := -(p >> i & 1)
			d[i] = a[i]&m | b[i]&^m
		}
	})
}

func slct(x *ins) {
	t, ct := x.typ(), x.typ()
	x.check(ct, "s32", "f32")
	n := width(t)
	ftz := x.has("ftz")
	x.nargs(4)
	x.out.d, x.out.a, x.out.b, x.out.c = x.dst(0, n), x.src(1, n), x.src(2, n), x.src(3, 32)
	x.out.wide = n == 64
	x.put(kPure, ClassMove, func(w *warp, in *inst) {
		for i, c := range w.r32[in.c] {
			pos := int32(c) >= 0
			if ct == "f32" {
				if ftz {
					c = ftz32(c)
				}
				pos = flt(c) >= 0
			}
			if pos {
				w.set(in.d, n, i, w.get(in.a, n, i))
			} else {
				w.set(in.d, n, i, w.get(in.b, n, i))
			}
		}
	})
}
