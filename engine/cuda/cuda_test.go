//go:build cuda

package cuda

import (
	"context"
	_ "embed"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"parley/engine"
	"parley/engine/cuda/driver"
	"parley/engine/cuda/ptx"
)

//go:embed testdata/test.ptx
var testPTX string

var module = NewModule("test", testPTX)

// emulate opens a machine as a device that caches as on hardware, unless the
// test is about memory to the byte.
func emulate(t *testing.T, o ptx.Options) *Device {
	t.Helper()
	d, err := Emulate(ptx.New(o), engine.F32)
	if err != nil {
		t.Fatal(err)
	}
	d.memory.exact = false
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

func stream(d *Device) *engine.Stream { return engine.NewStream(context.Background(), d) }

func put(s *engine.Stream, x ...float32) *engine.Tensor { return s.Put(engine.FromF32(x, len(x))) }

func get(t *testing.T, s *engine.Stream, x *engine.Tensor) []float32 {
	t.Helper()
	h, err := s.Get(x)
	if err != nil {
		t.Fatal(err)
	}
	return h.F32()
}

// add is out = a + b.
func add(s *engine.Stream, a, b, out *engine.Tensor) {
	d, _ := On(s.Device())
	n := out.Elems()
	d.Launch(s, module, "add", Dim{X: (n + 127) / 128}, Dim{X: 128}, 0, a, b, out, n)
}

func TestLaunch(t *testing.T) {
	d := emulate(t, ptx.Options{})
	s := stream(d)
	if on, ok := On(s.Device()); !ok || on != d || d.Name() != "ptx" || d.Float() != engine.F32 || d.SMs() != 108 || d.MaxShared() != 163<<10 {
		t.Errorf("device %v: %s %v, %d multiprocessors, %d bytes of shared memory", ok, d.Name(), d.Float(), d.SMs(), d.MaxShared())
	}
	a, b := make([]float32, 1000), make([]float32, 1000)
	for i := range a {
		a[i], b[i] = float32(i), 0.5
	}
	out := s.New(engine.F32, 10, 100)
	x, y := put(s, a...), put(s, b...)
	add(s, x, y, out)
	for i, v := range get(t, s, out) {
		if v != a[i]+0.5 {
			t.Fatalf("out[%d] = %v", i, v)
		}
	}
	// A view of rows is an address within.
	add(s, out.Rows(1, 2), out.Rows(2, 3), out.Rows(0, 1))
	if v := get(t, s, out)[7]; v != 107.5+207.5 {
		t.Errorf("rows 1 and 2 add to %v", v)
	}
	s.Close()
	if u := d.Usage(); u.Blocks != 0 || u.Bytes != 0 || u.Cached == 0 {
		t.Errorf("after the end: %+v", u)
	}
	d.Trim()
	if l := d.Machine().Allocations(); len(l) != 0 {
		t.Errorf("after Trim: %v", l)
	}
}

func TestArguments(t *testing.T) {
	d := emulate(t, ptx.Options{})
	s := stream(d)
	out := s.New(engine.F32, 12)
	d.Launch(s, module, "args", Dim{}, Dim{}, 0, out, -2, int64(-3), uint32(1<<31), uint64(1<<63), 0.5, (*engine.Tensor)(nil))
	have := words(get(t, s, out))
	want := []uint64{1<<64 - 2, 1<<64 - 3, 1 << 31, 1 << 63, uint64(math.Float32bits(0.5)), 0}
	if !slices.Equal(have, want) {
		t.Errorf("arguments %x, want %x", have, want)
	}
	d.Launch(s, module, "args", Dim{}, Dim{}, 0, out, int32(7), int64(1), uint32(2), uint64(3), float32(2), out)
	if have = words(get(t, s, out)); have[0] != 7 || have[5] != uint64(out.Memory().Addr) {
		t.Errorf("arguments %x", have)
	}
	for _, c := range []struct {
		name, want string
		kernel     string
		args       []any
	}{
		{"too few", "1 arguments, the kernel has 7 parameters", "args", []any{out}},
		{"too large an int", "does not fit in 32 bits", "share", []any{out, 1 << 31}},
		{"too wide", "argument 1: int64 has 8 bytes, the parameter 4", "share", []any{out, int64(1)}},
		{"no such type", "string is no argument", "share", []any{out, "1"}},
		{"a tensor of the host", "not on the device", "share", []any{engine.FromF32([]float32{1}, 1), 1}},
		{"no such kernel", "NotFound", "subtract", []any{out}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stream(d)
			s.Enter("net")
			s.Enter("layer")
			d.Launch(s, module, c.kernel, Dim{}, Dim{}, 0, c.args...)
			if err := s.Err(); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "net.layer: "+c.kernel) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	s.Close()
}

func words(x []float32) []uint64 {
	var w []uint64
	for i := 0; i+1 < len(x); i += 2 {
		w = append(w, uint64(math.Float32bits(x[i]))|uint64(math.Float32bits(x[i+1]))<<32)
	}
	return w
}

func TestBadModule(t *testing.T) {
	d := emulate(t, ptx.Options{})
	s := stream(d)
	bad := NewModule("bad", ".version 8.4\n.target sm_80\n.address_size 64\n.visible .entry k() { nonsense.u32; ret; }\n")
	d.Launch(s, bad, "k", Dim{}, Dim{}, 0)
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("an unknown instruction: %v", err)
	}
}

// TestMachineCode: what the driver refuses, as the interpreter does all machine
// code, leaves the PTX beside it.
func TestMachineCode(t *testing.T) {
	d := emulate(t, ptx.Options{})
	data, err := (Image{PTX: testPTX, Cubins: map[int]string{80: "\x7fELF\x00\x00"}}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	both := NewModule("both", string(data))
	s := stream(d)
	out := s.New(engine.I32, 1)
	d.Launch(s, both, "share", Dim{}, Dim{}, 1<<10, out, 1<<10-4)
	if h, err := s.Get(out); err != nil || h.I32()[0] != 7 || d.Architecture(both) != 0 {
		t.Errorf("sm_%d: %v", d.Architecture(both), err)
	}
	s.Close()
}

func TestSharedMemory(t *testing.T) {
	d := emulate(t, ptx.Options{})
	s := stream(d)
	out := s.New(engine.I32, 1)
	for _, kib := range []int{1, 48, 100, 64, 163} {
		d.Launch(s, module, "share", Dim{}, Dim{}, kib<<10, out, kib<<10-4)
		if h, err := s.Get(out); err != nil || h.I32()[0] != 7 {
			t.Fatalf("%d KiB: %v", kib, err)
		}
	}
	if n, err := d.Occupancy(module, "share", 128, 100<<10); err != nil || n != 1 {
		t.Errorf("%d blocks of 100 KiB: %v", n, err)
	}
	d.Launch(s, module, "share", Dim{}, Dim{}, 164<<10, out, 0)
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "ptx has 166912 a block") {
		t.Errorf("164 KiB: %v", err)
	}
	s.Close()
}

// TestLaunchCooperative: blocks that wait for each other run at once, eagerly and
// in a graph, and Watch is told; more than are resident are an error.
func TestLaunchCooperative(t *testing.T) {
	d := emulate(t, ptx.Options{})
	s := stream(d)
	defer s.Close()
	each, err := d.Occupancy(module, "meet", 64, 20<<10)
	most := each * d.SMs()
	if err != nil || most != 7*d.SMs() {
		t.Errorf("%d blocks of 64 threads and 20 KiB at once: %v", most, err)
	}
	count, out := s.Put(engine.FromI32([]int32{0}, 1)), s.New(engine.I32, most)
	meet := func() { d.LaunchCooperative(s, module, "meet", Dim{X: most}, Dim{}, 20<<10, count, out) }
	told := 0
	d.Watch(func(l Launched) bool {
		if l.Cooperative {
			told++
		}
		return true
	})
	meet()
	g, err := d.Capture(s, meet)
	if err != nil {
		t.Fatal(err)
	}
	g.Launch(s)
	g.Launch(s)
	g.Free()
	d.Watch(nil)
	if h, err := s.Get(out); err != nil || h.I32()[0] != int32(3*most) || told != 2 {
		t.Errorf("three launches of %d blocks, told of %d: %v, %v", most, told, h.I32()[0], err)
	}
	d.LaunchCooperative(s, module, "meet", Dim{X: most + d.SMs()}, Dim{}, 20<<10, count, out)
	if err := s.Err(); driver.Code(err) != driver.CooperativeTooLarge {
		t.Errorf("more blocks than there is room for: %v", err)
	}
}

// TestCopies moves more than the staging holds, in pieces that do not divide
// it.
func TestCopies(t *testing.T) {
	d := emulate(t, ptx.Options{})
	s := stream(d)
	big := s.New(engine.I32, 5, 1<<21) // 40 MiB
	src := make([]byte, big.Bytes())
	for i := range src {
		src[i] = byte(i * 7 >> 3)
	}
	if err := d.Upload(big, src); err != nil {
		t.Fatal(err)
	}
	for i := range 40 { // small ones between, at odd places of the ring
		row := big.Rows(i%5, i%5+1)
		if err := d.Upload(row, src[i%5*row.Bytes():][:1<<20+i]); err != nil {
			t.Fatal(err)
		}
	}
	dst := make([]byte, len(src))
	if err := d.Download(dst, big); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(src, dst) {
		t.Error("the values changed on the way")
	}
	a, b := put(s, 1, 2, 3), s.New(engine.F32, 3)
	if err := d.Copy(b, a); err != nil {
		t.Fatal(err)
	}
	if err := d.Zero(a); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(get(t, s, b), []float32{1, 2, 3}) || !slices.Equal(get(t, s, a), []float32{0, 0, 0}) {
		t.Errorf("copy %v, zeros %v", get(t, s, b), get(t, s, a))
	}
	for _, err := range []error{d.Copy(b, big), d.Upload(a, src), d.Download(dst, a)} {
		if err == nil {
			t.Error("sizes that do not fit were copied")
		}
	}
	// Nothing is nothing to copy.
	none := s.New(engine.F32, 0, 4)
	err := errors.Join(d.Upload(none, nil), d.Download(nil, none), d.Copy(none, none), d.Zero(none))
	if err != nil || none.Memory().Addr != 0 {
		t.Errorf("an empty tensor at %#x: %v", none.Memory().Addr, err)
	}
	s.Close()
}

func TestCacheReuses(t *testing.T) {
	d := emulate(t, ptx.Options{})
	a, err := d.Alloc(100_000)
	if err != nil {
		t.Fatal(err)
	}
	d.Free(a)
	b, _ := d.Alloc(99_000)
	if a.Addr != b.Addr {
		t.Errorf("%#x was not used again: %#x", a.Addr, b.Addr)
	}
	d.Free(engine.Memory{Addr: b.Addr + 4}) // a view
	if u := d.Usage(); u.Blocks != 1 {
		t.Errorf("a view's memory was freed: %+v", u)
	}
	d.Free(b)
	d.Free(b)
	if u := d.Usage(); u.Blocks != 0 || u.Cached < 100_000 || u.Cached > 112_500 {
		t.Errorf("%+v", u)
	}
	for _, n := range []int{1, 511, 512, 513, 4097, 100_000, 1 << 20, 1<<20 + 1, 123_456_789} {
		if c := d.memory.class(n); c < n || c > n+max(n/8, 511) {
			t.Errorf("%d bytes take %d", n, c)
		}
	}
}

func TestOutOfMemory(t *testing.T) {
	d := emulate(t, ptx.Options{Memory: 1 << 20})
	var keep []engine.Memory
	for range 7 {
		m, err := d.Alloc(128 << 10)
		if err != nil {
			t.Fatal(err)
		}
		keep = append(keep, m)
	}
	_, err := d.Alloc(256 << 10)
	var oom *OutOfMemory
	if !errors.As(err, &oom) || oom.Want != 256<<10 || oom.Free != 128<<10 || oom.Total != 1<<20 || !errors.Is(err, driver.OutOfMemory) {
		t.Fatalf("%v", err)
	}
	if err.Error() != "ptx: 262144 bytes are wanted, 131072 bytes of 1.0 MB are free" {
		t.Errorf("%q", err)
	}
	// The cache makes room.
	d.Free(keep[0])
	m, err := d.Alloc(256 << 10)
	if err != nil {
		t.Errorf("with room in the cache: %v", err)
	}
	for _, m := range append(keep[1:], m) {
		d.Free(m)
	}
	free, total, err := d.Memory()
	if u := d.Usage(); err != nil || free+u.Cached != total {
		t.Errorf("%d free, %d cached of %d: %v", free, u.Cached, total, err)
	}
}

// TestAllocationFailures: each allocation of a computation fails in turn; it
// says so, leaves nothing behind, and the next one is served.
func TestAllocationFailures(t *testing.T) {
	compute := func(d *Device) ([]float32, error) {
		s := stream(d)
		defer s.Close()
		x, y := put(s, 1, 2), put(s, 3, 4)
		out := s.New(engine.F32, 2)
		add(s, x, y, out)
		h, err := s.Get(out)
		if err != nil {
			return nil, err
		}
		return h.F32(), nil
	}
	m := ptx.New(ptx.Options{Check: true})
	d, err := Emulate(m, engine.F32)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for n := 1; ; n++ {
		d.Emulation().FailAlloc(n)
		out, err := compute(d)
		if err == nil {
			if n != 4 {
				t.Errorf("%d allocations", n-1)
			}
			if !slices.Equal(out, []float32{4, 6}) {
				t.Errorf("out %v", out)
			}
			break
		}
		var oom *OutOfMemory
		if !errors.As(err, &oom) || !strings.Contains(err.Error(), "a tensor of [2] f32") {
			t.Errorf("allocation %d: %v", n, err)
		}
		if l := m.Allocations(); len(l) != 0 {
			t.Errorf("allocation %d: left %v", n, l)
		}
	}
	if l := m.Allocations(); len(l) != 0 {
		t.Errorf("left %v", l)
	}
}

func TestLost(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(*Device, *engine.Stream)
		code driver.Result
	}{
		{"a wild write", func(d *Device, s *engine.Stream) { d.Launch(s, module, "wild", Dim{}, Dim{}, 0) }, driver.IllegalAddress},
		{"a wild write, late", func(d *Device, s *engine.Stream) {
			d.Emulation().Late(true)
			d.Launch(s, module, "wild", Dim{}, Dim{}, 0)
			if s.Err() != nil {
				t.Errorf("at the launch: %v", s.Err())
			}
			s.Fail(d.Synchronize())
		}, driver.IllegalAddress},
		{"a launch", func(d *Device, s *engine.Stream) {
			d.Emulation().FailLaunch(1)
			d.Launch(s, module, "stop", Dim{}, Dim{}, 0)
		}, driver.LaunchFailed},
		{"taken away", func(d *Device, s *engine.Stream) {
			d.Emulation().Lose()
			d.Launch(s, module, "stop", Dim{}, Dim{}, 0)
		}, driver.DeviceUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := ptx.New(ptx.Options{})
			d, err := Emulate(m, engine.F32)
			if err != nil {
				t.Fatal(err)
			}
			s := stream(d)
			s.Enter("unet")
			x := put(s, 1)
			c.fail(d, s)
			var lost *Lost
			if err := s.Err(); !errors.As(err, &lost) || !errors.Is(err, c.code) && driver.Code(lost.Err) != c.code || lost.Fault == nil ||
				!strings.Contains(err.Error(), "ptx is lost") {
				t.Fatalf("%v", err)
			}
			if _, err := d.Alloc(1); !errors.As(err, &lost) {
				t.Errorf("an allocation afterwards: %v", err)
			}
			if err := d.Download(make([]byte, 4), x); !errors.As(err, &lost) {
				t.Errorf("a download afterwards: %v", err)
			}
			s.Close()
			if err := d.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if l := m.Allocations(); len(l) != 0 {
				t.Errorf("left %v", l)
			}
			// The next request has a device again.
			d, err = Emulate(m, engine.F32)
			if err != nil {
				t.Fatal(err)
			}
			s = stream(d)
			out := s.New(engine.F32, 1)
			one := put(s, 1)
			add(s, one, one, out)
			if v := get(t, s, out); v[0] != 2 {
				t.Errorf("on the next device: %v", v)
			}
			s.Close()
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			if err := d.Close(); err != nil {
				t.Errorf("closed twice: %v", err)
			}
			if _, err := d.Alloc(1); !errors.Is(err, errClosed) {
				t.Errorf("of a closed device: %v", err)
			}
		})
	}
}

func TestGraph(t *testing.T) {
	d := emulate(t, ptx.Options{})
	s := stream(d)
	x, one := put(s, 1, 2), put(s, 1, 1)
	var out *engine.Tensor
	step := func() { // out = 2x + 1, x += 1
		y := s.New(engine.F32, 2)
		add(s, x, x, y)
		out = s.New(engine.F32, 2)
		add(s, y, one, out)
		s.Free(y)
		add(s, x, one, x)
	}
	step()
	s.Free(out)
	before := d.Emulation().Allocs()
	g, err := d.Capture(s, step)
	if err != nil {
		t.Fatal(err)
	}
	if n := d.Emulation().Allocs(); n != before {
		t.Errorf("%d allocations reached the driver", n-before)
	}
	if v := get(t, s, x); v[0] != 2 {
		t.Errorf("the capture ran: x = %v", v)
	}
	if u := d.Usage(); u.Graphs == 0 {
		t.Errorf("the graph keeps nothing: %+v", u)
	}
	for i := range 3 {
		// What others allocate and write between does not touch the graph.
		other := put(s, 99, 99)
		g.Launch(s)
		x0 := float32(2 + i)
		if v := get(t, s, out); v[0] != 2*x0+1 || v[1] != 2*(x0+1)+1 {
			t.Errorf("launch %d: %v", i, v)
		}
		if v := get(t, s, other); v[0] != 99 {
			t.Errorf("launch %d wrote to another's memory: %v", i, v)
		}
		s.Free(other)
	}
	s.Free(out)
	g.Free()
	g.Free()
	if u := d.Usage(); u.Graphs != 0 || u.Blocks != 2 {
		t.Errorf("after the graph: %+v", u)
	}
	g.Launch(s)
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "freed") {
		t.Errorf("a freed graph: %v", err)
	}
	s.Close()
}

func TestCaptureFailures(t *testing.T) {
	d := emulate(t, ptx.Options{})
	for _, c := range []struct {
		name, want string
		f          func(s *engine.Stream, x *engine.Tensor)
	}{
		{"upload", "graph cannot hold copies", func(s *engine.Stream, x *engine.Tensor) { put(s, 1) }},
		{"download", "graph cannot hold copies", func(s *engine.Stream, x *engine.Tensor) {
			_, err := s.Get(x)
			s.Fail(err)
		}},
		{"capture", "within a capture", func(s *engine.Stream, x *engine.Tensor) {
			_, err := d.Capture(s, func() {})
			s.Fail(err)
		}},
		{"launch", "arguments", func(s *engine.Stream, x *engine.Tensor) { d.Launch(s, module, "add", Dim{}, Dim{}, 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stream(d)
			x := put(s, 1)
			_, err := d.Capture(s, func() { c.f(s, x) })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			s.Close()
			// The device goes on.
			s = stream(d)
			if v := get(t, s, put(s, 5)); v[0] != 5 {
				t.Errorf("afterwards: %v", v)
			}
			s.Close()
			if u := d.Usage(); u.Blocks != 0 || u.Graphs != 0 {
				t.Errorf("left: %+v", u)
			}
		})
	}
}

// TestConcurrentStreams: several goroutines work on one device, one of them
// capturing; none sees another's values. For the race detector, too.
func TestConcurrentStreams(t *testing.T) {
	d := emulate(t, ptx.Options{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for k := range 20 {
				s := stream(d)
				v := float32(100*i + k)
				x, y := put(s, v, v), put(s, 1, 1)
				out := s.New(engine.F32, 2)
				if i == 0 {
					var z *engine.Tensor
					g, err := d.Capture(s, func() {
						z = s.New(engine.F32, 2)
						add(s, x, y, z)
						add(s, z, z, out)
						s.Free(z)
					})
					if err != nil {
						t.Error(err)
						return
					}
					g.Launch(s)
					v = 2*v + 1
					defer g.Free()
				} else {
					add(s, x, y, out)
				}
				h, err := s.Get(out)
				if err != nil {
					t.Error(err)
					return
				}
				if h.F32()[1] != v+1 {
					t.Errorf("stream %d: %v, want %v", i, h.F32(), v+1)
				}
				s.Close()
			}
		}()
	}
	wg.Wait()
	if u := d.Usage(); u.Blocks != 0 || u.Graphs != 0 {
		t.Errorf("left: %+v", u)
	}
}

// TestLaunchDependent: a kernel that may start early waits by itself, eagerly and
// in a graph; one that does not is found.
func TestLaunchDependent(t *testing.T) {
	d := emulate(t, ptx.Options{Check: true})
	s := stream(d)
	x, y := s.Put(engine.FromI32([]int32{0}, 1)), s.New(engine.I32, 1)
	pair := func(second string) {
		d.LaunchDependent(s, module, "precede", Dim{}, Dim{}, 0, x)
		d.LaunchDependent(s, module, second, Dim{}, Dim{}, 0, x)
	}
	told := 0
	d.Watch(func(l Launched) bool {
		if l.Dependent && !l.Cooperative {
			told++
		}
		return true
	})
	pair("follow")
	if err := s.Synchronize(); err != nil {
		t.Fatal(err)
	}
	g, err := d.Capture(s, func() { pair("follow") })
	if err != nil {
		t.Fatal(err)
	}
	g.Launch(s)
	g.Launch(s)
	g.Free()
	d.Watch(nil)
	if h, err := s.Get(x); err != nil || h.I32()[0] != 6 || told != 4 {
		t.Errorf("six times 1 are %v, told of %d launches: %v", h, told, err)
	}
	// After a copy nothing overlaps, whether the kernel waits or not.
	apart := func() {
		d.LaunchDependent(s, module, "precede", Dim{}, Dim{}, 0, x)
		if err := d.Copy(y, x); err != nil {
			t.Error(err)
		}
		d.LaunchDependent(s, module, "precede", Dim{}, Dim{}, 0, x)
	}
	apart()
	if g, err = d.Capture(s, apart); err != nil {
		t.Fatal(err)
	}
	g.Launch(s)
	d.LaunchDependent(s, module, "precede", Dim{}, Dim{}, 0, x)
	if err := s.Synchronize(); err != nil {
		t.Errorf("kernels that follow no kernel: %v", err)
	}
	g.Free()
	if n := d.Emulation().Dependents(); n != 3 {
		t.Errorf("%d dependent launches, 3 pairs have one each", n)
	}
	pair("precede")
	var lost *Lost
	if err := s.Err(); !errors.As(err, &lost) || !strings.Contains(err.Error(), "written by precede, which may still run") {
		t.Errorf("a kernel that does not wait: %v", err)
	}
	s.Close()
}

// TestOrdered: with Options.Ordered a kernel that does not wait is as good as any.
func TestOrdered(t *testing.T) {
	d, err := Open(Options{Emulated: true, Check: true, Ordered: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := stream(d)
	defer s.Close()
	x := s.Put(engine.FromI32([]int32{0}, 1))
	for range 3 {
		d.LaunchDependent(s, module, "precede", Dim{}, Dim{}, 0, x)
	}
	if h, err := s.Get(x); err != nil || h.I32()[0] != 3 {
		t.Errorf("%v: %v", h, err)
	}
}

// TestStructureArguments: structures of any size are passed by value.
func TestStructureArguments(t *testing.T) {
	d := emulate(t, ptx.Options{Check: true})
	s := stream(d)
	out := s.New(engine.I32, 2)
	table, three := make(Struct, 128), make(Struct, 12)
	table[4*31], three[8] = 7, 9
	var told Struct
	d.Watch(func(l Launched) bool {
		told = l.Args[1].(Struct)
		return true
	})
	launch := func() { d.Launch(s, module, "byvalue", Dim{}, Dim{}, 0, 31, table, out, three) }
	launch()
	d.Watch(nil)
	g, err := d.Capture(s, launch)
	if err != nil {
		t.Fatal(err)
	}
	table[4*31] = 0 // the launches have the values of then
	g.Launch(s)
	g.Free()
	if h, err := s.Get(out); err != nil || h.I32()[0] != 7 || h.I32()[1] != 9 || told[4*31] != 7 {
		t.Errorf("the last words are %v, told %d: %v", h, told[4*31], err)
	}
	if at := uintptr(unsafe.Pointer(unsafe.SliceData(d.args))); at%64 != 0 || len(d.args) < 212 {
		t.Errorf("%d bytes of arguments at %#x", len(d.args), at)
	}
	d.Launch(s, module, "byvalue", Dim{}, Dim{}, 0, 31, table[:64], out, three)
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "argument 1: cuda.Struct has 64 bytes, the parameter 128") {
		t.Errorf("half a structure: %v", err)
	}
	s.Close()
}

func TestOpen(t *testing.T) {
	d, err := Open(Options{Emulated: true})
	if err != nil {
		t.Fatal(err)
	}
	const info = "cuda:0: PTX interpreter (sm_80), sm_80, 8.6 GB of 8.6 GB free"
	if d.Float() != engine.F16 || d.Local() || d.Info().Major != 8 || d.Info().String() != info {
		t.Errorf("%v %v", d.Float(), d.Info())
	}
	if ready, words := Driver(); !ready {
		_, err := Open(Options{})
		if err == nil {
			t.Fatal("a device without a driver")
		}
		if l, err := Devices(); err == nil || err.Error() != words {
			t.Errorf("%v, %v", l, err)
		}
	}
	if _, err := Open(Options{}); err == nil || !strings.Contains(err.Error(), "interpreter") {
		t.Errorf("beside the interpreter: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if ready, words := Driver(); !ready {
		if _, err := Open(Options{Ordinal: 3}); err == nil || err.Error() != "cuda:3: "+words {
			t.Errorf("%v", err)
		}
	}
}
