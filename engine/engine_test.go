package engine_test

import (
	"context"
	"errors"
	"testing"

	"parley/engine"
	"parley/engine/host"
)

func TestRowsView(t *testing.T) {
	x := engine.FromF32([]float32{0, 1, 2, 3, 4, 5}, 3, 2)
	v := x.Rows(1, 3)
	if !v.Shape().Equal(engine.Shape{2, 2}) || v.F32()[0] != 2 || v.F32()[3] != 5 {
		t.Errorf("rows 1 to 3: %v %v", v.Shape(), v.F32())
	}
	v.F32()[0] = 9
	if x.F32()[2] != 9 {
		t.Error("a view does not share its memory")
	}
}

func TestBytes(t *testing.T) {
	x := engine.FromU8([]uint8{0, 1, 2, 3, 254, 255}, 3, 2)
	if v := x.Rows(1, 3); x.Bytes() != 6 || v.Bytes() != 4 || v.U8()[3] != 255 || v.DType().String() != "u8" {
		t.Errorf("%d bytes, rows %v", x.Bytes(), v.U8())
	}
	s := engine.NewStream(t.Context(), host.New(1))
	if y, err := s.Get(s.Put(x)); err != nil || string(y.U8()) != string(x.U8()) {
		t.Errorf("there and back: %v, %v", y, err)
	}
}

type spans []engine.Span

func (s *spans) Record(sp engine.Span) { *s = append(*s, sp) }

func TestStreamRecordsPaths(t *testing.T) {
	var rec spans
	r := engine.NewRun(t.Context()).On(host.New(1))
	r.Recorder = &rec
	s := r.Stream()
	s.Enter("unet")
	s.Enter("conv_in")
	y := s.New(engine.F32, 2)
	s.Do(engine.Work{Op: "conv", Out: y, FLOPs: 7}, func(engine.Device) { y.F32()[1] = 3 })
	s.Leave(y)
	s.Leave(y)
	want := []string{"unet.conv_in.conv", "unet.conv_in", "unet"}
	if len(rec) != len(want) {
		t.Fatalf("%d spans, want %d", len(rec), len(want))
	}
	for i, w := range want {
		if rec[i].Path != w {
			t.Errorf("span %d is %q, want %q", i, rec[i].Path, w)
		}
	}
	if rec[0].FLOPs != 7 || rec[0].Out.F32()[1] != 3 {
		t.Errorf("span %+v", rec[0])
	}
}

func TestStreamStopsAfterCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	s := engine.NewStream(ctx, host.New(1))
	why := errors.New("the user went away")
	cancel(why)
	ran := false
	out := s.Do(engine.Work{Op: "op", Out: s.New(engine.F32, 4)}, func(engine.Device) { ran = true })
	if ran {
		t.Error("an operation ran after the cancellation")
	}
	if !out.Shape().Equal(engine.Shape{4}) {
		t.Errorf("shape %v", out.Shape())
	}
	if !errors.Is(s.Err(), why) {
		t.Errorf("error %v, want %v", s.Err(), why)
	}
}

// counting is the CPU, and tells what is taken of it.
type counting struct {
	*host.Device
	taken int
}

func (c *counting) Alloc(n int) (engine.Memory, error) { c.taken++; return c.Device.Alloc(n) }
func (c *counting) Free(m engine.Memory)               { c.taken--; c.Device.Free(m) }

func TestCloseGivesAllBack(t *testing.T) {
	dev := &counting{Device: host.New(1)}
	s := engine.NewStream(t.Context(), dev)
	a, b := s.New(engine.F32, 3), s.New(engine.F32, 4, 2)
	s.Free(a, a.Reshape(3), engine.FromF32(make([]float32, 2), 2))
	if dev.taken != 1 {
		t.Errorf("%d blocks are taken, want 1", dev.taken)
	}
	s.Fail(errors.New("on the way"))
	s.Close()
	if dev.taken != 0 {
		t.Errorf("%d blocks are taken after Close", dev.taken)
	}
	_ = b
}

func TestCounterCountsThePeak(t *testing.T) {
	s := engine.NewStream(t.Context(), engine.DryRun{})
	a := s.New(engine.F32, 100)
	b := s.New(engine.F16, 100)
	s.Free(a)
	c := s.New(engine.F32, 10)
	s.Free(b, c, nil)
	if s.Peak() != 600 {
		t.Errorf("peak %d bytes, want 600", s.Peak())
	}
}

// TestObserverSeesValues: an observer reads what each operation gives, and a
// recorder has its time; neither costs the other anything.
func TestObserverSeesValues(t *testing.T) {
	var rec spans
	var seen []float32
	r := engine.Run{Context: t.Context(), Device: host.New(1), Recorder: &rec, Path: "sd"}
	s := r.In("unet").Stream()
	s.Watch(&rec, observe(func(sp engine.Span) {
		if sp.Op == "fill" {
			seen = append(seen, sp.Out.F32()[0])
		}
	}))
	y := s.New(engine.F32, 2)
	for i := range 2 {
		s.Do(engine.Work{Op: "fill", Out: y, Dims: engine.Dims{{Name: "n", Size: 2}}}, func(engine.Device) {
			s.Took("by hand")
			s.Uses(7)
			s.Free(s.New(engine.F32, 3))
			y.F32()[0] = float32(i)
		})
	}
	if _, err := s.Get(y); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0] != 0 || seen[1] != 1 {
		t.Errorf("observed %v, want 0 and 1", seen)
	}
	if len(rec) != 3 || rec[0].Path != "sd.unet.fill" || rec[0].Kernel != "by hand" || rec[0].Workspace != 19 || rec[2].Op != "download" {
		t.Errorf("recorded %+v", rec)
	}
}

type observe func(engine.Span)

func (f observe) Observe(sp engine.Span) { f(sp) }

// TestUnwatchedOperationsAllocateNothing: a stream that nobody records builds no
// names and no spans.
func TestUnwatchedOperationsAllocateNothing(t *testing.T) {
	s := engine.NewStream(t.Context(), host.New(1))
	x := s.New(engine.F32, 4)
	if n := testing.AllocsPerRun(100, func() {
		s.Enter("scope")
		s.Do(engine.Work{Op: "op", Out: x}, func(engine.Device) { x.F32()[0]++ })
		s.Leave(x)
	}); n != 0 {
		t.Errorf("%v allocations an operation, want none", n)
	}
}

// TestAnOperationWithinAnother has a span of its own, and leaves the outer one its
// method and the sum of both workspaces.
func TestAnOperationWithinAnother(t *testing.T) {
	var rec spans
	r := engine.NewRun(t.Context()).On(host.New(1))
	r.Recorder = &rec
	s := r.Stream()
	x := s.New(engine.U8, 3)
	s.Do(engine.Work{Op: "outer", Out: x, Dims: engine.Dims{{Name: "n", Size: 3}}}, func(engine.Device) {
		s.Took("first")
		s.Uses(5)
		if _, err := s.Get(x); err != nil {
			t.Error(err)
		}
		s.Do(engine.Work{Op: "inner", Out: x}, func(engine.Device) { s.Took("other"); s.Uses(7) })
		s.Took("second")
	})
	if len(rec) != 3 || rec[0].Kernel != "memcpy" || rec[0].In[0] != x || rec[1].Kernel != "other" || rec[1].Workspace != 7 {
		t.Fatalf("%+v", rec)
	}
	if o := rec[2]; o.Kernel != "first + second" || o.Workspace != 12 || o.Dims.Of("n") != 3 || o.Dims.Of("m") != 0 {
		t.Errorf("%+v", o)
	}
}

// ends is a context that ends when it has been asked n times.
type ends struct {
	context.Context
	n int
}

func (e *ends) Err() error {
	if e.n--; e.n >= 0 {
		return nil
	}
	return context.Canceled
}

// TestGetIsWholeOrAnError: a run that ends at any moment of a copy to the host is an
// error, never values that nobody copied.
func TestGetIsWholeOrAnError(t *testing.T) {
	for n := range 12 {
		e := &ends{t.Context(), 1 << 30}
		s := engine.NewStream(e, host.New(1))
		x := s.Put(engine.FromF32([]float32{1, 2}, 2))
		e.n = n
		if y, err := s.Get(x); err == nil && y.F32()[1] != 2 {
			t.Errorf("the run ends at check %d: %v", n, y.F32())
		} else if n == 0 && err == nil {
			t.Error("a run that has ended copies")
		}
	}
}
