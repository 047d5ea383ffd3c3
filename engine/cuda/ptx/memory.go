package ptx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"sync"
)

// Where things lie in the address space of the virtual GPU. Allocations start
// above 32 bits, so that a truncated pointer cannot hit one, and an address is
// never given out twice, so that a use after free is always seen.
const (
	globalBase = 0x0007_0000_0000
	globalTop  = 0x7000_0000_0000
	sharedBase = 0x7f10_0000_0000 // generic window of a block's shared memory
	localBase  = 0x7f20_0000_0000 // generic window of a thread's local memory
	paramBase  = 0x7f30_0000_0000 // generic window of a kernel's parameters
	windowSize = 1 << 32

	allocAlign = 256
	guardBytes = 4096
	keepFreed  = 4096 // freed blocks remembered to explain a fault
)

// ErrOutOfMemory is returned by Alloc when the device's memory is spent.
var ErrOutOfMemory = errors.New("ptx: out of device memory")

// An Allocation is a piece of device memory.
type Allocation struct {
	Addr, Size uint64
	Name       string // of a module's variable, else empty
	Freed      bool
}

func (a Allocation) String() string {
	s := fmt.Sprintf("allocation of %d bytes at %#x", a.Size, a.Addr)
	if a.Name != "" {
		s = fmt.Sprintf("variable %s of %d bytes at %#x", a.Name, a.Size, a.Addr)
	}
	if a.Freed {
		s += " (freed)"
	}
	return s
}

// region is an Allocation with its bytes. init has a byte for each byte of
// memory that is 1 once it was written; it is nil without Options.Check.
type region struct {
	Allocation
	data  []byte
	init  []byte
	ronly bool // .const

	// blocks.go's
	mu      sync.Mutex
	owners  []owner
	shift   uint // of a granule
	syncs   map[uint64]known
	syncsOf uint64 // the launch
}

// table is the sorted list of what is allocated. It is replaced, never changed,
// so that running kernels read it without a lock.
type table []*region

func (t table) find(addr uint64) *region {
	i := sort.Search(len(t), func(i int) bool { return t[i].Addr > addr }) - 1
	if i < 0 || addr-t[i].Addr >= t[i].Size {
		return nil
	}
	return t[i]
}

// Alloc gives the address of bytes new bytes, aligned to 256. Their contents are
// undefined (zeros, but reading them is a fault under Options.Check). A size of
// 0 is an error, as it is for cuMemAlloc.
func (m *Machine) Alloc(bytes uint64) (uint64, error) {
	r, err := m.alloc(bytes, "")
	if err != nil {
		return 0, err
	}
	return r.Addr, nil
}

func (m *Machine) alloc(bytes uint64, name string) (*region, error) {
	if bytes == 0 {
		return nil, errors.New("ptx: allocation of no bytes")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if bytes > m.total || m.used+bytes > m.total {
		return nil, fmt.Errorf("%w: %d bytes asked for, %d of %d free", ErrOutOfMemory, bytes, m.total-m.used, m.total)
	}
	span := (bytes+allocAlign-1)/allocAlign*allocAlign + guardBytes
	if m.next+span > globalTop {
		return nil, fmt.Errorf("%w: address space spent", ErrOutOfMemory)
	}
	r := &region{Allocation: Allocation{Addr: m.next, Size: bytes, Name: name}, data: make([]byte, bytes)}
	if m.opts.Check {
		r.init = make([]byte, bytes)
	}
	m.next += span
	m.used += bytes
	t := *m.mem.Load()
	t = append(t[:len(t):len(t)], r) // addresses only grow: the list stays sorted
	m.mem.Store(&t)
	return r, nil
}

// Free gives memory back. The address must be one that Alloc gave.
func (m *Machine) Free(addr uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := *m.mem.Load()
	i := sort.Search(len(t), func(i int) bool { return t[i].Addr >= addr })
	if i == len(t) || t[i].Addr != addr || t[i].Name != "" {
		if f := m.freed.find(addr); f != nil && f.Addr == addr {
			return fmt.Errorf("ptx: free of %#x: freed before", addr)
		}
		return fmt.Errorf("ptx: free of %#x: not an allocation's address", addr)
	}
	m.release(t, i)
	return nil
}

func (m *Machine) release(t table, i int) {
	r := t[i]
	m.used -= r.Size
	n := make(table, 0, len(t)-1)
	n = append(append(n, t[:i]...), t[i+1:]...)
	m.mem.Store(&n)
	f := &region{Allocation: r.Allocation}
	f.Freed = true
	j := sort.Search(len(m.freed), func(i int) bool { return m.freed[i].Addr > f.Addr })
	m.freed = append(m.freed, nil)
	copy(m.freed[j+1:], m.freed[j:])
	m.freed[j] = f
	if len(m.freed) > keepFreed {
		m.freed = m.freed[len(m.freed)-keepFreed:]
	}
}

// Allocations lists what is allocated and not freed, modules' variables apart,
// by address.
func (m *Machine) Allocations() []Allocation {
	var out []Allocation
	for _, r := range *m.mem.Load() {
		if r.Name == "" {
			out = append(out, r.Allocation)
		}
	}
	return out
}

// Info gives the free and the total bytes of device memory.
func (m *Machine) Info() (free, total uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total - m.used, m.total
}

// span gives the n bytes at addr, which have to lie in one allocation.
func (m *Machine) span(what string, addr, n uint64) (*region, uint64, error) {
	r := m.mem.Load().find(addr)
	if r == nil || n > r.Size-(addr-r.Addr) {
		return nil, 0, fmt.Errorf("ptx: %s of %d bytes at %#x: %s", what, n, addr, m.near(addr))
	}
	return r, addr - r.Addr, nil
}

// near says what lies at or around an address.
func (m *Machine) near(addr uint64) string {
	t := *m.mem.Load()
	if r := t.find(addr); r != nil {
		return fmt.Sprintf("beyond the end of the %v", r.Allocation)
	}
	m.mu.Lock()
	f := m.freed.find(addr)
	m.mu.Unlock()
	if f != nil {
		return fmt.Sprintf("inside the %v", f.Allocation)
	}
	i := sort.Search(len(t), func(i int) bool { return t[i].Addr > addr })
	switch {
	case i > 0 && (i == len(t) || addr-t[i-1].Addr-t[i-1].Size <= t[i].Addr-addr):
		return fmt.Sprintf("%d bytes after the %v", addr-t[i-1].Addr-t[i-1].Size, t[i-1].Allocation)
	case i < len(t):
		return fmt.Sprintf("%d bytes before the %v", t[i].Addr-addr, t[i].Allocation)
	}
	return "nothing is allocated"
}

// Write copies from the host to the device.
func (m *Machine) Write(addr uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	r, off, err := m.span("write", addr, uint64(len(b)))
	if err != nil {
		return err
	}
	copy(r.data[off:], b)
	r.mark(off, uint64(len(b)))
	m.moved(uint64(len(b)))
	return nil
}

// Read copies from the device to the host. Reading what nothing has written is
// an error under Options.Check.
func (m *Machine) Read(b []byte, addr uint64) error {
	if len(b) == 0 {
		return nil
	}
	r, off, err := m.span("read", addr, uint64(len(b)))
	if err != nil {
		return err
	}
	if i, ok := r.unwritten(off, uint64(len(b))); !ok {
		return fmt.Errorf("ptx: read of %d bytes at %#x: byte %d of the %v was never written", len(b), addr, i, r.Allocation)
	}
	copy(b, r.data[off:])
	m.moved(uint64(len(b)))
	return nil
}

// Copy copies on the device; the ranges may overlap. Bytes that were never
// written stay so at their destination.
func (m *Machine) Copy(dst, src, bytes uint64) error {
	if bytes == 0 {
		return nil
	}
	d, do, err := m.span("copy to", dst, bytes)
	if err != nil {
		return err
	}
	s, so, err := m.span("copy from", src, bytes)
	if err != nil {
		return err
	}
	copy(d.data[do:do+bytes], s.data[so:])
	if d.init != nil {
		copy(d.init[do:do+bytes], s.init[so:])
	}
	m.moved(bytes)
	return nil
}

// Fill8 sets n bytes.
func (m *Machine) Fill8(addr uint64, v uint8, n uint64) error { return m.fill(addr, []byte{v}, n) }

// Fill16 sets n values of 16 bits; addr has to be aligned to 2.
func (m *Machine) Fill16(addr uint64, v uint16, n uint64) error {
	return m.fill(addr, binary.LittleEndian.AppendUint16(nil, v), n)
}

// Fill32 sets n values of 32 bits; addr has to be aligned to 4.
func (m *Machine) Fill32(addr uint64, v uint32, n uint64) error {
	return m.fill(addr, binary.LittleEndian.AppendUint32(nil, v), n)
}

func (m *Machine) fill(addr uint64, v []byte, n uint64) error {
	if n == 0 {
		return nil
	}
	w := uint64(len(v))
	if addr%w != 0 {
		return fmt.Errorf("ptx: fill at %#x: not aligned to %d", addr, w)
	}
	if n > globalTop {
		return fmt.Errorf("ptx: fill of %d values", n)
	}
	r, off, err := m.span("fill", addr, n*w)
	if err != nil {
		return err
	}
	d := r.data[off : off+n*w]
	for k := copy(d, v); k < len(d); k *= 2 {
		copy(d[k:], d[:k])
	}
	r.mark(off, n*w)
	m.moved(n * w)
	return nil
}

// mark notes that bytes were written.
func (r *region) mark(off, n uint64) {
	if r.init == nil {
		return
	}
	b := r.init[off : off+n]
	switch n {
	case 4:
		binary.LittleEndian.PutUint32(b, 0x01010101)
	case 8:
		binary.LittleEndian.PutUint64(b, 0x0101010101010101)
	case 16:
		binary.LittleEndian.PutUint64(b, 0x0101010101010101)
		binary.LittleEndian.PutUint64(b[8:], 0x0101010101010101)
	default:
		for i := range b {
			b[i] = 1
		}
	}
}

// unwritten gives the first of n bytes that was never written, if any.
func (r *region) unwritten(off, n uint64) (uint64, bool) {
	if r.init == nil {
		return 0, true
	}
	return firstZero(r.init, off, n)
}

func firstZero(init []byte, off, n uint64) (uint64, bool) {
	b := init[off : off+n]
	for len(b) >= 8 && binary.LittleEndian.Uint64(b) == 0x0101010101010101 {
		b = b[8:]
	}
	for i, v := range b {
		if v == 0 {
			return off + n - uint64(len(b)) + uint64(i), false
		}
	}
	return 0, true
}
