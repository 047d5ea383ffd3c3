package safetensors

import (
	"fmt"
	"runtime/debug"
)

// FaultError says that a mapped file was cut short while it was read: the pages
// that it has lost cannot be read any more.
type FaultError struct{ File string }

func (e *FaultError) Error() string {
	if e.File == "" {
		return "a mapped file was cut short while it was read"
	}
	return e.File + ": cut short while it was read"
}

// Reading runs what reads a mapped file, on the calling goroutine alone. Where
// pages are gone, the error is a FaultError that names the file, instead of the
// end of the process.
func Reading(file string, read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		// The runtime's error of a fault has the address; other panics go on.
		if _, ok := r.(interface{ Addr() uintptr }); !ok {
			panic(r)
		}
		err = &FaultError{File: file}
	}()
	return read()
}

// ChangedError says that a file is not any more what it was when it was opened.
type ChangedError struct {
	File     string
	Was, Now int64 // bytes
}

func (e *ChangedError) Error() string {
	if e.Was == e.Now {
		return e.File + ": written to while it was read"
	}
	return fmt.Sprintf("%s: %d bytes when it was opened, %d now", e.File, e.Was, e.Now)
}
