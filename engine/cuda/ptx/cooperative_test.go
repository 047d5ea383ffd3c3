package ptx

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// meet is a kernel whose blocks wait for each other: thread 0 of each adds 1 to a
// counter and polls it until all of `want` have, then reads what the next block
// wrote before. POLL stands for how it looks at the counter.
const meet = header + `.visible .entry k(.param .u64 count, .param .u64 buf, .param .u32 want)
{
	.reg .b32 %t, %b, %n, %w, %r<8>;
	.reg .b64 %c, %g, %x, %y;
	.reg .pred %p, %q;
	ld.param.u64 %c, [count];
	ld.param.u64 %g, [buf];
	ld.param.u32 %w, [want];
	mov.u32 %t, %tid.x;
	mov.u32 %b, %ctaid.x;
	mov.u32 %n, %nctaid.x;
	mad.wide.u32 %x, %b, 8, %g;
	setp.ne.u32 %p, %t, 0;
	@!%p st.global.u32 [%x], %b;
	@%p bra AFTER;
	membar.gl;
	atom.global.add.u32 %r0, [%c], 1;
WAIT:
	POLL
	setp.lt.u32 %q, %r1, %w;
	@%q bra WAIT;
	membar.gl;
AFTER:
	bar.sync 0;
	add.u32 %r2, %b, 1;
	rem.u32 %r2, %r2, %n;
	mad.wide.u32 %y, %r2, 8, %g;
	ld.global.u32 %r3, [%y];
	@!%p st.global.u32 [%x+4], %r3;
	ret;
}
`

func runMeet(t *testing.T, workers, blocks, threads, want int, poll string, cooperative bool) ([]uint32, error) {
	t.Helper()
	return runText(t, Options{Workers: workers}, strings.Replace(meet, "POLL", poll, 1), blocks, threads, want, cooperative)
}

func runText(t *testing.T, o Options, text string, blocks, threads, want int, cooperative bool) ([]uint32, error) {
	t.Helper()
	m := New(o)
	mod, err := m.Load([]byte(text))
	must(t, err)
	f := kernel(t, mod, "k")
	count := upload(t, m, make([]uint32, 1))
	buf, err := m.Alloc(uint64(8 * blocks))
	must(t, err)
	if err = m.Launch(f, Launch{Grid: [3]uint32{uint32(blocks)}, Block: [3]uint32{uint32(threads)}, Params: args(t, f, count, buf, want),
		Cooperative: cooperative}); err != nil {
		return nil, err
	}
	out := make([]uint32, 2*blocks)
	download(t, m, buf, out)
	return out, nil
}

// TestCooperative: the blocks of a cooperative launch meet, however many, in
// whatever way they poll.
func TestCooperative(t *testing.T) {
	for _, workers := range []int{1, 3} {
		for _, blocks := range []int{1, 2, 130, 500} {
			for _, poll := range []string{
				"ld.volatile.global.u32 %r1, [%c];", "ld.acquire.gpu.global.u32 %r1, [%c];",
				"atom.global.add.u32 %r1, [%c], 0;", "ld.relaxed.gpu.global.u32 %r1, [%c];\n nanosleep.u32 20;",
			} {
				have, err := runMeet(t, workers, blocks, 64, blocks, poll, true)
				if err != nil {
					t.Fatalf("%d blocks, %d workers, %s: %v", blocks, workers, poll, err)
				}
				for i := range blocks {
					if have[2*i+1] != uint32((i+1)%blocks) {
						t.Fatalf("%d blocks, %d workers, %s: block %d saw %d of the next one", blocks, workers, poll, i, have[2*i+1])
					}
				}
			}
		}
	}
}

// TestCooperativeTooLarge: as the driver, the machine starts no more blocks than
// it holds: 2048 threads and 32 blocks a multiprocessor.
func TestCooperativeTooLarge(t *testing.T) {
	for threads, most := range map[int]int{1024: 2, 512: 4, 65: 21, 32: 32} {
		poll := "ld.volatile.global.u32 %r1, [%c];"
		blocks := MultiProcessors*most + 1
		if _, err := runMeet(t, 1, blocks, threads, 0, poll, true); err == nil || !strings.Contains(err.Error(),
			fmt.Sprint(blocks-1, " blocks run at once")) {
			t.Errorf("%d blocks of %d: %v", blocks, threads, err)
		}
		if _, err := runMeet(t, 1, blocks-1, threads, 0, poll, true); err != nil {
			t.Errorf("%d blocks of %d: %v", blocks-1, threads, err)
		}
		if _, err := runMeet(t, 1, blocks, threads, 0, poll, false); err != nil {
			t.Errorf("%d blocks of %d, not cooperative: %v", blocks, threads, err)
		}
	}
}

// TestDeadlock: blocks that wait for what never comes are an error, not a hang,
// and so is a launch that is not cooperative and needs more blocks at once than
// run.
func TestDeadlock(t *testing.T) {
	for _, workers := range []int{1, 3} {
		for _, c := range []struct {
			name         string
			blocks, want int
			cooperative  bool
			says         string
		}{
			{"one block too few", 3, 4, true, "every block that runs waits for another"},
			{"alone", 1, 2, true, "every block that runs waits for another"},
			{"one block too few, not cooperative", 3, 4, false, "every block that runs waits for another"},
			{"not cooperative", 1000, 1000, false, "blocks have not started"},
		} {
			for _, poll := range []string{"ld.volatile.global.u32 %r1, [%c];", "atom.global.or.b32 %r1, [%c], 0;\n nanosleep.u32 20;"} {
				_, err := runMeet(t, workers, c.blocks, 64, c.want, poll, c.cooperative)
				var fault *Fault
				if !errors.As(err, &fault) || !strings.Contains(fault.What, "deadlock") || !strings.Contains(fault.What, c.says) || fault.Line == 0 {
					t.Errorf("%s, %d workers: %v", c.name, workers, err)
				}
				if c.blocks < 64 { // its twin
					if _, err := runMeet(t, workers, c.blocks, 64, c.blocks, poll, c.cooperative); err != nil {
						t.Errorf("%s, %d workers, counted right: %v", c.name, workers, err)
					}
				}
			}
		}
	}
}

// TestLock: a lock that its owner keeps stops the others; one that is given back
// does not.
func TestLock(t *testing.T) {
	const text = header + `.visible .entry k(.param .u64 lock, .param .u64 sum)
{
	.reg .b32 %r<4>;
	.reg .b64 %l, %s;
	.reg .pred %p;
	ld.param.u64 %l, [lock];
	ld.param.u64 %s, [sum];
TRY:
	atom.global.cas.b32 %r0, [%l], 0, 1;
	setp.ne.u32 %p, %r0, 0;
	@%p bra TRY;
	membar.gl;
	ld.global.u32 %r1, [%s];
	add.u32 %r1, %r1, 1;
	st.global.u32 [%s], %r1;
	membar.gl;
	RELEASE
	ret;
}
`
	for _, workers := range []int{1, 3} {
		for release, good := range map[string]bool{"atom.global.exch.b32 %r2, [%l], 0;": true, "atom.global.exch.b32 %r2, [%l], 1;": false} {
			m := New(Options{Workers: workers})
			mod, err := m.Load([]byte(strings.Replace(text, "RELEASE", release, 1)))
			must(t, err)
			f := kernel(t, mod, "k")
			lock, sum := upload(t, m, make([]uint32, 1)), upload(t, m, make([]uint32, 1))
			err = m.Launch(f, Launch{Grid: [3]uint32{200}, Params: args(t, f, lock, sum)})
			var n [1]uint32
			if download(t, m, sum, n[:]); good && (err != nil || n[0] != 200) {
				t.Errorf("%d workers: %d of 200 blocks had the lock: %v", workers, n[0], err)
			}
			if !good && (err == nil || !strings.Contains(err.Error(), "deadlock")) {
				t.Errorf("%d workers: a lock that is kept: %v", workers, err)
			}
		}
	}
}

// TestBlocks: what blocks of a launch do to each other's memory needs a fence and
// an atomic on both sides.
func TestBlocks(t *testing.T) {
	poll := strings.Replace(meet, "POLL", "ld.volatile.global.u32 %r1, [%c];", 1)
	if !strings.Contains(poll, "membar.gl;\n\tatom") || !strings.Contains(poll, "bra WAIT;\n\tmembar.gl;") {
		t.Fatal("no fences to take away")
	}
	for name, c := range map[string]struct {
		text, says string
	}{
		"right":           {poll, ""},
		"no fence before": {strings.Replace(poll, "membar.gl;\n\tatom", "atom", 1), "wrote byte"},
		"no fence behind": {strings.Replace(poll, "bra WAIT;\n\tmembar.gl;", "bra WAIT;", 1), "wrote byte"},
		"release and acquire": {strings.NewReplacer("membar.gl;", "", "atom.global", "atom.release.gpu.global", "ld.volatile",
			"ld.acquire.gpu").Replace(poll), ""},
		"only release":          {strings.NewReplacer("membar.gl;", "", "atom.global", "atom.release.gpu.global").Replace(poll), "wrote byte"},
		"nobody waits":          {strings.Replace(poll, "@%q bra WAIT;", "", 1), ""},
		"two writers":           {strings.Replace(poll, "st.global.u32 [%x+4], %r3;", "st.global.u32 [%g+4], %r3;", 1), "wrote byte"},
		"written over a reader": {strings.Replace(poll, "@!%p st.global.u32 [%x+4], %r3;", "@!%p st.global.u32 [%x], %r3;", 1), " byte "},
		// whoever of the two comes later says so,
	} {
		for _, workers := range []int{1, 3} {
			_, err := runText(t, Options{Workers: workers, Check: true}, c.text, 5, 64, 5, true)
			var fault *Fault
			switch {
			case name == "nobody waits": // whoever comes first reads what is not there, or what is not ordered
				if err == nil {
					t.Errorf("%s, %d workers: not found", name, workers)
				}
			case c.says == "" && err != nil:
				t.Errorf("%s, %d workers: %v", name, workers, err)
			case c.says != "" && (!errors.As(err, &fault) || !strings.Contains(fault.What, "race: block") || !strings.Contains(fault.What, c.says)):
				t.Errorf("%s, %d workers: %v", name, workers, err)
			}
		}
	}
}
