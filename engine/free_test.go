package engine_test

import (
	"testing"

	"parley/engine"
	"parley/engine/host"
)

// TestFreedOnce: a tensor counts once, however often and under whatever view it is
// freed, and what is not the stream's does not count at all; a device that only
// counts agrees.
func TestFreedOnce(t *testing.T) {
	for _, dev := range []engine.Device{&counting{Device: host.New(1)}, engine.DryRunOf(host.New(1))} {
		s := engine.NewStream(t.Context(), dev)
		a := s.New(engine.F32, 10, 10)
		flat := a.Reshape(100)
		weights, err := engine.Place(dev, engine.F32, engine.FromF32(make([]float32, 50), 50))
		if err != nil {
			t.Fatal(err)
		}
		s.Free(a, a)
		s.Free(flat, s.View(flat, 10, 10), weights, nil)
		if b, c := s.New(engine.F32, 60), s.New(engine.F16, 80); s.Peak() != 400 {
			t.Errorf("%s: peak of %d bytes, want 400: %v and %v fit in what %v was", dev.Name(), s.Peak(), b.Shape(), c.Shape(), a.Shape())
		} else if s.New(engine.F32, 1); s.Peak() != 404 {
			t.Errorf("%s: peak of %d bytes, want 404", dev.Name(), s.Peak())
		}
		// Rows in the middle of a tensor are not a tensor.
		d := s.New(engine.F32, 4, 25)
		s.Free(s.Rows(d, 1, 3))
		if s.New(engine.F32, 1); s.Peak() != 808 {
			t.Errorf("%s: peak of %d bytes, want 808", dev.Name(), s.Peak())
		}
		// Each tensor gives back its own bytes.
		r := engine.NewStream(t.Context(), dev)
		e, f := r.New(engine.F32, 100), r.New(engine.F32, 10)
		r.Free(e)
		if e = r.New(engine.F32, 100); r.Peak() != 440 {
			t.Errorf("%s: peak of %d bytes, want 440", dev.Name(), r.Peak())
		}
		r.Free(f)
		if r.New(engine.F32, 11); r.Peak() != 444 {
			t.Errorf("%s: peak of %d bytes, want 444, beside %v", dev.Name(), r.Peak(), e.Shape())
		}
		r.Close()
		s.Close()
		if c, ok := dev.(*counting); ok && c.taken != 0 {
			t.Errorf("%d blocks are taken after Close", c.taken)
		}
	}
}

// TestViews: views share memory, of whatever type, and refuse what does not fit.
func TestViews(t *testing.T) {
	s := engine.NewStream(t.Context(), host.New(1))
	defer s.Close()
	x := s.Put(engine.FromI32([]int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 3, 2, 2))
	for name, v := range map[string]*engine.Tensor{"of the tensor": x.Rows(1, 3).Rows(1, 2), "of the stream": s.Rows(s.Rows(x, 1, 3), 1, 2)} {
		if !v.Shape().Equal(engine.Shape{1, 2, 2}) || v.I32()[0] != 8 || len(v.I32()) != 4 || len(v.Memory().Host) != 16 ||
			v.DType() != engine.I32 {
			t.Errorf("rows of rows %s: %v %v", name, v.Shape(), v.I32())
		}
		v.I32()[1] = -1
		if x.I32()[9] != -1 {
			t.Errorf("a view %s does not share its memory", name)
		}
		x.I32()[9] = 9
	}
	if v := x.Rows(0, 2).Rows(0, 1); len(v.Memory().Host) != 16 || cap(v.Memory().Host) != 16 {
		t.Errorf("a row of 16 bytes reaches over %d of %d", len(v.Memory().Host), cap(v.Memory().Host))
	}
	if v := s.View(x.Rows(2, 3), 4); v.I32()[3] != 11 || v.Dim(-1) != 4 {
		t.Errorf("reshaped rows: %v", v.I32())
	}
	if v := x.Rows(3, 3); v.Elems() != 0 || v.Bytes() != 0 || len(v.I32()) != 0 {
		t.Errorf("no rows: %v", v.Shape())
	}
	if !x.Shape().Equal(engine.Shape{3, 2, 2}) {
		t.Errorf("a view has changed its tensor: %v", x.Shape())
	}
	far := engine.NewTensor(engine.F16, engine.Memory{Addr: 4096}, 5, 3)
	for name, v := range map[string]*engine.Tensor{"of the tensor": far.Rows(2, 4), "of the stream": s.Rows(far, 2, 4)} {
		if v.Memory().Addr != 4096+2*3*2 || v.Bytes() != 12 {
			t.Errorf("rows %s on another device: at %d, %d bytes", name, v.Memory().Addr, v.Bytes())
		}
	}
	long := engine.FromU8(make([]uint8, 12), 3, 1, 2, 1, 2)
	if v := long.Rows(1, 2); !v.Shape().Equal(engine.Shape{1, 1, 2, 1, 2}) || v.Bytes() != 4 ||
		!long.Shape().Equal(engine.Shape{3, 1, 2, 1, 2}) {
		t.Errorf("rows of five dimensions: %v of %v", v.Shape(), long.Shape())
	}
	for name, f := range map[string]func(){
		"rows beyond": func() { x.Rows(1, 4) }, "rows before": func() { x.Rows(-1, 1) }, "rows back": func() { s.Rows(x, 2, 1) },
		"another size": func() { x.Reshape(11) }, "another view": func() { s.View(x, 13) }, "another type": func() { x.F32() },
		"values": func() { engine.FromF32([]float32{1}, 2) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// capturing is the CPU with graphs: a launch does the operations again.
type capturing struct {
	counting
	captured, launched, freed int
	again                     []func()
	recording                 bool
}

type graph struct {
	d     *capturing
	steps []func()
}

func (d *capturing) Capture(_ *engine.Stream, f func()) (engine.Graph, error) {
	d.captured++
	d.again, d.recording = nil, true
	f()
	d.recording = false
	return &graph{d, d.again}, nil
}

func (g *graph) Launch(*engine.Stream) {
	g.d.launched++
	for _, f := range g.steps {
		f()
	}
}

func (g *graph) Free() { g.d.freed++ }

// do is an operation that a graph may hold.
func (d *capturing) do(s *engine.Stream, out *engine.Tensor, f func()) *engine.Tensor {
	return s.Do(engine.Work{Op: "op", Out: out}, func(engine.Device) {
		if d.recording {
			d.again = append(d.again, f)
		} else {
			f()
		}
	})
}

// TestGraphedReuses: the first run is a run, the second is captured and launched,
// later ones are launched; who observes sees a run, who records has a graph of its
// own, and all memory comes back.
func TestGraphedReuses(t *testing.T) {
	for _, eager := range []bool{false, true} {
		d := &capturing{counting: counting{Device: host.New(1)}}
		s := engine.NewStream(t.Context(), d)
		x := s.New(engine.F32, 1)
		runs := 0
		var inner []*engine.Tensor
		g := engine.Graphed{Eager: eager, Run: func() (*engine.Tensor, error) {
			runs++
			y, z := s.New(engine.F32, 1), s.New(engine.F32, 1)
			d.do(s, y, func() { y.F32()[0] = 2 * x.F32()[0] })
			d.do(s, z, func() { z.F32()[0] = y.F32()[0] + 1 })
			if d.recording { // a launch of the CPU's needs it
				inner = append(inner, y)
			} else {
				s.Free(y)
			}
			return z, s.Err()
		}}
		next := func(v float32) {
			t.Helper()
			x.F32()[0] = v
			y, err := g.Next(s)
			if err != nil || y.F32()[0] != 2*v+1 {
				t.Fatalf("eager %v: %v gives %v, %v", eager, v, y.F32(), err)
			}
		}
		for v := range 4 {
			next(float32(v))
		}
		want := []int{2, 1, 3, 0}
		if eager {
			want = []int{4, 0, 0, 0}
		}
		have := func() [4]int { return [4]int{runs, d.captured, d.launched, d.freed} }
		if have() != [4]int(want) {
			t.Errorf("eager %v: runs, captures, launches, frees: %v, want %v", eager, have(), want)
		}
		s.Watch(nil, observe(func(engine.Span) {}))
		next(7)
		if want[0]++; have() != [4]int(want) {
			t.Errorf("eager %v, observed: %v, want %v", eager, have(), want)
		}
		var rec spans
		s.Watch(&rec, nil)
		next(8)
		next(9)
		s.Watch(nil, nil)
		next(10)
		if want[0]++; eager {
			want[0] += 2
		} else {
			want[1], want[2] = 2, 6
		}
		if have() != [4]int(want) {
			t.Errorf("eager %v, recorded: %v, want %v", eager, have(), want)
		}
		g.Free(s)
		if !eager {
			want[3] = 2
		}
		if have() != [4]int(want) {
			t.Errorf("eager %v, freed: %v, want %v", eager, have(), want)
		}
		next(11) // it can be used on
		g.Free(s)
		s.Free(x)
		if s.Free(inner...); d.taken != 0 {
			t.Errorf("eager %v: %d blocks are taken", eager, d.taken)
		}
	}
}

// TestConvert: types change by rounding to the nearest, ties to even.
func TestConvert(t *testing.T) {
	x := engine.FromF32([]float32{1, 1 + 0x1p-11, 1 + 3*0x1p-11, 1 + 0x1.8p-11, -65504, 0x1p-25, 0x1.8p-25}, 7)
	h := engine.Convert(engine.F16, x)
	want := []float32{1, 1, 1 + 0x1p-9, 1 + 0x1p-10, -65504, 0, 0x1p-24}
	for i, v := range engine.Convert(engine.F32, h).F32() {
		if v != want[i] {
			t.Errorf("f16 of %v is %v, want %v", x.F32()[i], v, want[i])
		}
	}
	if engine.Convert(engine.F32, x) != x || h.DType() != engine.F16 || h.Bytes() != 14 {
		t.Errorf("converted to %v of %d bytes", h.DType(), h.Bytes())
	}
	b := engine.NewTensor(engine.BF16, engine.Memory{Host: []byte{0x80, 0x3f, 0x40, 0xc0}}, 2)
	if y := engine.Convert(engine.F32, b).F32(); y[0] != 1 || y[1] != -3 {
		t.Errorf("of bf16: %v", y)
	}
}
