// Package trap unwinds a decoder that was translated to Go from WebAssembly: C
// that calls its error handler expects not to be returned to.
package trap

import (
	"bytes"
	"errors"
	"fmt"
)

// stop is an error on its way through the module's stack.
type stop struct{ error }

// Stop unwinds to Catch, whose error err is.
func Stop(err error) { panic(stop{err}) }

// Fail is Stop with the C string at an address of the module's memory.
func Fail(memory []byte, at int32) {
	text, _, _ := bytes.Cut(memory[uint32(at):], []byte{0})
	Stop(errors.New(string(text)))
}

// Catch is to be deferred: it sets err to what the module was stopped by, or to
// its trap (an address out of bounds, a broken invariant), which only its own
// memory has suffered from.
func Catch(module string, err *error) {
	switch p := recover().(type) {
	case nil:
	case stop:
		*err = p.error
	default:
		*err = fmt.Errorf("%s: %v", module, p)
	}
}
