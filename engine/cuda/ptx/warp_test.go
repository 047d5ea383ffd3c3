package ptx

import (
	"math/rand"
	"testing"
)

func randomLanes(n int) [][32]uint32 {
	rng := rand.New(rand.NewSource(9))
	in := make([][32]uint32, n)
	for i := range in {
		for l := range in[i] {
			in[i][l] = rng.Uint32()
		}
	}
	return in
}

// TestShfl: the manual's pseudocode, for widths of 4 to 32 as CUDA's
// __shfl_*_sync with a width gives them.
func TestShfl(t *testing.T) {
	in := randomLanes(2)
	for _, w := range []int{32, 16, 8, 4} {
		for _, mode := range []string{"up", "down", "bfly", "idx"} {
			for l := range in[1] {
				in[1][l] = uint32(l*7) % 32
			}
			c := (32-w)<<8 | 31
			if mode == "up" {
				c = (32 - w) << 8
			}
			text := warpText(2, 2, 0, "\tshfl.sync."+mode+".b32 %d0|%p, %r0, %r1, "+itoa(c)+", -1;\n\tselp.b32 %d1, 1, 0, %p;")
			out, err := oneWarp(t, text, Options{Check: true}, in, 2)
			must(t, err)
			for l := range 32 {
				seg := l / w * w // first lane of the segment
				n := int(in[1][l])
				j, ok := l, false
				switch mode {
				case "up":
					j, ok = l-n, l-n >= seg
				case "down":
					j, ok = l+n, l+n < seg+w
				case "bfly":
					j = l ^ n
					ok = j < seg+w
				case "idx":
					j, ok = seg+n%w, true
				}
				if !ok {
					j = l
				}
				if out[0][l] != in[0][j] || out[1][l] != uint32(btoi(ok)) {
					t.Errorf("%s width %d lane %d by %d: %#x %d, want %#x (lane %d) %v", mode, w, l, n, out[0][l], out[1][l], in[0][j], j, ok)
				}
			}
		}
	}
}

func itoa(n int) string {
	s := ""
	for n > 0 || s == "" {
		s = string(rune('0'+n%10)) + s
		n /= 10
	}
	return s
}

func TestWarpVotes(t *testing.T) {
	in := randomLanes(1)
	for l := range in[0] {
		in[0][l] &= 3
	}
	odd := uint32(0)
	for l, v := range in[0] {
		odd |= v & 1 << l
	}
	text := warpText(1, 8, 0, `	and.b32 %u, %r0, 1;
	setp.eq.u32 %p, %u, 1;
	vote.sync.ballot.b32 %d0, %p, -1;
	vote.sync.any.pred %q, %p, -1;
	selp.b32 %d1, 1, 0, %q;
	vote.sync.all.pred %q, %p, -1;
	selp.b32 %d2, 1, 0, %q;
	match.any.sync.b32 %d3, %r0, -1;
	redux.sync.add.u32 %d4, %r0, -1;
	redux.sync.max.s32 %d5, %r0, -1;
	redux.sync.xor.b32 %d6, %r0, -1;
	setp.lt.u32 %q, %t, 7;
	@%q activemask.b32 %d7;
	@!%q mov.u32 %d7, 1;`)
	out, err := oneWarp(t, text, Options{}, in, 8)
	must(t, err)
	var sum, most, xor uint32
	for _, v := range in[0] {
		sum, most, xor = sum+v, max(most, v), xor^v
	}
	for l := range 32 {
		var same uint32
		for k, v := range in[0] {
			if v == in[0][l] {
				same |= 1 << k
			}
		}
		act := uint32(1)
		if l < 7 {
			act = 0x7f
		}
		for i, want := range []uint32{odd, 1, 0, same, sum, most, xor, act} {
			if out[i][l] != want {
				t.Errorf("result %d, lane %d: %#x, want %#x", i, l, out[i][l], want)
			}
		}
	}
}

// TestHalvesOfAWarp: both halves run one shfl with member masks of their own,
// together and apart.
func TestHalvesOfAWarp(t *testing.T) {
	in := randomLanes(1)
	for _, code := range []string{
		`	setp.lt.u32 %p, %t, 16;
	selp.b32 %u, 0xffff, 0xffff0000, %p;
	shfl.sync.bfly.b32 %d0, %r0, 8, 31, %u;`,
		`	setp.lt.u32 %p, %t, 16;
	@%p bra LOW;
	shfl.sync.bfly.b32 %d0, %r0, 8, 31, 0xffff0000;
	bra JOIN;
LOW:
	shfl.sync.bfly.b32 %d0, %r0, 8, 31, 0xffff;
JOIN:
	bar.warp.sync -1;`,
		// Lanes arrive at one bar.warp.sync by two instructions.
		`	setp.lt.u32 %p, %t, 16;
	@%p bra LOW;
	bar.warp.sync -1;
	bra JOIN;
LOW:
	bar.warp.sync -1;
JOIN:
	shfl.sync.bfly.b32 %d0, %r0, 8, 31, -1;`,
		// Lanes that have ended need not come.
		`	st.global.b32 [%out], %r0;
	setp.ge.u32 %p, %t, 32;
	@%p exit;
	shfl.sync.bfly.b32 %d0, %r0, 8, 31, -1;`,
	} {
		out, err := oneWarp(t, warpText(1, 1, 0, code), Options{Check: true}, in, 1)
		must(t, err)
		for l := range 32 {
			if out[0][l] != in[0][l^8] {
				t.Fatalf("lane %d: %#x, want %#x\n%s", l, out[0][l], in[0][l^8], code)
			}
		}
	}
}

// TestDivergence: ways that part and join, against the same in Go.
func TestDivergence(t *testing.T) {
	in := randomLanes(1)
	text := warpText(1, 2, 0, `	mov.u32 %d0, 0;
	mov.u32 %d1, %r0;
LOOP:
	and.b32 %u, %d1, 7;
	setp.eq.u32 %p, %u, 0;
	@%p bra DONE;
	setp.lt.u32 %q, %u, 4;
	@%q bra SMALL;
	add.u32 %d0, %d0, %u;
	setp.eq.u32 %q, %u, 5;
	@%q bra FIVE;
	shr.u32 %d1, %d1, 1;
	bra NEXT;
FIVE:
	shr.u32 %d1, %d1, 3;
	bra NEXT;
SMALL:
	xor.b32 %d0, %d0, %d1;
	shr.u32 %d1, %d1, 2;
NEXT:
	setp.ne.u32 %p, %d1, 0;
	@%p bra LOOP;
	bra END;
DONE:
	add.u32 %d0, %d0, 1000;
END:
	activemask.b32 %d1;`)
	out, err := oneWarp(t, text, Options{}, in, 2)
	must(t, err)
	for l := range 32 {
		v, d := in[0][l], uint32(0)
		for v != 0 {
			u := v & 7
			if u == 0 {
				d += 1000
				break
			}
			switch {
			case u < 4:
				d ^= v
				v >>= 2
			case u == 5:
				d += u
				v >>= 3
			default:
				d += u
				v >>= 1
			}
		}
		if out[0][l] != d {
			t.Errorf("lane %d: %d, want %d", l, out[0][l], d)
		}
		if out[1][l] != 0xffffffff {
			t.Errorf("lane %d: the ways have not joined: %#x", l, out[1][l])
		}
	}
}

func TestIndexedBranchAndCall(t *testing.T) {
	in := randomLanes(1)
	for l := range in[0] {
		in[0][l] %= 3
	}
	text := warpText(1, 2, 0, `	{ .reg .b32 %w;
ts: .branchtargets L0, L1, L2;
	brx.idx %r0, ts;
L0:
	mov.u32 %w, 10;
	bra END;
L1:
	mov.u32 %w, 21;
	bra END;
L2:
	mov.u32 %w, 32;
END:
	mov.u32 %d0, %w;
	}
	{ .param .b32 p0; .param .b32 p1; .param .b32 rv;
	st.param.b32 [p0+0], %d0;
	st.param.b32 [p1+0], %t;
	call.uni (rv), twice, (p0, p1);
	ld.param.b32 %d1, [rv+0];
	}`)
	text = header + `.func (.param .b32 rv) twice(.param .b32 x, .param .b32 y)
{
	.reg .b32 %r<4>;
	.reg .pred %p;
	ld.param.b32 %r1, [x];
	ld.param.b32 %r2, [y];
	setp.gt.u32 %p, %r2, 16;
	@%p bra BIG;
	add.u32 %r3, %r1, %r1;
	st.param.b32 [rv], %r3;
	ret;
BIG:
	st.param.b32 [rv], %r2;
	ret;
}
` + text[len(header):]
	out, err := oneWarp(t, text, Options{Check: true}, in, 2)
	must(t, err)
	for l := range 32 {
		w := []uint32{10, 21, 32}[in[0][l]]
		r := 2 * w
		if l > 16 {
			r = uint32(l)
		}
		if out[0][l] != w || out[1][l] != r {
			t.Errorf("lane %d: %d %d, want %d %d", l, out[0][l], out[1][l], w, r)
		}
	}
}

// TestAtomics: sums, maxima and a histogram from many blocks on several workers.
func TestAtomics(t *testing.T) {
	text := header + `.visible .entry k(.param .u64 out)
{
	.reg .b32 %r<10>;
	.reg .b64 %o, %a;
	.reg .f32 %f;
	.reg .pred %p;
	ld.param.u64 %o, [out];
	mov.u32 %r0, %ctaid.x;
	mov.u32 %r1, %ntid.x;
	mov.u32 %r2, %tid.x;
	mad.lo.u32 %r3, %r0, %r1, %r2;
	atom.global.add.u32 %r4, [%o], 1;
	atom.global.max.s32 %r4, [%o+4], %r3;
	red.global.min.u32 [%o+8], %r3;
	red.global.or.b32 [%o+12], %r3;
	red.global.xor.b32 [%o+16], %r3;
	mov.f32 %f, 0f3f000000;
	red.global.add.f32 [%o+20], %f;
	red.global.add.noftz.f16x2 [%o+24], 0x3c003800;
	atom.global.inc.u32 %r4, [%o+28], 9;
	atom.global.dec.u32 %r4, [%o+32], 9;
	atom.add.u64 %a, [%o+40], 3;
AGAIN:
	ld.volatile.global.u32 %r5, [%o+36];
	add.u32 %r6, %r5, %r3;
	atom.global.cas.b32 %r7, [%o+36], %r5, %r6;
	setp.ne.u32 %p, %r7, %r5;
	@%p bra AGAIN;
	ret;
}
`
	m := New(Options{Workers: 4})
	mod, err := m.Load([]byte(text))
	must(t, err)
	f := kernel(t, mod, "k")
	init := make([]uint32, 12)
	init[2] = 0xffffffff
	p := upload(t, m, init)
	const n = 16 * 64
	must(t, m.Launch(f, Launch{Grid: [3]uint32{16}, Block: [3]uint32{64}, Params: args(t, f, p)}))
	got := make([]uint32, 12)
	download(t, m, p, got)
	var or, xor, sum uint32
	for i := range uint32(n) {
		or, xor, sum = or|i, xor^i, sum+i
	}
	dec := uint32(0)
	for range n {
		if dec == 0 || dec > 9 {
			dec = 9
		} else {
			dec--
		}
	}
	want := []uint32{n, n - 1, 0, or, xor, 0x44000000, 0x64006000, n % 10, dec, sum, 3 * n, 0}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("word %d: %#x, want %#x", i, got[i], want[i])
		}
	}
}

// TestSpinningBlocks: a block waits for one that is started after it, on one
// worker; and lanes of one warp wait for each other.
func TestSpinningBlocks(t *testing.T) {
	text := header + `.visible .entry k(.param .u64 out)
{
	.reg .b32 %r<10>;
	.reg .b64 %o;
	.reg .pred %p;
	ld.param.u64 %o, [out];
	mov.u32 %r0, %ctaid.x;
	setp.eq.u32 %p, %r0, 1;
	@%p bra SIGNAL;
WAIT:
	ld.acquire.gpu.global.u32 %r1, [%o];
	setp.eq.u32 %p, %r1, 0;
	@%p bra WAIT;
	st.global.u32 [%o+4], %r1;
	ret;
SIGNAL:
	mov.u32 %r2, 7;
	st.release.gpu.global.u32 [%o], %r2;
	ret;
}
.visible .entry lanes(.param .u64 out)
{
	.reg .b32 %r<10>;
	.reg .b64 %o;
	.reg .pred %p;
	ld.param.u64 %o, [out];
	mov.u32 %r0, %tid.x;
LOCK:
	atom.global.cas.b32 %r1, [%o], 0, 1;
	setp.ne.u32 %p, %r1, 0;
	@%p bra LOCK;
	ld.volatile.global.u32 %r2, [%o+4];
	add.u32 %r2, %r2, %r0;
	st.volatile.global.u32 [%o+4], %r2;
	membar.gl;
	atom.global.exch.b32 %r1, [%o], 0;
	ret;
}
`
	m := New(Options{Workers: 1})
	mod, err := m.Load([]byte(text))
	must(t, err)
	f := kernel(t, mod, "k")
	p := upload(t, m, []uint32{0, 0})
	must(t, m.Launch(f, Launch{Grid: [3]uint32{2}, Block: [3]uint32{32}, Params: args(t, f, p)}))
	var got [2]uint32
	download(t, m, p, got[:])
	if got[1] != 7 {
		t.Errorf("the waiting block saw %d", got[1])
	}
	f = kernel(t, mod, "lanes")
	p = upload(t, m, []uint32{0, 0})
	must(t, m.Launch(f, Launch{Grid: [3]uint32{2}, Block: [3]uint32{64}, Params: args(t, f, p)}))
	download(t, m, p, got[:])
	if got[1] != 2*63*64/2 {
		t.Errorf("under the lock: %d", got[1])
	}
}

func TestSpecialRegisters(t *testing.T) {
	text := header + `.visible .entry k(.param .u64 out, .param .u32 w)
{
	.reg .b32 %r<10>, %i;
	.reg .b64 %o;
	ld.param.u64 %o, [out];
	// index of the thread in the grid, by all coordinates
	mov.u32 %r0, %ctaid.z;
	mov.u32 %r1, %nctaid.y;
	mov.u32 %r2, %ctaid.y;
	mad.lo.u32 %i, %r0, %r1, %r2;
	mov.u32 %r1, %nctaid.x;
	mov.u32 %r2, %ctaid.x;
	mad.lo.u32 %i, %i, %r1, %r2;
	mov.u32 %r1, %ntid.z;
	mov.u32 %r2, %tid.z;
	mad.lo.u32 %i, %i, %r1, %r2;
	mov.u32 %r1, %ntid.y;
	mov.u32 %r2, %tid.y;
	mad.lo.u32 %i, %i, %r1, %r2;
	mov.u32 %r1, %ntid.x;
	mov.u32 %r2, %tid.x;
	mad.lo.u32 %i, %i, %r1, %r2;
	mad.wide.u32 %o, %i, 16, %o;
	mov.u32 %r3, %laneid;
	mov.u32 %r4, %warpid;
	mov.u32 %r5, %lanemask_lt;
	mov.u32 %r6, %dynamic_smem_size;
	st.global.v4.u32 [%o], {%r3, %r4, %r5, %r6};
	ret;
}
`
	m := New(Options{Check: true})
	mod, err := m.Load([]byte(text))
	must(t, err)
	f := kernel(t, mod, "k")
	grid, block := [3]uint32{2, 3, 2}, [3]uint32{5, 3, 3}
	const n = 12 * 45
	out := make([][4]uint32, n)
	p, err := m.Alloc(16 * n)
	must(t, err)
	must(t, m.Launch(f, Launch{Grid: grid, Block: block, Shared: 96, Params: args(t, f, p, 0)}))
	download(t, m, p, out) // an element that no thread wrote would be an error
	for i, v := range out {
		th := uint32(i % 45)
		if want := [4]uint32{th % 32, th / 32, 1<<(th%32) - 1, 96}; v != want {
			t.Fatalf("thread %d: %v, want %v", i, v, want)
		}
	}
}

// TestPopcountOfVotes ties ballot to popc, as kernels count with them.
func TestPopcountOfVotes(t *testing.T) {
	in := randomLanes(1)
	text := warpText(1, 1, 0, "\tsetp.lt.s32 %p, %r0, 0;\n\tvote.sync.ballot.b32 %u, %p, -1;\n\tmov.u32 %d0, %lanemask_lt;\n\tand.b32 %u, "+
		"%u, %d0;\n\tpopc.b32 %d0, %u;")
	out, err := oneWarp(t, text, Options{}, in, 1)
	must(t, err)
	n := uint32(0)
	for l := range 32 {
		if out[0][l] != n {
			t.Errorf("lane %d: %d before it, want %d", l, out[0][l], n)
		}
		n += in[0][l] >> 31
	}
}
