package engine

import "fmt"

// MemoryError says that something does not fit in a device's memory. It comes
// before the work, and where it is about weights, before they are loaded.
type MemoryError struct {
	What       string
	Need, Free int    // bytes
	Fits       string // what would fit; "" where nothing would
}

func (e *MemoryError) Error() string {
	s := fmt.Sprintf("%s needs %s, %s are free", e.What, Bytes(e.Need), Bytes(e.Free))
	if e.Fits != "" {
		s += ": " + e.Fits
	}
	return s
}

// Bytes is a number of bytes as a person reads it: "2.4 GB", "310.5 MB".
type Bytes int

func (b Bytes) String() string {
	if b < 1e9 {
		return fmt.Sprintf("%.1f MB", float64(b)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(b)/1e9)
}

// FreeMemory is what a device has free, in bytes; 0 where it does not say.
func FreeMemory(d Device) int {
	m, ok := As[MemoryReporter](d)
	if !ok {
		return 0
	}
	free, _, err := m.Memory()
	if err != nil {
		return 0
	}
	return free
}
