package host

import (
	"sync/atomic"
	"testing"
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
	d.Free(engine.Memory{Host: make([]byte, 5001)})
	if d.kept != 0 {
		t.Errorf("kept %d bytes of a foreign block", d.kept)
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
	for _, p := range []Precision{Exact, F32} {
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
