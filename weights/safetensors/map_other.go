//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package safetensors

import "os"

// Mapping is a file that was read, where it cannot be mapped.
type Mapping struct{ Data []byte }

// MapBytes reads a file.
func MapBytes(path string) (*Mapping, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &Mapping{data}, nil
}

// Unchanged is nil: the data are a copy.
func (*Mapping) Unchanged() error { return nil }

// Close gives the memory back to the collector.
func (m *Mapping) Close() error {
	m.Data = nil
	return nil
}
