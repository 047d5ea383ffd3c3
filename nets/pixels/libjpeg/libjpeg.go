// Package libjpeg is libjpeg-turbo's decoder: its C, compiled to WebAssembly and
// translated to Go (wasm.go, made by ../generate.py). It reads what libjpeg reads
// (baseline, progressive, lossless, arithmetic coding, any sampling factors) and
// gives the samples that Pillow gives, to the bit.
package libjpeg

import (
	"errors"

	"parley/nets/pixels/trap"
)

// Decoder takes a picture as it is read.
type Decoder struct {
	// Scans is how many the file may have: each costs time by the picture's area
	// and next to nothing in the file.
	Scans int
	// Raw leaves the components as they are stored.
	Raw bool
	// Size is called once, with the components a pixel has: 1 is grey, 3 is red,
	// green and blue, 4 is cyan, magenta, yellow and black. An error of its ends
	// the work.
	Size func(w, h, components int) error
	// Row is called with each row's samples, from the top; they are its own for
	// the call only.
	Row func(samples []byte)
}

// Decode reads a file.
func (d *Decoder) Decode(data []byte) (err error) {
	h := &host{Decoder: d}
	defer trap.Catch("libjpeg", &err)
	h.m = New(h)
	at := h.m.Xalloc(int32(len(data)))
	if at == 0 {
		return errors.New("libjpeg: out of memory")
	}
	copy(h.m.memory[uint32(at):], data)
	raw := int32(0)
	if d.Raw {
		raw = 1
	}
	h.m.Xdecode(at, int32(len(data)), int32(d.Scans), raw)
	return nil
}

// host is what the module calls.
type host struct {
	*Decoder
	m   *Module
	row int // bytes
}

func (h *host) Xsize(w, height, components int32) {
	h.row = int(w) * int(components)
	if err := h.Size(int(w), int(height), int(components)); err != nil {
		trap.Stop(err)
	}
}

func (h *host) Xrow(at int32) { h.Row(h.m.memory[uint32(at):][:h.row]) }

func (h *host) Xfail(at int32) { trap.Fail(h.m.memory, at) }
