//go:build linux

package safetensors

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCutWhileMapped: reading what a file has lost is an error that names it.
func TestCutWhileMapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cut.bin")
	if err := os.WriteFile(path, bytes.Repeat([]byte("weights "), 1<<15), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := MapBytes(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	sum := func() error {
		n := 0
		for _, b := range m.Data {
			n += int(b)
		}
		if n == 0 {
			return errors.New("nothing")
		}
		return nil
	}
	if err := errors.Join(Reading(path, sum), m.Unchanged()); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	var fault *FaultError
	if err := Reading(path, sum); !errors.As(err, &fault) || err.Error() != path+": cut short while it was read" {
		t.Errorf("have %v", err)
	}
	var changed *ChangedError
	if err := m.Unchanged(); !errors.As(err, &changed) || changed.Was != 8<<15 || changed.Now != 100 {
		t.Errorf("have %v", err)
	}
	// Another panic is not hidden, and faults are fatal again afterwards.
	func() {
		defer func() {
			if r := recover(); r != "mine" {
				t.Errorf("have %v", r)
			}
		}()
		_ = Reading(path, func() error { panic("mine") })
	}()
}

// TestWrittenWhileMapped: the same size with other bytes is noticed by the time.
func TestWrittenWhileMapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.bin")
	if err := os.WriteFile(path, []byte("weights"), 0o600); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
	m, err := MapBytes(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Unchanged(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Unchanged(); err == nil || err.Error() != path+": written to while it was read" {
		t.Errorf("have %v", err)
	}
}
