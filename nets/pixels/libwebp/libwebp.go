// Package libwebp is libwebp's decoder: its C, compiled to WebAssembly and
// translated to Go (wasm.go, made by ../generate.py). It gives the samples that
// Pillow gives, to the bit.
package libwebp

import (
	"errors"

	"parley/nets/pixels/trap"
)

// Decode reads a file and gives its first frame on its canvas, which is
// transparent elsewhere: four bytes a pixel, red, green, blue and alpha, not
// multiplied by it. size is called first, with what the header says; an error
// of its ends the work.
func Decode(data []byte, size func(w, h int, alpha bool) error) (rgba []byte, err error) {
	h := &host{size: size}
	defer trap.Catch("libwebp", &err)
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

func (h *host) Xsize(w, height, alpha int32) {
	h.bytes = 4 * int(w) * int(height)
	if err := h.size(int(w), int(height), alpha != 0); err != nil {
		trap.Stop(err)
	}
}

func (h *host) Xfail(at int32) { trap.Fail(h.m.memory, at) }
