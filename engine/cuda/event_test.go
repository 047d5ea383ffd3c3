//go:build cuda

package cuda

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/engine"
	"parley/engine/cuda/ptx"
)

func TestCapabilities(t *testing.T) {
	d := emulate(t, ptx.Options{})
	scope, _ := engine.Scope(d)
	for _, dev := range []engine.Device{d, d.Wide(), scope} {
		_, copies := engine.As[engine.Copier](dev)
		_, waits := engine.As[engine.Synchronizer](dev)
		_, reports := engine.As[engine.MemoryReporter](dev)
		_, widens := engine.As[engine.Widener](dev)
		_, times := engine.As[engine.EventTimer](dev)
		_, captures := engine.As[engine.Capturer](dev)
		if !copies || !waits || !reports || !widens || !times || !captures {
			t.Errorf("%T: %v %v %v %v %v %v", dev, copies, waits, reports, widens, times, captures)
		}
	}
	if w := d.Wide(); w.Float() != engine.F32 || w.Name() != d.Name() {
		t.Errorf("wide: %v", w)
	}
}

func TestEvent(t *testing.T) {
	d := emulate(t, ptx.Options{})
	s := stream(d)
	x := put(s, make([]float32, 4096)...)
	event := func() engine.Event {
		t.Helper()
		e, err := d.Event()
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	a := event()
	add(s, x, x, x)
	b := event()
	add(s, x, x, x)
	add(s, x, x, x)
	c := event()
	one, err := b.Since(a)
	two, err2 := c.Since(b)
	all, err3 := c.Since(a)
	if err != nil || err2 != nil || err3 != nil || one <= 0 || two != 2*one || all != 3*one {
		t.Errorf("one kernel took %v, two %v, three %v: %v %v %v", one, two, all, err, err2, err3)
	}
	if u := d.Usage(); u.Events != 3 {
		t.Errorf("%d events in use, want 3", u.Events)
	}
	other := emulate(t, ptx.Options{})
	e, err := other.Event()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Since(a); err == nil {
		t.Error("a time between events of two devices")
	}
	e.Free()
	c.Free()
	c.Free()
	if again := event(); again != c {
		t.Error("an event was not used again")
	}
	for _, e := range []engine.Event{a, b, c} {
		e.Free()
	}
	if u := d.Usage(); u.Events != 0 {
		t.Errorf("%d events in use", u.Events)
	}
	s.Close()
}

type spans []engine.Span

func (l *spans) Record(sp engine.Span) { *l = append(*l, sp) }

// text lists paths, kernels and times.
func (l spans) text() string {
	var b strings.Builder
	for _, sp := range l {
		fmt.Fprintf(&b, "%s %s %d\n", sp.Path, sp.Kernel, sp.Time)
	}
	return b.String()
}

// step is a small net: y = 2x + 1, then x += 1 twice, once by a copy.
func step(s *engine.Stream, x, one *engine.Tensor) *engine.Tensor {
	sum := func(a, b, out *engine.Tensor) *engine.Tensor {
		return s.Do(engine.Work{Op: "add", Out: out, In: engine.Inputs{a, b}}, func(engine.Device) { add(s, a, b, out) })
	}
	s.Enter("net")
	s.Enter("first")
	y := s.New(engine.F32, x.Elems())
	sum(x, x, y)
	out := s.New(engine.F32, x.Elems())
	s.Leave(sum(y, one, out))
	s.Free(y)
	s.Do(engine.Work{Op: "twice", Out: x}, func(engine.Device) {
		z := s.New(engine.F32, x.Elems())
		add(s, x, one, z)
		s.Took("by hand")
		s.Free(z)
	})
	sum(x, one, x)
	z := s.New(engine.F32, x.Elems())
	s.Copy(z, x)
	s.Free(z)
	return s.Leave(out)
}

// TestRecordedGraph: spans have the device's times, in the order in which they
// ended, eagerly and from a graph of their own; the plain graph stays in use beside
// it, has no events and gives the same bits.
func TestRecordedGraph(t *testing.T) {
	d := emulate(t, ptx.Options{})
	var rec spans
	recorded := engine.Run{Context: t.Context(), Device: d, Recorder: &rec, Path: "sd"}
	plain := engine.NewRun(t.Context()).On(d)
	s := plain.Stream()
	n := 300
	x, one := put(s, make([]float32, n)...), put(s, slices.Repeat([]float32{1}, n)...)
	g := engine.Graphed{Run: func() (*engine.Tensor, error) { return step(s, x, one), s.Err() }}
	var want, text string
	timed := d.Emulation().Timed()
	var now time.Time
	for i, run := range []engine.Run{recorded, plain, plain, recorded, recorded, plain, recorded} {
		s.Bind(run)
		rec, now = nil, time.Now()
		out, err := g.Next(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Synchronize(); err != nil {
			t.Fatal(err)
		}
		after := d.Emulation().Timed() - timed
		if run.Recorder == nil && (len(rec) != 0 || after != 0) {
			t.Errorf("run %d, which nobody records: %d spans, %d events", i, len(rec), after)
		}
		if run.Recorder != nil {
			text = rec.text()
			if want == "" {
				want = text
			}
			if text != want {
				t.Errorf("run %d recorded\n%swant\n%s", i, text, want)
			}
			for k, sp := range rec {
				if sp.Start.Before(now) || k > 1 && sp.Op != "" && sp.Start.Before(rec[k-1].Start) {
					t.Errorf("run %d: %s started %v after the run did", i, sp.Path, sp.Start.Sub(now))
				}
			}
		}
		rec = nil
		for _, v := range get(t, s, out) {
			if v != float32(2*i+1) {
				t.Fatalf("run %d: %v, want %d", i, v, 2*i+1)
			}
		}
		timed = d.Emulation().Timed()
	}
	add := strings.Fields(want)
	if want != fmt.Sprintf(`sd.net.first.add add %[1]s
sd.net.first.add add %[1]s
sd.net.first  %[2]s
sd.net.twice add + by hand %[1]s
sd.net.add add %[1]s
sd.net.copy memcpy DtoD 10
sd.net  %[3]s
`, add[2], add[7], add[len(add)-1]) || add[2] == "0" {
		t.Errorf("recorded\n%s", want)
	}
	var single, first, all int
	fmt.Sscan(add[2], &single)
	fmt.Sscan(add[7], &first)
	fmt.Sscan(add[len(add)-1], &all)
	if first != 2*single || all != 4*single+10 {
		t.Errorf("the parts do not make the whole:\n%s", want)
	}
	if d.Usage().Events == 0 {
		t.Error("the recorded graph has no events")
	}
	g.Free(s)
	s.Close()
	if u := d.Usage(); u.Events != 0 || u.Blocks != 0 || u.Graphs != 0 {
		t.Errorf("left: %+v", u)
	}
}

// TestRecorderIsAlone: a run that is recorded costs another on the same device
// nothing.
func TestRecorderIsAlone(t *testing.T) {
	d := emulate(t, ptx.Options{})
	var rec spans
	a := engine.Run{Context: t.Context(), Device: d, Recorder: &rec}.Stream()
	b := stream(d)
	x, one := put(a, 1, 2), put(a, 1, 1)
	y, two := put(b, 1, 2), put(b, 1, 1)
	if err := a.Synchronize(); err != nil {
		t.Fatal(err)
	}
	rec = nil
	for range 3 {
		step(a, x, one)
		events, launches := d.Usage().Events, d.Emulation().Launches()
		step(b, y, two)
		if n := d.Usage().Events; n != events || d.Emulation().Launches() != launches+4 {
			t.Errorf("the other run made %d events and %d launches", n-events, d.Emulation().Launches()-launches)
		}
	}
	if !slices.Equal(get(t, a, x), get(t, b, y)) || len(rec) != 3*7+1 {
		t.Errorf("%v and %v, %d spans", get(t, a, x), get(t, b, y), len(rec))
	}
	a.Close()
	b.Close()
	if u := d.Usage(); u.Events != 0 || u.Blocks != 0 {
		t.Errorf("left: %+v", u)
	}
}

type observer func(engine.Span)

func (f observer) Observe(sp engine.Span) { f(sp) }

// TestObserved: an observer sees each operation's values, also where a graph is
// there already.
func TestObserved(t *testing.T) {
	d := emulate(t, ptx.Options{})
	s := stream(d)
	x, one := put(s, 0), put(s, 1)
	g := engine.Graphed{Run: func() (*engine.Tensor, error) { return step(s, x, one), s.Err() }}
	for range 2 {
		if _, err := g.Next(s); err != nil {
			t.Fatal(err)
		}
	}
	var seen []float32
	s.Watch(nil, observer(func(sp engine.Span) {
		if sp.Op == "add" {
			b := make([]byte, 4)
			if err := d.Download(b, sp.Out); err != nil {
				t.Error(err)
			}
			seen = append(seen, engine.NewTensor(engine.F32, engine.Memory{Host: b}, 1).F32()[0])
		}
	}))
	if _, err := g.Next(s); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, []float32{4, 5, 3}) {
		t.Errorf("observed %v, want [4 5 3]", seen)
	}
	g.Free(s)
	s.Close()
	if u := d.Usage(); u.Events != 0 || u.Blocks != 0 {
		t.Errorf("left: %+v", u)
	}
}

// TestEventsOfFailures: no event is left where a recorded operation, capture or
// device fails.
func TestEventsOfFailures(t *testing.T) {
	d := emulate(t, ptx.Options{})
	for _, c := range []struct {
		name string
		fail func(*engine.Stream, *engine.Tensor)
	}{
		{"operation", func(s *engine.Stream, x *engine.Tensor) { d.Launch(s, module, "add", Dim{}, Dim{}, 0) }},
		{"allocation", func(s *engine.Stream, x *engine.Tensor) {
			d.Emulation().FailAlloc(1)
			s.New(engine.F32, 1<<20)
		}},
		{"capture", func(s *engine.Stream, x *engine.Tensor) {
			runs := 0
			g := engine.Graphed{Run: func() (*engine.Tensor, error) {
				out := step(s, x, x)
				if runs++; runs > 1 {
					put(s, 1)
				}
				return out, s.Err()
			}}
			_, _ = g.Next(s)
			for range 2 {
				if _, err := g.Next(s); err == nil {
					t.Error("a capture held an upload")
				}
			}
			g.Free(s)
		}},
		{"scopes that nobody leaves", func(s *engine.Stream, x *engine.Tensor) { s.Enter("inner") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rec spans
			s := engine.Run{Context: t.Context(), Device: d, Recorder: &rec}.Stream()
			x := put(s, 1)
			s.Enter("outer")
			step(s, x, x)
			s.Do(engine.Work{Op: "bad", Out: x}, func(engine.Device) { c.fail(s, x) })
			s.Leave(x)
			s.Close()
			if u := d.Usage(); u.Events != 0 || u.Blocks != 0 || u.Graphs != 0 {
				t.Errorf("left: %+v", u)
			}
			if len(rec) < 8 {
				t.Errorf("only %d spans", len(rec))
			}
		})
	}
}
