//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package safetensors

import (
	"io"
	"os"
)

// MapBytes reads a file where it cannot be mapped.
func MapBytes(path string) ([]byte, io.Closer, error) {
	data, err := os.ReadFile(path)
	return data, nothing{}, err
}

// mapping is never made here.
type mapping []byte

type nothing struct{}

func (nothing) Close() error { return nil }
