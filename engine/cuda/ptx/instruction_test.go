package ptx

import (
	"fmt"
	"math"
	"math/big"
	"math/rand"
	"strings"
	"testing"
)

// The instructions one by one. What each has to give is computed here, from the
// manual's words, by other means than the interpreter's: big numbers for
// arithmetic, strings of bits for shifts and fields.

const header = ".version 8.4\n.target sm_80\n.address_size 64\n"

// widthOf gives the register class of a type: its letter and bits.
func classReg(typ string) (prefix string, n int) {
	switch {
	case typ == "pred":
		return "%p", 1
	case strings.HasSuffix(typ, "64"):
		return "%rd", 64
	case typ == "f16x2", typ == "bf16x2", strings.HasSuffix(typ, "32"):
		return "%r", 32
	}
	return "%rs", 16
}

// lanes runs an instruction on every row of in: operands a, b, c are registers
// %a, %b, %c of the types, the result is %d, and a predicate result %q is stored
// as 0 or 1 where dt is pred.
func lanes(t testing.TB, code, dt string, types []string, in [][]uint64) []uint64 {
	t.Helper()
	names := []string{"%a", "%b", "%c", "%e"}
	var decl, loads strings.Builder
	reg := func(name, typ string) int {
		_, n := classReg(typ)
		fmt.Fprintf(&decl, "\t.reg .b%d %s;\n", n, name)
		return n
	}
	for i, typ := range types {
		if typ == "pred" {
			fmt.Fprintf(&decl, "\t.reg .pred %s;\n", names[i])
			fmt.Fprintf(&loads, "\tld.global.u64 %%x, [%%in+%d];\n\tsetp.ne.u64 %s, %%x, 0;\n", 8*i, names[i])
			continue
		}
		n := reg(names[i], typ)
		fmt.Fprintf(&loads, "\tld.global.b%d %s, [%%in+%d];\n", n, names[i], 8*i)
	}
	store := ""
	if dt == "pred" {
		decl.WriteString("\t.reg .pred %d;\n")
		store = "\tselp.u64 %x, 1, 0, %d;\n\tst.global.u64 [%out], %x;\n"
	} else {
		n := reg("%d", dt)
		store = fmt.Sprintf("\tst.global.b%d [%%out], %%d;\n", n)
	}
	text := header + `.visible .entry k(.param .u64 out, .param .u64 in, .param .u32 n)
{
	.reg .b32 %i, %n, %t, %nt, %ct;
	.reg .b64 %out, %in, %x;
	.reg .pred %end;
` + decl.String() + `
	mov.u32 %t, %tid.x;
	mov.u32 %nt, %ntid.x;
	mov.u32 %ct, %ctaid.x;
	mad.lo.u32 %i, %ct, %nt, %t;
	ld.param.u32 %n, [n];
	setp.ge.u32 %end, %i, %n;
	@%end exit;
	ld.param.u64 %out, [out];
	ld.param.u64 %in, [in];
	mad.wide.u32 %out, %i, 8, %out;
	mad.wide.u32 %in, %i, ` + fmt.Sprint(8*len(types)) + `, %in;
` + loads.String() + "\t" + code + "\n" + store + "\tret;\n}\n"
	m := New(Options{Workers: 1})
	mod, err := m.Load([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	flat := make([]uint64, 0, len(in)*len(types))
	for _, row := range in {
		flat = append(flat, row...)
	}
	f := kernel(t, mod, "k")
	pin := upload(t, m, flat)
	out := make([]uint64, len(in))
	pout := upload(t, m, out)
	must(t, m.Launch(f, Launch{Grid: [3]uint32{uint32(len(in)+63) / 64}, Block: [3]uint32{64}, Params: args(t, f, pout, pin, len(in))}))
	download(t, m, pout, out)
	return out
}

// values gives edge cases and random bits of a type.
func values(typ string, rng *rand.Rand) uint64 {
	_, n := classReg(typ)
	special := map[string][]uint64{
		"f32": {0, 1 << 31, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 1, 0x80000001, 0x007fffff, 0x00800000,
			0x7f7fffff, 0xff7fffff, 0x3f7fffff, 0x3f800001, 0x4b000000, 0x4b000001, 0x33800000, 0x38800000, 0x477fe000, 0x477ff000, 0x42b17218},
		"f16": {0, 0x8000, 0x3c00, 0xbc00, 0x7c00, 0xfc00, 0x7e00, 1, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x3bff, 0x3c01, 0x6800},
		"f64": {0, 1 << 63, 0x3ff0000000000000, 0xbff0000000000000, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 1,
			0x7fefffffffffffff, 0x3690000000000000, 0x36a0000000000000, 0x47efffffe0000000, 0x47effffff0000000, 0x3ff0000010000000,
			0x40efffc000000000},
		"bf16": {0, 0x8000, 0x3f80, 0xbf80, 0x7f80, 0xff80, 0x7fc0, 1, 0x807f, 0x0080, 0x7f7f},
	}
	s := special[typ]
	if s == nil {
		s = []uint64{0, 1, 2, 3, math.MaxUint64, math.MaxUint64 - 1, 1 << (n - 1), 1<<(n-1) - 1, 1<<(n-1) + 1, 31, 32, 33, 63, 64, 0xff, 0x80}
	}
	switch rng.Intn(4) {
	case 0:
		return s[rng.Intn(len(s))] & maskBits(n)
	case 1: // numbers of like size, so that sums cancel and shifts matter
		switch typ {
		case "f32":
			return uint64(math.Float32bits(float32(rng.NormFloat64() * math.Exp2(float64(rng.Intn(8)-4)))))
		case "f16":
			return 0x3000 | uint64(rng.Intn(0x1800)) | uint64(rng.Intn(2))<<15
		case "f64":
			return math.Float64bits(rng.NormFloat64() * 100)
		case "bf16":
			return 0x3e00 | uint64(rng.Intn(0x200)) | uint64(rng.Intn(2))<<15
		}
		return uint64(rng.Intn(70)) & maskBits(n)
	}
	return rng.Uint64() & maskBits(n)
}

type instrCase struct {
	code  string
	dt    string
	types []string
	want  func(v []uint64) uint64
}

func (c instrCase) run(t *testing.T) {
	t.Run(c.code, func(t *testing.T) {
		rng := rand.New(rand.NewSource(7))
		in := make([][]uint64, 2048)
		for i := range in {
			for _, typ := range c.types {
				v := uint64(rng.Intn(2))
				if typ != "pred" {
					v = values(typ, rng)
				}
				in[i] = append(in[i], v)
			}
		}
		got := lanes(t, c.code, c.dt, c.types, in)
		_, n := classReg(c.dt)
		for i := range in {
			want := c.want(in[i]) & maskBits(n)
			if got[i]&maskBits(n) != want {
				t.Fatalf("of %#x: %#x, want %#x", in[i], got[i], want)
			}
		}
	})
}

func bigOf(v uint64, n int, sign bool) *big.Int {
	b := new(big.Int).SetUint64(v)
	if sign && v>>(n-1)&1 == 1 {
		b.Sub(b, new(big.Int).Lsh(big.NewInt(1), uint(n)))
	}
	return b
}

// low gives the low 64 bits of a big integer in two's complement.
func low(b *big.Int) uint64 {
	m := new(big.Int).Lsh(big.NewInt(1), 64)
	return new(big.Int).Mod(b, m).Uint64()
}

func clampBig(b *big.Int, n int, sign bool) *big.Int {
	lo, hi := big.NewInt(0), new(big.Int).Lsh(big.NewInt(1), uint(n))
	if sign {
		hi.Rsh(hi, 1)
		lo.Neg(hi)
	}
	hi.Sub(hi, big.NewInt(1))
	switch {
	case b.Cmp(lo) < 0:
		return lo
	case b.Cmp(hi) > 0:
		return hi
	}
	return b
}

func TestIntegers(t *testing.T) {
	type op struct {
		name string
		n    int // sources
		f    func(a, b, c *big.Int, n int) *big.Int
	}
	bi := func() *big.Int { return new(big.Int) }
	ops := []op{
		{"add", 2, func(a, b, _ *big.Int, _ int) *big.Int { return bi().Add(a, b) }},
		{"sub", 2, func(a, b, _ *big.Int, _ int) *big.Int { return bi().Sub(a, b) }},
		{"mul.lo", 2, func(a, b, _ *big.Int, _ int) *big.Int { return bi().Mul(a, b) }},
		{"mul.hi", 2, func(a, b, _ *big.Int, n int) *big.Int { return bi().Rsh(bi().Mul(a, b), uint(n)) }},
		{"mad.lo", 3, func(a, b, c *big.Int, _ int) *big.Int { return bi().Add(bi().Mul(a, b), c) }},
		{"mad.hi", 3, func(a, b, c *big.Int, n int) *big.Int { return bi().Add(bi().Rsh(bi().Mul(a, b), uint(n)), c) }},
		{"min", 2, func(a, b, _ *big.Int, _ int) *big.Int {
			if a.Cmp(b) < 0 {
				return a
			}
			return b
		}},
		{"max", 2, func(a, b, _ *big.Int, _ int) *big.Int {
			if a.Cmp(b) > 0 {
				return a
			}
			return b
		}},
		{"sad", 3, func(a, b, c *big.Int, _ int) *big.Int { return bi().Add(c, bi().Abs(bi().Sub(a, b))) }},
		{"div", 2, func(a, b, _ *big.Int, _ int) *big.Int {
			if b.Sign() == 0 {
				return big.NewInt(-1)
			}
			return bi().Quo(a, b)
		}},
		{"rem", 2, func(a, b, _ *big.Int, _ int) *big.Int {
			if b.Sign() == 0 {
				return a
			}
			return bi().Rem(a, b)
		}},
	}
	for _, o := range ops {
		for _, typ := range []string{"u16", "s16", "u32", "s32", "u64", "s64"} {
			_, n := classReg(typ)
			regs := "%d, %a, %b"
			if o.n == 3 {
				regs += ", %c"
			}
			instrCase{o.name + "." + typ + " " + regs + ";", typ, []string{typ, typ, typ}[:o.n], func(v []uint64) uint64 {
				s := typ[0] == 's'
				var c *big.Int
				if o.n == 3 {
					c = bigOf(v[2], n, s)
				}
				return low(o.f(bigOf(v[0], n, s), bigOf(v[1], n, s), c, n))
			}}.run(t)
		}
	}
	for _, typ := range []string{"u16", "s16", "u32", "s32"} {
		_, n := classReg(typ)
		wide := map[string]string{"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}[typ]
		s := typ[0] == 's'
		instrCase{"mul.wide." + typ + " %d, %a, %b;", wide, []string{typ, typ}, func(v []uint64) uint64 {
			return low(bi().Mul(bigOf(v[0], n, s), bigOf(v[1], n, s)))
		}}.run(t)
		instrCase{"mad.wide." + typ + " %d, %a, %b, %c;", wide, []string{typ, typ, wide}, func(v []uint64) uint64 {
			return low(bi().Add(bi().Mul(bigOf(v[0], n, s), bigOf(v[1], n, s)), bigOf(v[2], 2*n, s)))
		}}.run(t)
	}
	for _, typ := range []string{"u32", "s32"} {
		s := typ[0] == 's'
		for _, m := range []string{"lo", "hi"} {
			instrCase{"mul24." + m + "." + typ + " %d, %a, %b;", typ, []string{typ, typ}, func(v []uint64) uint64 {
				p := bi().Mul(bigOf(v[0]&0xffffff, 24, s), bigOf(v[1]&0xffffff, 24, s))
				if m == "hi" {
					p.Rsh(p, 16)
				}
				return low(p)
			}}.run(t)
		}
	}
	instrCase{"add.sat.s32 %d, %a, %b;", "s32", []string{"s32", "s32"}, func(v []uint64) uint64 {
		return low(clampBig(bi().Add(bigOf(v[0], 32, true), bigOf(v[1], 32, true)), 32, true))
	}}.run(t)
	instrCase{"sub.sat.s32 %d, %a, %b;", "s32", []string{"s32", "s32"}, func(v []uint64) uint64 {
		return low(clampBig(bi().Sub(bigOf(v[0], 32, true), bigOf(v[1], 32, true)), 32, true))
	}}.run(t)
	instrCase{"mad.hi.sat.s32 %d, %a, %b, %c;", "s32", []string{"s32", "s32", "s32"}, func(v []uint64) uint64 {
		p := bi().Rsh(bi().Mul(bigOf(v[0], 32, true), bigOf(v[1], 32, true)), 32)
		return low(clampBig(p.Add(p, bigOf(v[2], 32, true)), 32, true))
	}}.run(t)
	for _, typ := range []string{"s16", "s32", "s64"} {
		_, n := classReg(typ)
		instrCase{"abs." + typ + " %d, %a;", typ, []string{typ}, func(v []uint64) uint64 { return low(bi().Abs(bigOf(v[0], n, true))) }}.run(t)
		instrCase{"neg." + typ + " %d, %a;", typ, []string{typ}, func(v []uint64) uint64 { return low(bi().Neg(bigOf(v[0], n, true))) }}.run(t)
	}
	// 128-bit sums and products through the carry flag.
	for _, typ := range []string{"u32", "u64"} {
		_, n := classReg(typ)
		full := func(lo, hi uint64) *big.Int {
			return bi().Add(bi().Lsh(bigOf(hi, n, false), uint(n)), bigOf(lo, n, false))
		}
		for _, o := range []string{"add", "sub"} {
			instrCase{fmt.Sprintf("%s.cc.%s %%d, %%a, %%b;\n\t%sc.%s %%d, %%c, %%e;", o, typ, o, typ), typ, []string{typ, typ, typ, typ},
				func(v []uint64) uint64 {
					a, b := full(v[0], v[2]), full(v[1], v[3])
					if o == "add" {
						a.Add(a, b)
					} else {
						a.Sub(a, b)
					}
					return low(a.Rsh(a, uint(n)))
				}}.run(t)
		}
		instrCase{fmt.Sprintf("mad.lo.cc.%s %%d, %%a, %%b, %%c;\n\tmadc.hi.%s %%d, %%a, %%b, %%e;", typ, typ), typ,
			[]string{typ, typ, typ, typ}, func(v []uint64) uint64 {
				p := bi().Mul(bigOf(v[0], n, false), bigOf(v[1], n, false))
				p.Add(p, full(v[2], v[3]))
				return low(p.Rsh(p, uint(n)))
			}}.run(t)
	}
}

// bitString writes a value with the least bit first.
func bitString(v uint64, n int) []byte {
	s := make([]byte, n)
	for i := range s {
		s[i] = '0' + byte(v>>i&1)
	}
	return s
}

func ofBits(s []byte) (v uint64) {
	for i, c := range s {
		v |= uint64(c-'0') << i
	}
	return v
}

func TestBits(t *testing.T) {
	for _, typ := range []string{"b16", "b32", "b64"} {
		_, n := classReg(typ)
		one := []string{typ}
		two := []string{typ, typ}
		bitwise := func(f func(a, b byte) bool) func(v []uint64) uint64 {
			return func(v []uint64) uint64 {
				a, b := bitString(v[0], n), bitString(v[len(v)-1], n)
				for i := range a {
					if f(a[i], b[i]) {
						a[i] = '1'
					} else {
						a[i] = '0'
					}
				}
				return ofBits(a)
			}
		}
		instrCase{"and." + typ + " %d, %a, %b;", typ, two, bitwise(func(a, b byte) bool { return a == '1' && b == '1' })}.run(t)
		instrCase{"or." + typ + " %d, %a, %b;", typ, two, bitwise(func(a, b byte) bool { return a == '1' || b == '1' })}.run(t)
		instrCase{"xor." + typ + " %d, %a, %b;", typ, two, bitwise(func(a, b byte) bool { return a != b })}.run(t)
		instrCase{"not." + typ + " %d, %a;", typ, one, bitwise(func(a, _ byte) bool { return a == '0' })}.run(t)
		instrCase{"cnot." + typ + " %d, %a;", typ, one, func(v []uint64) uint64 {
			if v[0] == 0 {
				return 1
			}
			return 0
		}}.run(t)
		instrCase{"shl." + typ + " %d, %a, %b;", typ, []string{typ, "u32"}, func(v []uint64) uint64 {
			s := append(bytesOf('0', int(min(v[1], uint64(n)))), bitString(v[0], n)...)
			return ofBits(s[:n])
		}}.run(t)
		for _, k := range []string{"u", "s"} {
			instrCase{"shr." + k + typ[1:] + " %d, %a, %b;", typ, []string{typ, "u32"}, func(v []uint64) uint64 {
				s := bitString(v[0], n)
				fill := byte('0')
				if k == "s" {
					fill = s[n-1]
				}
				s = append(s, bytesOf(fill, n)...)
				k := int(min(v[1], uint64(n)))
				return ofBits(s[k : k+n])
			}}.run(t)
		}
	}
	for _, typ := range []string{"b32", "b64"} {
		_, n := classReg(typ)
		instrCase{"popc." + typ + " %d, %a;", "b32", []string{typ}, func(v []uint64) uint64 {
			return uint64(strings.Count(string(bitString(v[0], n)), "1"))
		}}.run(t)
		instrCase{"clz." + typ + " %d, %a;", "b32", []string{typ}, func(v []uint64) uint64 {
			return uint64(n - 1 - strings.LastIndex(string(bitString(v[0], n)), "1"))
		}}.run(t)
		instrCase{"brev." + typ + " %d, %a;", typ, []string{typ}, func(v []uint64) uint64 {
			s := bitString(v[0], n)
			for i := range n / 2 {
				s[i], s[n-1-i] = s[n-1-i], s[i]
			}
			return ofBits(s)
		}}.run(t)
		instrCase{"bfi." + typ + " %d, %a, %b, %c, %e;", typ, []string{typ, typ, "u32", "u32"}, func(v []uint64) uint64 {
			a, b := bitString(v[0], n), bitString(v[1], n)
			pos, length := int(v[2]&255), int(v[3]&255)
			for i := 0; i < length && pos+i < n && i < n; i++ {
				b[pos+i] = a[i]
			}
			return ofBits(b)
		}}.run(t)
	}
	for _, typ := range []string{"u32", "s32", "u64", "s64"} {
		_, n := classReg(typ)
		sign := typ[0] == 's'
		instrCase{"bfe." + typ + " %d, %a, %b, %c;", typ, []string{typ, "u32", "u32"}, func(v []uint64) uint64 {
			// The manual's pseudocode.
			a := bitString(v[0], n)
			pos, length := int(v[1]&255), int(v[2]&255)
			sbit := byte('0')
			if sign && length > 0 {
				sbit = a[min(pos+length-1, n-1)]
			}
			d := bytesOf(sbit, n)
			for i := 0; i < n && i < length && pos+i < n; i++ {
				d[i] = a[pos+i]
			}
			return ofBits(d)
		}}.run(t)
		for _, amt := range []string{"", ".shiftamt"} {
			instrCase{"bfind" + amt + "." + typ + " %d, %a;", "u32", []string{typ}, func(v []uint64) uint64 {
				a := string(bitString(v[0], n))
				want := "1"
				if sign && a[n-1] == '1' {
					want = "0"
				}
				p := strings.LastIndex(a, want)
				if p < 0 {
					return math.MaxUint32
				}
				if amt != "" {
					p = n - 1 - p
				}
				return uint64(p)
			}}.run(t)
		}
	}
	for _, dir := range []string{"l", "r"} {
		for _, mode := range []string{"wrap", "clamp"} {
			instrCase{"shf." + dir + "." + mode + ".b32 %d, %a, %b, %c;", "b32", []string{"b32", "b32", "u32"}, func(v []uint64) uint64 {
				n := int(v[2] & 31)
				if mode == "clamp" {
					n = int(min(v[2], 32))
				}
				s := append(bitString(v[0], 32), bitString(v[1], 32)...)
				if dir == "r" {
					return ofBits(s[n:min(n+32, 64)])
				}
				return ofBits(s[32-n : 64-n])
			}}.run(t)
		}
	}
	for _, table := range []int{0x80, 0xfe, 0x96, 0x1a, 0xe4, 0x00, 0xff, 0x5c} {
		instrCase{fmt.Sprintf("lop3.b32 %%d, %%a, %%b, %%c, %d;", table), "b32", []string{"b32", "b32", "b32"}, func(v []uint64) uint64 {
			// From the manual: the table is F(0xF0, 0xCC, 0xAA).
			var r uint64
			for i := range 32 {
				k := v[0]>>i&1<<2 | v[1]>>i&1<<1 | v[2]>>i&1
				r |= uint64(table) >> k & 1 << i
			}
			return r
		}}.run(t)
	}
	instrCase{"prmt.b32 %d, %a, %b, %c;", "b32", []string{"b32", "b32", "b32"}, func(v []uint64) uint64 {
		byt := append(bytesLE(v[0]), bytesLE(v[1])...)
		var r uint64
		for i := range 4 {
			sel := v[2] >> (4 * i) & 15
			x := byt[sel&7]
			if sel > 7 {
				x = byte(int8(x) >> 7)
			}
			r |= uint64(x) << (8 * i)
		}
		return r
	}}.run(t)
	modes := map[string][4]string{ // the manual's table: bytes 3 to 0
		"f4e": {"3210", "4321", "5432", "6543"}, "b4e": {"5670", "6701", "7012", "0123"},
		"rc8": {"0000", "1111", "2222", "3333"}, "ecl": {"3210", "3211", "3222", "3333"},
		"ecr": {"0000", "1110", "2210", "3210"}, "rc16": {"1010", "3232", "1010", "3232"},
	}
	for mode, table := range modes {
		instrCase{"prmt.b32." + mode + " %d, %a, %b, %c;", "b32", []string{"b32", "b32", "b32"}, func(v []uint64) uint64 {
			byt := append(bytesLE(v[0]), bytesLE(v[1])...)
			var r uint64
			for i, s := range table[v[2]&3] {
				r |= uint64(byt[s-'0']) << (8 * (3 - i))
			}
			return r
		}}.run(t)
	}
	for _, ta := range []string{"u32", "s32"} {
		for _, tb := range []string{"u32", "s32"} {
			instrCase{"dp4a." + ta + "." + tb + " %d, %a, %b, %c;", "b32", []string{"b32", "b32", "b32"}, func(v []uint64) uint64 {
				r := int64(int32(v[2]))
				for i := range 4 {
					a, b := v[0]>>(8*i)&255, v[1]>>(8*i)&255
					r += bigOf(a, 8, ta == "s32").Int64() * bigOf(b, 8, tb == "s32").Int64()
				}
				return uint64(r)
			}}.run(t)
			for h, m := range []string{"lo", "hi"} {
				instrCase{"dp2a." + m + "." + ta + "." + tb + " %d, %a, %b, %c;", "b32", []string{"b32", "b32", "b32"}, func(v []uint64) uint64 {
					r := int64(int32(v[2]))
					for i := range 2 {
						a, b := v[0]>>(16*i)&0xffff, v[1]>>(8*i+16*h)&255
						r += bigOf(a, 16, ta == "s32").Int64() * bigOf(b, 8, tb == "s32").Int64()
					}
					return uint64(r)
				}}.run(t)
			}
		}
	}
	instrCase{"szext.wrap.s32 %d, %a, %b;", "s32", []string{"s32", "u32"}, func(v []uint64) uint64 {
		n := int(v[1] & 31)
		if n == 0 {
			return 0
		}
		return low(bigOf(v[0]&(1<<n-1), n, true))
	}}.run(t)
	instrCase{"bmsk.clamp.b32 %d, %a, %b;", "b32", []string{"u32", "u32"}, func(v []uint64) uint64 {
		s := bytesOf('0', 32)
		for i := v[0]; i < 32 && i-v[0] < v[1]; i++ {
			s[i] = '1'
		}
		return ofBits(s)
	}}.run(t)
}

func bytesOf(c byte, n int) []byte { return []byte(strings.Repeat(string(c), n)) }

func bytesLE(v uint64) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }

func TestMovesAndSelections(t *testing.T) {
	id := func(v []uint64) uint64 { return v[0] }
	for _, typ := range []string{"b16", "u16", "b32", "u32", "s32", "f32", "b64", "u64", "f64"} {
		instrCase{"mov." + typ + " %d, %a;", typ, []string{typ}, id}.run(t)
	}
	for _, typ := range []string{"b16", "b32", "s32", "f32", "b64", "f64"} {
		instrCase{"selp." + typ + " %d, %a, %b, %c;", typ, []string{typ, typ, "pred"}, func(v []uint64) uint64 { return v[1-v[2]] }}.run(t)
		instrCase{"slct." + typ + ".s32 %d, %a, %b, %c;", typ, []string{typ, typ, "s32"}, func(v []uint64) uint64 { return v[v[2]>>31] }}.run(t)
	}
	instrCase{"slct.b32.f32 %d, %a, %b, %c;", "b32", []string{"b32", "b32", "f32"}, func(v []uint64) uint64 {
		c := math.Float32frombits(uint32(v[2]))
		if c >= 0 { // -0 too, NaN not
			return v[0]
		}
		return v[1]
	}}.run(t)
	instrCase{"mov.b32 %d, {%a, %b};", "b32", []string{"b16", "b16"}, func(v []uint64) uint64 { return v[0] | v[1]<<16 }}.run(t)
	instrCase{"mov.b64 %d, {%a, %b};", "b64", []string{"b32", "b32"}, func(v []uint64) uint64 { return v[0] | v[1]<<32 }}.run(t)
	instrCase{"mov.b64 %d, {%a, %b, %c, %e};", "b64", []string{"b16", "b16", "b16", "b16"}, func(v []uint64) uint64 {
		return v[0] | v[1]<<16 | v[2]<<32 | v[3]<<48
	}}.run(t)
	instrCase{"{.reg .b16 lo, hi; mov.b32 {lo, hi}, %a; mov.b32 %d, {hi, lo};}", "b32", []string{"b32"}, func(v []uint64) uint64 {
		return v[0]>>16 | v[0]<<16
	}}.run(t)
	instrCase{"mov.b64 {_, %d}, %a;", "b32", []string{"b64"}, func(v []uint64) uint64 { return v[0] >> 32 }}.run(t)
	for _, k := range []struct {
		op string
		f  func(a, b bool) bool
	}{{"and", func(a, b bool) bool { return a && b }}, {"or", func(a, b bool) bool { return a || b }},
		{"xor", func(a, b bool) bool { return a != b }}} {
		instrCase{k.op + ".pred %d, %a, %b;", "pred", []string{"pred", "pred"}, func(v []uint64) uint64 {
			return uint64(btoi(k.f(v[0] == 1, v[1] == 1)))
		}}.run(t)
		instrCase{"setp.lt." + k.op + ".s32 %d, %a, %b, %c;", "pred", []string{"s32", "s32", "pred"}, func(v []uint64) uint64 {
			return uint64(btoi(k.f(int32(v[0]) < int32(v[1]), v[2] == 1)))
		}}.run(t)
		instrCase{"setp.lt." + k.op + ".s32 %d, %a, %b, !%c;", "pred", []string{"s32", "s32", "pred"}, func(v []uint64) uint64 {
			return uint64(btoi(k.f(int32(v[0]) < int32(v[1]), v[2] == 0)))
		}}.run(t)
	}
	instrCase{"not.pred %d, %a;", "pred", []string{"pred"}, func(v []uint64) uint64 { return 1 - v[0] }}.run(t)
	instrCase{"{.reg .pred x; setp.ge.u32 x|%d, %a, %b;}", "pred", []string{"u32", "u32"}, func(v []uint64) uint64 {
		return uint64(btoi(v[0] < v[1]))
	}}.run(t)
	// A predicated instruction leaves the other lanes as they are.
	instrCase{"mov.u32 %d, 5;\n\t@%b add.u32 %d, %a, 1;", "u32", []string{"u32", "pred"}, func(v []uint64) uint64 {
		if v[1] == 1 {
			return v[0] + 1
		}
		return 5
	}}.run(t)
	instrCase{"mov.u64 %d, 5;\n\t@!%b add.u64 %d, %a, 1;", "u64", []string{"u64", "pred"}, func(v []uint64) uint64 {
		if v[1] == 0 {
			return v[0] + 1
		}
		return 5
	}}.run(t)
}

func TestComparisons(t *testing.T) {
	ops := []struct {
		name string
		ok   [3]bool // for less, equal, greater
	}{{"eq", [3]bool{false, true, false}}, {"ne", [3]bool{true, false, true}}, {"lt", [3]bool{true, false, false}},
		{"le", [3]bool{true, true, false}}, {"gt", [3]bool{false, false, true}}, {"ge", [3]bool{false, true, true}}}
	for _, o := range ops {
		for _, typ := range []string{"u16", "s16", "u32", "s32", "u64", "s64"} {
			_, n := classReg(typ)
			instrCase{"setp." + o.name + "." + typ + " %d, %a, %b;", "pred", []string{typ, typ}, func(v []uint64) uint64 {
				s := typ[0] == 's'
				return uint64(btoi(o.ok[1+bigOf(v[0], n, s).Cmp(bigOf(v[1], n, s))]))
			}}.run(t)
		}
		for _, typ := range []string{"f16", "f32", "f64", "bf16"} {
			for _, u := range []string{"", "u"} {
				f := func(v []uint64) bool {
					a, b := floatOf(v[0], typ), floatOf(v[1], typ)
					if a == nil || b == nil {
						return u == "u"
					}
					return o.ok[1+a.Cmp(b)]
				}
				instrCase{"setp." + o.name + u + "." + typ + " %d, %a, %b;", "pred", []string{typ, typ},
					func(v []uint64) uint64 { return uint64(btoi(f(v))) }}.run(t)
				if typ == "f32" {
					instrCase{"set." + o.name + u + ".u32.f32 %d, %a, %b;", "u32", []string{typ, typ},
						func(v []uint64) uint64 { return uint64(-btoi(f(v))) }}.run(t)
					instrCase{"set." + o.name + u + ".f32.f32 %d, %a, %b;", "f32", []string{typ, typ},
						func(v []uint64) uint64 { return uint64(btoi(f(v))) * 0x3f800000 }}.run(t)
				}
			}
		}
	}
	for _, typ := range []string{"f16", "f32", "f64"} {
		nan := func(v []uint64) bool { return floatOf(v[0], typ) == nil || floatOf(v[1], typ) == nil }
		instrCase{"setp.nan." + typ + " %d, %a, %b;", "pred", []string{typ, typ}, func(v []uint64) uint64 { return uint64(btoi(nan(v))) }}.run(t)
		instrCase{"setp.num." + typ + " %d, %a, %b;", "pred", []string{typ, typ}, func(v []uint64) uint64 { return uint64(btoi(!nan(v))) }}.run(t)
	}
	instrCase{"set.gt.f16x2.f16x2 %d, %a, %b;", "b32", []string{"b32", "b32"}, func(v []uint64) uint64 {
		var r uint64
		for i := 0; i < 32; i += 16 {
			a, b := floatOf(v[0]>>i&0xffff, "f16"), floatOf(v[1]>>i&0xffff, "f16")
			if a != nil && b != nil && a.Cmp(b) > 0 {
				r |= 0x3c00 << i
			}
		}
		return r
	}}.run(t)
}

// floatOf gives the exact value of float bits, nil for a NaN.
func floatOf(v uint64, typ string) *big.Float {
	var e, m int
	switch typ {
	case "f16":
		e, m = 5, 10
	case "bf16":
		e, m = 8, 7
	case "f32":
		e, m = 8, 23
	case "f64":
		e, m = 11, 52
	}
	exp := int(v >> m & (1<<e - 1))
	mant := int64(v & (1<<m - 1))
	neg := v>>(e+m)&1 == 1
	f := new(big.Float).SetPrec(3000)
	switch {
	case exp == 1<<e-1 && mant != 0:
		return nil
	case exp == 1<<e-1:
		return f.SetInf(neg)
	case exp > 0:
		mant |= 1 << m
	default:
		exp = 1
	}
	f.SetInt64(mant)
	f.SetMantExp(f, exp-(1<<(e-1)-1)-m)
	if neg {
		f.Neg(f)
	}
	return f
}
