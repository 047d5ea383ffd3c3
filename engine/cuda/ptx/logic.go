package ptx

// Logic, shifts and permutations.

// logic decodes and, or and xor, of predicates too.
func logic(f func(a, b uint64) uint64, fast execFn) decoder {
	return func(x *ins) {
		t := x.typ()
		x.check(t, "pred", "b16", "b32", "b64")
		if t == "pred" {
			x.nargs(3)
			x.out.d = x.dst(0, 1)
			var na, nb bool
			x.out.a, na = x.srcPred(1)
			x.out.b, nb = x.srcPred(2)
			x.put(kMasked, ClassInt, func(w *warp, in *inst) {
				w.setPred(in.d, uint32(f(uint64(flip(w.p[in.a], na)), uint64(flip(w.p[in.b], nb)))))
			})
			return
		}
		if t == "b32" {
			x.pure(ClassInt, 32, 2, fast)
			return
		}
		x.pure(ClassInt, width(t), 2, bin(width(t), f))
	}
}

func flip(p uint32, not bool) uint32 {
	if not {
		return ^p
	}
	return p
}

// setPred writes a predicate in the lanes of the mask.
func (w *warp) setPred(slot int32, v uint32) {
	w.p[slot] = w.p[slot]&^w.mask | v&w.mask
}

func notOp(x *ins) {
	t := x.typ()
	x.check(t, "pred", "b16", "b32", "b64")
	if t == "pred" {
		x.nargs(2)
		x.out.d = x.dst(0, 1)
		var n bool
		x.out.a, n = x.srcPred(1)
		x.put(kMasked, ClassInt, func(w *warp, in *inst) { w.setPred(in.d, flip(w.p[in.a], !n)) })
		return
	}
	x.pure(ClassInt, width(t), 1, un(width(t), func(a uint64) uint64 { return ^a }))
}

func lop3(x *ins) {
	t := x.typ()
	x.check(t, "b32")
	x.nargs(5)
	if x.args[4].kind != opInt || x.args[4].val < 0 || x.args[4].val > 255 {
		x.fail("the table is not a constant of 8 bits")
	}
	table := uint32(x.args[4].val)
	x.args = x.args[:4]
	x.pure(ClassInt, 32, 3, func(w *warp, in *inst) {
		d, a, b, c := &w.r32[in.d], &w.r32[in.a], &w.r32[in.b], &w.r32[in.c]
		for i := range d {
			d[i] = lookup3(a[i], b[i], c[i], table)
		}
	})
}

func lookup3(a, b, c, table uint32) (r uint32) {
	for k := uint32(0); k < 8; k++ {
		if table>>k&1 == 1 {
			r |= flip(a, k&4 == 0) & flip(b, k&2 == 0) & flip(c, k&1 == 0)
		}
	}
	return r
}

// shift decodes shl and shr: amounts above the width shift everything out.
func shift(x *ins, left bool) {
	t := x.typ()
	if left {
		x.check(t, "b16", "b32", "b64")
	} else {
		x.check(t, "b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64")
	}
	n, sign := width(t), signed(t)
	x.nargs(3)
	x.out.d, x.out.a, x.out.b = x.dst(0, n), x.src(1, n), x.src(2, 32)
	x.out.wide = n == 64
	if n == 64 {
		x.put(kPure, ClassInt, func(w *warp, in *inst) {
			d, a, b := &w.r64[in.d], &w.r64[in.a], &w.r32[in.b]
			for i := range d {
				switch {
				case left:
					d[i] = a[i] << b[i]
				case sign:
					d[i] = uint64(int64(a[i]) >> b[i])
				default:
					d[i] = a[i] >> b[i]
				}
			}
		})
		return
	}
	fast := shlFast32
	if !left {
		fast = shrFast32
		if sign {
			fast = sarFast32
		}
	}
	if n == 16 {
		fast = bin(16, func(a, b uint64) uint64 {
			switch {
			case left:
				return a << b
			case sign:
				return uint64(sx(a, 16) >> b)
			}
			return a >> b
		})
	}
	x.put(kPure, ClassInt, fast)
}

func shf(x *ins) {
	t := x.typ()
	x.check(t, "b32")
	dir, wrap := x.one("l", "r"), x.one("wrap", "clamp")
	if dir == "" || wrap == "" {
		x.fail("needs .l or .r, and .wrap or .clamp")
	}
	x.pure(ClassInt, 32, 3, tern(32, func(a, b, c uint64) uint64 {
		if wrap == "wrap" {
			c &= 31
		} else {
			c = min(c, 32)
		}
		v := b<<32 | a
		if dir == "l" {
			return v << c >> 32
		}
		return v >> c
	}))
}

func prmt(x *ins) {
	t := x.typ()
	x.check(t, "b32")
	mode := x.one("f4e", "b4e", "rc8", "ecl", "ecr", "rc16")
	x.pure(ClassInt, 32, 3, tern(32, func(a, b, c uint64) uint64 { return permute(b<<32|a, c, mode) }))
}

func permute(v, c uint64, mode string) uint64 {
	var r uint64
	s := int(c & 3)
	for k := range 4 {
		var sel uint64
		switch mode {
		case "":
			sel = c >> (4 * k) & 15
		case "f4e":
			sel = uint64(s + k)
		case "b4e":
			sel = uint64(s-k) & 7
		case "rc8":
			sel = uint64(s)
		case "ecl":
			sel = uint64(max(s, k))
		case "ecr":
			sel = uint64(min(s, k))
		case "rc16":
			sel = uint64(s&1*2 + k&1)
		}
		byt := v >> (8 * (sel & 7)) & 255
		if sel&8 != 0 { // the sign, in every bit
			byt = byt >> 7 * 255
		}
		r |= byt << (8 * k)
	}
	return r
}
