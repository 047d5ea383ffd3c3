package ptx

import (
	"fmt"
	"math"
	"math/rand"
	"strings"
	"testing"
)

// Layouts, after the figures of the manual ("Matrix Fragments for mma.m16n8k16"
// and so on): with groupID = lane / 4 and threadID_in_group = lane % 4, element i
// of a thread's fragment has the row and column that these functions give. They
// are written element by element as the manual does, not by registers as the
// interpreter computes them.

type place struct{ row, col int }

func group4(lane int) (groupID, threadID int) { return lane >> 2, lane % 4 }

var layouts = map[string]struct {
	k    int
	a, b func(lane, i int) place
	na   int // elements
	nb   int
}{
	"m16n8k16.f16": {16,
		func(lane, i int) place {
			g, t := group4(lane)
			row := g
			if !(i < 2 || 4 <= i && i < 6) {
				row = g + 8
			}
			col := t*2 + i&1
			if i >= 4 {
				col += 8
			}
			return place{row, col}
		},
		func(lane, i int) place {
			g, t := group4(lane)
			row := t*2 + i&1
			if i >= 2 {
				row += 8
			}
			return place{row, g}
		}, 8, 4},
	"m16n8k8.f16": {8,
		func(lane, i int) place {
			g, t := group4(lane)
			row := g
			if i >= 2 {
				row += 8
			}
			return place{row, t*2 + i&1}
		},
		func(lane, i int) place {
			g, t := group4(lane)
			return place{t*2 + i, g}
		}, 4, 2},
	"m16n8k4.tf32": {4,
		func(lane, i int) place {
			g, t := group4(lane)
			return place{[]int{g, g + 8}[i], t}
		},
		func(lane, i int) place {
			g, t := group4(lane)
			return place{t, g}
		}, 2, 1},
	"m16n8k8.tf32": {8,
		func(lane, i int) place {
			g, t := group4(lane)
			p := place{g, t}
			if i == 1 || i == 3 {
				p.row = g + 8
			}
			if i == 2 || i == 3 {
				p.col = t + 4
			}
			return p
		},
		func(lane, i int) place {
			g, t := group4(lane)
			return place{t + 4*i, g}
		}, 4, 2},
	"m16n8k16.s8": {16,
		func(lane, i int) place {
			g, t := group4(lane)
			row := g
			if i >= 4 {
				row += 8
			}
			return place{row, t*4 + i&3}
		},
		func(lane, i int) place {
			g, t := group4(lane)
			return place{t*4 + i, g}
		}, 8, 4},
	"m16n8k32.s8": {32,
		func(lane, i int) place {
			g, t := group4(lane)
			row := g
			if !(i < 4 || 8 <= i && i < 12) {
				row += 8
			}
			col := t*4 + i&3
			if i >= 8 {
				col += 16
			}
			return place{row, col}
		},
		func(lane, i int) place {
			g, t := group4(lane)
			row := t*4 + i&3
			if i >= 4 {
				row += 16
			}
			return place{row, g}
		}, 16, 8},
}

// accumulator is c and d of every shape.
func accumulator(lane, i int) place {
	g, t := group4(lane)
	row := g
	if i >= 2 {
		row += 8
	}
	return place{row, t*2 + i&1}
}

// warpText is a kernel of one warp that loads n words a lane from in (word i of
// lane l at (i·32+l)·4) into %r0..., runs code and stores %d0...%d<m-1> likewise.
func warpText(n, m int, shared int, code string) string {
	var b strings.Builder
	b.WriteString(header + ".visible .entry k(.param .u64 out, .param .u64 in)\n{\n")
	fmt.Fprintf(&b, "\t.reg .b32 %%r<%d>, %%d<%d>, %%t, %%u, %%s;\n\t.reg .b64 %%in, %%out;\n\t.reg .pred %%p, %%q;\n", n+1, m+1)
	if shared > 0 {
		fmt.Fprintf(&b, "\t.shared .align 16 .b8 sm[%d];\n\tmov.u32 %%s, sm;\n", shared)
	}
	b.WriteString("\tld.param.u64 %in, [in];\n\tld.param.u64 %out, [out];\n\tmov.u32 %t, %tid.x;\n\tmad.wide.u32 %in, %t, 4, " +
		"%in;\n\tmad.wide.u32 %out, %t, 4, %out;\n")
	for i := range n {
		fmt.Fprintf(&b, "\tld.global.b32 %%r%d, [%%in+%d];\n", i, 128*i)
	}
	b.WriteString(code + "\n")
	for i := range m {
		fmt.Fprintf(&b, "\tst.global.b32 [%%out+%d], %%d%d;\n", 128*i, i)
	}
	b.WriteString("\tret;\n}\n")
	return b.String()
}

// oneWarp runs such a kernel; rows of in and of the result are words, columns lanes.
func oneWarp(t testing.TB, text string, o Options, in [][32]uint32, m int) ([][32]uint32, error) {
	t.Helper()
	mach := New(o)
	mod, err := mach.Load([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	f := kernel(t, mod, "k")
	if len(in) == 0 {
		in = [][32]uint32{{}}
	}
	pin := upload(t, mach, in)
	out := make([][32]uint32, max(m, 1))
	pout := upload(t, mach, out)
	if err := mach.Launch(f, Launch{Block: [3]uint32{32}, Params: args(t, f, pout, pin)}); err != nil {
		return nil, err
	}
	download(t, mach, pout, out)
	return out, nil
}

func braces(prefix string, from, n int) string {
	var s []string
	for i := range n {
		s = append(s, fmt.Sprintf("%%%s%d", prefix, from+i))
	}
	return "{" + strings.Join(s, ", ") + "}"
}

func TestMMA(t *testing.T) {
	// value makes the bits of a small integer in the type: all sums are exact, so
	// that the result does not depend on the order of the sum.
	value := map[string]func(v int) uint32{
		"f16":  func(v int) uint32 { return floatF16(float32(v)) },
		"bf16": func(v int) uint32 { return math.Float32bits(float32(v)) >> 16 },
		"tf32": func(v int) uint32 { return math.Float32bits(float32(v)) },
		"s8":   func(v int) uint32 { return uint32(uint8(v)) },
		"u8":   func(v int) uint32 { return uint32(uint8(v)) },
	}
	for _, c := range []struct{ shape, typ, acc string }{
		{"m16n8k16", "f16", "f32"}, {"m16n8k8", "f16", "f32"}, {"m16n8k16", "f16", "f16"}, {"m16n8k8", "f16", "f16"},
		{"m16n8k16", "bf16", "f32"}, {"m16n8k8", "bf16", "f32"}, {"m16n8k4", "tf32", "f32"}, {"m16n8k8", "tf32", "f32"},
		{"m16n8k16", "s8", "s32"}, {"m16n8k32", "s8", "s32"}, {"m16n8k32", "u8", "s32"},
	} {
		t.Run(c.shape+" "+c.typ+" "+c.acc, func(t *testing.T) {
			fam := map[string]string{"bf16": "f16", "u8": "s8"}[c.typ]
			if fam == "" {
				fam = c.typ
			}
			l := layouts[c.shape+"."+fam]
			bits := width(c.typ)
			per := 32 / bits
			rng := rand.New(rand.NewSource(3))
			small := func() int {
				if c.typ == "u8" {
					return rng.Intn(256)
				}
				return rng.Intn(9) - 4
			}
			a, b, sum := make([][]int, 16), make([][]int, l.k), [16][8]int{}
			for i := range a {
				a[i] = make([]int, l.k)
				for k := range a[i] {
					a[i][k] = small()
				}
				for j := range sum[i] {
					sum[i][j] = small()
				}
			}
			for k := range b {
				b[k] = make([]int, 8)
				for j := range b[k] {
					b[k][j] = small()
				}
			}
			ra, rb := l.na/per, l.nb/per
			rc := 4
			if c.acc == "f16" {
				rc = 2
			}
			in := make([][32]uint32, ra+rb+rc)
			for lane := range 32 {
				for i := range l.na {
					p := l.a(lane, i)
					in[i/per][lane] |= value[c.typ](a[p.row][p.col]) << (bits * (i % per))
				}
				for i := range l.nb {
					p := l.b(lane, i)
					in[ra+i/per][lane] |= value[c.typ](b[p.row][p.col]) << (bits * (i % per))
				}
				for i := range 4 {
					p := accumulator(lane, i)
					v := sum[p.row][p.col]
					switch c.acc {
					case "f16":
						in[ra+rb+i/2][lane] |= floatF16(float32(v)) << (16 * (i % 2))
					case "f32":
						in[ra+rb+i][lane] = math.Float32bits(float32(v))
					default:
						in[ra+rb+i][lane] = uint32(v)
					}
				}
			}
			code := fmt.Sprintf("\tmma.sync.aligned.%s.row.col.%s.%s.%s.%s %s, %s, %s, %s;", c.shape, c.acc, c.typ, c.typ, c.acc,
				braces("d", 0, rc), braces("r", 0, ra), braces("r", ra, rb), braces("r", ra+rb, rc))
			out, err := oneWarp(t, warpText(ra+rb+rc, rc, 0, code), Options{}, in, rc)
			must(t, err)
			for lane := range 32 {
				for i := range 4 {
					p := accumulator(lane, i)
					want := sum[p.row][p.col]
					for k := range l.k {
						want += a[p.row][k] * b[k][p.col]
					}
					var got int
					switch c.acc {
					case "f16":
						got = int(halfToFloat[out[i/2][lane]>>(16*(i%2))&0xffff])
					case "f32":
						got = int(math.Float32frombits(out[i][lane]))
					default:
						got = int(int32(out[i][lane]))
					}
					if got != want {
						t.Fatalf("D[%d,%d] (lane %d, element %d): %d, want %d", p.row, p.col, lane, i, got, want)
					}
				}
			}
		})
	}
}

// TestMMASum: the order that mma.go promises, on sums that are not exact.
func TestMMASum(t *testing.T) {
	rng := rand.New(rand.NewSource(5))
	in := make([][32]uint32, 10)
	for r := range in {
		for lane := range in[r] {
			if r < 6 {
				h := func() uint32 { return floatF16(float32(rng.NormFloat64())) }
				in[r][lane] = h() | h()<<16
			} else {
				in[r][lane] = math.Float32bits(float32(rng.NormFloat64() * 100))
			}
		}
	}
	code := "\tmma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 " + braces("d", 0, 4) + ", " + braces("r", 0, 4) + ", " +
		braces("r", 4, 2) + ", " + braces("r", 6, 4) + ";"
	out, err := oneWarp(t, warpText(10, 4, 0, code), Options{}, in, 4)
	must(t, err)
	l := layouts["m16n8k16.f16"]
	var a, b [16][16]float64
	for lane := range 32 {
		for i := range 8 {
			p := l.a(lane, i)
			f, _ := floatOf(uint64(in[i/2][lane]>>(16*(i%2))&0xffff), "f16").Float64()
			a[p.row][p.col] = f
		}
		for i := range 4 {
			p := l.b(lane, i)
			f, _ := floatOf(uint64(in[4+i/2][lane]>>(16*(i%2))&0xffff), "f16").Float64()
			b[p.row][p.col] = f
		}
	}
	for lane := range 32 {
		for i := range 4 {
			p := accumulator(lane, i)
			s := exact().SetFloat64(float64(math.Float32frombits(in[6+i][lane])))
			for k := 0; k < 16; k += 8 {
				for e := k; e < k+8; e++ {
					s.Add(s, exact().Mul(exact().SetFloat64(a[p.row][e]), exact().SetFloat64(b[e][p.col])))
				}
				f, _ := s.Float32()
				s.SetFloat64(float64(f))
			}
			want, _ := s.Float32()
			if got := math.Float32frombits(out[i][lane]); got != want {
				t.Errorf("D[%d,%d] = %v, want %v", p.row, p.col, got, want)
			}
		}
	}
}

// TestLdmatrix: matrix i has its row r at the address in lane 8i+r; element
// (r, c) holds the number 64i + 8r + c.
func TestLdmatrix(t *testing.T) {
	for _, n := range []int{1, 2, 4} {
		for _, trans := range []bool{false, true} {
			mod := ""
			if trans {
				mod = ".trans"
			}
			// Rows lie in shared memory in the reverse order, so that the addresses matter.
			code := `	shl.b32 %u, %t, 4;
	sub.u32 %u, 496, %u;
	add.u32 %s, %s, %u;
	st.shared.v4.b32 [%s], {%r0, %r1, %r2, %r3};
	bar.warp.sync -1;
	ldmatrix.sync.aligned.m8n8.x` + fmt.Sprint(n) + mod + ".shared.b16 " + braces("d", 0, n) + ", [%s];"
			in := make([][32]uint32, 4)
			for lane := range 32 { // lane 8i+r writes row r of matrix i
				for c := 0; c < 8; c += 2 {
					v := uint32(64*(lane/8) + 8*(lane%8) + c)
					in[c/2][lane] = v | (v+1)<<16
				}
			}
			out, err := oneWarp(t, warpText(4, n, 512, code), Options{Check: true}, in, n)
			must(t, err)
			for i := range n {
				for lane := range 32 {
					g, th := group4(lane)
					e := func(k int) uint32 {
						if trans {
							return uint32(64*i + 8*(2*th+k) + g)
						}
						return uint32(64*i + 8*g + 2*th + k)
					}
					if want := e(0) | e(1)<<16; out[i][lane] != want {
						t.Fatalf("x%d%s: register %d of lane %d: %#x, want %#x", n, mod, i, lane, out[i][lane], want)
					}
				}
			}
			// stmatrix is its inverse.
			code = `	shl.b32 %u, %t, 4;
	add.u32 %s, %s, %u;
	mov.u32 %d1, 0;
	st.shared.v4.b32 [%s], {%d1, %d1, %d1, %d1};
	bar.warp.sync -1;
	stmatrix.sync.aligned.m8n8.x` + fmt.Sprint(n) + mod + ".shared.b16 [%s], " + braces("r", 0, n) + `;
	bar.warp.sync -1;
	ld.shared.v4.b32 ` + braces("d", 0, 4) + ", [%s];"
			back, err := oneWarp(t, warpText(n, 4, 512, code), Options{Check: true}, out[:n], 4)
			must(t, err)
			for lane := range 8 * n {
				for c := range 4 {
					if back[c][lane] != in[c][lane] {
						t.Fatalf("stmatrix x%d%s: word %d of row %d: %#x, want %#x", n, mod, c, lane, back[c][lane], in[c][lane])
					}
				}
			}
		}
	}
}
