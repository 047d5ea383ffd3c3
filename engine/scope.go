package engine

import "sync"

// AllocationScope is a device that remembers what is allocated through it, so
// that all of it can be given back together: a model's weights, or those of a
// model that failed to load. It is the same memory and the same stream of work.
type AllocationScope struct {
	Device
	mu     sync.Mutex
	blocks []Memory
}

// Scope wraps a device. It returns d itself, and a scope that never has
// anything, where d's memory is the host's or only counted, and where d is a
// scope already, which somebody else frees.
func Scope(d Device) (Device, *AllocationScope) {
	a := &AllocationScope{Device: d}
	if _, ok := d.(*AllocationScope); ok || d.Local() || IsDryRun(d) {
		return d, a
	}
	return a, a
}

// Unwrap is the device behind the scope.
func (a *AllocationScope) Unwrap() Device { return a.Device }

// Alloc implements Device.
func (a *AllocationScope) Alloc(n int) (Memory, error) {
	m, err := a.Device.Alloc(n)
	if err == nil && m.at() != 0 {
		a.mu.Lock()
		a.blocks = append(a.blocks, m)
		a.mu.Unlock()
	}
	return m, err
}

// FreeAll gives back what was allocated. Nobody may use it any more.
func (a *AllocationScope) FreeAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.blocks {
		a.Device.Free(m)
	}
	a.blocks = nil
}
