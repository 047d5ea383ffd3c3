package ptx

import (
	"fmt"
	"testing"
)

// TestBankConflicts: wavefronts by patterns whose number is known.
func TestBankConflicts(t *testing.T) {
	for _, c := range []struct {
		name   string
		offset string // in bytes, of %t into %u
		op     string
		want   Banks // of one warp
	}{
		{"one word a lane", "shl.b32 %u, %t, 2;", "st.shared.b32 [%s], %t;", Banks{1, 128, 1, 1}},
		{"one word for all", "mov.u32 %u, 0;", "st.shared.b32 [%s], %t;", Banks{1, 128, 1, 1}},
		{"stride of 2 words", "shl.b32 %u, %t, 3;", "st.shared.b32 [%s], %t;", Banks{1, 128, 2, 1}},
		{"stride of 32 words", "shl.b32 %u, %t, 7;", "st.shared.b32 [%s], %t;", Banks{1, 128, 32, 1}},
		{"stride of 33 words", "mul.lo.u32 %u, %t, 132;", "st.shared.b32 [%s], %t;", Banks{1, 128, 1, 1}},
		{"two halves a word", "shl.b32 %u, %t, 1;", "st.shared.b16 [%s], 1;", Banks{1, 64, 1, 1}},
		{"8 bytes a lane", "shl.b32 %u, %t, 3;", "st.shared.v2.b32 [%s], {%t, %t};", Banks{1, 256, 2, 2}},
		{"16 bytes a lane", "shl.b32 %u, %t, 4;", "st.shared.v4.b32 [%s], {%t, %t, %t, %t};", Banks{1, 512, 4, 4}},
		{"16 bytes, stride of 32", "shl.b32 %u, %t, 5;", "st.shared.v4.b32 [%s], {%t, %t, %t, %t};", Banks{1, 512, 8, 4}},
		{"16 bytes, stride of 128", "shl.b32 %u, %t, 7;", "st.shared.v4.b32 [%s], {%t, %t, %t, %t};", Banks{1, 512, 32, 4}},
		{"four lanes only", "shl.b32 %u, %t, 7; setp.lt.u32 %p, %t, 4;", "@%p st.shared.b32 [%s], %t;", Banks{1, 16, 4, 1}},
	} {
		m := New(Options{Count: true})
		mod, err := m.Load([]byte(warpText(0, 0, 8192, "\t"+c.offset+"\n\tadd.u32 %s, %s, %u;\n\t"+c.op)))
		must(t, err)
		p := upload(t, m, make([]uint32, 32))
		f := kernel(t, mod, "k")
		must(t, m.Launch(f, Launch{Block: [3]uint32{32}, Params: args(t, f, p, p)}))
		if got := m.Counts()[0].SharedStore; got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	// ldmatrix: rows of 16 bytes side by side need a wavefront a matrix; rows that
	// are 128 bytes apart eight.
	for stride, want := range map[int]Banks{16: {1, 512, 4, 4}, 128: {1, 512, 32, 4}, 144: {1, 512, 4, 4}} {
		m := New(Options{Count: true})
		mod, err := m.Load([]byte(warpText(0, 4, 8192, fmt.Sprintf(
			"\tmad.lo.u32 %%s, %%t, %d, %%s;\n\tldmatrix.sync.aligned.m8n8.x4.shared.b16 {%%d0, %%d1, %%d2, %%d3}, [%%s];", stride))))
		must(t, err)
		p := upload(t, m, make([]uint32, 128))
		f := kernel(t, mod, "k")
		must(t, m.Launch(f, Launch{Block: [3]uint32{32}, Params: args(t, f, p, p)}))
		if got := m.Counts()[0].SharedLoad; got != want {
			t.Errorf("ldmatrix, stride %d: %+v, want %+v", stride, got, want)
		}
	}
}

// TestSectors: sectors of 32 bytes by patterns whose number is known.
func TestSectors(t *testing.T) {
	for _, c := range []struct {
		name, offset, op string
		want             Traffic
	}{
		{"words side by side", "shl.b32 %u, %t, 2;", "st.global.b32 [%in], %t;", Traffic{1, 128, 4, 4}},
		{"one word for all", "mov.u32 %u, 0;", "st.global.b32 [%in], %t;", Traffic{1, 128, 1, 4}},
		{"words from the middle of a sector", "mad.lo.u32 %u, %t, 4, 16;", "st.global.b32 [%in], %t;", Traffic{1, 128, 5, 4}},
		{"words a row of 64 bytes apart", "shl.b32 %u, %t, 6;", "st.global.b32 [%in], %t;", Traffic{1, 128, 32, 4}},
		{"halves side by side", "shl.b32 %u, %t, 1;", "st.global.b16 [%in], 1;", Traffic{1, 64, 2, 2}},
		{"16 bytes side by side", "shl.b32 %u, %t, 4;", "st.global.v4.b32 [%in], {%t, %t, %t, %t};", Traffic{1, 512, 16, 16}},
		{"eight lanes", "shl.b32 %u, %t, 2; setp.lt.u32 %p, %t, 8;", "@%p st.global.b32 [%in], %t;", Traffic{1, 32, 1, 1}},
	} {
		m := New(Options{Count: true})
		text := warpText(0, 0, 0, "\tld.param.u64 %in, [in];\n\t"+c.offset+"\n\t{ .reg .b64 %o; cvt.u64.u32 %o, %u; add.u64 %in, %in, %o; "+
			"}\n\t"+c.op)
		mod, err := m.Load([]byte(text))
		must(t, err)
		p := upload(t, m, make([]uint32, 1024))
		f := kernel(t, mod, "k")
		must(t, m.Launch(f, Launch{Block: [3]uint32{32}, Params: args(t, f, p, p)}))
		if got := m.Counts()[0].Store; got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestCounts: a whole kernel whose counts follow from its source.
func TestCounts(t *testing.T) {
	for _, workers := range []int{1, 3} {
		m := New(Options{Count: true, Workers: workers})
		f := kernel(t, loadFile(t, m, "vecadd.ptx"), "axpy")
		const n = 1000
		x := upload(t, m, make([]float32, n))
		must(t, m.Launch(f, Launch{Grid: [3]uint32{8}, Block: [3]uint32{128}, Params: args(t, f, x, x, x, float32(2), n)}))
		l := m.Counts()
		if len(l) != 1 {
			t.Fatalf("%d launches", len(l))
		}
		c := l[0]
		if c.Kernel != "axpy" || c.Grid != [3]uint32{8, 1, 1} || c.Block != [3]uint32{128, 1, 1} {
			t.Errorf("%+v", c)
		}
		const warps = (n + 31) / 32
		if c.Thread[ClassFMA] != n || c.Warp[ClassFMA] != warps || c.FMAs != 2*n {
			t.Errorf("fma: %d threads, %d warps", c.Thread[ClassFMA], c.Warp[ClassFMA])
		}
		if want := (Traffic{2 * warps, 8 * n, 2 * n / 8, 2 * n / 8}); c.Load != want {
			t.Errorf("loads %+v, want %+v", c.Load, want)
		}
		if want := (Traffic{warps, 4 * n, n / 8, n / 8}); c.Store != want {
			t.Errorf("stores %+v, want %+v", c.Store, want)
		}
		if c.Thread[ClassLoadGlobal] != 2*n || c.Thread[ClassStoreGlobal] != n || c.Thread[ClassLoadParam] != 5*1024 {
			t.Errorf("%v", c.Thread)
		}
		m.ResetCounts()
		if len(m.Counts()) != 0 {
			t.Error("not reset")
		}
	}
	m := New(Options{Count: true})
	runGemm(t, m, 128, 64, 96)
	c := m.Counts()[0]
	if c.Barriers != 2*3*2 { // two blocks, three steps, two barriers a step
		t.Errorf("%d barriers", c.Barriers)
	}
	// 4 warps read A and B twice: 2·(4 + 2·... ) ldmatrix; the bytes of A and B go
	// once to each block by cp.async.
	if want := uint64(2 * (64*96 + 64*96) * 2); c.Load.Bytes != want {
		t.Errorf("%d bytes loaded, want %d", c.Load.Bytes, want)
	}
	for _, l := range c.Lines {
		if l.SharedLoad.Conflicts() != 0 || l.Line == 0 || l.Warp == 0 || l.Instruction == "" {
			t.Errorf("%+v", l)
		}
	}
	if len(c.Lines) < 8 {
		t.Errorf("%d lines", len(c.Lines))
	}
	if c.Load.Efficiency() != 1 {
		t.Errorf("efficiency %v", c.Load.Efficiency())
	}
	if want := uint64(128 * 64 * 4); c.Store.Bytes != want {
		t.Errorf("%d bytes stored, want %d", c.Store.Bytes, want)
	}
}
