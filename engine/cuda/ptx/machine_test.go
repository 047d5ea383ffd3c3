package ptx

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMemory(t *testing.T) {
	m := New(Options{Memory: 1 << 20})
	a, err := m.Alloc(1000)
	must(t, err)
	b, err := m.Alloc(1 << 19)
	must(t, err)
	if a%256 != 0 || b%256 != 0 || b < a+1000+256 || a>>32 == 0 {
		t.Errorf("addresses %#x %#x", a, b)
	}
	if free, total := m.Info(); total != 1<<20 || free != 1<<20-1000-1<<19 {
		t.Errorf("%d of %d free", free, total)
	}
	if _, err := m.Alloc(1 << 19); !errors.Is(err, ErrOutOfMemory) {
		t.Errorf("too much: %v", err)
	}
	if _, err := m.Alloc(0); err == nil {
		t.Error("no bytes")
	}
	must(t, m.Fill32(a, 0xdeadbeef, 250))
	must(t, m.Fill16(a+2, 0x1234, 3))
	must(t, m.Fill8(a+9, 7, 2))
	must(t, m.Copy(b+100, a, 16))
	got := make([]byte, 16)
	must(t, m.Read(got, b+100))
	want := []byte{0xef, 0xbe, 0x34, 0x12, 0x34, 0x12, 0x34, 0x12, 0xef, 7, 7, 0xde, 0xef, 0xbe, 0xad, 0xde}
	if !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	must(t, m.Copy(b+102, b+100, 14)) // overlapping
	must(t, m.Read(got, b+100))
	if !bytes.Equal(got[2:], want[:14]) {
		t.Errorf("overlapping copy: %x", got)
	}
	for name, err := range map[string]error{
		"write beyond":     m.Write(a+999, []byte{1, 2}),
		"write before":     m.Write(a-1, []byte{1}),
		"read of nothing":  m.Read(got, 12345),
		"copy beyond":      m.Copy(a, b, 1001),
		"fill beyond":      m.Fill32(a, 0, 251),
		"fill misaligned":  m.Fill32(a+2, 0, 1),
		"fill far beyond":  m.Fill32(a, 0, 1<<62),
		"free inside":      m.Free(a + 256),
		"free of nothing":  m.Free(0),
		"copy from beyond": m.Copy(b, a+990, 11),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	must(t, m.Free(a))
	must(t, m.Free(b))
	if free, _ := m.Info(); free != 1<<20 || len(m.Allocations()) != 0 {
		t.Errorf("%d free after all is", free)
	}
	c, err := m.Alloc(8)
	must(t, err)
	if c == a || c == b {
		t.Error("an address was given out twice")
	}
	check := New(Options{Check: true})
	p, err := check.Alloc(8)
	must(t, err)
	must(t, check.Write(p, make([]byte, 4)))
	if err := check.Read(make([]byte, 8), p); err == nil || !strings.Contains(err.Error(), "never written") {
		t.Errorf("read of what nobody wrote: %v", err)
	}
}

func TestModule(t *testing.T) {
	text := header + `.global .align 4 .u32 count = 8;
.const .align 8 .b8 table[12] = {1, 2, 3, 0xff};
.global .align 8 .u64 where[2] = {count, generic(table)+4};
.extern .shared .align 16 .b8 dyn[];
.visible .entry k(.param .u8 a, .param .align 8 .b8 s[24], .param .u64 out, .param .f32 f)
.maxntid 16, 8, 1
{
	.reg .b32 %r<8>;
	.reg .b64 %rd<8>;
	.shared .align 4 .b8 own[20];
	.local .align 8 .b8 loc[12];
	ld.param.u64 %rd0, [out];
	ld.param.u8 %r0, [a];
	ld.param.u32 %r1, [s+20];
	ld.const.u32 %r2, [table];
	ld.global.u64 %rd1, [where+8];
	ld.u32 %r3, [%rd1];
	ld.global.u64 %rd2, [where];
	ld.global.u32 %r4, [%rd2];
	mov.u32 %r5, dyn;
	st.shared.u32 [%r5+60], %r4;
	ld.shared.u32 %r6, [dyn+60];
	st.global.v4.u32 [%rd0], {%r0, %r1, %r2, %r3};
	st.global.v2.u32 [%rd0+16], {%r4, %r5};
	st.global.u32 [%rd0+24], %r6;
	st.shared.u32 [own+16], %r0;
	st.local.u32 [loc+8], %r0;
	ret;
}
`
	m := New(Options{Check: true})
	mod, err := m.Load([]byte(text))
	must(t, err)
	if _, ok := mod.Function("none"); ok {
		t.Error("a function that is not there")
	}
	f := kernel(t, mod, "k")
	want := []Param{{0, 1, 1}, {8, 24, 8}, {32, 8, 8}, {40, 4, 4}}
	if got := f.Params(); len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
		t.Errorf("parameters %v, want %v", got, want)
	}
	if f.ParamBytes() != 44 || f.StaticShared() != 20 || f.Local() != 12 || f.MaxThreads() != 128 {
		t.Errorf("%d %d %d %d", f.ParamBytes(), f.StaticShared(), f.Local(), f.MaxThreads())
	}
	addr, size, ok := mod.Global("count")
	if !ok || size != 4 {
		t.Errorf("count: %#x %d %v", addr, size, ok)
	}
	must(t, m.Fill32(addr, 99, 1))
	out, err := m.Alloc(28)
	must(t, err)
	params := make([]byte, 44)
	params[0], params[28] = 200, 77
	putUint(params[32:], 8, out)
	must(t, m.Launch(f, Launch{Shared: 64, Params: params}))
	var got [7]uint32
	download(t, m, out, got[:])
	if got != [7]uint32{200, 77, 0xff030201, 0, 99, 32, 99} {
		t.Errorf("%x", got)
	}
	for name, l := range map[string]Launch{
		"too many threads": {Block: [3]uint32{129}, Params: params},
		"too much shared":  {Shared: 49152, Params: params},
		"parameters":       {Params: params[:40]},
		"grid":             {Grid: [3]uint32{1, 70000}, Params: params},
	} {
		var fault *Fault
		if err := m.Launch(f, l); err == nil || errors.As(err, &fault) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, f.SetMaxDynamicShared(100<<10))
	must(t, m.Launch(f, Launch{Shared: 100 << 10, Params: params}))
	if err := f.SetMaxDynamicShared(200 << 10); err == nil {
		t.Error("more shared memory than there is")
	}
	must(t, mod.Unload())
	if err := m.Write(addr, []byte{1}); err == nil {
		t.Error("a variable of an unloaded module")
	}
	if free, total := m.Info(); total-free != 28 {
		t.Errorf("%d bytes left over", total-free)
	}
}

// TestLoadErrors: what is not understood is named, with its line.
func TestLoadErrors(t *testing.T) {
	body := func(s string) string {
		return header + ".visible .entry k(.param .u64 p)\n{\n\t.reg .b32 %r<4>;\n\t.reg .b64 %rd<4>;\n\t.reg .b16 %h<4>;\n\t.reg .pred " +
			"%p<4>;\n" + s + "\n\tret;\n}\n"
	}
	for _, c := range []struct {
		text string
		line int
		says string
	}{
		{body("frobnicate.u32 %r1, %r2;"), 10, "frobnicate"},
		{body("add.rn.u32 %r1, %r2, %r3;"), 10, ".rn"},
		{body("add.wrong.f32 %r1, %r2, %r3;"), 10, ".wrong"},
		{body("add.u32 %r1, %r2;"), 10, "operands"},
		{body("add.u32 %r1, %r2, %rd3;"), 10, "64 bits"},
		{body("add.u32 %r1, %r2, %r4;"), 10, "%r4"},
		{body("add.u32 %r1, %r2, %nothing;"), 10, "%nothing"},
		{body("add.u32 5, %r2, %r3;"), 10, "destination"},
		{body("\n\nbra NOWHERE;"), 12, "NOWHERE"},
		{body("ld.global.u32 %r1, [%r2];"), 10, "32 bits"},
		{body("ld.global.v3.u32 %r1, [%rd2];"), 10, "v3"},
		{body("ld.global.v4.u64 {%rd0, %rd1, %rd2, %rd3}, [%rd2];"), 10, "32 bytes"},
		{body("mma.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32 {%r0, %r0, %r0, %r0}, {%r0, %r0}, {%r0}, {%r0, %r0, %r0, %r0};"), 10,
			"not supported"},
		{body("mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32 {%r0, %r0, %r0, %r0}, {%r0, %r0, %r0, %r0}, {%r0, %r0}, {%r0, %r0, %r0, " +
			"%r0};"), 10, "col"},
		{body("shfl.bfly.b32 %r0, %r1, 1, 31;"), 10, ".sync"},
		{body("call (%r1), f, (%r2);"), 10, "no function"},
		{body("cvt.f32.e4m3 %r1, %r2;"), 10, "e4m3"},
		{body("tex.2d.v4.f32.f32 {%r0, %r0, %r0, %r0}, [%rd0, {%r0, %r0}];"), 10, "tex"},
		{body("wgmma.fence.sync.aligned;"), 10, "sm_90a"},
		{body("mov.u32 %r1, %envreg3;"), 10, "%envreg3"},
		{body("add.u32 %r1, %r2, %r3"), 11, "ret"},
		{body("@%r1 bra X;"), 10, "predicate"},
		{body("cp.async.cg.shared.global [%r0], [%rd0], 8;"), 10, "8 bytes"},
		{body("atom.global.mul.u32 %r0, [%rd0], 1;"), 10, "operation"},
		{header + ".visible .entry k()\n{\n\tret;\n", 7, "end"},
		{header + ".texref t;\n", 4, ".texref"},
		{header + ".global .u32 x[99999999999];\n", 4, "too large"},
		{".target sm_80\n.address_size 64\n", 1, "version"},
		{".version 8.4\n.target sm_100\n", 2, "sm_100"},
		{".version 8.4\n.target sm_80\n.address_size 32\n", 3, "32"},
		{header + "\"\n", 4, "string"},
		{header + "`", 4, "character"},
		{header + "/* \n", 4, "comment"},
	} {
		m := New(Options{})
		_, err := m.Load([]byte(c.text))
		var pe *ParseError
		switch {
		case err == nil:
			t.Errorf("no error for %q", c.text)
		case !errors.As(err, &pe):
			t.Errorf("%v is no ParseError", err)
		case pe.Line != c.line || !strings.Contains(err.Error(), c.says):
			t.Errorf("%q, want line %d and %q", err, c.line, c.says)
		}
		if free, total := m.Info(); free != total {
			t.Errorf("%d bytes left after an error", total-free)
		}
	}
}

// FuzzLoad: no text makes Load panic, and every error has a line. (With
// -fuzzminimizetime 10x; the default spends a minute on each new text.)
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.ptx")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if len(text) < 10000 {
			f.Add(string(text))
		}
	}
	f.Add(plantedHead + "\tmad.wide.u32 %x, %t, 4, 0f3F800000;\n\t@!%p ld.global.v4.u32 {%r0, _, %r1, %r2}, [%x+-4];\n}\n")
	f.Add(header + ".func (.param .b32 r) g(.param .b32 x)\n{ { ret; } }\n.entry k() { .param .b32 a; call (a), g, (a); }")
	f.Add(header + ".const .b8 t[4] = {1, -2, 0x3, 04}; .global .u64 p = generic(t)+8;")
	for _, p := range planted {
		f.Add(plantedHead + p.bad + "\n}\n")
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			return
		}
		_, err := New(Options{Memory: 1 << 20}).Load([]byte(text))
		var pe *ParseError
		if err != nil && errors.As(err, &pe) && (pe.Line < 1 || pe.Line > 1+strings.Count(text, "\n")) {
			t.Errorf("line %d of %d: %v", pe.Line, 1+strings.Count(text, "\n"), err)
		}
	})
}
