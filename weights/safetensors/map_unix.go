//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package safetensors

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// MapBytes maps a file for reading. The closer unmaps it. A file that another
// process shortens meanwhile faults when its lost pages are read, which no
// mapping can prevent.
func MapBytes(path string) ([]byte, io.Closer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: not a regular file", path)
	}
	if st.Size() == 0 {
		return nil, mapping(nil), nil
	}
	if int64(int(st.Size())) != st.Size() {
		return nil, nil, fmt.Errorf("%s: %d bytes do not fit the address space", path, st.Size())
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("map %s: %w", path, err)
	}
	remember(data)
	return data, mapping(data), nil
}

type mapping []byte

func (m mapping) Close() error {
	if len(m) == 0 {
		return nil
	}
	unmapping(m)
	return syscall.Munmap(m)
}
