package ptx

import (
	"errors"
	"strings"
	"testing"
)

// Each planted kernel has one fault, which the machine has to find and name; its
// twin, the same without the fault, has to run. The body has the thread's index
// in %t, a buffer of words in %g (4 for each of 128 threads) and shared memory sm
// of 1024 bytes with %s at its start and %a at the thread's word.
const plantedHead = header + `.visible .entry k(.param .u64 buf, .param .u64 blank)
{
	.reg .b32 %t, %s, %a, %b, %r<20>;
	.reg .b64 %g, %h, %x, %y, %z;
	.reg .b16 %w;
	.reg .pred %p, %q;
	.shared .align 16 .b8 sm[1024];
	.local .align 16 .b8 loc[32];
	ld.param.u64 %g, [buf];
	ld.param.u64 %h, [blank];
	mov.u32 %t, %tid.x;
	mov.u32 %s, sm;
	mad.lo.u32 %a, %t, 4, %s;
	mad.wide.u32 %x, %t, 4, %g;
	mad.wide.u32 %y, %t, 4, %h;
`

var planted = []struct {
	name   string
	bad    string
	good   string
	says   string
	always bool // found without Options.Check too
}{
	{"global beyond the end", "ld.global.u32 %r0, [%x+1600];", "ld.global.u32 %r0, [%x+1536];", "out of bounds", true},
	{"global before the start", "st.global.u32 [%x+-4], %t;", "st.global.u32 [%x], %t;", "before the allocation", true},
	{"global across the end", "add.u64 %z, %g, 2046; ld.global.u16 %w, [%z]; add.u64 %z, %g, 2047; ld.global.u8 %w, [%z]; ld.global.u8 %w, " +
		"[%z+1];", "add.u64 %z, %g, 2046; ld.global.u16 %w, [%z];", "after the allocation", true},
	{"null pointer", "mov.u64 %z, 0; st.global.u32 [%z], %t;", "st.global.u32 [%x], %t;", "out of bounds", true},
	{"truncated pointer", "cvt.u32.u64 %r0, %x; cvt.u64.u32 %z, %r0; ld.global.u32 %r0, [%z];", "ld.global.u32 %r0, [%x];", "out of bounds",
		true},
	{"global misaligned", "ld.global.v2.u32 {%r0, %r1}, [%g+4];", "ld.global.v2.u32 {%r0, %r1}, [%g+8];", "misaligned", true},
	{"shared misaligned", "st.shared.u32 [%a+2], %t;", "st.shared.u32 [%a], %t;", "misaligned", true},
	{"shared beyond the end", "st.shared.u32 [%a+900], %t;", "st.shared.u32 [%a+512], %t;", "out of bounds", true},
	{"local beyond the end", "st.local.u32 [loc+32], %t;", "st.local.u32 [loc+28], %t;", "out of bounds", true},
	{"generic to shared beyond the end", "cvt.u64.u32 %z, %a; cvta.shared.u64 %z, %z; st.u32 [%z+900], %t;",
		"cvt.u64.u32 %z, %a; cvta.shared.u64 %z, %z; st.u32 [%z], %t;", "out of bounds", true},
	{"cp.async beyond the end", "cp.async.ca.shared.global [%a], [%x+1600], 4;", "cp.async.ca.shared.global [%a], [%x+1536], 4;",
		"out of bounds", true},
	{"cp.async beyond the end, size 0", "cp.async.ca.shared.global [%a+900], [%x+1600], 4, 0;",
		"cp.async.ca.shared.global [%a], [%x+1600], 4, 0;", "out of bounds", true},
	{"trap", "setp.eq.u32 %p, %t, 77; @%p trap;", "setp.eq.u32 %p, %t, 777; @%p trap;", "trap", true},

	{"global uninitialised", "ld.global.u32 %r0, [%y];", "st.global.u32 [%y], %t; ld.global.u32 %r0, [%y];", "uninitialised", false},
	{"global half initialised", "st.global.u16 [%y], 1; ld.global.u32 %r0, [%y];", "st.global.u16 [%y], 1; ld.global.u16 %w, [%y];",
		"byte 2", false},
	{"cp.async of uninitialised", "cp.async.ca.shared.global [%a], [%y], 4;", "cp.async.ca.shared.global [%a], [%x], 4;", "uninitialised",
		false},
	{"shared uninitialised", "ld.shared.u32 %r0, [%a+512];", "st.shared.u32 [%a+512], %t; ld.shared.u32 %r0, [%a+512];", "uninitialised",
		false},
	{"local uninitialised", "st.local.u32 [loc+4], %t; ld.local.u32 %r0, [loc];", "st.local.u32 [loc], %t; ld.local.u32 %r0, [loc];",
		"uninitialised", false},
	{"ldmatrix uninitialised", "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%s];",
		"setp.eq.u32 %p, %t, 0; @%p st.shared.v4.u32 [%s], {%t, %t, %t, %t}; bar.sync 0; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%s];",
		"uninitialised", false},

	{"write, then read by another warp",
		"st.shared.u32 [%a], %t; bar.sync 0; st.shared.u32 [%a], %t; xor.b32 %b, %a, 128; ld.shared.u32 %r0, [%b];",
		"st.shared.u32 [%a], %t; xor.b32 %b, %a, 128; bar.sync 0; ld.shared.u32 %r0, [%b];", "race", false},
	{"read, then write by another warp",
		"st.shared.u32 [%a], %t; xor.b32 %b, %a, 128; bar.sync 0; ld.shared.u32 %r0, [%b]; st.shared.u32 [%a], %r0;",
		"st.shared.u32 [%a], %t; xor.b32 %b, %a, 128; bar.sync 0; ld.shared.u32 %r0, [%b]; bar.sync 0; st.shared.u32 [%a], %r0;", "race", false},
	{"read by many, then write by one of them",
		"st.shared.u32 [%a], %t; bar.sync 0; ld.shared.u32 %r0, [%s]; setp.eq.u32 %p, %t, 127; @%p st.shared.u32 [%s], %t;",
		"st.shared.u32 [%a], %t; bar.sync 0; ld.shared.u32 %r0, [%s]; bar.sync 0; setp.eq.u32 %p, %t, 127; @%p st.shared.u32 [%s], %t;", "race",
		false},
	{"read by two warps, then write by the first of them", // the last to come to the barrier is the first to go on
		"st.shared.u32 [%a], %t; bar.sync 0; and.b32 %r1, %t, 31; setp.eq.u32 %q, %r1, 0; @%q ld.shared.u32 %r0, [%s]; setp.eq.u32 %p, %t, " +
			"96; @%p nanosleep.u32 20; @%p st.shared.u32 [%s], %t;",
		"st.shared.u32 [%a], %t; bar.sync 0; ld.shared.u32 %r0, [%s]; bar.sync 0; setp.eq.u32 %p, %t, 96; @%p nanosleep.u32 20; @%p " +
			"st.shared.u32 [%s], %t;", "read with no barrier", false},
	{"read by the lanes of a warp, then write by the last of them",
		"setp.lt.u32 %p, %t, 32; @!%p exit; st.shared.u32 [%a], %t; bar.warp.sync -1; ld.shared.u32 %r0, [%s]; setp.eq.u32 %p, %t, 31; @%p " +
			"st.shared.u32 [%s], %t;",
		"setp.lt.u32 %p, %t, 32; @!%p exit; st.shared.u32 [%a], %t; bar.warp.sync -1; ld.shared.u32 %r0, [%s]; bar.warp.sync -1; setp.eq.u32 " +
			"%p, %t, 31; @%p st.shared.u32 [%s], %t;", "read with no barrier", false},
	{"two writers",
		"st.shared.u32 [%s], %t;",
		"setp.eq.u32 %p, %t, 5; @%p st.shared.u32 [%s], %t;", "race", false},
	{"lanes of one warp",
		"setp.lt.u32 %p, %t, 32; @!%p exit; st.shared.u32 [%a], %t; xor.b32 %b, %a, 4; ld.shared.u32 %r0, [%b];",
		"setp.lt.u32 %p, %t, 32; @!%p exit; st.shared.u32 [%a], %t; xor.b32 %b, %a, 4; bar.warp.sync -1; ld.shared.u32 %r0, [%b];", "race",
		false},
	{"bar.warp.sync is not for other warps",
		"st.shared.u32 [%a], %t; bar.sync 0; st.shared.u32 [%a], %t; xor.b32 %b, %a, 128; bar.warp.sync -1; ld.shared.u32 %r0, [%b];",
		"st.shared.u32 [%a], %t; xor.b32 %b, %a, 128; bar.sync 0; ld.shared.u32 %r0, [%b];", "race", false},
	{"barrier of the wrong half", // two named barriers of 64 threads each; the other half's data needs all 128
		"st.shared.u32 [%a], %t; bar.sync 0; st.shared.u32 [%a], %t; shr.u32 %r1, %t, 6; add.u32 %r1, %r1, 1; bar.sync %r1, 64; xor.b32 %b, " +
			"%a, 256; ld.shared.u32 %r0, [%b];",
		"st.shared.u32 [%a], %t; shr.u32 %r1, %t, 6; add.u32 %r1, %r1, 1; bar.sync %r1, 64; xor.b32 %b, %a, 128; ld.shared.u32 %r0, [%b];",
		"race", false},
	{"plain beside atomic",
		"setp.eq.u32 %p, %t, 0; @%p st.shared.u32 [%s], 0; bar.sync 0; atom.shared.add.u32 %r0, [%s], 1; setp.eq.u32 %p, %t, 99; @%p " +
			"ld.shared.u32 %r0, [%s];",
		"setp.eq.u32 %p, %t, 0; @%p st.shared.u32 [%s], 0; bar.sync 0; atom.shared.add.u32 %r0, [%s], 1; bar.sync 0; setp.eq.u32 %p, %t, 99; " +
			"@%p ld.shared.u32 %r0, [%s];", "race", false},
	{"cp.async waited for but no barrier",
		"st.shared.u32 [%a], %t; bar.sync 0; cp.async.ca.shared.global [%a], [%x], 4; cp.async.wait_all; xor.b32 %b, %a, 128; ld.shared.u32 " +
			"%r0, [%b];",
		"cp.async.ca.shared.global [%a], [%x], 4; cp.async.wait_all; bar.sync 0; xor.b32 %b, %a, 128; ld.shared.u32 %r0, [%b];", "race", false},
	{"cp.async over what is being read",
		"st.shared.u32 [%a], %t; bar.sync 0; xor.b32 %b, %a, 128; ld.shared.u32 %r0, [%b]; cp.async.ca.shared.global [%a], [%x], 4; " +
			"cp.async.wait_all;",
		"st.shared.u32 [%a], %t; bar.sync 0; xor.b32 %b, %a, 128; ld.shared.u32 %r0, [%b]; bar.sync 0; cp.async.ca.shared.global [%a], [%x], " +
			"4; cp.async.wait_all;", "race", false},

	{"cp.async read without a wait",
		"cp.async.ca.shared.global [%a], [%x], 4; cp.async.commit_group; ld.shared.u32 %r0, [%a];",
		"cp.async.ca.shared.global [%a], [%x], 4; cp.async.commit_group; cp.async.wait_group 0; ld.shared.u32 %r0, [%a];", "cp.async", false},
	{"cp.async and a barrier but no wait",
		"cp.async.ca.shared.global [%a], [%x], 4; cp.async.commit_group; bar.sync 0; ld.shared.u32 %r0, [%a];",
		"cp.async.ca.shared.global [%a], [%x], 4; cp.async.commit_group; cp.async.wait_group 0; bar.sync 0; ld.shared.u32 %r0, [%a];",
		"cp.async", false},
	{"one group too few waited for",
		"cp.async.ca.shared.global [%a], [%x], 4; cp.async.commit_group; cp.async.ca.shared.global [%a+512], [%x+512], 4; " +
			"cp.async.commit_group; cp.async.wait_group 1; ld.shared.u32 %r0, [%a+512];",
		"cp.async.ca.shared.global [%a], [%x], 4; cp.async.commit_group; cp.async.ca.shared.global [%a+512], [%x+512], 4; " +
			"cp.async.commit_group; cp.async.wait_group 1; ld.shared.u32 %r0, [%a];", "cp.async", false},
	{"not committed",
		"cp.async.ca.shared.global [%a], [%x], 4; cp.async.wait_group 0; ld.shared.u32 %r0, [%a];",
		"cp.async.ca.shared.global [%a], [%x], 4; cp.async.wait_all; ld.shared.u32 %r0, [%a];", "cp.async", false},
	{"cp.async overwritten before the wait",
		"cp.async.ca.shared.global [%a], [%x], 4; st.shared.u32 [%a], %t;",
		"cp.async.ca.shared.global [%a], [%x], 4; cp.async.wait_all; st.shared.u32 [%a], %t;", "cp.async", false},

	{"barrier in one half of a warp",
		"and.b32 %r0, %t, 1; setp.eq.u32 %p, %r0, 0; @%p bra SKIP; bar.sync 0;\nSKIP:\n",
		"setp.lt.u32 %p, %t, 64; @%p bra SKIP; bar.sync 1, 64;\nSKIP:\n", "divergent", false},
	{"two barriers in two halves of a warp",
		"and.b32 %r0, %t, 1; setp.eq.u32 %p, %r0, 0; @%p bra ELSE; bar.sync 0; bra END;\nELSE:\n bar.sync 0;\nEND:\n",
		"and.b32 %r0, %t, 1; setp.eq.u32 %p, %r0, 0; @%p bra ELSE; mov.u32 %r1, 1; bra END;\nELSE:\n mov.u32 %r1, 2;\nEND:\n bar.sync 0;",
		"divergent", true},
	{"two barriers in two halves of a block",
		"setp.lt.u32 %p, %t, 64; @%p bra ELSE; bar.sync 0; bra END;\nELSE:\n bar.sync 0;\nEND:\n",
		"setp.lt.u32 %p, %t, 64; @%p bra ELSE; bar.sync 1, 64; bra END;\nELSE:\n bar.sync 2, 64;\nEND:\n", "divergent", false},
	{"barrier that some warps never reach",
		"setp.lt.u32 %p, %t, 64; @%p bar.sync 1; @!%p bar.sync 2;",
		"bar.sync 1; bar.sync 2;", "deadlock", true},
	{"count that nobody completes",
		"setp.lt.u32 %p, %t, 64; @%p bar.sync 1, 96;",
		"setp.lt.u32 %p, %t, 96; @%p bar.sync 1, 96;", "deadlock", true},
	{"mbarrier that nobody completes",
		"setp.eq.u32 %p, %t, 0; @%p mbarrier.init.shared.b64 [%s], 129; bar.sync 0; mbarrier.arrive.shared.b64 %z, [%s];\nWAIT:\n " +
			"mbarrier.test_wait.shared.b64 %q, [%s], %z; @!%q bra WAIT;",
		"setp.eq.u32 %p, %t, 0; @%p mbarrier.init.shared.b64 [%s], 128; bar.sync 0; mbarrier.arrive.shared.b64 %z, [%s];\nWAIT:\n " +
			"mbarrier.test_wait.shared.b64 %q, [%s], %z; @!%q bra WAIT;", "deadlock", true},
	{"data behind an mbarrier",
		"setp.eq.u32 %p, %t, 0; @%p mbarrier.init.shared.b64 [%s], 128; bar.sync 0; mbarrier.arrive.shared.b64 %z, [%s]; st.shared.u32 " +
			"[%a+512], %t;\nWAIT:\n mbarrier.test_wait.shared.b64 %q, [%s], %z; @!%q bra WAIT; xor.b32 %b, %a, 128; ld.shared.u32 %r0, [%b+512];",
		"setp.eq.u32 %p, %t, 0; @%p mbarrier.init.shared.b64 [%s], 128; bar.sync 0; st.shared.u32 [%a+512], %t; mbarrier.arrive.shared.b64 " +
			"%z, [%s];\nWAIT:\n mbarrier.test_wait.shared.b64 %q, [%s], %z; @!%q bra WAIT; xor.b32 %b, %a, 128; ld.shared.u32 %r0, " +
			"[%b+512];", "race", false},
	{"shfl with absent lanes",
		"and.b32 %r0, %t, 1; setp.eq.u32 %p, %r0, 0; @%p shfl.sync.bfly.b32 %r1, %t, 2, 31, -1; bar.sync 0;",
		"and.b32 %r0, %t, 1; setp.eq.u32 %p, %r0, 0; @%p shfl.sync.bfly.b32 %r1, %t, 2, 31, 0x55555555; bar.sync 0;", "divergent", true},
	{"shfl by a lane not named",
		"shfl.sync.bfly.b32 %r1, %t, 2, 31, 0xffff;",
		"shfl.sync.bfly.b32 %r1, %t, 2, 31, 0xffffffff;", "does not name", true},
}

func runPlanted(t *testing.T, body string, check bool) error {
	t.Helper()
	body = strings.ReplaceAll(body, "; ", ";\n\t")
	m := New(Options{Check: check, Workers: 1})
	mod, err := m.Load([]byte(plantedHead + "\t" + body + "\n\tret;\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	f := kernel(t, mod, "k")
	buf := upload(t, m, make([]uint32, 512))
	blank, err := m.Alloc(512)
	must(t, err)
	blocks := uint32(2)
	if strings.Contains(body, "st.global") { // both would write the same
		blocks = 1
	}
	return m.Launch(f, Launch{Grid: [3]uint32{blocks}, Block: [3]uint32{128}, Params: args(t, f, buf, blank)})
}

func TestPlantedFaults(t *testing.T) {
	for _, p := range planted {
		t.Run(p.name, func(t *testing.T) {
			for _, check := range []bool{true, false} {
				if err := runPlanted(t, p.good, check); err != nil {
					t.Errorf("check %v: the right twin: %v", check, err)
				}
				err := runPlanted(t, p.bad, check)
				if !check && !p.always {
					continue
				}
				var fault *Fault
				switch {
				case err == nil:
					t.Errorf("check %v: not found", check)
				case !errors.As(err, &fault):
					t.Errorf("not a fault: %v", err)
				case !strings.Contains(fault.What, p.says):
					t.Errorf("says %q, want %q", fault.What, p.says)
				case fault.Line == 0 || fault.Instruction == "" || fault.Kernel != "k":
					t.Errorf("without its place: %+v", fault)
				}
			}
		})
	}
}

// TestFaultPlace: block, thread, line and address of a fault are right.
func TestFaultPlace(t *testing.T) {
	text := header + `.visible .entry k(.param .u64 buf)
{
	.reg .b32 %r<8>;
	.reg .b64 %g;
	ld.param.u64 %g, [buf];
	mov.u32 %r0, %ctaid.x;
	mov.u32 %r1, %tid.x;
	mov.u32 %r2, %tid.y;
	mad.lo.u32 %r1, %r2, 8, %r1;
	mad.lo.u32 %r1, %r0, 32, %r1;
	mad.wide.u32 %g, %r1, 4, %g;
	st.global.u32 [%g], %r1;
	ret;
}
`
	m := New(Options{Workers: 1})
	mod, err := m.Load([]byte(text))
	must(t, err)
	f := kernel(t, mod, "k")
	buf, err := m.Alloc(4 * (64 + 13)) // word 77 is the first outside
	must(t, err)
	err = m.Launch(f, Launch{Grid: [3]uint32{4}, Block: [3]uint32{8, 4}, Params: args(t, f, buf)})
	var fault *Fault
	if !errors.As(err, &fault) {
		t.Fatalf("%v", err)
	}
	want := Fault{Kernel: "k", Block: [3]uint32{2, 0, 0}, Thread: [3]uint32{5, 1, 0}, Line: 15, Instruction: "st.global.u32 [%g+0], %r1",
		What: fault.What, Addr: buf + 4*77}
	if *fault != want {
		t.Errorf("%+v, want %+v", *fault, want)
	}
}

func TestUseAfterFree(t *testing.T) {
	m := New(Options{})
	f := kernel(t, loadFile(t, m, "vecadd.ptx"), "axpy")
	x := upload(t, m, make([]float32, 128))
	y := upload(t, m, make([]float32, 128))
	l := Launch{Block: [3]uint32{128}, Params: args(t, f, x, x, y, float32(1), 128)}
	must(t, m.Launch(f, l))
	must(t, m.Free(y))
	if err := m.Launch(f, l); err == nil || !strings.Contains(err.Error(), "(freed)") {
		t.Errorf("use after free: %v", err)
	}
	if err := m.Free(y); err == nil {
		t.Error("freed twice")
	}
	if err := m.Read(make([]byte, 4), y); err == nil {
		t.Error("read after free")
	}
	if l := m.Allocations(); len(l) != 1 || l[0].Addr != x || l[0].Size != 512 {
		t.Errorf("leaks: %v", l)
	}
}
