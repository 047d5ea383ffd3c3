package host

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"parley/engine"
)

func TestAllocAlignsAndRecycles(t *testing.T) {
	d := New(2)
	for _, n := range []int{1, 63, 4096, 4097, 5000, 1 << 20, 1<<20 + 1} {
		m, err := d.Alloc(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Host) != n {
			t.Fatalf("Alloc(%d) has %d bytes", n, len(m.Host))
		}
		first := uintptr(unsafe.Pointer(&m.Host[0]))
		if first%64 != 0 {
			t.Errorf("Alloc(%d) starts at %d, not a multiple of 64", n, first)
		}
		d.Free(m)
		again, _ := d.Alloc(n)
		if uintptr(unsafe.Pointer(&again.Host[0])) != first {
			t.Errorf("Alloc(%d) after Free did not recycle the block", n)
		}
	}
}

func TestFreeIgnoresForeignMemory(t *testing.T) {
	d := New(1)
	m, _ := d.Alloc(5001)
	for _, b := range [][]byte{make([]byte, 5001), m.Host[64:], m.Host[:64:64]} {
		d.Free(engine.Memory{Host: b})
	}
	if len(d.arena.taken) != 1 {
		t.Errorf("%d blocks are taken, want 1", len(d.arena.taken))
	}
}

// TestArena takes and gives blocks by chance: none overlap, and in the end the
// chunks are whole.
func TestArena(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var a arena
	type block struct {
		b    []byte
		fill byte
	}
	var have []block
	drop := func(i int) {
		for _, v := range have[i].b {
			if v != have[i].fill {
				t.Fatalf("a block of %d bytes was written over", len(have[i].b))
			}
		}
		a.give(have[i].b)
		have = slices.Delete(have, i, i+1)
	}
	for i := range 4000 {
		if len(have) > 0 && r.IntN(100) < 45 {
			drop(r.IntN(len(have)))
			continue
		}
		n := r.IntN(1 << r.IntN(19))
		b := a.take(n)
		if len(b) != n || address(b)%64 != 0 {
			t.Fatalf("%d bytes at %#x, want %d", len(b), address(b), n)
		}
		for j := range b {
			b[j] = byte(i)
		}
		have = append(have, block{b, byte(i)})
	}
	for len(have) > 0 {
		drop(len(have) - 1)
	}
	total := 0
	for _, c := range a.chunks {
		total += len(c.mem)
		if len(c.gaps) != 1 || c.gaps[0].lo != 0 || c.gaps[0].hi != len(c.mem)/align*align {
			t.Errorf("a chunk of %d bytes is left with %v", len(c.mem), c.gaps)
		}
	}
	// Blocks of other sizes lie where the others were.
	if a.take(total / 4); len(a.taken) != 1 || len(a.chunks) == 0 {
		t.Errorf("%d taken of %d chunks", len(a.taken), len(a.chunks))
	}
	var used int
	for _, c := range a.chunks {
		used += len(c.mem)
	}
	if used != total {
		t.Errorf("%d bytes in chunks, %d before", used, total)
	}
}

func TestForVisitsEachOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 5} {
		for _, n := range []int{0, 1, 2, 7, 1000} {
			seen := make([]atomic.Int32, n)
			New(workers).For(n, func(i int) { seen[i].Add(1) })
			for i := range seen {
				if c := seen[i].Load(); c != 1 {
					t.Fatalf("%d workers, n = %d: item %d visited %d times", workers, n, i, c)
				}
			}
		}
	}
}

func TestForPassesFaultsToItsCaller(t *testing.T) {
	defer func() {
		if r := recover(); r != "boom" {
			t.Errorf("recovered %v, want boom", r)
		}
	}()
	New(3).For(9, func(i int) {
		if i == 5 {
			panic("boom")
		}
	})
}

func TestForAfterAFault(t *testing.T) {
	d := New(3)
	func() {
		defer func() { recover() }()
		d.For(9, func(int) { panic("boom") })
	}()
	var n atomic.Int64
	d.For(9, func(int) { n.Add(1) })
	if n.Load() != 9 {
		t.Errorf("%d calls after a fault, want 9", n.Load())
	}
}

func TestForFromManyCallers(t *testing.T) {
	d := New(3)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 300 {
				var sum atomic.Int64
				d.For(50, func(i int) { sum.Add(int64(i)) })
				if sum.Load() != 50*49/2 {
					t.Errorf("sum %d", sum.Load())
				}
			}
		})
	}
	wg.Wait()
}

// TestWorkersGo: a device that has no work has no workers.
func TestWorkersGo(t *testing.T) {
	d := New(4)
	d.For(100, func(int) { time.Sleep(10 * time.Microsecond) })
	for since := time.Now(); d.pool.here.Load() > 0; time.Sleep(linger) {
		if time.Since(since) > 10*time.Second {
			t.Fatalf("%d workers are still there", d.pool.here.Load())
		}
	}
	var n atomic.Int64
	d.For(100, func(int) { n.Add(1) })
	if n.Load() != 100 {
		t.Errorf("%d calls, want 100", n.Load())
	}
}

// BenchmarkFor has operations as short as those of one word: two jobs of 0.1 ms.
func BenchmarkFor(b *testing.B) {
	d := New(2)
	for b.Loop() {
		d.For(2, func(int) {
			for since := time.Now(); time.Since(since) < 100*time.Microsecond; {
			}
		})
	}
}

func TestRangeCoversAll(t *testing.T) {
	var sum atomic.Int64
	New(3).Range(1001, 10, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			sum.Add(int64(i))
		}
	})
	if sum.Load() != 1001*1000/2 {
		t.Errorf("sum %d", sum.Load())
	}
}

func TestPrecisionsHaveNames(t *testing.T) {
	for _, p := range []Precision{Exact, F32, Fast} {
		got, err := ParsePrecision(p.String())
		if err != nil || got != p || NewWith(Options{Precision: got}).Precision() != p {
			t.Errorf("%v reads as %v, %v", p, got, err)
		}
	}
	if _, err := ParsePrecision("f16"); err == nil {
		t.Error("f16 was taken")
	}
	if New(1).Precision() != Exact {
		t.Error("a device is not exact unless it is asked to be")
	}
}

func TestOwnedIsMadeOnce(t *testing.T) {
	type mine int
	d, made := New(1), atomic.Int64{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if v := Owned(d, func() mine { return mine(made.Add(1)) }); v != 1 {
				t.Errorf("the value is %d", v)
			}
		})
	}
	wg.Wait()
	if v := Owned(d, func() int64 { return 7 }); v != 7 || Owned(New(1), func() mine { return 3 }) != 3 {
		t.Error("another type or device has the first one's value")
	}
}
