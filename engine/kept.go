package engine

import "sync"

// Kept is a device that remembers what is allocated through it, so that all of
// it can be given back together: a model's weights, or those of a model that
// failed to load. It is the same memory and the same stream of work.
type Kept struct {
	Device
	mu     sync.Mutex
	blocks []Memory
}

// Keep wraps a device. It returns d itself, and a Kept that never has anything,
// where d's memory is the host's or only counted, and where d is a Kept already,
// which somebody else gives back.
func Keep(d Device) (Device, *Kept) {
	k := &Kept{Device: d}
	if _, ok := d.(*Kept); ok || d.Local() || Dry(d) {
		return d, k
	}
	return k, k
}

// Alloc implements Device.
func (k *Kept) Alloc(n int) (Memory, error) {
	m, err := k.Device.Alloc(n)
	if err == nil && m.at() != 0 {
		k.mu.Lock()
		k.blocks = append(k.blocks, m)
		k.mu.Unlock()
	}
	return m, err
}

// FreeAll gives back what was allocated. Nobody may use it any more.
func (k *Kept) FreeAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.blocks {
		k.Device.Free(m)
	}
	k.blocks = nil
}
