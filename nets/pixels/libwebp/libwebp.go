// Package libwebp is libwebp's decoder: its C, compiled to WebAssembly and
// translated to Go (wasm.go, made by ../generate.py). It gives the samples that
// Pillow gives, to the bit.
package libwebp

import (
	"errors"
	"fmt"
)

// Decode reads a file and gives its first frame on its canvas, which is
// transparent elsewhere: four bytes a pixel, red, green, blue and alpha, not
// multiplied by it. size is called first, with what the header says; an error
// of its ends the work.
func Decode(data []byte, size func(w, h int, alpha bool) error) (rgba []byte, err error) {
	h := &host{size: size}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case stop:
			rgba, err = nil, p.error
		default: // a trap of the module, whose memory goes with it
			rgba, err = nil, fmt.Errorf("libwebp: %v", p)
		}
	}()
	h.m = New(h)
	at := h.m.Xalloc(int32(len(data)))
	if at == 0 {
		return nil, errors.New("libwebp: out of memory")
	}
	copy(h.m.memory[uint32(at):], data)
	return h.m.memory[uint32(h.m.Xdecode(at, int32(len(data)))):][:h.bytes], nil
}

// host is what the module calls.
type host struct {
	size  func(w, h int, alpha bool) error
	m     *Module
	bytes int
}

// stop unwinds the module's stack.
type stop struct{ error }

func (h *host) Xsize(w, height, alpha int32) {
	h.bytes = 4 * int(w) * int(height)
	if err := h.size(int(w), int(height), alpha != 0); err != nil {
		panic(stop{err})
	}
}

func (h *host) Xfail(at int32) {
	text := h.m.memory[uint32(at):]
	n := 0
	for n < len(text) && text[n] != 0 {
		n++
	}
	panic(stop{errors.New(string(text[:n]))})
}
