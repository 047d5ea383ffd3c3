//go:build cuda

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"

	"gorgonia.org/cu"

	"parley/engine"
	"parley/engine/cuda/driver"
)

// freeShared is what a block has of shared memory without asking.
const freeShared = 48 << 10

// loaded is a module as the device has it.
type loaded struct {
	mod     cu.Module
	sm      int // the architecture of its machine code, 0 for PTX that the driver compiled
	kernels map[string]*kernel
}

type kernel struct {
	fn     cu.Function
	params driver.Params
	static int // shared memory of its own
	opted  int // dynamic shared memory that was opted in
}

// kernel finds a kernel, loading its module when it is the first of it.
func (d *Device) kernel(m *Module, name string) (*kernel, error) {
	l := d.modules[m]
	if l == nil {
		mod, sm, err := d.load(m)
		if err != nil {
			return nil, err
		}
		l = &loaded{mod: mod, sm: sm, kernels: map[string]*kernel{}}
		d.modules[m] = l
	}
	k := l.kernels[name]
	if k == nil {
		k = &kernel{}
		var err error
		if k.fn, err = l.mod.Function(name); err != nil {
			return nil, d.failed("the module "+m.name, err)
		}
		if k.params, err = driver.ParamsOf(k.fn); err != nil {
			return nil, d.failed("the parameters", err)
		}
		if k.params.Bytes > len(d.args) {
			d.args = aligned(k.params.Bytes)
		}
		if k.static, err = k.fn.Attribute(cu.SharedSizeBytes); err != nil {
			return nil, d.failed("the shared memory", err)
		}
		l.kernels[name] = k
	}
	return k, nil
}

// load gives the driver a module: the machine code for the device where there is
// some, which takes no time, or the PTX, which the driver compiles. Machine code
// that the driver refuses, because it is older or newer than the code, leaves PTX.
func (d *Device) load(m *Module) (mod cu.Module, sm int, err error) {
	image, err := m.Image()
	if err != nil {
		return mod, 0, err
	}
	if code, sm := image.cubin(d.info.Major, d.info.Minor); code != "" && !d.jit {
		mod, err := cu.LoadData(code)
		if err == nil {
			return mod, sm, nil
		}
		if c := driver.Code(err); c != driver.InvalidImage && c != driver.NoBinary {
			return cu.Module{}, 0, d.failed("load the machine code of the module "+m.name, err)
		}
	}
	messages := make([]byte, 8<<10)
	major := d.info.Major
	if d.emulation != nil {
		major = 9 // the interpreter knows the instructions of later devices, and checks them
	}
	if mod, err = cu.LoadDataEx(image.TextFor(major), &cu.JITErrorLogBuffer{Buffer: messages}); err != nil {
		words, _, _ := strings.Cut(string(messages), "\x00")
		return mod, 0, d.failed("load the module "+m.name+": "+strings.TrimSpace(words), err)
	}
	return mod, 0, nil
}

// Architecture says what a module was loaded from: the architecture of its machine
// code (90 is sm_90), or 0 for PTX. The module has been launched before.
func (d *Device) Architecture(m *Module) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.modules[m]; l != nil {
		return l.sm
	}
	return 0
}

// share opts in to that much dynamic shared memory.
func (d *Device) share(k *kernel, shared int) error {
	if k.static+shared > freeShared && shared > k.opted {
		if k.static+shared > d.maxShared {
			return fmt.Errorf("%d bytes of shared memory, %s has %d a block", k.static+shared, d.name, d.maxShared)
		}
		if err := driver.SetMaxDynamicShared(k.fn, shared); err != nil {
			return d.failed("opt in to shared memory", err)
		}
		k.opted = shared
	}
	return nil
}

// Launch starts a kernel of m on grid × block threads with that many bytes of
// dynamic shared memory. The arguments are the kernel's, in its order:
// *engine.Tensor is its address (nil a null pointer), int and int32 are s32,
// int64 is s64, uint32, uint64 and float32 are themselves, float64 is rounded
// to f32, and a Struct is its bytes: a tensor map has 128. Their number
// and sizes have to be the kernel's. What goes wrong is the stream's error; on
// hardware a kernel's fault may show only in a later call.
func (d *Device) Launch(s *engine.Stream, m *Module, name string, grid, block Dim, shared int, args ...any) {
	d.start(s, Launched{Module: m, Kernel: name, Grid: grid.ones(), Block: block.ones(), Shared: shared, Args: args})
}

// LaunchCooperative is Launch of a kernel whose blocks wait for each other: all
// of them run at once, at most Occupancy on each multiprocessor.
func (d *Device) LaunchCooperative(s *engine.Stream, m *Module, name string, grid, block Dim, shared int, args ...any) {
	d.start(s, Launched{Module: m, Kernel: name, Grid: grid.ones(), Block: block.ones(), Shared: shared, Args: args, Cooperative: true})
}

// LaunchDependent is Launch of a kernel that may start before the one before it
// has ended, once that one's blocks ran griddepcontrol.launch_dependents or ended
// (programmatic dependent launch). It waits for that end by griddepcontrol.wait
// before it touches what the one before does, and in at least one thread in any
// case: else kernels behind it do not know of the one before. After what is no kernel
// (a copy, a graph, an event, a graph's beginning), and on devices before sm_90, it
// starts as any other.
func (d *Device) LaunchDependent(s *engine.Stream, m *Module, name string, grid, block Dim, shared int, args ...any) {
	d.start(s, Launched{Module: m, Kernel: name, Grid: grid.ones(), Block: block.ones(), Shared: shared, Args: args, Dependent: true})
}

func (d *Device) start(s *engine.Stream, l Launched) {
	if s.Err() != nil {
		return
	}
	s.Took(l.Kernel)
	if f := d.watch; f != nil {
		told := l
		told.Args = kept(l.Args)
		if !f(told) {
			return
		}
	}
	if err := d.launch(l); err != nil {
		if p := s.Path(); p != "" {
			err = fmt.Errorf("%s: %s: %w", p, l.Kernel, err)
		} else {
			err = fmt.Errorf("%s: %w", l.Kernel, err)
		}
		s.Fail(err)
	}
}

// Watch has f told of every launch before it starts; one that f says no to is
// not started, nor looked at. nil ends that. It is not for use while others work
// on the device. A launch of a capture can be started again as long as the graph
// is there, whose memory it works on.
func (d *Device) Watch(f func(Launched) bool) { d.watch = f }

// kept are arguments whose tensors stay where they are when their owner frees
// them, and whose structures stay as they are.
func kept(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case *engine.Tensor:
			if v != nil {
				a = engine.NewTensor(v.DType(), v.Memory(), v.Shape()...)
			}
		case Struct:
			a = slices.Clone(v)
		}
		out[i] = a
	}
	return out
}

func (d *Device) launch(l Launched) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	k, err := d.kernel(l.Module, l.Kernel)
	if err != nil {
		return err
	}
	p := k.params
	if len(l.Args) != len(p.Sizes) {
		return fmt.Errorf("%d arguments, the kernel has %d parameters", len(l.Args), len(p.Sizes))
	}
	for i, a := range l.Args {
		b, ok := a.(Struct)
		if !ok {
			v, n, err := argument(a)
			if err != nil {
				return fmt.Errorf("argument %d: %w", i, err)
			}
			var word [8]byte
			binary.LittleEndian.PutUint64(word[:], v)
			b = word[:n]
		}
		if len(b) != int(p.Sizes[i]) {
			return fmt.Errorf("argument %d: %T has %d bytes, the parameter %d", i, a, len(b), p.Sizes[i])
		}
		copy(d.args[p.Offsets[i]:], b)
	}
	if err := d.share(k, l.Shared); err != nil {
		return err
	}
	grid, block := l.Grid, l.Block
	q, after := d.queue(true)
	err = driver.Launch(k.fn, driver.Config{
		Grid: [3]int{grid.X, grid.Y, grid.Z}, Block: [3]int{block.X, block.Y, block.Z}, Shared: l.Shared, Stream: q,
		Cooperative:  l.Cooperative,
		Programmatic: l.Dependent && after && d.overlaps(),
	}, p, d.args)
	if err != nil {
		return d.failed(fmt.Sprintf("launch %s on %d×%d×%d blocks of %d×%d×%d threads", l.Kernel,
			grid.X, grid.Y, grid.Z, block.X, block.Y, block.Z), err)
	}
	return nil
}

// overlaps says whether dependent launches are anything but launches.
func (d *Device) overlaps() bool { return (d.info.Major >= 9 || d.emulation != nil) && !d.ordered }

// aligned makes room for arguments, as tensor maps want it.
func aligned(n int) []byte {
	const align = 128
	b := make([]byte, n+align)
	off := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) % align)
	return b[off : off+n]
}

// argument is the bits of a value of 8 bytes at most, and its size in bytes.
func argument(a any) (bits uint64, size int, err error) {
	switch v := a.(type) {
	case *engine.Tensor:
		if v == nil {
			return 0, 8, nil
		}
		if v.Memory().Addr == 0 && v.Bytes() > 0 {
			return 0, 0, fmt.Errorf("a tensor %v %v that is not on the device", v.Shape(), v.DType())
		}
		return uint64(v.Memory().Addr), 8, nil
	case nil:
		return 0, 8, nil
	case int:
		if v < math.MinInt32 || v > math.MaxInt32 {
			return 0, 0, fmt.Errorf("%d does not fit in 32 bits", v)
		}
		return uint64(uint32(v)), 4, nil
	case int32:
		return uint64(uint32(v)), 4, nil
	case uint32:
		return uint64(v), 4, nil
	case int64:
		return uint64(v), 8, nil
	case uint64:
		return v, 8, nil
	case float32:
		return uint64(math.Float32bits(v)), 4, nil
	case float64:
		return uint64(math.Float32bits(float32(v))), 4, nil
	}
	return 0, 0, fmt.Errorf("%T is no argument of a kernel", a)
}

// Occupancy is how many blocks of that many threads, with that much dynamic
// shared memory, a multiprocessor holds at once.
func (d *Device) Occupancy(m *Module, name string, threads, shared int) (int, error) {
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.leave()
	k, err := d.kernel(m, name)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	if err := d.share(k, shared); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	n, err := k.fn.MaxActiveBlocksPerMultiProcessor(threads, int64(shared))
	return n, d.failed("occupancy of "+name, err)
}
