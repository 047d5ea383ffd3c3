package ptx

import (
	"errors"
	"strings"
	"testing"
)

// dependHead has the word of a thread in three buffers: %a, which the launch
// before wrote, %b, which it read, and %c, which nobody else uses.
const dependHead = header + `.visible .entry NAME(.param .u64 pa, .param .u64 pb, .param .u64 pc)
{
	.reg .b32 %t, %n, %k, %s, %r<4>;
	.reg .b16 %h;
	.reg .b64 %a, %b, %c;
	.reg .pred %p, %q;
	.shared .align 16 .b8 sm[256];
	ld.param.u64 %a, [pa];
	ld.param.u64 %b, [pb];
	ld.param.u64 %c, [pc];
	mov.u32 %t, %tid.x;
	mov.u32 %k, %ctaid.x;
	mov.u32 %n, %ntid.x;
	mad.lo.u32 %k, %k, %n, %t;
	mad.wide.u32 %a, %k, 4, %a;
	mad.wide.u32 %b, %k, 4, %b;
	mad.wide.u32 %c, %k, 4, %c;
	mov.u32 %s, sm;
	mad.lo.u32 %s, %t, 4, %s;
	setp.eq.u32 %p, %t, 0;
	setp.lt.u32 %q, %t, 32;
	BODY
	ret;
}
`

const before = "ld.global.u32 %r0, [%b]; add.u32 %r0, %r0, 1; griddepcontrol.launch_dependents; st.global.u32 [%a], %r0;"

// depends runs launches one after the other, the first by itself and those
// behind it as dependent ones.
func depends(t *testing.T, o Options, blocks uint32, bodies ...string) ([]uint32, error) {
	t.Helper()
	m := New(o)
	a, b, c := upload(t, m, make([]uint32, 256)), upload(t, m, make([]uint32, 256)), upload(t, m, make([]uint32, 256))
	var series Series
	for i, body := range bodies {
		name := []string{"first", "second", "third"}[i]
		text := strings.NewReplacer("NAME", name, "BODY", strings.ReplaceAll(body, "; ", ";\n\t")).Replace(dependHead)
		mod, err := m.Load([]byte(text))
		must(t, err)
		f := kernel(t, mod, name)
		l := Launch{Grid: [3]uint32{blocks}, Block: [3]uint32{64}, Params: args(t, f, a, b, c), Series: &series, Dependent: i > 0}
		if err := m.Launch(f, l); err != nil {
			return nil, err
		}
	}
	out := make([]uint32, 64*blocks)
	download(t, m, c, out)
	return out, nil
}

// TestDependentLaunch: what a dependent launch does before griddepcontrol.wait to
// the memory of the launch before is a race; each fault has a twin without it.
func TestDependentLaunch(t *testing.T) {
	const read, wait = "ld.global.u32 %r0, [%a]; st.global.u32 [%c], %r0;", "griddepcontrol.wait; "
	for _, c := range []struct{ name, bad, good, says string }{
		{"read", read + " griddepcontrol.wait;", wait + read, "was written by first"},
		{"no wait at all", read, wait + read, "was written by first"},
		{"write over what was read", "st.global.u32 [%b], %t; griddepcontrol.wait;", wait + "st.global.u32 [%b], %t;", "was read by first"},
		{"write over what was written", "st.global.u32 [%a], %t; griddepcontrol.wait;", wait + "st.global.u32 [%a], %t;", "was written by first"},
		{"an atomic", "atom.global.add.u32 %r0, [%a], 1;", wait + "atom.global.add.u32 %r0, [%a], 1;", "was written by first"},
		{"a volatile read", "ld.volatile.global.u32 %r0, [%a];", "ld.volatile.global.u32 %r0, [%b];", "was written by first"},
		{"half a word", "ld.global.u16 %h, [%a+2];", "ld.global.u16 %h, [%b+2]; " + wait + "ld.global.u16 %h, [%a+2];", "was written by first"},
		{"cp.async", "cp.async.ca.shared.global [%s], [%a], 4;", wait + "cp.async.ca.shared.global [%s], [%a], 4;", "was written by first"},
		{"a generic read", "ld.u32 %r0, [%a];", wait + "ld.u32 %r0, [%a];", "was written by first"},
		{"another thread's wait", "@%p griddepcontrol.wait; " + read, "@%p griddepcontrol.wait; bar.sync 0; " + read, "was written by first"},
		{"another lane's wait", "@%p griddepcontrol.wait; @%q ld.global.u32 %r0, [%a];",
			"@%p griddepcontrol.wait; bar.warp.sync -1; @%q ld.global.u32 %r0, [%a];", "was written by first"},
		{"another warp's wait", "@%q griddepcontrol.wait; bar.warp.sync -1; ld.global.u32 %r0, [%a];",
			"@%q griddepcontrol.wait; bar.sync 0; ld.global.u32 %r0, [%a];", "was written by first"},
		{"a barrier before the wait", "bar.sync 0; @%p griddepcontrol.wait; " + read,
			"@%p griddepcontrol.wait; bar.sync 0; " + read, "was written by first"},
		{"what nobody else uses", read, "ld.global.u32 %r0, [%b]; st.global.u32 [%c], %r0; griddepcontrol.wait;", "was written by first"},
	} {
		for _, blocks := range []uint32{1, 3} {
			for _, workers := range []int{1, 3} {
				if _, err := depends(t, Options{Check: true, Workers: workers}, blocks, before, c.good); err != nil {
					t.Errorf("%s, %d blocks, %d workers, right: %v", c.name, blocks, workers, err)
				}
				_, err := depends(t, Options{Check: true, Workers: workers}, blocks, before, c.bad)
				var fault *Fault
				if !errors.As(err, &fault) || fault.Line == 0 || !strings.Contains(fault.What, "race: byte") || !strings.Contains(fault.What, c.says) {
					t.Errorf("%s, %d blocks, %d workers: %v", c.name, blocks, workers, err)
				}
			}
		}
		if _, err := depends(t, Options{}, 3, before, c.bad); err != nil {
			t.Errorf("%s, not checked: %v", c.name, err)
		}
	}
	// A block does not wait for the next one that its worker runs.
	const once = "mov.u32 %r1, %ctaid.x; setp.eq.u32 %p, %r1, 0; @%p griddepcontrol.wait; "
	_, err := depends(t, Options{Check: true, Workers: 1}, 3, before, once+read)
	var fault *Fault
	if !errors.As(err, &fault) || fault.Block[0] != 1 || !strings.Contains(fault.What, "was written by first") {
		t.Errorf("where only the first block waits: %v", err)
	}
	out, err := depends(t, Options{}, 3, before, wait+read)
	if err != nil || out[0] != 1 || out[191] != 1 {
		t.Errorf("the second launch read %v: %v", out, err)
	}
}

// TestDependentChain: a dependent launch that never waits may end before the
// one that it overlaps, so that waiting for it is not enough.
func TestDependentChain(t *testing.T) {
	const last = "griddepcontrol.wait; ld.global.u32 %r0, [%a];"
	check := Options{Check: true}
	if _, err := depends(t, check, 2, before, "griddepcontrol.launch_dependents; griddepcontrol.wait;", last); err != nil {
		t.Errorf("where all wait: %v", err)
	}
	// One thread's wait keeps the launch from ending.
	if _, err := depends(t, check, 2, before, "@%p griddepcontrol.wait;", last); err != nil {
		t.Errorf("where one thread waits: %v", err)
	}
	_, err := depends(t, check, 2, before, "griddepcontrol.launch_dependents;", last)
	if err == nil || !strings.Contains(err.Error(), "was written by first") {
		t.Errorf("where the second does not wait: %v", err)
	}
	if _, err := depends(t, check, 2, before, "st.global.u32 [%c], %t;", "griddepcontrol.wait; ld.global.u32 %r0, [%c];"); err != nil {
		t.Errorf("what the second wrote is there: %v", err)
	}
}

// TestSeries: an ordinary launch starts when those before it have ended, and so
// does a dependent one behind something else that waits for them.
func TestSeries(t *testing.T) {
	m := New(Options{Check: true})
	text := strings.NewReplacer("NAME", "k", "BODY", strings.ReplaceAll(before, "; ", ";\n\t")).Replace(dependHead)
	mod, err := m.Load([]byte(text))
	must(t, err)
	f := kernel(t, mod, "k")
	a, b := upload(t, m, make([]uint32, 64)), upload(t, m, make([]uint32, 64))
	var s Series
	launch := func(s *Series, dependent bool) error {
		return m.Launch(f, Launch{Block: [3]uint32{64}, Params: args(t, f, a, b, b), Series: s, Dependent: dependent})
	}
	must(t, launch(&s, false))
	must(t, launch(&s, false))
	must(t, launch(nil, true)) // in no stream, nothing is before it
	s.Wait()
	must(t, launch(&s, true))
	if err := launch(&s, true); err == nil || !strings.Contains(err.Error(), "was written by k") {
		t.Errorf("without a wait: %v", err)
	}
	must(t, launch(&s, false))
	for _, bad := range []string{"griddepcontrol;", "griddepcontrol.wait 0;", "griddepcontrol.launch_dependents 1;"} {
		text := strings.NewReplacer("NAME", "k", "BODY", bad).Replace(dependHead)
		if _, err := m.Load([]byte(text)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// TestLargeParams: structures by value, read in place, by vectors and through a
// generic address; they end where they end and are not written.
func TestLargeParams(t *testing.T) {
	const text = header + `.visible .entry k(.param .u32 n, .param .align 64 .b8 map[128], .param .align 8 .b8 pair[12], .param .u64 out)
{
	.reg .b32 %n, %r<12>;
	.reg .b64 %m, %g, %x, %o;
	.reg .pred %p;
	ld.param.u32 %n, [n];
	ld.param.u64 %o, [out];
	mov.b64 %m, map;
	cvta.param.u64 %g, %m;
	isspacep.param %p, %g;
	selp.u32 %r8, 1, 0, %p;
	st.global.u32 [%o+28], %r8;
	ld.param.v4.u32 {%r0, %r1, %r2, %r3}, [map+16];
	st.global.v4.u32 [%o], {%r0, %r1, %r2, %r3};
	ld.param.u32 %r4, [pair+8];
	st.global.u32 [%o+16], %r4;
	mul.wide.u32 %x, %n, 4;
	add.u64 %g, %g, %x;
	add.u64 %m, %m, %x;
	ld.param.u32 %r6, [%m];
	st.global.u32 [%o+24], %r6;
	ACCESS
	st.global.u32 [%o+20], %r5;
	ret;
}
`
	run := func(access string, n uint32) ([]uint32, error) {
		m := New(Options{Check: true})
		mod, err := m.Load([]byte(strings.Replace(text, "ACCESS", access, 1)))
		must(t, err)
		f := kernel(t, mod, "k")
		out := upload(t, m, make([]uint32, 8))
		p := f.Params()
		if len(p) != 4 || p[1] != (Param{64, 128, 64}) || p[2] != (Param{192, 12, 8}) || p[3].Offset != 208 || f.ParamBytes() != 216 {
			t.Fatalf("parameters %v, %d bytes", p, f.ParamBytes())
		}
		b := make([]byte, f.ParamBytes())
		putUint(b, 4, uint64(n))
		for i := range uint64(32) {
			putUint(b[64+4*i:], 4, 100+i)
		}
		putUint(b[200:], 4, 77)
		putUint(b[208:], 8, out)
		if err := m.Launch(f, Launch{Params: b}); err != nil {
			return nil, err
		}
		have := make([]uint32, 8)
		download(t, m, out, have)
		return have, nil
	}
	have, err := run("ld.u32 %r5, [%g];", 31)
	want := [8]uint32{104, 105, 106, 107, 77, 131, 131, 1}
	if err != nil || [8]uint32(have) != want {
		t.Errorf("have %v, want %v: %v", have, want, err)
	}
	for access, says := range map[string]string{
		"ld.u32 %r5, [%g+100];":                        "out of bounds",
		"mov.u32 %r5, 0; st.u32 [%g], %r5;":            "write to a kernel's parameters",
		"mov.u32 %r5, 0; atom.add.u32 %r5, [%g], %r5;": "write to a kernel's parameters",
	} {
		var fault *Fault
		if _, err := run(access, 31); !errors.As(err, &fault) || !strings.Contains(fault.What, says) {
			t.Errorf("%s: %v", access, err)
		}
	}
}

// TestClock: the clock goes on by what the machine does, and the same for the
// same work.
func TestClock(t *testing.T) {
	var took [2]uint64
	for i := range took {
		m := New(Options{})
		f := kernel(t, loadFile(t, m, "vecadd.ptx"), "axpy")
		x := upload(t, m, make([]float32, 256))
		start := m.Clock()
		if start != 8 {
			t.Errorf("after 1024 bytes: %d", start)
		}
		must(t, m.Launch(f, Launch{Grid: [3]uint32{2}, Block: [3]uint32{128}, Params: args(t, f, x, x, x, float32(1), 256)}))
		took[i] = m.Clock() - start
	}
	if took[0] < 8*5 || took[0] != took[1] {
		t.Errorf("two runs of 8 warps took %v", took)
	}
}
