//go:build cuda

package driver

import (
	"errors"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"gorgonia.org/cu"

	"parley/engine/cuda/ptx"
)

// begin emulates a device and makes its primary context the thread's.
func begin(t *testing.T, o ptx.Options) (*Emulation, cu.Device) {
	t.Helper()
	runtime.LockOSThread()
	e := Emulate(ptx.New(o))
	dev, err := cu.GetDevice(e.Ordinal())
	must(t, err)
	ctx, err := dev.RetainPrimaryCtx()
	must(t, err)
	must(t, cu.SetCurrentContext(ctx))
	t.Cleanup(func() {
		if err := dev.ReleasePrimaryCtx(); err != nil && Code(err) != InvalidContext {
			t.Errorf("release the context: %v", err)
		}
		e.Release()
		runtime.UnlockOSThread()
	})
	return e, dev
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want checks an error's code.
func want(t *testing.T, what string, err error, code Result) {
	t.Helper()
	if Code(err) != code {
		t.Errorf("%s: %v, want %v", what, err, code)
	}
}

func testModule(t *testing.T) cu.Module {
	t.Helper()
	text, err := os.ReadFile("../testdata/test.ptx")
	must(t, err)
	m, err := cu.LoadData(string(text))
	must(t, err)
	return m
}

func upload[T any](t *testing.T, x []T) cu.DevicePtr {
	t.Helper()
	n := int64(len(x)) * int64(unsafe.Sizeof(x[0]))
	p, err := cu.MemAlloc(n)
	must(t, err)
	must(t, cu.MemcpyHtoD(p, unsafe.Pointer(&x[0]), n))
	return p
}

func download[T any](t *testing.T, p cu.DevicePtr, n int) []T {
	t.Helper()
	x := make([]T, n)
	must(t, cu.MemcpyDtoH(unsafe.Pointer(&x[0]), p, int64(n)*int64(unsafe.Sizeof(x[0]))))
	return x
}

func TestEmulatedDevice(t *testing.T) {
	e, dev := begin(t, ptx.Options{Memory: 64 << 20})
	if !Emulated() {
		t.Error("no emulation")
	}
	if v := cu.Version(); v != Oldest {
		t.Errorf("version %d", v)
	}
	n, err := cu.NumDevices()
	if err != nil || n != 1 || e.Ordinal() != 0 {
		t.Errorf("%d devices, ordinal %d: %v", n, e.Ordinal(), err)
	}
	if name, err := dev.Name(); err != nil || name != "PTX interpreter (sm_80)" {
		t.Errorf("name %q: %v", name, err)
	}
	attrs, err := dev.Attributes(cu.ComputeCapabilityMajor, cu.ComputeCapabilityMinor, cu.MultiprocessorCount,
		cu.MaxSharedMemoryPerBlock, MaxSharedOptIn, cu.WarpSize)
	must(t, err)
	for i, want := range []int{8, 0, 108, 48 << 10, 163 << 10, 32} {
		if attrs[i] != want {
			t.Errorf("attribute %d is %d, want %d", i, attrs[i], want)
		}
	}
	if total, err := dev.TotalMem(); err != nil || total != 64<<20 {
		t.Errorf("%d bytes: %v", total, err)
	}
	if free, total, err := cu.MemInfo(); err != nil || free != total || total != 64<<20 {
		t.Errorf("%d bytes free of %d: %v", free, total, err)
	}
	if _, err := cu.GetDevice(1); Code(err) != 101 {
		t.Errorf("device 1: %v", err)
	}
	_, err = dev.CanAccessPeer(dev)
	want(t, "what the emulation does not have", err, NotSupported)
}

func TestEmulatedLaunch(t *testing.T) {
	_, _ = begin(t, ptx.Options{Check: true})
	m := testModule(t)
	fn, err := m.Function("add")
	must(t, err)
	const n = 300
	a, b := make([]float32, n), make([]float32, n)
	for i := range a {
		a[i], b[i] = float32(i), float32(i)/4
	}
	pa, pb := upload(t, a), upload(t, b)
	out, err := cu.MemAlloc(4 * n)
	must(t, err)
	count := uint64(n)
	args := []unsafe.Pointer{unsafe.Pointer(&pa), unsafe.Pointer(&pb), unsafe.Pointer(&out), unsafe.Pointer(&count)}
	must(t, fn.Launch(3, 1, 1, 128, 1, 1, 0, cu.NoStream, args))
	must(t, cu.Synchronize())
	for i, v := range download[float32](t, out, n) {
		if v != a[i]+b[i] {
			t.Fatalf("out[%d] = %v, want %v", i, v, a[i]+b[i])
		}
	}

	_, err = m.Function("subtract")
	want(t, "a kernel that is not there", err, NotFound)
	if p, size, err := m.Global("answer"); err != nil || size != 4 || p == 0 {
		t.Errorf("answer: %v, %d bytes: %v", p, size, err)
	}
	sizes, err := ParamSizes(fn)
	if err != nil || len(sizes) != 4 || sizes[0] != 8 || sizes[3] != 4 {
		t.Errorf("parameters %v: %v", sizes, err)
	}
	want(t, "no blocks", fn.Launch(0, 1, 1, 128, 1, 1, 0, cu.NoStream, args), InvalidValue)
	want(t, "2048 threads", fn.Launch(1, 1, 1, 1024, 2, 1, 0, cu.NoStream, args), InvalidValue)
	if b, err := fn.MaxActiveBlocksPerMultiProcessor(256, 80<<10); err != nil || b != 0 {
		t.Errorf("with too much shared memory: %d blocks: %v", b, err)
	}
	must(t, SetMaxDynamicShared(fn, 80<<10))
	if b, err := fn.MaxActiveBlocksPerMultiProcessor(256, 80<<10); err != nil || b != 2 {
		t.Errorf("80 KiB of shared memory: %d blocks: %v", b, err)
	}
	want(t, "more shared memory than there is", SetMaxDynamicShared(fn, 200<<10), InvalidValue)
	must(t, m.Unload())
	for _, p := range []cu.DevicePtr{pa, pb, out} {
		must(t, cu.MemFree(p))
	}
}

func TestPackedArguments(t *testing.T) {
	buf, n := []byte{1, 2, 3}, uintptr(3)
	list := []uintptr{2, uintptr(unsafe.Pointer(&n)), 1, uintptr(unsafe.Pointer(&buf[0])), 0, 0}
	b, r := packed((*unsafe.Pointer)(unsafe.Pointer(&list[0])))
	if r != 0 || string(b) != string(buf) {
		t.Errorf("%v: %v", b, r)
	}
	list[0] = 5
	if _, r := packed((*unsafe.Pointer)(unsafe.Pointer(&list[0]))); Result(r) != InvalidValue {
		t.Errorf("an unknown key: %v", r)
	}
	runtime.KeepAlive(buf)
	runtime.KeepAlive(&n)
}

func TestEmulatedCopies(t *testing.T) {
	_, _ = begin(t, ptx.Options{})
	s, err := cu.MakeStream(cu.NonBlocking)
	must(t, err)
	host, err := HostAlloc(64)
	must(t, err)
	bytes := unsafe.Slice((*byte)(host), 64)
	for i := range bytes {
		bytes[i] = byte(i)
	}
	p, err := AllocAsync(64, s)
	must(t, err)
	q, err := cu.MemAlloc(64)
	must(t, err)
	must(t, cu.MemcpyHtoDAsync(p, host, 64, s))
	must(t, cu.MemcpyDtoDAsync(q+8, p, 8, s))
	must(t, cu.MemcpyDtoD(q+16, p+16, 8))
	must(t, cu.Memcpy(q+24, p+24, 8))
	must(t, cu.MemsetD8Async(q, 9, 8, s))
	must(t, cu.MemsetD16(q+32, 0x0102, 4))
	must(t, cu.MemsetD32(q+40, 0x01020304, 6))
	must(t, s.Synchronize())
	must(t, cu.MemcpyDtoHAsync(host, q, 64, s))
	want8 := []byte{9, 9, 9, 9, 9, 9, 9, 9, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
		2, 1, 2, 1, 2, 1, 2, 1, 4, 3, 2, 1, 4, 3, 2, 1, 4, 3, 2, 1, 4, 3, 2, 1, 4, 3, 2, 1, 4, 3, 2, 1}
	if string(bytes) != string(want8) {
		t.Errorf("have %v\nwant %v", bytes, want8)
	}
	if size, base, err := (q + 5).AddressRange(); err != nil || size != 64 || base != q {
		t.Errorf("range of %v: %d at %v: %v", q+5, size, base, err)
	}
	want(t, "past the end", cu.MemcpyHtoD(q+60, host, 8), InvalidValue)
	if LastFault() == nil || !strings.Contains(LastFault().Error(), "8 bytes") {
		t.Errorf("the interpreter's words: %v", LastFault())
	}
	must(t, cu.Synchronize()) // a copy's bad address is not sticky
	must(t, FreeAsync(p, s))
	must(t, cu.MemFree(q))
	want(t, "freed twice", cu.MemFree(q), InvalidValue)
	must(t, cu.MemFreeHost(host))
	want(t, "freed twice", cu.MemFreeHost(host), InvalidValue)
	must(t, s.Destroy())
}

func TestEmulatedGraph(t *testing.T) {
	_, _ = begin(t, ptx.Options{})
	fn, err := testModule(t).Function("add")
	must(t, err)
	s, err := cu.MakeStream(cu.NonBlocking)
	must(t, err)
	x, y, one := upload(t, []float32{1, 2}), upload(t, []float32{0, 0}), upload(t, []float32{1, 1})
	count := uint64(2)
	args := []unsafe.Pointer{unsafe.Pointer(&x), unsafe.Pointer(&one), unsafe.Pointer(&x), unsafe.Pointer(&count)}
	must(t, BeginCapture(s))
	must(t, fn.Launch(1, 1, 1, 32, 1, 1, 0, s, args))
	must(t, cu.MemcpyDtoDAsync(y, x, 8, s))
	count = 0 // the graph has the arguments of then
	g, err := EndCapture(s)
	must(t, err)
	if v := download[float32](t, x, 2); v[0] != 1 {
		t.Errorf("the capture ran: %v", v)
	}
	for range 3 {
		must(t, g.Launch(s))
	}
	if v := download[float32](t, y, 2); v[0] != 4 || v[1] != 5 {
		t.Errorf("after three launches: %v", v)
	}
	must(t, g.Destroy())

	must(t, BeginCapture(s))
	want(t, "waiting within a capture", s.Synchronize(), 900)
	_, err = EndCapture(s)
	want(t, "a capture that waited", err, 901)
	_, err = EndCapture(s)
	want(t, "no capture", err, 401)
}

// TestEmulatedCooperative: blocks that wait for each other, in a stream and in a
// graph; more of them than the device holds are refused when they are launched,
// and what is captured when it is captured.
func TestEmulatedCooperative(t *testing.T) {
	_, _ = begin(t, ptx.Options{})
	fn, err := testModule(t).Function("meet")
	must(t, err)
	s, err := cu.MakeStream(cu.NonBlocking)
	must(t, err)
	const most = 32 * ptx.MultiProcessors
	count, out := upload(t, []uint32{0}), upload(t, make([]uint32, 200))
	args := []unsafe.Pointer{unsafe.Pointer(&count), unsafe.Pointer(&out)}
	launch := func(blocks int) error {
		return Launch(fn, [3]int{blocks, 1, 1}, [3]int{1, 1, 1}, 0, s, args, []int{8, 8}, true)
	}
	must(t, launch(200))
	must(t, BeginCapture(s))
	must(t, launch(200))
	want(t, "too many blocks in a capture", launch(most+1), CooperativeTooLarge)
	g, err := EndCapture(s)
	must(t, err)
	for range 3 {
		must(t, g.Launch(s))
	}
	must(t, g.Destroy())
	for i, n := range download[uint32](t, out, 200) {
		if n != 800 {
			t.Errorf("after four launches of 200, block %d saw %d", i, n)
			break
		}
	}
	want(t, "too many blocks", launch(most+1), CooperativeTooLarge)
	must(t, launch(200)) // the device goes on
}

func TestEmulatedEvents(t *testing.T) {
	_, _ = begin(t, ptx.Options{})
	s, err := cu.MakeStream(cu.NonBlocking)
	must(t, err)
	a, err := cu.MakeEvent(cu.DefaultEvent)
	must(t, err)
	b, err := cu.MakeEvent(cu.DefaultEvent)
	must(t, err)
	_, err = a.Elapsed(b)
	want(t, "events that did not happen", err, 400)
	must(t, a.Record(s))
	must(t, b.Record(s))
	must(t, s.Wait(b, 0))
	must(t, b.Synchronize())
	if ms, err := a.Elapsed(b); err != nil || ms < 0 {
		t.Errorf("%v ms: %v", ms, err)
	}
	must(t, cu.DestroyEvent(&a))
	must(t, cu.DestroyEvent(&b))
}

func TestEmulatedFaults(t *testing.T) {
	for _, c := range []struct {
		kernel string
		code   Result
	}{{"wild", IllegalAddress}, {"crooked", MisalignedAddress}, {"stop", LaunchFailed}} {
		for _, late := range []bool{false, true} {
			name := c.kernel
			if late {
				name += " late"
			}
			t.Run(name, func(t *testing.T) {
				e, dev := begin(t, ptx.Options{})
				e.Late(late)
				fn, err := testModule(t).Function(c.kernel)
				must(t, err)
				p, err := cu.MemAlloc(16)
				must(t, err)
				var args []unsafe.Pointer
				if c.kernel == "crooked" {
					args = []unsafe.Pointer{unsafe.Pointer(&p)}
				}
				code := c.code
				if late {
					code = 0
				}
				want(t, "the launch", fn.Launch(1, 1, 1, 1, 1, 1, 0, cu.NoStream, append(args, unsafe.Pointer(&p))), code)
				want(t, "a synchronisation after it", cu.Synchronize(), c.code)
				_, err = cu.MemAlloc(16)
				want(t, "an allocation after it", err, c.code)
				if err := e.LastFault(); err == nil || !strings.Contains(err.Error(), c.kernel) {
					t.Errorf("the interpreter's words: %v", err)
				}
				if !c.code.Sticky() {
					t.Error("not sticky")
				}
				must(t, dev.ResetPrimaryCtx())
				if p, err = cu.MemAlloc(16); err != nil {
					t.Errorf("after a reset: %v", err)
				}
				must(t, cu.MemFree(p))
			})
		}
	}
}

func TestInjectedFaults(t *testing.T) {
	e, _ := begin(t, ptx.Options{Memory: 1 << 20})
	e.FailAlloc(2)
	p, err := cu.MemAlloc(16)
	must(t, err)
	_, err = cu.MemAlloc(16)
	want(t, "the second allocation", err, OutOfMemory)
	q, err := cu.MemAlloc(16)
	must(t, err)
	if e.Allocs() != 3 {
		t.Errorf("%d allocations", e.Allocs())
	}
	_, err = cu.MemAlloc(2 << 20)
	want(t, "more than there is", err, OutOfMemory)
	must(t, cu.MemFree(p))
	_ = q // left, to be found

	fn, err := testModule(t).Function("share")
	must(t, err)
	offset := uint64(0)
	args := []unsafe.Pointer{unsafe.Pointer(&q), unsafe.Pointer(&offset)}
	e.FailLaunch(2)
	must(t, fn.Launch(1, 1, 1, 1, 1, 1, 4, cu.NoStream, args))
	want(t, "the second launch", fn.Launch(1, 1, 1, 1, 1, 1, 4, cu.NoStream, args), LaunchFailed)
	if e.Launches() != 2 {
		t.Errorf("%d launches", e.Launches())
	}

	dev, _ := cu.GetDevice(e.Ordinal())
	must(t, dev.ResetPrimaryCtx())
	if l := e.Leaks(); len(l) != 1 || l[0].Addr != uint64(q) || l[0].Size != 16 {
		t.Errorf("leaks: %v", l)
	}
	e.Lose()
	want(t, "a lost device", cu.Synchronize(), DeviceUnavailable)
	want(t, "the reset of a lost device", dev.ResetPrimaryCtx(), DeviceUnavailable)
}

// TestMachinesBesideEachOther: each thread works with the machine of its own
// context.
func TestMachinesBesideEachOther(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if err := alone(float32(i)); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	if Emulated() {
		t.Error("an emulation is left")
	}
	if _, err := cu.NumDevices(); Code(err) != NotInitialized {
		if s, _ := Status(); s == NoLibrary {
			t.Errorf("the driver that is not there: %v", err)
		}
	}
}

func alone(v float32) error {
	m := ptx.New(ptx.Options{})
	e := Emulate(m)
	defer e.Release()
	dev, err := cu.GetDevice(e.Ordinal())
	if err != nil {
		return err
	}
	ctx, err := dev.MakeContext(cu.SchedAuto)
	if err != nil {
		return err
	}
	p, err := cu.MemAlloc(4000)
	if err != nil {
		return err
	}
	for range 100 {
		if err := cu.MemsetD32(p, math.Float32bits(v), 1000); err != nil {
			return err
		}
		var x [1000]float32
		if err := cu.MemcpyDtoH(unsafe.Pointer(&x[0]), p, 4000); err != nil {
			return err
		}
		if x[0] != v || x[999] != v {
			return errors.New("another machine's values")
		}
	}
	if len(m.Allocations()) != 1 {
		return errors.New("another machine's memory")
	}
	if err := cu.MemFree(p); err != nil {
		return err
	}
	return ctx.Destroy()
}

func TestTensorMapOfNothing(t *testing.T) {
	if _, err := EncodeTensorMap(TensorMapF16, 256, nil, nil, nil); Code(err) != InvalidValue {
		t.Errorf("no dimensions: %v", err)
	}
	_, _ = begin(t, ptx.Options{})
	_, err := EncodeTensorMap(TensorMapF16, 256, []uint64{64, 64}, []uint64{128}, []uint32{64, 64})
	want(t, "on the emulation", err, NotSupported)
}
