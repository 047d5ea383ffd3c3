//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package safetensors

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Mapping is a file that is mapped for reading. Another process may shorten the
// file meanwhile: read it in Reading, and ask Unchanged at the end.
type Mapping struct {
	Data []byte
	file *os.File
	size int64
	time time.Time // of its last change
}

// MapBytes maps a file.
func MapBytes(path string) (*Mapping, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() { // a pipe would wait for somebody to write
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	m := &Mapping{file: f}
	if err := m.mapped(); err != nil {
		return nil, errors.Join(fmt.Errorf("map %s: %w", path, err), f.Close())
	}
	return m, nil
}

func (m *Mapping) mapped() error {
	st, err := m.file.Stat()
	if err != nil {
		return err
	}
	m.size, m.time = st.Size(), st.ModTime()
	if m.size == 0 {
		return nil
	}
	if int64(int(m.size)) != m.size {
		return fmt.Errorf("%d bytes do not fit the address space", m.size)
	}
	if m.Data, err = syscall.Mmap(int(m.file.Fd()), 0, int(m.size), syscall.PROT_READ, syscall.MAP_SHARED); err != nil {
		return err
	}
	remember(m.Data)
	return nil
}

// Unchanged is a ChangedError where the file has another size or time than when
// it was mapped. One that has been replaced by a rename is as it was.
func (m *Mapping) Unchanged() error {
	if m.file == nil {
		return nil
	}
	st, err := m.file.Stat()
	if err != nil {
		return err
	}
	if st.Size() != m.size || !st.ModTime().Equal(m.time) {
		return &ChangedError{File: m.file.Name(), Was: m.size, Now: st.Size()}
	}
	return nil
}

// Close unmaps the file; Data are not to be touched afterwards.
func (m *Mapping) Close() error {
	if m.file == nil {
		return nil
	}
	err := m.file.Close()
	m.file = nil
	if len(m.Data) > 0 {
		forgetMapping(m.Data)
		err = errors.Join(err, syscall.Munmap(m.Data))
		m.Data = nil
	}
	return err
}
