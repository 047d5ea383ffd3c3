// Package ptx is a virtual GPU: it runs PTX, the text that the CUDA kernels are
// shipped as, in Go, without a GPU or a driver.
//
// A Machine has device memory, loads modules and launches their kernels. What
// PTX defines exactly (integers, conversions, IEEE arithmetic with its rounding
// modes, the layouts of ldmatrix and mma) is computed exactly; see float.go and
// mma.go for what PTX leaves open. An instruction or modifier that is not
// implemented is an error of Load that names its line.
//
// Every access outside an allocation, or misaligned, is a Fault. With
// Options.Check the machine is a sanitizer as well (check.go, blocks.go), with
// Options.Count it counts what each launch did (count.go).
//
// The PTX ISA manual is the source for all of it.
package ptx

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"parley/engine/cuda/chip"
)

// Options of a Machine. The zero value works.
type Options struct {
	Memory  int64 // bytes of device memory, 0: 8 GiB; host memory is taken only as allocated
	Workers int   // blocks that run at once, 0: GOMAXPROCS
	Check   bool  // the sanitizer
	Count   bool  // the counters
	SMs     int   // multiprocessors that it says it has (%nsmid), 0: MultiProcessors
}

// A Machine is a virtual GPU. Its methods may be called from several goroutines;
// launches run in the caller's goroutine until the kernel has ended.
type Machine struct {
	opts  Options
	total uint64

	mem   atomic.Pointer[table]
	locks [256]sync.Mutex // of atomics on global memory, by address
	clock atomic.Uint64

	mu     sync.Mutex
	next   uint64
	used   uint64
	freed  table
	counts []Counts
	grids  uint64
}

// Limits of the virtual GPU, those of compute capability 8.0.
const (
	MaxThreads       = 1024      // threads in a block
	MaxSharedDefault = 48 << 10  // shared memory of a block without SetMaxDynamicShared
	MaxShared        = 163 << 10 // with it
	MaxGridX         = 1<<31 - 1 // blocks in x
	MaxGridYZ        = 65535     // in y and z
	MultiProcessors  = chip.A100SMs
	warpSize         = 32
)

// New makes a machine.
func New(o Options) *Machine {
	m := &Machine{opts: o, total: uint64(o.Memory), next: globalBase}
	if o.Memory <= 0 {
		m.total = 8 << 30
	}
	if m.opts.Workers <= 0 {
		m.opts.Workers = runtime.GOMAXPROCS(0)
	}
	if m.opts.SMs <= 0 {
		m.opts.SMs = MultiProcessors
	}
	m.mem.Store(&table{})
	return m
}

// SMs is how many multiprocessors the machine says it has.
func (m *Machine) SMs() int { return m.opts.SMs }

// Clock is the machine's own time, which goes on with what it does: 1 for each
// instruction of a warp, and for each 128 bytes of a copy or a fill. It is no
// measure of speed, and the same for the same work.
func (m *Machine) Clock() uint64 { return m.clock.Load() }

// moved moves the clock on by the bytes of a copy.
func (m *Machine) moved(n uint64) { m.clock.Add((n + 127) / 128) }

// A Module is a loaded PTX text.
type Module struct {
	m       *Machine
	funcs   map[string]*Function
	globals map[string]*region
}

// A Function is a kernel of a module.
type Function struct {
	name       string
	m          *Machine
	prog       *program
	params     []Param
	paramBytes int
	threads    int
	dynShared  int
}

// A Param is a kernel's parameter: where it lies in Launch.Params, in bytes.
type Param struct{ Offset, Size, Align int }

// Load parses and decodes a module and puts its variables into device memory.
// Errors are *ParseError, save for memory.
func (m *Machine) Load(text []byte) (*Module, error) {
	f, err := parse(string(text))
	if err != nil {
		return nil, err
	}
	mod := &Module{m: m, funcs: map[string]*Function{}, globals: map[string]*region{}}
	for _, v := range f.vars {
		if v.space == "shared" {
			continue
		}
		if v.extern || v.open {
			mod.Unload()
			return nil, &ParseError{v.line, v.name, "a variable that the module does not define"}
		}
		if err := mod.define(v); err != nil {
			mod.Unload()
			return nil, err
		}
	}
	if err := mod.decode(f); err != nil {
		mod.Unload()
		return nil, err
	}
	return mod, nil
}

// define allocates a module's variable and writes its initial value; what has
// none is zero.
func (mod *Module) define(v *variable) error {
	if mod.globals[v.name] != nil {
		return &ParseError{v.line, v.name, "declared twice"}
	}
	if v.align > allocAlign {
		return &ParseError{v.line, v.name, fmt.Sprintf("alignment above %d", allocAlign)}
	}
	r, err := mod.m.alloc(max(uint64(v.size), 1), v.name)
	if err != nil {
		return err
	}
	copy(r.data, v.init)
	r.mark(0, r.Size)
	r.ronly = v.space == "const"
	mod.globals[v.name] = r
	for _, rel := range v.relocs {
		t := mod.globals[rel.symbol]
		if t == nil || rel.size != 8 {
			return &ParseError{v.line, v.name, fmt.Sprintf("initialiser with the address of %s", rel.symbol)}
		}
		putUint(r.data[rel.at:], 8, t.Addr+uint64(rel.add))
	}
	return nil
}

// Function finds a kernel by its name.
func (mod *Module) Function(name string) (*Function, bool) {
	f, ok := mod.funcs[name]
	return f, ok
}

// Global finds a module's variable.
func (mod *Module) Global(name string) (addr, size uint64, ok bool) {
	r, ok := mod.globals[name]
	if !ok {
		return 0, 0, false
	}
	return r.Addr, r.Size, true
}

// Unload frees the module's variables.
func (mod *Module) Unload() error {
	m := mod.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range mod.globals {
		t := *m.mem.Load()
		for i := range t {
			if t[i] == r {
				m.release(t, i)
				break
			}
		}
	}
	mod.globals, mod.funcs = nil, nil
	return nil
}

// Name is the kernel's name.
func (f *Function) Name() string { return f.name }

// Params lists the parameters in their order.
func (f *Function) Params() []Param { return f.params }

// ParamBytes is the length of Launch.Params.
func (f *Function) ParamBytes() int { return f.paramBytes }

// StaticShared gives the bytes of shared memory that the kernel declares.
func (f *Function) StaticShared() int { return f.prog.shared }

// Local gives the bytes of local memory of a thread.
func (f *Function) Local() int { return f.prog.local }

// MaxThreads is the most threads a block may have: .maxntid or .reqntid, or 1024.
func (f *Function) MaxThreads() int { return f.threads }

// SetMaxDynamicShared allows launches with up to bytes of dynamic shared memory
// (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES).
func (f *Function) SetMaxDynamicShared(bytes int) error {
	if bytes < 0 || bytes+f.prog.shared > MaxShared {
		return fmt.Errorf("ptx: %s: %d bytes of dynamic shared memory beside %d static ones: more than %d", f.name, bytes, f.prog.shared,
			MaxShared)
	}
	f.dynShared = bytes
	return nil
}

// Resident is how many blocks of that many threads, with that much dynamic shared
// memory, a multiprocessor holds at once. Registers, which PTX does not know, are
// left out: the true number may be lower.
func (f *Function) Resident(threads, dynamic int) int {
	return min(32, 64/((threads+31)/32), (164<<10)/(f.prog.shared+dynamic+1<<10))
}

// AtOnce is how many blocks of a launch the machine says it runs at once, the most
// of a cooperative one.
func (f *Function) AtOnce(threads, dynamic int) int { return f.m.SMs() * f.Resident(threads, dynamic) }

// MaxDynamicShared is what SetMaxDynamicShared set, or what fits in 48 KiB.
func (f *Function) MaxDynamicShared() int { return max(f.dynShared, MaxSharedDefault-f.prog.shared) }
